//! Runs a policy in this process on a virtual clock: what the crate `host` does in a gateway, in
//! milliseconds and always the same way.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::{Rc, Weak};
use std::time::Duration;

use policy::callout::Callout;
use policy::effects::is_header_value;
use policy::guard::Lent;
use policy::host::{Signature, VIA_UPSTREAM};
use policy::metric::{LABELS, exported_name};
use policy::reply::request_id;
use policy::{
    Answer, CalloutError, ConfigErrors, Effects, Event, Fact, Filter, Head, HeaderEdit, Host,
    KeeperCx, Kind, Level, Metric, Phases, Reply, Series, Time, Verdict,
};

use crate::exchange::{Exchange, Seen, Text};
use crate::native_crypto;
use crate::request::{DEFAULT_HOST, Request, Tls};
use crate::upstream::Connection;
use crate::world::{Asked, End, World};

/// Which gateway is imitated, in what policies can notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flavour {
    /// Lends its crypto, holds requests without a callout, answers failed callouts with 503 and
    /// 504 of its own making.
    Envoy,
    /// None of these; hands out at most 100 headers.
    Kong,
}

/// When every drive begins: 15 January 2027, 08:00 UTC.
pub const BEGINNING: Time = Time::from_secs(1_800_000_000);

/// The host takes no shorter tick period.
const MIN_TICK: Duration = Duration::from_millis(10);
/// Events that one callback of the gateway may cause in a row, as in the host.
const MAX_EVENTS: usize = 8;
/// A connection that nobody accepts ends this soon.
const REFUSED_AFTER: Duration = Duration::from_millis(1);
/// Nothing that is worth testing makes a request wait longer than this.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);
/// The most headers that Kong hands out.
const KONG_MAX_HEADERS: usize = 100;

/// A request in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub struct Ticket(u32);

/// A filter, its keeper, its requests, the clock, and the world around.
pub struct Drive<F: Filter> {
    flavour: Flavour,
    world: World,
    route: Option<Vec<u8>>,
    now: Time,
    root: Rc<Root<F>>,
    streams: BTreeMap<u32, Stream<F>>,
    done: BTreeMap<u32, Exchange>,
    due: BTreeMap<(Time, u64), Due<F>>,
    sequence: u64,
    next_stream: u32,
    metrics: BTreeMap<String, u64>,
    logs: Vec<(Level, String)>,
}

struct Root<F: Filter> {
    config: F::Config,
    series: Series<F::Metric>,
    keeper: RefCell<F::Keeper>,
}

struct Stream<F: Filter> {
    root: Rc<Root<F>>,
    state: F::Request,
    request: Request,
    head: Head,
    /// The headers as the next filter will see them.
    edited: Vec<(String, Vec<u8>)>,
    /// An edit of the request was asked for that the gateway cannot make.
    unmakable: bool,
    host: Facts,
    started: Time,
    waits: Waits,
}

/// What a request waits for; the number tells one wait from the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    Nothing,
    Callout(u64),
    /// Time, which passes while a callout is under way.
    Held(u64, Time),
    Asleep(u64),
    Awaiting(u64),
}

enum Due<F: Filter> {
    Tick(Weak<Root<F>>, Duration),
    KeeperAnswer(Rc<Root<F>>, u32, Ended),
    Answer(u32, u64, Ended),
    Woke(u32, u64),
}

type Ended = Result<(Head, Vec<u8>), CalloutError>;

/// What the policy may ask of the gateway during one request.
struct Facts {
    peer: Vec<u8>,
    route: Option<Vec<u8>>,
    tls: Option<Tls>,
    lends_crypto: bool,
    /// The connection to the upstream, once there is one. Kong tells nothing of it.
    connection: Option<Connection>,
    tells_connection: bool,
}

impl Host for Facts {
    fn fact(&self, fact: Fact) -> Option<Vec<u8>> {
        match fact {
            Fact::PeerAddress => Some(self.peer.clone()),
            Fact::Route => self.route.clone(),
            Fact::Ja3 => Some(self.tls.as_ref()?.ja3.clone()?.into_bytes()),
            Fact::Ja4 => Some(self.tls.as_ref()?.ja4.clone()?.into_bytes()),
            Fact::UpstreamIdentity => match self.connection.as_ref()? {
                Connection::Tls(identity) => Some(identity.clone()?.into_bytes()),
                _ => None,
            },
            Fact::UpstreamFailure => match self.connection.as_ref()? {
                Connection::Fails(why) => Some(why.clone().into_bytes()),
                _ => None,
            },
            Fact::ResponseDetails => Some(match self.connection.as_ref()? {
                Connection::Fails(_) => b"upstream_reset_before_response_started".to_vec(),
                _ => VIA_UPSTREAM.to_vec(),
            }),
            _ => None,
        }
    }

