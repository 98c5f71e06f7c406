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
use policy::Filter;

pub use file::{Case, CaseFile};
pub use run::run_case;

use crate::drive::Flavour;
use crate::gateway::{DriveGateway, Gateway, HostName};
use crate::workspace;

/// The whole of a filter's `tests/cases.rs`: each case is a test of its own, in the manner of
/// either gateway.
#[must_use]
pub fn cases_main<F: Filter>(text: &str) -> ExitCode {
    let arguments = Arguments::from_args();
    let trials = match CaseFile::parse(text).and_then(CaseFile::with_sections) {
        Ok(files) => files.into_iter().flat_map(trials::<F>).collect(),
        Err(error) => vec![broken_file(error)],
    };
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// When it is set, real gateways run all cases of all sections of a chain, not only those that its file names.
pub const ALL_SECTIONS: &str = "PORTCULLIS_ALL_CASES";

/// Every case of every filter that names this host, each in a gateway of its own. Filters are found, not listed. Of a
/// chain's sections only the cases that its file names, unless [`ALL_SECTIONS`] is set.
pub fn gateway_trials<G: Gateway>(
    host: HostName,
    open: impl Fn(&Case) -> Result<G, String> + Send + Sync + 'static,
) -> Vec<Trial> {
    let all = std::env::var_os(ALL_SECTIONS).is_some();
    trials_on(host, all, open)
}

/// The same with all cases of all sections, where a gateway costs nothing to start.
pub fn all_trials<G: Gateway>(
    host: HostName,
    open: impl Fn(&Case) -> Result<G, String> + Send + Sync + 'static,
) -> Vec<Trial> {
    trials_on(host, true, open)
}

fn trials_on<G: Gateway>(
    host: HostName,
    all: bool,
    open: impl Fn(&Case) -> Result<G, String> + Send + Sync + 'static,
) -> Vec<Trial> {
    let open = Arc::new(open);
    match workspace::case_files() {
        Ok(files) => files
            .into_iter()
            .flat_map(|(filter, path)| file_trials(&filter, &path, (host, all), &open))
            .collect(),
        Err(error) => vec![broken_file(error)],
    }
}

fn file_trials<G: Gateway>(
    filter: &str,
    path: &Path,
    (host, all): (HostName, bool),
    open: &Arc<impl Fn(&Case) -> Result<G, String> + Send + Sync + 'static>,
) -> Vec<Trial> {
    let read = std::fs::read_to_string(path).map_err(|e| e.to_string());
    let files = read
        .and_then(|text| CaseFile::parse(&text))
        .and_then(CaseFile::with_sections);
    let files = match files {
        Ok(files) => files,
        Err(error) => return vec![broken_file(format!("{}: {error}", path.display()))],
    };
    let mut trials = Vec::new();
    for file in files.into_iter().map(Arc::new) {
        for case in &file.cases {
            if !case.runs_on(host) || !(all || file.is_for_gateways(case)) {
                continue;
            }
            let name = format!("{filter}::{}", file.name_of(case));
            let (file, case, filter) = (Arc::clone(&file), case.clone(), filter.to_owned());
            let open = Arc::clone(open);
            trials.push(Trial::test(name, move || {
                run_case(&file, &case, &filter, &mut open(&case)?).map_err(Failed::from)
            }));
        }
    }
    trials
}

/// The test that stands for a case file that cannot be read.
#[must_use]
pub fn broken_file(error: String) -> Trial {
    Trial::test("the_case_file_is_readable", move || {
        Err(Failed::from(error))
    })
}

fn trials<F: Filter>(file: CaseFile) -> Vec<Trial> {
    let file = Arc::new(file);
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
            let (file, case) = (Arc::clone(&file), case.clone());
            let name = format!("{manner}::{}", file.name_of(&case));
            trials.push(Trial::test(name, move || {
                let mut gateway = DriveGateway::<F>::new(flavour);
                run_case(&file, &case, F::NAME, &mut gateway).map_err(Failed::from)
            }));
        }
    }
    if file.section.is_some() {
        return trials;
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
