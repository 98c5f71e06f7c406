//! What takes a clock and arithmetic to show: rates over time, several workers on one store.
#![cfg(not(target_arch = "wasm32"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::collections::BTreeMap;
use std::time::Duration;

use rate_limit::RateLimit;
use testkit::{Drive, Endpoint, Request, Ticket, World};

const MS: Duration = Duration::from_millis(1);

fn config(limit: &str) -> String {
    format!(
        r#"{{"proxy":{{"upstream":"redis_proxy","authority":"p"}},"rules":[{{"limits":[{limit}]}}]}}"#
    )
}

/// Workers that share a store, in lockstep.
struct Fleet {
    workers: Vec<Drive<RateLimit>>,
    sent: Vec<Sent>,
    /// The millisecond now.
    at: u64,
    /// Requests to send by tenant, whole ones and a part in thousandths.
    due: BTreeMap<&'static str, u64>,
    /// Whose turn it is.
    turn: usize,
}

struct Sent {
    tenant: &'static str,
    worker: usize,
    ticket: Ticket,
    at: u64,
}

/// What became of the requests.
struct Tally {
    sent: u64,
    /// The millisecond of each admission.
    admitted: Vec<u64>,
    refused: u64,
    hops: u64,
}

impl Fleet {
    fn new(workers: usize, limit: &str, world: &World) -> Self {
        let worker = |_| Drive::new(config(limit), world.clone()).unwrap();
        let mut fleet = Self {
            workers: (0..workers).map(worker).collect(),
            sent: Vec::new(),
            at: 0,
            due: BTreeMap::new(),
            turn: 0,
        };
        fleet.run(0, 100);
        fleet
    }

    /// Offers so many requests a second for so many milliseconds, spread over the workers.
    fn run(&mut self, per_second: u64, millis: u64) {
        self.run_for(&[("acme", per_second)], millis);
    }

