//! Quotas from end to end on real processes: an event on NATS, redis-proxy, Redis, and Envoy with the built filter
//! (Q1–Q3). `kong-test` does the same with Kong.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that cannot go on fails"
)]

use limits_test::gateway::Gateway;
use limits_test::quotas::{Quotas, config};

const WORKERS: u32 = 2;

#[test]
fn an_event_is_a_header_and_then_a_refusal_at_every_worker() {
    let mut behind = Quotas::start();
    let address = behind.address();
    let config = config("redis_proxy");
    let mut envoy = Gateway::start_filter("quota", &config, address, WORKERS).unwrap();
    behind.hold_at(envoy.address(), WORKERS);
    let metrics = envoy.metrics().unwrap();
    let hops = metrics.get("portcullis_quota_hops").copied().unwrap_or(0);
    assert!(hops <= u64::from(WORKERS) * 2, "{hops} requests waited");
    envoy.check().unwrap();
}
