//! The embedded store: no Redis needed. Exact for all workers of one redis-proxy.
//!
//! Buckets are in memory. With a path, windowed limits (`5/min`) are also written to a
//! [`Journal`] before their tokens are granted, so a `kill -9` gives no attacker a fresh window (C6). Paced limits are
//! not written: all they can lose is one burst. Without a path this is a pure memory store.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use futures_util::future::{BoxFuture, join_all};
use tokio::time::timeout;
use wire::limits::Failure;

use super::{
    Ask, Health, Outcome, Store,
    journal::{Committed, Journal, JournalError, Record},
};
use crate::bucket::{Bucket, Micros};

const SHARDS: usize = 16;
/// A full shard is searched for forgotten keys at most this often.
const SWEEP_EVERY_US: u64 = 100_000;

/// Microseconds since 1970.
pub type Clock = Arc<dyn Fn() -> Micros + Send + Sync>;

/// The wall clock of the start, moved on by the monotonic clock: it never steps.
#[must_use]
pub fn steady_clock() -> Clock {
    let started = Instant::now();
    let since_1970 = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    Arc::new(move || {
        let now = since_1970.saturating_add(started.elapsed());
        u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
    })
}

/// The embedded store.
pub struct Embedded {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
    clock: Clock,
    journal: Option<Journal>,
    budget: Duration,
}

#[derive(Default)]
struct Shard {
    keys: HashMap<String, Kept>,
    capacity: usize,
    swept: Micros,
}

struct Kept {
    bucket: Bucket,
    until: Micros,
}

impl Embedded {
    /// In memory only: at most `max_keys` keys (at least 16), on the given clock.
    #[must_use]
    pub fn in_memory(max_keys: usize, budget: Duration, clock: Clock) -> Self {
        let capacity = max_keys.div_ceil(SHARDS).max(1);
        let shard = || {
            Mutex::new(Shard {
                capacity,
                ..Shard::default()
            })
        };
        let shards = std::iter::repeat_with(shard).take(SHARDS).collect();
        Self {
            shards,
            hasher: RandomState::new(),
            clock,
            journal: None,
            budget,
        }
    }

    /// With a journal for windowed limits at `path`, made if it is not there.
    ///
    /// # Errors
    /// The file cannot be opened, is locked by another redis-proxy, or is damaged.
    pub fn open(
        path: &Path,
        max_keys: usize,
        budget: Duration,
        clock: Clock,
    ) -> Result<Self, JournalError> {
        let mut store = Self::in_memory(max_keys, budget, clock);
        let now = (store.clock)();
        let (journal, records) = Journal::open(path, now)?;
        for Record {
            name,
            until,
            window,
        } in records
        {
            if let Some(mut shard) = store.shard(&name) {
                shard.keys.insert(
                    name,
                    Kept {
                        bucket: Bucket::Window(window),
                        until,
                    },
                );
            }
        }
        store.journal = Some(journal);
        Ok(store)
    }

    fn shard(&self, name: &str) -> Option<MutexGuard<'_, Shard>> {
        let hash = self.hasher.hash_one(name);
        let index = usize::try_from(hash.checked_rem(SHARDS as u64)?).ok()?;
        // A panic cannot leave a bucket half-changed in a way that matters: it is plain numbers.
        Some(
            self.shards
                .get(index)?
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Decides in memory; the second part is there when it must be on disk before it counts.
    fn decide(&self, ask: &Ask, now: Micros) -> Result<(Outcome, Option<Committed>), Failure> {
        let mut shard = self.shard(&ask.name).ok_or(Failure::StoreUnavailable)?;
        shard.make_room(&ask.name, now, self.journal.as_ref())?;
        let kept = shard.keys.entry(ask.name.clone()).or_insert_with(|| Kept {
            bucket: Bucket::new(&ask.rule, now),
            until: now,
        });
        if kept.until <= now {
            kept.bucket = Bucket::new(&ask.rule, now);
        }
        let decision = kept.bucket.acquire(&ask.rule, now, ask.want, ask.give_back);
        kept.until = now.saturating_add(decision.keep_ms.saturating_mul(1_000));

        // Sent under the lock, so states of one key reach the disk in the order they were made.
        let committed = match (&self.journal, &kept.bucket) {
            (Some(journal), Bucket::Window(window)) if decision.granted > 0 => {
                Some(journal.put(&ask.name, kept.until, window)?)
            }
            _ => None,
        };
        if decision.keep_ms == 0 {
            shard.keys.remove(&ask.name);
            if let Some(journal) = &self.journal {
                journal.forget(&ask.name);
            }
        }
        Ok((Ok(decision), committed))
    }

    async fn one(&self, ask: &Ask) -> Outcome {
        let (outcome, committed) = self.decide(ask, (self.clock)())?;
        match committed {
            None => outcome,
            Some(committed) => match timeout(self.budget, committed).await {
                Ok(Ok(())) => outcome,
                Ok(Err(_)) => Err(Failure::StoreUnavailable),
                Err(_) => Err(Failure::StoreTimeout),
            },
        }
    }

    /// Drops what no longer matters. For a timer; the store stays right without.
    pub fn sweep(&self) {
        let now = (self.clock)();
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.sweep(now, self.journal.as_ref());
        }
    }
}

