//! API keys: their form, the question to the resolver, and what is remembered of its answers.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::rc::Rc;
use std::time::Duration;

use policy::effects::is_header_value;
use policy::ttl_cache::TtlCache;
use policy::{Answer, Callout, CalloutError, Effects, Level, Time};
use sha2::{Digest as _, Sha256};
use watchlist::Sink;
use wire::api_keys::{ResolveReply, ResolveRequest};
use wire::lists::{Change, Member};

use crate::config::ApiKeys;
use crate::metric::AuthMetric;

/// The SHA-256 of a key: all that is kept and sent of it (A2).
pub(crate) type KeyHash = [u8; 32];

/// Longest key that is looked at.
const MAX_KEY: usize = 256;
/// Longest answer of the resolver.
const MAX_ANSWER: usize = 16 * 1024;
/// How long a failure of the resolver is believed, so that those who waited for it do not all ask
/// again in turn.
const FAILURE_TTL: Duration = Duration::from_secs(1);

/// The hash of a key that has the form of one (A9): a known prefix, then at least 256 bits as
/// base62, base64url (43 characters) or hexadecimal (64).
pub(crate) fn hash(key: &str, prefixes: &[String]) -> Option<KeyHash> {
    if key.len() > MAX_KEY {
        return None;
    }
    let secret = prefixes
        .iter()
        .find_map(|prefix| key.strip_prefix(prefix.as_str()))?;
    let fits = secret
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    let least = if secret.bytes().all(|b| b.is_ascii_hexdigit()) {
        64
    } else {
        43
    };
    (fits && secret.len() >= least).then(|| Sha256::digest(key.as_bytes()).into())
}

/// What the resolver said of a key.
#[derive(Clone, Debug)]
pub(crate) enum Known {
    /// It is good; these headers tell the upstream whose it is (A5).
    Active(Rc<[(Rc<str>, Rc<str>)]>),
    /// It is unknown or revoked.
    Invalid,
    /// The resolver did not answer a moment ago.
    Failed,
}

/// What is remembered of keys, and which are being asked for.
#[derive(Debug)]
pub(crate) struct KeyMemory {
    known: TtlCache<KeyHash, Known>,
    /// Keys that are being resolved. As many as there are requests under way at most.
    flights: HashMap<KeyHash, Flight>,
    /// Questions so far.
    asked: u64,
    /// Keys whose owner was forgotten because they were revoked, so far.
    revoked: u64,
}

/// The questions about one key that are under way.
#[derive(Clone, Copy, Debug)]
struct Flight {
    /// Until when somebody may wait for the answer (A10).
    until: Time,
    open: u32,
    /// Answers to questions up to this one say nothing any more: the key was revoked meanwhile (A8).
    stale: u64,
}

/// What came of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    Remembered,
    /// It was older than a revocation of the key, and is forgotten.
    Stale,
}

impl KeyMemory {
    pub fn new(config: &ApiKeys) -> Self {
        Self {
            known: TtlCache::new(config.capacity),
            flights: HashMap::new(),
            asked: 0,
            revoked: 0,
        }
    }

    /// Keys whose owner was forgotten because they were revoked, so far.
    pub const fn revoked(&self) -> u64 {
        self.revoked
    }

    /// The key was revoked: what is known of it is forgotten, and so are answers to what was asked before.
    fn revoke(&mut self, key: &KeyHash) {
        if self.known.remove(key).is_some() {
            self.revoked = self.revoked.saturating_add(1);
        }
        if let Some(flight) = self.flights.get_mut(key) {
            flight.stale = self.asked;
        }
    }

    pub fn get(&mut self, key: &KeyHash, now: Time) -> Option<Known> {
        self.known.get(key, now).map(|known| known.clone())
    }

    /// Until when somebody else's question is worth waiting for.
    pub fn flight(&self, key: &KeyHash, now: Time) -> Option<Time> {
        let until = self.flights.get(key)?.until;
        (now < until).then_some(until)
    }

