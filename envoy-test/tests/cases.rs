//! Every case of every filter that names Envoy, in Envoy. Filters are found, not listed.

use std::process::ExitCode;
use std::sync::Arc;

use envoy_test::{EnvoyGateway, artifacts};
use libtest_mimic::{Arguments, Failed, Trial};
use testkit::cases::{CaseFile, broken_file, run_case};
use testkit::gateway::HostName;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let trials = match artifacts::case_files() {
        Ok(files) => files
            .into_iter()
            .flat_map(|(filter, path)| trials(&filter, &path))
            .collect(),
        Err(error) => vec![broken_file(error)],
    };
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trials(filter: &str, path: &std::path::Path) -> Vec<Trial> {
    let read = std::fs::read_to_string(path).map_err(|e| e.to_string());
    let file = match read.and_then(|text| CaseFile::parse(&text)) {
        Ok(file) => Arc::new(file),
        Err(error) => return vec![broken_file(format!("{}: {error}", path.display()))],
    };
    file.cases
        .iter()
        .filter(|case| case.runs_on(HostName::Envoy))
        .map(|case| {
            let (file, case, filter) = (Arc::clone(&file), case.clone(), filter.to_owned());
            Trial::test(format!("{filter}::{}", case.name), move || {
                let mut gateway = EnvoyGateway::new(case.workers.unwrap_or(1));
                run_case(&file, &case, &filter, &mut gateway).map_err(Failed::from)
            })
        })
        .collect()
}
