//! Compares what cases showed in this process, in Envoy and in Kong. The argument is the folder that their
//! transcripts were written to.

#![allow(clippy::arithmetic_side_effects)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;

use kong_test::parity::{Difference, differences, known};
use testkit::cases::transcript::Transcript;
use testkit::workspace;

fn main() -> ExitCode {
    let folder = std::env::args_os().nth(1).unwrap_or_default();
    match report(Path::new(&folder)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints the report; whether nothing differs but what has a reason.
fn report(folder: &Path) -> Result<bool, String> {
    let mut transcripts = Transcript::read_all(folder)?;
    // Those of the testkit's own tests are of no filter.
    let filters = workspace::case_files()?;
    transcripts.retain(|run| filters.iter().any(|(filter, _)| *filter == run.filter));
    let architecture = workspace::root().join("ARCHITECTURE.md");
    let architecture =
        std::fs::read_to_string(&architecture).map_err(|e| format!("ARCHITECTURE.md: {e}"))?;
    let known = known(&architecture);

    let mut runs: BTreeMap<&str, usize> = BTreeMap::new();
    for transcript in &transcripts {
        *runs.entry(transcript.manner.as_str()).or_default() += 1;
    }
    for (manner, count) in &runs {
        println!("{count:5} cases in the manner of {manner}");
    }
    let all = differences(&transcripts);
    let (explained, open): (Vec<&Difference>, Vec<&Difference>) = all
        .iter()
        .partition(|difference| known.iter().any(|known| known.explains(difference)));

    println!("\n| differs | where | reason |\n|---|---|---|");
    for known in &known {
        let cases: BTreeSet<&str> = explained
            .iter()
            .filter(|difference| known.explains(difference))
            .map(|difference| difference.case.as_str())
            .collect();
        println!(
            "| `{}` | {} cases | {} |",
            known.pattern,
            cases.len(),
            known.reason
        );
    }
    for difference in &open {
        let values: Vec<String> = difference
            .values
            .iter()
            .map(|(manner, value)| format!("{manner}: {value}"))
            .collect();
        println!(
            "| **`{} {}`** | request {} | NOT EXPLAINED: {} |",
            difference.case,
            difference.aspect,
            difference.request,
            values.join(" · ")
        );
    }
    println!(
        "\n{} differences, {} of them not explained in ARCHITECTURE.md",
        all.len(),
        open.len()
    );
    let real = ["envoy", "kong"].map(|manner| runs.contains_key(manner));
    if real != [true, true] {
        println!("**** NO COMPARISON OF THE GATEWAYS: Envoy and Kong both have to run ****");
    }
    Ok(open.is_empty() && real == [true, true])
}
