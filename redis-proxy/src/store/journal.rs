//! Windowed limits on disk, for the embedded store (C6): a redb file and one writer thread.
//!
//! The writer commits all that is waiting in one durable transaction, so a hundred logins at once
//! cost one `fsync`. A state is acknowledged when its transaction is on disk.

use std::{
    path::Path,
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use redb::{Database, TableDefinition};
use tokio::sync::oneshot;
use wire::limits::Failure;

use crate::bucket::{
    Micros,
    window::{Slot, Window},
};

/// Name → until, at, then per slot: first age, last age, taken.
const WINDOWS: TableDefinition<'_, &str, Vec<u64>> = TableDefinition::new("windows-1");
/// Changes waiting for the writer; one more is refused.
const QUEUE: usize = 4_096;
/// Changes in one transaction.
const BATCH: usize = 1_024;

/// Done when the change is on disk.
pub type Committed = oneshot::Receiver<()>;

/// One key as it was on disk.
#[derive(Debug, PartialEq, Eq)]
pub struct Record {
    /// The whole name of the key.
    pub name: String,
    /// When it may be forgotten.
    pub until: Micros,
    /// The state.
    pub window: Window,
}

struct Change {
    name: String,
    state: Option<Vec<u64>>,
    done: Option<oneshot::Sender<()>>,
}

/// The file cannot be used.
#[derive(Debug)]
pub struct JournalError(Box<redb::Error>);

impl std::fmt::Display for JournalError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "embedded store: {}", self.0)
    }
}

impl std::error::Error for JournalError {}

impl<E: Into<redb::Error>> From<E> for JournalError {
    fn from(error: E) -> Self {
        Self(Box::new(error.into()))
    }
}

/// The way to the writer.
pub struct Journal {
    changes: SyncSender<Change>,
    alive: Arc<AtomicBool>,
}

impl Journal {
    /// Opens the file, reads what still matters at `now`, drops the rest, starts the writer.
    ///
    /// # Errors
    /// The file cannot be opened or is damaged.
    pub fn open(path: &Path, now: Micros) -> Result<(Self, Vec<Record>), JournalError> {
        let database = Database::create(path)?;
        let mut records = Vec::new();
        let write = database.begin_write()?;
        {
            let mut table = write.open_table(WINDOWS)?;
            table.retain(|name, words| match decode(name, &words) {
                Some(record) if record.until > now => {
                    records.push(record);
                    true
                }
                _ => false,
            })?;
        }
        write.commit()?;

        let (changes, waiting) = sync_channel(QUEUE);
        let alive = Arc::new(AtomicBool::new(true));
        let writer = Writer {
            database,
            waiting,
            alive: Arc::clone(&alive),
        };
        std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || writer.run())
            .map_err(redb::Error::Io)?;
        Ok((Self { changes, alive }, records))
    }

    /// Whether the writer still writes.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Relaxed)
    }

    /// Writes the state of a key.
    ///
    /// # Errors
    /// [`Failure::Overloaded`] when too many wait, [`Failure::StoreUnavailable`] when the writer died.
    pub fn put(&self, name: &str, until: Micros, window: &Window) -> Result<Committed, Failure> {
        let (done, committed) = oneshot::channel();
        let state = Some(encode(until, window));
        self.send(Change {
            name: name.to_owned(),
            state,
            done: Some(done),
        })?;
        Ok(committed)
    }

    /// Drops a key, some time. If the queue is full it is dropped at the next start.
    pub fn forget(&self, name: &str) {
        let _ = self.send(Change {
            name: name.to_owned(),
            state: None,
            done: None,
        });
    }

    fn send(&self, change: Change) -> Result<(), Failure> {
        self.changes.try_send(change).map_err(|error| match error {
            TrySendError::Full(_) => Failure::Overloaded,
            TrySendError::Disconnected(_) => Failure::StoreUnavailable,
        })
    }
}

struct Writer {
    database: Database,
    waiting: Receiver<Change>,
    alive: Arc<AtomicBool>,
}

impl Writer {
    fn run(self) {
        while let Ok(first) = self.waiting.recv() {
            let mut batch = vec![first];
            batch.extend(self.waiting.try_iter().take(BATCH));
            match self.commit(&batch) {
                Ok(()) => {
                    for done in batch.into_iter().filter_map(|change| change.done) {
                        let _ = done.send(());
                    }
                }
                Err(error) => {
                    // What could not be written is not acknowledged; the senders see it.
                    tracing::error!(%error, "the embedded store cannot write");
                    self.alive.store(false, Ordering::Relaxed);
                    return;
                }
            }
        }
    }

    fn commit(&self, batch: &[Change]) -> Result<(), JournalError> {
        let write = self.database.begin_write()?;
        {
            let mut table = write.open_table(WINDOWS)?;
            for change in batch {
                match &change.state {
                    Some(state) => drop(table.insert(change.name.as_str(), state)?),
                    None => drop(table.remove(change.name.as_str())?),
                }
            }
        }
        write.commit()?;
        Ok(())
    }
}

fn encode(until: Micros, window: &Window) -> Vec<u64> {
    let slots = window.slots().iter();
    let words = slots.flat_map(|slot| [slot.first_age, slot.last_age, slot.taken]);
    [until, window.at()].into_iter().chain(words).collect()
}

fn decode(name: &str, words: &[u64]) -> Option<Record> {
    let [until, at, slots @ ..] = words else {
        return None;
    };
    let (slots, []) = slots.as_chunks::<3>() else {
        return None;
    };
    let slot = |&[first_age, last_age, taken]: &[u64; 3]| Slot {
        first_age,
        last_age,
        taken,
    };
    let window = Window::restore(*at, slots.iter().map(slot).collect());
    Some(Record {
        name: name.to_owned(),
        until: *until,
        window,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bucket::window::WindowLimit;
    use wire::limits::GiveBack;

    #[tokio::test]
    async fn what_is_acknowledged_is_on_disk_and_what_is_over_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.redb");
        let limit = WindowLimit::new(5, 60_000);
        let mut window = Window::new(1_000);
        window.acquire(&limit, 1_000, 3, GiveBack::default());
        window.acquire(&limit, 9_000, 1, GiveBack::default());

        let (journal, records) = Journal::open(&path, 0).unwrap();
        assert_eq!(records, []);
        journal.put("kept", 100, &window).unwrap().await.unwrap();
        journal.put("over", 50, &window).unwrap().await.unwrap();
        journal
            .put("forgotten", 100, &window)
            .unwrap()
            .await
            .unwrap();
        journal.forget("forgotten");
        journal.put("last", 100, &window).unwrap().await.unwrap();
        assert!(journal.is_alive());
        drop(journal);

        let reopened = (0..1_000).find_map(|_| {
            // the writer lets go of the file a moment after the journal is dropped
            std::thread::sleep(std::time::Duration::from_millis(20));
            Journal::open(&path, 50).ok()
        });
        let record = |name: &str| Record {
            name: name.into(),
            until: 100,
            window: window.clone(),
        };
        assert_eq!(reopened.unwrap().1, [record("kept"), record("last")]);
    }

    #[test]
    fn damaged_records_are_dropped() {
        assert_eq!(decode("x", &[]), None);
        assert_eq!(decode("x", &[1]), None);
        assert_eq!(decode("x", &[1, 2, 3]), None);
        assert!(decode("x", &[1, 2, 3, 4, 5]).is_some());
    }
}
