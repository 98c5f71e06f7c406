//! Who is on a list, by address and by fingerprint, without a step outside of the worker.
//!
//! One hash table for each kind of member. Networks are looked up once for each prefix length that any entry has,
//! so that overlapping ones need no care. `docs/lists.md` has what this costs, and what else was measured.

use std::net::IpAddr;

use ipnet::IpNet;
use policy::Time;
use wire::lists::{Change, Ja4, Kind, Member};

use crate::seed::Seed;
use crate::shelf::{Put, Shelf, TABLES};
use crate::sink::Sink;
use crate::stamp::{Origin, Stamp};

/// Entries that a worker holds of a list unless configured otherwise.
pub const DEFAULT_CAPACITY: usize = 1_200_000;

/// The entries of a list that one worker holds.
#[derive(Debug)]
pub struct Watchlist {
    serving: Entries,
    /// A snapshot that is coming in.
    coming: Option<Entries>,
    /// A whole list has been here.
    complete: bool,
    origin: Origin,
    seed: Seed,
    capacity: usize,
    ignored: u64,
    /// The tables to sweep next.
    swept: usize,
}

/// Why a client is on the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    /// The entry.
    pub member: Member,
    /// When the entry ends, unless it is removed or prolonged before.
    pub until: Time,
}

impl Match {
    /// What kind of entry it is, for labels (D9).
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.member.kind()
    }
}

impl Watchlist {
    /// An empty list that takes so many entries at most. Entries beyond that are ignored and counted.
    #[must_use]
    pub fn new(capacity: usize, now: Time) -> Self {
        let seed = Seed::random();
        Self {
            serving: Entries::new(seed),
            coming: None,
            complete: false,
            origin: Origin(now),
            seed,
            capacity,
            ignored: 0,
            swept: 0,
        }
    }

    /// Whether a whole list has been here; an empty one counts (D4).
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.complete
    }

    /// How many entries serve.
    #[must_use]
    pub fn len(&self) -> usize {
        self.serving.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether any entry is of this kind. If not, there is no need to know the client's.
    #[must_use]
    pub fn has(&self, kind: Kind) -> bool {
        let entries = &self.serving;
        match kind {
            Kind::Ip => entries.ip4.len() > 0 || entries.ip6.len() > 0,
            Kind::Cidr => entries.net4.len() > 0 || entries.net6.len() > 0,
            Kind::Ja3 => entries.ja3.len() > 0,
            Kind::Ja4 => entries.ja4.len() > 0,
            Kind::ApiKey => false,
        }
    }

    /// Additions ignored so far because the list was full.
    #[must_use]
    pub const fn ignored(&self) -> u64 {
        self.ignored
    }

    /// The entry of this address, or else the one of the smallest network that holds it. An IPv4-mapped IPv6 address
    /// is the IPv4 address.
    #[must_use]
    pub fn by_address(&self, address: IpAddr, now: Time) -> Option<Match> {
        let elapsed = self.origin.elapsed(now);
        let (member, stamp) = match address.to_canonical() {
            IpAddr::V4(v4) => self.serving.find4(v4, elapsed)?,
            IpAddr::V6(v6) => self.serving.find6(v6, elapsed)?,
        };
        Some(self.matched(member, stamp))
    }

    /// The entry of this JA3 hash.
    #[must_use]
    pub fn by_ja3(&self, ja3: [u8; 16], now: Time) -> Option<Match> {
        let stamp = alive(self.serving.ja3.get(&ja3), self.origin.elapsed(now))?;
        Some(self.matched(Member::Ja3(ja3), stamp))
    }

    /// The entry of this JA4 fingerprint.
    #[must_use]
    pub fn by_ja4(&self, ja4: Ja4, now: Time) -> Option<Match> {
        let key = packed(&ja4)?;
        let stamp = alive(self.serving.ja4.get(&key), self.origin.elapsed(now))?;
        Some(self.matched(Member::Ja4(ja4), stamp))
    }

    /// Frees a sixty-fourth of the memory of entries that have ended. To be called with each tick.
    pub fn sweep(&mut self, now: Time) {
        let elapsed = self.origin.elapsed(now);
        self.serving.sweep(self.swept, elapsed);
        if let Some(coming) = &mut self.coming {
            coming.sweep(self.swept, elapsed);
        }
        self.swept = self.swept.wrapping_add(1) % TABLES;
    }

    fn matched(&self, member: Member, stamp: Stamp) -> Match {
        Match {
            member,
            until: self.origin.time(stamp),
        }
    }
}

