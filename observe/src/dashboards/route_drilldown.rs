//! How is this route doing?

use crate::dashboard::{Dashboard, Variable};
use crate::panel::{Panel, Unit};

pub(super) fn dashboard() -> Dashboard {
    Dashboard {
        name: "route-drilldown",
        title: "Route drilldown",
        about: "One route, or all of them. Envoy counts here what reached the upstream; Kong, what was asked for.",
        variables: vec![Variable {
            name: "route",
            label: "Route",
            series: "edge:route_requests:rate1m",
            of: "route",
        }],
        panels: vec![
            Panel::lines("Requests by status", Unit::PerSecond).ask(
                "{{class}}",
                "sum by (class) (edge:route_requests:rate1m{route=~\"$route\"})",
            ),
            Panel::lines("Latency", Unit::Milliseconds).ask(
                "p{{quantile}}",
                "max by (quantile) (edge:route_milliseconds:quantile{route=~\"$route\"})",
            ),
            Panel::lines("Share of answers below 500", Unit::Share).ask(
                "{{route}}",
                "1 - (sum by (route) (edge:route_requests:rate1m{route=~\"$route\",class=\"5xx\"}) or 0 * sum by (route) \
                 (edge:route_requests:rate1m{route=~\"$route\"})) / sum by (route) (edge:route_requests:rate1m{route=~\"$route\"})",
            ),
            Panel::bars("Busiest routes", Unit::PerSecond)
                .ask("{{route}}", "topk(20, sum by (route) (edge:route_requests:rate1m))"),
            Panel::bars("Slowest routes, p99", Unit::Milliseconds).ask(
                "{{route}}",
                "topk(20, max by (route) (edge:route_milliseconds:quantile{quantile=\"0.99\"}))",
            ),
            Panel::lines("Upstreams, p99", Unit::Milliseconds)
                .ask("{{upstream}}", "max by (upstream) (edge:upstream_milliseconds:quantile{quantile=\"0.99\"})")
                .about("In Envoy also of the services that filters call."),
        ],
    }
}
