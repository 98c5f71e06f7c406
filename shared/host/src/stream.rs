//! One request on its way through the filter.

use std::rc::Rc;

use policy::callout::Callout;
use policy::effects::{HeaderEdit, is_header_value};
use policy::guard::Lent;
use policy::head::to_wire;
use policy::reply::request_id;
use policy::{CalloutError, Event, Filter, Head, Level, Phases, Reply, Time, Verdict};

use crate::abi::{self, Buffer, Map};
use crate::answer::Ended;
use crate::clock::now;
use crate::facts::Facts;
use crate::meters;
use crate::root::Root;
use crate::timer::Wait;

/// Events that one callback may cause in a row: a policy that asks again and again for what it is
/// refused ends here.
const MAX_EVENTS: usize = 8;

pub struct Stream<F: Filter> {
    id: u32,
    root: Rc<Root<F>>,
    state: F::Request,
    request: Head,
    /// How much of the body is here, as far as the filter was told.
    body: Body,
    /// When the request was last looked at.
    seen: Time,
    /// An edit of the request was asked for that this gateway cannot make.
    unmakable: bool,
    /// The callout that it waits for carries a body.
    sent_body: bool,
    /// What it waited for, and how that ended, while the gateway settles.
    settling: Option<(Waits, Ended)>,
    /// What the gateway has told of it.
    facts: Facts,
    /// What the client gets in place of the response.
    replacement: Option<Reply>,
    pub waits: Waits,
}

/// What the request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// Its turn: nothing has happened yet.
    Start,
    /// The callout of this token.
    Callout { token: u32, max_answer: usize },
    /// Time, which passes while the callout of this token is under way.
    Held {
        token: u32,
        max_answer: usize,
        until: Time,
    },
    /// Time, or the keeper.
    Timer(Wait),
    /// Its body, of which so many bytes are wanted.
    Body { at_most: usize },
    /// Nothing: it was passed on.
    Passed,
    /// Nothing: it was answered here.
    Answered,
}

/// How much of a request's body has come.
#[derive(Clone, Copy, Debug, Default)]
struct Body {
    size: usize,
    ended: bool,
}

impl Body {
    /// Whether all that is wanted is here.
    const fn has(self, at_most: usize) -> bool {
        self.ended || self.size >= at_most
    }

    fn read(self, at_most: usize) -> Vec<u8> {
        abi::buffer(Buffer::RequestBody, self.size.min(at_most)).unwrap_or_default()
    }
}

/// What the gateway does with the request now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    Continue,
    /// It waits, or it has been answered.
    Stop,
}

impl Waits {
    /// The callout that it waits for, and the longest answer to it.
    pub const fn callout(self) -> Option<(u32, usize)> {
        match self {
            Self::Callout { token, max_answer }
            | Self::Held {
                token, max_answer, ..
            } => Some((token, max_answer)),
            _ => None,
        }
    }
}

impl<F: Filter> Stream<F> {
    pub fn new(id: u32, root: Rc<Root<F>>) -> Self {
        Self {
            id,
            root,
            state: F::request(id),
            request: Head::default(),
            body: Body::default(),
            seen: Time::EPOCH,
            unmakable: false,
            sent_body: false,
            settling: None,
            facts: Facts::default(),
            replacement: None,
            waits: Waits::Start,
        }
    }

    /// Whether the body may still be wanted, when the request goes on.
    pub fn may_read_body(&self) -> bool {
        F::PHASES.has(Phases::REQUEST_BODY) && F::may_read_body(&self.state, &self.root.config)
    }

    pub fn root(&self) -> &Rc<Root<F>> {
        &self.root
    }

    pub fn on_request_headers(&mut self, end_of_stream: bool) -> Flow {
        match self.read_head() {
            Some(head) => {
                let truncated = head.len() >= self.root.gateway().max_headers_read();
                self.request = head.with_truncation(truncated);
                self.body.ended = end_of_stream || !self.announces_body();
                self.proceed(Event::Headers)
            }
            None => {
                self.seen = now();
                self.reply(&Reply::problem(
                    400,
                    "headers_malformed",
                    "The request headers cannot be read",
                ));
                Flow::Stop
            }
        }
    }

    /// The request's headers; `None` if they cannot be read.
    fn read_head(&self) -> Option<Head> {
        let head = abi::header_map(Map::Request)
            .ok()
            .and_then(Head::from_wire)?;
        match self.root.gateway().path_as_sent() {
            Some(property) => {
                let path = abi::property(property).ok().flatten()?;
                Some(head.with_path(&path))
            }
            None => Some(head),
        }
    }

