//! Questions to a service behind the gateway, and their ends.

use std::borrow::Cow;
use std::rc::Rc;
use std::time::Duration;

use crate::head::Head;

/// Where a callout goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Envoy: the name of a cluster. Kong: `host:port`.
    pub target: Rc<str>,
    /// The `:authority` of the request.
    pub authority: Rc<str>,
}

/// One HTTP request to a service.
#[derive(Clone, Debug, PartialEq)]
pub struct Callout {
    pub upstream: Upstream,
    pub method: &'static str,
    pub path: Rc<str>,
    /// Further headers. Values may be secrets: they are never logged.
    pub headers: Vec<(Cow<'static, str>, String)>,
    pub body: Vec<u8>,
    pub timeout: Duration,
    /// A longer body than this is [`CalloutError::TooLarge`].
    pub max_answer: usize,
}

/// What a service answered.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    pub status: u16,
    pub headers: &'a Head,
    pub body: &'a [u8],
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CalloutError {
    /// The gateway did not accept the callout: unknown cluster, bad address, wrong phase.
    Refused,
    /// No answer within the time given.
    Timeout,
    /// The connection was refused, reset or ended early.
    Broken,
    /// The answer was longer than `max_answer`.
    TooLarge,
}

impl CalloutError {
    pub const ALL: [Self; 4] = [Self::Refused, Self::Timeout, Self::Broken, Self::TooLarge];

    /// A word for logs and metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Broken => "broken",
            Self::TooLarge => "too_large",
        }
    }
}

impl std::fmt::Display for CalloutError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
