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

use faults::PLANTED;
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
    if PLANTED.name.contains(only) {
        broken.extend(unseen()?);
    }
    for line in &broken {
        println!("{line}");
    }
    Ok(broken.len())
}

/// What of a planted break the matrix does not see.
fn unseen() -> Result<Vec<String>, String> {
    eprintln!("{}", PLANTED.name);
    let mut site = (PLANTED.site)()?;
    let seen = Report::of(&PLANTED, &mut *site)?.broken(PLANTED.name);
    println!(
        "{}: {} promises broken, as they must be",
        PLANTED.name,
        seen.len()
    );
    let must = [
        "GET deny: meanwhile: 200",
        "POST unset: meanwhile: 200",
        "GET local: meanwhile: 200",
        "afterwards: above the bound",
        "passed of 5/min",
    ];
    let is_unseen = |what: &&str| !seen.iter().any(|line| line.contains(what));
    let unseen = must.into_iter().filter(is_unseen);
    Ok(unseen
        .map(|what| format!("{}: not seen: {what}", PLANTED.name))
        .collect())
}
