//! The binary itself, over HTTP.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use reqwest::{Client, Response, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::ports::free_port;
use wire::{
    limits::{AcquireReply, AcquireRequest, Failure, GiveBack, KeyReply, KeyRequest, Limit},
    load::{LoadReply, LoadReport, UpstreamLoad},
    tiers::TierTable,
};

use crate::redis_server::{Options, RedisServer, eventually};

pub struct Service {
    pub child: Child,
    pub port: u16,
    pub dir: TempDir,
    pub client: Client,
    pub log: Arc<Mutex<String>>,
}

impl Service {
    pub async fn start(config: &str) -> Self {
        Self::start_with(config, &[]).await
    }

    pub async fn start_with(config: &str, env: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let config = config.replace("$DIR", &dir.path().display().to_string());
        std::fs::write(dir.path().join("config.toml"), config).unwrap();
        let log = Arc::default();
        let child = spawn(dir.path(), port, env, &log);
        let client = Client::builder()
            .timeout(Duration::from_secs(30))
            .build()
            .unwrap();
        let service = Self {
            child,
            port,
            dir,
            client,
            log,
        };
        service.wait().await;
        service
    }

    pub async fn wait(&self) {
        eventually("redis-proxy serves", PATIENCE, async || {
            self.get("/healthz").await.is_ok()
        })
        .await;
    }

    pub async fn restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = spawn(self.dir.path(), self.port, &[], &self.log);
        self.wait().await;
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub async fn get(&self, path: &str) -> reqwest::Result<Response> {
        self.client.get(self.url(path)).send().await
    }

    pub async fn post(&self, path: &str, body: &impl serde::Serialize) -> Response {
        self.client
            .post(self.url(path))
            .json(body)
            .send()
            .await
            .unwrap()
    }

    async fn acquire(&self, keys: Vec<KeyRequest>) -> Result<Vec<KeyReply>, Response> {
        let response = self
            .post("/v1/limits/acquire", &AcquireRequest { keys })
            .await;
        if response.status() != StatusCode::OK {
            return Err(response);
        }
        Ok(response.json::<AcquireReply>().await.unwrap().keys)
    }

    pub async fn metrics(&self) -> String {
        self.get("/metrics").await.unwrap().text().await.unwrap()
    }

    /// The log once it holds this. A line is written before or after what it tells of and read by a
    /// thread of its own: who only looks may come too early.
    pub async fn log_with(&self, part: &str) -> String {
        eventually(&format!("{part:?} in the log"), PATIENCE, async || {
            self.log.lock().unwrap().contains(part)
        })
        .await;
        self.log.lock().unwrap().clone()
    }

    async fn tiers(&self) -> TierTable {
        self.get("/v1/tiers").await.unwrap().json().await.unwrap()
    }

    pub fn exit(&mut self, within: Duration) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(started.elapsed() < within, "still runs after {within:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn binary() -> Command {
    Command::new(env!("CARGO_BIN_EXE_redis-proxy"))
}

fn spawn(dir: &Path, port: u16, env: &[(&str, &str)], log: &Arc<Mutex<String>>) -> Child {
    let mut child = binary()
        .arg("--config")
        .arg(dir.join("config.toml"))
        .args(["--listen", &format!("127.0.0.1:{port}")])
        .envs(env.iter().copied())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let log = Arc::clone(log);
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let mut log = log.lock().unwrap();
            log.push_str(&line);
            log.push('\n');
        }
    });
    child
}

fn key(dim: &str, value: &str, limit: Limit, want: u64) -> KeyRequest {
    KeyRequest {
        dim: dim.into(),
        value: value.into(),
        limit,
        want,
        give_back: None,
    }
}

