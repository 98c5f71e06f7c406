//! The edge as it is shipped, on this machine: `ops/envoy/envoy.yaml` in a real Envoy, the built redis-proxy with its
//! control API, a model of the auth-service and of the upstream, and a Prometheus that scrapes them.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use envoy_test::{artifacts, log};
use limits_test::control::Control;
use limits_test::store_service::StoreService;
use serde_json::Value;
use tempfile::TempDir;
use testkit::auth_service::SERVICE_TOKEN;
use testkit::http_client::Connection;
use testkit::http_server::Server;
use testkit::ports::free_port;
use testkit::{Request, World};

use crate::process::Process;
use crate::prometheus::Prometheus;

const STARTS_WITHIN: Duration = Duration::from_secs(60);

/// All of it. Ends when dropped.
pub struct Site {
    pub world: World,
    pub control: Control,
    pub service: StoreService,
    pub prometheus: Prometheus,
    /// Where clients go: `https://127.0.0.1:{port}`.
    pub port: u16,
    admin: SocketAddr,
    envoy: Process,
    folder: TempDir,
    /// NATS, which takes events of the lists and tells of quotas.
    pub nats: SocketAddr,
    _nats: Process,
    _servers: Vec<Server>,
    _runtime: tokio::runtime::Runtime,
}

/// What is said to redis-proxy besides where its control API is: a tenant that may do little, and that clients are shown.
const SERVICE: &str = "[nats]\nurls = ['NATS']\ncreate_stream = true\n\
    [quota]\nconsume = true\ncreate_stream = true\n[fingerprints]\nmetrics_top = 20\nlog_samples = false\n\
    [tiers.table.standard]\nrank = 2\n\
    [tiers.table.p3]\nrank = 1\nlimits.tenant = {tokens = 5, period_ms = 1000, burst = \"none\"}\n\
    [tiers.tenants]\nsmall-bank = \"p3\"\nlarge-bank = \"standard\"\n";

impl Site {
    /// Starts all of it.
    ///
    /// # Panics
    /// When something does not start.
    #[must_use]
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let world = World::new();
        let auth = world.service("auth_service").unwrap();
        let auth = Server::service(runtime.handle(), Arc::clone(&auth)).unwrap();
        let upstream = Server::upstream(runtime.handle(), world.upstream.clone()).unwrap();
        let control = Control::prepare();
        let (nats, at) = nats(&folder);
        let events = SERVICE.replace("NATS", &format!("nats://{at}"));
        let service = StoreService::start(&format!("{events}{}", control.config()));
        let config = shipped(
            &folder,
            [upstream.address(), auth.address(), service.address()],
        );
        let mut envoy = envoy(&folder, &config);
        let (admin, port) = await_listener(&mut envoy, &folder);
        let targets = [("envoy", admin), ("redis-proxy", service.address())];
        Self {
            world,
            control,
            prometheus: Prometheus::start(&targets).unwrap(),
            service,
            port,
            admin,
            envoy,
            folder,
            nats: at,
            _nats: nats,
            _servers: vec![upstream, auth],
            _runtime: runtime,
        }
    }

    /// What Envoy shows to Prometheus.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    pub fn stats(&self) -> String {
        let answer = Connection::open(self.admin, None)
            .and_then(|mut c| c.exchange(&Request::get("/stats/prometheus")))
            .unwrap();
        String::from_utf8_lossy(&answer.body).into_owned()
    }

    /// What Envoy logged.
    #[must_use]
    pub fn log(&self) -> String {
        logged(&self.folder)
    }

    /// Errors in Envoy's log, and whether it still runs.
    ///
    /// # Panics
    /// When there is one, or it does not.
    pub fn check(&mut self) {
        assert!(self.envoy.is_running(), "Envoy has ended by itself");
        let text = self.log();
        // There is no collector of traces here: envoy-test has one.
        let errors = log::errors(&text, &["OTLP HTTP exporter".to_owned()]);
        assert!(errors.is_empty(), "{errors:?}");
    }
}

