//! One configuration of the filter in one worker: its policy's settings, keeper, metrics and those
//! of its requests that wait.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use policy::callout::Callout;
use policy::effects::HeaderEdit;
use policy::head::to_wire;
use policy::{Answer, CalloutError, Effects, Filter, KeeperCx, Level, Metric, Phases, Time};

use crate::abi::{self, Buffer, Map, Status};
use crate::clock::now;
use crate::gateway::Gateway;
use crate::meters::{self, Meters};
use crate::timer::Timer;

/// Ticks come no more often than this.
const MIN_TICK: Duration = Duration::from_millis(10);
/// Sums are shown again this often where another worker's may be out of date.
const SUMS_EVERY: Duration = Duration::from_secs(1);

pub struct Root<F: Filter> {
    pub id: u32,
    gateway: Cell<Option<Gateway>>,
    pub config: F::Config,
    pub keeper: RefCell<F::Keeper>,
    pub timer: RefCell<Timer>,
    meters: RefCell<Meters<F::Metric>>,
    /// When the sums were shown last.
    shown: Cell<Time>,
    /// Spare sink, so that a request needs no new one.
    effects: Cell<Option<Box<Effects<F::Metric>>>>,
}

impl<F: Filter> Drop for Root<F> {
    fn drop(&mut self) {
        if let Ok(mut meters) = self.meters.try_borrow_mut() {
            meters.take_back(self.gateway.get());
        }
    }
}

/// A callout that the keeper asked for and that could be started, or not.
pub struct Started {
    pub tag: u32,
    pub max_answer: usize,
    pub token: Result<u32, Status>,
}

impl<F: Filter> Root<F> {
    /// Loads the configuration that the gateway holds for this root; logs every error in it.
    pub fn configure(id: u32, size: usize) -> Option<Self> {
        let Ok(text) = abi::buffer(Buffer::PluginConfiguration, size) else {
            meters::log(
                Level::Error,
                &format!("{}: the configuration cannot be read", F::NAME),
            );
            return None;
        };
        let config = match F::load(&text) {
            Ok(config) => config,
            Err(errors) => {
                for line in errors.lines(F::NAME) {
                    meters::log(Level::Error, &line);
                }
                return None;
            }
        };
        let keeper = F::keeper(&config, now());
        if F::PHASES.has(Phases::TICK)
            && let Some(every) = F::tick_every(&config)
        {
            let millis = u32::try_from(every.max(MIN_TICK).as_millis()).unwrap_or(u32::MAX);
            if abi::set_tick_period(millis).is_err() {
                meters::log(
                    Level::Error,
                    &format!("{}: the gateway gives no ticks", F::NAME),
                );
                return None;
            }
        }
        let mut meters = Meters::new();
        meters.define(F::series(&config));
        Some(Self {
            id,
            gateway: Cell::new(None),
            config,
            keeper: RefCell::new(keeper),
            timer: RefCell::default(),
            meters: RefCell::new(meters),
            shown: Cell::default(),
            effects: Cell::default(),
        })
    }

    /// The gateway. Asked for in the name of a request.
    pub fn gateway(&self) -> Gateway {
        if let Some(known) = self.gateway.get() {
            return known;
        }
        let detected = Gateway::detect();
        self.gateway.set(Some(detected));
        detected
    }

    /// Lets the keeper work and starts the callouts that it asks for.
    pub fn tick(&self) -> Vec<Started> {
        self.show_sums();
        self.with_keeper(F::on_tick)
    }

    /// Hands the keeper the end of one of its callouts.
    pub fn answer(&self, tag: u32, answer: Result<Answer<'_>, CalloutError>) -> Vec<Started> {
        self.with_keeper(|keeper, cx| F::on_answer(keeper, tag, answer, cx))
    }

    fn show_sums(&self) {
        let gateway = self.gateway.get();
        if !<F::Metric as Metric>::SUMS || gateway.is_none_or(Gateway::moves_gauges) {
            return;
        }
        let now = now();
        if now.since(self.shown.get()) >= SUMS_EVERY
            && let Ok(mut meters) = self.meters.try_borrow_mut()
        {
            self.shown.set(now);
            meters.show_sums(gateway);
        }
    }

