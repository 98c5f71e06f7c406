//! What became of a request.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::request::short;

/// What the client got, and what the upstream saw of it.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The response status; 0 if the connection ended without a response.
    pub status: u16,
    /// Response headers in order, names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
    /// The request as it reached the upstream; `None` if it did not.
    pub upstream: Option<Seen>,
    /// From the request's first byte to the response's last.
    pub took: Duration,
}

/// A request as the upstream saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    pub method: String,
    pub path: Text,
    /// Headers in order, names in lower case.
    pub headers: Vec<(String, Text)>,
    pub body: Text,
}

/// Bytes that travel as text where they can and as hexadecimal digits where they cannot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Text {
    Text(String),
    Hex(String),
}

impl From<&[u8]> for Text {
    fn from(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Hex(bytes.iter().map(|byte| format!("{byte:02x}")).collect()),
        }
    }
}

impl Text {
    /// The bytes again.
    ///
    /// # Panics
    /// When the hexadecimal form is broken.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Text(text) => text.clone().into_bytes(),
            Self::Hex(digits) => (0..digits.len() / 2)
                .map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap())
                .collect(),
        }
    }
}

impl Exchange {
    /// The first value of a response header, if it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .and_then(|(_, value)| std::str::from_utf8(value).ok())
    }

    /// The `code` of the problem document that was answered.
    #[must_use]
    pub fn code(&self) -> Option<String> {
        if self.header("content-type") != Some(crate::problem::MEDIA_TYPE) {
            return None;
        }
        let body: Value = serde_json::from_slice(&self.body).ok()?;
        Some(body.get("code")?.as_str()?.to_owned())
    }

    /// `200`, `401 token_expired`: what happened, in a word.
    #[must_use]
    pub fn word(&self) -> String {
        match (self.status, self.code()) {
            (0, _) => "no response".to_owned(),
            (status, Some(code)) => format!("{status} {code}"),
            (status, None) => status.to_string(),
        }
    }

    /// Status, headers and the start of the body, for messages.
    #[must_use]
    pub fn show(&self) -> String {
        let mut out = self.word();
        for (name, value) in &self.headers {
            out.push_str(&format!("\n      {name}: {}", value.escape_ascii()));
        }
        if !self.body.is_empty() {
            let body = short(&String::from_utf8_lossy(&self.body));
            out.push_str(&format!("\n      {}", body.replace('\n', "\n      ")));
        }
        out
    }
}

impl Seen {
    /// Every value of a header.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Vec<u8>> + 'a {
        self.headers
            .iter()
            .filter(move |(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.bytes())
    }

    /// The first value of a header, if it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        self.all(name)
            .next()
            .and_then(|v| String::from_utf8(v).ok())
    }

    /// Whether these bytes are anywhere in the request.
    #[must_use]
    pub fn contains(&self, needle: &[u8]) -> bool {
        let within = |bytes: &[u8]| bytes.windows(needle.len().max(1)).any(|w| w == needle);
        within(&self.path.bytes())
            || within(&self.body.bytes())
            || self.headers.iter().any(|(_, value)| within(&value.bytes()))
    }
}
