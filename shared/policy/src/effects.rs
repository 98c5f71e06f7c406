//! What a policy causes beside its verdict.

use std::ops::Deref;
use std::rc::Rc;
use std::time::Duration;

use crate::metric::{Sample, exported_name};
use crate::reply::Reply;

/// How loud a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

/// A change of a header map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderEdit {
    /// Removes every value of the header, then adds this one.
    Set(EditText, EditText),
    /// Removes every value of the header.
    Remove(EditText),
}

/// A name or a value in an edit. What a configuration or a keeper holds is shared with it, not copied.
#[derive(Clone, Debug)]
pub enum EditText {
    Fixed(&'static str),
    Shared(Rc<str>),
    Made(String),
}

impl Deref for EditText {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Fixed(text) => text,
            Self::Shared(text) => text,
            Self::Made(text) => text,
        }
    }
}

impl PartialEq for EditText {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for EditText {}

impl From<&'static str> for EditText {
    fn from(text: &'static str) -> Self {
        Self::Fixed(text)
    }
}

impl From<&Rc<str>> for EditText {
    fn from(text: &Rc<str>) -> Self {
        Self::Shared(Rc::clone(text))
    }
}

impl From<String> for EditText {
    fn from(text: String) -> Self {
        Self::Made(text)
    }
}

impl HeaderEdit {
    /// The header.
    #[must_use]
    pub fn name(&self) -> &str {
        let (Self::Set(name, _) | Self::Remove(name)) = self;
        name
    }
}

/// How a request fared with one policy. Exported as
/// `portcullis_requests{filter, outcome, code}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Passed on.
    Allowed,
    /// Refused with this code.
    Denied(&'static str),
    /// Would have been refused with this code, were the policy not in shadow mode.
    Shadowed(&'static str),
    /// The policy had no answer; refused or passed on as configured.
    Faulted,
}

impl Outcome {
    /// The name and labels of the counter.
    #[must_use]
    pub fn exported_name(self, filter: &'static str) -> String {
        let (outcome, code) = match self {
            Self::Allowed => ("allowed", "ok"),
            Self::Denied(code) => ("denied", code),
            Self::Shadowed(code) => ("shadowed", code),
            Self::Faulted => ("faulted", "fault"),
        };
        exported_name(
            "portcullis_requests",
            &[
                ("filter", filter.into()),
                ("outcome", outcome.into()),
                ("code", code.into()),
            ],
        )
    }
}

/// Collected while a policy runs, carried out by the driver afterwards, in order.
#[derive(Clone, Debug)]
pub struct Effects<M> {
    /// Edits of the request, or of the response while it is the response's turn.
    pub headers: Vec<HeaderEdit>,
    pub samples: Vec<Sample<M>>,
    /// What the guard counts, for every policy alike, under the policy's name.
    pub outcomes: Vec<(&'static str, Outcome)>,
    /// How long requests waited for a service, by the policy's name.
    pub waits: Vec<(&'static str, Duration)>,
    pub logs: Vec<(Level, String)>,
    /// Requests that [`Await`](crate::Verdict::Await) are to be woken: the keeper has changed.
    pub wake: bool,
    /// What the client gets in place of the response, of which nothing has left yet. Only while it is the
    /// response's turn.
    pub replacement: Option<Reply>,
}

impl<M> Default for Effects<M> {
    fn default() -> Self {
        Self {
            headers: Vec::new(),
            samples: Vec::new(),
            outcomes: Vec::new(),
            waits: Vec::new(),
            logs: Vec::new(),
            wake: false,
            replacement: None,
        }
    }
}

impl<M> Effects<M> {
    /// Adds one to a counter.
    pub fn count(&mut self, metric: M) {
        self.samples.push(Sample { metric, value: 1 });
    }

    /// Sets a gauge.
    pub fn record(&mut self, metric: M, value: u64) {
        self.samples.push(Sample { metric, value });
    }

    /// Empties the sink and keeps its memory.
    pub fn clear(&mut self) {
        self.headers.clear();
        self.samples.clear();
        self.outcomes.clear();
        self.waits.clear();
        self.logs.clear();
        self.wake = false;
        self.replacement = None;
    }

    /// Replaces a header, whatever values it had.
    pub fn set_header(&mut self, name: impl Into<EditText>, value: impl Into<EditText>) {
        self.headers
            .push(HeaderEdit::Set(name.into(), value.into()));
    }

    /// Removes a header, however often it occurs.
    pub fn remove_header(&mut self, name: impl Into<EditText>) {
        self.headers.push(HeaderEdit::Remove(name.into()));
    }

    /// Answers in place of the upstream, whose response is dropped whole. Policies before this one in the chain do not
    /// see the reply.
    pub fn replace_response(&mut self, reply: Reply) {
        self.replacement = Some(reply);
    }

    /// Writes a log line. Lines never contain a credential, a secret or a body.
    pub fn log(&mut self, level: Level, line: impl Into<String>) {
        self.logs.push((level, line.into()));
    }
}

/// Whether a value may be sent as a header (RFC 9110 section 5.5, without obs-text): visible ASCII,
/// space and tab. CR, LF and NUL never get through.
#[must_use]
pub fn is_header_value(value: &str) -> bool {
    value
        .bytes()
        .all(|b| b == b'\t' || (b' '..=b'~').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn a_header_value_has_no_control_characters() {
        assert!(is_header_value("a b\tc~"));
        for bad in ["a\rb", "a\nb", "a\0b", "é", "\x7f"] {
            assert!(!is_header_value(bad), "{bad:?}");
        }
    }
}
