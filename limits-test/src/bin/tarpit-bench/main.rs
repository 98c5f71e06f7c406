//! What held connections cost everybody else (T5): one real Envoy, with 5,000 clients in the tarpit and without any,
//! by turns, and other clients at an even pace all the while. Then how promptly 5,000 are answered who are due almost
//! at once.

// This crate is test code: a panic here is a failed test with a message, and that is its purpose.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod crowd;
mod measure;
mod site;

use std::time::Duration;

use limits_test::table::Table;
use measure::{Phase, percentile};
use site::Site;

/// Clients in the tarpit.
const HELD: usize = 5_000;
const WORKERS: u32 = 2;
/// Each pair is a phase with them and one without, in turning order.
const PAIRS: usize = 10;
/// Longer than a whole run: nobody is answered while the others are measured.
const LONGEST_DELAY: Duration = Duration::from_secs(300);
/// In the second part.
const SHORT_DELAY: Duration = Duration::from_secs(10);

fn main() {
    measure::raise_descriptors(2 * HELD as u64 + 1_000);
    let mut site = Site::start(WORKERS, LONGEST_DELAY);
    site.visit_often();
    let mut with = Vec::new();
    let mut without = Vec::new();
    let mut memory = Vec::new();
    for pair in 0..PAIRS {
        for turn in 0..2 {
            if (pair + turn) % 2 == 0 {
                let before = measure::resident(site.pid());
                let crowd = site.crowd(HELD);
                memory.push(measure::resident(site.pid()).saturating_sub(before));
                with.push(Phase::measure(&site));
                site.expect_held(HELD);
                drop(crowd);
                site.expect_held(0);
            } else {
                without.push(Phase::measure(&site));
            }
        }
        eprintln!("pair {} of {PAIRS} is measured", pair + 1);
    }
    report(&with, &without, &memory);
    promptness(&mut site);
    site.stop();
}

fn report(with: &[Phase], without: &[Phase], memory: &[u64]) {
    let mut table = Table::new([
        "clients in the tarpit",
        "other requests",
        "p50",
        "p99",
        "p99.9",
        "failed",
        "Envoy's CPU, a request",
        "Envoy's CPU, nobody asks",
    ]);
    for (name, phases) in [(HELD.to_string(), with), ("none".to_owned(), without)] {
        let all = Phase::sum(phases);
        let micros = |permille| format!("{} µs", percentile(&all.times, permille).as_micros());
        table.row([
            name,
            all.times.len().to_string(),
            micros(500),
            micros(990),
            micros(999),
            all.failed.to_string(),
            format!("{:.0} µs", all.cpu_micros_per_request()),
            format!("{:.2} % of a core", all.idle_percent()),
        ]);
    }
    println!("{table}");
    for (name, permille) in [("p50", 500), ("p99", 990)] {
        let mut differences: Vec<i128> = with
            .iter()
            .zip(without)
            .map(|(with, without)| {
                let micros = |phase: &Phase| percentile(&phase.times, permille).as_micros() as i128;
                micros(with) - micros(without)
            })
            .collect();
        differences.sort_unstable();
        println!(
            "{name} with them minus {name} without, of each pair, in µs: {differences:?}; the median is {}",
            differences[differences.len() / 2]
        );
    }
    let mut differences: Vec<i64> = with
        .iter()
        .zip(without)
        .map(|(with, without)| {
            (with.cpu_micros_per_request() - without.cpu_micros_per_request()) as i64
        })
        .collect();
    differences.sort_unstable();
    println!(
        "Envoy's CPU of a request, the same, in µs: {differences:?}; the median is {}",
        differences[differences.len() / 2]
    );
    // Later crowds find the memory of the first one.
    println!(
        "the first {HELD} made Envoy grow by {} KiB each",
        memory.first().copied().unwrap_or_default() / 1_024 / HELD as u64
    );
}

fn promptness(site: &mut Site) {
    site.reload(SHORT_DELAY);
    site.visit_often();
    let (opened, waited) = site.visit(HELD);
    let mut late: Vec<Duration> = waited
        .into_iter()
        .map(|took| took.saturating_sub(SHORT_DELAY))
        .collect();
    late.sort_unstable();
    assert_eq!(late.len(), HELD, "everybody is answered");
    println!(
        "{HELD} came within {} ms and were answered {} s later, and by so much more: p50 {} ms, p99 {} ms, at most {} ms",
        opened.as_millis(),
        SHORT_DELAY.as_secs(),
        percentile(&late, 500).as_millis(),
        percentile(&late, 990).as_millis(),
        percentile(&late, 1_000).as_millis(),
    );
    site.expect_held(0);
}
