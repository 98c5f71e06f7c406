//! Asking redis-proxy for tokens.

use policy::{Answer, Callout, CalloutError, Service, Time};
use serde::Deserialize;
use wire::limits::{
    ACQUIRE_PATH, AcquireReply, AcquireRequest, Failure, KeyReply, KeyRequest, Limit, MAX_KEYS,
};

use crate::lease::Want;

/// Longest answer that is read: 64 keys need about 8 KiB.
const MAX_ANSWER: usize = 64 * 1024;

/// A call in the making.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    keys: Vec<KeyRequest>,
    asked: Vec<(Box<[u8]>, u64)>,
}

/// A call that was made: for which leases, and how many tokens each.
#[derive(Debug)]
pub(crate) struct Asked {
    pub sent: Time,
    pub keys: Vec<(Box<[u8]>, u64)>,
}

/// How a call ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// One reply per key asked for, in order.
    Answered(Vec<KeyReply>),
    /// The store could not decide any of the keys. The proxy itself is well.
    Undecided(Failure),
    /// Nobody answered as agreed; the word says how.
    Silent(&'static str),
}

/// Every word of [`Ended::Silent`].
pub(crate) const SILENT: [&str; 7] = [
    "refused",
    "timeout",
    "broken",
    "too_large",
    "bad_answer",
    "unavailable",
    "bad_status",
];

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub fn is_full(&self) -> bool {
        self.keys.len() >= MAX_KEYS
    }

    /// `key` is the lease's; `dim` and `value` the store's.
    pub fn add(&mut self, key: &[u8], dim: &str, value: &[u8], limit: Limit, want: Want) {
        self.keys.push(KeyRequest {
            dim: dim.to_owned(),
            value: String::from_utf8_lossy(value).into_owned(),
            limit,
            want: want.tokens,
            give_back: want.give_back,
        });
        self.asked.push((key.into(), want.tokens));
    }

    /// The call; `None` if there is nothing to ask.
    pub fn send(self, proxy: &Service, now: Time) -> Option<(Callout, Asked)> {
        if self.keys.is_empty() {
            return None;
        }
        let body = serde_json::to_vec(&AcquireRequest { keys: self.keys }).ok()?;
        let callout = proxy.callout("POST", ACQUIRE_PATH, body, MAX_ANSWER);
        Some((
            callout,
            Asked {
                sent: now,
                keys: self.asked,
            },
        ))
    }

    /// A call that takes nothing and leaves nothing behind, to see whether anybody answers.
    pub fn probe() -> Self {
        let mut probe = Self::default();
        probe.keys.push(KeyRequest {
            dim: "probe".to_owned(),
            value: "probe".to_owned(),
            limit: Limit::window(1, 1_000),
            want: 0,
            give_back: None,
        });
        probe
    }
}

#[derive(Deserialize)]
struct Problem {
    code: Failure,
}

/// Reads the answer to a call for so many keys.
pub(crate) fn read(answer: Result<Answer<'_>, CalloutError>, keys: usize) -> Ended {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return Ended::Silent(error.as_str()),
    };
    match answer.status {
        200 => match policy::json::read::<AcquireReply>(answer.body) {
            Ok(reply) if reply.keys.len() == keys => Ended::Answered(reply.keys),
            _ => Ended::Silent("bad_answer"),
        },
        503 => match policy::json::read::<Problem>(answer.body) {
            Ok(problem) => Ended::Undecided(problem.code),
            Err(_) => Ended::Silent("unavailable"),
        },
        504 => Ended::Silent("timeout"),
        _ => Ended::Silent("bad_status"),
    }
}

#[cfg(test)]
mod tests {
    use policy::Head;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn ended(status: u16, body: &str, keys: usize) -> Ended {
        let headers = Head::default();
        let answer = Answer {
            status,
            headers: &headers,
            body: body.as_bytes(),
        };
        read(Ok(answer), keys)
    }

    #[test]
    fn only_what_was_agreed_is_an_answer() {
        let reply = r#"{"now_ms":1,"keys":[{"granted":5,"retry_after_ms":0,"remaining":9,"reset_ms":5,"limit":10}]}"#;
        assert!(matches!(ended(200, reply, 1), Ended::Answered(keys) if keys.len() == 1));
        assert_eq!(ended(200, reply, 2), Ended::Silent("bad_answer"));
        assert_eq!(ended(200, "<html>", 1), Ended::Silent("bad_answer"));
        assert_eq!(
            ended(503, r#"{"code":"store_full","status":503}"#, 1),
            Ended::Undecided(Failure::StoreFull)
        );
        assert_eq!(
            ended(503, "upstream connect error", 1),
            Ended::Silent("unavailable")
        );
        assert_eq!(ended(504, "", 1), Ended::Silent("timeout"));
        assert_eq!(ended(401, "", 1), Ended::Silent("bad_status"));
        assert_eq!(read(Err(CalloutError::Broken), 1), Ended::Silent("broken"));
    }
}
