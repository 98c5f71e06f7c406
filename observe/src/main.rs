//! Draws the dashboards into `docs/dashboards/`, from three minutes of the demo's clients at the shipped configuration.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    reason = "a tool that cannot go on says so"
)]

use std::time::{Duration, SystemTime};

use envoy_test::artifacts;
use observe::dashboards;
use observe::drawing::{self, Shown};
use observe::panel::Look;
use observe::prometheus::Prometheus;
use observe::site::Site;
use observe::traffic;

const TIME: Duration = Duration::from_secs(180);
/// Seconds between two points of a line.
const STEP: f64 = 4.0;

fn main() {
    println!("Starting Envoy as it is shipped, redis-proxy, and a Prometheus that scrapes them …");
    let mut site = Site::start();
    println!("Clients come by for {} s …", TIME.as_secs());
    let from = now();
    let crowd = traffic::run(&site, TIME);
    let to = now();
    let folder = artifacts::workspace().join("docs/dashboards");
    std::fs::create_dir_all(&folder).unwrap();
    for dashboard in dashboards::all() {
        let shown: Vec<Shown<'_>> = dashboard
            .panels
            .iter()
            .map(|panel| {
                let ask = |query: &observe::panel::Query| {
                    let expr = asked(&query.expr);
                    let series = ask(&site.prometheus, panel.look, &expr, from, to);
                    let named = series.into_iter().map(|it| (it.called(query.legend), it));
                    named.collect::<Vec<_>>()
                };
                Shown {
                    panel,
                    series: panel.queries.iter().flat_map(ask).collect(),
                }
            })
            .collect();
        let path = folder.join(format!("{}.svg", dashboard.name));
        std::fs::write(&path, drawing::draw(&dashboard, &shown)).unwrap();
        println!("  docs/dashboards/{}.svg", dashboard.name);
    }
    drop(crowd);
    site.check();
}

fn ask(
    prometheus: &Prometheus,
    look: Look,
    expr: &str,
    from: f64,
    to: f64,
) -> Vec<observe::prometheus::Series> {
    let answer = match look {
        Look::Lines => prometheus.query_range(expr, from, to, STEP),
        Look::Number | Look::Bars => prometheus.query(expr),
    };
    answer.unwrap_or_else(|e| panic!("{expr}: {e}"))
}

/// With what Grafana puts in.
fn asked(expr: &str) -> String {
    expr.replace("$__rate_interval", "20s")
        .replace("$route", ".*")
}

fn now() -> f64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs_f64()
}