    fn tells(&self, fact: Fact) -> bool {
        self.tells_connection
            || !matches!(
                fact,
                Fact::UpstreamIdentity | Fact::UpstreamFailure | Fact::ResponseDetails
            )
    }

    fn verify(&self, signature: Signature<'_>) -> Option<bool> {
        if self.lends_crypto {
            native_crypto::verify(signature)
        } else {
            None
        }
    }
}

impl<F: Filter> Drive<F> {
    /// Loads a configuration (JSON text) as Envoy would.
    ///
    /// # Errors
    /// Everything that is wrong with the configuration.
    pub fn new(config: impl AsRef<[u8]>, world: World) -> Result<Self, ConfigErrors> {
        Self::like(Flavour::Envoy, config, world)
    }

    /// The same in the manner of either gateway.
    ///
    /// # Errors
    /// Everything that is wrong with the configuration.
    pub fn like(
        flavour: Flavour,
        config: impl AsRef<[u8]>,
        world: World,
    ) -> Result<Self, ConfigErrors> {
        let root = Root::<F>::load(config.as_ref(), BEGINNING)?;
        let mut drive = Self {
            flavour,
            world,
            route: None,
            now: BEGINNING,
            root,
            streams: BTreeMap::new(),
            done: BTreeMap::new(),
            due: BTreeMap::new(),
            sequence: 0,
            next_stream: 1,
            metrics: BTreeMap::new(),
            logs: Vec::new(),
        };
        drive.schedule_ticks();
        Ok(drive)
    }

    /// Replaces the configuration; requests in flight keep the old one.
    ///
    /// # Errors
    /// Everything that is wrong with the new configuration; the old one stays.
    pub fn reload(&mut self, config: impl AsRef<[u8]>) -> Result<(), ConfigErrors> {
        self.root = Root::load(config.as_ref(), self.now)?;
        self.schedule_ticks();
        Ok(())
    }

    /// What the gateway calls the route from now on.
    pub fn set_route(&mut self, route: &str) {
        self.route = Some(route.as_bytes().to_vec());
    }

    #[must_use]
    pub const fn now(&self) -> Time {
        self.now
    }

    /// Moves the gateway's clock without letting anything happen, also backwards.
    pub const fn set_clock(&mut self, now: Time) {
        self.now = now;
    }

    /// Lets time pass, and everything happen that is due meanwhile.
    pub fn advance(&mut self, time: Duration) {
        let until = self.now.plus(time);
        while let Some(entry) = self.due.first_entry() {
            if entry.key().0 > until {
                break;
            }
            let ((at, _), due) = entry.remove_entry();
            self.now = self.now.max(at);
            self.happen(due);
        }
        self.now = self.now.max(until);
    }

    /// Sends a request and waits for the response.
    pub fn request(&mut self, request: Request) -> Exchange {
        let ticket = self.start(request);
        self.finish(ticket)
    }

    /// Sends a request and does not wait.
    pub fn start(&mut self, request: Request) -> Ticket {
        let id = self.next_stream;
        self.next_stream += 1;
        let headers = self.headers_of(&request);
        let mut head: Head = headers.iter().map(|(n, v)| (n, v)).collect();
        if self.flavour == Flavour::Kong && head.len() >= KONG_MAX_HEADERS {
            head = headers
                .iter()
                .take(KONG_MAX_HEADERS)
                .map(|(n, v)| (n, v))
                .collect::<Head>()
                .with_truncation(true);
        }
        let peer = request.peer.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let peer = match self.flavour {
            Flavour::Envoy => std::net::SocketAddr::new(peer, 50_000).to_string(),
            Flavour::Kong => peer.to_string(),
        };
        let tls = match self.flavour {
            Flavour::Envoy => request.tls.clone(),
            Flavour::Kong => None,
        };
        let stream = Stream {
            root: Rc::clone(&self.root),
            state: F::request(id),
            request,
            head,
            edited: headers,
            unmakable: false,
            host: Facts {
                peer: peer.into_bytes(),
                route: self.route.clone(),
                tls,
                lends_crypto: self.flavour == Flavour::Envoy,
                connection: None,
                tells_connection: self.flavour == Flavour::Envoy,
            },
            started: self.now,
            waits: Waits::Nothing,
        };
        self.streams.insert(id, stream);
        self.proceed(id, Event::Headers);
        Ticket(id)
    }

