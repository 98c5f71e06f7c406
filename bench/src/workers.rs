//! Whether every worker of an Envoy holds the whole deny list: each denies the first, the middle and the last entry.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use envoy_test::Envoy;
use testkit::Request;
use testkit::http_client::Connection;

use crate::variant::ENTRIES;

const DENIED: u16 = 403;
/// Lists are asked for a few times a second; 100,000 entries come in a few pages.
const WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(200);
/// Connections of one look, for each worker: the kernel spreads them as it likes.
const CONNECTIONS: u32 = 8;

/// The address of an entry.
#[must_use]
pub fn entry(n: usize) -> String {
    format!("10.{}.{}.{}", n >> 16, (n >> 8) & 255, n & 255)
}

/// Waits until requests of listed clients were denied by every worker, and by none let through.
///
/// # Errors
/// When that is not so after a minute.
pub fn all_deny(envoy: &Envoy, address: SocketAddr, workers: u32) -> Result<(), String> {
    let deadline = Instant::now() + WITHIN;
    loop {
        let before = accepted(envoy, workers)?;
        let passed = let_through(address, workers)?;
        let after = accepted(envoy, workers)?;
        let idle = before.iter().zip(&after).filter(|(b, a)| a <= b).count();
        if passed == 0 && idle == 0 {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!(
                "after {WITHIN:?} {passed} requests of listed clients still passed, {idle} of {workers} workers were not met"
            ));
        }
        thread::sleep(POLL);
    }
}

/// Connections that each worker has accepted.
fn accepted(envoy: &Envoy, workers: u32) -> Result<Vec<u64>, String> {
    let stats = envoy.stats()?;
    // The address that was asked for: any free port.
    let of = |worker| format!("listener.127.0.0.1_0.worker_{worker}.downstream_cx_total");
    Ok((0..workers).map(|worker| stats.get(&of(worker))).collect())
}

/// How many requests of listed clients were not denied, each over a connection of its own.
fn let_through(address: SocketAddr, workers: u32) -> Result<usize, String> {
    let mut passed = 0;
    for _ in 0..workers * CONNECTIONS {
        let mut connection =
            Connection::open(address, None).map_err(|e| format!("{address}: {e}"))?;
        for listed in [0, ENTRIES / 2, ENTRIES - 1] {
            let request = Request::get("/v1/orders").header("x-forwarded-for", entry(listed));
            let exchange = connection
                .exchange(&request)
                .map_err(|e| format!("{address}: {e}"))?;
            passed += usize::from(exchange.status != DENIED);
        }
    }
    Ok(passed)
}
