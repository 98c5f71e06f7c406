//! `ops/envoy/envoy.yaml`, as it stands but for ports and paths, in a real Envoy: what it promises an edge.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;

use envoy_test::artifacts;
use envoy_test::shipped::{Running, Shipped};
use serde_json::Value;
use testkit::World;
use testkit::http_server::Server;

/// Never to be found in a log.
const CANARY: &str = "canary-4711-canary";

struct Edge {
    envoy: Running,
    at: SocketAddr,
    _servers: Vec<Server>,
    _runtime: tokio::runtime::Runtime,
}

/// What curl got.
struct Got {
    /// Whether there was an answer at all.
    answered: bool,
    head: String,
    body: String,
}

impl Edge {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let world = World::new();
        let service = |name: &str| {
            let service = world.service(name).expect("a service");
            Server::service(runtime.handle(), Arc::clone(&service)).unwrap()
        };
        let upstream = Server::upstream(runtime.handle(), world.upstream.clone()).unwrap();
        let (auth, lists) = (service("auth_service"), service("list_service"));
        let mut shipped = Shipped::new("envoy/envoy.yaml");
        shipped.place("orders.internal", 8080, upstream.address());
        shipped.place("auth.internal", 8080, auth.address());
        shipped.place("redis-proxy.internal", 8970, lists.address());
        // Takes whatever it is sent; `limits-test` has one that reads it.
        shipped.place("otel-collector.internal", 4318, upstream.address());
        shipped.listen();
        let envoy = shipped.start_with(&[
            "--concurrency",
            "1",
            "--log-level",
            "info",
            "--component-log-level",
            "wasm:debug",
        ]);
        let edge = Self {
            at: envoy.listener("https"),
            envoy,
            _servers: vec![upstream, auth, lists],
            _runtime: runtime,
        };
        // Its lists and keys are here by then.
        edge.envoy.until("a list", || {
            let health = edge.curl("/health", &[]);
            health.head.starts_with("HTTP/2 200").then_some(())
        });
        edge
    }

    fn curl(&self, path: &str, options: &[&str]) -> Got {
        let output = Command::new("curl")
            .args([
                "--silent",
                "--show-error",
                "--insecure",
                "--include",
                "--max-time",
                "10",
            ])
            .args(options)
            .arg(format!("https://{}{path}", self.at))
            .output()
            .expect("curl runs");
        if !output.status.success() {
            eprintln!("{path}: {}", String::from_utf8_lossy(&output.stderr));
        }
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let (head, body) = said.split_once("\r\n\r\n").unwrap_or((&said, ""));
        Got {
            answered: output.status.success(),
            head: head.to_ascii_lowercase().replace("http/", "HTTP/"),
            body: body.to_owned(),
        }
    }
}

/// Every label that a metric may have is one in Prometheus; the tarpit's longest delay of 30 s fits into what Envoy
/// waits; a filter that trapped is replaced.
#[test]
fn the_shipped_envoy_knows_the_filters() {
    let config = fs::read_to_string(artifacts::workspace().join("ops/envoy/envoy.yaml")).unwrap();
    let mut tags: Vec<String> = policy::metric::LABELS
        .iter()
        .map(|label| format!("- {{ tag_name: {label}, regex: '(\\.{label}=([^.]+))' }}"))
        .collect();
    let lines = config.lines().map(str::trim);
    let mut found: Vec<&str> = lines
        .filter(|line| line.starts_with("- { tag_name"))
        .collect();
    found.sort_unstable();
    tags.sort_unstable();
    assert_eq!(found, tags);
    let (_, idle) = config.split_once("stream_idle_timeout: ").unwrap();
    let idle: u32 = idle.split_once('s').unwrap().0.parse().unwrap();
    assert!(idle > 30, "{idle}");
    for absent in ["request_timeout:", "max_stream_duration:"] {
        assert!(
            !config.contains(absent),
            "{absent} ends what the tarpit holds"
        );
    }
    let filters = config.matches("filters.http.wasm.v3.Wasm").count();
    assert_eq!(
        config.matches("failure_policy: FAIL_RELOAD").count(),
        filters
    );
    assert!(filters >= 5);
}

