//! Who is throttled, by what, and is the limiter well?

use super::rate;
use crate::dashboard::Dashboard;
use crate::panel::{Panel, Unit};

pub(super) fn dashboard() -> Dashboard {
    Dashboard {
        name: "rate-limit",
        title: "Rate limit",
        about: "Limits: who is throttled by which, how much of the guardrail is used, and what the limiter does without redis-proxy.",
        variables: Vec::new(),
        panels: vec![
            Panel::lines("Throttled, by tenant and tier", Unit::PerSecond).ask(
                "{{tenant}} ({{tier}})",
                rate("tenant, tier", "kong_ratelimit_throttled_total"),
            ),
            Panel::lines("Throttled, by dimension", Unit::PerSecond).ask(
                "{{dimension}}",
                rate("dimension", "kong_ratelimit_throttled_total"),
            ),
            Panel::lines("Share of the guardrail", Unit::Share)
                .ask("of 5,000/s", "edge:guardrail:share")
                .about("Tokens of the dimension global against the limit over all requests (R8)."),
            Panel::lines("Refusals by who decided", Unit::PerSecond)
                .ask("{{by}}", rate("by", "portcullis_rate_limit_refusals"))
                .about("local: out of the worker's memory, without a question."),
            Panel::lines("Requests that waited for redis-proxy", Unit::Share).ask(
                "of all",
                format!(
                    "{} / {}",
                    rate("", "portcullis_rate_limit_hops"),
                    rate("", "portcullis_requests{filter=\"rate_limit\"}")
                ),
            ),
            Panel::lines("Tokens leased and given back", Unit::PerSecond)
                .ask("granted", rate("", "portcullis_rate_limit_granted"))
                .ask("given back", rate("", "portcullis_rate_limit_given_back")),
            Panel::lines("Decided without knowing the limit", Unit::PerSecond)
                .ask("{{mode}}", rate("mode", "portcullis_rate_limit_degraded"))
                .quiet("None while redis-proxy and its store answer."),
            Panel::lines("redis-proxy, as the gateways see it", Unit::Count)
                .ask("answers", "min(portcullis_rate_limit_proxy_up)")
                .ask("its store is ready", "min(redis_proxy_store_ready)"),
            Panel::lines("Keys decided by redis-proxy", Unit::PerSecond).ask(
                "{{dimension}} {{outcome}}",
                rate("dimension, outcome", "redis_proxy_acquire_keys_total"),
            ),
            Panel::lines("Quotas: what is known", Unit::PerSecond)
                .ask("{{result}}", rate("result", "portcullis_quota_requests")),
            Panel::lines("Tenants over their quota", Unit::PerSecond)
                .ask("{{mode}}", rate("mode", "portcullis_quota_exceeded"))
                .about("alert: passed with a header; enforce: refused."),
            Panel::lines("Quota events", Unit::PerSecond)
                .ask(
                    "{{result}}",
                    rate("result", "redis_proxy_quota_events_total"),
                )
                .ask(
                    "dead: {{reason}}",
                    format!(
                        "{} > 0",
                        rate("reason", "redis_proxy_quota_dead_events_total")
                    ),
                ),
        ],
    }
}
