//! How long an entry takes from the control API to every worker, and back (D3): the real redis-proxy, one real Envoy
//! with four workers, entries pushed over mutual TLS, deleted, or left to end by themselves.

// This crate is test code: a panic here is a failed test with a message, and that is its purpose.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod site;
mod watch;

use std::time::{Duration, Instant};

use limits_test::control::List;
use limits_test::table::Table;
use site::Site;

const WORKERS: u32 = 4;
/// Each list gets so many entries.
const ROUNDS: usize = 60;
/// Every third entry is not deleted but lives for so long.
const TTL: Duration = Duration::from_secs(3);
/// What is promised, 99 times of 100.
const PROMISED: Duration = Duration::from_secs(2);

#[derive(Default)]
struct Times {
    listed: Vec<Duration>,
    deleted: Vec<Duration>,
    ended: Vec<Duration>,
}

fn main() {
    let site = Site::start(WORKERS);
    let mut table = Table::new(["list", "what", "times", "p50", "p99", "at most"]);
    let mut kept = true;
    for list in [List::Deny, List::Tarpit] {
        let mut times = Times::default();
        for round in 0..ROUNDS {
            one(&site, list, round, &mut times);
        }
        for (what, mut times) in [
            ("pushed, until every worker refuses", times.listed),
            ("deleted, until every worker lets pass", times.deleted),
            (
                "ended by its TTL, until every worker lets pass",
                times.ended,
            ),
        ] {
            times.sort_unstable();
            let rank = (times.len() * 99).div_ceil(100) - 1;
            kept &= times[rank] <= PROMISED;
            let millis = |time: Duration| format!("{} ms", time.as_millis());
            table.row([
                list.name().to_owned(),
                what.to_owned(),
                times.len().to_string(),
                millis(times[times.len() / 2]),
                millis(times[rank]),
                millis(times[times.len() - 1]),
            ]);
        }
    }
    println!("{table}");
    site.stop();
    assert!(kept, "the promise is {PROMISED:?} for 99 of 100");
}

/// An entry comes and goes. Times begin before the control API is asked.
fn one(site: &Site, list: List, round: usize, times: &mut Times) {
    let address = format!("198.51.{}.{}", round / 200, round % 200 + 1);
    // So that the worker's questions are met at every moment between two of them.
    std::thread::sleep(Duration::from_millis(round as u64 * 137 % 900));
    let ends = round % 3 == 2;
    let began = Instant::now();
    let ttl = if ends {
        TTL
    } else {
        Duration::from_secs(3_600)
    };
    let entry = site
        .control()
        .push(list, "ip", &address, ttl, "how long does it take");
    let acknowledged = Instant::now();
    times.listed.push(site.until(&address, 403) - began);
    if ends {
        // Its time began somewhere between the question and the answer: at the latest with the answer.
        let released = site.until(&address, 200);
        assert!(released >= began + TTL, "released before its time");
        times
            .ended
            .push(released.saturating_duration_since(acknowledged + TTL));
    } else {
        std::thread::sleep(Duration::from_millis(round as u64 * 211 % 900));
        let began = Instant::now();
        site.control().delete(list, &entry);
        times.deleted.push(site.until(&address, 200) - began);
    }
}
