//! Every case of every filter that names Kong, in Kong's strict double: the module that was built for it, in this
//! process. It runs where there is no Kong, too; it is a lint, not a substitute.

use std::process::ExitCode;

use libtest_mimic::Arguments;
use testkit::cases::all_trials;
use testkit::gateway::HostName;
use testkit::strict::StrictKong;
use testkit::workspace;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let trials = all_trials(HostName::Kong, |_| {
        Ok(StrictKong::new(&workspace::root().join("dist/kong")))
    });
    libtest_mimic::run(&arguments, trials).exit_code()
}
