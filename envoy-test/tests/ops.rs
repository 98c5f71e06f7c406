//! `ops/envoy/envoy.yaml`, as it stands but for ports and paths, in a real Envoy: what it promises an edge.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use envoy_test::artifacts;
use serde_json::Value;
use testkit::http_server::Server;
use testkit::{Exchange, Request, World};

/// Never to be found in a log.
const CANARY: &str = "canary-4711-canary";
const STARTS_WITHIN: Duration = Duration::from_secs(60);

struct Shipped {
    child: Child,
    folder: tempfile::TempDir,
    port: u16,
    _servers: Vec<Server>,
    _runtime: tokio::runtime::Runtime,
}

impl Drop for Shipped {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What curl got.
struct Got {
    /// Whether there was an answer at all.
    answered: bool,
    head: String,
    body: String,
}

impl Shipped {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["gateway.test".to_owned()]).unwrap();
        fs::write(folder.path().join("tls.crt"), made.cert.pem()).unwrap();
        fs::write(
            folder.path().join("tls.key"),
            made.signing_key.serialize_pem(),
        )
        .unwrap();
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
        let mut config =
            fs::read_to_string(artifacts::workspace().join("ops/envoy/envoy.yaml")).unwrap();
        let mut put = |from: &str, to: &str| {
            assert!(config.contains(from), "envoy.yaml has no {from}");
            config = config.replace(from, to);
        };
        let place = |name: &str, port: u16, at: SocketAddr| {
            (
                format!("address: {name}, port_value: {port}"),
                format!("address: {}, port_value: {}", at.ip(), at.port()),
            )
        };
        for (from, to) in [
            place("orders.internal", 8080, upstream.address()),
            place("auth.internal", 8080, auth.address()),
            place("redis-proxy.internal", 8970, lists.address()),
            // Takes whatever it is sent; `limits-test` has one that reads it.
            place("otel-collector.internal", 4318, upstream.address()),
        ] {
            put(&from, &to);
        }
        put(
            "address: 0.0.0.0, port_value: 8443",
            "address: 127.0.0.1, port_value: 0",
        );
        put(
            "address: 127.0.0.1, port_value: 9901",
            "address: 127.0.0.1, port_value: 0",
        );
        put("/etc/envoy/tls", &folder.path().display().to_string());
        put(
            "/etc/portcullis",
            &artifacts::workspace().join("dist").display().to_string(),
        );
        let path = folder.path().join("envoy.yaml");
        fs::write(&path, config).unwrap();
        let file = |name: &str| File::create(folder.path().join(name)).unwrap();
        let child = Command::new(artifacts::envoy().unwrap())
            .arg("--config-path")
            .arg(&path)
            .arg("--admin-address-path")
            .arg(folder.path().join("admin"))
            .args(["--concurrency", "1", "--disable-hot-restart"])
            .args(["--log-level", "info", "--component-log-level", "wasm:debug"])
            .stdin(Stdio::null())
            .stdout(file("access.log"))
            .stderr(file("envoy.log"))
            .spawn()
            .unwrap();
        let mut shipped = Self {
            child,
            folder,
            port: 0,
            _servers: vec![upstream, auth, lists],
            _runtime: runtime,
        };
        shipped.port = shipped.await_listener();
        // Its lists and keys are here by then.
        shipped.until("a list", |it| {
            it.curl("/health", &[]).head.starts_with("HTTP/2 200")
        });
        shipped
    }

    fn await_listener(&mut self) -> u16 {
        let at = self.folder.path().join("admin");
        let mut found = 0;
        self.until("its listener", |_| {
            let port = || {
                let answer = admin(&at, "/listeners?format=json")?;
                let all: Value = serde_json::from_slice(&answer.body).ok()?;
                let socket = &all["listener_statuses"][0]["local_address"]["socket_address"];
                u16::try_from(socket["port_value"].as_u64()?).ok()
            };
            found = port().unwrap_or_default();
            found != 0
        });
        found
    }

    fn admin(&self, path: &str) -> Option<Exchange> {
        admin(&self.folder.path().join("admin"), path)
    }

    fn until(&self, what: &str, mut fits: impl FnMut(&Self) -> bool) {
        let began = Instant::now();
        while !fits(self) {
            assert!(
                began.elapsed() < STARTS_WITHIN,
                "Envoy shows no sign of {what}:\n{}",
                self.read("envoy.log")
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn read(&self, name: &str) -> String {
        let path: PathBuf = self.folder.path().join(name);
        String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
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
            .arg(format!("https://127.0.0.1:{}{path}", self.port))
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

/// What Envoy's admin port answers; where that is stands in this file.
fn admin(at: &Path, path: &str) -> Option<Exchange> {
    let at: SocketAddr = fs::read_to_string(at).ok()?.trim().parse().ok()?;
    let mut connection = testkit::http_client::Connection::open(at, None).ok()?;
    connection.exchange(&Request::get(path)).ok()
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
    let envoy = Shipped::start();

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
            envoy.curl("/health", options).answered,
            answered,
            "{options:?}"
        );
    }

    // Headers, also on what another filter refuses.
    let public = envoy.curl(
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
    let refused = envoy.curl("/v1/orders", &[]);
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
        let got = envoy.curl(path, options);
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
    assert!(
        envoy
            .curl(&query, &headers)
            .head
            .starts_with("HTTP/1.1 401")
    );
    let mut line = Value::Null;
    envoy.until("an access log", |it| {
        let log = it.read("access.log");
        let mut lines = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        line = lines
            .find(|line| line["has_api_key"] == "true")
            .unwrap_or_default();
        !line.is_null()
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
    for line in envoy.read("access.log").lines() {
        let read = serde_json::from_str::<Value>(line);
        assert!(read.is_ok_and(|line| line.is_object()), "{line}");
    }
    for log in ["access.log", "envoy.log"] {
        let text = envoy.read(log);
        assert!(!text.contains(CANARY), "{log} has a credential");
        assert!(!text.is_empty(), "{log} is empty");
    }
    // Labels in the names of our metrics are labels in Prometheus.
    let stats = envoy.admin("/stats/prometheus").unwrap();
    let stats = String::from_utf8_lossy(&stats.body).into_owned();
    let mut ours = stats.lines().filter(|line| line.contains("portcullis_"));
    assert!(
        ours.any(|line| line.contains("outcome=\"denied\"") && line.contains("filter=\"auth\"")),
        "{stats}"
    );
    assert!(!stats.contains("_outcome_denied"), "{stats}");
    let log = envoy.read("envoy.log");
    let errors: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("][error]") || line.contains("][critical]"))
        .collect();
    assert!(errors.is_empty(), "{errors:?}");
}
