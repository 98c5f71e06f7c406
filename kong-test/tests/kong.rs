//! Every case of every filter that names Kong, in Kong. Filters are found, not listed. And that the harness
//! sees what goes wrong.

#![allow(clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

mod watch;

use std::process::ExitCode;
use std::sync::Arc;

use kong_test::source::Missing;
use kong_test::{KongGateway, Source, pool};
use libtest_mimic::{Arguments, Failed, Trial};
use testkit::cases::{CaseFile, broken_file, run_case};
use testkit::gateway::HostName;
use testkit::workspace;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let source = Source::find();
    let mut trials = match workspace::case_files() {
        Ok(files) => files
            .into_iter()
            .flat_map(|(filter, path)| trials(&filter, &path, &source))
            .collect(),
        Err(error) => vec![broken_file(error)],
    };
    for (name, test) in watch::TESTS {
        let source = source.clone();
        trials.push(Trial::test(format!("watch::{name}"), move || {
            test(found(source)?).map_err(Failed::from)
        }));
    }
    if let Err(Missing::Absent(why)) = &source {
        eprintln!(
            "\n**** THERE IS NO KONG: ITS {} CASES ARE SKIPPED ****\n{why}\n",
            trials.len()
        );
        trials = trials
            .into_iter()
            .map(|t| t.with_ignored_flag(true))
            .collect();
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    pool::end();
    conclusion.exit_code()
}

fn trials(filter: &str, path: &std::path::Path, source: &Result<Source, Missing>) -> Vec<Trial> {
    let read = std::fs::read_to_string(path).map_err(|e| e.to_string());
    let file = match read.and_then(|text| CaseFile::parse(&text)) {
        Ok(file) => Arc::new(file),
        Err(error) => return vec![broken_file(format!("{}: {error}", path.display()))],
    };
    file.cases
        .iter()
        .filter(|case| case.runs_on(HostName::Kong))
        .map(|case| {
            let (file, case, filter) = (Arc::clone(&file), case.clone(), filter.to_owned());
            let source = source.clone();
            Trial::test(format!("{filter}::{}", case.name), move || {
                let mut gateway = KongGateway::new(found(source)?, case.workers.unwrap_or(1));
                run_case(&file, &case, &filter, &mut gateway).map_err(Failed::from)
            })
        })
        .collect()
}

fn found(source: Result<Source, Missing>) -> Result<Source, String> {
    source.map_err(|(Missing::Absent(why) | Missing::Wrong(why))| why)
}
