//! redis-proxy with its control API, and Envoy with the filters that follow its lists.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use envoy_test::bootstrap::{self, Fingerprints, Listener, OnTrap};
use envoy_test::{Envoy, artifacts, log};
use limits_test::control::Control;
use limits_test::store_service::StoreService;
use serde_json::{Value, json};
use testkit::gateway::FilterSetup;

use crate::watch::Watch;

const LISTENER: &str = "listed";
/// Workers have the lists by then.
const FOLLOWED: Duration = Duration::from_secs(3);

pub struct Site {
    watch: Watch,
    envoy: Envoy,
    control: Control,
    _service: StoreService,
}

impl Site {
    pub fn start(workers: u32) -> Self {
        let control = Control::prepare();
        let service = StoreService::start(&control.config());
        let mut document = bootstrap::listeners(1, &[listener()]);
        bootstrap::answer_directly(&mut document);
        let clusters = BTreeMap::from([("redis_proxy".to_owned(), service.address())]);
        let (mut envoy, taken) = Envoy::start_with(&clusters, &document, workers).unwrap();
        if let Err(rejected) = taken {
            panic!("{}", rejected.log);
        }
        let address = envoy.listener(LISTENER).unwrap();
        std::thread::sleep(FOLLOWED);
        Self {
            watch: Watch::new(&envoy, address, workers),
            envoy,
            control,
            _service: service,
        }
    }

    pub const fn control(&self) -> &Control {
        &self.control
    }

    /// When the last worker began to answer this client with that status.
    pub fn until(&self, client: &str, status: u16) -> Instant {
        self.watch.until(client, status)
    }

    pub fn stop(mut self) {
        assert!(self.envoy.is_running(), "Envoy has ended by itself");
        let text = self.envoy.log();
        let errors = log::errors(&text, &[]);
        assert!(errors.is_empty(), "{errors:?}");
    }
}

/// The tarpit holds nobody here: it refuses at once, which tells as well that an entry is known.
fn listener() -> Listener {
    let lists = json!({"upstream": "redis_proxy", "authority": "redis_proxy"});
    let client = json!({"trusted_proxies": ["127.0.0.0/8"]});
    let filter = |name: &str, config: &Value| {
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
            filter(
                "fingerprint_deny",
                &json!({"lists": lists, "client": client}),
            ),
            filter(
                "tarpit",
                &json!({"lists": lists, "client": client, "max_held": 0}),
            ),
        ],
        fingerprints: Fingerprints::None,
    }
}