impl Sink for Watchlist {
    fn begin(&mut self) {
        self.coming = Some(Entries::new(self.seed));
    }

    fn apply(&mut self, change: &Change, now: Time) {
        let entries = self.coming.as_mut().unwrap_or(&mut self.serving);
        match change {
            Change::Add { member, ttl_ms } => {
                let end = now.plus(std::time::Duration::from_millis(*ttl_ms));
                let room = entries.len() < self.capacity;
                if entries.put(member, self.origin.end(end), room) == Put::NoRoom {
                    self.ignored = self.ignored.saturating_add(1);
                }
            }
            Change::Remove(member) => entries.remove(member),
        }
    }

    fn commit(&mut self) {
        if let Some(coming) = self.coming.take() {
            self.serving = coming;
            self.complete = true;
        }
    }
}

/// One state of the list.
#[derive(Debug)]
struct Entries {
    ip4: Shelf<4>,
    ip6: Shelf<16>,
    /// The address, then the prefix length.
    net4: Shelf<5>,
    net6: Shelf<17>,
    ja3: Shelf<16>,
    ja4: Shelf<22>,
    lengths4: Lengths<33>,
    lengths6: Lengths<129>,
}

impl Entries {
    const fn new(seed: Seed) -> Self {
        Self {
            ip4: Shelf::new(seed),
            ip6: Shelf::new(seed),
            net4: Shelf::new(seed),
            net6: Shelf::new(seed),
            ja3: Shelf::new(seed),
            ja4: Shelf::new(seed),
            lengths4: Lengths::new(),
            lengths6: Lengths::new(),
        }
    }

    fn len(&self) -> usize {
        [
            self.ip4.len(),
            self.ip6.len(),
            self.net4.len(),
            self.net6.len(),
            self.ja3.len(),
            self.ja4.len(),
        ]
        .into_iter()
        .fold(0, usize::saturating_add)
    }

    fn put(&mut self, member: &Member, stamp: Stamp, room: bool) -> Put {
        match member {
            Member::Ip(IpAddr::V4(v4)) => self.ip4.put(v4.octets(), stamp, room),
            Member::Ip(IpAddr::V6(v6)) => self.ip6.put(v6.octets(), stamp, room),
            Member::Cidr(IpNet::V4(net)) => {
                let key = key4(net.addr().octets(), net.prefix_len());
                let put = self.net4.put(key, stamp, room);
                if put == Put::Added {
                    self.lengths4.add(net.prefix_len());
                }
                put
            }
            Member::Cidr(IpNet::V6(net)) => {
                let key = key6(net.addr().octets(), net.prefix_len());
                let put = self.net6.put(key, stamp, room);
                if put == Put::Added {
                    self.lengths6.add(net.prefix_len());
                }
                put
            }
            Member::Ja3(ja3) => self.ja3.put(*ja3, stamp, room),
            Member::Ja4(ja4) => match packed(ja4) {
                Some(key) => self.ja4.put(key, stamp, room),
                None => Put::Prolonged,
            },
            // No client is one.
            Member::ApiKey(_) => Put::Prolonged,
        }
    }

