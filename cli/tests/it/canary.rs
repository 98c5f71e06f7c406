//! `portcullis canary` with a real Envoy, a real Prometheus that scrapes it, and upstreams that are good or bad.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use envoy_test::shipped::{Running, Shipped};
use serde_json::Value;
use testkit::http_client::Connection;
use testkit::http_server::Server;
use testkit::ports::free_port;
use testkit::upstream::Upstream;
use testkit::{Request, workspace};

const WITHIN: Duration = Duration::from_secs(60);

/// Killed with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A closed loop of clients.
struct Load {
    ends: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    lost: Arc<AtomicU64>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(gateway: SocketAddr) -> Self {
        let (ends, answered, lost) = (Arc::default(), Arc::default(), Arc::default());
        let client = || {
            let (ends, answered, lost): (Arc<AtomicBool>, Arc<AtomicU64>, Arc<AtomicU64>) =
                (Arc::clone(&ends), Arc::clone(&answered), Arc::clone(&lost));
            std::thread::spawn(move || {
                let mut connection = Connection::open(gateway, None).unwrap();
                while !ends.load(Ordering::Relaxed) {
                    let end = match connection.exchange(&Request::get("/")) {
                        Ok(_) => &answered,
                        Err(_) => {
                            connection = Connection::open(gateway, None).unwrap();
                            &lost
                        }
                    };
                    end.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(10));
                }
            })
        };
        let clients = (0..4).map(|_| client()).collect();
        Self {
            ends,
            answered,
            lost,
            clients,
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            let _ = client.join();
        }
    }
}

struct Stage {
    stable: Upstream,
    canary: Upstream,
    plan: PathBuf,
    runtime: PathBuf,
    load: Load,
    _prometheus: Process,
    envoy: Running,
    folder: tempfile::TempDir,
    _servers: [Server; 2],
    _threads: tokio::runtime::Runtime,
}

impl Stage {
    fn start() -> Self {
        let threads = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (stable, canary) = (Upstream::default(), Upstream::default());
        let serve =
            |upstream: &Upstream| Server::upstream(threads.handle(), upstream.clone()).unwrap();
        let servers = [serve(&stable), serve(&canary)];
        let folder = tempfile::tempdir().unwrap();
        let runtime = folder.path().join("canary.json");
        fs::copy(workspace::root().join("ops/canary/canary.json"), &runtime).unwrap();
        let mut shipped = Shipped::new("envoy/canary.yaml");
        shipped.place("orders.internal", 8080, servers[0].address());
        shipped.place("orders-next.internal", 8080, servers[1].address());
        shipped.put(
            "address: 0.0.0.0, port_value: 8080",
            "address: 127.0.0.1, port_value: 0",
        );
        shipped.put("stats_flush_interval: 5s", "stats_flush_interval: 0.25s");
        shipped.put(
            "/etc/envoy/runtime/canary.json",
            &runtime.display().to_string(),
        );
        let envoy = shipped.start();
        let load = Load::start(envoy.listener("http"));
        let admin = envoy.admin().unwrap();
        let (prometheus, port) = prometheus(folder.path(), admin);
        let plan = folder.path().join("orders.toml");
        let mut text =
            fs::read_to_string(workspace::root().join("ops/canary/orders.toml")).unwrap();
        let runtime_path = runtime.display().to_string();
        for (from, to) in [
            ("/etc/envoy/runtime/canary.json", runtime_path.as_str()),
            ("hold = \"10m\"", "hold = \"1500ms\""),
            ("check_every = \"15s\"", "check_every = \"250ms\""),
            ("http://127.0.0.1:9901", &format!("http://{admin}")),
            (
                "http://prometheus.internal:9090",
                &format!("http://127.0.0.1:{port}"),
            ),
            ("[2m]", "[2s]"),
            // A machine that runs other tests, too, is slow.
            ("max = 250", "max = 5000"),
        ] {
            assert!(text.contains(from), "orders.toml has no {from}");
            text = text.replace(from, to);
        }
        fs::write(&plan, text).unwrap();
        Self {
            stable,
            canary,
            plan,
            runtime,
            load,
            _prometheus: prometheus,
            envoy,
            folder,
            _servers: servers,
            _threads: threads,
        }
    }

