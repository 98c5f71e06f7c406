//! Every case of every filter that names Kong, in Kong. And that the harness sees what goes wrong.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::arithmetic_side_effects
)]

mod long_list;
mod quota;
mod scrape;
mod shipped;
mod traces;
mod watch;

use std::process::ExitCode;

use kong_test::source::Missing;
use kong_test::{KongGateway, Source, pool};
use libtest_mimic::{Arguments, Failed, Trial};
use testkit::cases::gateway_trials;
use testkit::gateway::HostName;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let source = Source::find();
    let for_cases = source.clone();
    let mut trials = gateway_trials(HostName::Kong, move |case| {
        let source = found(for_cases.clone())?;
        let gateway = KongGateway::new(source, case.workers.unwrap_or(1));
        let refused =
            case.refused.is_some() || case.steps.iter().any(|step| step.refused.is_some());
        // What a filter says of a wrong configuration is only heard where Kong does not refuse it first.
        Ok(if refused { gateway.as_text() } else { gateway })
    });
    let further = watch::TESTS.into_iter().chain([
        (
            "long_list::ten_pages_come_whole",
            long_list::ten_pages_come_whole as watch::Test,
        ),
        (
            "quota::an_event_is_a_header_and_then_a_refusal",
            quota::an_event_is_a_header_and_then_a_refusal,
        ),
    ]);
    for (name, test) in further {
        let source = source.clone();
        trials.push(Trial::test(name, move || {
            test(found(source)?).map_err(Failed::from)
        }));
    }
    let shipped = source.clone();
    let installed = !matches!(source, Ok(Source::Docker));
    for (name, test) in [
        (
            "shipped::the_shipped_kong_is_an_edge",
            shipped::the_shipped_kong_is_an_edge as watch::Test,
        ),
        (
            "shipped::the_shipped_kong_serves_browsers",
            shipped::the_shipped_kong_serves_browsers,
        ),
        (
            "traces::one_trace_goes_through_kong_callouts_and_upstream",
            traces::one_trace_goes_through_kong_callouts_and_upstream,
        ),
        (
            "scrape::prometheus_reads_the_names_of_the_filters",
            scrape::prometheus_reads_the_names_of_the_filters,
        ),
    ] {
        let shipped = shipped.clone();
        trials.push(
            Trial::test(name, move || test(found(shipped)?).map_err(Failed::from))
                .with_ignored_flag(!installed),
        );
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

fn found(source: Result<Source, Missing>) -> Result<Source, String> {
    source.map_err(|(Missing::Absent(why) | Missing::Wrong(why))| why)
}
