//! Where the lists live. One trait, three backends (memory, file, Redis or Redis Cluster), one contract
//! (`tests/it/edge_contract.rs`).

use std::fmt;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use wire::lists::{ListName, Member};

use super::{
    body::NewEntry,
    entry::{Entry, EntryId},
};

/// Most entries, audit records or events in one answer of a store.
pub const MAX_PAGE: usize = 1_000;

/// All lists.
pub const LISTS: [ListName; 3] = [ListName::Deny, ListName::Tarpit, ListName::Revoked];

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It is new.
    Added,
    /// It was there and lives on from now; only in `revoked`.
    Renewed,
    /// Somebody removed it.
    Removed,
    /// Its time was over.
    Expired,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Added, Self::Renewed, Self::Removed, Self::Expired];

    /// The name in events, audit records and labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Renewed => "renewed",
            Self::Removed => "removed",
            Self::Expired => "expired",
        }
    }
}

/// One change of a list: audit record and event are made of it. Kept with the change, atomically.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Its name, random; the `Nats-Msg-Id` of its event.
    pub id: String,
    /// The version that the list has since then.
    pub version: u64,
    /// When, milliseconds since 1970 on the store's clock.
    pub at_ms: u64,
    /// What.
    pub action: Action,
    /// Who; empty when the entry's time was over.
    pub by: String,
    /// Why it was removed, if whoever did it said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub note: Option<Note>,
    /// The entry as it is now, or as it was before it went.
    #[schema(value_type = crate::edge::EntryView)]
    pub entry: Entry,
}

/// Why somebody removed an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Note {
    /// Why, for people: 1 to 1,024 bytes.
    pub reason: String,
    /// Where to read on: `http` or `https`, without credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub ticket_url: Option<String>,
}

/// What became of a wish to add.
#[expect(clippy::large_enum_variant, reason = "nearly always the large one")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Added {
    /// It is on the list: [`Action::Added`], or [`Action::Renewed`] in `revoked`.
    Done(Change),
    /// The list has a live entry for this member; nothing was changed.
    Duplicate(EntryId),
}

/// Some entries, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    /// The entries, by version.
    pub entries: Vec<Entry>,
    /// Ask on after this version; the next page may be empty. `None`: that was all.
    pub next: Option<u64>,
}

/// Some changes, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The changes, by version downwards.
    pub changes: Vec<Change>,
    /// Ask on before this version; the next page may be empty. `None`: that was all.
    pub next: Option<u64>,
}

/// How far somebody has followed a list. The default: not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// [`Log::epoch`] of the last answer.
    pub epoch: String,
    /// [`Log::to`] of the last answer.
    pub after: u64,
    /// [`Log::last`] of the last answer.
    pub newest: u64,
    /// [`Log::mark`] of the last answer. If the store has another one at that version, it has lost changes
    /// and made other ones since (a failover, a restored backup): then it takes a new epoch.
    pub mark: String,
}

/// What a member is since a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// On the list until then, milliseconds since 1970 on the store's clock.
    Until(u64),
    /// Not on the list.
    Gone,
}

/// The newest change of each of some members, oldest first: what a follower has to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// Which life of the store this is: changes when it lost changes.
    pub epoch: String,
    /// Members that went at or before this version are forgotten: whoever stands before it starts anew.
    pub floor: u64,
    /// The newest version.
    pub last: u64,
    /// Its [`Change::id`]; empty at version 0.
    pub mark: String,
    /// The store's clock, milliseconds since 1970.
    pub now_ms: u64,
    /// By version upwards. Those that are there between the versions asked for and `to`.
    pub fates: Vec<(u64, Member, Fate)>,
    /// The version after these; `last` when no more follow.
    pub to: u64,
}

/// Why a store did not do it. Nothing is acknowledged; a change may have been made after a
/// [`EdgeFailure::Timeout`] or [`EdgeFailure::Unavailable`], and asking again tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdgeFailure {
    /// No answer within `edge.timeout_ms`.
    Timeout,
    /// The store failed or is not there.
    Unavailable,
    /// The list has `edge.max_entries` entries.
    ListFull,
    /// `edge.max_pending` events wait for NATS: one more could not be kept.
    OutboxFull,
}

