//! One connection to each worker, which asks again and again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use envoy_test::Envoy;
use testkit::Request;
use testkit::http_client::Connection;

/// Between two questions on one connection.
const EVERY: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(15);

/// Connections, by the worker that serves them.
pub struct Watch(Mutex<BTreeMap<u32, Connection>>);

impl Watch {
    /// Opens connections until every worker has one. Envoy's counters tell whose each is.
    pub fn new(envoy: &Envoy, address: SocketAddr, workers: u32) -> Self {
        let counted = |worker: u32| {
            // Named after the address that was asked for: any port.
            let listener = format!("{}_0", address.ip());
            let name = format!("listener.{listener}.worker_{worker}.downstream_cx_total");
            envoy.stats().unwrap().get(&name)
        };
        let mut connections = BTreeMap::new();
        let began = Instant::now();
        while connections.len() < workers as usize {
            assert!(
                began.elapsed() < PATIENCE,
                "some worker gets no connection: {:?}",
                connections.keys()
            );
            let before: Vec<u64> = (0..workers).map(counted).collect();
            let mut connection = Connection::open(address, None).unwrap();
            connection.exchange(&Request::get("/")).unwrap();
            let worker = (0..workers).find(|worker| counted(*worker) > before[*worker as usize]);
            let worker = worker.expect("some worker took the connection");
            connections.entry(worker).or_insert(connection);
        }
        Self(Mutex::new(connections))
    }

    /// When the last worker began to answer this client with that status.
    pub fn until(&self, client: &str, status: u16) -> Instant {
        let mut connections = self.0.lock().unwrap();
        let times: Vec<Instant> = std::thread::scope(|scope| {
            let threads: Vec<_> = connections
                .values_mut()
                .map(|connection| scope.spawn(move || first(connection, client, status)))
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        times.into_iter().max().expect("there are workers")
    }
}

fn first(connection: &mut Connection, client: &str, status: u16) -> Instant {
    let request = Request::get("/").header("x-forwarded-for", client);
    let began = Instant::now();
    loop {
        let answered = connection.exchange(&request).unwrap().status;
        assert!(matches!(answered, 200 | 403), "{answered}");
        if answered == status {
            return Instant::now();
        }
        assert!(
            began.elapsed() < PATIENCE,
            "{client} still gets {answered}, not {status}"
        );
        std::thread::sleep(EVERY);
    }
}
