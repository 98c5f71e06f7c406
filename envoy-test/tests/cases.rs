//! Every case of every filter that names Envoy, in Envoy.

use std::process::ExitCode;

use envoy_test::EnvoyGateway;
use libtest_mimic::Arguments;
use testkit::cases::gateway_trials;
use testkit::gateway::HostName;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let trials = gateway_trials(HostName::Envoy, |case| {
        Ok(EnvoyGateway::new(case.workers.unwrap_or(1)))
    });
    libtest_mimic::run(&arguments, trials).exit_code()
}
