//! From when and until when a signature is to hold.

use clap::Args;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::outcome::Failure;

/// How long a new signature holds.
#[derive(Debug, Args)]
pub struct Term {
    /// Days until the signature expires.
    #[arg(long, value_name = "DAYS", default_value_t = 180, value_parser = clap::value_parser!(u16).range(1..=1825))]
    valid_for: u16,
}

impl Term {
    /// From now, and until when.
    ///
    /// # Errors
    /// When this machine's clock is beyond all reason.
    pub fn until(&self) -> Result<(OffsetDateTime, OffsetDateTime), Failure> {
        let now = now();
        now.checked_add(Duration::days(i64::from(self.valid_for)))
            .map(|end| (now, end))
            .ok_or_else(|| Failure::new("this machine's clock is wrong"))
    }
}

/// To the second.
#[must_use]
pub fn now() -> OffsetDateTime {
    let now = OffsetDateTime::now_utc();
    now.replace_nanosecond(0).unwrap_or(now)
}

/// A time on the command line.
///
/// # Errors
/// When it is none.
pub fn parse(text: &str) -> Result<OffsetDateTime, String> {
    OffsetDateTime::parse(text, &Rfc3339).map_err(|e| format!("{e}; like 2027-01-31T00:00:00Z"))
}
