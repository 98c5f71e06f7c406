//! What do gateways and redis-proxy hold?

use super::rate;
use crate::dashboard::Dashboard;
use crate::panel::{Panel, Unit};

pub(super) fn dashboard() -> Dashboard {
    Dashboard {
        name: "resource",
        title: "Resource",
        about: "Memory, connections, lists and queues.",
        variables: Vec::new(),
        panels: vec![
            Panel::lines("Memory", Unit::Bytes)
                .ask("{{gateway}} {{instance}}", "edge:memory_bytes")
                .about("Envoy: its own heap and the virtual machines'. Kong: Lua's virtual machines, without those of the filters."),
            Panel::lines("Open connections", Unit::Count)
                .ask("{{gateway}}", "sum by (gateway) (edge:connections)"),
            Panel::lines("Requests held by the tarpit", Unit::Count)
                .ask("held", "sum(kong_tarpit_active_connections)"),
            Panel::lines("Keys of limits", Unit::Count)
                .ask("in a worker of {{instance}}", "portcullis_rate_limit_keys")
                .ask("in redis-proxy {{instance}}", "redis_proxy_embedded_keys")
                .quiet("Of the worker that looked last, which may be one without requests; in redis-proxy, of the embedded store."),
            Panel::lines("Entries of lists, as served", Unit::Count)
                .ask("{{list}}", "max by (list) (redis_proxy_edge_members)"),
            Panel::lines("Events that wait for NATS", Unit::Count)
                .ask("{{list}}", "sum by (list) (redis_proxy_edge_events_waiting)")
                .quiet("None while NATS answers, or while none is configured."),
            Panel::lines("Samples", Unit::PerSecond)
                .ask("{{result}}", rate("result", "portcullis_fingerprint_deny_samples")),
            Panel::lines("Series", Unit::Count)
                .ask("{{job}} {{instance}}", "scrape_samples_scraped")
                .about("What a scrape brings: labels are bounded, and this shows it."),
            Panel::lines("Age of the deny list", Unit::Seconds)
                .ask("in a worker of {{instance}}", "portcullis_fingerprint_deny_list_age_seconds")
                .ask("in redis-proxy", "max(redis_proxy_edge_age_seconds{list=\"deny\"})")
                .quiet("Below a second while redis-proxy answers."),
        ],
    }
}