    /// The body has grown to `size` bytes.
    pub fn on_request_body(&mut self, size: usize, end_of_stream: bool) -> Flow {
        self.body = Body {
            size,
            ended: end_of_stream,
        };
        match self.waits {
            Waits::Body { at_most } if self.body.has(at_most) => {
                let body = self.body.read(at_most);
                self.proceed(Event::Body(&body))
            }
            Waits::Passed => Flow::Continue,
            _ => Flow::Stop,
        }
    }

    pub fn on_answer(&mut self, ended: Ended) -> Flow {
        if let Some((waits, ended)) = self.settling.take() {
            self.waits = waits;
            return self.go_on(&ended);
        }
        if self.sent_body
            && ended.empty
            && let Some(token) = self.root.settle()
        {
            self.settling = Some((self.waits, ended));
            self.waits = Waits::Callout {
                token,
                max_answer: 0,
            };
            return Flow::Stop;
        }
        self.go_on(&ended)
    }

    fn go_on(&mut self, ended: &Ended) -> Flow {
        let answer = ended.answer();
        let Waits::Held { until, .. } = self.waits else {
            return self.proceed(Event::Answer(answer));
        };
        match answer {
            _ if now() >= until => self.proceed(Event::Woke),
            Ok(answer) if answer.status == 200 => {
                if self.hold_by_callout(until) {
                    return Flow::Stop;
                }
                self.proceed(Event::Answer(Err(CalloutError::Refused)))
            }
            Ok(_) => self.proceed(Event::Answer(Err(CalloutError::Refused))),
            Err(error) => self.proceed(Event::Answer(Err(error))),
        }
    }

    pub fn on_woken(&mut self) -> Flow {
        self.proceed(Event::Woke)
    }

    pub fn on_response_headers(&mut self) -> Flow {
        let watched = F::watches_response(&self.state, self.waits == Waits::Answered);
        let response = if watched.has(Phases::RESPONSE) {
            abi::header_map(Map::Response)
                .ok()
                .and_then(Head::from_wire)
        } else if watched == Phases::NONE {
            None
        } else {
            let status = abi::header(Map::Response, ":status").ok().flatten();
            status.map(|status| [(":status", status)].into_iter().collect())
        };
        let Some(response) = response else {
            return Flow::Continue;
        };
        self.seen = now();
        self.lend(Some(Map::Response), |state, lent| {
            F::on_response(state, &response, lent);
        });
        match self.replacement.take() {
            Some(reply) => {
                self.reply(&reply);
                Flow::Stop
            }
            None => Flow::Continue,
        }
    }

    /// The request is over or its client has gone.
    pub fn on_done(&mut self) {
        if let Waits::Timer(wait) = self.waits
            && let Ok(mut timer) = self.root.timer.try_borrow_mut()
        {
            timer.release(self.id, wait);
        }
        if self.waits != Waits::Start {
            self.lend(None, F::on_done);
        }
    }

    /// Runs the policy until it passes, answers or waits.
    fn proceed(&mut self, first: Event<'_>) -> Flow {
        let mut event = first;
        let mut body;
        for _ in 0..MAX_EVENTS {
            self.seen = now();
            let verdict = self.lend(Some(Map::Request), |state, lent| {
                F::on_request(state, event, lent)
            });
            event = match verdict {
                Some(Verdict::Allow) if self.unmakable => {
                    self.reply(&Reply::problem(
                        400,
                        "header_repeated",
                        "A header that the gateway has to change occurs more than once",
                    ));
                    return Flow::Stop;
                }
                Some(Verdict::Allow) => {
                    self.waits = Waits::Passed;
                    return Flow::Continue;
                }
                Some(Verdict::Deny(reply)) => {
                    self.reply(&reply);
                    return Flow::Stop;
                }
                Some(Verdict::Call(callout)) if F::PHASES.has(Phases::CALLOUTS) => {
                    if self.call(&callout) {
                        return Flow::Stop;
                    }
                    Event::Answer(Err(CalloutError::Refused))
                }
                Some(Verdict::SleepUntil(until)) if self.can_wait() => {
                    self.hold(Wait::Asleep(until));
                    return Flow::Stop;
                }
                Some(Verdict::SleepUntil(until)) if self.hold_by_callout(until) => {
                    return Flow::Stop;
                }
                Some(Verdict::Await { until }) if self.can_wait() => {
                    self.hold(Wait::Awaiting(until));
                    return Flow::Stop;
                }
                Some(Verdict::ReadBody { at_most }) if F::PHASES.has(Phases::REQUEST_BODY) => {
                    if !self.body.has(at_most) {
                        self.waits = Waits::Body { at_most };
                        return Flow::Stop;
                    }
                    body = self.body.read(at_most);
                    Event::Body(&body)
                }
                Some(_) => Event::Answer(Err(CalloutError::Refused)),
                None => break,
            };
        }
        // Neither kind of exit is a client's doing.
        meters::log(Level::Warn, &format!("{}: no verdict", F::NAME));
        self.reply(&Reply::problem(
            503,
            "filter_fault",
            "The gateway could not decide on the request",
        ));
        Flow::Stop
    }

