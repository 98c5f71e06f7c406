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
pub mod event;
pub mod ledger;
pub mod metrics;
pub mod publisher;
pub mod random;
pub mod redis;
pub mod replica;
pub mod settings;
pub mod store;

use std::{
    net::SocketAddr,
    sync::{
        Arc, PoisonError, RwLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::try_join_all;
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use wire::{lists::ListName, upstream_failures::UpstreamFailure};

pub use body::{BadEntry, EntryBody, FieldError, NewEntry, Rules};
pub use entry::{BadId, Entry, EntryId, EntryView};
pub use store::{
    Action, Added, Bounds, Change, Changes, Durability, EdgeFailure, EdgeStore, Entries, Fate,
    LISTS, Log, MAX_PAGE, Note, Seen,
};

use metrics::EdgeMetrics;
use publisher::Publisher;
pub use replica::Answer;
use replica::{Replica, Then};
pub use settings::Settings;

/// Fates asked for at a time.
const FATES: usize = 5_000;
/// How often entries whose time is over are taken off the lists.
const SWEEP: Duration = Duration::from_millis(500);
/// For JetStream to take what a gateway's worker waits to be rid of: shorter than it waits.
const TOLD_WITHIN: Duration = Duration::from_secs(1);
/// Longest name of who changes something, bytes; longer ones are cut.
pub const MAX_BY_BYTES: usize = 512;

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
    settings: Settings,
    metrics: EdgeMetrics,
    followed: [Followed; 3],
    outbox_full: AtomicBool,
    publisher: Option<Arc<Publisher>>,
}

/// One list and who waits for its changes.
struct Followed {
    list: ListName,
    replica: RwLock<Replica>,
    /// It changed, through this process.
    changed: Notify,
    /// Its outbox has something, through this process.
    filled: Arc<Notify>,
}

impl Edge {
    /// Over a store. Follows it in the background for as long as it lives, and publishes its events if NATS is
    /// configured.
    ///
    /// # Errors
    /// The credentials for NATS make no sense.
    pub async fn start(
        store: Arc<dyn EdgeStore>,
        settings: Settings,
    ) -> Result<Arc<Self>, std::io::Error> {
        let metrics = EdgeMetrics::default();
        let followed = LISTS.map(|list| Followed {
            list,
            replica: RwLock::new(Replica::new(list)),
            changed: Notify::new(),
            filled: Arc::default(),
        });
        let mut publisher = None;
        if let Some(nats) = &settings.nats {
            let filled = followed
                .each_ref()
                .map(|of| (of.list, Arc::clone(&of.filled)));
            publisher =
                Some(Publisher::start(nats.clone(), &store, filled, metrics.clone()).await?);
        }
        let edge = Arc::new(Self {
            store,
            settings,
            metrics,
            followed,
            outbox_full: AtomicBool::new(false),
            publisher,
        });
        for list in LISTS {
            tokio::spawn(follow(Arc::downgrade(&edge), list));
        }
        tokio::spawn(sweep(Arc::downgrade(&edge)));
        Ok(edge)
    }

    /// Reads the body of a `POST`.
    ///
    /// # Errors
    /// Every field that is wrong.
    pub fn read(&self, list: ListName, body: &[u8]) -> Result<NewEntry, BadEntry> {
        NewEntry::read(list, body, &self.settings.rules)
    }

    /// Adds an entry; in `revoked`, renews a live one. Writes the audit line. Acknowledged means stored, with its
    /// audit record and its event. It ends also if the caller does not wait for it.
    ///
    /// # Errors
    /// The store did not do it. The caller tells [`Edge::refused`].
    pub async fn add(
        self: &Arc<Self>,
        list: ListName,
        new: &NewEntry,
        by: &str,
    ) -> Result<Added, EdgeFailure> {
        let (edge, new, by) = (Arc::clone(self), new.clone(), named(by));
        let done = tokio::spawn(async move {
            let added = edge.store.add(list, &new, &by).await;
            if let Ok(Added::Done(change)) = &added {
                edge.changed(change);
            }
            edge.count(added)
        });
        done.await.unwrap_or(Err(EdgeFailure::Unavailable))
    }

    /// Removes a live entry; `None`: there is none of this id. Writes the audit line. It ends also if the caller
    /// does not wait for it.
    ///
    /// # Errors
    /// The store did not do it. The caller tells [`Edge::refused`].
    pub async fn remove(
        self: &Arc<Self>,
        list: ListName,
        id: &EntryId,
        by: &str,
        note: Option<Note>,
    ) -> Result<Option<Change>, EdgeFailure> {
        let (edge, id, by) = (Arc::clone(self), id.clone(), named(by));
        let done = tokio::spawn(async move {
            let removed = edge.store.remove(list, &id, &by, note.as_ref()).await;
            if let Ok(Some(change)) = &removed {
                edge.changed(change);
            }
            edge.count(removed)
        });
        done.await.unwrap_or(Err(EdgeFailure::Unavailable))
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

    /// What a worker gets that has the version `after` of an epoch (D3). Asks no store.
    #[must_use]
    pub fn answer(&self, list: ListName, epoch: &str, after: u64) -> Answer {
        match self.of(list) {
            Some(of) => read(&of.replica).answer(epoch, after, Instant::now()),
            None => Answer::NotLoaded,
        }
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
        let from = from.map(tracing::field::display);
        tracing::warn!(target: "audit", action = "refused", by, from, attempt, code, detail);
    }

    /// Has JetStream take the events of these failures, if NATS is configured. `Ok`: it has all of them.
    ///
    /// # Errors
    /// Why not. Some may be there; those are there once, however often they are told.
    pub async fn tell(&self, failures: &[UpstreamFailure]) -> Result<(), String> {
        let Some(publisher) = &self.publisher else {
            return Ok(());
        };
        let told = try_join_all(failures.iter().map(|failure| publisher.tell(failure)));
        match timeout(TOLD_WITHIN, told).await {
            Ok(told) => told.map(drop),
            Err(_) => Err("not acknowledged in time".to_owned()),
        }
    }

    /// What `/metrics` shows of the lists.
    #[must_use]
    pub const fn metrics(&self) -> &EdgeMetrics {
        &self.metrics
    }

    /// What an operator should know, one line each; empty when all is well. For `/readyz`.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let now = Instant::now();
        for of in &self.followed {
            let (list, replica) = (of.list, read(&of.replica));
            match replica.age(now) {
                None => notes.push(format!("list {list} is not loaded")),
                Some(age) if age > STALE => {
                    notes.push(format!("list {list} is {} s old", age.as_secs()));
                }
                Some(_) => {}
            }
        }
        if self.settings.tells_durability && self.store.durability() != Durability::Durable {
            let durability = self.store.durability().as_str();
            notes.push(format!(
                "store of the lists: {durability}; it needs appendonly yes and appendfsync always"
            ));
        }
        if self.outbox_full.load(Ordering::Relaxed) {
            notes.push("outbox is full: lists cannot be changed until NATS is there".to_owned());
        }
        notes
    }

    /// How many members a list has, as far as it is known here; `None`: nothing is known yet.
    #[must_use]
    pub fn size(&self, list: ListName) -> Option<usize> {
        let replica = read(&self.of(list)?.replica);
        replica.is_loaded().then(|| replica.members())
    }

    fn of(&self, list: ListName) -> Option<&Followed> {
        self.followed.iter().find(|of| of.list == list)
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
            note = change.note.as_ref().map(|note| note.reason.as_str()),
            note_ticket_url = change.note.as_ref().and_then(|note| note.ticket_url.as_deref()),
            version = change.version,
            change = change.id,
        );
        if let Some(of) = self.of(entry.list) {
            of.changed.notify_one();
            of.filled.notify_one();
        }
    }

    fn count<T>(&self, result: Result<T, EdgeFailure>) -> Result<T, EdgeFailure> {
        if let Err(failure) = &result {
            self.metrics.failed(*failure);
            if *failure == EdgeFailure::OutboxFull
                && !self.outbox_full.swap(true, Ordering::Relaxed)
            {
                tracing::error!("the outbox is full: lists cannot be changed until NATS is there");
            }
        }
        result
    }

    /// Takes off what is over, on all lists.
    async fn expire(&self) {
        self.metrics.durable(self.store.durability());
        let mut full = false;
        for list in LISTS {
            loop {
                let Ok(changes) = self.count(self.store.expire(list).await) else {
                    break;
                };
                for change in &changes {
                    self.changed(change);
                }
                if changes.is_empty() {
                    break;
                }
            }
            if let Some(most) = self.settings.bounds.pending
                && let Ok(waiting) = self.store.waiting(list).await
            {
                full |= usize::try_from(waiting).is_ok_and(|waiting| waiting >= most);
                self.metrics.waiting(list, waiting);
            }
        }
        self.outbox_full.store(full, Ordering::Relaxed);
    }
}

