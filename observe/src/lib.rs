//! What operators see: every metric, the dashboards, the recording rules and the alerts, each written down once here.
//!
//! `README.md` and `ops/` hold what this crate writes (`UPDATE=1 cargo test --package observe`); a stale file is a
//! failed test. What it says is held to the code and to real gateways: [`metrics`] to what the filters define,
//! [`dashboards`] to a real Prometheus that scrapes a real Envoy and a real redis-proxy ([`site`]). The program
//! `observe` draws the dashboards from such a run (`make dashboards`).

// This crate is test code: a panic here is a failed test with a message, and that is its purpose.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::string_slice,
    reason = "a test that cannot go on fails"
)]

pub mod alerts;
pub mod dashboard;
pub mod dashboards;
pub mod drawing;
pub mod metrics;
pub mod panel;
pub mod process;
pub mod prometheus;
pub mod recording;
pub mod scrape;
pub mod site;
pub mod traffic;
pub mod yaml;
