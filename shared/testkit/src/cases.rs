//! Behaviour as data: a `cases.toml` beside each filter, run in this process and in real gateways.
//! The format is described in `shared/testkit/README.md`.

mod cast;
mod expectation;
mod file;
mod run;
pub mod transcript;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use policy::Policy;

pub use file::{Case, CaseFile};
pub use run::run_case;

use crate::drive::Flavour;
use crate::gateway::{DriveGateway, Gateway, HostName};
use crate::workspace;

/// The whole of a filter's `tests/cases.rs`: each case is a test of its own, in the manner of
/// either gateway.
#[must_use]
pub fn cases_main<P: Policy>(text: &str) -> ExitCode {
    let arguments = Arguments::from_args();
    let trials = match CaseFile::parse(text) {
        Ok(file) => trials::<P>(&file),
        Err(error) => vec![broken_file(error)],
    };
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Every case of every filter that names this host, each in a gateway of its own. Filters are found, not listed.
pub fn gateway_trials<G: Gateway>(
    host: HostName,
    open: impl Fn(&Case) -> Result<G, String> + Send + Sync + 'static,
) -> Vec<Trial> {
    let open = Arc::new(open);
    match workspace::case_files() {
        Ok(files) => files
            .into_iter()
            .flat_map(|(filter, path)| file_trials(&filter, &path, host, &open))
            .collect(),
        Err(error) => vec![broken_file(error)],
    }
}

fn file_trials<G: Gateway>(
    filter: &str,
    path: &Path,
    host: HostName,
    open: &Arc<impl Fn(&Case) -> Result<G, String> + Send + Sync + 'static>,
) -> Vec<Trial> {
    let read = std::fs::read_to_string(path).map_err(|e| e.to_string());
    let file = match read.and_then(|text| CaseFile::parse(&text)) {
        Ok(file) => Arc::new(file),
        Err(error) => return vec![broken_file(format!("{}: {error}", path.display()))],
    };
    file.cases
        .iter()
        .filter(|case| case.runs_on(host))
        .map(|case| {
            let (file, case, filter) = (Arc::clone(&file), case.clone(), filter.to_owned());
            let open = Arc::clone(open);
            Trial::test(format!("{filter}::{}", case.name), move || {
                run_case(&file, &case, &filter, &mut open(&case)?).map_err(Failed::from)
            })
        })
        .collect()
}

/// The test that stands for a case file that cannot be read.
#[must_use]
pub fn broken_file(error: String) -> Trial {
    Trial::test("the_case_file_is_readable", move || {
        Err(Failed::from(error))
    })
}

fn trials<P: Policy>(file: &CaseFile) -> Vec<Trial> {
    let mut trials = Vec::new();
    for case in &file.cases {
        for (flavour, manner, wanted) in [
            (Flavour::Envoy, "like_envoy", case.runs_on(HostName::Envoy)),
            (Flavour::Kong, "like_kong", case.runs_on(HostName::Kong)),
        ] {
            // A case for this process alone shows what no real gateway has the time for.
            let alone = case.hosts == [HostName::Drive];
            if !case.runs_on(HostName::Drive) || !(wanted || alone) {
                continue;
            }
            let (file, case) = (file.clone(), case.clone());
            trials.push(Trial::test(format!("{manner}::{}", case.name), move || {
                let mut gateway = DriveGateway::<P>::new(flavour);
                run_case(&file, &case, P::NAME, &mut gateway).map_err(Failed::from)
            }));
        }
    }
    let missing = file.rows_without_a_case();
    trials.push(Trial::test("every_promised_row_has_a_case", move || {
        if missing.is_empty() {
            Ok(())
        } else {
            Err(format!("without a case: {}", missing.join(", ")).into())
        }
    }));
    trials
}
