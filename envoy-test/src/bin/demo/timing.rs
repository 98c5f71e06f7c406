//! What the filter adds to a request.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use testkit::Request;
use testkit::http_client::Connection;

/// Measured requests per listener; a median of these is stable to a few microseconds.
pub const REPEATS: usize = 200;
const WARM_UP: usize = 20;

/// Medians, in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Medians {
    pub guarded: i64,
    pub bare: i64,
}

/// Measures the same request with the filter and without. The two are measured in turns, so that
/// whatever else the machine does falls on both.
pub fn measure(
    guarded: SocketAddr,
    bare: SocketAddr,
    request: impl Fn(usize) -> Request,
) -> Result<Medians, String> {
    let addresses = [guarded, bare];
    let mut connections = [open(guarded)?, open(bare)?];
    let mut times = [Vec::new(), Vec::new()];
    for n in 0..WARM_UP + REPEATS {
        let request = request(n + 1);
        for (index, connection) in connections.iter_mut().enumerate() {
            let started = Instant::now();
            let exchange = connection.exchange(&request).map_err(|e| e.to_string())?;
            let took = started.elapsed();
            match (exchange.status, exchange.header("connection")) {
                (0, _) => return Err("Envoy closed a connection".into()),
                // It does so after a 400.
                (_, Some("close")) => *connection = open(addresses[index])?,
                _ => {}
            }
            if n >= WARM_UP {
                times[index].push(took);
            }
        }
    }
    let [guarded, bare] = times.map(|times| micros(median(times)));
    Ok(Medians { guarded, bare })
}

fn open(address: SocketAddr) -> Result<Connection, String> {
    Connection::open(address, None).map_err(|e| format!("{address}: {e}"))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}
