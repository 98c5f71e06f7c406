//! How often each client came since it is on the list (T1). Forgotten with its entry (T2).

use std::net::IpAddr;
use std::num::NonZeroUsize;

use policy::Time;
use policy::ttl_cache::TtlCache;
use watchlist::{Match, Sink};
use wire::lists::{Change, Member};

/// Counts by client: by an entry, in this life of it, and an address.
#[derive(Debug)]
pub(crate) struct Visits {
    /// The life of each entry that a client was seen of. An entry that ends and comes again has another one.
    lives: TtlCache<Member, u64>,
    /// Those that a snapshot confirms, while it comes in.
    coming: Option<TtlCache<Member, u64>>,
    counts: TtlCache<(u64, IpAddr), u32>,
    last_life: u64,
    capacity: NonZeroUsize,
}

impl Visits {
    /// Remembers so many clients; the one that was away longest makes room.
    pub fn new(capacity: NonZeroUsize) -> Self {
        Self {
            lives: TtlCache::new(capacity),
            coming: None,
            counts: TtlCache::new(capacity),
            last_life: 0,
            capacity,
        }
    }

    /// How often the client came before this time, which counts from now on.
    pub fn visit(&mut self, entry: &Match, address: IpAddr, now: Time) -> u32 {
        let life = match self.lives.get(&entry.member, now) {
            Some(life) => *life,
            None => {
                self.last_life = self.last_life.wrapping_add(1);
                self.last_life
            }
        };
        self.lives.put(entry.member, life, now, entry.until);
        let client = (life, network(address));
        let before = self.counts.get(&client, now).copied().unwrap_or_default();
        let visits = before.saturating_add(1);
        self.counts.put(client, visits, now, Time::NEVER);
        before
    }
}

impl Sink for Visits {
    fn begin(&mut self) {
        self.coming = Some(TtlCache::new(self.capacity));
    }

    fn apply(&mut self, change: &Change, now: Time) {
        match change {
            Change::Add { member, ttl_ms } => {
                // Prolonged, or it has no life yet.
                if let Some(life) = self.lives.get(member, now).copied() {
                    let until = now.plus(std::time::Duration::from_millis(*ttl_ms));
                    let lives = self.coming.as_mut().unwrap_or(&mut self.lives);
                    lives.put(*member, life, now, until);
                }
            }
            Change::Remove(member) => {
                self.coming
                    .as_mut()
                    .unwrap_or(&mut self.lives)
                    .remove(member);
            }
        }
    }

    fn commit(&mut self) {
        if let Some(coming) = self.coming.take() {
            self.lives = coming;
        }
    }
}

/// Who has one address of an IPv6 /64 has them all.
fn network(address: IpAddr) -> IpAddr {
    const UPPER_64: u128 = !(u64::MAX as u128);
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & UPPER_64).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;
    use wire::lists::Kind;

    fn member() -> Member {
        Member::parse(Kind::Cidr, "192.0.2.0/24").unwrap()
    }

    fn at(seconds: u64) -> Time {
        Time::from_secs(seconds)
    }

    fn visits(capacity: usize) -> Visits {
        Visits::new(NonZeroUsize::new(capacity).unwrap())
    }

    fn visit(visits: &mut Visits, address: &str, until: u64, now: u64) -> u32 {
        let entry = Match {
            member: member(),
            until: at(until),
        };
        visits.visit(&entry, address.parse().unwrap(), at(now))
    }

    fn add(visits: &mut Visits, ttl: u64, now: u64) {
        let member = member();
        let ttl_ms = ttl * 1_000;
        visits.apply(&Change::Add { member, ttl_ms }, at(now));
    }

    #[test]
    fn clients_of_one_entry_are_counted_each() {
        let mut v = visits(10);
        assert_eq!(visit(&mut v, "192.0.2.1", 100, 1), 0);
        assert_eq!(visit(&mut v, "192.0.2.1", 100, 2), 1);
        assert_eq!(visit(&mut v, "192.0.2.2", 100, 3), 0);
        assert_eq!(visit(&mut v, "2001:db8::1", 100, 3), 0);
        assert_eq!(visit(&mut v, "2001:db8::2", 100, 3), 1);
        assert_eq!(visit(&mut v, "2001:db8:0:1::2", 100, 3), 0);
    }

    #[test]
    fn an_entry_that_is_removed_takes_the_count_along() {
        let mut v = visits(10);
        visit(&mut v, "192.0.2.1", 100, 1);
        v.apply(&Change::Remove(member()), at(2));
        add(&mut v, 98, 2);
        assert_eq!(visit(&mut v, "192.0.2.1", 100, 2), 0);
    }

    #[test]
    fn an_entry_that_ends_takes_the_count_along_unless_it_is_prolonged_before() {
        let mut v = visits(10);
        visit(&mut v, "192.0.2.1", 10, 1);
        add(&mut v, 90, 9);
        assert_eq!(visit(&mut v, "192.0.2.1", 99, 20), 1);
        add(&mut v, 10, 99);
        assert_eq!(visit(&mut v, "192.0.2.1", 109, 100), 0);
    }

    #[test]
    fn a_snapshot_keeps_the_counts_of_what_is_in_it() {
        let mut v = visits(10);
        visit(&mut v, "192.0.2.1", 100, 1);
        v.begin();
        add(&mut v, 100, 2);
        assert_eq!(visit(&mut v, "192.0.2.1", 100, 2), 1);
        v.commit();
        assert_eq!(visit(&mut v, "192.0.2.1", 102, 3), 2);
        v.begin();
        v.commit();
        add(&mut v, 100, 4);
        assert_eq!(visit(&mut v, "192.0.2.1", 104, 4), 0);
    }

    #[test]
    fn only_so_many_clients_are_remembered() {
        let mut v = visits(2);
        for client in 1..=3 {
            visit(&mut v, &format!("192.0.2.{client}"), 100, 1);
        }
        assert_eq!(visit(&mut v, "192.0.2.3", 100, 2), 1);
        assert_eq!(visit(&mut v, "192.0.2.1", 100, 2), 0);
        assert_eq!(v.counts.len(), 2);
    }
}