/// Where events go: a NATS server with JetStream.
fn nats(folder: &TempDir) -> (Process, SocketAddr) {
    let at = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let mut command = Command::new(artifacts::workspace().join(".tools/bin/nats-server"));
    command
        .args(["--addr", "127.0.0.1", "--port", &at.port().to_string()])
        .arg("--jetstream")
        .arg("--store_dir")
        .arg(folder.path().join("nats"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let nats = Process::start(&mut command).expect("tools/setup.sh nats fetches nats-server");
    (nats, at)
}

fn logged(folder: &TempDir) -> String {
    fs::read_to_string(folder.path().join("envoy.log")).unwrap_or_default()
}

/// Where its admin port and its listener are, once there is one.
fn await_listener(envoy: &mut Process, folder: &TempDir) -> (SocketAddr, u16) {
    let began = Instant::now();
    loop {
        if let Some(found) = listener(folder) {
            return found;
        }
        assert!(
            envoy.is_running() && began.elapsed() < STARTS_WITHIN,
            "Envoy does not listen:\n{}",
            logged(folder)
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn listener(folder: &TempDir) -> Option<(SocketAddr, u16)> {
    let at = fs::read_to_string(folder.path().join("admin")).ok()?;
    let admin: SocketAddr = at.trim().parse().ok()?;
    let answer = Connection::open(admin, None)
        .and_then(|mut c| c.exchange(&Request::get("/listeners?format=json")))
        .ok()?;
    let all: Value = serde_json::from_slice(&answer.body).ok()?;
    let found = all["listener_statuses"]
        .as_array()?
        .iter()
        .find(|status| status["name"] == "https")?;
    let port = found["local_address"]["socket_address"]["port_value"].as_u64()?;
    let port = u16::try_from(port).ok().filter(|port| *port != 0)?;
    Some((admin, port))
}

/// The shipped configuration, with this machine's addresses. Envoy's clients are all on the loopback interface and may say
/// which country they are from, as a load balancer would.
fn shipped(folder: &TempDir, [upstream, auth, redis_proxy]: [SocketAddr; 3]) -> String {
    let made = rcgen::generate_simple_self_signed(["gateway.test".to_owned()]).unwrap();
    let write = |name: &str, text: String| fs::write(folder.path().join(name), text).unwrap();
    write("tls.crt", made.cert.pem());
    write("tls.key", made.signing_key.serialize_pem());
    let ops = artifacts::workspace().join("ops/envoy/envoy.yaml");
    let mut config = fs::read_to_string(ops).unwrap();
    let mut put = |from: &str, to: &str| {
        assert!(config.contains(from), "envoy.yaml has no {from}");
        config = config.replace(from, to);
    };
    for (name, port, at) in [
        ("orders.internal", 8080, upstream),
        ("auth.internal", 8080, auth),
        ("redis-proxy.internal", 8970, redis_proxy),
    ] {
        put(
            &format!("address: {name}, port_value: {port}"),
            &format!("address: {}, port_value: {}", at.ip(), at.port()),
        );
    }
    for port in [
        "address: 0.0.0.0, port_value: 8443",
        "address: 127.0.0.1, port_value: 9901",
    ] {
        put(port, "address: 127.0.0.1, port_value: 0");
    }
    put("/etc/envoy/tls", &folder.path().display().to_string());
    put(
        "/etc/portcullis",
        &artifacts::workspace().join("dist").display().to_string(),
    );
    put("change-me", SERVICE_TOKEN);
    put(
        "{ \"lists\": { \"upstream\": \"redis-proxy\", \"authority\": \"redis-proxy.internal\" },\n                      \"rules\"",
        "{ \"client\": { \"trusted_proxies\": [ \"127.0.0.1/32\" ] }, \"sampling\": { \"every\": 2 },\n                      \
         \"lists\": { \"upstream\": \"redis-proxy\", \"authority\": \"redis-proxy.internal\" },\n                      \"rules\"",
    );
    config
}

fn envoy(folder: &TempDir, config: &str) -> Process {
    let path = |name: &str| folder.path().join(name);
    fs::write(path("envoy.yaml"), config).unwrap();
    let mut command = Command::new(artifacts::envoy().unwrap());
    command
        .arg("--config-path")
        .arg(path("envoy.yaml"))
        .arg("--admin-address-path")
        .arg(path("admin"))
        .args(["--concurrency", "1", "--disable-hot-restart"])
        .args(["--log-level", "warning", "--log-format", log::FORMAT])
        .stdin(Stdio::null())
        .stdout(File::create(path("access.log")).unwrap())
        .stderr(File::create(path("envoy.log")).unwrap());
    Process::start(&mut command).unwrap()
}
