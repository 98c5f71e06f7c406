//! What a case expects.

use std::collections::BTreeMap;
use std::fmt;

use policy::duration::Span;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::exchange::Exchange;
use crate::problem;
use crate::request::Request;

/// What must come of a request.
#[derive(Clone, Debug, Default)]
pub struct Expect {
    pub status: Option<u16>,
    pub code: Option<String>,
    /// Response headers with their values; `*` is any value, `!x` any but `x`, `x | y` either.
    pub headers: BTreeMap<String, String>,
    /// Response headers that must not be there.
    pub absent: Vec<String>,
    pub upstream: UpstreamExpect,
    /// How often services were asked in this step.
    pub calls: BTreeMap<String, Count>,
    /// How metrics moved in this step.
    pub metrics: BTreeMap<String, Count>,
    /// The response takes at least so long.
    pub at_least: Option<Span>,
    /// The response takes at most so long.
    pub at_most: Option<Span>,
}

/// What the upstream must have seen.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamExpect {
    pub reached: Option<bool>,
    /// It was reached, but its response was replaced, so that the client cannot tell.
    pub replaced: bool,
    /// The path with its query.
    pub path: Option<String>,
    /// Headers with their one value.
    pub headers: BTreeMap<String, String>,
    /// Headers that must not have arrived.
    pub absent: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct Full {
    #[serde(rename = "is")]
    word: Option<String>,
    status: Option<u16>,
    code: Option<String>,
    headers: BTreeMap<String, String>,
    absent: Vec<String>,
    upstream: UpstreamExpect,
    calls: BTreeMap<String, Count>,
    metrics: BTreeMap<String, Count>,
    at_least: Option<Span>,
    at_most: Option<Span>,
}

impl<'de> Deserialize<'de> for Expect {
    /// A table, or a word: `pass` (200 from the upstream) or `401 token_expired` (a refusal that
    /// the upstream knows nothing of). In a table the word is the member `is`.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        if let serde_json::Value::String(word) = &value {
            return Self::default().word(word).map_err(D::Error::custom);
        }
        let full: Full = serde_json::from_value(value).map_err(D::Error::custom)?;
        let expect = Self {
            status: full.status,
            code: full.code,
            headers: full.headers,
            absent: full.absent,
            upstream: full.upstream,
            calls: full.calls,
            metrics: full.metrics,
            at_least: full.at_least,
            at_most: full.at_most,
        };
        match full.word {
            Some(word) => expect.word(&word).map_err(D::Error::custom),
            None => Ok(expect),
        }
    }
}

impl Expect {
    fn word(mut self, word: &str) -> Result<Self, String> {
        if word == "pass" {
            self.status.get_or_insert(200);
            self.upstream.reached.get_or_insert(true);
            return Ok(self);
        }
        let (status, code) = word.split_once(' ').unwrap_or((word, ""));
        let status = status
            .parse()
            .map_err(|_| format!("{word:?} is neither `pass` nor a status and a code"))?;
        self.status = Some(status);
        if !code.is_empty() {
            self.code = Some(code.to_owned());
            self.upstream.reached.get_or_insert(false);
        }
        Ok(self)
    }

    /// Everything about an exchange that is not as expected.
    #[must_use]
    pub fn faults(&self, request: &Request, exchange: &Exchange) -> Vec<String> {
        let mut faults = Vec::new();
        if let Some(status) = self.status
            && exchange.status != status
        {
            faults.push(format!("status is {}, not {status}", exchange.status));
        }
        if let Some(code) = &self.code {
            faults.extend(problem::faults(request, exchange, code));
        }
        for (name, expected) in &self.headers {
            match exchange.header(name) {
                Some(value) if is_expected(value.as_bytes(), expected) => {}
                got => faults.push(format!(
                    "response header {name} is {got:?}, not {expected:?}"
                )),
            }
        }
        for name in &self.absent {
            if let Some(value) = exchange.header(name) {
                faults.push(format!("response header {name} is there: {value:?}"));
            }
        }
        if let Some(at_least) = self.at_least
            && exchange.took < at_least.0
        {
            faults.push(format!(
                "took {:?}, not at least {:?}",
                exchange.took, at_least.0
            ));
        }
        if let Some(at_most) = self.at_most
            && exchange.took > at_most.0
        {
            faults.push(format!(
                "took {:?}, not at most {:?}",
                exchange.took, at_most.0
            ));
        }
        self.upstream.faults(exchange, &mut faults);
        faults
    }
}

