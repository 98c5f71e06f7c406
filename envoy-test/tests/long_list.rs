//! A long deny list in a real Envoy: it comes whole, requests are decided meanwhile, and the memory is as
//! `docs/lists.md` says. `LIST_ENTRIES=1000000` tries the longest.

#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects)]

use envoy_test::EnvoyGateway;
use testkit::gateway::Gateway as _;
use testkit::long_list::LongList;

/// What an entry may take in Envoy, in all of its virtual machines and with the old list beside the new one.
const MOST_BYTES: u64 = 250;

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
    let mut gateway = EnvoyGateway::new(1);
    let mut list = LongList::new(&mut gateway, count).unwrap();
    let pid = list.gateway().envoy().unwrap().pid();
    let before = resident(pid);
    let came = list.fill().unwrap();
    let grown = resident(pid).saturating_sub(before);
    println!("{count} entries: {came:?}, {} MB more", grown / 1_000_000);
    assert!(
        grown < 20_000_000 + u64::from(count) * MOST_BYTES,
        "{grown} bytes"
    );
    list.release_one().unwrap();
    gateway.stop(&[]).unwrap();
}
