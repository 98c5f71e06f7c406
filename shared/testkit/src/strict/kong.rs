//! What Kong keeps while a module runs, and what it does not forgive.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use policy::Time;

/// Headers in order. Names and values are bytes.
pub type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// The longest name of a metric, with `pw:`, the filter's name and `:` before it.
pub const MAX_METRIC_NAME: usize = 256;
/// A read of all headers ends here.
pub const MAX_PAIRS: usize = 100;

/// A rule that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// A callout from a callback that may not make any.
    CalloutFromHere,
    /// A callout that says too little, or to something that is no address.
    CalloutMalformed,
    /// A callout, and then letting the request go on.
    CalloutThenContinue,
    /// Resuming or answering a request that is not current.
    NotCurrent,
    /// A tick period from outside a root context, or a second one.
    TickPeriod,
    /// Holding a request that nothing will resume.
    Held,
    /// Answering twice, or too late.
    Answer,
    /// Changing headers at the wrong time.
    HeaderEdit,
    /// Reading what is not there now.
    Read,
    /// A property that cannot be asked for here.
    Property,
    /// A foreign function that is not there.
    ForeignFunction,
    /// A metric moved in a way that its kind does not allow.
    Metric,
    /// A control character in a header.
    HeaderValue,
    /// Memory that is not the module's.
    Memory,
    /// A trap of the module's own.
    Trap,
    /// A callback is missing, or an import does not fit: the module is not loaded.
    Load,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// Which callback runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Start,
    Configure,
    Tick,
    RequestHeaders,
    RequestBody,
    CalloutEnd,
    ResponseHeaders,
    ResponseBody,
    Done,
}

/// A request.
#[derive(Default)]
pub struct Stream {
    pub peer: Option<IpAddr>,
    pub request: Pairs,
    pub response: Pairs,
    pub body: Vec<u8>,
    /// The path that the upstream is sent, if a filter has changed it. An edit of `:path` does not.
    pub sent_on: Option<Vec<u8>>,
    pub reply: Option<LocalReply>,
    /// The response has begun.
    pub responding: bool,
    /// Its callouts that have not ended.
    pub callouts: BTreeSet<u32>,
}

impl Stream {
    /// The path as the client sent it.
    fn path(&self) -> Option<Vec<u8>> {
        let path = self.request.iter().find(|(name, _)| name == b":path");
        path.map(|(_, path)| path.clone())
    }
}

/// What a filter answered by itself.
pub struct LocalReply {
    pub status: u16,
    pub headers: Pairs,
    pub body: Vec<u8>,
}

/// A callout that was started.
pub struct Call {
    pub token: u32,
    /// 0: a root context's.
    pub stream: u32,
    pub root: u32,
    pub target: String,
    pub headers: Pairs,
    pub body: Vec<u8>,
    pub timeout: Duration,
}

/// What came of the callout whose end is being told.
#[derive(Default)]
pub struct Answer {
    /// Without `:status`-like names if nothing came.
    pub headers: Pairs,
    pub body: Vec<u8>,
    /// Why nothing came.
    pub failure: Option<&'static str>,
}

/// A metric by its number.
pub struct Meter {
    pub name: String,
    /// The ABI's: 0 is a counter, 1 a gauge, 2 a histogram.
    pub kind: i32,
    pub value: u64,
}

/// Everything.
pub struct Kong {
    pub filter: String,
    pub now: Time,
    pub step: Step,
    /// The context whose callback runs.
    pub context: u32,
    pub streams: BTreeMap<u32, Stream>,
    /// Configuration and tick period of root contexts.
    pub roots: BTreeMap<u32, (Vec<u8>, Option<Duration>)>,
    pub calls: Vec<Call>,
    pub answer: Option<Answer>,
    pub meters: Vec<Meter>,
    pub logs: Vec<(u32, String)>,
    pub broken: Vec<(Rule, String)>,
    next_token: u32,
    random: u64,
}

impl Kong {
    pub fn new(filter: &str, now: Time) -> Self {
        Self {
            filter: filter.to_owned(),
            now,
            step: Step::Start,
            context: 0,
            streams: BTreeMap::new(),
            roots: BTreeMap::new(),
            calls: Vec::new(),
            answer: None,
            meters: Vec::new(),
            logs: Vec::new(),
            broken: Vec::new(),
            next_token: 1,
            random: 0x9e37_79b9_7f4a_7c15,
        }
    }

    /// Notes a broken rule; the error is the trap.
    pub fn break_rule(&mut self, rule: Rule, what: impl fmt::Display) -> wasmi::Error {
        let line = format!("{what} (in {:?})", self.step);
        self.broken.push((rule, line.clone()));
        wasmi::Error::new(format!("{rule}: {line}"))
    }

