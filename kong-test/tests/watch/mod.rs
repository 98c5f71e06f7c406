//! The harness sees what goes wrong in Kong.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use kong_test::document::{Form, document};
use kong_test::{Kong, KongGateway, Source, pool};
use testkit::gateway::{FilterSetup, Gateway};
use testkit::{Request, World, workspace};

pub type Test = fn(Source) -> Result<(), String>;

pub const TESTS: [(&str, Test); 4] = [
    (
        "watch::a_worker_that_crashes_is_seen",
        a_worker_that_crashes_is_seen,
    ),
    (
        "watch::a_refused_configuration_is_told_from_a_taken_one",
        a_refused_configuration_is_told_from_a_taken_one,
    ),
    (
        "watch::kong_itself_refuses_what_the_schema_does_not_allow",
        kong_itself_refuses_what_the_schema_does_not_allow,
    ),
    ("watch::labels_are_labels", labels_are_labels),
];

fn filter(name: &str, config: &str) -> FilterSetup {
    FilterSetup {
        name: name.into(),
        config: config.into(),
    }
}

/// A module that lacks callbacks: the one for Envoy.
fn a_worker_that_crashes_is_seen(source: Source) -> Result<(), String> {
    let lean = workspace::artifact("dist", "auth")?;
    let mut gateway = KongGateway::new(source, 1).as_text().module("auth", lean);
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

/// Before any filter sees it, also at the start: where a filter itself refuses, Kong starts all the same, and lets
/// everything pass.
fn kong_itself_refuses_what_the_schema_does_not_allow(source: Source) -> Result<(), String> {
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
    let mistakes = [
        (
            r#"{"rules":[{"publik":true}]}"#,
            "item 1: additional properties forbidden, found publik",
        ),
        (
            r#"{"rules":[{"public":"yes"}]}"#,
            "property public validation failed: wrong type: expected boolean, got string",
        ),
        ("{}", "property rules is required"),
        (
            r#"{"rules":[{"public":true}],"crypto":"fast"}"#,
            "property crypto validation failed: matches none of the enum values",
        ),
        (r#""{}""#, "wrong type: expected object, got string"),
    ];
    let mut kong = pool::take(&source, 1, true)?;
    for (config, reason) in mistakes {
        let document = document(nowhere, &[filter("auth", config)], Form::Object)?;
        match kong.load(&document)? {
            Err(rejected) if rejected.lines.join("\n").contains(reason) => {}
            other => return Err(format!("{config}: {other:?}")),
        }
    }
    pool::give_back(kong)?;
    let modules = BTreeMap::from([(
        "auth".to_owned(),
        workspace::artifact(pool::ARTIFACTS, "auth")?,
    )]);
    let start = |config: &str| {
        let document = document(nowhere, &[filter("auth", config)], Form::Object)?;
        Kong::start_with(&source, 1, &modules, true, Some(&document))
    };
    start(r#"{"rules":[{"public":true}]}"#)?;
    match start(mistakes[0].0) {
        Err(said) if said.contains(mistakes[0].1) => Ok(()),
        Err(said) => Err(format!("it says something else: {said}")),
        Ok(_) => Err("it has started".into()),
    }
}

/// With the same names and values as in Envoy's `stats_tags`.
fn labels_are_labels(source: Source) -> Result<(), String> {
    let mut gateway = KongGateway::new(source, 1);
    gateway.open(&World::new())?;
    let filters = [
        filter("edge_headers", "{}"),
        filter(
            "auth",
            r#"{"rules":[{"any_of":[{"jwt":"a"}]}],"providers":{"a":{"issuer":"i","audiences":["b"],"jwks":{"upstream":"127.0.0.1:1","authority":"a"}}}}"#,
        ),
    ];
    gateway
        .configure(&filters)?
        .map_err(|refused| refused.lines.join("\n"))?;
    gateway.send(vec![Request::get("/")])?;
    let shown = gateway.kong()?.prometheus()?;
    for line in [
        r#"pw_edge_headers_portcullis_requests{filter="edge_headers",outcome="allowed",code="ok"}"#,
        r#"pw_auth_portcullis_requests{filter="auth",outcome="denied",code="credentials_missing"}"#,
    ] {
        if !shown.contains(line) {
            return Err(format!("{line} is not in\n{shown}"));
        }
    }
    // The keys cannot be had.
    gateway.stop(&["JWKS".into()])
}