    fn remove(&mut self, member: &Member) {
        match member {
            Member::Ip(IpAddr::V4(v4)) => drop(self.ip4.remove(&v4.octets())),
            Member::Ip(IpAddr::V6(v6)) => drop(self.ip6.remove(&v6.octets())),
            Member::Cidr(IpNet::V4(net)) => {
                if self
                    .net4
                    .remove(&key4(net.addr().octets(), net.prefix_len()))
                {
                    self.lengths4.remove(net.prefix_len());
                }
            }
            Member::Cidr(IpNet::V6(net)) => {
                if self
                    .net6
                    .remove(&key6(net.addr().octets(), net.prefix_len()))
                {
                    self.lengths6.remove(net.prefix_len());
                }
            }
            Member::Ja3(ja3) => drop(self.ja3.remove(ja3)),
            Member::Ja4(ja4) => {
                if let Some(key) = packed(ja4) {
                    self.ja4.remove(&key);
                }
            }
            Member::ApiKey(_) => {}
        }
    }

    fn find4(&self, address: std::net::Ipv4Addr, elapsed: u32) -> Option<(Member, Stamp)> {
        if let Some(stamp) = alive(self.ip4.get(&address.octets()), elapsed) {
            return Some((Member::Ip(IpAddr::V4(address)), stamp));
        }
        let bits = address.to_bits();
        self.lengths4.longest_first().find_map(|length| {
            let masked = bits
                & u32::MAX
                    .checked_shl(32_u32.checked_sub(length.into())?)
                    .unwrap_or(0);
            let stamp = alive(self.net4.get(&key4(masked.to_be_bytes(), length)), elapsed)?;
            let net = ipnet::Ipv4Net::new(masked.into(), length).ok()?;
            Some((Member::Cidr(IpNet::V4(net)), stamp))
        })
    }

    fn find6(&self, address: std::net::Ipv6Addr, elapsed: u32) -> Option<(Member, Stamp)> {
        if let Some(stamp) = alive(self.ip6.get(&address.octets()), elapsed) {
            return Some((Member::Ip(IpAddr::V6(address)), stamp));
        }
        let bits = address.to_bits();
        self.lengths6.longest_first().find_map(|length| {
            let masked = bits
                & u128::MAX
                    .checked_shl(128_u32.checked_sub(length.into())?)
                    .unwrap_or(0);
            let stamp = alive(self.net6.get(&key6(masked.to_be_bytes(), length)), elapsed)?;
            let net = ipnet::Ipv6Net::new(masked.into(), length).ok()?;
            Some((Member::Cidr(IpNet::V6(net)), stamp))
        })
    }

    fn sweep(&mut self, table: usize, elapsed: u32) {
        self.ip4.sweep(table, elapsed, |_| {});
        self.ip6.sweep(table, elapsed, |_| {});
        self.ja3.sweep(table, elapsed, |_| {});
        self.ja4.sweep(table, elapsed, |_| {});
        let lengths = &mut self.lengths4;
        self.net4.sweep(table, elapsed, |[_, _, _, _, length]| {
            lengths.remove(*length)
        });
        let lengths = &mut self.lengths6;
        self.net6.sweep(table, elapsed, |key| {
            if let Some(length) = key.last() {
                lengths.remove(*length);
            }
        });
    }
}

/// Which prefix lengths the entries have, and how many have each.
#[derive(Debug)]
struct Lengths<const N: usize> {
    counts: [u32; N],
    /// Those that occur, longest first.
    present: Vec<u8>,
}

impl<const N: usize> Lengths<N> {
    const fn new() -> Self {
        Self {
            counts: [0; N],
            present: Vec::new(),
        }
    }

    fn longest_first(&self) -> impl Iterator<Item = u8> {
        self.present.iter().copied()
    }

    fn add(&mut self, length: u8) {
        if let Some(count) = self.counts.get_mut(usize::from(length)) {
            *count = count.saturating_add(1);
            if let Err(at) = self.present.binary_search_by(|known| length.cmp(known)) {
                self.present.insert(at, length);
            }
        }
    }