    fn with_keeper(
        &self,
        work: impl FnOnce(&mut F::Keeper, &mut KeeperCx<'_, F::Config, F::Metric>),
    ) -> Vec<Started> {
        let mut effects = self.borrow_effects();
        let mut calls = Vec::new();
        if let Ok(mut keeper) = self.keeper.try_borrow_mut() {
            let mut cx = KeeperCx {
                config: &self.config,
                now: now(),
                effects: &mut effects,
                calls: &mut calls,
            };
            work(&mut keeper, &mut cx);
        }
        self.apply(&mut effects, None);
        self.return_effects(effects);
        calls
            .into_iter()
            .map(|(tag, callout)| Started {
                tag,
                max_answer: callout.max_answer,
                token: self.dispatch(&callout),
            })
            .collect()
    }

    /// Starts a callout.
    pub fn dispatch(&self, callout: &Callout) -> Result<u32, Status> {
        const BAD_ARGUMENT: Status = Status(2);
        let timeout = u32::try_from(callout.timeout.as_millis()).unwrap_or(u32::MAX);
        let mut pairs: Vec<(&[u8], &[u8])> = vec![
            (b":method", callout.method.as_bytes()),
            (b":path", callout.path.as_bytes()),
            (b":authority", callout.upstream.authority.as_bytes()),
        ];
        for (name, value) in &callout.headers {
            pairs.push((name.as_bytes(), value.as_bytes()));
        }
        let headers = to_wire(&pairs).ok_or(BAD_ARGUMENT)?;
        abi::http_call(&callout.upstream.target, &headers, &callout.body, timeout)
    }

    /// Starts a callout that fails at once, where what follows a callout has to wait for that.
    pub fn settle(&self) -> Option<u32> {
        const TIMEOUT_MILLIS: u32 = 1_000;
        let target = self.gateway().settles_at()?;
        let pairs: [(&[u8], &[u8]); 3] = [
            (b":method", b"GET"),
            (b":path", b"/"),
            (b":authority", b"-"),
        ];
        let headers = to_wire(&pairs)?;
        abi::http_call(target, &headers, b"", TIMEOUT_MILLIS).ok()
    }

    pub fn borrow_effects(&self) -> Box<Effects<F::Metric>> {
        self.effects.take().unwrap_or_default()
    }

    pub fn return_effects(&self, mut effects: Box<Effects<F::Metric>>) {
        effects.clear();
        self.effects.set(Some(effects));
    }

    /// Gives the path that the upstream is sent this one's query. Its other part is the gateway's: routes and
    /// services may have changed it.
    fn send_on(&self, path: &str) -> Result<(), Status> {
        const NOT_FOUND: Status = Status(1);
        let property = self.gateway().path_sent_on().ok_or(NOT_FOUND)?;
        let mut sent = abi::property(property)?.ok_or(NOT_FOUND)?;
        sent.truncate(sent.iter().position(|b| *b == b'?').unwrap_or(sent.len()));
        if let Some((_, query)) = path.split_once('?') {
            sent.push(b'?');
            sent.extend_from_slice(query.as_bytes());
        }
        abi::set_property(property, &sent)
    }

    /// Carries effects out. Header edits go to `headers`; without one they are dropped.
    pub fn apply(&self, effects: &mut Effects<F::Metric>, headers: Option<Map>) {
        if let Some(map) = headers
            && !effects.headers.is_empty()
        {
            let removes = map == Map::Response || self.gateway().removes_headers();
            // Of several edits of one header only the last is felt, and each is a call of the gateway.
            let edits = &effects.headers;
            let last = edits.iter().enumerate().filter(|(index, edit)| {
                let mut later = edits.iter().skip(index.saturating_add(1));
                !later.any(|later| later.name().eq_ignore_ascii_case(edit.name()))
            });
            for (_, edit) in last {
                let result = match edit {
                    HeaderEdit::Set(name, value)
                        if **name == *":path" && self.gateway().path_sent_on().is_some() =>
                    {
                        self.send_on(value)
                    }
                    HeaderEdit::Set(name, value) => abi::replace_header(map, name, value),
                    HeaderEdit::Remove(name) if removes => abi::remove_header(map, name),
                    HeaderEdit::Remove(name) => abi::replace_header(map, name, ""),
                };
                if result.is_err() {
                    meters::log(
                        Level::Warn,
                        &format!("{}: a header edit was refused", F::NAME),
                    );
                }
            }
        }
        effects.headers.clear();
        if let Ok(mut meters) = self.meters.try_borrow_mut() {
            for (filter, outcome) in effects.outcomes.drain(..) {
                meters.outcome(filter, outcome);
            }
            if F::WAITS {
                for (filter, time) in effects.waits.drain(..) {
                    meters.waited(filter, time);
                }
            }
            for sample in effects.samples.drain(..) {
                meters.sample(sample, self.gateway.get());
            }
        }
        for (level, line) in effects.logs.drain(..) {
            meters::log(level, &line);
        }
        if effects.wake
            && let Ok(mut timer) = self.timer.try_borrow_mut()
        {
            timer.change();
        }
    }
}
