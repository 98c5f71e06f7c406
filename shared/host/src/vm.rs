//! Everything of one filter in one worker: its roots, its requests, and who asked for which callout.

use std::cell::RefCell;
use std::hash::BuildHasherDefault;
use std::rc::Rc;

use hashbrown::HashMap;
use policy::{CalloutError, Filter, Level, Phases};

use crate::abi;
use crate::answer::Ended;
use crate::clock::now;
use crate::meters;
use crate::root::{Root, Started};
use crate::stream::{Flow, Stream, Waits};
use crate::timer::MAX_WOKEN;

const CONTINUE: u32 = 0;
const PAUSE: u32 = 1;

/// Contexts and callouts have small numbers that nobody outside can choose.
type Numbered<T> = HashMap<u32, T, BuildHasherDefault<NumberHasher>>;

#[derive(Clone, Copy, Default)]
pub struct NumberHasher(u64);

impl std::hash::Hasher for NumberHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        // Fibonacci hashing: hashbrown looks at the high bits and the low ones.
        self.0 = (self.0.rotate_left(5) ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}

/// The state behind the exported callbacks. A callback that the gateway makes out of turn, for a
/// context it never created or while another one runs, is answered harmlessly, never with a trap.
pub struct Vm<F: Filter>(RefCell<State<F>>);

struct State<F: Filter> {
    roots: Numbered<Rc<Root<F>>>,
    /// Boxed: a chain's requests are large, and the place of the last one is still in the processor's cache.
    streams: Numbered<Box<Stream<F>>>,
    callouts: Numbered<Caller>,
}

#[derive(Clone, Copy)]
enum Caller {
    Stream(u32),
    Keeper {
        root: u32,
        tag: u32,
        max_answer: usize,
    },
}

impl<F: Filter> Default for Vm<F> {
    fn default() -> Self {
        Self::new()
    }
}

impl<F: Filter> Vm<F> {
    #[must_use]
    pub const fn new() -> Self {
        const fn numbered<T>() -> Numbered<T> {
            HashMap::with_hasher(BuildHasherDefault::new())
        }
        Self(RefCell::new(State {
            roots: numbered(),
            streams: numbered(),
            callouts: numbered(),
        }))
    }

    fn with<R>(&self, otherwise: R, work: impl FnOnce(&mut State<F>) -> R) -> R {
        match self.0.try_borrow_mut() {
            Ok(mut state) => work(&mut state),
            Err(_) => otherwise,
        }
    }

    pub fn on_context_create(&self, context: u32, root: u32) {
        self.with((), |state| {
            if root == 0 {
                return;
            }
            if let Some(root) = state.roots.get(&root) {
                let stream = Stream::new(context, Rc::clone(root));
                state.streams.insert(context, Box::new(stream));
            }
        });
    }

    pub fn on_configure(&self, root: u32, size: usize) -> bool {
        self.with(false, |state| match Root::configure(root, size) {
            Some(configured) => {
                state.roots.insert(root, Rc::new(configured));
                true
            }
            None => false,
        })
    }

    pub fn on_request_headers(&self, context: u32, end_of_stream: bool) -> u32 {
        self.with(PAUSE, |state| {
            if !state.streams.contains_key(&context) {
                // A request of a root that has no configuration. Nobody could decide on it.
                let _ = abi::send_local_response(503, "not_configured", &[], b"");
                return PAUSE;
            }
            let action = state.run(context, |stream| stream.on_request_headers(end_of_stream));
            match state.streams.get(&context) {
                Some(stream) if action == PAUSE => {
                    let gateway = stream.root().gateway();
                    match stream.waits {
                        Waits::Body { .. } => gateway.await_body(),
                        _ if stream.may_read_body() => gateway.hold_headers(),
                        _ => gateway.hold_all(),
                    }
                }
                _ => action,
            }
        })
    }

    pub fn on_request_body(&self, context: u32, size: usize, end_of_stream: bool) -> u32 {
        self.with(PAUSE, |state| {
            state.run(context, |stream| {
                stream.on_request_body(size, end_of_stream)
            })
        })
    }

    pub fn on_response_headers(&self, context: u32) -> u32 {
        self.with(CONTINUE, |state| {
            let stream = state.streams.get_mut(&context);
            match stream.map(|stream| stream.on_response_headers()) {
                Some(Flow::Stop) => PAUSE,
                Some(Flow::Continue) | None => CONTINUE,
            }
        })
    }

    pub fn on_tick(&self, root: u32) {
        self.with((), |state| {
            let Some(root) = state.roots.get(&root).cloned() else {
                return;
            };
            let started = root.tick();
            state.note(&root, started);
            state.wake(&root, root.id);
        });
    }