    /// The question, which is now under way, and its number.
    pub fn ask(&mut self, key: KeyHash, config: &ApiKeys, now: Time) -> Option<(Callout, u64)> {
        let body = serde_json::to_vec(&ResolveRequest {
            key_sha256: hex(&key),
        })
        .ok()?;
        let until = now.plus(config.timeout).plus(Duration::from_millis(100));
        self.asked = self.asked.wrapping_add(1);
        let flight = self.flights.entry(key).or_insert(Flight {
            until,
            open: 0,
            stale: 0,
        });
        flight.until = until;
        flight.open = flight.open.saturating_add(1);
        let callout = Callout {
            upstream: config.upstream.clone(),
            method: "POST",
            path: config.path.clone(),
            headers: vec![
                ("content-type".into(), "application/json".to_owned()),
                (
                    "authorization".into(),
                    format!("Bearer {}", config.service_token.expose()),
                ),
            ],
            body,
            timeout: config.timeout,
            max_answer: MAX_ANSWER,
        };
        Some((callout, self.asked))
    }

    /// Nobody is left to take the answer.
    pub fn abandon(&mut self, key: &KeyHash) {
        self.land(key);
    }

    /// One question about the key is over; up to which number answers are stale.
    fn land(&mut self, key: &KeyHash) -> u64 {
        let Entry::Occupied(mut entry) = self.flights.entry(*key) else {
            return 0;
        };
        let flight = entry.get_mut();
        let stale = flight.stale;
        flight.open = flight.open.saturating_sub(1);
        if flight.open == 0 {
            entry.remove();
        }
        stale
    }

    /// Takes the end of the question of this number.
    pub fn store(
        &mut self,
        (key, number): (KeyHash, u64),
        answer: Result<Answer<'_>, CalloutError>,
        config: &ApiKeys,
        now: Time,
        effects: &mut Effects<AuthMetric>,
    ) -> Stored {
        let stale = self.land(&key);
        effects.wake = true;
        if number <= stale {
            effects.count(AuthMetric::KeyLookups { result: "stale" });
            return Stored::Stale;
        }
        let (known, ttl, result) = match read(answer) {
            Ok(Known::Active(headers)) => (Known::Active(headers), config.ttl, "active"),
            Ok(known) => (known, config.ttl, "inactive"),
            Err(reason) => {
                effects.log(Level::Warn, format!("auth: API key not resolved: {reason}"));
                (Known::Failed, FAILURE_TTL.min(config.ttl), "failed")
            }
        };
        effects.count(AuthMetric::KeyLookups { result });
        self.known.put(key, known, now, now.plus(ttl));
        Stored::Remembered
    }
}

/// Follows the list of revoked keys.
impl Sink for KeyMemory {
    fn apply(&mut self, change: &Change, _: Time) {
        if let Change::Add {
            member: Member::ApiKey(key),
            ..
        } = change
        {
            self.revoke(key);
        }
    }
}

/// An answer that is not exactly what was agreed is a failure of the resolver, never a yes.
fn read(answer: Result<Answer<'_>, CalloutError>) -> Result<Known, String> {
    let answer = answer.map_err(|error| error.to_string())?;
    match answer.status {
        404 => return Ok(Known::Invalid),
        200 => {}
        status => return Err(format!("status {status}")),
    }
    // The parser's own words would show what it found.
    let reply: ResolveReply =
        policy::json::read(answer.body).map_err(|_| "not the agreed JSON".to_owned())?;
    if !reply.active {
        return Ok(Known::Invalid);
    }
    let required = [
        ("x-account-id", &reply.account_id),
        ("x-api-key-id", &reply.key_id),
    ];
    let optional = [("x-tier", &reply.tier), ("x-tenant-id", &reply.tenant_id)];
    let mut headers = Vec::new();
    for (header, value) in required {
        let value = value
            .as_deref()
            .filter(|value| !value.is_empty())
            .ok_or_else(|| format!("no value for {header}"))?;
        headers.push((Rc::from(header), Rc::from(value)));
    }
    for (header, value) in optional {
        if let Some(value) = value {
            headers.push((Rc::from(header), Rc::from(&**value)));
        }
    }
    if headers.iter().all(|(_, value)| is_header_value(value)) {
        Ok(Known::Active(headers.into()))
    } else {
        Err("a value that cannot be a header".to_owned())
    }
}

