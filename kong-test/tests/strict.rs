//! Every case of every filter that names Kong, in Kong's strict double: the module that was built for it, in this
//! process. It runs where there is no Kong, too; it is a lint, not a substitute.

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use testkit::cases::{CaseFile, broken_file, run_case};
use testkit::gateway::HostName;
use testkit::strict::StrictKong;
use testkit::workspace;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let trials = match workspace::case_files() {
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
        .filter(|case| case.runs_on(HostName::Kong))
        .map(|case| {
            let (file, case, filter) = (Arc::clone(&file), case.clone(), filter.to_owned());
            Trial::test(format!("{filter}::{}", case.name), move || {
                let mut gateway = StrictKong::new(&workspace::root().join("dist/kong"));
                run_case(&file, &case, &filter, &mut gateway).map_err(Failed::from)
            })
        })
        .collect()
}
