//! `cases.toml`, in this process: each case is a test of its own, in the manner of either gateway.

#[cfg(not(target_arch = "wasm32"))]
fn main() -> std::process::ExitCode {
    testkit::cases_main::<fingerprint_deny::FingerprintDeny>(include_str!("../cases.toml"))
}

#[cfg(target_arch = "wasm32")]
fn main() {}