#[test]
fn the_shipped_envoy_is_an_edge() {
    let edge = Edge::start();

    // TLS 1.2 and later, and nothing earlier.
    for (options, answered) in [
        (
            &[
                "--tlsv1.0",
                "--tls-max",
                "1.1",
                "--ciphers",
                "DEFAULT@SECLEVEL=0",
            ][..],
            false,
        ),
        (&["--tlsv1.2", "--tls-max", "1.2"], true),
        (&["--tlsv1.3"], true),
    ] {
        assert_eq!(
            edge.curl("/health", options).answered,
            answered,
            "{options:?}"
        );
    }

    // Headers, also on what another filter refuses.
    let public = edge.curl(
        "/health",
        &[
            "--header",
            "x-tenant-id: evil",
            "--header",
            "x-forwarded-host: evil",
        ],
    );
    assert!(public.head.starts_with("HTTP/2 200"), "{}", public.head);
    assert!(
        public.body.contains("\"x-gateway-source\""),
        "{}",
        public.body
    );
    assert!(!public.body.contains("evil"), "{}", public.body);
    let refused = edge.curl("/v1/orders", &[]);
    assert!(refused.head.starts_with("HTTP/2 401"), "{}", refused.head);
    for got in [&public, &refused] {
        assert!(
            got.head.contains(
                "strict-transport-security: max-age=31536000; includesubdomains; preload"
            ),
            "{}",
            got.head
        );
        assert!(got.head.contains("x-request-id: "), "{}", got.head);
        assert!(!got.head.contains("\r\nserver: "), "{}", got.head);
    }

    // What is refused before any filter, or by one of them.
    for (path, options, status) in [
        (
            "/health",
            &["--http1.1", "--header", "x_tenant_id: a"][..],
            "400",
        ),
        ("/v1/%2fadmin", &[], "400"),
        ("/v1/admin/x", &[], "400"),
        (
            "/v1/auth/login",
            &["--http1.1", "--user-agent", "sqlmap/1.7", "--data", "{}"],
            "403",
        ),
    ] {
        let got = edge.curl(path, options);
        let got_status = got.head.split_whitespace().nth(1);
        assert_eq!(got_status, Some(status), "{path}: {}", got.head);
    }

    // Credentials and bodies reach no log, but whether there was one does.
    let bearer = format!("authorization: Bearer {CANARY}");
    let key = format!("x-api-key: {CANARY}");
    let cookie = format!("cookie: session={CANARY}");
    let data = format!("{{\"password\":\"{CANARY}\"}}");
    let query = format!("/v1/orders?token={CANARY}");
    // Answered before its body is read; over HTTP/2 this curl takes the reset that follows for a failure.
    let headers = [
        "--http1.1",
        "--header",
        &bearer,
        "--header",
        &key,
        "--header",
        &cookie,
        "--data",
        &data,
    ];
    assert!(edge.curl(&query, &headers).head.starts_with("HTTP/1.1 401"));
    let line = edge.envoy.until("an access log", || {
        let log = edge.envoy.access_log();
        let mut lines = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.find(|line| line["has_api_key"] == "true")
    });
    for (field, expected) in [
        ("has_authorization", "true"),
        ("has_cookie", "true"),
        ("method", "POST"),
        ("path", "/v1/orders"),
        ("route", "rt-orders-v1-public"),
    ] {
        assert_eq!(line[field], expected, "{field}: {line}");
    }
    assert_eq!(line["status"], 401);
    assert!(
        line["ja4"]
            .as_str()
            .is_some_and(|ja4| ja4.starts_with("t13")),
        "{line}"
    );
    for line in edge.envoy.access_log().lines() {
        let read = serde_json::from_str::<Value>(line);
        assert!(read.is_ok_and(|line| line.is_object()), "{line}");
    }
    let log = edge.envoy.log();
    for (name, text) in [
        ("access.log", edge.envoy.access_log()),
        ("envoy.log", log.clone()),
    ] {
        assert!(!text.contains(CANARY), "{name} has a credential");
        assert!(!text.is_empty(), "{name} is empty");
    }
    // Labels in the names of our metrics are labels in Prometheus.
    let stats = edge.envoy.ask("/stats/prometheus").unwrap();
    let mut ours = stats.lines().filter(|line| line.contains("portcullis_"));
    assert!(
        ours.any(|line| line.contains("outcome=\"denied\"") && line.contains("filter=\"auth\"")),
        "{stats}"
    );
    assert!(!stats.contains("_outcome_denied"), "{stats}");
    let errors: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("][error]") || line.contains("][critical]"))
        .collect();
    assert!(errors.is_empty(), "{errors:?}");
}
