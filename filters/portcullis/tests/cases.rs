//! The chain's own cases, and those of every link with its configuration in the link's section. In this process; in
//! Envoy they run by themselves: `make envoy-test`.

#[cfg(not(target_arch = "wasm32"))]
fn main() -> std::process::ExitCode {
    testkit::cases_main::<portcullis::Portcullis>(include_str!("../cases.toml"))
}

#[cfg(target_arch = "wasm32")]
fn main() {}
