//! An upstream that does not prove who it is, from end to end on real processes: Envoy with the built filter, redis-proxy,
//! an event in NATS (U1, K036).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that cannot go on fails"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use envoy_test::bootstrap::{Fingerprints, Listener, OnTrap};
use envoy_test::{Envoy, artifacts};
use limits_test::nats_server::NatsServer;
use limits_test::store_service::StoreService;
use limits_test::until::until;
use serde_json::{Value, json};
use testkit::Request;
use testkit::gateway::FilterSetup;
use testkit::http_client::Connection;

const KIND: &str = "kong.mtls.upstream.failed.v1";
const ENGINE: &str = "spiffe://prod.example/ns/compliance/sa/engine";
const SOON: Duration = Duration::from_secs(60);

#[test]
fn failures_reach_nats_also_those_from_when_redis_proxy_was_gone() {
    let nats = NatsServer::start();
    let mut proxy = StoreService::start(&format!(
        "log = \"warn\"\n[nats]\nurls = [{:?}]\ncreate_stream = true\n",
        nats.url()
    ));
    // Something that answers in plain HTTP.
    let upstream = StoreService::start("log = \"warn\"\n");
    let config = json!({
        "routes": [{"spiffe_ids": [ENGINE]}],
        "events": {"upstream": "redis_proxy", "authority": "redis-proxy", "timeout": "1s"},
    });
    let listener = Listener {
        name: "guarded".to_owned(),
        on_trap: OnTrap::FailClosed,
        filters: vec![(
            FilterSetup {
                name: "upstream_identity".to_owned(),
                config: config.to_string(),
            },
            artifacts::wasm("upstream_identity").unwrap(),
        )],
        fingerprints: Fingerprints::None,
    };
    let clusters = BTreeMap::from([
        ("redis_proxy".to_owned(), proxy.address()),
        ("upstream".to_owned(), upstream.address()),
    ]);
    let (mut envoy, taken) = Envoy::start(&clusters, &[listener], 2).unwrap();
    taken.unwrap();
    let address = envoy.listener("guarded").unwrap();
    let fail = |times: u64| {
        for _ in 0..times {
            let mut connection = Connection::open(address, None).unwrap();
            let got = connection.exchange(&Request::get("/healthz")).unwrap();
            assert_eq!(got.status, 502);
            assert!(!String::from_utf8_lossy(&got.body).contains("ok\n"));
        }
    };
    let told = || -> (Vec<Value>, u64) {
        let events = nats.messages("EDGE", KIND);
        let counts = events.iter().map(|event| event["data"]["count"].as_u64());
        let sum = counts.map(Option::unwrap).sum();
        (events, sum)
    };

    fail(5);
    until("five are told", SOON, || told().1 == 5);
    let event = &told().0[0];
    assert_eq!(event["type"], KIND);
    assert_eq!(event["subject"], "upstream");
    for (field, value) in [
        ("reason", json!("anonymous")),
        ("route", json!("default")),
        ("service", json!("upstream")),
        ("expected", json!([ENGINE])),
    ] {
        assert_eq!(event["data"][field], value, "{event:#}");
    }

    // Without redis-proxy the gateway's workers keep them.
    proxy.kill();
    fail(20);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(told().1, 5);
    proxy.restart();
    until("all are told", SOON, || told().1 == 25);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(told().1, 25, "and none twice");
}