    pub fn token(&mut self) -> u32 {
        let token = self.next_token;
        self.next_token += 1;
        token
    }

    /// Not random at all, like Kong's: the same in every worker.
    pub fn random(&mut self) -> u8 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random.to_le_bytes()[3]
    }

    /// The current request.
    pub fn stream(&mut self) -> Option<&mut Stream> {
        self.streams.get_mut(&self.context)
    }

    pub fn in_root(&self) -> bool {
        self.roots.contains_key(&self.context)
    }

    /// The headers that a map number stands for.
    pub fn pairs(&mut self, map: i32) -> Result<Option<&Pairs>, wasmi::Error> {
        match map {
            0 if matches!(
                self.step,
                Step::RequestHeaders | Step::RequestBody | Step::CalloutEnd
            ) && !self.in_root() =>
            {
                Ok(self
                    .streams
                    .get(&self.context)
                    .map(|stream| &stream.request))
            }
            2 if matches!(self.step, Step::ResponseHeaders | Step::ResponseBody) => Ok(self
                .streams
                .get(&self.context)
                .map(|stream| &stream.response)),
            6 if self
                .answer
                .as_ref()
                .is_some_and(|answer| answer.failure.is_none()) =>
            {
                Ok(self.answer.as_ref().map(|answer| &answer.headers))
            }
            6 => Err(self.break_rule(Rule::Read, "headers of an answer that is not there")),
            map => Err(self.break_rule(Rule::Read, format_args!("header map {map}"))),
        }
    }

    /// The headers that may be edited now.
    pub fn editable(&mut self, map: i32) -> Result<Option<&mut Pairs>, wasmi::Error> {
        let early = matches!(
            self.step,
            Step::RequestHeaders | Step::RequestBody | Step::CalloutEnd
        ) && !self.in_root();
        let fits = match map {
            0 => early && self.stream().is_some_and(|stream| !stream.responding),
            2 => self.step == Step::ResponseHeaders,
            _ => false,
        };
        if !fits {
            return Err(self.break_rule(Rule::HeaderEdit, format_args!("header map {map}")));
        }
        Ok(self.stream().map(|stream| match map {
            0 => &mut stream.request,
            _ => &mut stream.response,
        }))
    }

    /// A property by its path, parts separated by NUL.
    pub fn property(&mut self, path: &str) -> Result<Option<Vec<u8>>, wasmi::Error> {
        let parts: Vec<&str> = path.split('\0').collect();
        if parts.len() > 1 && self.in_root() {
            return Err(self.break_rule(
                Rule::Property,
                format_args!("{} outside a request", parts.join(".")),
            ));
        }
        if parts == ["plugin_name"] && self.in_root() {
            return Err(self.break_rule(Rule::Property, "plugin_name in a root context"));
        }
        if parts == ["kong", "response", "source"]
            && !matches!(
                self.step,
                Step::ResponseHeaders | Step::ResponseBody | Step::Done
            )
        {
            return Err(self.break_rule(Rule::Property, "kong.response.source before the response"));
        }
        Ok(match parts.as_slice() {
            ["source", "address"] => self
                .stream()
                .and_then(|stream| stream.peer)
                .map(|peer| peer.to_string().into_bytes()),
            ["ngx", "request_uri"] => self.stream().and_then(|stream| stream.path()),
            ["ngx", "upstream_uri"] => self
                .stream()
                .and_then(|stream| stream.sent_on.clone().or_else(|| stream.path())),
            ["ngx", "pid"] => Some(b"4711".to_vec()),
            ["kong", "route_name"] => Some(b"rt-everything".to_vec()),
            ["kong", "service_name"] => Some(b"everything".to_vec()),
            _ => None,
        })
    }

    /// Sets a property, and says whether there is such a one that can be set.
    pub fn set_property(&mut self, path: &str, value: Vec<u8>) -> Result<bool, wasmi::Error> {
        let Some(stream) = self.stream() else {
            return Err(self.break_rule(
                Rule::Property,
                format_args!("{} set outside a request", path.replace('\0', ".")),
            ));
        };
        if path != "ngx\0upstream_uri" {
            return Ok(false);
        }
        stream.sent_on = Some(value);
        Ok(true)
    }

    /// Whether a callout may be made now. At the end of one, only in the name of a request: out of a root
    /// context it kills the worker.
    pub fn may_call(&self) -> bool {
        match self.step {
            Step::RequestHeaders | Step::RequestBody | Step::Tick => true,
            Step::CalloutEnd => !self.in_root(),
            _ => false,
        }
    }
}

/// Whether this can be a header without being more.
pub fn is_clean(bytes: &[u8]) -> bool {
    !bytes.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0))
}
