//! What the security team looks at (US-KONG-035).

use super::rate;
use crate::dashboard::Dashboard;
use crate::panel::{Panel, Unit};

fn top(kind: &str) -> String {
    format!("topk(20, sum by (value) (redis_proxy_top_client_requests{{kind=\"{kind}\"}}))")
}

/// What the counts of clients are.
const SAMPLED: &str = "Of the last hour, out of samples. redis-proxy shows them once fingerprints.metrics_top is set; up to 24 hours, exactly as \
                       sampled: GET /internal/edge/fingerprints.";

pub(super) fn dashboard() -> Dashboard {
    Dashboard {
        name: "edge-defence",
        title: "Edge defence",
        about: "Who comes by, who is refused or slowed down, and by what.",
        variables: Vec::new(),
        panels: vec![
            Panel::bars("Top 20 JA3", Unit::Count)
                .ask("{{value}}", top("ja3"))
                .about(SAMPLED),
            Panel::bars("Top 20 JA4", Unit::Count)
                .ask("{{value}}", top("ja4"))
                .about(SAMPLED),
            Panel::bars("Top 20 addresses by 4xx", Unit::Count)
                .ask("{{value}}", top("ip_4xx"))
                .about(SAMPLED),
            Panel::lines("Entries of the deny and tarpit lists", Unit::Count).ask(
                "{{list}}",
                "max by (list) (redis_proxy_edge_members{list=~\"deny|tarpit\"})",
            ),
            Panel::lines("Requests held by the tarpit", Unit::Count)
                .ask("held", "sum(kong_tarpit_active_connections)"),
            Panel::lines("Denied with EDGE_DENIED", Unit::PerMinute)
                .ask("per minute", "edge:denied:per_minute")
                .about("EdgeDeniedSpike fires above 10."),
            Panel::lines("Objections by what was objected to", Unit::PerSecond).ask(
                "{{match}} ({{mode}})",
                format!(
                    "{} > 0",
                    rate("match, mode", "portcullis_fingerprint_deny_matches")
                ),
            ),
            Panel::lines("429 by tenant and tier", Unit::PerSecond).ask(
                "{{tenant}} ({{tier}})",
                rate("tenant, tier", "kong_ratelimit_throttled_total"),
            ),
            Panel::bars("Countries", Unit::PerSecond)
                .ask(
                    "{{country}}",
                    format!(
                        "topk(20, {})",
                        rate("country", "redis_proxy_country_requests_total")
                    ),
                )
                .about("Out of samples, of requests whose country a trusted peer told."),
            Panel::lines("Addresses that guess credentials", Unit::PerSecond).ask(
                "429 too_many_failures",
                rate(
                    "",
                    "portcullis_requests{filter=\"auth\",code=\"too_many_failures\"}",
                ),
            ),
            Panel::lines("Changes of the lists", Unit::PerMinute).ask(
                "{{list}} {{action}}",
                format!(
                    "60 * {}",
                    rate("list, action", "redis_proxy_edge_changes_total")
                ),
            ),
            Panel::lines("Clients that left the tarpit early", Unit::PerSecond)
                .ask("hung up", rate("", "portcullis_tarpit_hung_up"))
                .ask("held", rate("", "portcullis_tarpit_held")),
        ],
    }
}