/// A list older than this is worth a note.
const STALE: Duration = Duration::from_secs(5);

fn read(replica: &RwLock<Replica>) -> std::sync::RwLockReadGuard<'_, Replica> {
    replica.read().unwrap_or_else(PoisonError::into_inner)
}

/// Without control characters, and not too long.
fn named(by: &str) -> String {
    let mut name = String::new();
    for plain in by.chars().filter(|c| !c.is_control()) {
        if name.len().saturating_add(plain.len_utf8()) > MAX_BY_BYTES {
            break;
        }
        name.push(plain);
    }
    name
}

/// Keeps the copy of a list up to date: asks at once when it was changed through this process, and every
/// `edge.poll_ms` what others changed.
async fn follow(edge: Weak<Edge>, list: ListName) {
    while let Some(strong) = edge.upgrade() {
        let Some(of) = strong.of(list) else { return };
        let poll = strong.settings.poll;
        let seen = read(&of.replica).seen();
        let log = strong.store.log(list, &seen, FATES).await;
        let then = match log {
            Ok(log) => {
                let mut replica = of.replica.write().unwrap_or_else(PoisonError::into_inner);
                let then = replica.take(log, Instant::now());
                strong
                    .metrics
                    .follows(list, replica.members(), replica.version());
                then
            }
            Err(_) => {
                strong.metrics.not_followed(list);
                Then::Rest
            }
        };
        if let Some(age) = read(&of.replica).age(Instant::now()) {
            strong.metrics.age(list, age);
        }
        if then == Then::Rest {
            let _ = timeout(poll, of.changed.notified()).await;
        }
    }
}

async fn sweep(edge: Weak<Edge>) {
    while let Some(strong) = edge.upgrade() {
        strong.expire().await;
        drop(strong);
        sleep(SWEEP).await;
    }
}
