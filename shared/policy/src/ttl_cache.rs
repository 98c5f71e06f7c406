//! A bounded cache: least recently used goes first, and nothing is believed longer than agreed.

use std::hash::{Hash, RandomState};
use std::num::NonZeroUsize;

use lru::LruCache;

use crate::time::Time;

/// Keys may be chosen by an attacker: the hash is keyed and the size is capped.
#[derive(Debug)]
pub struct TtlCache<K: Hash + Eq, V> {
    entries: LruCache<K, Entry<V>, RandomState>,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    stored: Time,
    expires: Time,
}

impl<K: Hash + Eq, V> TtlCache<K, V> {
    #[must_use]
    pub fn new(capacity: NonZeroUsize) -> Self {
        Self {
            entries: LruCache::with_hasher(capacity, RandomState::new()),
        }
    }

    /// The value, unless it has expired, which removes it. So does a clock that stepped back to
    /// before the value was stored: how old it is can no longer be told.
    pub fn get(&mut self, key: &K, now: Time) -> Option<&mut V> {
        let entry = self.entries.peek(key)?;
        if now < entry.stored || now >= entry.expires {
            self.entries.pop(key);
            return None;
        }
        self.entries.get_mut(key).map(|entry| &mut entry.value)
    }

    /// Stores a value until `expires`; the least recently used one makes room.
    pub fn put(&mut self, key: K, value: V, now: Time, expires: Time) {
        let entry = Entry {
            value,
            stored: now,
            expires,
        };
        self.entries.put(key, entry);
    }

    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.entries.pop(key).map(|entry| entry.value)
    }

    pub fn clear(&mut self) {
        self.entries.clear();
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn cache(capacity: usize) -> TtlCache<u32, &'static str> {
        TtlCache::new(NonZeroUsize::new(capacity).unwrap())
    }

    #[test]
    fn forgets_at_the_very_moment() {
        let mut cache = cache(2);
        cache.put(1, "one", Time::from_secs(0), Time::from_secs(60));
        let just_before = Time::from_nanos(Time::from_secs(60).as_nanos() - 1);
        assert!(cache.get(&1, just_before).is_some());
        assert!(cache.get(&1, Time::from_secs(60)).is_none());
        assert!(cache.is_empty());
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut cache = cache(2);
        let (now, later) = (Time::from_secs(0), Time::from_secs(60));
        cache.put(1, "one", now, later);
        cache.put(2, "two", now, later);
        assert!(cache.get(&1, now).is_some());
        cache.put(3, "three", now, later);
        assert!(cache.get(&2, now).is_none());
        assert!(cache.get(&1, now).is_some());
        assert_eq!(cache.len(), 2);
    }

    #[test]
    fn a_clock_that_steps_back_makes_it_forget() {
        let mut cache = cache(2);
        cache.put(1, "one", Time::from_secs(100), Time::from_secs(160));
        assert!(cache.get(&1, Time::from_secs(99)).is_none());
    }
}