    /// Waits for the response, letting as much time pass as it takes.
    ///
    /// # Panics
    /// When there is no such request, or nothing would ever end it.
    pub fn finish(&mut self, ticket: Ticket) -> Exchange {
        let patience = self.now.plus(PATIENCE);
        loop {
            if let Some(exchange) = self.done.remove(&ticket.0) {
                return exchange;
            }
            let waits = self.streams.get(&ticket.0).map(|stream| stream.waits);
            let Some(waits) = waits else {
                panic!("request {} is over, or never was", ticket.0)
            };
            match self.due.first_key_value() {
                Some((&(at, _), _)) if at <= patience => {
                    let step = at.since(self.now);
                    self.advance(step);
                }
                _ => panic!("request {} waits for {waits:?}, which never ends", ticket.0),
            }
        }
    }

    /// Whether the request has no response yet.
    #[must_use]
    pub fn is_waiting(&self, ticket: Ticket) -> bool {
        self.streams.contains_key(&ticket.0)
    }

    /// The client hangs up.
    pub fn disconnect(&mut self, ticket: Ticket) {
        self.done.remove(&ticket.0);
        self.end(ticket.0);
    }

    /// How many requests an endpoint of the world got: `jwks`, `resolve`.
    #[must_use]
    pub fn calls(&self, endpoint: &str) -> u64 {
        self.world.calls(endpoint)
    }

    /// A metric by its exported name; 0 if it never moved.
    #[must_use]
    pub fn metric(&self, name: &str) -> u64 {
        self.metrics.get(name).copied().unwrap_or_default()
    }

    /// All metrics by their exported names.
    #[must_use]
    pub const fn metrics(&self) -> &BTreeMap<String, u64> {
        &self.metrics
    }

    /// Every log line so far.
    #[must_use]
    pub fn logs(&self) -> &[(Level, String)] {
        &self.logs
    }

    /// Looks at the keeper.
    pub fn with_keeper<R>(&self, look: impl FnOnce(&F::Keeper) -> R) -> R {
        look(&self.root.keeper.borrow())
    }

    #[must_use]
    pub const fn world(&self) -> &World {
        &self.world
    }

    /// The headers as this gateway would show them to its filters.
    fn headers_of(&self, request: &Request) -> Vec<(String, Vec<u8>)> {
        let host = request.first("host").unwrap_or(DEFAULT_HOST.as_bytes());
        let authority = match self.flavour {
            Flavour::Envoy => host.to_vec(),
            Flavour::Kong => b"kong:28000".to_vec(),
        };
        let mut headers: Vec<(String, Vec<u8>)> = vec![
            (":authority".into(), authority),
            (":path".into(), request.path.clone()),
            (":method".into(), request.method.clone().into_bytes()),
            (":scheme".into(), b"http".to_vec()),
        ];
        if self.flavour == Flavour::Kong {
            headers.push(("host".into(), host.to_vec()));
        }
        headers.extend(
            request
                .headers
                .iter()
                .filter(|(name, _)| !name.eq_ignore_ascii_case(b"host"))
                .map(|(name, value)| (lower(name), value.clone())),
        );
        headers
    }

    fn schedule_ticks(&mut self) {
        if F::PHASES.has(Phases::TICK)
            && let Some(every) = F::tick_every(&self.root.config)
        {
            let every = every.max(MIN_TICK);
            let root = Rc::downgrade(&self.root);
            self.at(self.now.plus(every), Due::Tick(root, every));
        }
    }

    fn at(&mut self, time: Time, due: Due<F>) {
        self.sequence += 1;
        self.due.insert((time, self.sequence), due);
    }

