//! How exact limits are: two Envoys with two workers each, a redis-proxy beside each, one Redis.
//!
//! usage: accuracy [part of a row's name]

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that cannot go on fails"
)]

mod promises;
mod rows;
mod site;

use std::process::ExitCode;
use std::time::Duration;

use limits_test::table::Table;
use rows::{Outcome, Row};
use site::Site;

fn main() -> ExitCode {
    match measure(std::env::args().nth(1).as_deref().unwrap_or_default()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(broken) => {
            println!("\n{broken} not as promised");
            ExitCode::FAILURE
        }
        Err(problem) => {
            eprintln!("accuracy: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// How many promises did not hold.
fn measure(only: &str) -> Result<usize, String> {
    let chosen = |row: &Row| row.name().contains(only);
    let rows: Vec<Row> = rows::fast().into_iter().filter(chosen).collect();
    let slow: Vec<Row> = rows::slow().into_iter().filter(chosen).collect();
    let mut site = Site::start(&[rows.as_slice(), slow.as_slice()].concat())?;

    // Limits per minute take minutes and next to nothing of the machine: they run beside the others.
    let addresses = site.addresses();
    let minutes = std::thread::spawn(move || {
        let streams: Vec<_> = slow.iter().map(|row| row.stream(&addresses)).collect();
        let samples = limits_test::load::run(&streams);
        slow.into_iter().zip(samples).collect::<Vec<_>>()
    });

    let mut outcomes = Vec::new();
    for row in rows {
        eprintln!("{} for {:?}", row.name(), row.lasts());
        let before = site.counted()?;
        let samples = limits_test::load::run(&[row.stream(&site.addresses())]).remove(0);
        // What was counted while the last answers were on their way arrives with the next flush.
        std::thread::sleep(Duration::from_millis(300));
        let counted = site.counted()?.since(before);
        outcomes.push(Outcome::new(&row, &samples, Some(counted)));
    }
    let mut kept = Vec::new();
    for promise in promises::ALL.iter().filter(|p| p.name.contains(only)) {
        eprintln!("{}", promise.name);
        kept.push((promise, promise.check(&site)));
    }
    eprintln!("waiting for the limits per minute");
    let minutes = minutes.join().map_err(|_| "the load failed")?;
    let minutes = minutes
        .iter()
        .map(|(row, samples)| Outcome::new(row, samples, None));
    let outcomes: Vec<Outcome> = minutes.chain(outcomes).collect();

    let mut table = Table::new([
        "limit",
        "burst",
        "offered",
        "offered/s",
        "admitted",
        "used",
        "refused",
        "undecided",
        "least room",
        "waited",
        "99 % within",
        "",
    ]);
    for outcome in &outcomes {
        table.row(outcome.cells());
    }
    println!("{table}");
    let mut table = Table::new(["promise", "measured", ""]);
    for (promise, kept) in &kept {
        let (measured, holds) = match kept {
            Ok(measured) => (measured, true),
            Err(measured) => (measured, false),
        };
        table.row([promise.name.into(), measured.clone(), rows::mark(holds)]);
    }
    println!("{table}");
    site.check()?;
    Ok(outcomes.iter().filter(|o| !o.holds()).count()
        + kept.iter().filter(|(_, kept)| kept.is_err()).count())
}
