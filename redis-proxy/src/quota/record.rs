//! What is kept of a tenant, in the words of the Redis hash.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::{Date, Month, OffsetDateTime, Time, UtcOffset, format_description::well_known::Rfc3339};
use wire::quota::{MAX_COUNT, Quota};

/// A point in time as events and the hash write it: RFC 3339 in UTC, to the nanosecond, 2000 to 2499.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(OffsetDateTime);

impl Stamp {
    /// Reads RFC 3339 with any offset; `None`: it is none, or out of bounds.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let read = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        Self::checked(read)
    }

    /// Milliseconds since 1970; `None`: out of bounds.
    #[must_use]
    pub fn from_ms(ms: u64) -> Option<Self> {
        let nanos = i128::from(ms).checked_mul(1_000_000)?;
        Self::checked(OffsetDateTime::from_unix_timestamp_nanos(nanos).ok()?)
    }

    fn checked(at: OffsetDateTime) -> Option<Self> {
        let at = at.checked_to_offset(UtcOffset::UTC)?;
        (2_000..2_500).contains(&at.year()).then_some(Self(at))
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub fn as_ms(self) -> u64 {
        let nanos = self.0.unix_timestamp_nanos();
        u64::try_from(nanos.div_euclid(1_000_000)).unwrap_or_default()
    }

    /// The text: always ends in `Z`, no digit more than needed.
    #[must_use]
    pub fn text(self) -> String {
        self.0.format(&Rfc3339).unwrap_or_default()
    }
}

impl Default for Stamp {
    fn default() -> Self {
        let day = Date::from_calendar_date(2_000, Month::January, 1).unwrap_or(Date::MIN);
        Self(day.with_time(Time::MIDNIGHT).assume_utc())
    }
}

impl Serialize for Stamp {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.text())
    }
}

impl<'de> Deserialize<'de> for Stamp {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("no time"))
    }
}

/// The quota of one tenant, as the newest event said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Whose: as [`wire::quota::is_tenant`] has it.
    pub tenant: String,
    /// How much may be used, 0 to [`MAX_COUNT`].
    pub limit: u64,
    /// How much has been, 0 to [`MAX_COUNT`].
    pub used: u64,
    /// 1 to 32 of `a-z 0-9 _ -`.
    pub period: String,
    /// When it starts anew.
    pub reset_at: Stamp,
    /// As of when it is.
    pub last_updated: Stamp,
}

/// The fields of the hash, in the order in which scripts and answers have them.
pub const FIELDS: [&str; 6] = [
    "limit",
    "used",
    "remaining",
    "period",
    "reset_at",
    "last_updated",
];

impl Record {
    /// What is left.
    #[must_use]
    pub const fn remaining(&self) -> u64 {
        self.limit.saturating_sub(self.used)
    }

    /// When it may be forgotten, milliseconds since 1970: so long after the later of its times.
    #[must_use]
    pub fn ends_ms(&self, keep: Duration) -> u64 {
        let keep = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX);
        let last = self.reset_at.max(self.last_updated);
        last.as_ms().saturating_add(keep)
    }

    /// The values of [`FIELDS`].
    #[must_use]
    pub fn values(&self) -> [String; 6] {
        [
            self.limit.to_string(),
            self.used.to_string(),
            self.remaining().to_string(),
            self.period.clone(),
            self.reset_at.text(),
            self.last_updated.text(),
        ]
    }

    /// Reads the values of [`FIELDS`]; `None`: somebody else wrote them, and they make no sense.
    #[must_use]
    pub fn read(tenant: &str, values: &[String]) -> Option<Self> {
        let [limit, used, _, period, reset_at, last_updated] = values else {
            return None;
        };
        let count = |text: &str| text.parse().ok().filter(|count| *count <= MAX_COUNT);
        Some(Self {
            tenant: tenant.to_owned(),
            limit: count(limit)?,
            used: count(used)?,
            period: Some(period.clone()).filter(|period| is_period(period))?,
            reset_at: Stamp::parse(reset_at)?,
            last_updated: Stamp::parse(last_updated)?,
        })
    }

    /// As workers are told.
    #[must_use]
    pub fn into_quota(self) -> Quota {
        Quota {
            limit: self.limit,
            used: self.used,
            period: self.period,
            reset_at: self.reset_at.text(),
            reset_at_ms: self.reset_at.as_ms(),
            last_updated_ms: self.last_updated.as_ms(),
        }
    }
}

/// 1 to 32 of `a-z 0-9 _ -`.
#[must_use]
pub fn is_period(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
    (1..=32).contains(&text.len()) && text.bytes().all(legal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_to_the_nanosecond() {
        for (text, canonical) in [
            ("2025-10-27T20:00:00Z", "2025-10-27T20:00:00Z"),
            ("2025-10-27T21:30:00.500+01:30", "2025-10-27T20:00:00.5Z"),
            (
                "2025-10-27T20:00:00.123456789Z",
                "2025-10-27T20:00:00.123456789Z",
            ),
        ] {
            assert_eq!(Stamp::parse(text).unwrap().text(), canonical);
        }
        let stamp = Stamp::parse("2025-10-27T20:00:00.5Z").unwrap();
        assert_eq!(Stamp::from_ms(stamp.as_ms()), Some(stamp));
        for bad in [
            "",
            "2025-10-27",
            "2025-10-27T20:00:00",
            "1999-12-31T23:59:59Z",
            "2500-01-01T00:00:00Z",
            "2025-02-30T00:00:00Z",
            "1761595200",
        ] {
            assert_eq!(Stamp::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_record_is_the_hash_and_back() {
        let record = Record {
            tenant: "acme".into(),
            limit: 10_000,
            used: 10_532,
            period: "monthly".into(),
            reset_at: Stamp::parse("2025-11-01T00:00:00Z").unwrap(),
            last_updated: Stamp::parse("2025-10-27T20:00:00Z").unwrap(),
        };
        let mut values = record.values();
        assert_eq!(values[2], "0");
        assert_eq!(Record::read("acme", &values), Some(record.clone()));
        assert_eq!(
            record.ends_ms(Duration::from_secs(1)),
            record.reset_at.as_ms() + 1_000
        );
        values[1] = "many".to_owned();
        assert_eq!(Record::read("acme", &values), None);
    }
}