    /// The same for several tenants.
    fn run_for(&mut self, tenants: &[(&'static str, u64)], millis: u64) {
        for _ in 0..millis {
            for (tenant, per_second) in tenants {
                let due = self.due.entry(tenant).or_default();
                *due += per_second;
                let now = *due / 1_000;
                *due %= 1_000;
                for _ in 0..now {
                    self.send(tenant);
                }
            }
            for worker in &mut self.workers {
                worker.advance(MS);
            }
            self.at += 1;
        }
    }

    fn send(&mut self, tenant: &'static str) {
        let worker = self.turn % self.workers.len();
        self.turn += 1;
        let request = Request::get("/").header("x-tenant-id", tenant);
        self.sent.push(Sent {
            tenant,
            worker,
            ticket: self.workers[worker].start(request),
            at: self.at,
        });
    }

    /// Ends the requests and starts counting anew.
    fn tally(&mut self) -> Tally {
        self.tally_of("acme")
    }

    /// The same for one of several tenants.
    fn tally_of(&mut self, tenant: &str) -> Tally {
        let mut tally = Tally {
            sent: 0,
            admitted: Vec::new(),
            refused: 0,
            hops: 0,
        };
        let (own, others) = std::mem::take(&mut self.sent)
            .into_iter()
            .partition(|sent| sent.tenant == tenant);
        self.sent = others;
        for sent in own {
            tally.sent += 1;
            let exchange = self.workers[sent.worker].finish(sent.ticket);
            match exchange.status {
                200 => {
                    let took = u64::try_from(exchange.took.as_millis()).unwrap();
                    tally.admitted.push(sent.at + took);
                }
                429 => tally.refused += 1,
                status => panic!("status {status}"),
            }
        }
        tally.admitted.sort_unstable();
        tally.hops = self
            .workers
            .iter()
            .map(|worker| worker.metric("portcullis_rate_limit_hops"))
            .sum();
        tally
    }
}

/// The promise of `wire::limits`: over any window of T, `min(r·(T+E) + B, m·r·(T+E) + 100 ms·m·r)`, rounded up.
fn assert_bound(admitted: &[u64], rate: u64, burst: u64, peak: u64) {
    const LIFE: u64 = 200;
    for (first, start) in admitted.iter().enumerate() {
        for (last, end) in admitted.iter().enumerate().skip(first).step_by(7) {
            let count = u64::try_from(last - first + 1).unwrap();
            let window = end - start + LIFE;
            let sustained = rate * window + burst * 1_000;
            let peaked = peak * window + peak * 100;
            let bound = sustained.min(peaked).div_ceil(1_000) + 1;
            assert!(count <= bound, "{count} in {} ms, not {bound}", end - start);
        }
    }
}

#[test]
fn twice_the_rate_passes_for_ten_seconds_and_then_once() {
    let world = World::new();
    let mut fleet = Fleet::new(1, r#"{"dimension":"tenant","limit":"200/s"}"#, &world);
    fleet.run(400, 9_500);
    let burst = fleet.tally();
    assert!(
        burst.refused * 100 < burst.sent,
        "{} of {} refused",
        burst.refused,
        burst.sent
    );
    fleet.run(400, 2_000);
    fleet.tally();
    fleet.run(400, 5_000);
    let after = fleet.tally();
    let admitted = after.admitted.len();
    assert!((950..=1_050).contains(&admitted), "{admitted} in 5 s");
    fleet.run(2_000, 2_000);
    let flood = fleet.tally();
    assert_bound(&flood.admitted, 200, 2_000, 400);
}

#[test]
fn never_more_than_twice_the_rate_however_long_the_rest_was() {
    let world = World::new();
    let mut fleet = Fleet::new(2, r#"{"dimension":"tenant","limit":"500/s"}"#, &world);
    fleet.run(5_000, 3_000);
    let tally = fleet.tally();
    assert_bound(&tally.admitted, 500, 5_000, 1_000);
    assert!(tally.admitted.len() >= 2_850, "{}", tally.admitted.len());
}

#[test]
fn a_tier_without_burst_refuses_a_third_at_once_and_the_default_none() {
    let world = World::new();
    world.limits.set_tier_of("acme", "p3");
    let tiers = r#"{"dimension":"tenant","tiers":true}"#;
    let mut p3 = Fleet::new(2, tiers, &world);
    p3.run(1_500, 5_000);
    let tally = p3.tally();
    assert!(
        tally.refused * 100 >= tally.sent * 30,
        "{} of {}",
        tally.refused,
        tally.sent
    );
    assert_bound(&tally.admitted, 1_000, 100, 1_000);

    let mut usual = Fleet::new(2, tiers, &World::new());
    usual.run(1_500, 5_000);
    assert_eq!(usual.tally().refused, 0);
}

/// Each answer wakes all who wait, also those who wait for others: they must not ask for ever more.
#[test]
fn a_cold_start_on_a_slow_store_refuses_nobody_below_twice_the_rate() {
    const OTHERS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
    for slow in [10, 20, 30, 45] {
        let world = World::new();
        let mut fleet = Fleet::new(4, r#"{"dimension":"tenant","tiers":true}"#, &world);
        let mut tenants = vec![("acme", 1_500)];
        tenants.extend(OTHERS.map(|other| (other, 60)));
        let fault = serde_json::from_str(&format!(r#"{{"slow":"{slow}ms"}}"#));
        world.limits.fail(Endpoint::Acquire, fault.unwrap());
        fleet.run_for(&tenants, 100);
        world.limits.heal();
        fleet.run_for(&tenants, 500);
        let refused = fleet.tally().refused;
        assert_eq!(refused, 0, "where calls took {slow} ms");
    }
}

#[test]
fn another_tier_is_in_force_within_a_minute() {
    let world = World::new();
    world
        .limits
        .set_tier("small", wire::limits::Limit::without_burst(50, 1_000));
    world.limits.set_tier_of("acme", "small");
    let mut fleet = Fleet::new(1, r#"{"dimension":"tenant","tiers":true}"#, &world);
    fleet.run(500, 2_000);
    assert!((90..=120).contains(&fleet.tally().admitted.len()));
    world.limits.set_tier_of("acme", "standard");
    fleet.run(0, 60_000);
    fleet.run(500, 2_000);
    assert_eq!(fleet.tally().refused, 0);
}

#[test]
fn four_workers_at_ten_times_the_limit_keep_it_and_use_it() {
    for (rate, millis) in [(50, 6_000), (1_000, 2_000), (5_000, 500)] {
        let world = World::new();
        let limit = format!(r#"{{"dimension":"tenant","limit":"{rate}/s","burst":"none"}}"#);
        let mut fleet = Fleet::new(4, &limit, &world);
        fleet.run(rate * 10, millis);
        let tally = fleet.tally();
        assert_bound(&tally.admitted, rate, rate / 10, rate);
        let could = rate * millis / 1_000;
        let used = u64::try_from(tally.admitted.len()).unwrap();
        println!(
            "{rate}/s: sent {}, admitted {used} of {could}, refused {}, waited {}",
            tally.sent, tally.refused, tally.hops
        );
        assert!(used * 100 >= could * 95, "{used} of {could}");
        if rate >= 1_000 {
            assert!(tally.hops * 100 <= tally.sent * 5, "{} hops", tally.hops);
        }
    }
}

#[test]
fn below_the_limit_next_to_nothing_is_refused_and_hardly_anything_waits() {
    for (rate, millis) in [(1_000, 3_000), (5_000, 800)] {
        let world = World::new();
        let limit = format!(r#"{{"dimension":"tenant","limit":"{rate}/s"}}"#);
        let mut fleet = Fleet::new(4, &limit, &world);
        fleet.run(rate * 9 / 10, millis);
        let tally = fleet.tally();
        println!(
            "{rate}/s at 0.9: sent {}, refused {}, waited {}",
            tally.sent, tally.refused, tally.hops
        );
        assert!(
            tally.refused * 1_000 <= tally.sent,
            "{} refused",
            tally.refused
        );
        assert!(
            tally.hops * 100 <= tally.sent * 5,
            "{} of {} waited",
            tally.hops,
            tally.sent
        );
    }
}

#[test]
fn five_a_minute_is_five_a_minute_over_four_workers() {
    let world = World::new();
    let mut fleet = Fleet::new(4, r#"{"dimension":"tenant","limit":"5/min"}"#, &world);
    fleet.run(20, 130_000);
    let tally = fleet.tally();
    for (index, start) in tally.admitted.iter().enumerate() {
        let within = tally.admitted[index..]
            .iter()
            .filter(|at| **at < start + 60_000)
            .count();
        assert!(within <= 5, "{within} in a minute");
    }
    assert!(tally.admitted.len() >= 14, "{}", tally.admitted.len());
}

#[test]
fn leases_that_nobody_needs_go_back() {
    let world = World::new();
    let mut fleet = Fleet::new(2, r#"{"dimension":"tenant","limit":"1000/s"}"#, &world);
    fleet.run(900, 1_000);
    let tally = fleet.tally();
    fleet.run(0, 1_000);
    let admitted = u64::try_from(tally.admitted.len()).unwrap();
    assert_eq!(world.limits.granted("tenant"), admitted);
}
