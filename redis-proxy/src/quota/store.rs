//! Where quotas live. One trait, three backends (memory, file, Redis or Redis Cluster), one contract
//! (`tests/it/quota_contract.rs`).

use std::fmt;

use futures_util::future::BoxFuture;

use super::record::Record;
use crate::edge::EdgeFailure;

/// What became of a record. All but [`Put::Applied`] changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Put {
    /// It is the newest now.
    Applied,
    /// The very same is there.
    Duplicate,
    /// A newer one is there.
    Stale,
    /// Another one of the same `last_updated` is there; the first stays.
    Conflict,
    /// The key holds something that is no quota.
    Occupied,
    /// There is no room for another tenant.
    Full,
}

impl Put {
    /// A word for labels.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Duplicate => "duplicate",
            Self::Stale => "stale",
            Self::Conflict => "conflict",
            Self::Occupied => "occupied",
            Self::Full => "full",
        }
    }

    /// What becomes of a record where this one is.
    #[must_use]
    pub fn over(known: &Record, new: &Record) -> Self {
        if known == new {
            return Self::Duplicate;
        }
        match new.last_updated.cmp(&known.last_updated) {
            std::cmp::Ordering::Less => Self::Stale,
            std::cmp::Ordering::Equal => Self::Conflict,
            std::cmp::Ordering::Greater => Self::Applied,
        }
    }
}

/// Why a store did not do it. Asking again is harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QuotaFailure {
    /// No answer in time.
    Timeout,
    /// It failed.
    Unavailable,
}

impl QuotaFailure {
    /// A word for answers, logs and labels.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Timeout => "store_timeout",
            Self::Unavailable => "store_unavailable",
        }
    }
}

impl fmt::Display for QuotaFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Timeout => "the store did not answer in time",
            Self::Unavailable => "the store failed",
        })
    }
}

impl std::error::Error for QuotaFailure {}

impl From<EdgeFailure> for QuotaFailure {
    fn from(failure: EdgeFailure) -> Self {
        match failure {
            EdgeFailure::Timeout => Self::Timeout,
            _ => Self::Unavailable,
        }
    }
}

/// A result of a store, some time.
pub type Reply<'a, T> = BoxFuture<'a, Result<T, QuotaFailure>>;

/// A place that keeps quotas.
///
/// What each must do, and `tests/it/quota_contract.rs` asserts of all:
/// - of the records of a tenant the one with the latest `last_updated` is kept, whatever the order in which they
///   come, how often, and how many put at a time;
/// - a record is forgotten when it has been over for as long as the store was told to keep it;
/// - what is acknowledged is as durable as the store is;
/// - nothing is written outside the prefix.
pub trait QuotaStore: Send + Sync {
    /// Keeps each record that is newer than what is there. What became of each, in order; on a failure some may
    /// have been kept.
    fn put<'a>(&'a self, records: &'a [Record]) -> Reply<'a, Vec<Put>>;

    /// What is known of each tenant, in order.
    fn get<'a>(&'a self, tenants: &'a [String]) -> Reply<'a, Vec<Option<Record>>>;
}
