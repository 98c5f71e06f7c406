//! Every way in which the filter says no, with its stable code, and what responses say of the quota.

use policy::{Reply, Time};
use wire::quota::Quota;

/// Every code with which the filter refuses.
pub(crate) const CODES: &[&str] = &[
    "quota_exceeded",
    "quota_missing",
    "quota_unavailable",
    "path_ambiguous",
];

/// What a response says of a quota: names and values.
pub(crate) fn fields(quota: &Quota) -> [(&'static str, String); 4] {
    [
        ("x-quota-limit", quota.limit.to_string()),
        ("x-quota-used", quota.used.to_string()),
        ("x-quota-remaining", quota.remaining().to_string()),
        ("x-quota-reset", quota.reset_at.clone()),
    ]
}

/// Also said where nothing is left.
pub(crate) const EXCEEDED: (&str, &str) = ("x-quota-exceeded", "true");

/// Nothing is left (Q3). `Retry-After` is the time until the reset, whole seconds, rounded up, at least 1.
pub(crate) fn exceeded(quota: &Quota, says: bool, now: Time) -> Reply {
    let left = Time::from_nanos(quota.reset_at_ms.saturating_mul(1_000_000)).since(now);
    let seconds = left.as_nanos().div_ceil(1_000_000_000).max(1);
    let mut reply = Reply::problem(
        429,
        "quota_exceeded",
        "The quota of the tenant is used up until its reset.",
    )
    .header("retry-after", seconds.to_string());
    if says {
        for (name, value) in fields(quota) {
            reply = reply.header(name, value);
        }
        reply = reply.header(EXCEEDED.0, EXCEEDED.1);
    }
    reply
}

/// No quota is about the request, and the rule says `deny`.
pub(crate) fn missing() -> Reply {
    Reply::problem(403, "quota_missing", "No quota covers the request.")
}

/// The quota cannot be known now, and the rule says `deny`.
pub(crate) fn unavailable() -> Reply {
    Reply::problem(
        503,
        "quota_unavailable",
        "The quota cannot be checked at the moment.",
    )
    .header("retry-after", "1")
}

/// The path has two readings, so that nobody can say which rule matches.
pub(crate) fn ambiguous_path() -> Reply {
    Reply::problem(
        400,
        "path_ambiguous",
        "The path of the request can be read in two ways.",
    )
}

#[cfg(test)]
mod tests {
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn says_how_much_and_until_when() {
        let quota = Quota {
            limit: 10,
            used: 12,
            period: "monthly".into(),
            reset_at: "1970-01-01T00:01:00.001Z".into(),
            reset_at_ms: 60_001,
            last_updated_ms: 0,
        };
        let header = |reply: &Reply, name: &str| {
            let found = reply.headers.iter().find(|(n, _)| *n == name);
            found.map(|(_, value)| value.to_string())
        };
        let reply = exceeded(&quota, true, Time::from_secs(10));
        for (name, value) in [
            ("retry-after", "51"),
            ("x-quota-limit", "10"),
            ("x-quota-used", "12"),
            ("x-quota-remaining", "0"),
            ("x-quota-reset", "1970-01-01T00:01:00.001Z"),
            ("x-quota-exceeded", "true"),
        ] {
            assert_eq!(header(&reply, name).as_deref(), Some(value), "{name}");
        }
        let silent = exceeded(&quota, false, Time::from_secs(60));
        assert_eq!(header(&silent, "retry-after").as_deref(), Some("1"));
        assert_eq!(header(&silent, "x-quota-limit"), None);
    }
}
