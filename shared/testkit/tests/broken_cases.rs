//! Cases must be able to fail: each of these is wrong about the policy, and must be found out.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod toy;

use testkit::Flavour;
use testkit::cases::{CaseFile, run_case};
use testkit::gateway::DriveGateway;

const PREAMBLE: &str = "
[defaults]
config = { upstream = '${auth_service}' }
world = { documents = { '/jwks' = '{}' } }
[keys]
k = { alg = 'ES256' }
[tokens]
t = { key = 'k' }
[[case]]
name = 'wrong'
";

fn failure_of(case: &str) -> String {
    let file = CaseFile::parse(&format!("{PREAMBLE}{case}")).unwrap();
    let mut gateway = DriveGateway::<toy::Toy>::new(Flavour::Envoy);
    run_case(&file, &file.cases[0], "toy", &mut gateway).expect_err(case)
}

#[test]
fn every_kind_of_wrong_expectation_is_found_out() {
    for (steps, complaint) in [
        ("step = [{ get = '/no', expect = 'pass' }]", "status is 403"),
        (
            "step = [{ get = '/', expect = '403 told_so' }]",
            "reached the upstream",
        ),
        ("step = [{ get = '/no', expect = '403 other' }]", "code is"),
        (
            "step = [{ get = '/', expect = { headers = { a = 'b' } } }]",
            "response header a",
        ),
        (
            "step = [{ get = '/', expect = { absent = ['x-greeting'] } }]",
            "is there",
        ),
        (
            "step = [{ get = '/', expect = { upstream = { headers = { a = '*' } } } }]",
            "saw a as",
        ),
        (
            "step = [{ get = '/ask', expect = { calls = { jwks = 2 } } }]",
            "1 calls of jwks",
        ),
        (
            "step = [{ get = '/ask', expect = { metrics = { 'toy_asked.filter=toy' = 0 } } }]",
            "moved by 1",
        ),
        (
            "step = [{ get = '/sleep', expect = { at_most = '1s' } }]",
            "took 3s",
        ),
        (
            "step = [{ get = '/ask', expect = { at_least = '1s' } }]",
            "took 1ms",
        ),
        (
            "calls = { jwks = 1 }\nstep = [{ get = '/', expect = 'pass' }]",
            "0 calls of jwks",
        ),
        (
            "log = ['never']\nstep = [{ get = '/', expect = 'pass' }]",
            "does not say",
        ),
        (
            "step = [{ get = '/leak', token = 't', expect = '403 leaked' }]",
            "the log holds a credential",
        ),
        (
            "step = [{ get = '/error', expect = '403 wrong' }]",
            "something is wrong",
        ),
        ("refused = ['upstream']", "must be refused"),
        (
            "config = { upstream = '' }\nrefused = ['greeting']",
            "no line says",
        ),
        (
            "config = { upstream = '', x = 1 }\nrefused = ['upstream: must']",
            "nobody expected",
        ),
        (
            "config = { upstream = '' }\nstep = [{ get = '/', expect = 'pass' }]",
            "was refused",
        ),
        (
            "step = [{ config = { greeting = '' }, get = '/', expect = 'pass' }]",
            "was refused",
        ),
        (
            "step = [{ get = '/${who}', expect = 'pass' }]",
            "no placeholder",
        ),
    ] {
        let failure = failure_of(steps);
        assert!(failure.starts_with("wrong: "), "{failure}");
        assert!(failure.contains(complaint), "{steps}\n{failure}");
    }
}

#[test]
fn a_row_without_a_case_is_found_out() {
    let text = format!(
        "rows = ['J1-J3']\n{PREAMBLE}rows = ['J2']\nstep = [{{ get = '/', expect = 'pass' }}]"
    );
    let missing = CaseFile::parse(&text).unwrap().rows_without_a_case();
    assert_eq!(
        missing,
        ["J1 (Drive)", "J1 (Envoy)", "J3 (Drive)", "J3 (Envoy)"]
    );
}