impl EdgeFailure {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Timeout,
        Self::Unavailable,
        Self::ListFull,
        Self::OutboxFull,
    ];

    /// A word for answers, logs and labels.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Timeout => "store_timeout",
            Self::Unavailable => "store_unavailable",
            Self::ListFull => "list_full",
            Self::OutboxFull => "outbox_full",
        }
    }
}

impl fmt::Display for EdgeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Timeout => "the store did not answer in time",
            Self::Unavailable => "the store failed",
            Self::ListFull => "the list holds as many entries as it may",
            Self::OutboxFull => "as many events wait for NATS as may",
        })
    }
}

impl std::error::Error for EdgeFailure {}

/// Whether what is acknowledged survives a `kill -9` of the store (C6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// It does.
    Durable,
    /// It does not: memory, or a Redis without `appendonly yes` and `appendfsync always`.
    Volatile,
    /// It cannot be known, or not yet: Redis does not tell.
    #[default]
    Unknown,
}

impl Durability {
    /// A word for logs and `/readyz`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Durable => "durable",
            Self::Volatile => "volatile",
            Self::Unknown => "unknown",
        }
    }
}

/// What a store bounds, per list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Most entries; one more is refused as [`EdgeFailure::ListFull`].
    pub entries: usize,
    /// Members that went and are remembered, so that workers need not load the list anew.
    pub gone: usize,
    /// Changes in the audit log; the oldest go first.
    pub audit: usize,
    /// Events that may wait; one more change is refused as [`EdgeFailure::OutboxFull`]. `None`: there is no
    /// NATS, and no event is kept.
    pub pending: Option<usize>,
}

/// A result of a store, some time.
pub type Reply<'a, T> = BoxFuture<'a, Result<T, EdgeFailure>>;

/// A place that keeps lists.
///
/// What each must do, and `tests/it/edge_contract.rs` asserts of all:
/// - a change is atomic with its version, its audit record and its event, on the store's own clock;
/// - versions of a list grow by one per change;
/// - an entry whose time is over is in no answer from that moment; [`EdgeStore::expire`] makes a change
///   of it, once, whoever calls it;
/// - what is acknowledged is as durable as [`EdgeStore::durability`] says;
/// - nothing is written outside the prefix.
pub trait EdgeStore: Send + Sync {
    /// Adds an entry. In `revoked` a live one for the same member is renewed.
    fn add<'a>(&'a self, list: ListName, new: &'a NewEntry, by: &'a str) -> Reply<'a, Added>;

    /// Removes a live entry; `None`: there is none of this id.
    fn remove<'a>(
        &'a self,
        list: ListName,
        id: &'a EntryId,
        by: &'a str,
        note: Option<&'a Note>,
    ) -> Reply<'a, Option<Change>>;

    /// A live entry.
    fn get<'a>(&'a self, list: ListName, id: &'a EntryId) -> Reply<'a, Option<Entry>>;

    /// Live entries after a version (0: from the beginning), at most `limit` and [`MAX_PAGE`]. An entry
    /// that is there all the while is in exactly one of the pages.
    fn entries(&self, list: ListName, after: u64, limit: usize) -> Reply<'_, Entries>;

    /// What changed since the follower has `seen`, at most about `limit` fates. From the beginning when the epoch
    /// is another one; it is up to the follower to start anew when it stands before `floor`.
    fn log<'a>(&'a self, list: ListName, seen: &'a Seen, limit: usize) -> Reply<'a, Log>;

    /// Takes some entries whose time is over off the list, at most [`MAX_PAGE`]. None while the outbox is full.
    fn expire(&self, list: ListName) -> Reply<'_, Vec<Change>>;

    /// The audit log before a version (`u64::MAX`: the newest), at most `limit` and [`MAX_PAGE`].
    fn audit(&self, list: ListName, before: u64, limit: usize) -> Reply<'_, Changes>;

    /// The oldest changes whose events are not known to be delivered, oldest first, at most `limit` and
    /// [`MAX_PAGE`].
    fn pending(&self, list: ListName, limit: usize) -> Reply<'_, Vec<Change>>;

    /// These events ([`Change::id`]) are delivered. Unknown ones do not matter.
    fn delivered<'a>(&'a self, list: ListName, ids: &'a [String]) -> Reply<'a, ()>;

    /// How many events wait.
    fn waiting(&self, list: ListName) -> Reply<'_, u64>;

    /// Whether what is acknowledged survives, as far as it is known.
    fn durability(&self) -> Durability;
}
