//! Every way in which the filter says no, with its stable code.

use std::time::Duration;

use policy::Reply;
use wire::limits::Limit;

/// A limit that is used up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exhausted<'a> {
    pub status: u16,
    /// The dimension with its scope.
    pub dim: &'a str,
    pub limit: Limit,
    /// Until the next request may pass.
    pub retry_after: Duration,
    /// Until the key is as if never used.
    pub reset: Duration,
}

/// Every code with which the filter refuses.
pub(crate) const CODES: &[&str] = &[
    "rate_limited",
    "limiter_unavailable",
    "limit_key_missing",
    "path_ambiguous",
];

/// The answer to a request over its limit (R5): the customary fields, and the ones of
/// draft-ietf-httpapi-ratelimit-headers. Seconds are rounded up.
pub(crate) fn exhausted(it: Exhausted<'_>) -> Reply {
    let Exhausted {
        status, dim, limit, ..
    } = it;
    let retry_after = whole_seconds(it.retry_after).max(1);
    let reset = whole_seconds(it.reset).max(retry_after);
    let window = limit.period_ms.div_ceil(1_000);
    Reply::problem(status, "rate_limited", "Too many requests.")
        .header("retry-after", retry_after.to_string())
        .header("x-ratelimit-limit", limit.tokens.to_string())
        .header("x-ratelimit-remaining", "0")
        .header("x-ratelimit-reset", reset.to_string())
        .header("ratelimit", format!("\"{dim}\";r=0;t={retry_after}"))
        .header(
            "ratelimit-policy",
            format!("\"{dim}\";q={};w={window}", limit.tokens),
        )
}

/// The limits cannot be known and the rule says `deny` (R10).
pub(crate) fn unavailable() -> Reply {
    Reply::problem(
        503,
        "limiter_unavailable",
        "Limits cannot be checked at the moment.",
    )
    .header("retry-after", "1")
}

/// A limit has nothing to count by, and the rule says `deny`.
pub(crate) fn missing() -> Reply {
    Reply::problem(
        400,
        "limit_key_missing",
        "The request lacks what its limit is counted by.",
    )
}

/// The path has two readings, so that nobody can say which rules match.
pub(crate) fn ambiguous_path() -> Reply {
    Reply::problem(
        400,
        "path_ambiguous",
        "The path of the request can be read in two ways.",
    )
}

fn whole_seconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn says_how_much_and_when() {
        let reply = exhausted(Exhausted {
            status: 429,
            dim: "ip-login",
            limit: Limit::window(5, 60_000),
            retry_after: Duration::from_millis(41_001),
            reset: Duration::from_millis(60_200),
        });
        let header = |name: &str| {
            let found = reply.headers.iter().find(|(n, _)| *n == name);
            found.map(|(_, value)| value.to_string()).unwrap()
        };
        assert_eq!(header("retry-after"), "42");
        assert_eq!(header("x-ratelimit-limit"), "5");
        assert_eq!(header("x-ratelimit-remaining"), "0");
        assert_eq!(header("x-ratelimit-reset"), "61");
        assert_eq!(header("ratelimit"), "\"ip-login\";r=0;t=42");
        assert_eq!(header("ratelimit-policy"), "\"ip-login\";q=5;w=60");
    }

    #[test]
    fn a_retry_is_never_said_to_be_possible_at_once() {
        let reply = exhausted(Exhausted {
            status: 429,
            dim: "global",
            limit: Limit::paced(1_000, 1_000),
            retry_after: Duration::ZERO,
            reset: Duration::ZERO,
        });
        assert!(reply.headers.contains(&("retry-after", "1".into())));
    }
}
