//! What a list costs a worker: memory, and the time of a lookup, beside two other ways to hold it.
//!
//! `cargo bench -p watchlist` prints a table. The same program built for `wasm32-wasip1` runs under Node, whose V8 is that of
//! Envoy: there the memory is that of the virtual machine. `docs/lists.md` has the figures and how to make them.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use policy::Time;
use prefix_trie::PrefixMap;
use watchlist::{Sink as _, Watchlist};
use wire::lists::{Change, Ja4, Member, PAGE_CHANGES};

const NOW: Time = Time::from_secs(1_800_000_000);
const TTL_MS: u64 = 86_400_000;
const LOOKUPS: usize = 200_000;
const ROUNDS: usize = 15;

/// Counts what is allocated.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all work is the system allocator's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(live, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, below: u64) -> u64 {
        (self.next() >> 33) % below
    }

    fn v4(&mut self) -> Ipv4Addr {
        Ipv4Addr::from_bits(u32::try_from(self.next() >> 32).unwrap())
    }

    fn v6(&mut self) -> Ipv6Addr {
        let low = u128::from(self.next());
        Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(self.next() >> 32) << 64 | low)
    }

    fn ja3(&mut self) -> [u8; 16] {
        (u128::from(self.next()) << 64 | u128::from(self.next())).to_be_bytes()
    }

    fn ja4(&mut self) -> Ja4 {
        let (b, c) = (self.next() >> 16, self.next() >> 16);
        format!(
            "t13d{:02}{:02}h2_{b:012x}_{c:012x}",
            self.below(60),
            self.below(20)
        )
        .parse()
        .unwrap()
    }

    /// A mixed list: 45 % IPv4 addresses, 15 % IPv6, 25 % IPv4 networks of /12 to /30, 5 % IPv6 of /32 to /64, 5 % each JA3
    /// and JA4.
    fn member(&mut self) -> Member {
        match self.below(100) {
            0..45 => Member::Ip(IpAddr::V4(self.v4())),
            45..60 => Member::Ip(IpAddr::V6(self.v6())),
            60..85 => {
                // Most networks on real lists are a /24.
                let length = match self.below(10) {
                    0..6 => 24,
                    _ => u8::try_from(12 + self.below(19)).unwrap(),
                };
                Member::Cidr(IpNet::V4(Ipv4Net::new(self.v4(), length).unwrap().trunc()))
            }
            85..90 => {
                let length = [32, 40, 44, 48, 56, 64][usize::try_from(self.below(6)).unwrap()];
                Member::Cidr(IpNet::V6(Ipv6Net::new(self.v6(), length).unwrap().trunc()))
            }
            90..95 => Member::Ja3(self.ja3()),
            _ => Member::Ja4(self.ja4()),
        }
    }
}

fn members(count: usize) -> Vec<Member> {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    (0..count).map(|_| numbers.member()).collect()
}

/// Half of the addresses are on the list, or would be.
fn questions(members: &[Member]) -> Vec<IpAddr> {
    let mut numbers = Numbers(42);
    (0..LOOKUPS)
        .map(|n| {
            let pick =
                usize::try_from(numbers.below(u64::try_from(members.len()).unwrap())).unwrap();
            match (n % 2, members[pick]) {
                (0, Member::Ip(ip)) => ip,
                (0, Member::Cidr(net)) => net.addr(),
                (_, Member::Ip(IpAddr::V6(_)) | Member::Cidr(IpNet::V6(_))) => {
                    IpAddr::V6(numbers.v6())
                }
                _ => IpAddr::V4(numbers.v4()),
            }
        })
        .collect()
}

/// A way to hold the addresses and networks of a list.
trait Holds {
    fn contains(&self, address: IpAddr) -> bool;
}

impl Holds for Watchlist {
    fn contains(&self, address: IpAddr) -> bool {
        self.by_address(address, NOW).is_some()
    }
}

/// A trie over all networks, addresses being the smallest.
struct Trie(PrefixMap<Ipv4Net, [u8; 4]>, PrefixMap<Ipv6Net, [u8; 4]>);

impl Holds for Trie {
    fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => self.0.get_lpm(&Ipv4Net::from(v4)).is_some(),
            IpAddr::V6(v6) => self.1.get_lpm(&Ipv6Net::from(v6)).is_some(),
        }
    }
}

/// A sorted array for each prefix length.
struct Sorted(
    BTreeMap<u8, Vec<(u32, [u8; 4])>>,
    BTreeMap<u8, Vec<(u128, [u8; 4])>>,
);

impl Holds for Sorted {
    fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => self.0.iter().rev().any(|(length, nets)| {
                let net = Ipv4Net::new(v4, *length).unwrap().trunc().addr().to_bits();
                nets.binary_search_by_key(&net, |(net, _)| *net).is_ok()
            }),
            IpAddr::V6(v6) => self.1.iter().rev().any(|(length, nets)| {
                let net = Ipv6Net::new(v6, *length).unwrap().trunc().addr().to_bits();
                nets.binary_search_by_key(&net, |(net, _)| *net).is_ok()
            }),
        }
    }
}

fn networks(members: &[Member]) -> impl Iterator<Item = IpNet> + '_ {
    members.iter().filter_map(|member| match member {
        Member::Ip(ip) => Some(IpNet::from(*ip)),
        Member::Cidr(net) => Some(*net),
        _ => None,
    })
}

