//! Quotas from end to end on real processes: an event on NATS, redis-proxy, Redis, and Kong with the built filter (Q1–Q3).

use kong_test::{KongGateway, Source};
use limits_test::quotas::{Quotas, config};
use testkit::World;
use testkit::gateway::{FilterSetup, Gateway as _};

const WORKERS: u32 = 2;

/// A header, a refusal and an alert at every worker; what is known holds while redis-proxy is away.
pub fn an_event_is_a_header_and_then_a_refusal(source: Source) -> Result<(), String> {
    let mut behind = Quotas::start();
    let mut gateway = KongGateway::new(source, WORKERS);
    gateway.open(&World::new())?;
    let filter = FilterSetup {
        name: "quota".into(),
        config: config(&behind.address().to_string()).to_string(),
    };
    gateway
        .configure(&[filter])?
        .map_err(|refused| refused.lines.join("\n"))?;
    let proxy = gateway.kong()?.proxy();
    behind.hold_at(proxy, WORKERS);
    gateway.stop(&[])
}