    fn remove(&mut self, length: u8) {
        if let Some(count) = self.counts.get_mut(usize::from(length)) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.present.retain(|known| *known != length);
            }
        }
    }
}

fn alive(stamp: Option<Stamp>, elapsed: u32) -> Option<Stamp> {
    stamp.filter(|stamp| !stamp.is_over(elapsed))
}

fn key4([a, b, c, d]: [u8; 4], length: u8) -> [u8; 5] {
    [a, b, c, d, length]
}

fn key6(address: [u8; 16], length: u8) -> [u8; 17] {
    let mut key = [length; 17];
    if let Some(start) = key.first_chunk_mut() {
        *start = address;
    }
    key
}

/// The ten characters of the first part, then the digits of the others in pairs.
fn packed(ja4: &Ja4) -> Option<[u8; 22]> {
    let (first, rest) = ja4.as_str().as_bytes().split_first_chunk::<10>()?;
    let mut key = [0; 22];
    *key.first_chunk_mut()? = *first;
    let mut digits = rest
        .iter()
        .filter_map(|byte| char::from(*byte).to_digit(16))
        .filter_map(|digit| u8::try_from(digit).ok());
    for byte in key.iter_mut().skip(10) {
        *byte = digits.next()? << 4 | digits.next()?;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    const NOW: Time = Time::from_secs(1_800_000_000);
    const MINUTE: u64 = 60_000;

    fn member(kind: Kind, value: &str) -> Member {
        Member::parse(kind, value).unwrap()
    }

    fn add(list: &mut Watchlist, kind: Kind, value: &str, ttl_ms: u64) {
        let member = member(kind, value);
        list.apply(&Change::Add { member, ttl_ms }, NOW);
    }

    fn found(list: &Watchlist, address: &str) -> Option<String> {
        found_at(list, address, NOW)
    }

    fn found_at(list: &Watchlist, address: &str, now: Time) -> Option<String> {
        let found = list.by_address(address.parse().unwrap(), now)?;
        Some(found.member.to_string())
    }

    fn filled() -> Watchlist {
        let mut list = Watchlist::new(100, NOW);
        for (kind, value) in [
            (Kind::Ip, "192.0.2.1"),
            (Kind::Ip, "2001:db8::1"),
            (Kind::Cidr, "198.51.100.0/24"),
            (Kind::Cidr, "198.51.0.0/16"),
            (Kind::Cidr, "2001:db8:1::/48"),
            (Kind::Ja3, "e7d705a3286e19ea42f587b344ee6865"),
            (Kind::Ja4, "t13d1516h2_8daaf6152771_e5627efa2ab1"),
        ] {
            add(&mut list, kind, value, MINUTE);
        }
        list
    }

    #[test]
    fn finds_each_kind_and_no_neighbour() {
        let list = filled();
        for (address, entry) in [
            ("192.0.2.1", Some("192.0.2.1")),
            ("::ffff:192.0.2.1", Some("192.0.2.1")),
            ("192.0.2.2", None),
            ("2001:db8::1", Some("2001:db8::1")),
            ("2001:db8::2", None),
            ("198.51.100.255", Some("198.51.100.0/24")),
            ("198.51.101.0", Some("198.51.0.0/16")),
            ("::ffff:198.51.100.7", Some("198.51.100.0/24")),
            ("198.52.0.0", None),
            ("2001:db8:1:ffff::", Some("2001:db8:1::/48")),
            ("2001:db8:2::", None),
        ] {
            assert_eq!(found(&list, address).as_deref(), entry, "{address}");
        }
        let ja3 = |text| match member(Kind::Ja3, text) {
            Member::Ja3(hash) => list.by_ja3(hash, NOW).map(|found| found.kind()),
            _ => None,
        };
        assert_eq!(ja3("E7D705A3286E19EA42F587B344EE6865"), Some(Kind::Ja3));
        assert_eq!(ja3("e7d705a3286e19ea42f587b344ee6866"), None);
        let ja4 = |text: &str| list.by_ja4(text.parse().unwrap(), NOW);
        let known = ja4("t13d1516h2_8daaf6152771_e5627efa2ab1").unwrap();
        assert_eq!(known.kind(), Kind::Ja4);
        assert_eq!(known.until, NOW.plus(Duration::from_secs(60)));
        for other in [
            "q13d1516h2_8daaf6152771_e5627efa2ab1",
            "t13d1516h2_8daaf6152772_e5627efa2ab1",
            "t13d1516h2_8daaf6152771_e5627efa2ab0",
        ] {
            assert_eq!(ja4(other), None, "{other}");
        }
    }

    #[test]
    fn everything_and_nothing_are_networks_too() {
        let mut list = Watchlist::new(10, NOW);
        add(&mut list, Kind::Cidr, "0.0.0.0/0", MINUTE);
        assert_eq!(found(&list, "203.0.113.9").as_deref(), Some("0.0.0.0/0"));
        assert_eq!(found(&list, "2001:db8::1"), None);
        add(&mut list, Kind::Cidr, "::/0", MINUTE);
        assert_eq!(found(&list, "2001:db8::1").as_deref(), Some("::/0"));
    }

    #[test]
    fn each_entry_ends_by_itself_and_what_overlaps_it_stays() {
        let mut list = Watchlist::new(10, NOW);
        add(&mut list, Kind::Ip, "198.51.100.7", 1_000);
        add(&mut list, Kind::Cidr, "198.51.100.0/24", 2_000);
        add(&mut list, Kind::Cidr, "198.51.0.0/16", 3_000);
        let at = |ms| found_at(&list, "198.51.100.7", NOW.plus(Duration::from_millis(ms)));
        assert_eq!(at(999).as_deref(), Some("198.51.100.7"));
        assert_eq!(at(1_000).as_deref(), Some("198.51.100.0/24"));
        assert_eq!(at(2_000).as_deref(), Some("198.51.0.0/16"));
        assert_eq!(at(3_000), None);
        for _ in 0..TABLES {
            list.sweep(NOW.plus(Duration::from_secs(2)));
        }
        assert_eq!(list.len(), 1);
        assert_eq!(list.serving.lengths4.present, [16]);
    }

    #[test]
    fn removal_and_prolongation_are_exact() {
        let mut list = filled();
        list.apply(&Change::Remove(member(Kind::Cidr, "198.51.100.0/24")), NOW);
        assert_eq!(
            found(&list, "198.51.100.1").as_deref(),
            Some("198.51.0.0/16")
        );
        list.apply(&Change::Remove(member(Kind::Cidr, "198.51.0.0/16")), NOW);
        assert_eq!(found(&list, "198.51.100.1"), None);
        list.apply(&Change::Remove(member(Kind::Ip, "203.0.113.1")), NOW);
        assert_eq!(list.len(), 5);
        add(&mut list, Kind::Ip, "192.0.2.1", 10 * MINUTE);
        assert_eq!(list.len(), 5);
        let late = NOW.plus(Duration::from_secs(300));
        assert!(found_at(&list, "192.0.2.1", late).is_some());
        assert!(list.has(Kind::Ja4) && list.has(Kind::Cidr) && list.has(Kind::Ip));
        list.apply(
            &Change::Remove(member(Kind::Ja4, "t13d1516h2_8daaf6152771_e5627efa2ab1")),
            NOW,
        );
        assert!(!list.has(Kind::Ja4) && list.has(Kind::Ja3));
    }

    #[test]
    fn what_has_no_room_is_counted_and_what_is_there_is_still_prolonged() {
        let mut list = Watchlist::new(2, NOW);
        for (n, address) in ["192.0.2.1", "192.0.2.2", "192.0.2.3"].iter().enumerate() {
            add(&mut list, Kind::Ip, address, 1_000);
            assert_eq!(list.ignored(), u64::from(n == 2));
        }
        add(
            &mut list,
            Kind::Ja3,
            "e7d705a3286e19ea42f587b344ee6865",
            1_000,
        );
        assert_eq!((list.len(), list.ignored()), (2, 2));
        add(&mut list, Kind::Ip, "192.0.2.1", MINUTE);
        assert_eq!(list.ignored(), 2);
        assert_eq!(found(&list, "192.0.2.3"), None);
        list.apply(&Change::Remove(member(Kind::Ip, "192.0.2.2")), NOW);
        add(&mut list, Kind::Ip, "192.0.2.3", 1_000);
        assert!(found(&list, "192.0.2.3").is_some());
    }

    #[test]
    fn the_old_list_serves_until_the_new_one_is_whole() {
        let mut list = filled();
        assert!(!list.is_complete());
        list.begin();
        add(&mut list, Kind::Ip, "203.0.113.1", MINUTE);
        assert!(found(&list, "192.0.2.1").is_some());
        assert_eq!(found(&list, "203.0.113.1"), None);
        list.begin();
        add(&mut list, Kind::Ip, "203.0.113.2", MINUTE);
        list.commit();
        assert!(list.is_complete());
        assert_eq!(found(&list, "192.0.2.1"), None);
        assert_eq!(found(&list, "203.0.113.1"), None);
        assert!(found(&list, "203.0.113.2").is_some());
        assert_eq!(list.len(), 1);
    }

    #[test]
    fn an_api_key_is_no_client() {
        let mut list = Watchlist::new(10, NOW);
        add(&mut list, Kind::ApiKey, &"ab".repeat(32), MINUTE);
        assert!(list.is_empty() && !list.has(Kind::ApiKey));
    }

    /// Against a plain list of entries, with random members that overlap a lot.
    #[test]
    fn agrees_with_a_list_that_is_searched_from_end_to_end() {
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move |below: u64| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed >> 33) % below
        };
        let mut list = Watchlist::new(10_000, NOW);
        let mut plain: Vec<(Member, Time)> = Vec::new();
        for _ in 0..3_000 {
            let low = random(1 << 12);
            let member = match random(3) {
                0 => member(Kind::Ip, &format!("10.0.{}.{}", low >> 8, low & 255)),
                1 => member(
                    Kind::Cidr,
                    &format!("10.0.{}.{}/{}", low >> 8, low & 255, 8 + random(25)),
                ),
                _ => member(
                    Kind::Cidr,
                    &format!("2001:db8::{low:x}/{}", 100 + random(29)),
                ),
            };
            plain.retain(|(known, _)| *known != member);
            if random(4) == 0 {
                list.apply(&Change::Remove(member), NOW);
            } else {
                let ttl_ms = 1_000 * (1 + random(100));
                list.apply(&Change::Add { member, ttl_ms }, NOW);
                plain.push((member, NOW.plus(Duration::from_millis(ttl_ms))));
            }
        }
        for step in 0..2_000_u64 {
            let now = NOW.plus(Duration::from_millis(50 * step));
            list.sweep(now);
            let low = random(1 << 12);
            let address: IpAddr = match random(2) {
                0 => format!("10.0.{}.{}", low >> 8, low & 255).parse().unwrap(),
                _ => format!("2001:db8::{low:x}").parse().unwrap(),
            };
            let expected = plain
                .iter()
                .filter(|(_, end)| now < *end)
                .filter_map(|(member, _)| match member {
                    Member::Ip(ip) if *ip == address => Some((255, member)),
                    Member::Cidr(net) if net.contains(&address) => Some((net.prefix_len(), member)),
                    _ => None,
                })
                .max_by_key(|(length, _)| *length)
                .map(|(_, member)| *member);
            let got = list.by_address(address, now).map(|found| found.member);
            assert_eq!(got, expected, "{address}");
        }
    }
}
