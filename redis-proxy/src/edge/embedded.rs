//! The embedded store of the lists: no Redis needed. In memory, or in a file that survives `kill -9` (C6).
//!
//! One thread owns the lists. It takes all operations that wait, does them in memory, commits what they
//! changed in one durable transaction, and only then answers: a hundred pushes at once cost one `fsync`, and
//! nobody ever sees a change that is not on disk. When the disk fails it stops, and every operation from then
//! on fails.

use std::{
    path::Path,
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};
use wire::lists::ListName;

use super::{
    body::NewEntry,
    disk::{Disk, DiskError},
    entry::{Entry, EntryId},
    ledger::Ledger,
    random,
    store::{
        Added, Bounds, Change, Changes, Durability, EdgeFailure, EdgeStore, Entries, LISTS, Log,
        MAX_PAGE, Note, Reply, Seen,
    },
};
use crate::store::embedded::Clock;

/// Operations waiting for the thread; one more is refused.
const QUEUE: usize = 4_096;
/// Operations in one transaction.
const BATCH: usize = 1_024;

type Operation = Box<dyn FnOnce(&mut Lists, u64) -> Answer + Send>;
/// Sends the result, once it is on disk.
type Answer = Box<dyn FnOnce() + Send>;

/// The embedded store.
pub struct Embedded {
    operations: SyncSender<Operation>,
    budget: Duration,
    durability: Durability,
}

impl Embedded {
    /// In memory only.
    ///
    /// # Errors
    /// The system has no randomness or no thread.
    pub fn in_memory(bounds: Bounds, budget: Duration, clock: Clock) -> Result<Self, DiskError> {
        Self::start(Lists::new(bounds)?, None, budget, clock)
    }

    /// In the file at `path`, made if it is not there.
    ///
    /// # Errors
    /// The file cannot be opened, is locked by another redis-proxy, or is damaged.
    pub fn open(
        path: &Path,
        bounds: Bounds,
        budget: Duration,
        clock: Clock,
    ) -> Result<Self, DiskError> {
        let mut lists = Lists::new(bounds)?;
        let disk = Disk::open(path)?;
        disk.restore(|list, write| lists.of(list).restore(write))?;
        Self::start(lists, Some(disk), budget, clock)
    }

    fn start(
        mut lists: Lists,
        disk: Option<Disk>,
        budget: Duration,
        clock: Clock,
    ) -> Result<Self, DiskError> {
        let durability = match &disk {
            Some(_) => Durability::Durable,
            None => Durability::Volatile,
        };
        // New lists are on disk before anybody follows them.
        commit(&mut lists, disk.as_ref())?;
        let (operations, waiting) = sync_channel(QUEUE);
        std::thread::Builder::new()
            .name("lists".to_owned())
            .spawn(move || work(lists, disk, &waiting, &clock))
            .map_err(DiskError::io)?;
        Ok(Self {
            operations,
            budget,
            durability,
        })
    }

    fn run<T: Send + 'static>(
        &self,
        list: ListName,
        operation: impl FnOnce(&mut Ledger, u64) -> Result<T, EdgeFailure> + Send + 'static,
    ) -> Reply<'static, T> {
        let (done, answer) = oneshot::channel();
        let operation: Operation = Box::new(move |lists, now_ms| {
            let result = operation(lists.of(list), now_ms);
            Box::new(move || drop(done.send(result)))
        });
        let sent = self.operations.try_send(operation);
        let budget = self.budget;
        Box::pin(async move {
            sent.map_err(|error| match error {
                TrySendError::Full(_) => EdgeFailure::Timeout,
                TrySendError::Disconnected(_) => EdgeFailure::Unavailable,
            })?;
            match timeout(budget, answer).await {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => Err(EdgeFailure::Unavailable),
                Err(_) => Err(EdgeFailure::Timeout),
            }
        })
    }
}

fn work(mut lists: Lists, disk: Option<Disk>, waiting: &Receiver<Operation>, clock: &Clock) {
    while let Ok(first) = waiting.recv() {
        let batch = std::iter::once(first).chain(waiting.try_iter().take(BATCH));
        let answers: Vec<Answer> = batch
            .map(|operation| {
                let now_ms = clock().checked_div(1_000).unwrap_or_default();
                operation(&mut lists, now_ms)
            })
            .collect();
        if let Err(error) = commit(&mut lists, disk.as_ref()) {
            // Nothing of this batch is acknowledged: the callers see the store fail.
            tracing::error!(%error, "the lists cannot be written");
            return;
        }
        for answer in answers {
            answer();
        }
    }
}

