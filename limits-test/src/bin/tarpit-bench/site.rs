//! One Envoy with the tarpit. What passes is answered by Envoy itself: it comes after the filter, costs next to
//! nothing, and so leaves the machine to what is measured.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use envoy_test::bootstrap::{self, Fingerprints, Listener, OnTrap};
use envoy_test::{Envoy, artifacts, log};
use serde_json::json;
use testkit::gateway::FilterSetup;
use testkit::http_server::{Server, wall_clock};
use testkit::list_service::ListService;
use tokio::runtime::Runtime;
use wire::lists::ListName;

use crate::crowd::{self, Crowd};

const LISTENER: &str = "tarpit";
const LISTED: &str = "127.0.0.66";
const GAUGE: &str = "kong_tarpit_active_connections";
/// Workers have the list by then.
const FOLLOWED: Duration = Duration::from_millis(1_500);
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Site {
    envoy: Envoy,
    address: SocketAddr,
    workers: u32,
    // Servers end before the runtime that they run on.
    lists: Server,
    _runtime: Runtime,
}

impl Site {
    pub fn start(workers: u32, longest_delay: Duration) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a thread for the lists");
        let service = ListService::new();
        let entry = format!("ip {LISTED} 24h");
        service
            .add_text(ListName::Tarpit, &entry, wall_clock())
            .unwrap();
        let lists = Server::service(runtime.handle(), Arc::new(service)).unwrap();
        let (envoy, address) = gateway(&lists, workers, longest_delay);
        std::thread::sleep(FOLLOWED);
        Self {
            envoy,
            address,
            workers,
            lists,
            _runtime: runtime,
        }
    }

    /// Starts anew with another longest delay.
    pub fn reload(&mut self, longest_delay: Duration) {
        self.check();
        let (envoy, address) = gateway(&self.lists, self.workers, longest_delay);
        self.envoy = envoy;
        self.address = address;
        std::thread::sleep(FOLLOWED);
    }

    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn pid(&self) -> u32 {
        self.envoy.pid()
    }

    /// So many clients, some of which may not be held yet, or not any longer.
    pub fn gather(&self, size: usize) -> Crowd {
        let from: IpAddr = LISTED.parse().unwrap();
        Crowd::gather(size, from, self.address)
    }

    /// So many clients, to the end: within which time they came, and how long each one waited.
    pub fn visit(&self, size: usize) -> (Duration, Vec<Duration>) {
        crowd::visit(size, LISTED.parse().unwrap(), self.address)
    }

    /// So many clients that are held.
    pub fn crowd(&self, size: usize) -> Crowd {
        let crowd = self.gather(size);
        self.expect_held(size);
        crowd
    }

    /// Every worker knows the client so well that it waits for the longest delay.
    pub fn visit_often(&self) {
        let crowd = self.gather(100);
        std::thread::sleep(Duration::from_millis(500));
        drop(crowd);
        self.expect_held(0);
    }

    /// Waits until so many are held.
    pub fn expect_held(&self, expected: usize) {
        let expected = u64::try_from(expected).unwrap();
        let began = Instant::now();
        loop {
            let metrics = self.envoy.stats().unwrap().custom();
            let held = metrics.get(GAUGE).copied().unwrap_or_default();
            if held == expected {
                return;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "{held} are held, not {expected}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn stop(mut self) {
        self.check();
    }

    /// Nothing went wrong inside.
    fn check(&mut self) {
        assert!(self.envoy.is_running(), "Envoy has ended by itself");
        let text = self.envoy.log();
        let errors = log::errors(&text, &[]);
        assert!(errors.is_empty(), "{errors:?}");
    }
}

fn gateway(lists: &Server, workers: u32, longest_delay: Duration) -> (Envoy, SocketAddr) {
    let config = json!({
        "lists": {"upstream": "lists", "authority": "lists"},
        "longest_delay": format!("{}s", longest_delay.as_secs()),
    });
    let filter = FilterSetup {
        name: "tarpit".to_owned(),
        config: config.to_string(),
    };
    let listener = Listener {
        name: LISTENER.to_owned(),
        on_trap: OnTrap::FailClosed,
        filters: vec![(filter, artifacts::wasm("tarpit").unwrap())],
        fingerprints: Fingerprints::None,
    };
    let mut document = bootstrap::listeners(1, &[listener]);
    bootstrap::answer_directly(&mut document);
    let clusters = BTreeMap::from([("lists".to_owned(), lists.address())]);
    let (mut envoy, taken) = Envoy::start_with(&clusters, &document, workers).unwrap();
    if let Err(rejected) = taken {
        panic!("{}", rejected.log);
    }
    let address = envoy.listener(LISTENER).unwrap();
    (envoy, address)
}
