//! The harness sees what goes wrong in Kong.

use kong_test::{KongGateway, Source};
use testkit::gateway::{FilterSetup, Gateway};
use testkit::{Request, World};

pub type Test = fn(Source) -> Result<(), String>;

pub const TESTS: [(&str, Test); 2] = [
    (
        "watch::a_worker_that_crashes_is_seen",
        a_worker_that_crashes_is_seen,
    ),
    (
        "watch::a_refused_configuration_is_told_from_a_taken_one",
        a_refused_configuration_is_told_from_a_taken_one,
    ),
];

fn filter(name: &str, config: &str) -> FilterSetup {
    FilterSetup {
        name: name.into(),
        config: config.into(),
    }
}

/// A module that lacks callbacks: the one for Envoy.
fn a_worker_that_crashes_is_seen(source: Source) -> Result<(), String> {
    let lean = testkit::workspace::artifact("dist", "auth")?;
    let mut gateway = KongGateway::new(source, 1).module("auth", lean);
    gateway.open(&World::new())?;
    let public = filter("auth", r#"{"rules":[{"public":true}]}"#);
    let loaded = gateway.configure(&[public]);
    let _ = gateway.send(vec![Request::get("/")]);
    match (loaded, gateway.stop(&[])) {
        (_, Err(fault)) if fault.contains("in Kong's log") => Ok(()),
        (loaded, stopped) => Err(format!("nothing was seen: {loaded:?}, {stopped:?}")),
    }
}

fn a_refused_configuration_is_told_from_a_taken_one(source: Source) -> Result<(), String> {
    let mut gateway = KongGateway::new(source, 2);
    gateway.open(&World::new())?;
    let public = filter("auth", r#"{"rules":[{"public":true}]}"#);
    let wrong = filter("auth", r#"{"rules":[]}"#);
    let status = |gateway: &mut KongGateway| -> Result<u16, String> {
        let exchanges = gateway.send(vec![Request::get("/")])?;
        Ok(exchanges.first().map_or(0, |exchange| exchange.status))
    };
    let refused = gateway.configure(std::slice::from_ref(&wrong))?;
    let lines = refused.err().ok_or("it was taken")?.lines;
    if !lines
        .iter()
        .any(|line| line.contains("auth: rules: must not be empty"))
    {
        return Err(format!("no reason: {lines:?}"));
    }
    gateway
        .configure(&[public])?
        .map_err(|refused| refused.lines.join("\n"))?;
    assert_eq!(status(&mut gateway)?, 200);
    if gateway.configure(&[wrong])?.is_ok() {
        return Err("it was taken".into());
    }
    assert_eq!(status(&mut gateway)?, 200, "the old configuration stays");
    match gateway.stop(&[]) {
        Err(fault) if fault.contains("auth: rules: must not be empty") => Ok(()),
        other => Err(format!("the error was not seen: {other:?}")),
    }
}
