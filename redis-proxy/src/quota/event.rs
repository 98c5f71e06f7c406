//! `quota.updated`: what an event must look like, and why one is refused.
//!
//! ```json
//! {"tenant_id":"acme","limit":10000,"used":4532,"remaining":5468,"period":"monthly",
//!  "reset_at":"2025-11-01T00:00:00Z","last_updated":"2025-10-27T20:00:00Z"}
//! ```
//! Further members are ignored. `remaining` may be left out; if it is there it must be `limit` − `used`, or 0 where
//! more was used. Whole numbers may be written `4532.0` or `4.532e3`, as programs do that count in floats. A fraction is
//! no count: it is refused, and not rounded, since nobody could tell afterwards what was lost.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use wire::quota::{MAX_COUNT, is_tenant};

use super::record::{Record, Stamp, is_period};

/// Longest event, bytes.
pub const MAX_EVENT_BYTES: usize = 65_536;

/// Why an event goes to the dead-letter subject. Says nothing of what the event holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dead {
    /// Longer than [`MAX_EVENT_BYTES`].
    TooLong,
    /// No JSON object, or one that names a member twice.
    NotJson,
    /// `tenant_id` is missing or no name.
    Tenant,
    /// `limit` or `used` is missing or no whole number from 0 to [`MAX_COUNT`].
    Count,
    /// `remaining` contradicts `limit` and `used`.
    Remaining,
    /// `period` is missing or no name.
    Period,
    /// `reset_at` or `last_updated` is missing or no time.
    Time,
    /// `last_updated` is further ahead of this machine's clock than may be: kept, it would hide all that follows.
    Ahead,
    /// The key in Redis holds something else.
    Occupied,
    /// The embedded store holds as many tenants as it may, and this one is new.
    Full,
}

impl Dead {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::TooLong,
        Self::NotJson,
        Self::Tenant,
        Self::Count,
        Self::Remaining,
        Self::Period,
        Self::Time,
        Self::Ahead,
        Self::Occupied,
        Self::Full,
    ];

    /// A word for the header `Portcullis-Reason` and for labels.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::NotJson => "not_json",
            Self::Tenant => "bad_tenant",
            Self::Count => "bad_count",
            Self::Remaining => "bad_remaining",
            Self::Period => "bad_period",
            Self::Time => "bad_time",
            Self::Ahead => "ahead_of_time",
            Self::Occupied => "key_occupied",
            Self::Full => "store_full",
        }
    }

    /// A sentence for the header `Portcullis-Detail`.
    #[must_use]
    pub const fn detail(self) -> &'static str {
        match self {
            Self::TooLong => "the event is longer than 65536 bytes",
            Self::NotJson => "the event must be a JSON object that names no member twice",
            Self::Tenant => "tenant_id: must be 1 to 128 bytes of visible ASCII",
            Self::Count => {
                "limit, used: must be whole numbers from 0 to 2^53; of a smaller unit where there are fractions"
            }
            Self::Remaining => "remaining: must be limit - used, or 0 where more was used",
            Self::Period => "period: must be 1 to 32 of a-z 0-9 _ -",
            Self::Time => "reset_at, last_updated: must be RFC 3339 times from 2000 to 2499",
            Self::Ahead => "last_updated: is ahead of the clock of redis-proxy",
            Self::Occupied => "the key of the tenant holds something that is no hash",
            Self::Full => "the embedded store holds as many tenants as it may",
        }
    }
}

#[derive(Deserialize)]
struct Raw {
    tenant_id: Option<Value>,
    limit: Option<Value>,
    used: Option<Value>,
    remaining: Option<Value>,
    period: Option<Value>,
    reset_at: Option<Value>,
    last_updated: Option<Value>,
}

/// Reads an event. `now_ms` is this machine's clock, milliseconds since 1970.
///
/// # Errors
/// Why it can never be applied.
pub fn read(payload: &[u8], now_ms: u64, max_ahead: Duration) -> Result<Record, Dead> {
    if payload.len() > MAX_EVENT_BYTES {
        return Err(Dead::TooLong);
    }
    let raw: Raw = serde_json::from_slice(payload).map_err(|_| Dead::NotJson)?;
    let tenant = text(raw.tenant_id.as_ref()).filter(|name| is_tenant(name));
    let tenant = tenant.ok_or(Dead::Tenant)?.to_owned();
    let count = |value: &Option<Value>| {
        let count = value.as_ref().and_then(whole);
        let count = count.and_then(|n| u64::try_from(n).ok());
        count.filter(|n| *n <= MAX_COUNT).ok_or(Dead::Count)
    };
    let (limit, used) = (count(&raw.limit)?, count(&raw.used)?);
    if let Some(remaining) = raw.remaining.filter(|value| !value.is_null()) {
        let left = i64::try_from(limit)
            .ok()
            .zip(i64::try_from(used).ok())
            .and_then(|(limit, used)| limit.checked_sub(used))
            .ok_or(Dead::Count)?;
        let said = whole(&remaining).ok_or(Dead::Remaining)?;
        if said != left && said != left.max(0) {
            return Err(Dead::Remaining);
        }
    }
    let period = text(raw.period.as_ref()).filter(|period| is_period(period));
    let period = period.ok_or(Dead::Period)?.to_owned();
    let time = |value: &Option<Value>| {
        let at = text(value.as_ref()).and_then(Stamp::parse);
        at.ok_or(Dead::Time)
    };
    let (reset_at, last_updated) = (time(&raw.reset_at)?, time(&raw.last_updated)?);
    let ahead = u64::try_from(max_ahead.as_millis()).unwrap_or(u64::MAX);
    if last_updated.as_ms() > now_ms.saturating_add(ahead) {
        return Err(Dead::Ahead);
    }
    Ok(Record {
        tenant,
        limit,
        used,
        period,
        reset_at,
        last_updated,
    })
}

