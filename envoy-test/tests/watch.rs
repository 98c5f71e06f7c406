//! The harness sees what goes wrong in Envoy, and leaves nothing behind.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::path::Path;

use envoy_test::bootstrap::OnTrap;
use envoy_test::{EnvoyGateway, artifacts};
use testkit::gateway::{FilterSetup, Gateway};
use testkit::{Request, World};

/// A module that runs into `unreachable` with every request:
/// `(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) unreachable)` and the
/// least that Envoy wants beside it.
const TRAP: &str = "\
    0061736d01000000011b0560000060017f017f60027f7f017f60027f7f0060037f7f7f017f0307060001020203\
    040503010001079d0107066d656d6f727902001770726f78795f6162695f76657273696f6e5f305f325f310000\
    1870726f78795f6f6e5f6d656d6f72795f616c6c6f6361746500011170726f78795f6f6e5f766d5f7374617274\
    00021270726f78795f6f6e5f636f6e66696775726500031770726f78795f6f6e5f636f6e746578745f63726561\
    746500041870726f78795f6f6e5f726571756573745f6865616465727300050a1b0602000b05004180080b0400\
    41010b040041010b02000b0300000b";

fn filter(name: &str, config: &str) -> FilterSetup {
    FilterSetup {
        name: name.into(),
        config: config.into(),
    }
}

fn trapping(on_trap: OnTrap, folder: &Path) -> EnvoyGateway {
    let module = folder.join("trap.wasm");
    let bytes: Vec<u8> = (0..TRAP.len() / 2)
        .map(|at| u8::from_str_radix(TRAP.get(2 * at..2 * at + 2).unwrap(), 16).unwrap())
        .collect();
    std::fs::write(&module, bytes).unwrap();
    let mut gateway = EnvoyGateway::new(1).on_trap(on_trap).module("trap", module);
    gateway.open(&World::new()).unwrap();
    gateway.configure(&[filter("trap", "{}")]).unwrap().unwrap();
    let exchanges = gateway.send(vec![Request::get("/")]).unwrap();
    assert_eq!(exchanges[0].word(), "503");
    gateway
}

#[test]
fn a_trap_is_seen_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let mut gateway = trapping(OnTrap::FailClosed, folder.path());
    let fault = gateway.stop(&[]).unwrap_err();
    assert!(fault.contains("proxy_on_request_headers failed"), "{fault}");
}

#[test]
fn a_trap_is_seen_in_the_stats() {
    let folder = tempfile::tempdir().unwrap();
    let mut gateway = trapping(OnTrap::Reload, folder.path());
    gateway.send(vec![Request::get("/")]).unwrap();
    let failures = gateway.envoy().unwrap().stats().unwrap().vm_failures();
    assert!(!failures.is_empty());
}

#[test]
fn a_refused_configuration_is_told_from_a_taken_one() {
    let mut gateway = EnvoyGateway::new(1);
    gateway.open(&World::new()).unwrap();
    let public = filter("auth", r#"{"rules":[{"public":true}]}"#);
    let wrong = filter("auth", r#"{"rules":[]}"#);
    let status =
        |gateway: &mut EnvoyGateway| gateway.send(vec![Request::get("/")]).unwrap()[0].status;
    let refused = gateway
        .configure(std::slice::from_ref(&wrong))
        .unwrap()
        .unwrap_err();
    assert!(
        refused
            .lines
            .iter()
            .any(|line| line.contains("auth: rules: must not be empty"))
    );
    gateway.configure(&[public]).unwrap().unwrap();
    assert_eq!(status(&mut gateway), 200);
    gateway.configure(&[wrong]).unwrap().unwrap_err();
    assert_eq!(status(&mut gateway), 200, "the old configuration stays");
    let fault = gateway.stop(&[]).unwrap_err();
    assert!(fault.contains("auth: rules: must not be empty"), "{fault}");
}

#[test]
fn labels_in_names_become_labels_in_prometheus() {
    let mut gateway = EnvoyGateway::new(1);
    gateway.open(&World::new()).unwrap();
    let config = r#"{"rules":[{"match":{"prefix":"/public"},"public":true}]}"#;
    gateway
        .configure(&[filter("auth", config)])
        .unwrap()
        .unwrap();
    let exchanges = gateway
        .send(vec![Request::get("/public"), Request::get("/")])
        .unwrap();
    assert_eq!(exchanges[1].word(), "401 no_rule");
    let text = gateway
        .envoy()
        .unwrap()
        .admin("GET", "/stats/prometheus")
        .unwrap();
    for line in [
        r#"portcullis_requests{filter="auth",outcome="allowed",code="ok"} 1"#,
        r#"portcullis_requests{filter="auth",outcome="denied",code="no_rule"} 1"#,
    ] {
        assert!(text.lines().any(|l| l == line), "{line}");
    }
    gateway.stop(&[]).unwrap();
}

#[test]
fn envoy_ends_with_its_test_even_in_a_panic() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let test = std::thread::spawn(move || {
        let mut gateway = EnvoyGateway::new(1);
        gateway.open(&World::new()).unwrap();
        gateway.configure(&[]).unwrap().unwrap();
        sender.send(gateway.envoy().unwrap().pid()).unwrap();
        panic!("on purpose");
    });
    let pid = receiver.recv().unwrap();
    assert!(test.join().is_err());
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn what_is_missing_is_said_with_the_target_that_makes_it() {
    let error = artifacts::wasm("never_built").unwrap_err();
    assert!(error.contains("make wasm"), "{error}");
}
