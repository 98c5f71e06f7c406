//! Known-bad clients: the lists of who is denied (D2), slowed down (T2) or revoked (A8), and what happens to
//! them (C1, C2, C5, C6).
//!
//! A change is made once, in the store ([`EdgeStore`]), together with its audit record and its event. From
//! there it goes three ways: workers follow the lists by version, people read the audit log, and
//! NATS gets an event. See `docs/adr/0005-lists-are-change-logs.md`.

pub mod body;
pub mod disk;
pub mod embedded;
pub mod entry;
pub mod ledger;
pub mod metrics;
pub mod random;
pub mod settings;
pub mod store;

use std::{net::SocketAddr, sync::Arc};

use wire::lists::ListName;

pub use body::{BadEntry, EntryBody, FieldError, NewEntry, Rules};
pub use entry::{BadId, Entry, EntryId, EntryView};
pub use store::{
    Action, Added, Bounds, Change, Changes, Durability, EdgeFailure, EdgeStore, Entries, Fate,
    LISTS, Log, MAX_PAGE, Seen,
};

use metrics::EdgeMetrics;

/// What a refused attempt is recorded as.
#[derive(Clone, Copy, Debug)]
pub struct Refusal<'a> {
    /// Who tried, as far as it is known; empty: nobody could tell.
    pub by: &'a str,
    /// From which address.
    pub from: Option<SocketAddr>,
    /// What was tried, such as `POST /v1/internal/edge/deny`.
    pub attempt: &'a str,
    /// Why not, for programs: `bad_entry`, `duplicate`, `wrong_client`, …
    pub code: &'a str,
    /// Why not, for people.
    pub detail: &'a str,
}

/// The lists and all that follows them, for handlers.
pub struct Edge {
    store: Arc<dyn EdgeStore>,
    rules: Rules,
    metrics: EdgeMetrics,
}

impl Edge {
    /// Over a store. Follows it in the background for as long as it lives.
    #[must_use]
    pub fn start(store: Arc<dyn EdgeStore>, rules: Rules) -> Arc<Self> {
        Arc::new(Self {
            store,
            rules,
            metrics: EdgeMetrics::default(),
        })
    }

    /// Reads the body of a `POST`.
    ///
    /// # Errors
    /// Every field that is wrong.
    pub fn read(&self, list: ListName, body: &[u8]) -> Result<NewEntry, BadEntry> {
        NewEntry::read(list, body, &self.rules)
    }

    /// Adds an entry; in `revoked`, renews a live one. Writes the audit line. Acknowledged means stored, with its
    /// audit record and its event.
    ///
    /// # Errors
    /// The store did not do it. The caller tells [`Edge::refused`].
    pub async fn add(
        &self,
        list: ListName,
        new: &NewEntry,
        by: &str,
    ) -> Result<Added, EdgeFailure> {
        let added = self.store.add(list, new, by).await;
        if let Ok(Added::Done(change)) = &added {
            self.changed(change);
        }
        self.count(added)
    }

    /// Removes a live entry; `None`: there is none of this id. Writes the audit line.
    ///
    /// # Errors
    /// The store did not do it. The caller tells [`Edge::refused`].
    pub async fn remove(
        &self,
        list: ListName,
        id: &EntryId,
        by: &str,
    ) -> Result<Option<Change>, EdgeFailure> {
        let removed = self.store.remove(list, id, by).await;
        if let Ok(Some(change)) = &removed {
            self.changed(change);
        }
        self.count(removed)
    }

    /// A live entry.
    ///
    /// # Errors
    /// The store did not answer.
    pub async fn get(&self, list: ListName, id: &EntryId) -> Result<Option<Entry>, EdgeFailure> {
        self.count(self.store.get(list, id).await)
    }

    /// Live entries after a version, oldest first; see [`EdgeStore::entries`].
    ///
    /// # Errors
    /// The store did not answer.
    pub async fn entries(
        &self,
        list: ListName,
        after: u64,
        limit: usize,
    ) -> Result<Entries, EdgeFailure> {
        self.count(self.store.entries(list, after, limit).await)
    }

    /// The audit log before a version, newest first; see [`EdgeStore::audit`].
    ///
    /// # Errors
    /// The store did not answer.
    pub async fn audit(
        &self,
        list: ListName,
        before: u64,
        limit: usize,
    ) -> Result<Changes, EdgeFailure> {
        self.count(self.store.audit(list, before, limit).await)
    }

    /// Writes the audit line of an attempt that was refused. Nothing was changed.
    pub fn refused(&self, refusal: &Refusal<'_>) {
        let Refusal {
            by,
            from,
            attempt,
            code,
            detail,
        } = *refusal;
        self.metrics.refused(code);
        tracing::warn!(target: "audit", action = "refused", by, from = from.map(tracing::field::display), attempt, code, detail);
    }

    /// What `/metrics` shows of the lists.
    #[must_use]
    pub const fn metrics(&self) -> &EdgeMetrics {
        &self.metrics
    }

    /// Whether what is acknowledged survives.
    #[must_use]
    pub fn durability(&self) -> Durability {
        self.store.durability()
    }

    fn changed(&self, change: &Change) {
        self.metrics.changed(change);
        let entry = &change.entry;
        tracing::info!(
            target: "audit",
            action = change.action.as_str(),
            by = change.by,
            list = %entry.list,
            kind = %entry.member.kind(),
            value = %entry.member,
            id = %entry.id,
            expires_ms = entry.expires_ms,
            reason = entry.reason,
            ticket_url = entry.ticket_url.as_deref().unwrap_or_default(),
            version = change.version,
            change = change.id,
        );
    }

    fn count<T>(&self, result: Result<T, EdgeFailure>) -> Result<T, EdgeFailure> {
        result.inspect_err(|failure| self.metrics.failed(*failure))
    }
}