fn hex(hash: &KeyHash) -> String {
    use std::fmt::Write as _;
    hash.iter()
        .fold(String::with_capacity(64), |mut out, byte| {
            // Writing to a String cannot fail.
            let _ = write!(out, "{byte:02x}");
            out
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::Head;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn prefixes() -> Vec<String> {
        vec!["gk_live_".into(), "gk_test_".into()]
    }

    #[test]
    fn only_the_form_of_a_key_is_hashed() {
        let base64 = "Aa-_".repeat(11);
        let hexadecimal = "0123456789abcdef".repeat(4);
        assert!(hash(&format!("gk_live_{base64}"), &prefixes()).is_some());
        assert!(hash(&format!("gk_test_{hexadecimal}"), &prefixes()).is_some());
        for bad in [
            String::new(),
            "gk_live_".into(),
            base64.clone(),
            format!("gk_prod_{base64}"),
            format!("gk_live_{}", &base64[..42]),
            format!("gk_live_{}", &hexadecimal[..63]),
            format!("gk_live_{base64} "),
            format!("gk_live_{base64}é"),
            format!("gk_live_{}", "A".repeat(300)),
        ] {
            assert!(hash(&bad, &prefixes()).is_none(), "{bad}");
        }
    }

    #[test]
    fn the_hash_is_sha_256_in_hexadecimal() {
        let digest: KeyHash = Sha256::digest(b"abc").into();
        assert_eq!(
            hex(&digest),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    fn answer(status: u16, body: &str) -> Result<Known, String> {
        read(Ok(Answer {
            status,
            headers: &Head::default(),
            body: body.as_bytes(),
        }))
    }

    #[test]
    fn an_agreed_answer_is_understood() {
        let known = answer(
            200,
            r#"{"active":true,"account_id":"a1","key_id":"k1","tier":"gold"}"#,
        );
        let Ok(Known::Active(headers)) = known else {
            panic!("{known:?}")
        };
        assert_eq!(
            headers
                .iter()
                .map(|(n, v)| format!("{n}={v}"))
                .collect::<Vec<_>>(),
            ["x-account-id=a1", "x-api-key-id=k1", "x-tier=gold"]
        );
        assert!(matches!(
            answer(200, r#"{"active":false}"#),
            Ok(Known::Invalid)
        ));
        assert!(matches!(answer(404, "whatever"), Ok(Known::Invalid)));
    }

    #[test]
    fn everything_else_is_a_failure() {
        for (status, body) in [
            (500, r#"{"active":true,"account_id":"a","key_id":"k"}"#),
            (204, ""),
            (301, ""),
            (401, ""),
            (200, "<html>"),
            (200, ""),
            (200, "{}"),
            (200, r#"{"active":"yes","account_id":"a","key_id":"k"}"#),
            (200, r#"{"active":true}"#),
            (200, r#"{"active":true,"account_id":"","key_id":"k"}"#),
            (
                200,
                r#"{"active":true,"account_id":"a\r\nx: y","key_id":"k"}"#,
            ),
            (
                200,
                r#"{"active":true,"account_id":"a","key_id":"k","tier":"é"}"#,
            ),
        ] {
            assert!(answer(status, body).is_err(), "{status} {body}");
        }
        assert!(read(Err(CalloutError::Timeout)).is_err());
    }
}
