//! A long deny list in a real Envoy: it comes whole, requests are decided meanwhile, and the memory is as
//! `docs/lists.md` says. `LIST_ENTRIES=1000000` tries the longest.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use envoy_test::EnvoyGateway;
use serde_json::json;
use testkit::gateway::{FilterSetup, Gateway as _};
use testkit::{Request, World};
use wire::lists::{ListName, Member};

const ENTRIES: &str = "portcullis_fingerprint_deny_list_entries";
const DAY: Duration = Duration::from_secs(86_400);
/// What an entry may take in Envoy, in all of its virtual machines and with the old list beside the new one.
const MOST_BYTES: u64 = 250;

fn address(n: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a00_0000 + n)
}

fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap();
    let kilobytes = line.split_whitespace().nth(1).unwrap();
    kilobytes.parse::<u64>().unwrap() * 1_024
}

#[test]
fn a_long_list_comes_whole_and_nobody_waits_for_it() {
    let count: u32 = match std::env::var("LIST_ENTRIES") {
        Ok(count) => count.parse().unwrap(),
        Err(_) => 100_000,
    };
    let world = World::new();
    let mut gateway = EnvoyGateway::new(1);
    gateway.open(&world).unwrap();
    let config = json!({
        "lists": {"upstream": "list_service", "authority": "redis-proxy.internal"},
        "on_missing_list": "allow",
        "client": {"trusted_proxies": ["127.0.0.0/8"]},
        "sampling": {"every": 0},
    });
    let filter = FilterSetup {
        name: "fingerprint_deny".into(),
        config: config.to_string(),
    };
    gateway.configure(&[filter]).unwrap().unwrap();
    let asks = |gateway: &mut EnvoyGateway, address: Ipv4Addr| {
        let request = Request::get("/").header("x-forwarded-for", address.to_string());
        let exchange = gateway.send(vec![request]).unwrap().remove(0);
        (exchange.status, exchange.took)
    };
    for _ in 0..20 {
        assert_eq!(asks(&mut gateway, address(0)).0, 200);
    }
    let pid = gateway.envoy().unwrap().pid();
    let before = resident(pid);

    let now = gateway.now();
    for n in 0..count {
        let member = Member::Ip(address(n).into());
        world.lists.add(ListName::Deny, member, DAY, now);
    }
    let started = Instant::now();
    let mut longest = Duration::ZERO;
    loop {
        let (_, took) = asks(&mut gateway, Ipv4Addr::new(192, 0, 2, 1));
        longest = longest.max(took);
        let entries = gateway.metrics().unwrap().get(ENTRIES).copied();
        if entries == Some(u64::from(count)) {
            break;
        }
        assert!(
            started.elapsed() < Duration::from_secs(120),
            "{entries:?} entries"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    let whole = started.elapsed();
    for n in [0, count / 2, count - 1] {
        assert_eq!(asks(&mut gateway, address(n)).0, 403);
    }
    assert_eq!(asks(&mut gateway, address(count)).0, 200);
    let grown = resident(pid).saturating_sub(before);
    println!(
        "{count} entries: whole after {whole:?}, longest request meanwhile {longest:?}, {} MB more",
        grown / 1_000_000
    );
    assert!(
        grown < 20_000_000 + u64::from(count) * MOST_BYTES,
        "{grown} bytes"
    );

    // What changes then is a small page again.
    let member = Member::Ip(address(7).into());
    world.lists.remove(ListName::Deny, member);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(asks(&mut gateway, address(7)).0, 200);
    assert_eq!(asks(&mut gateway, address(8)).0, 403);
    gateway.stop(&[]).unwrap();
}