    fn happen(&mut self, due: Due<F>) {
        match due {
            Due::Tick(root, every) => {
                let Some(root) = root.upgrade() else { return };
                self.at(self.now.plus(every), Due::Tick(Rc::downgrade(&root), every));
                self.keep(&root, F::on_tick);
            }
            Due::KeeperAnswer(root, tag, ended) => {
                self.keep(&root, |keeper, cx| {
                    F::on_answer(keeper, tag, answer(&ended), cx);
                    assert!(cx.calls.is_empty(), "a keeper asks from ticks alone");
                });
            }
            Due::Answer(id, wait, ended) => match self.waits(id) {
                Some(Waits::Callout(w)) if w == wait => {
                    self.proceed(id, Event::Answer(answer(&ended)));
                }
                Some(Waits::Held(w, until)) if w == wait => self.held(id, until, &ended),
                _ => {}
            },
            Due::Woke(id, wait) => {
                if matches!(self.waits(id), Some(Waits::Asleep(w) | Waits::Awaiting(w)) if w == wait)
                {
                    self.proceed(id, Event::Woke);
                }
            }
        }
    }

    fn waits(&self, id: u32) -> Option<Waits> {
        self.streams.get(&id).map(|stream| stream.waits)
    }

    /// Lets the keeper work and carries out what it asks for.
    fn keep(
        &mut self,
        root: &Rc<Root<F>>,
        work: impl FnOnce(&mut F::Keeper, &mut KeeperCx<'_, F::Config, F::Metric>),
    ) {
        let mut effects = Effects::default();
        let mut calls = Vec::new();
        let mut cx = KeeperCx {
            config: &root.config,
            now: self.now,
            effects: &mut effects,
            calls: &mut calls,
        };
        work(&mut root.keeper.borrow_mut(), &mut cx);
        self.apply(effects);
        for (tag, callout) in calls {
            match self.ask(&callout) {
                Some((at, ended)) => self.at(at, Due::KeeperAnswer(Rc::clone(root), tag, ended)),
                // At once, as in the host. What the keeper asks for now waits for the next tick.
                None => {
                    let mut effects = Effects::default();
                    let mut ignored = Vec::new();
                    let mut cx = KeeperCx {
                        config: &root.config,
                        now: self.now,
                        effects: &mut effects,
                        calls: &mut ignored,
                    };
                    let keeper = &mut root.keeper.borrow_mut();
                    F::on_answer(keeper, tag, Err(CalloutError::Refused), &mut cx);
                    self.apply(effects);
                }
            }
        }
    }

    /// When and how a callout will end; `None` if the gateway does not know the target.
    fn ask(&self, callout: &Callout) -> Option<(Time, Ended)> {
        let service = self.world.service(&callout.upstream.target)?;
        if service.refuses() {
            return Some((self.now.plus(REFUSED_AFTER), self.broken()));
        }
        let served = service.serve(Asked {
            at: self.now,
            method: callout.method.to_owned(),
            path: callout.path.to_string(),
            headers: callout
                .headers
                .iter()
                .map(|(name, value)| (name.to_ascii_lowercase(), value.clone().into_bytes()))
                .collect(),
            body: callout.body.clone(),
        });
        if served.after >= callout.timeout || served.end == End::Hang {
            return Some((self.now.plus(callout.timeout), self.timed_out()));
        }
        let ended = match served.end {
            End::Answer(response) if response.body.len() > callout.max_answer => {
                Err(CalloutError::TooLarge)
            }
            End::Answer(response) => {
                let status = response.status.to_string();
                let head = std::iter::once((":status", status.as_str()))
                    .chain(
                        response
                            .headers
                            .iter()
                            .map(|(n, v)| (n.as_str(), v.as_str())),
                    )
                    .collect();
                Ok((head, response.body))
            }
            End::CutOff(_) => Err(CalloutError::Broken),
            End::Reset | End::Hang => self.broken(),
        };
        Some((self.now.plus(served.after), ended))
    }

    fn broken(&self) -> Ended {
        match self.flavour {
            Flavour::Envoy => made_up(
                503,
                "upstream connect error or disconnect/reset before headers",
            ),
            Flavour::Kong => Err(CalloutError::Broken),
        }
    }

    fn timed_out(&self) -> Ended {
        match self.flavour {
            Flavour::Envoy => made_up(504, "upstream request timeout"),
            Flavour::Kong => Err(CalloutError::Timeout),
        }
    }

    /// Counts, logs and wakes.
    fn apply(&mut self, effects: Effects<F::Metric>) {
        for (filter, outcome) in effects.outcomes {
            assert!(
                self.root.series.outcomes.contains(&(filter, outcome)),
                "{filter} does not announce {outcome:?} among its codes"
            );
            *self
                .metrics
                .entry(outcome.exported_name(filter))
                .or_default() += 1;
        }
        for sample in effects.samples {
            let labels = sample.metric.labels();
            assert_known(sample.metric.name(), &labels);
            assert!(
                !sample.metric.known() || self.root.series.metrics.contains(&sample.metric),
                "{:?} is not among the series of the policy",
                sample.metric
            );
            let name = exported_name(sample.metric.name(), &labels);
            let value = self.metrics.entry(name).or_default();
            match sample.metric.kind() {
                Kind::Counter => *value += sample.value,
                Kind::Gauge | Kind::Sum => *value = sample.value,
            }
        }
        self.logs.extend(effects.logs);
        if effects.wake {
            let awaiting: Vec<(u32, u64)> = self
                .streams
                .iter()
                .filter_map(|(id, stream)| match stream.waits {
                    Waits::Awaiting(wait) => Some((*id, wait)),
                    _ => None,
                })
                .collect();
            for (id, wait) in awaiting {
                self.at(self.now, Due::Woke(id, wait));
            }
        }
    }

    /// Runs the policy until it passes, answers or waits.
    fn proceed(&mut self, id: u32, first: Event<'_>) {
        let body = self.streams[&id].request.body.clone();
        let mut event = first;
        for _ in 0..MAX_EVENTS {
            let verdict = self.lend(id, |state, lent| F::on_request(state, event, lent));
            event = match verdict {
                Verdict::Allow if self.streams[&id].unmakable => {
                    let reply = Reply::problem(
                        400,
                        "header_repeated",
                        "A header that the gateway has to change occurs more than once",
                    );
                    return self.reply(id, &reply);
                }
                Verdict::Allow => return self.pass(id),
                Verdict::Deny(reply) => return self.reply(id, &reply),
                Verdict::Call(callout) if F::PHASES.has(Phases::CALLOUTS) => {
                    match self.ask(&callout) {
                        Some((at, ended)) => {
                            let wait = self.sequence;
                            self.hold(id, Waits::Callout(wait));
                            return self.at(at, Due::Answer(id, wait, ended));
                        }
                        None => Event::Answer(Err(CalloutError::Refused)),
                    }
                }
                Verdict::SleepUntil(until) if self.can_wait() => {
                    let wait = self.sequence;
                    self.hold(id, Waits::Asleep(wait));
                    return self.at(until.max(self.now), Due::Woke(id, wait));
                }
                Verdict::SleepUntil(until) if self.hold_by_callout(id, until) => return,
                Verdict::Await { until } if self.can_wait() => {
                    let wait = self.sequence;
                    self.hold(id, Waits::Awaiting(wait));
                    return self.at(until.max(self.now), Due::Woke(id, wait));
                }
                Verdict::ReadBody { at_most } if F::PHASES.has(Phases::REQUEST_BODY) => {
                    Event::Body(&body[..body.len().min(at_most)])
                }
                _ => Event::Answer(Err(CalloutError::Refused)),
            };
        }
        self.logs
            .push((Level::Warn, format!("{}: no verdict", F::NAME)));
        let reply = Reply::problem(
            503,
            "filter_fault",
            "The gateway could not decide on the request",
        );
        self.reply(id, &reply);
    }

    /// Lets the time pass with a callout that takes as long, as the host does where nothing else holds a request.
    fn hold_by_callout(&mut self, id: u32, until: Time) -> bool {
        if !F::PHASES.has(Phases::CALLOUTS) {
            return false;
        }
        let stream = &self.streams[&id];
        let Some((at, ended)) = F::hold(&stream.state, &stream.root.config, until.since(self.now))
            .and_then(|callout| self.ask(&callout))
        else {
            return false;
        };
        let wait = self.sequence;
        self.hold(id, Waits::Held(wait, until));
        self.at(at, Due::Answer(id, wait, ended));
        true
    }

    /// The callout that held a request has ended.
    fn held(&mut self, id: u32, until: Time, ended: &Ended) {
        match answer(ended) {
            _ if self.now >= until => self.proceed(id, Event::Woke),
            Ok(answer) if answer.status == 200 && self.hold_by_callout(id, until) => {}
            Ok(_) => self.proceed(id, Event::Answer(Err(CalloutError::Refused))),
            Err(error) => self.proceed(id, Event::Answer(Err(error))),
        }
    }

    fn can_wait(&self) -> bool {
        F::PHASES.has(Phases::TICK) && self.flavour == Flavour::Envoy
    }

    fn hold(&mut self, id: u32, waits: Waits) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.waits = waits;
        }
    }

    /// Runs the filter on a request and carries out what it causes; edits go to the request.
    fn lend<R>(&mut self, id: u32, work: impl FnOnce(&mut F::Request, Lent<'_, F>) -> R) -> R {
        let stream = self.streams.get_mut(&id).expect("the request is in flight");
        stream.waits = Waits::Nothing;
        let mut effects = Effects::default();
        let result = stream.run(self.now, &mut effects, work);
        if self.flavour == Flavour::Kong {
            // Of a header that comes twice, Kong changes the first only.
            stream.unmakable |= effects.headers.iter().any(|edit| {
                let (HeaderEdit::Set(name, _) | HeaderEdit::Remove(name)) = edit;
                stream.head.all(name).nth(1).is_some()
            });
        }
        edit(&mut stream.edited, &mut effects);
        self.apply(effects);
        result
    }

    /// The request goes on to the upstream, and its response back to the client.
    fn pass(&mut self, id: u32) {
        let stream = &self.streams[&id];
        let pseudo = |name: &str| {
            stream
                .edited
                .iter()
                .find(|(n, _)| n == name)
                .map(|(_, value)| value.clone())
                .unwrap_or_default()
        };
        let host = match self.flavour {
            Flavour::Envoy => Some(("host".to_owned(), pseudo(":authority"))),
            Flavour::Kong => None,
        };
        let seen = Seen {
            method: String::from_utf8_lossy(&pseudo(":method")).into_owned(),
            path: Text::from(pseudo(":path").as_slice()),
            headers: host
                .into_iter()
                .chain(stream.edited.iter().cloned())
                .filter(|(name, _)| !name.starts_with(':'))
                .map(|(name, value)| (name, Text::from(value.as_slice())))
                .collect(),
            body: Text::from(stream.request.body.as_slice()),
        };
        let connection = self.world.upstream.connection();
        let fails = matches!(connection, Connection::Fails(_));
        let (status, headers, body) = if fails {
            let text = [("content-type".to_owned(), "text/plain".to_owned())];
            (503, text.into(), b"upstream connect error".to_vec())
        } else {
            self.world.upstream.serve(&seen)
        };
        if self.flavour == Flavour::Envoy
            && let Some(stream) = self.streams.get_mut(&id)
        {
            stream.host.connection = Some(connection);
        }
        let headers = headers
            .into_iter()
            .map(|(name, value)| (lower(name.as_bytes()), value.into_bytes()))
            .collect();
        let seen = (!fails).then_some(seen);
        match self.filter_response(id, status, headers, false) {
            Ok(headers) => self.respond(id, status, headers, body, seen),
            Err(reply) => {
                let (headers, body) = self.written(id, &reply);
                // The client cannot tell who was asked.
                self.respond(id, reply.status, headers, body, None);
            }
        }
    }

    /// The response's headers as the filter lets them out, or what it answers in its place.
    fn filter_response(
        &mut self,
        id: u32,
        status: u16,
        mut headers: Vec<(String, Vec<u8>)>,
        answered: bool,
    ) -> Result<Vec<(String, Vec<u8>)>, Reply> {
        let stream = self.streams.get_mut(&id).expect("the request is in flight");
        let watched = F::watches_response(&stream.state, answered);
        if watched == Phases::NONE {
            return Ok(headers);
        }
        let all = watched.has(Phases::RESPONSE);
        let line = (":status".to_owned(), status.to_string().into_bytes());
        let head: Head = std::iter::once(&line)
            .chain(headers.iter().filter(|_| all))
            .map(|(name, value)| (name, value))
            .collect();
        let mut effects = Effects::default();
        stream.run(self.now, &mut effects, |state, lent| {
            F::on_response(state, &head, lent);
        });
        edit(&mut headers, &mut effects);
        let replacement = effects.replacement.take();
        self.apply(effects);
        match replacement {
            Some(reply) => Err(reply),
            None => Ok(headers),
        }
    }

    /// The gateway answers.
    fn reply(&mut self, id: u32, reply: &Reply) {
        let (headers, body) = self.written(id, reply);
        let headers = self
            .filter_response(id, reply.status, headers, true)
            .expect("a reply is not replaced");
        self.respond(id, reply.status, headers, body, None);
    }

    /// A reply's headers and body.
    fn written(&self, id: u32, reply: &Reply) -> (Vec<(String, Vec<u8>)>, Vec<u8>) {
        let stream = &self.streams[&id];
        let head = F::head(&stream.state, &stream.head);
        let request_id = request_id(head.first("x-request-id"), self.now, id);
        let (media_type, body) = reply.body(&request_id);
        let mut headers: Vec<(String, Vec<u8>)> = vec![
            ("content-type".into(), media_type.into()),
            ("cache-control".into(), b"no-store".to_vec()),
        ];
        headers.extend(
            reply
                .headers
                .iter()
                .filter(|(_, value)| is_header_value(value))
                .map(|(name, value)| (lower(name.as_bytes()), value.as_bytes().to_vec())),
        );
        (headers, body)
    }

    fn respond(
        &mut self,
        id: u32,
        status: u16,
        headers: Vec<(String, Vec<u8>)>,
        body: Vec<u8>,
        upstream: Option<Seen>,
    ) {
        let took = self.now.since(self.streams[&id].started);
        self.done.insert(
            id,
            Exchange {
                status,
                headers,
                body,
                upstream,
                took,
            },
        );
        self.end(id);
    }

    /// The request is over.
    fn end(&mut self, id: u32) {
        if let Some(mut stream) = self.streams.remove(&id) {
            let mut effects = Effects::default();
            stream.run(self.now, &mut effects, F::on_done);
            self.apply(effects);
        }
    }
}