impl Shard {
    fn make_room(
        &mut self,
        name: &str,
        now: Micros,
        journal: Option<&Journal>,
    ) -> Result<(), Failure> {
        if self.keys.len() < self.capacity || self.keys.contains_key(name) {
            return Ok(());
        }
        if now.abs_diff(self.swept) >= SWEEP_EVERY_US {
            self.sweep(now, journal);
        }
        if self.keys.len() < self.capacity {
            Ok(())
        } else {
            Err(Failure::StoreFull)
        }
    }

    fn sweep(&mut self, now: Micros, journal: Option<&Journal>) {
        self.swept = now;
        self.keys.retain(|name, kept| {
            let keep = kept.until > now;
            if let (false, Some(journal), Bucket::Window(_)) = (keep, journal, &kept.bucket) {
                journal.forget(name);
            }
            keep
        });
    }
}

impl Store for Embedded {
    fn acquire<'a>(&'a self, asks: &'a [Ask]) -> BoxFuture<'a, Vec<Outcome>> {
        Box::pin(join_all(asks.iter().map(|ask| self.one(ask))))
    }

    fn health(&self) -> Health {
        let held = |shard: &Mutex<Shard>| {
            shard
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .keys
                .len()
        };
        let keys = self.shards.iter().map(held).fold(0, usize::saturating_add);
        let ready = self.journal.as_ref().is_none_or(Journal::is_alive);
        Health {
            ready,
            open_breakers: 0,
            keys,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::bucket::Rule;
    use wire::limits::{GiveBack, Limit};

    fn ask(name: &str) -> Ask {
        let rule = Rule::new(&Limit::window(1, 1_000));
        Ask {
            name: name.into(),
            rule,
            want: 1,
            give_back: GiveBack::default(),
        }
    }

    fn store(max_keys: usize) -> (Embedded, Arc<AtomicU64>) {
        let now = Arc::new(AtomicU64::new(1_000_000));
        let clock = Arc::clone(&now);
        let clock: Clock = Arc::new(move || clock.load(Ordering::Relaxed));
        (
            Embedded::in_memory(max_keys, Duration::from_secs(1), clock),
            now,
        )
    }

    #[tokio::test]
    async fn a_full_store_refuses_new_keys_keeps_the_old_and_makes_room_in_time() {
        let (store, now) = store(160);
        let asks: Vec<_> = (0..1_000).map(|i| ask(&format!("k{i}"))).collect();
        let first = store.acquire(&asks).await;
        let full = first
            .iter()
            .filter(|outcome| **outcome == Err(Failure::StoreFull))
            .count();
        assert!((840..1_000).contains(&full), "{full}");
        assert!(store.health().keys <= 160);
        for (ask, outcome) in asks
            .iter()
            .zip(&first)
            .filter(|(_, outcome)| outcome.is_ok())
        {
            assert_eq!(outcome.unwrap().granted, 1);
            let again = store.acquire(std::slice::from_ref(ask)).await;
            assert_eq!(again[0].unwrap().granted, 0, "not forgotten");
        }
        now.fetch_add(1_200_000, Ordering::Relaxed);
        assert_eq!(store.acquire(&[ask("new")]).await[0].unwrap().granted, 1);
    }

    #[tokio::test]
    async fn keys_leave_memory_when_they_no_longer_matter() {
        let (store, now) = store(1_000);
        store.acquire(&[ask("a"), ask("b")]).await;
        store.sweep();
        assert_eq!(store.health().keys, 2);
        now.fetch_add(1_200_000, Ordering::Relaxed);
        store.sweep();
        assert_eq!(store.health().keys, 0);
    }
}
