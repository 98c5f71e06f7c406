//! The edge as it is shipped, on this machine: `ops/envoy/envoy.yaml` in a real Envoy, the built redis-proxy with its
//! control API, a model of the auth-service and of the upstream, and a Prometheus that scrapes them.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;

use envoy_test::shipped::{Running, Shipped};
use envoy_test::{artifacts, log};
use limits_test::control::Control;
use limits_test::store_service::StoreService;
use tempfile::TempDir;
use testkit::World;
use testkit::auth_service::SERVICE_TOKEN;
use testkit::http_server::Server;
use testkit::ports::free_port;

use crate::process::Process;
use crate::prometheus::Prometheus;

/// All of it. Ends when dropped.
pub struct Site {
    pub world: World,
    pub control: Control,
    pub service: StoreService,
    pub prometheus: Prometheus,
    /// Where clients go: `https://127.0.0.1:{port}`.
    pub port: u16,
    envoy: Running,
    /// Of NATS.
    _folder: TempDir,
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
        let envoy = shipped([upstream.address(), auth.address(), service.address()]).start_with(&[
            "--concurrency",
            "1",
            "--log-level",
            "warning",
            "--log-format",
            log::FORMAT,
        ]);
        let admin = envoy.admin().expect("Envoy's admin endpoint");
        let targets = [("envoy", admin), ("redis-proxy", service.address())];
        Self {
            world,
            control,
            prometheus: Prometheus::start(&targets).unwrap(),
            service,
            port: envoy.listener("https").port(),
            envoy,
            _folder: folder,
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
        let stats = self.envoy.ask("/stats/prometheus");
        stats.expect("Envoy's admin endpoint")
    }

    /// What Envoy logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.envoy.log()
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

/// The shipped configuration, with this machine's addresses. Envoy's clients are all on the loopback interface and may say
/// which country they are from, as a load balancer would.
fn shipped([upstream, auth, redis_proxy]: [SocketAddr; 3]) -> Shipped {
    let mut shipped = Shipped::new("envoy/envoy.yaml");
    shipped.place("orders.internal", 8080, upstream);
    shipped.place("auth.internal", 8080, auth);
    shipped.place("redis-proxy.internal", 8970, redis_proxy);
    shipped.listen();
    shipped.put("change-me", SERVICE_TOKEN);
    shipped.put(
        "{ \"lists\": { \"upstream\": \"redis-proxy\", \"authority\": \"redis-proxy.internal\" },\n                      \"rules\"",
        "{ \"client\": { \"trusted_proxies\": [ \"127.0.0.1/32\" ] }, \"sampling\": { \"every\": 2 },\n                      \
         \"lists\": { \"upstream\": \"redis-proxy\", \"authority\": \"redis-proxy.internal\" },\n                      \"rules\"",
    );
    shipped
}
