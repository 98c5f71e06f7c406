//! What Prometheus' and the blackbox exporter's own tools say of `ops/prometheus`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

use std::process::Command;

use observe::prometheus::promtool;
use testkit::workspace;

fn run(arguments: &[&str]) {
    let folder = workspace::root().join("ops/prometheus");
    promtool(&folder, arguments).unwrap_or_else(|said| panic!("promtool {arguments:?}: {said}"));
}

#[test]
fn the_configuration_is_one() {
    run(&["check", "config", "prometheus.yml"]);
}

#[test]
fn the_rules_are_rules() {
    run(&["check", "rules", "recording.yml", "alerts.yml"]);
}

/// Each alert fires when it should, and rests when it is close.
#[test]
fn alerts_fire_and_rest() {
    run(&["test", "rules", "alerts_test.yml"]);
}

#[test]
fn the_probes_are_probes() {
    let output = Command::new("prometheus-blackbox-exporter")
        .arg("--config.check")
        .arg(format!(
            "--config.file={}",
            workspace::root()
                .join("ops/prometheus/blackbox.yml")
                .display()
        ))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}