fn watchlist(members: &[Member]) -> Watchlist {
    let mut list = Watchlist::new(2_000_000, NOW);
    for member in members {
        let (member, ttl_ms) = (*member, TTL_MS);
        list.apply(&Change::Add { member, ttl_ms }, NOW);
    }
    list
}

fn trie(members: &[Member]) -> Trie {
    let mut trie = Trie(PrefixMap::new(), PrefixMap::new());
    for net in networks(members) {
        match net {
            IpNet::V4(net) => drop(trie.0.insert(net, [0; 4])),
            IpNet::V6(net) => drop(trie.1.insert(net, [0; 4])),
        }
    }
    trie
}

fn sorted(members: &[Member]) -> Sorted {
    let mut sorted = Sorted(BTreeMap::new(), BTreeMap::new());
    for net in networks(members) {
        match net {
            IpNet::V4(net) => {
                let nets = sorted.0.entry(net.prefix_len()).or_default();
                nets.push((net.addr().to_bits(), [0; 4]));
            }
            IpNet::V6(net) => {
                let nets = sorted.1.entry(net.prefix_len()).or_default();
                nets.push((net.addr().to_bits(), [0; 4]));
            }
        }
    }
    for nets in sorted.0.values_mut() {
        nets.sort_unstable();
        nets.shrink_to_fit();
    }
    for nets in sorted.1.values_mut() {
        nets.sort_unstable();
        nets.shrink_to_fit();
    }
    sorted
}

/// Builds one and says what it costs.
fn measure<T: Holds>(name: &str, questions: &[IpAddr], build: impl FnOnce() -> T) -> T {
    let before = LIVE.load(Ordering::Relaxed);
    let started = Instant::now();
    let built = build();
    let took = started.elapsed();
    let bytes = LIVE.load(Ordering::Relaxed) - before;
    let (each, found) = time(questions, |address| built.contains(*address));
    println!(
        "  {name:<34} {:>7.1} MB {:>7} ns a lookup {:>6} ms to build  ({found} of {LOOKUPS} found)",
        megabytes(bytes),
        each,
        took.as_millis(),
    );
    built
}

/// Nanoseconds for each question, and how many were answered with yes. Each few questions are asked again and again and
/// their best time counts, so that what else the machine does is left out.
fn time<Q>(questions: &[Q], ask: impl Fn(&Q) -> bool) -> (u128, usize) {
    let mut nanos = 0;
    let mut found = 0;
    let mut batches: Vec<(&[Q], Duration)> = questions
        .chunks(1_000)
        .map(|batch| (batch, Duration::MAX))
        .collect();
    for _ in 0..ROUNDS {
        found = 0;
        for (batch, best) in &mut batches {
            let started = Instant::now();
            found += batch
                .iter()
                .filter(|question| ask(black_box(question)))
                .count();
            *best = (*best).min(started.elapsed());
        }
    }
    for (_, best) in batches {
        nanos += best.as_nanos();
    }
    (nanos / u128::try_from(questions.len()).unwrap(), found)
}

fn megabytes(bytes: usize) -> f64 {
    f64::from(u32::try_from(bytes / 1_000).unwrap()) / 1_000.0
}

fn longest(steps: impl Iterator<Item = Duration>) -> String {
    let mut all: Vec<Duration> = steps.collect();
    all.sort_unstable();
    format!(
        "{:?} at most, {:?} typical",
        all[all.len() - 1],
        all[all.len() / 2]
    )
}

fn main() {
    // `cargo test` runs benches once to see that they work.
    let sizes: &[usize] = match std::env::args().any(|argument| argument == "--test") {
        true => &[1_000],
        false => &[100_000, 1_000_000],
    };
    for count in sizes {
        let members = members(*count);
        let questions = questions(&members);
        println!("{count} mixed entries");
        let mut list = measure("this crate (with JA3 and JA4)", &questions, || {
            watchlist(&members)
        });
        drop(measure("prefix-trie (addresses alone)", &questions, || {
            trie(&members)
        }));
        drop(measure(
            "sorted by length (addresses alone)",
            &questions,
            || sorted(&members),
        ));

        let ja4: Vec<Ja4> = members
            .iter()
            .filter_map(|member| match member {
                Member::Ja4(ja4) => Some(*ja4),
                _ => None,
            })
            .collect();
        let (each, found) = time(&ja4, |ja4| list.by_ja4(*ja4, NOW).is_some());
        println!("  JA4: {each} ns a lookup ({found} of {} found)", ja4.len());

        PEAK.store(LIVE.load(Ordering::Relaxed), Ordering::Relaxed);
        let before = LIVE.load(Ordering::Relaxed);
        list.begin();
        println!(
            "  a page of {PAGE_CHANGES}: {}",
            longest(members.chunks(PAGE_CHANGES).map(|page| {
                let started = Instant::now();
                for member in page {
                    let (member, ttl_ms) = (*member, TTL_MS);
                    list.apply(&Change::Add { member, ttl_ms }, NOW);
                }
                started.elapsed()
            }))
        );
        let started = Instant::now();
        list.commit();
        println!(
            "  the new list in place of the old: {:?}; {:.1} MB more until then",
            started.elapsed(),
            megabytes(PEAK.load(Ordering::Relaxed) - before)
        );
        println!(
            "  a sweep: {}",
            longest((0..64).map(|_| {
                let started = Instant::now();
                list.sweep(NOW);
                started.elapsed()
            }))
        );
        println!();
    }
}
