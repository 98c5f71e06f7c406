//! The filter's cases in this process. In Envoy they run by themselves: `make envoy-test`.

fn main() -> std::process::ExitCode {
    testkit::cases_main::<quota::Quota>(include_str!("../cases.toml"))
}
