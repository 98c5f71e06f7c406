//! `drift`, and what `config build` made, against a real Kong: `KONG_BIN`, or Docker with kong:3.9. Skipped, and counted
//! as skipped, where there is none.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use kong_test::source::Missing;
use kong_test::{Kong, Source};
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::{Value, json};
use testkit::http_client::Connection;
use testkit::{Request, workspace};

/// Never to be found in an output.
const SECRET: &str = "s3cr3t-4711-canary";
const MODULES: [&str; 6] = [
    "auth",
    "edge_headers",
    "fingerprint_deny",
    "quota",
    "rate_limit",
    "tarpit",
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let source = Source::find();
    let with = source.clone();
    let mut trials = vec![Trial::test(
        "cli::kong_drifts_from_its_file_and_back",
        move || {
            let source = with.map_err(|(Missing::Absent(why) | Missing::Wrong(why))| why);
            drifts(&source.map_err(Failed::from)?);
            Ok(())
        },
    )];
    if let Err(Missing::Absent(why)) = &source {
        eprintln!(
            "\n**** THERE IS NO KONG: {} TESTS OF THE COMMAND ARE SKIPPED ****\n{why}\n",
            trials.len()
        );
        trials = trials
            .into_iter()
            .map(|it| it.with_ignored_flag(true))
            .collect();
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

struct Run {
    code: i32,
    stdout: String,
    stderr: String,
}

fn drift(kong: &Kong, file: &std::path::Path, more: &[&str]) -> Run {
    let output = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args([
            "drift",
            "--name",
            "kong-1",
            "--admin",
            &format!("http://{}", kong.admin()),
        ])
        .arg("--kong")
        .arg(file)
        .args(more)
        .output()
        .unwrap();
    Run {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn paths(run: &Run) -> Vec<String> {
    let report: Value = serde_json::from_str(&run.stdout)
        .unwrap_or_else(|e| panic!("{e}: {} {}", run.stdout, run.stderr));
    let all = report["differences"].as_array().unwrap();
    all.iter()
        .map(|it| it["path"].as_str().unwrap().to_owned())
        .collect()
}

fn drifts(source: &Source) {
    let modules: BTreeMap<String, PathBuf> = MODULES
        .iter()
        .map(|name| {
            (
                (*name).to_owned(),
                workspace::root().join(format!("dist/kong/{name}.wasm")),
            )
        })
        .collect();
    let mut kong = Kong::start(source, 1, &modules, true).unwrap();
    let file = workspace::root().join("ops/config/kong.yml");
    let text = std::fs::read_to_string(&file).unwrap();
    let shipped: Value = serde_saphyr::from_str(&text).unwrap();

    // What was built is taken, routes, and is what runs.
    kong.load(&shipped)
        .unwrap()
        .unwrap_or_else(|it| panic!("{}", it.lines.join("\n")));
    let run = drift(&kong, &file, &[]);
    assert_eq!(run.code, 0, "{}{}", run.stdout, run.stderr);
    let status = |method: &str, path: &str| {
        let mut connection = Connection::open(kong.proxy(), None).unwrap();
        connection
            .exchange(&Request::new(method, path))
            .unwrap()
            .status
    };
    for (method, path, expected) in [
        ("GET", "/v1/ordersX", 404),
        ("DELETE", "/v1/orders", 404),
        ("GET", "/nothing", 404),
    ] {
        assert_eq!(status(method, path), expected, "{method} {path}");
    }
    // Its lists are nowhere, so it refuses; but it has a route.
    assert_ne!(status("GET", "/v1/orders/7"), 404);

    // In other words: references and nesting as decK writes them, what is a default, another order.
    let mut other = shipped.clone();
    let services = other["services"].as_array_mut().unwrap();
    services.reverse();
    for service in services.iter_mut() {
        service["enabled"] = true.into();
        service["protocol"] = if service["url"].as_str().unwrap().starts_with("https") {
            "https"
        } else {
            "http"
        }
        .into();
        for route in service["routes"].as_array_mut().unwrap() {
            route["protocols"] = json!(["https", "http"]);
            route["tags"].as_array_mut().unwrap().reverse();
        }
    }
    let orders = services
        .iter_mut()
        .find(|it| it["name"] == "orders")
        .unwrap();
    let mut routes = orders.as_object_mut().unwrap().remove("routes").unwrap();
    for route in routes.as_array_mut().unwrap() {
        route["service"] = json!({ "name": "orders" });
    }
    other["routes"] = routes;
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, document: &Value| {
        let path = folder.path().join(name);
        std::fs::write(&path, document.to_string()).unwrap();
        path
    };
    let run = drift(&kong, &write("other.json", &other), &["--format", "json"]);
    assert_eq!(
        (run.code, paths(&run)),
        (0, Vec::new()),
        "{}{}",
        run.stdout,
        run.stderr
    );

    // Somebody has posted another configuration.
    let mut changed = shipped.clone();
    changed["consumers"] =
        json!([{ "username": "someone", "keyauth_credentials": [{ "key": SECRET }] }]);
    let services = changed["services"].as_array_mut().unwrap();
    services.retain(|it| it["name"] != "payments");
    let orders = services
        .iter_mut()
        .find(|it| it["name"] == "orders")
        .unwrap();
    orders["read_timeout"] = 60_000.into();
    orders["routes"]
        .as_array_mut()
        .unwrap()
        .push(json!({ "name": "rt-orders-v1-door", "paths": ["/door"] }));
    orders["routes"][0]["methods"] = json!(["GET"]);
    let chain = &mut orders["filter_chains"][0];
    let filters = chain["filters"].as_array_mut().unwrap();
    filters.swap(1, 2);
    let auth = filters.iter_mut().find(|it| it["name"] == "auth").unwrap();
    auth["config"]["failures"]["limit"] = 2000.into();
    changed["plugins"]
        .as_array_mut()
        .unwrap()
        .push(json!({ "name": "cors", "config": { "origins": ["*"] } }));
    kong.load(&changed)
        .unwrap()
        .unwrap_or_else(|it| panic!("{}", it.lines.join("\n")));
    let metrics = folder.path().join("drift.prom");
    let run = drift(
        &kong,
        &file,
        &[
            "--format",
            "json",
            "--metrics-file",
            metrics.to_str().unwrap(),
        ],
    );
    assert_eq!(run.code, 1);
    let found = paths(&run);
    for expected in [
        "consumers someone",
        "keyauth_credentials of someone",
        "services payments",
        "routes rt-payments-v1-api",
        "filter_chains fc-payments",
        "services orders: read_timeout",
        "routes rt-orders-v1-door",
        "routes rt-orders-v1-admin: methods",
        "filter_chains fc-orders: filters.(order)",
        "filter_chains fc-orders: filters[auth].config.failures.limit",
        "plugins cors",
    ] {
        assert!(
            found.iter().any(|path| path == expected),
            "{expected}: {found:#?}"
        );
    }
    assert_eq!(found.len(), 11, "{found:#?}");
    let text = drift(&kong, &file, &[]).stdout;
    for output in [&run.stdout, &text] {
        assert!(!output.contains(SECRET), "{output}");
        assert!(output.contains("(hidden)"), "{output}");
    }
    assert!(
        text.contains("- in Git:  10000") && text.contains("+ running: 60000"),
        "{text}"
    );
    let gauge = std::fs::read_to_string(&metrics).unwrap();
    assert!(
        gauge.contains("portcullis_config_drift{gateway=\"kong-1\"} 1\n"),
        "{gauge}"
    );

    // And back; what is no declarative configuration cannot be compared.
    kong.load(&shipped).unwrap().unwrap();
    assert_eq!(drift(&kong, &file, &[]).code, 0);
    let run = drift(&kong, &write("none.json", &json!({ "a": 1 })), &[]);
    assert_eq!(run.code, 2);
    assert!(run.stderr.contains("_format_version"), "{}", run.stderr);
}
