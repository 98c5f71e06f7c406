//! What requests are answered while something behind the filter is broken, and that limits hold again
//! afterwards (R10, R16).
//!
//! usage: chaos [part of a fault's name]

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that cannot go on fails"
)]

mod classes;
mod faults;
mod report;
mod site;

use std::process::ExitCode;

use limits_test::table::Table;
use report::Report;

fn main() -> ExitCode {
    match run(std::env::args().nth(1).as_deref().unwrap_or_default()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(broken) => {
            println!("{broken} not as promised");
            ExitCode::FAILURE
        }
        Err(problem) => {
            eprintln!("chaos: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// How many promises did not hold.
fn run(only: &str) -> Result<usize, String> {
    let mut table = Table::new([
        "fault",
        "deny",
        "allow",
        "local",
        "unset, GET",
        "unset, POST",
        "longest",
        "as before after",
        "limits then",
    ]);
    let mut broken = Vec::new();
    for fault in faults::ALL.iter().filter(|f| f.name.contains(only)) {
        eprintln!("{}", fault.name);
        let mut site = (fault.site)()?;
        let report = Report::of(fault, &mut *site)?;
        for line in report.broken(fault.name) {
            eprintln!("  {line}");
            broken.push(line);
        }
        table.row(report.cells());
    }
    println!("{table}");
    for line in &broken {
        println!("{line}");
    }
    Ok(broken.len())
}
