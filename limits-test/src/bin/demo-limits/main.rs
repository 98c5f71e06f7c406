//! A real Envoy with the rate-limit filter and a real redis-proxy, under load: what a limit lets pass, second by
//! second, what happens when redis-proxy is gone, and whether all of it was as promised.
//!
//! `STORE=redis` keeps the counts in a real Redis; else redis-proxy keeps them itself.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that cannot go on fails"
)]

mod scenes;
mod site;
mod watch;

use std::process::ExitCode;

use limits_test::report::Report;

use crate::site::{Site, Store};

fn main() -> ExitCode {
    match play() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("demo-limits: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything was as expected.
fn play() -> Result<bool, String> {
    let store = Store::chosen()?;
    println!(
        "\nStarting Envoy with the rate-limit filter, and redis-proxy, which keeps the counts in {} …",
        store.words()
    );
    let mut site = Site::start(store)?;
    let mut report = Report::default();
    for scene in scenes::ALL {
        scene(&mut site, &mut report)?;
    }
    report.print(
        "Waited: requests that asked redis-proxy first; the others had a token already,\nor were known to have none.",
    );
    site.gateway
        .check()
        .map_err(|fault| format!("Envoy is not well: {fault}"))?;
    Ok(report.is_good())
}