    fn command(&self, action: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command.args(["canary", action]).arg(&self.plan);
        command.args(["--format", "json"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, mut command: Command) -> (Option<i32>, Value) {
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let report = serde_json::from_slice(&output.stdout);
        let report = report.unwrap_or_else(|e| panic!("{e}: {output:?}"));
        println!("{said}{report:#}");
        (output.status.code(), report)
    }

    /// What Envoy uses, as it tells.
    fn used(&self) -> u64 {
        let runtime: Value = serde_json::from_str(&self.envoy.ask("/runtime").unwrap()).unwrap();
        let value = &runtime["entries"]["canary.orders.orders-canary"]["final_value"];
        value.as_str().unwrap().parse().unwrap()
    }

    /// Waits until the canary gets this share of a hundred requests, percent: what was under way, or with a worker that
    /// had not heard of it yet, is over by then.
    fn gets(&self, percent: u64) {
        until(&format!("{percent} %"), || self.share() == percent);
        assert_eq!(self.used(), percent);
    }

    /// The share of the next requests that the canary gets, percent.
    fn share(&self) -> u64 {
        let before = (self.stable.requests(), self.canary.requests());
        let now = || {
            let canary = self.canary.requests() - before.1;
            (self.stable.requests() - before.0 + canary, canary)
        };
        until("requests", || now().0 >= 100);
        let (all, canary) = now();
        canary * 100 / all
    }
}

fn until(what: &str, fits: impl Fn() -> bool) {
    let began = Instant::now();
    while !fits() {
        assert!(began.elapsed() < WITHIN, "no sign of {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A Prometheus that scrapes this Envoy four times a second.
fn prometheus(folder: &Path, admin: SocketAddr) -> (Process, u16) {
    let port = free_port();
    let config = folder.join("prometheus.yml");
    let text = format!(
        "global: {{ scrape_interval: 250ms, scrape_timeout: 250ms }}\n\
         scrape_configs:\n\
         - job_name: envoy\n  metrics_path: /stats/prometheus\n  static_configs: [ {{ targets: [ '{admin}' ] }} ]\n"
    );
    fs::write(&config, text).unwrap();
    let child = Command::new("prometheus")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            folder.join("tsdb").display()
        ))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg("--log.level=error")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("prometheus must be installed: tools/setup.sh prometheus");
    let process = Process(child);
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    until("Prometheus", || {
        let query = Request::get("/api/v1/query?query=envoy_server_live");
        let answer = Connection::open(address, None).and_then(|mut it| it.exchange(&query));
        answer.is_ok_and(|it| String::from_utf8_lossy(&it.body).contains("instance"))
    });
    (process, port)
}

#[test]
fn a_good_version_gets_everything_and_a_bad_one_nothing() {
    let stage = Stage::start();
    stage.gets(0);

    // A good one.
    let (code, report) = stage.run(stage.command("run"));
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["outcome"], "promoted");
    assert_eq!(report["passed"], serde_json::json!([5, 25, 50, 100]));
    stage.gets(100);
    let (code, shown) = stage.run(stage.command("show"));
    assert_eq!((code, &shown["percent"]), (Some(0), &Value::from(100)));

    // It is taken back by hand.
    let mut back = stage.command("set");
    back.arg("0");
    assert_eq!(stage.run(back).0, Some(0));
    stage.gets(0);

    // A bad one: errors.
    stage.canary.answer(500, &[]);
    let (code, report) = stage.run(stage.command("run"));
    assert_eq!(code, Some(1), "{report}");
    assert_eq!(report["outcome"], "rolled_back");
    let reason = report["reason"].as_str().unwrap();
    assert!(reason.starts_with("errors is "), "{reason}");
    stage.gets(0);

    // One that turns bad on the way, by a signal to this test that it got half of the traffic.
    stage.canary.answer(200, &[]);
    std::thread::sleep(Duration::from_secs(3));
    let (canary, runtime) = (stage.canary.clone(), stage.runtime.clone());
    let turns = std::thread::spawn(move || {
        until("half", || {
            fs::read_to_string(&runtime)
                .unwrap()
                .contains("orders-canary\": 50")
        });
        canary.answer(503, &[]);
    });
    // It takes a second until Envoy, Prometheus and the command have seen it.
    let plan = fs::read_to_string(&stage.plan).unwrap();
    fs::write(&stage.plan, plan.replace("1500ms", "4s")).unwrap();
    let (code, report) = stage.run(stage.command("run"));
    fs::write(&stage.plan, plan).unwrap();
    turns.join().unwrap();
    assert_eq!(code, Some(1), "{report}");
    assert_eq!(report["passed"], serde_json::json!([5, 25]));
    stage.gets(0);

    // A release that is interrupted is taken back.
    stage.canary.answer(200, &[]);
    std::thread::sleep(Duration::from_secs(3));
    for signal in ["TERM", "INT"] {
        let running = stage.command("run").spawn().unwrap();
        // Or a later one, on a machine that stood still.
        until("the first step", || stage.used() >= 5);
        let killed = Command::new("kill")
            .args(["-s", signal, &running.id().to_string()])
            .status();
        assert!(killed.unwrap().success());
        let output = running.wait_with_output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(1), "{report}");
        assert_eq!(report["outcome"], "interrupted");
        stage.gets(0);
    }

    // Nobody to ask: no evidence is no success.
    let plan = fs::read_to_string(&stage.plan).unwrap();
    let at = plan.find("[prometheus]\nurl = \"http://").unwrap();
    let (head, tail) = plan.split_at(at);
    let tail = tail.split_once("\n\n").unwrap().1;
    let blind = format!("{head}[prometheus]\nurl = \"http://127.0.0.1:1\"\n\n{tail}");
    fs::write(&stage.plan, &blind).unwrap();
    let (code, report) = stage.run(stage.command("run"));
    assert_eq!(code, Some(1), "{report}");
    let reason = report["reason"].as_str().unwrap();
    assert!(reason.starts_with("Prometheus does not answer"), "{reason}");
    stage.gets(0);

    // Nor is a canary without traffic.
    fs::write(&stage.plan, plan.replace("min = 0.1", "min = 1000000")).unwrap();
    let (code, report) = stage.run(stage.command("run"));
    assert_eq!(code, Some(1), "{report}");
    assert!(
        report["reason"]
            .as_str()
            .unwrap()
            .contains("too little to tell")
    );
    assert_eq!(stage.used(), 0);

    // All the while, whoever asked got an answer.
    assert_eq!(stage.load.lost.load(Ordering::Relaxed), 0);
    assert!(stage.load.answered.load(Ordering::Relaxed) > 1_000);
    assert!(stage.folder.path().join("canary.json").exists());
}

#[test]
fn a_plan_with_mistakes_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("plan.toml");
    let text = fs::read_to_string(workspace::root().join("ops/canary/orders.toml")).unwrap();
    let runtime = folder.path().join("canary.json");
    let text = text
        .replace(
            "/etc/envoy/runtime/canary.json",
            &runtime.display().to_string(),
        )
        .replace("[5, 25, 50, 100]", "[50, 25]");
    fs::write(&plan, text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(["canary", "run"])
        .arg(&plan)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("steps: must rise"), "{said}");
    assert!(!runtime.exists());
}
