//! The leases of one worker: bounded, the least recently used makes room.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use policy::Time;
use wire::limits::Limit;

use crate::lease::Lease;

/// Where a lease is. Good until the next key is added; a stale one finds another lease or none, never
/// anything worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot(u32);

/// No slot: the end of the list.
const NONE: u32 = u32::MAX;

/// Keys may be chosen by an attacker: the hash is keyed, the size is capped.
#[derive(Debug)]
pub(crate) struct LeaseTable {
    index: HashTable<u32>,
    hasher: RandomState,
    entries: Vec<Entry>,
    capacity: usize,
    newest: u32,
    oldest: u32,
    /// Slots that ticks look after; may name a slot that has been given to another key since.
    watched: Vec<u32>,
    /// How far the last tick got.
    cursor: usize,
}

#[derive(Debug)]
struct Entry {
    key: Box<[u8]>,
    lease: Lease,
    newer: u32,
    older: u32,
}

impl LeaseTable {
    pub fn new(capacity: usize) -> Self {
        Self {
            index: HashTable::new(),
            hasher: RandomState::new(),
            entries: Vec::new(),
            capacity: capacity.clamp(1, 10_000_000),
            newest: NONE,
            oldest: NONE,
            watched: Vec::new(),
            cursor: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// The slot of a key, found with one look-up and no allocation; made if it is new.
    pub fn touch(&mut self, key: &[u8], limit: Limit, now: Time) -> Slot {
        let hash = self.hasher.hash_one(key);
        let entries = &self.entries;
        let found = self
            .index
            .find(hash, |slot| holds(entries, *slot, key))
            .copied();
        let slot = match found {
            Some(slot) => {
                self.unlink(slot);
                slot
            }
            None => self.add(hash, key, limit, now),
        };
        self.link(slot);
        if let Some(lease) = self.get_mut(Slot(slot)) {
            lease.set_limit(limit);
        }
        Slot(slot)
    }

    /// The lease of a key, if it is still known.
    pub fn find(&mut self, key: &[u8]) -> Option<&mut Lease> {
        let hash = self.hasher.hash_one(key);
        let entries = &self.entries;
        let slot = *self.index.find(hash, |slot| holds(entries, *slot, key))?;
        self.get_mut(Slot(slot))
    }

    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut Lease> {
        self.entry_mut(slot.0).map(|entry| &mut entry.lease)
    }

    pub fn key(&self, slot: Slot) -> Option<&[u8]> {
        let entry = self.entries.get(usize::try_from(slot.0).ok()?)?;
        Some(&entry.key)
    }

    /// Lets ticks look after a lease.
    pub fn watch(&mut self, slot: Slot) {
        if let Some(lease) = self.get_mut(slot)
            && !lease.watched
        {
            lease.watched = true;
            self.watched.push(slot.0);
        }
    }

    /// Calls `care` for at most `at_most` watched leases, those first that were left out the last time. One
    /// for which it returns false is no longer watched. Stops when `care` returns `None`.
    pub fn tend(
        &mut self,
        at_most: usize,
        mut care: impl FnMut(&[u8], &mut Lease) -> Option<bool>,
    ) {
        for _ in 0..at_most.min(self.watched.len()) {
            if self.cursor >= self.watched.len() {
                self.cursor = 0;
            }
            let Some(slot) = self.watched.get(self.cursor).copied() else {
                return;
            };
            let keep = match self.entry_mut(slot) {
                Some(entry) if entry.lease.watched => match care(&entry.key, &mut entry.lease) {
                    Some(true) => true,
                    Some(false) => {
                        entry.lease.watched = false;
                        false
                    }
                    None => return,
                },
                _ => false,
            };
            if keep {
                self.cursor = self.cursor.saturating_add(1);
            } else {
                self.watched.swap_remove(self.cursor);
            }
        }
    }

    fn add(&mut self, hash: u64, key: &[u8], limit: Limit, now: Time) -> u32 {
        let entry = Entry {
            key: key.into(),
            lease: Lease::new(limit, now),
            newer: NONE,
            older: NONE,
        };
        let slot = if self.entries.len() < self.capacity {
            let slot = u32::try_from(self.entries.len()).unwrap_or(NONE);
            self.entries.push(entry);
            slot
        } else {
            let slot = self.oldest;
            self.forget(slot);
            if let Some(old) = self.entry_mut(slot) {
                *old = entry;
            }
            slot
        };
        let (hasher, entries) = (&self.hasher, &self.entries);
        self.index
            .insert_unique(hash, slot, |slot| hasher.hash_one(key_of(entries, *slot)));
        slot
    }

    /// Takes an entry out of the index and the list.
    fn forget(&mut self, slot: u32) {
        self.unlink(slot);
        let hash = self.hasher.hash_one(key_of(&self.entries, slot));
        if let Ok(found) = self.index.find_entry(hash, |other| *other == slot) {
            found.remove();
        }
    }

    fn link(&mut self, slot: u32) {
        let older = self.newest;
        if let Some(entry) = self.entry_mut(slot) {
            entry.newer = NONE;
            entry.older = older;
        }
        match self.entry_mut(older) {
            Some(entry) => entry.newer = slot,
            None => self.oldest = slot,
        }
        self.newest = slot;
    }

    fn unlink(&mut self, slot: u32) {
        let Some((newer, older)) = self.entry_mut(slot).map(|entry| (entry.newer, entry.older))
        else {
            return;
        };
        match self.entry_mut(newer) {
            Some(entry) => entry.older = older,
            None => self.newest = older,
        }
        match self.entry_mut(older) {
            Some(entry) => entry.newer = newer,
            None => self.oldest = newer,
        }
    }

    fn entry_mut(&mut self, slot: u32) -> Option<&mut Entry> {
        self.entries.get_mut(usize::try_from(slot).ok()?)
    }
}

fn key_of(entries: &[Entry], slot: u32) -> &[u8] {
    usize::try_from(slot)
        .ok()
        .and_then(|slot| entries.get(slot))
        .map(|entry| &*entry.key)
        .unwrap_or_default()
}

fn holds(entries: &[Entry], slot: u32, key: &[u8]) -> bool {
    key_of(entries, slot) == key
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const LIMIT: Limit = Limit::window(5, 60_000);
    const NOW: Time = Time::from_secs(1);

    #[test]
    fn the_least_recently_used_makes_room() {
        let mut table = LeaseTable::new(2);
        table.touch(b"a", LIMIT, NOW);
        table.touch(b"b", LIMIT, NOW);
        table.touch(b"a", LIMIT, NOW);
        table.touch(b"c", LIMIT, NOW);
        assert_eq!(table.len(), 2);
        assert!(table.find(b"a").is_some());
        assert!(table.find(b"b").is_none());
        assert!(table.find(b"c").is_some());
    }

    #[test]
    fn it_stays_bounded_and_finds_what_it_holds() {
        let mut table = LeaseTable::new(100);
        for n in 0_u32..10_000 {
            let slot = table.touch(&n.to_le_bytes(), LIMIT, NOW);
            assert_eq!(table.key(slot), Some(&n.to_le_bytes()[..]));
            assert!(table.len() <= 100);
        }
        for n in 9_900_u32..10_000 {
            assert!(table.find(&n.to_le_bytes()).is_some(), "{n}");
        }
    }

    #[test]
    fn every_watched_lease_gets_its_turn_even_when_few_fit_in_a_tick() {
        let mut table = LeaseTable::new(100);
        for n in 0_u8..10 {
            let slot = table.touch(&[n], LIMIT, NOW);
            table.watch(slot);
            table.watch(slot);
        }
        let mut seen = Vec::new();
        for _ in 0..4 {
            table.tend(3, |key, _| {
                seen.push(key[0]);
                Some(true)
            });
        }
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 10);
        table.tend(100, |_, _| Some(false));
        table.tend(100, |_, _| panic!("nobody is watched"));
    }

    #[test]
    fn a_slot_with_a_new_key_is_not_watched_for_the_old_one() {
        let mut table = LeaseTable::new(1);
        let slot = table.touch(b"a", LIMIT, NOW);
        table.watch(slot);
        table.touch(b"b", LIMIT, NOW);
        table.tend(100, |_, _| panic!("b is not watched"));
    }

    #[test]
    fn an_entry_is_as_small_as_the_readme_says() {
        // 300 bytes with the key's own, its allocation and its place in the index.
        assert!(size_of::<Entry>() <= 240, "{}", size_of::<Entry>());
    }

    #[test]
    fn another_limit_takes_effect_at_once() {
        let mut table = LeaseTable::new(1);
        table.touch(b"a", LIMIT, NOW);
        table.touch(b"a", Limit::window(6, 60_000), NOW);
        assert_eq!(table.find(b"a").unwrap().limit().tokens, 6);
    }
}
