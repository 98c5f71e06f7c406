//! Is the edge well?

use super::rate;
use crate::dashboard::Dashboard;
use crate::panel::{Panel, Unit};

pub(super) fn dashboard() -> Dashboard {
    Dashboard {
        name: "overview",
        title: "Overview",
        about: "Traffic, errors and latency of the gateways, and what the filters decide.",
        variables: Vec::new(),
        panels: vec![
            Panel::lines("Requests by status", Unit::PerSecond)
                .ask("{{class}}", "sum by (class) (edge:requests:rate1m)"),
            Panel::lines("Latency", Unit::Milliseconds)
                .ask("p{{quantile}}", "max by (quantile) (edge:request_milliseconds:quantile)")
                .about("From the request's first byte to the response's last; of the slower gateway. Held clients of the tarpit are in it."),
            Panel::lines("Share of 5xx", Unit::Share).ask(
                "5xx",
                "sum(edge:requests:rate1m{class=\"5xx\"}) / sum(edge:requests:rate1m)",
            ),
            Panel::lines("Verdicts", Unit::PerSecond)
                .ask("{{filter}} {{outcome}}", rate("filter, outcome", "portcullis_requests{outcome!=\"allowed\"}"))
                .about("What filters did not let pass. Of filters in shadow mode: what they would not have."),
            Panel::bars("Why requests were refused", Unit::PerSecond).ask(
                "{{filter}} {{code}}",
                format!("topk(10, {} > 0)", rate("filter, code", "portcullis_requests{outcome=\"denied\"}")),
            ),
            Panel::lines("Faults", Unit::PerSecond)
                .ask("{{filter}}", rate("filter", "portcullis_requests{outcome=\"faulted\"}"))
                .ask("{{filter}} trapped", rate("filter", "envoy_wasm_vm_reload"))
                .quiet("Any is a fault of a filter itself: see its gateway's log."),
            Panel::number("Targets that answer", Unit::Count)
                .ask("{{job}}", "sum by (job) (up)"),
            Panel::lines("Open connections", Unit::Count)
                .ask("{{gateway}}", "sum by (gateway) (edge:connections)"),
            Panel::number("Highest share of the guardrail, 1 h", Unit::Share)
                .ask("of 5,000/s", "max_over_time(edge:guardrail:share[1h])")
                .about("The guardrail is the limit over all requests (R8)."),
        ],
    }
}