    /// Whether a body may follow, as far as the gateway tells, or else `content-length`. A body of unknown
    /// length is taken for none there: it may be empty, and then the request would slip by unseen.
    fn announces_body(&self) -> bool {
        self.root.gateway().tells_no_body()
            || self
                .request
                .first("content-length")
                .is_some_and(|length| !length.iter().all(|digit| *digit == b'0'))
    }

    fn can_wait(&self) -> bool {
        F::PHASES.has(Phases::TICK) && self.root.gateway().wakes_others()
    }

    fn hold(&mut self, wait: Wait) {
        self.waits = Waits::Timer(wait);
        if let Ok(mut timer) = self.root.timer.try_borrow_mut() {
            timer.hold(self.id, wait);
        }
    }

    /// Lets the time pass with a callout that takes as long, where nothing else holds a request.
    fn hold_by_callout(&mut self, until: Time) -> bool {
        if !F::PHASES.has(Phases::CALLOUTS) {
            return false;
        }
        let rest = until.since(now());
        let Some(callout) = F::hold(&self.state, &self.root.config, rest) else {
            return false;
        };
        let Ok(token) = self.root.dispatch(&callout) else {
            return false;
        };
        self.sent_body = !callout.body.is_empty();
        self.waits = Waits::Held {
            token,
            max_answer: callout.max_answer,
            until,
        };
        true
    }

    fn call(&mut self, callout: &Callout) -> bool {
        match self.root.dispatch(callout) {
            Ok(token) => {
                self.sent_body = !callout.body.is_empty();
                self.waits = Waits::Callout {
                    token,
                    max_answer: callout.max_answer,
                };
                true
            }
            Err(_) => false,
        }
    }

    /// Runs the filter with everything it needs and carries out what it causes. `None` if the keeper
    /// is in use, which only a gateway that calls back out of turn could bring about.
    fn lend<R>(
        &mut self,
        headers: Option<Map>,
        work: impl FnOnce(&mut F::Request, Lent<'_, F>) -> R,
    ) -> Option<R> {
        let mut effects = self.root.borrow_effects();
        self.facts.ask(self.root.gateway());
        let result = self.root.keeper.try_borrow_mut().ok().map(|mut keeper| {
            let lent = Lent {
                config: &self.root.config,
                keeper: &mut *keeper,
                request: &self.request,
                now: self.seen,
                host: &self.facts,
                effects: &mut effects,
            };
            work(&mut self.state, lent)
        });
        if headers == Some(Map::Request) && !effects.headers.is_empty() {
            self.unmakable |= !self.can_make(&effects.headers);
        }
        if headers == Some(Map::Response) {
            self.replacement = effects.replacement.take();
        }
        self.root.apply(&mut effects, headers);
        self.root.return_effects(effects);
        result
    }

    fn can_make(&self, edits: &[HeaderEdit]) -> bool {
        self.root.gateway().removes_headers()
            || edits
                .iter()
                .all(|edit| self.request.all(edit.name()).nth(1).is_none())
    }

    fn reply(&mut self, reply: &Reply) {
        self.waits = Waits::Answered;
        let head = F::head(&self.state, &self.request);
        let id = request_id(head.first("x-request-id"), self.seen, self.id);
        let (media_type, body) = reply.body(&id);
        let mut pairs: Vec<(&[u8], &[u8])> = vec![
            (b"content-type", media_type.as_bytes()),
            (b"cache-control", b"no-store"),
        ];
        for (name, value) in &reply.headers {
            // Gateways let CR and LF through.
            if is_header_value(value) {
                pairs.push((name.as_bytes(), value.as_bytes()));
            }
        }
        let headers = to_wire(&pairs).unwrap_or_default();
        if abi::send_local_response(reply.status, reply.code, &headers, &body).is_err() {
            meters::log(Level::Warn, &format!("{}: a reply was refused", F::NAME));
        }
    }
}
