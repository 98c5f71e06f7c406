//! The dashboards (O3): the six that operators work with, and the one of the security team.
//!
//! They ask for the names of [`crate::recording`] wherever Envoy and Kong count alike under other names, so that one set serves
//! both.

mod auth;
mod edge_defence;
mod filter_latency;
mod overview;
mod rate_limit;
mod resource;
mod route_drilldown;

use crate::dashboard::Dashboard;

/// All of them.
#[must_use]
pub fn all() -> Vec<Dashboard> {
    vec![
        overview::dashboard(),
        route_drilldown::dashboard(),
        auth::dashboard(),
        rate_limit::dashboard(),
        filter_latency::dashboard(),
        resource::dashboard(),
        edge_defence::dashboard(),
    ]
}

/// The rate of these series, added up by these labels.
fn rate(by: &str, series: &str) -> String {
    if by.is_empty() {
        return format!("sum(rate({series}[$__rate_interval]))");
    }
    format!("sum by ({by}) (rate({series}[$__rate_interval]))")
}

/// What share of the rate of a counter has this label.
fn share(metric: &str, label: &str) -> String {
    let part = rate("", &format!("{metric}{{{label}}}"));
    format!("{part} / {}", rate("", metric))
}