/// `*` is any value, `!x` any but `x`, `x | y` either.
fn is_expected(value: &[u8], expected: &str) -> bool {
    match expected.strip_prefix('!') {
        Some(unexpected) => value != unexpected.as_bytes(),
        None => expected == "*" || expected.split(" | ").any(|one| value == one.as_bytes()),
    }
}

impl UpstreamExpect {
    fn faults(&self, exchange: &Exchange, faults: &mut Vec<String>) {
        let reached = exchange.upstream.is_some();
        let looks = self.path.is_some() || !self.headers.is_empty() || !self.absent.is_empty();
        if let Some(expected) = self.reached.or(looks.then_some(true))
            && reached != expected
        {
            let got = if reached { "reached" } else { "did not reach" };
            faults.push(format!("the request {got} the upstream"));
        }
        let Some(seen) = &exchange.upstream else {
            return;
        };
        if let Some(path) = &self.path
            && seen.path.bytes() != path.as_bytes()
        {
            faults.push(format!(
                "the upstream saw the path {:?}, not {path:?}",
                seen.path
            ));
        }
        for (name, expected) in &self.headers {
            let values: Vec<Vec<u8>> = seen.all(name).collect();
            let fits = match values.as_slice() {
                [value] => is_expected(value, expected),
                _ => false,
            };
            if !fits {
                let shown: Vec<String> = values
                    .iter()
                    .map(|v| v.escape_ascii().to_string())
                    .collect();
                faults.push(format!(
                    "the upstream saw {name} as {shown:?}, not {expected:?}"
                ));
            }
        }
        for name in &self.absent {
            if let Some(value) = seen.all(name).next() {
                faults.push(format!("the upstream saw {name}: {}", value.escape_ascii()));
            }
        }
    }
}

/// How many: `3`, `"1..=3"`, `"2.."`, `"..=5"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    at_least: u64,
    at_most: u64,
}

