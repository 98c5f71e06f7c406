//! What is behind a gateway with quotas: NATS, redis-proxy and Redis, and one tenant.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::http_client::Connection;
use testkit::{Exchange, Request};

use crate::nats_server::NatsServer;
use crate::redis_server::{PASSWORD, RedisServer};
use crate::store_service::StoreService;
use crate::until::until;

/// The tenant.
const TENANT: &str = "acme";
const SOON: Duration = Duration::from_secs(60);
/// `freshness` in [`config`].
const FRESH: Duration = Duration::from_millis(500);
/// `timeout` in [`config`].
const TIMEOUT: Duration = Duration::from_secs(3);

/// The filter's configuration: `/alert` is told of a quota that is used up, everything else is refused. `upstream` is
/// where redis-proxy is, as the gateway calls it.
#[must_use]
pub fn config(upstream: &str) -> Value {
    json!({
        "proxy": {"upstream": upstream, "authority": "redis-proxy", "timeout": format!("{TIMEOUT:?}")},
        "freshness": format!("{FRESH:?}"),
        "rules": [{"match": {"prefix": "/alert"}}, {"mode": "enforce"}],
    })
}

/// A request of the tenant, on a connection of its own: one worker's.
fn get(gateway: SocketAddr, path: &str) -> Exchange {
    let mut connection = Connection::open(gateway, None).unwrap();
    let request = Request::new("GET", path).header("x-tenant-id", TENANT);
    connection.exchange(&request).unwrap()
}

/// All of it.
pub struct Quotas {
    nats: NatsServer,
    redis: RedisServer,
    proxy: StoreService,
}

impl Quotas {
    /// Starts them; nothing is known of anybody.
    ///
    /// # Panics
    /// When one does not start.
    #[must_use]
    pub fn start() -> Self {
        let nats = NatsServer::start();
        let redis = RedisServer::start();
        let proxy = StoreService::start(&format!(
            "store = \"redis\"\nlog = \"warn\"\n[redis]\naddresses = [{:?}]\npassword = \"{PASSWORD}\"\n\
             [nats]\nurls = [{:?}]\ncreate_stream = true\n\
             [quota]\nconsume = true\ncreate_stream = true\nack_wait_ms = 2000\ntimeout_ms = 500\n",
            redis.address(),
            nats.url()
        ));
        Self { nats, redis, proxy }
    }

    /// Where redis-proxy is.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.proxy.address()
    }

    /// What the tenant has used of 100 as of a second, as the billing service tells it.
    fn tell(&self, used: u64, second: u64) {
        let event = json!({
            "tenant_id": TENANT, "limit": 100, "used": used, "period": "monthly",
            "reset_at": "2400-01-01T00:00:00Z", "last_updated": format!("2025-10-27T20:00:{second:02}Z"),
        });
        self.nats.publish("quota.updated", event.to_string());
    }

    /// What [`config`] promises, at a gateway that knows nothing yet.
    ///
    /// # Panics
    /// When it is not so.
    pub fn hold_at(&mut self, gateway: SocketAddr, workers: u32) {
        assert_eq!(get(gateway, "/").status, 200, "no quota is known");

        // Q1: a header within a moment.
        self.tell(40, 10);
        until_all("40 are used", gateway, workers, |it| {
            it.status == 200 && used(it) == Some("40")
        });
        // Q3 and Q2: more than all of it.
        self.tell(120, 30);
        until_all("enforced", gateway, workers, |it| it.status == 429);
        let refused = get(gateway, "/");
        assert_eq!(used(&refused), Some("120"));
        assert_eq!(refused.header("x-quota-remaining"), Some("0"));
        assert_eq!(
            refused.header("x-quota-reset"),
            Some("2400-01-01T00:00:00Z")
        );
        assert!(refused.header("retry-after").is_some());
        let alerted = get(gateway, "/alert");
        assert_eq!(alerted.status, 200);
        assert_eq!(alerted.header("x-quota-exceeded"), Some("true"));

        // What is older, or comes twice, or makes no sense, changes nothing.
        self.tell(50, 20);
        self.tell(120, 30);
        self.nats
            .publish("quota.updated", "{\"tenant_id\":\"acme\"".to_owned());
        let dead = "redis_proxy_quota_dead_events_total{reason=\"not_json\"} 1";
        until("it is a dead letter", SOON, || {
            let metrics = self.proxy.get("/metrics").unwrap().1;
            metrics.contains(dead) && metrics.contains("quota_events_total{result=\"stale\"} 1")
        });
        std::thread::sleep(Duration::from_secs(1));
        for _ in 0..8 * workers {
            assert_eq!(used(&get(gateway, "/")), Some("120"));
        }

        // Redis away, then redis-proxy killed with an event in its hands: what was known holds, and nothing is lost.
        self.redis.kill();
        self.tell(7, 40);
        std::thread::sleep(Duration::from_secs(1));
        self.proxy.kill();
        for _ in 0..8 * workers {
            let began = Instant::now();
            assert_eq!(get(gateway, "/").status, 429);
            assert!(began.elapsed() < TIMEOUT, "nobody waits");
        }
        self.redis.restart();
        self.proxy.restart();
        until_all("7 are used", gateway, workers, |it| {
            it.status == 200 && used(it) == Some("7")
        });
    }
}

/// Until some requests, one after the other, are all so: each worker has answered some of them, or asks anew by the
/// time this ends. How long it took.
fn until_all(what: &str, gateway: SocketAddr, workers: u32, is: impl Fn(&Exchange) -> bool) {
    let began = Instant::now();
    until(what, SOON, || {
        (0..8 * workers).all(|_| is(&get(gateway, "/")))
    });
    eprintln!("{what}: {:?}", began.elapsed());
    std::thread::sleep(FRESH * 2);
}

fn used(exchange: &Exchange) -> Option<&str> {
    exchange.header("x-quota-used")
}