const LOGIN: Limit = Limit::window(5, 60_000);
/// A busy machine is slow, and does not hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// Status and code of a problem; checks the rest of it.
async fn problem(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    assert_eq!(
        response.headers()["content-type"],
        "application/problem+json"
    );
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["status"], status);
    assert_eq!(body["type"], "about:blank");
    assert!(
        body["title"].is_string() && body["detail"].is_string(),
        "{body}"
    );
    (status, body["code"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn the_sixth_login_in_a_minute_is_refused_and_others_are_not() {
    let service = Service::start("").await;
    for left in (0..5).rev() {
        let replies = service
            .acquire(vec![key("ip", "1.2.3.4", LOGIN, 1)])
            .await
            .unwrap();
        assert_eq!(
            (replies[0].granted, replies[0].remaining, replies[0].limit),
            (1, left, 5)
        );
    }
    let batch = vec![
        key("ip", "1.2.3.4", LOGIN, 1),
        key("ip", "1.2.3.5", LOGIN, 1),
        key("account", "1.2.3.4", LOGIN, 1),
    ];
    let replies = service.acquire(batch).await.unwrap();
    assert_eq!(
        replies
            .iter()
            .map(|reply| reply.granted)
            .collect::<Vec<_>>(),
        [0, 1, 1]
    );
    assert!(
        (30_000..=60_200).contains(&replies[0].retry_after_ms),
        "{:?}",
        replies[0]
    );

    let back = KeyRequest {
        give_back: Some(GiveBack {
            tokens: 1,
            age_ms: 300,
        }),
        ..key("ip", "1.2.3.5", LOGIN, 5)
    };
    assert_eq!(service.acquire(vec![back]).await.unwrap()[0].granted, 5);
    let metrics = service.metrics().await;
    for line in [
        r#"redis_proxy_acquire_keys_total{dimension="ip",outcome="refused"} 1"#,
        r#"redis_proxy_granted_tokens_total{dimension="ip"} 11"#,
        r#"redis_proxy_given_back_tokens_total{dimension="ip"} 1"#,
        "redis_proxy_embedded_keys 3",
        "redis_proxy_store_ready 1",
        "redis_proxy_acquire_seconds_count 7",
        "# EOF",
    ] {
        assert!(metrics.contains(line), "{line} in\n{metrics}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_said_as_problem_json() {
    let service = Service::start("max_body_bytes = 20000").await;
    let path = "/v1/limits/acquire";
    let limit = json!({"tokens": 5, "period_ms": 1000, "shape": {"kind": "window"}});
    let one = |field: &str, value: Value| {
        let mut key = json!({"dim": "ip", "value": "a", "limit": limit, "want": 1});
        key[field] = value;
        json!({"keys": [key]})
    };
    for (body, expected) in [
        (json!({}), (400, "bad_body")),
        (json!({"keys": []}), (400, "bad_batch")),
        (
            json!({"keys": vec![one("want", json!(1))["keys"][0].clone(); 65]}),
            (400, "bad_batch"),
        ),
        (one("want", json!(-1)), (400, "bad_body")),
        (one("want", json!(u64::MAX)), (400, "bad_key")),
        (one("dim", json!("Ip")), (400, "bad_key")),
        (one("value", json!("")), (400, "bad_key")),
        (one("extra", json!(1)), (400, "bad_body")),
        (
            one(
                "limit",
                json!({"tokens": 0, "period_ms": 1, "shape": {"kind": "window"}}),
            ),
            (400, "bad_key"),
        ),
        (
            json!({"keys": [], "padding": "x".repeat(20_000)}),
            (413, "body_too_large"),
        ),
    ] {
        let got = problem(service.post(path, &body).await).await;
        assert_eq!((got.0, got.1.as_str()), expected, "{body}");
    }
    let raw = |kind: &'static str, body: &'static str| {
        service
            .client
            .post(service.url(path))
            .header("content-type", kind)
            .body(body)
            .send()
    };
    let got = problem(raw("text/plain", "{}").await.unwrap()).await;
    assert_eq!(got, (415, "not_json".into()));
    let got = problem(raw("application/json", "{\"keys\":").await.unwrap()).await;
    assert_eq!(got, (400, "bad_body".into()));
    assert_eq!(
        problem(service.get("/nope").await.unwrap()).await,
        (404, "not_found".into())
    );
    let got = problem(service.get(path).await.unwrap()).await;
    assert_eq!(got, (405, "method_not_allowed".into()));
    let many: Vec<_> = (0..257).map(|i| json!({"upstream": format!("u{i}"), "requests": 0, "failures": 0, "latency_ms_sum": 0})).collect();
    let got = problem(service.post("/v1/load", &json!({"upstreams": many})).await).await;
    assert_eq!(got, (400, "bad_report".into()));
    let nameless =
        json!({"upstreams": [{"upstream": "", "requests": 0, "failures": 0, "latency_ms_sum": 0}]});
    let got = problem(service.post("/v1/load", &nameless).await).await;
    assert_eq!(got, (400, "bad_report".into()));
}

#[tokio::test]
async fn the_openapi_document_names_every_path_and_refers_to_nothing_missing() {
    let service = Service::start("").await;
    let document: Value = service
        .get("/openapi.json")
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let mut paths: Vec<_> = document["paths"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    paths.sort();
    let expected = [
        "/healthz",
        "/metrics",
        "/readyz",
        "/v1/limits/acquire",
        "/v1/lists/{list}",
        "/v1/load",
        "/v1/quota/lookup",
        "/v1/samples",
        "/v1/sleep",
        "/v1/tiers",
        "/v1/upstream-failures",
    ];
    assert_eq!(paths, expected);
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let text = document.to_string();
    for reference in text.split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(schemas.contains_key(name), "{name}");
    }
    for name in [
        "AcquireRequest",
        "AcquireReply",
        "Limit",
        "Problem",
        "TierTable",
        "LoadReply",
    ] {
        assert!(schemas.contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn tiers_change_with_the_file_and_a_bad_file_changes_nothing() {
    let service = Service::start("[tiers.tenants]\nacme = 'p3'").await;
    let table = service.tiers().await;
    assert_eq!(
        table.limit("acme", "tenant"),
        Some(Limit::without_burst(1_000, 1_000))
    );
    assert_eq!(
        table.limit("other", "tenant"),
        Some(Limit::paced(1_000, 1_000))
    );
    let tag = format!("\"{}\"", table.revision);
    let again = service
        .client
        .get(service.url("/v1/tiers"))
        .header("if-none-match", &tag)
        .send()
        .await;
    assert_eq!(again.unwrap().status(), StatusCode::NOT_MODIFIED);

    let file = service.dir.path().join("config.toml");
    std::fs::write(&file, "[tiers.tenants]\nacme = 'lost'\n").unwrap();
    service.signal(Signal::HUP);
    eventually("the refusal is counted", PATIENCE, async || {
        service
            .metrics()
            .await
            .contains("redis_proxy_tier_reload_failures_total 1")
    })
    .await;
    assert_eq!(service.tiers().await, table, "the old table stays");
    service.log_with("tiers.tenants.acme").await;

    std::fs::write(&file, "[tiers.table.standard.limits.tenant]\ntokens = 7\n").unwrap();
    eventually(
        "the new table is served, without a signal",
        PATIENCE,
        async || service.tiers().await.limit("acme", "tenant") == Some(Limit::paced(7, 1_000)),
    )
    .await;
}

#[tokio::test]
async fn a_failing_upstream_shrinks_the_lowest_tier_first_and_recovers() {
    let service =
        Service::start("[adaptive]\nenabled = true\ninterval_ms = 100\nincrease_permille = 200")
            .await;
    let report = |failures| LoadReport {
        upstreams: vec![UpstreamLoad {
            upstream: "api".into(),
            requests: 100,
            failures,
            latency_ms_sum: 100,
        }],
    };
    let send = async |failures| -> LoadReply {
        service
            .post("/v1/load", &report(failures))
            .await
            .json()
            .await
            .unwrap()
    };
    let factor =
        |reply: &LoadReply, tier| reply.factors.first().map_or(1_000, |f| f.permille(tier));
    let mut lowest_alone = false;
    eventually("both tiers are at the floor", PATIENCE, async || {
        let reply = send(50).await;
        lowest_alone |= factor(&reply, "p3") < 1_000 && factor(&reply, "standard") == 1_000;
        (factor(&reply, "p3"), factor(&reply, "standard")) == (100, 100)
    })
    .await;
    assert!(lowest_alone);
    let shown = r#"redis_proxy_adaptive_factor{upstream="api",tier="p3"} 0.1"#;
    let told = "also those who report nothing are told, and operators";
    eventually(told, PATIENCE, async || {
        // Without reports it grows again.
        send(50).await;
        let tiers = service.tiers().await;
        let factor = tiers.factors.first().map(|of| of.permille("p3"));
        factor == Some(100) && service.metrics().await.contains(shown)
    })
    .await;
    eventually("full rate again", PATIENCE, async || {
        send(0).await.factors.is_empty()
    })
    .await;
}

#[tokio::test]
async fn without_adaptive_reports_change_nothing() {
    let service = Service::start("").await;
    let load = UpstreamLoad {
        upstream: "api".into(),
        requests: 9,
        failures: 9,
        latency_ms_sum: 9,
    };
    let report = LoadReport {
        upstreams: vec![load],
    };
    let reply: LoadReply = service
        .post("/v1/load", &report)
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(reply, LoadReply::default());
}

#[tokio::test]
async fn a_windowed_limit_on_disk_survives_kill_9() {
    let mut service =
        Service::start("budget_ms = 10000\n[embedded]\npath = '$DIR/store.redb'").await;
    let minute = Limit::window(1_000, 300_000);
    assert_eq!(
        service
            .acquire(vec![key("ip", "a", LOGIN, 3)])
            .await
            .unwrap()[0]
            .granted,
        3
    );
    let mut acknowledged = 0;
    for _ in 0..20 {
        acknowledged += service
            .acquire(vec![key("ip", "b", minute, 7)])
            .await
            .unwrap()[0]
            .granted;
    }
    service.restart().await;
    assert_eq!(
        service
            .acquire(vec![key("ip", "a", LOGIN, 9)])
            .await
            .unwrap()[0]
            .granted,
        2
    );
    let left = service
        .acquire(vec![key("ip", "b", minute, 10_000)])
        .await
        .unwrap()[0]
        .granted;
    assert_eq!(acknowledged + left, 1_000);
    // the file is held by one process
    let second = binary()
        .arg("--config")
        .arg(service.dir.path().join("config.toml"))
        .args(["--listen", "127.0.0.1:0"])
        .output()
        .unwrap();
    assert!(!second.status.success());
}

#[tokio::test]
async fn with_redis_a_killed_and_restarted_proxy_goes_on_where_it_was() {
    let server = RedisServer::start(
        Options {
            password: true,
            ..Options::default()
        },
        None,
    );
    let config = format!(
        "store = 'redis'\nbudget_ms = 500\n[redis]\naddresses = ['127.0.0.1:{}']\npassword_file = '$DIR/secret'",
        server.port
    );
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, crate::redis_server::PASSWORD).unwrap();
    let config = config.replace("$DIR/secret", &secret.display().to_string());
    let mut service = Service::start(&config).await;
    let ready = async |service: &Service| {
        eventually("ready", PATIENCE, async || {
            service.get("/readyz").await.unwrap().status() == StatusCode::OK
        })
        .await;
    };
    ready(&service).await;
    assert_eq!(
        service
            .acquire(vec![key("ip", "a", LOGIN, 3)])
            .await
            .unwrap()[0]
            .granted,
        3
    );
    service.restart().await;
    ready(&service).await;
    assert_eq!(
        service
            .acquire(vec![key("ip", "a", LOGIN, 9)])
            .await
            .unwrap()[0]
            .granted,
        2
    );

    server.freeze();
    let (mut took, mut codes) = (Vec::new(), std::collections::BTreeSet::new());
    for _ in 0..20 {
        let started = Instant::now();
        let refusal = service
            .acquire(vec![key("ip", "a", LOGIN, 1)])
            .await
            .unwrap_err();
        took.push(started.elapsed());
        assert_eq!(refusal.headers()["retry-after"], "1");
        codes.insert(problem(refusal).await);
    }
    let expected = [Failure::StoreOpen, Failure::StoreTimeout].map(|f| (503, f.code().to_owned()));
    assert_eq!(codes.into_iter().collect::<Vec<_>>(), expected);
    took.sort();
    // Of those that a busy machine kept waiting only that they did not hang.
    let (usual, slowest) = (took[took.len() / 2], took[took.len() - 1]);
    assert!(usual < Duration::from_millis(250), "{took:?}");
    assert!(slowest < Duration::from_secs(10), "{took:?}");
    let got = problem(service.get("/readyz").await.unwrap()).await;
    assert_eq!(got, (503, "store_open".into()));
    assert_eq!(
        service.get("/healthz").await.unwrap().status(),
        StatusCode::OK
    );
    server.thaw();
    ready(&service).await;
    let log = service.log_with("breaker opens").await;
    assert!(!log.contains(crate::redis_server::PASSWORD), "{log}");
}

#[tokio::test]
async fn a_secret_from_the_environment_is_used_and_never_logged() {
    let server = RedisServer::start(
        Options {
            password: true,
            ..Options::default()
        },
        None,
    );
    let config = format!(
        "store = 'redis'\nlog = 'trace'\n[redis]\naddresses = ['127.0.0.1:{}']",
        server.port
    );
    let secret = [("REDIS_PROXY_REDIS__PASSWORD", crate::redis_server::PASSWORD)];
    let service = Service::start_with(&config, &secret).await;
    eventually("ready", PATIENCE, async || {
        service.get("/readyz").await.unwrap().status() == StatusCode::OK
    })
    .await;
    let log = service.log_with("serving").await;
    assert!(!log.contains(crate::redis_server::PASSWORD), "{log}");
}

/// A request of which only a part has been sent, and which the service has begun to read.
fn half_a_request(port: u16) -> (TcpStream, String) {
    let body = serde_json::to_string(&AcquireRequest {
        keys: vec![key("ip", "a", LOGIN, 1)],
    });
    let body = body.unwrap();
    let (first, rest) = body.split_at(10);
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let head = format!(
        "POST /v1/limits/acquire HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         expect: 100-continue\r\ncontent-length: {}\r\n\r\n{first}",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut said = [0; 25];
    stream.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"HTTP/1.1 100 Continue\r\n\r\n");
    (stream, rest.to_owned())
}

#[tokio::test]
async fn sigterm_lets_open_requests_end_and_takes_no_new_ones() {
    let patient = "request_timeout_ms = 30000\ndrain_ms = 30000";
    let mut service = Service::start(patient).await;
    let (mut stream, rest) = half_a_request(service.port);
    service.signal(Signal::TERM);
    eventually("takes no new ones", PATIENCE, async || {
        TcpStream::connect(("127.0.0.1", service.port)).is_err()
    })
    .await;
    stream.write_all(rest.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("\"granted\":1"),
        "{answer}"
    );
    assert!(service.exit(PATIENCE).success());
}

#[tokio::test]
async fn a_request_that_never_ends_is_ended() {
    let service = Service::start("request_timeout_ms = 300").await;
    let (mut stream, _) = half_a_request(service.port);
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
}

#[tokio::test]
async fn a_request_that_never_ends_does_not_hold_up_the_shutdown() {
    let mut service = Service::start("drain_ms = 300\nrequest_timeout_ms = 60000").await;
    let _stuck = half_a_request(service.port);
    service.signal(Signal::INT);
    assert!(service.exit(PATIENCE).success());
}

/// What the service says to this before it closes the connection, and after how long it did.
fn said_until_closed(port: u16, sent: &str) -> (String, Duration) {
    let started = Instant::now();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(sent.as_bytes()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut said = Vec::new();
    stream.read_to_end(&mut said).expect("closed");
    let said = String::from_utf8_lossy(&said).into_owned();
    (said, started.elapsed())
}

#[tokio::test]
async fn a_connection_that_sends_no_request_is_closed() {
    let service = Service::start("first_head_timeout_ms = 300").await;
    for sent in [
        "",
        "GET /healthz HTTP/1.1\r\nhost: x\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let (_, after) = said_until_closed(service.port, sent);
        // Five seconds is what it waits unless it is told.
        let expected = Duration::from_millis(250)..Duration::from_millis(4_500);
        assert!(expected.contains(&after), "{sent:?}: {after:?}");
    }
}

#[tokio::test]
async fn an_idle_connection_outlives_the_first_head_but_not_the_idle_time() {
    let config = "first_head_timeout_ms = 100\nidle_timeout_ms = 1000";
    let service = Service::start(config).await;
    let request = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    let (said, after) = said_until_closed(service.port, request);
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    let expected = Duration::from_millis(900)..PATIENCE;
    assert!(expected.contains(&after), "{after:?}");
}

#[tokio::test]
async fn connections_above_the_most_wait_for_one_to_end() {
    let config = "max_connections = 2\nfirst_head_timeout_ms = 60000";
    let service = Service::start(config).await;
    // The client of `start` keeps one, and who came first is served first.
    let held = TcpStream::connect(("127.0.0.1", service.port)).unwrap();
    let mut waiting = TcpStream::connect(("127.0.0.1", service.port)).unwrap();
    waiting
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        .unwrap();
    waiting
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let mut answer = [0; 12];
    assert!(waiting.read(&mut answer).is_err(), "served above the most");
    drop(held);
    waiting.set_read_timeout(Some(PATIENCE)).unwrap();
    waiting.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}

#[test]
fn a_bad_configuration_is_refused_with_every_problem() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.toml");
    std::fs::write(&file, "budget_ms = 0\nprefix = '{x}:'\n").unwrap();
    let output = binary()
        .arg("--check")
        .arg("--config")
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("budget_ms: must be") && said.contains("prefix: may hold"),
        "{said}"
    );
    std::fs::write(&file, "budget_ms = 40\n").unwrap();
    let output = binary()
        .arg("--check")
        .arg("--config")
        .arg(&file)
        .output()
        .unwrap();
    assert!(output.status.success());
}
