//! Quotas from end to end on real processes: an event on NATS, redis-proxy, Redis, and Envoy with the built filter
//! (Q1–Q3).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that cannot go on fails"
)]

use std::time::{Duration, Instant};

use limits_test::gateway::Gateway;
use limits_test::nats_server::NatsServer;
use limits_test::redis_server::{PASSWORD, RedisServer};
use limits_test::store_service::StoreService;
use limits_test::until::until;
use serde_json::json;
use testkit::http_client::Connection;
use testkit::{Exchange, Request};

const WORKERS: u32 = 2;
const SOON: Duration = Duration::from_secs(20);

/// A request of the tenant `acme`, on a connection of its own: one worker's.
fn get(gateway: &Gateway, path: &str) -> Exchange {
    let mut connection = Connection::open(gateway.address(), None).unwrap();
    let request = Request::new("GET", path).header("x-tenant-id", "acme");
    connection.exchange(&request).unwrap()
}

/// What `acme` has used as of a second.
fn tell(nats: &NatsServer, used: u64, second: u64) {
    let event = json!({
        "tenant_id": "acme", "limit": 100, "used": used, "period": "monthly",
        "reset_at": "2400-01-01T00:00:00Z", "last_updated": format!("2025-10-27T20:00:{second:02}Z"),
    });
    nats.publish("quota.updated", event.to_string());
}

/// Until some requests, one after the other, are all so: each worker has answered some of them. How long it took.
fn until_all(what: &str, gateway: &Gateway, path: &str, is: impl Fn(&Exchange) -> bool) {
    let began = Instant::now();
    until(what, SOON, || {
        (0..8 * WORKERS).all(|_| is(&get(gateway, path)))
    });
    eprintln!("{what}: {:?}", began.elapsed());
}

fn used(exchange: &Exchange) -> Option<&str> {
    exchange.header("x-quota-used")
}

#[test]
fn an_event_is_a_header_and_then_a_refusal_at_every_worker() {
    let nats = NatsServer::start();
    let mut redis = RedisServer::start();
    let mut proxy = StoreService::start(&format!(
        "store = \"redis\"\nlog = \"warn\"\n[redis]\naddresses = [{:?}]\npassword = \"{PASSWORD}\"\n\
         [nats]\nurls = [{:?}]\ncreate_stream = true\n\
         [quota]\nconsume = true\ncreate_stream = true\nack_wait_ms = 2000\ntimeout_ms = 500\n",
        redis.address(),
        nats.url()
    ));
    let config = json!({
        "proxy": {"upstream": "redis_proxy", "authority": "redis-proxy", "timeout": "1s"},
        "freshness": "500ms",
        "rules": [{"match": {"prefix": "/alert"}}, {"mode": "enforce"}],
    });
    let mut gateway = Gateway::start_filter("quota", &config, proxy.address(), WORKERS).unwrap();
    assert_eq!(get(&gateway, "/").status, 200, "no quota is known");

    // Q1: a header within a moment.
    tell(&nats, 40, 10);
    until_all("40 are used", &gateway, "/", |it| {
        it.status == 200 && used(it) == Some("40")
    });
    // Q3 and Q2: more than all of it.
    tell(&nats, 120, 30);
    until_all("enforced", &gateway, "/", |it| it.status == 429);
    let refused = get(&gateway, "/");
    assert_eq!(used(&refused), Some("120"));
    assert_eq!(refused.header("x-quota-remaining"), Some("0"));
    assert_eq!(
        refused.header("x-quota-reset"),
        Some("2400-01-01T00:00:00Z")
    );
    assert!(refused.header("retry-after").is_some());
    let alerted = get(&gateway, "/alert");
    assert_eq!(alerted.status, 200);
    assert_eq!(alerted.header("x-quota-exceeded"), Some("true"));

    // What is older, or comes twice, or makes no sense, changes nothing.
    tell(&nats, 50, 20);
    tell(&nats, 120, 30);
    nats.publish("quota.updated", "{\"tenant_id\":\"acme\"".to_owned());
    let dead = "redis_proxy_quota_dead_events_total{reason=\"not_json\"} 1";
    until("it is a dead letter", SOON, || {
        let metrics = proxy.get("/metrics").unwrap().1;
        metrics.contains(dead) && metrics.contains("quota_events_total{result=\"stale\"} 1")
    });
    std::thread::sleep(Duration::from_secs(1));
    for _ in 0..8 * WORKERS {
        assert_eq!(used(&get(&gateway, "/")), Some("120"));
    }

    // Redis away, then redis-proxy killed with an event in its hands: what was known holds, and nothing is lost.
    redis.kill();
    tell(&nats, 7, 40);
    std::thread::sleep(Duration::from_secs(1));
    proxy.kill();
    for _ in 0..8 * WORKERS {
        let began = Instant::now();
        assert_eq!(get(&gateway, "/").status, 429);
        assert!(began.elapsed() < Duration::from_millis(900), "nobody waits");
    }
    redis.restart();
    proxy.restart();
    until_all("7 are used", &gateway, "/", |it| {
        it.status == 200 && used(it) == Some("7")
    });
    let metrics = gateway.metrics().unwrap();
    let hops = metrics.get("portcullis_quota_hops").copied().unwrap_or(0);
    assert!(hops <= u64::from(WORKERS) * 2, "{hops} requests waited");
    gateway.check().unwrap();
}