impl Count {
    #[must_use]
    pub const fn fits(self, count: u64) -> bool {
        self.at_least <= count && count <= self.at_most
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.at_least, self.at_most) {
            (from, u64::MAX) => write!(f, "at least {from}"),
            (from, to) if from == to => write!(f, "{from}"),
            (from, to) => write!(f, "{from} to {to}"),
        }
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Exact(u64),
            Range(String),
        }
        let bad = || D::Error::custom("expected a number or a range such as 1..=3, 2.. or ..=5");
        match Written::deserialize(deserializer)? {
            Written::Exact(count) => Ok(Self {
                at_least: count,
                at_most: count,
            }),
            Written::Range(range) => {
                let (from, to) = range.split_once("..").ok_or_else(bad)?;
                let number = |text: &str, otherwise: u64| match text.trim_start_matches('=') {
                    "" => Ok(otherwise),
                    text => text.parse().map_err(|_| bad()),
                };
                if !to.is_empty() && !to.starts_with('=') {
                    return Err(bad());
                }
                Ok(Self {
                    at_least: number(from, 0)?,
                    at_most: number(to, u64::MAX)?,
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn expect(toml: &str) -> Expect {
        #[derive(Deserialize)]
        struct Holder {
            expect: Expect,
        }
        toml::from_str::<Holder>(toml).unwrap().expect
    }

    fn refusal(status: u16, body: &str) -> Exchange {
        Exchange {
            status,
            headers: vec![
                ("content-type".into(), b"application/problem+json".to_vec()),
                ("www-authenticate".into(), b"Bearer".to_vec()),
            ],
            body: body.as_bytes().to_vec(),
            upstream: None,
            took: Duration::ZERO,
        }
    }

    const BODY: &str = r#"{"type":"urn:portcullis:problem:no","title":"No","status":401,"code":"no","request_id":"r"}"#;

    #[test]
    fn a_word_says_it_all() {
        let request = Request::get("/");
        let expect = expect("expect = '401 no'");
        assert_eq!(expect.faults(&request, &refusal(401, BODY)), [""; 0]);
        for (status, body) in [
            (403, BODY.to_owned()),
            (401, BODY.replace("\"r\"", "\"\"")),
            (401, BODY.replace("\"No\"", "\" \"")),
            (401, BODY.replace("401", "400")),
            (401, BODY.replace("\"code\":\"no\"", "\"code\":\"yes\"")),
            (401, BODY.replace("urn:portcullis", "about")),
            (401, BODY.replace('{', "{\"detail\":1,")),
            (401, "no".to_owned()),
        ] {
            let faults = expect.faults(&request, &refusal(status, &body));
            assert!(!faults.is_empty(), "{status} {body}");
        }
        let mut silent = refusal(401, BODY);
        silent.headers.truncate(1);
        assert_eq!(expect.faults(&request, &silent).len(), 1);
    }

    #[test]
    fn the_request_id_is_the_one_that_was_sent() {
        let request = Request::get("/").header("x-request-id", "mine");
        let faults = expect("expect = '401 no'").faults(&request, &refusal(401, BODY));
        assert_eq!(faults.len(), 1, "{faults:?}");
    }

    #[test]
    fn what_the_upstream_saw_counts() {
        let seen = crate::exchange::Seen {
            method: "GET".into(),
            path: b"/x".as_slice().into(),
            headers: vec![
                ("a".into(), b"1".as_slice().into()),
                ("b".into(), b"2".as_slice().into()),
                ("b".into(), b"\xff".as_slice().into()),
            ],
            body: b"".as_slice().into(),
        };
        let passed = Exchange {
            status: 200,
            headers: Vec::new(),
            body: Vec::new(),
            upstream: Some(seen),
            took: Duration::ZERO,
        };
        for (toml, faults) in [
            ("expect = 'pass'", 0),
            ("expect = '401 no'", 4),
            (
                "expect = { is = 'pass', upstream = { headers = { a = '1' }, path = '/x' } }",
                0,
            ),
            ("expect = { upstream = { headers = { a = '*' } } }", 0),
            ("expect = { upstream = { headers = { a = '!2' } } }", 0),
            ("expect = { upstream = { headers = { a = '!1' } } }", 1),
            ("expect = { upstream = { headers = { a = '2' } } }", 1),
            ("expect = { upstream = { headers = { a = '1 | 2' } } }", 0),
            ("expect = { upstream = { headers = { a = '2 | 3' } } }", 1),
            ("expect = { upstream = { headers = { b = '2' } } }", 1),
            ("expect = { upstream = { absent = ['c'] } }", 0),
            ("expect = { upstream = { absent = ['B'] } }", 1),
            ("expect = { upstream = { reached = false } }", 1),
            ("expect = { upstream = { path = '/y' } }", 1),
        ] {
            let found = expect(toml).faults(&Request::get("/x"), &passed);
            assert!(
                found.len() == faults || (faults > 1 && found.len() > 1),
                "{toml}: {found:?}"
            );
        }
    }

    #[test]
    fn counts_are_numbers_or_ranges() {
        #[derive(Deserialize)]
        struct Holder {
            n: Count,
        }
        let count = |text: &str| toml::from_str::<Holder>(text).map(|holder| holder.n);
        assert!(count("n = 3").unwrap().fits(3));
        assert!(!count("n = 3").unwrap().fits(4));
        assert!(count("n = '1..=3'").unwrap().fits(3));
        assert!(!count("n = '1..=3'").unwrap().fits(0));
        assert!(count("n = '2..'").unwrap().fits(u64::MAX));
        assert!(!count("n = '..=5'").unwrap().fits(6));
        for bad in ["n = 'x'", "n = '1..3'", "n = '1'", "n = -1"] {
            assert!(count(bad).is_err(), "{bad}");
        }
    }
}