    pub fn on_callout_end(&self, token: u32, headers: usize, body_size: usize) {
        self.with((), |state| match state.callouts.remove(&token) {
            Some(Caller::Stream(context)) => {
                state.end_of_stream_callout(context, token, headers, body_size)
            }
            Some(Caller::Keeper {
                root,
                tag,
                max_answer,
            }) => {
                let Some(root) = state.roots.get(&root).cloned() else {
                    return;
                };
                let _ = abi::set_effective_context(root.id);
                let ended = Ended::read(headers, body_size, max_answer);
                let started = root.answer(tag, ended.answer());
                state.note(&root, started);
                state.wake(&root, root.id);
            }
            None => {}
        });
    }

    pub fn on_delete(&self, context: u32) {
        self.with((), |state| {
            if let Some(mut stream) = state.streams.remove(&context) {
                if let Some((token, _)) = stream.waits.callout() {
                    state.callouts.remove(&token);
                }
                // Whoever waits for what it held is woken by the next tick, not here: the gateway
                // is in the middle of tearing a request down.
                stream.on_done();
                return;
            }
            state.roots.remove(&context);
        });
    }
}

impl<F: Filter> State<F> {
    /// Runs a callback of a request and looks after what it started.
    fn run(&mut self, context: u32, callback: impl FnOnce(&mut Stream<F>) -> Flow) -> u32 {
        let Some(stream) = self.streams.get_mut(&context) else {
            return CONTINUE;
        };
        let flow = callback(stream);
        let (waits, root) = (stream.waits, Rc::clone(stream.root()));
        self.follow(context, waits);
        self.wake(&root, context);
        match flow {
            Flow::Continue => CONTINUE,
            Flow::Stop => PAUSE,
        }
    }

    fn end_of_stream_callout(
        &mut self,
        context: u32,
        token: u32,
        headers: usize,
        body_size: usize,
    ) {
        let Some(stream) = self.streams.get_mut(&context) else {
            return;
        };
        let Some((expected, max_answer)) = stream.waits.callout() else {
            return;
        };
        if token != expected {
            return;
        }
        let _ = abi::set_effective_context(context);
        let ended = Ended::read(headers, body_size, max_answer);
        let action = self.run(context, |stream| stream.on_answer(ended));
        // Where the body comes only once the headers are through, they go through.
        let awaits_body = self.streams.get(&context).is_some_and(|stream| {
            matches!(stream.waits, Waits::Body { .. })
                && stream.root().gateway().await_body() == CONTINUE
        });
        if action == CONTINUE || awaits_body {
            let _ = abi::continue_request();
        }
    }

    /// Notes whose callout it is that a request now waits for.
    fn follow(&mut self, context: u32, waits: Waits) {
        if let Some((token, _)) = waits.callout() {
            self.callouts.insert(token, Caller::Stream(context));
        }
    }

    /// Notes the keeper's callouts; one that could not be started ends at once.
    fn note(&mut self, root: &Rc<Root<F>>, started: Vec<Started>) {
        for Started {
            tag,
            max_answer,
            token,
        } in started
        {
            match token {
                Ok(token) => {
                    let caller = Caller::Keeper {
                        root: root.id,
                        tag,
                        max_answer,
                    };
                    self.callouts.insert(token, caller);
                }
                Err(status) => {
                    meters::log(
                        Level::Warn,
                        &format!(
                            "{}: the gateway refused a callout (status {})",
                            F::NAME,
                            status.0
                        ),
                    );
                    // What the keeper asks for on a refusal waits for the next tick.
                    let _ = root.answer(tag, Err(CalloutError::Refused));
                }
            }
        }
    }

    /// Wakes the requests whose time has come, in the name of each; then `current` is current again.
    fn wake(&mut self, root: &Rc<Root<F>>, current: u32) {
        if !F::PHASES.has(Phases::TICK) {
            return;
        }
        let mut woke = false;
        for _ in 0..MAX_WOKEN {
            let popped = match root.timer.try_borrow_mut() {
                Ok(mut timer) => timer.pop_due(now),
                Err(_) => None,
            };
            let Some(context) = popped else { break };
            let Some(stream) = self.streams.get_mut(&context) else {
                continue;
            };
            woke = true;
            let _ = abi::set_effective_context(context);
            let flow = stream.on_woken();
            let waits = stream.waits;
            self.follow(context, waits);
            if flow == Flow::Continue {
                let _ = abi::continue_request();
            }
        }
        if woke {
            let _ = abi::set_effective_context(current);
        }
    }
}