/// A whole number, however it is written. As a float only so far as the parser's last bits cannot make it another.
fn whole(value: &Value) -> Option<i64> {
    const EXACT: f64 = 1e14;
    if value.is_i64() {
        return value.as_i64();
    }
    let float = value.as_f64()?;
    if float.fract() != 0.0 || float.abs() > EXACT {
        return None;
    }
    Some(float as i64)
}

fn text(value: Option<&Value>) -> Option<&str> {
    value.and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2025-10-27T20:00:00Z";
    const GOOD: &str = r#"{"tenant_id":"acme","limit":10,"used":4,"remaining":6,"period":"monthly","reset_at":"2025-11-01T00:00:00Z","last_updated":"2025-10-27T20:00:00Z"}"#;

    fn judge(event: &str) -> Result<Record, Dead> {
        let now = Stamp::parse(NOW).unwrap().as_ms();
        read(event.as_bytes(), now, Duration::from_secs(60))
    }

    #[test]
    fn a_good_event_is_read() {
        let record = judge(GOOD).unwrap();
        assert_eq!((record.limit, record.used, record.remaining()), (10, 4, 6));
        assert_eq!(record.last_updated.text(), NOW);
        for (from, to) in [
            ("\"used\":4,\"remaining\":6", "\"used\":12"),
            ("\"used\":4,\"remaining\":6", "\"used\":12,\"remaining\":-2"),
            ("\"used\":4,\"remaining\":6", "\"used\":12,\"remaining\":0"),
            ("\"remaining\":6", "\"remaining\":null"),
            ("\"remaining\":6", "\"remaining\":6.0"),
            (
                "\"used\":4,\"remaining\":6",
                "\"used\":12.0,\"remaining\":-2.0",
            ),
            (
                "\"used\":4,\"remaining\":6",
                "\"used\":-0.0,\"remaining\":1e1",
            ),
            ("\"remaining\":6", "\"remaining\":6,\"model\":{\"a\":[1]}"),
            ("2025-10-27T20:00:00Z", "2025-10-27T20:00:59Z"),
        ] {
            assert!(judge(&GOOD.replace(from, to)).is_ok(), "{to}");
        }
    }

    #[test]
    fn whole_floats_are_counts() {
        for (written, count) in [
            ("10532.0", 10_532),
            ("1.0532e4", 10_532),
            ("0.0", 0),
            ("99999999999999.0", 99_999_999_999_999),
            ("4532.000000000000000000", 4_532),
            ("9007199254740992", 9_007_199_254_740_992),
        ] {
            let event = GOOD.replace("\"used\":4,\"remaining\":6", &format!("\"used\":{written}"));
            assert_eq!(judge(&event).map(|record| record.used), Ok(count));
        }
    }

    #[test]
    fn each_bad_event_has_its_reason() {
        let long = format!("\"remaining\":6,\"x\":\"{}\"", "a".repeat(70_000));
        for (from, to, why) in [
            ("{", "", Dead::NotJson),
            ("{", "[{", Dead::NotJson),
            ("\"used\":4", "\"used\":4,\"used\":5", Dead::NotJson),
            ("\"remaining\":6", &*long, Dead::TooLong),
            ("\"tenant_id\":\"acme\",", "", Dead::Tenant),
            ("\"acme\"", "\"a b\"", Dead::Tenant),
            ("\"acme\"", "7", Dead::Tenant),
            ("\"limit\":10", "\"limit\":-1", Dead::Count),
            ("\"limit\":10", "\"limit\":10.5", Dead::Count),
            ("\"limit\":10", "\"limit\":\"10\"", Dead::Count),
            ("\"used\":4", "\"used\":4.25", Dead::Count),
            ("\"used\":4", "\"used\":-4.0", Dead::Count),
            ("\"limit\":10", "\"limit\":100000000000001.0", Dead::Count),
            ("\"limit\":10", "\"limit\":1e300", Dead::Count),
            (
                "\"limit\":10",
                "\"limit\":18446744073709551615",
                Dead::Count,
            ),
            ("\"remaining\":6", "\"remaining\":5.5", Dead::Remaining),
            ("\"limit\":10", "\"limit\":9007199254740993", Dead::Count),
            ("\"used\":4,", "", Dead::Count),
            ("\"remaining\":6", "\"remaining\":5", Dead::Remaining),
            ("\"remaining\":6", "\"remaining\":\"6\"", Dead::Remaining),
            ("monthly", "every month", Dead::Period),
            ("2025-11-01T00:00:00Z", "tomorrow", Dead::Time),
            ("2025-10-27T20:00:00Z", "2025-10-27", Dead::Time),
            ("2025-10-27T20:00:00Z", "2025-10-27T20:01:01Z", Dead::Ahead),
        ] {
            let event = GOOD.replacen(from, to, 1);
            assert_eq!(judge(&event).map(|_| ()), Err(why), "{to}");
        }
        assert_eq!(judge("\u{0}").map(|_| ()), Err(Dead::NotJson));
    }

    #[test]
    fn every_reason_has_a_word_of_its_own_and_can_be_a_header() {
        let codes: std::collections::BTreeSet<_> = Dead::ALL.map(Dead::code).into();
        assert_eq!(codes.len(), Dead::ALL.len());
        for dead in Dead::ALL {
            assert!(dead.detail().bytes().all(|b| (b' '..=b'~').contains(&b)));
        }
    }
}