impl<F: Filter> Root<F> {
    fn load(config: &[u8], now: Time) -> Result<Rc<Self>, ConfigErrors> {
        let config = F::load(config)?;
        let keeper = RefCell::new(F::keeper(&config, now));
        let series = F::series(&config);
        Ok(Rc::new(Self {
            config,
            series,
            keeper,
        }))
    }
}

impl<F: Filter> Stream<F> {
    fn run<R>(
        &mut self,
        now: Time,
        effects: &mut Effects<F::Metric>,
        work: impl FnOnce(&mut F::Request, Lent<'_, F>) -> R,
    ) -> R {
        let lent = Lent {
            config: &self.root.config,
            keeper: &mut *self.root.keeper.borrow_mut(),
            request: &self.head,
            now,
            host: &self.host,
            effects,
        };
        work(&mut self.state, lent)
    }
}

fn answer(ended: &Ended) -> Result<Answer<'_>, CalloutError> {
    let (headers, body) = ended.as_ref().map_err(|error| *error)?;
    Ok(Answer {
        status: headers.status().ok_or(CalloutError::Broken)?,
        headers,
        body,
    })
}

/// An answer that the gateway makes up when there is none.
fn made_up(status: u16, body: &str) -> Ended {
    let head = [
        (":status", status.to_string()),
        ("content-type", "text/plain".to_owned()),
    ]
    .into_iter()
    .collect();
    Ok((head, body.as_bytes().to_vec()))
}

/// Carries out header edits, in order.
fn edit<M>(headers: &mut Vec<(String, Vec<u8>)>, effects: &mut Effects<M>) {
    for edit in effects.headers.drain(..) {
        let (HeaderEdit::Set(name, _) | HeaderEdit::Remove(name)) = &edit;
        headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        if let HeaderEdit::Set(name, value) = edit {
            headers.push((lower(name.as_bytes()), value.as_bytes().to_vec()));
        }
    }
}

fn lower(name: &[u8]) -> String {
    String::from_utf8_lossy(name).to_ascii_lowercase()
}

/// Gateways make labels of those that they are told of, and Kong only in this order.
fn assert_known(name: &str, labels: &[(&str, Cow<'_, str>)]) {
    let mut known = LABELS.iter();
    for (label, _) in labels {
        assert!(
            known.any(|known| known == label),
            "{name}: {label} is not in policy::metric::LABELS, or not behind the labels before it"
        );
    }
}
