//! What do the filters cost?

use super::{rate, share};
use crate::dashboard::Dashboard;
use crate::panel::{Panel, Unit};

fn quantile(q: &str, histogram: &str, by: &str) -> String {
    format!(
        "histogram_quantile({q}, {})",
        rate(&format!("{by}le"), &format!("{histogram}_bucket"))
    )
}

pub(super) fn dashboard() -> Dashboard {
    Dashboard {
        name: "filter-latency",
        title: "Filter latency",
        about: "What the gateway and its filters add to a request. A filter that asks nobody adds microseconds; what counts is who waits.",
        variables: Vec::new(),
        panels: vec![
            Panel::lines("Time in the gateway itself, mean", Unit::Milliseconds)
                .ask("{{gateway}}", "edge:gateway_milliseconds:mean")
                .about("A request's time without its upstream's. Held clients of the tarpit are in it."),
            Panel::lines("Requests, p99, and their upstreams'", Unit::Milliseconds)
                .ask("requests", "max(edge:request_milliseconds:quantile{quantile=\"0.99\"})")
                .ask("routes' upstreams", "max(edge:route_milliseconds:quantile{quantile=\"0.99\"})"),
            Panel::lines("Waits for a service, p99", Unit::Milliseconds)
                .ask("{{filter}}", quantile("0.99", "portcullis_wait_milliseconds", "filter, "))
                .about("Of those that waited; most do not. auth: for a key set or an API key; rate_limit and quota: for redis-proxy."),
            Panel::lines("Waits for a service", Unit::PerSecond)
                .ask("{{filter}}", rate("filter", "portcullis_wait_milliseconds_count")),
            Panel::lines("redis-proxy: time for a batch", Unit::Milliseconds)
                .ask("p50", format!("1000 * {}", quantile("0.5", "redis_proxy_acquire_seconds", "")))
                .ask("p99", format!("1000 * {}", quantile("0.99", "redis_proxy_acquire_seconds", ""))),
            Panel::lines("Signatures checked, and not needed", Unit::PerSecond)
                .ask("checked", rate("", "portcullis_auth_signature_checks"))
                .ask("known token", rate("", "portcullis_auth_token_cache{result=\"hit\"}")),
            Panel::lines("Requests that asked for an API key", Unit::Share)
                .ask("of those with one", share("portcullis_auth_key_cache", "result=\"miss\"")),
        ],
    }
}
