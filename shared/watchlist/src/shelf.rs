//! Entries of one kind: keys of `N` bytes, each with its end.

use hashbrown::HashTable;

use crate::seed::Seed;
use crate::stamp::Stamp;

/// A shelf has so many tables. One is swept at a time, and each grows by itself, so that no callback of a worker
/// takes long however many entries there are, and growing never needs twice the memory of all.
pub(crate) const TABLES: usize = 64;

/// A hash table in parts. Keys and ends have no alignment: a slot is `N + 4` bytes, and one for its tag.
#[derive(Debug)]
pub(crate) struct Shelf<const N: usize> {
    /// None until the first entry.
    tables: Vec<HashTable<([u8; N], Stamp)>>,
    seed: Seed,
    len: usize,
}

impl<const N: usize> Shelf<N> {
    pub const fn new(seed: Seed) -> Self {
        Self {
            tables: Vec::new(),
            seed,
            len: 0,
        }
    }

    /// How many entries there are, those that have ended but were not swept among them.
    pub const fn len(&self) -> usize {
        self.len
    }

    pub fn get(&self, key: &[u8; N]) -> Option<Stamp> {
        if self.len == 0 {
            return None;
        }
        let hash = self.seed.hash(key);
        let table = self.tables.get(table_of(hash))?;
        let (_, stamp) = table.find(hash, |(known, _)| known == key)?;
        Some(*stamp)
    }

    /// Adds an entry, or changes its end. A new one only if there is `room`; false if there was none.
    pub fn put(&mut self, key: [u8; N], stamp: Stamp, room: bool) -> Put {
        let hash = self.seed.hash(&key);
        if self.tables.is_empty() {
            if !room {
                return Put::NoRoom;
            }
            self.tables.resize_with(TABLES, HashTable::new);
        }
        let Some(table) = self.tables.get_mut(table_of(hash)) else {
            return Put::NoRoom;
        };
        if let Some((_, known)) = table.find_mut(hash, |(known, _)| *known == key) {
            *known = stamp;
            return Put::Prolonged;
        }
        if !room {
            return Put::NoRoom;
        }
        let seed = self.seed;
        table.insert_unique(hash, (key, stamp), |(key, _)| seed.hash(key));
        self.len = self.len.saturating_add(1);
        Put::Added
    }

    /// Whether it was there.
    pub fn remove(&mut self, key: &[u8; N]) -> bool {
        let hash = self.seed.hash(key);
        let Some(table) = self.tables.get_mut(table_of(hash)) else {
            return false;
        };
        match table.find_entry(hash, |(known, _)| known == key) {
            Ok(entry) => {
                entry.remove();
                self.len = self.len.saturating_sub(1);
                true
            }
            Err(_) => false,
        }
    }

    /// Drops what has ended from one of the tables, and tells of each.
    pub fn sweep(&mut self, table: usize, elapsed: u32, mut gone: impl FnMut(&[u8; N])) {
        let Some(table) = self.tables.get_mut(table) else {
            return;
        };
        let before = table.len();
        table.retain(|(key, stamp)| {
            let over = stamp.is_over(elapsed);
            if over {
                gone(key);
            }
            !over
        });
        self.len = self.len.saturating_sub(before.saturating_sub(table.len()));
        if table.len() < table.capacity() / 4 {
            let seed = self.seed;
            table.shrink_to(table.len(), |(key, _)| seed.hash(key));
        }
    }
}

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Put {
    Added,
    Prolonged,
    NoRoom,
}

/// Bits of the hash that the tables themselves use neither on 64 bits nor on 32.
fn table_of(hash: u64) -> usize {
    usize::try_from((hash >> 40) & 63).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use policy::Time;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use crate::stamp::Origin;

    #[test]
    fn sweeping_all_tables_drops_what_has_ended_and_nothing_else() {
        let start = Time::from_secs(1);
        let origin = Origin(start);
        let after = |secs| start.plus(Duration::from_secs(secs));
        let mut shelf = Shelf::<4>::new(Seed::fixed(7));
        for n in 0..10_000_u32 {
            let end = origin.end(after(u64::from(n % 2) * 100 + 1));
            assert_eq!(shelf.put(n.to_le_bytes(), end, true), Put::Added);
        }
        let mut gone = 0;
        for table in 0..TABLES {
            shelf.sweep(table, origin.elapsed(after(50)), |_| gone += 1);
        }
        assert_eq!((gone, shelf.len()), (5_000, 5_000));
        for n in 0..10_000_u32 {
            assert_eq!(shelf.get(&n.to_le_bytes()).is_some(), n % 2 == 1);
        }
        assert!(shelf.remove(&1_u32.to_le_bytes()) && !shelf.remove(&1_u32.to_le_bytes()));
        assert_eq!(shelf.len(), 4_999);
    }

    #[test]
    fn the_entries_spread_over_the_tables() {
        let origin = Origin(Time::EPOCH);
        let mut shelf = Shelf::<16>::new(Seed::fixed(7));
        for n in 0..64_000_u128 {
            shelf.put(n.to_be_bytes(), origin.end(Time::NEVER), true);
        }
        let sizes: Vec<usize> = shelf.tables.iter().map(HashTable::len).collect();
        assert!(
            sizes.iter().all(|size| (800..1_200).contains(size)),
            "{sizes:?}"
        );
    }
}
