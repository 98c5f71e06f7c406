//! Where tokens live. One trait, three backends, one contract (`tests/it/contract.rs`).

pub mod embedded;
pub mod journal;
pub mod redis;

use futures_util::future::BoxFuture;
use wire::limits::{Failure, GiveBack};

use crate::bucket::{Decision, Rule};

/// One key of a batch, ready for the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The whole name, prefix included ([`crate::key::Prefix::name`]).
    pub name: String,
    /// The limit, ready for the arithmetic.
    pub rule: Rule,
    /// Tokens asked for.
    pub want: u64,
    /// Tokens given back first.
    pub give_back: GiveBack,
}

/// What became of one key.
pub type Outcome = Result<Decision, Failure>;

/// A place that keeps tokens.
///
/// What each must do, and `tests/it/contract.rs` asserts of all:
/// - each key atomically, on the store's own clock, as [`wire::limits`] promises;
/// - exactly one outcome per ask, in order, each by itself: one failing key fails no other;
/// - back within the budget it was made with, whatever happens;
/// - nothing written outside the prefix;
/// - state forgotten once it no longer matters.
pub trait Store: Send + Sync {
    /// Takes back, then grants, for each key.
    fn acquire<'a>(&'a self, asks: &'a [Ask]) -> BoxFuture<'a, Vec<Outcome>>;

    /// How the store is now; costs no I/O.
    fn health(&self) -> Health;
}

/// How a store is now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Whether any key can be decided.
    pub ready: bool,
    /// Breakers held open.
    pub open_breakers: usize,
    /// Keys held in memory; 0 for Redis.
    pub keys: usize,
}