fn commit(lists: &mut Lists, disk: Option<&Disk>) -> Result<(), DiskError> {
    let writes = lists.written();
    match disk {
        Some(disk) if !writes.is_empty() => disk.commit(&writes),
        _ => Ok(()),
    }
}

struct Lists {
    deny: Ledger,
    tarpit: Ledger,
    revoked: Ledger,
}

impl Lists {
    fn new(bounds: Bounds) -> Result<Self, DiskError> {
        let ledger = |list| {
            let epoch = random::name().map_err(|_| DiskError::no_randomness())?;
            Ok::<_, DiskError>(Ledger::new(list, bounds, epoch))
        };
        Ok(Self {
            deny: ledger(ListName::Deny)?,
            tarpit: ledger(ListName::Tarpit)?,
            revoked: ledger(ListName::Revoked)?,
        })
    }

    fn of(&mut self, list: ListName) -> &mut Ledger {
        match list {
            ListName::Deny => &mut self.deny,
            ListName::Tarpit => &mut self.tarpit,
            ListName::Revoked => &mut self.revoked,
        }
    }

    fn written(&mut self) -> Vec<(ListName, super::ledger::Write)> {
        let of = |list| {
            let writes = self.of(list).written();
            writes.into_iter().map(move |write| (list, write))
        };
        LISTS.into_iter().flat_map(of).collect()
    }
}

impl EdgeStore for Embedded {
    fn add<'a>(&'a self, list: ListName, new: &'a NewEntry, by: &'a str) -> Reply<'a, Added> {
        let (new, by) = (new.clone(), by.to_owned());
        self.run(list, move |ledger, now_ms| {
            let ids = [random::name()?, random::name()?, random::name()?];
            ledger.add(&new, &by, now_ms, ids)
        })
    }

    fn remove<'a>(
        &'a self,
        list: ListName,
        id: &'a EntryId,
        by: &'a str,
        note: Option<&'a Note>,
    ) -> Reply<'a, Option<Change>> {
        let (id, by, note) = (id.clone(), by.to_owned(), note.cloned());
        self.run(list, move |ledger, now_ms| {
            ledger.remove(&id, &by, note, now_ms, random::name()?)
        })
    }

    fn get<'a>(&'a self, list: ListName, id: &'a EntryId) -> Reply<'a, Option<Entry>> {
        let id = id.clone();
        self.run(list, move |ledger, now_ms| {
            Ok(ledger.get(&id, now_ms).cloned())
        })
    }

    fn entries(&self, list: ListName, after: u64, limit: usize) -> Reply<'_, Entries> {
        self.run(list, move |ledger, now_ms| {
            Ok(ledger.entries(after, limit, now_ms))
        })
    }

    fn log<'a>(&'a self, list: ListName, seen: &'a Seen, limit: usize) -> Reply<'a, Log> {
        let seen = seen.clone();
        self.run(list, move |ledger, now_ms| {
            Ok(ledger.log(&seen, limit, now_ms, random::name()?))
        })
    }

    fn expire(&self, list: ListName) -> Reply<'_, Vec<Change>> {
        self.run(list, move |ledger, now_ms| {
            let mut changes = Vec::new();
            while changes.len() < MAX_PAGE {
                let id = random::name()?;
                match ledger.expire(now_ms, || id) {
                    Some(change) => changes.push(change),
                    None => break,
                }
            }
            Ok(changes)
        })
    }

    fn audit(&self, list: ListName, before: u64, limit: usize) -> Reply<'_, Changes> {
        self.run(list, move |ledger, _| Ok(ledger.audit(before, limit)))
    }

    fn pending(&self, list: ListName, limit: usize) -> Reply<'_, Vec<Change>> {
        self.run(list, move |ledger, _| Ok(ledger.pending(limit)))
    }

    fn delivered<'a>(&'a self, list: ListName, ids: &'a [String]) -> Reply<'a, ()> {
        let ids = ids.to_vec();
        self.run(list, move |ledger, _| {
            ledger.delivered(&ids);
            Ok(())
        })
    }

    fn waiting(&self, list: ListName) -> Reply<'_, u64> {
        self.run(list, move |ledger, _| {
            Ok(u64::try_from(ledger.waiting()).unwrap_or(u64::MAX))
        })
    }

    fn durability(&self) -> Durability {
        self.durability
    }
}
