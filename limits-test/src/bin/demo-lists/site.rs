//! redis-proxy with its control API, and an Envoy that ends TLS, with the filters that follow its lists.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use envoy_test::bootstrap::{self, Fingerprints, Listener, OnTrap, Tls};
use envoy_test::{Envoy, artifacts, log};
use limits_test::control::Control;
use limits_test::store_service::StoreService;
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::gateway::FilterSetup;

const LISTENER: &str = "guarded";
/// The worker has its lists by then.
const FOLLOWED: Duration = Duration::from_secs(3);

pub struct Site {
    envoy: Envoy,
    address: SocketAddr,
    control: Control,
    _service: StoreService,
    _folder: TempDir,
}

impl Site {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let control = Control::prepare();
        let service = StoreService::start(&control.config());
        let [certificate, key] = control.server_certificate();
        let mut document = bootstrap::listeners(
            1,
            &[listener(Tls {
                certificate,
                key,
                access_log: folder.path().join("access.log"),
            })],
        );
        bootstrap::answer_directly(&mut document);
        let clusters = BTreeMap::from([("redis_proxy".to_owned(), service.address())]);
        let (mut envoy, taken) = Envoy::start_with(&clusters, &document, 1).unwrap();
        if let Err(rejected) = taken {
            panic!("{}", rejected.log);
        }
        let address = envoy.listener(LISTENER).unwrap();
        std::thread::sleep(FOLLOWED);
        Self {
            envoy,
            address,
            control,
            _service: service,
            _folder: folder,
        }
    }

    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    pub const fn control(&self) -> &Control {
        &self.control
    }

    pub fn stop(mut self) {
        assert!(self.envoy.is_running(), "Envoy has ended by itself");
        let text = self.envoy.log();
        let errors = log::errors(&text, &[]);
        assert!(errors.is_empty(), "{errors:?}");
    }
}

fn listener(tls: Tls) -> Listener {
    let lists = json!({"upstream": "redis_proxy", "authority": "redis_proxy"});
    let filter = |name: &str, config: Value| {
        let setup = FilterSetup {
            name: name.to_owned(),
            config: config.to_string(),
        };
        (setup, artifacts::wasm(name).unwrap())
    };
    Listener {
        name: LISTENER.to_owned(),
        on_trap: OnTrap::FailClosed,
        filters: vec![
            // Everybody is sampled: few come by.
            filter(
                "fingerprint_deny",
                json!({"lists": lists, "sampling": {"every": 1}}),
            ),
            filter("tarpit", json!({"lists": lists})),
        ],
        fingerprints: Fingerprints::Tls(tls),
    }
}
