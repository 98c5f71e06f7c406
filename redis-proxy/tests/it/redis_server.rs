//! Real `redis-server` processes on loopback, ended with the test. Not having one is a failure.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use redis_proxy::{
    key::Prefix,
    secret::Secret,
    store::redis::{RedisStore, Settings, Tls},
};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use testkit::ports::free_port;

pub const PASSWORD: &str = "correct horse";

/// What a server asks of its clients.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    pub password: bool,
    pub tls: bool,
    pub cluster: bool,
    /// What is acknowledged survives `kill -9`.
    pub durable: bool,
}

/// A certificate authority and certificates for `127.0.0.1` and `localhost`.
pub struct Pki {
    pub dir: TempDir,
}

impl Pki {
    pub fn new() -> Self {
        use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, pem: String| std::fs::write(dir.path().join(name), pem).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, "test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        write("ca.pem", params.self_signed(&key).unwrap().pem());
        let ca = Issuer::new(params, key);
        for name in ["server", "client"] {
            let key = KeyPair::generate().unwrap();
            let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
            let mut params = CertificateParams::new(names).unwrap();
            params.distinguished_name.push(DnType::CommonName, name);
            write(
                &format!("{name}.pem"),
                params.signed_by(&key, &ca).unwrap().pem(),
            );
            write(&format!("{name}.key"), key.serialize_pem());
        }
        Self { dir }
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.dir.path().join(name)).unwrap()
    }

    pub fn tls(&self) -> Tls {
        Tls {
            ca: Some(self.read("ca.pem")),
            client: Some((self.read("client.pem"), self.read("client.key"))),
        }
    }
}

/// One `redis-server`.
pub struct RedisServer {
    pub port: u16,
    child: Child,
    dir: TempDir,
    options: Options,
    pki: Option<std::path::PathBuf>,
}

impl RedisServer {
    pub fn start(options: Options, pki: Option<&Pki>) -> Self {
        let port = free_port();
        let dir = tempfile::tempdir().unwrap();
        let pki = pki.map(|pki| pki.dir.path().to_owned());
        let child = spawn(port, dir.path(), options, pki.as_deref());
        let server = Self {
            port,
            child,
            dir,
            options,
            pki,
        };
        server.wait();
        server
    }

    /// Starts again on the same port, with the same data directory.
    pub fn restart(&mut self) {
        self.kill();
        self.child = spawn(
            self.port,
            self.dir.path(),
            self.options,
            self.pki.as_deref(),
        );
        self.wait();
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGSTOP: the port still accepts, nothing answers.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    pub fn cli(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        if self.options.password {
            command.args(["-a", PASSWORD, "--no-auth-warning"]);
        }
        if let Some(pki) = &self.pki {
            command.arg("--tls").arg("--cacert").arg(pki.join("ca.pem"));
            command.arg("--cert").arg(pki.join("client.pem"));
            command.arg("--key").arg(pki.join("client.key"));
        }
        let output = command
            .args(arguments)
            .output()
            .expect("redis-cli must be installed");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn wait(&self) {
        until("redis-server answers", Duration::from_secs(60), || {
            self.cli(&["PING"]) == "PONG"
        });
    }

    pub fn settings(&self) -> Settings {
        settings(vec![self.port], self.options, None)
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(port: u16, dir: &Path, options: Options, pki: Option<&Path>) -> Child {
    let port = port.to_string();
    let mut command = Command::new("redis-server");
    command
        .args(["--bind", "127.0.0.1", "--save", "", "--dir"])
        .arg(dir);
    command.args([
        "--maxmemory-policy",
        "noeviction",
        "--repl-diskless-sync-delay",
        "0",
    ]);
    match pki.filter(|_| options.tls) {
        None => command.args(["--port", &port]),
        Some(pki) => command
            .args(["--port", "0", "--tls-port", &port])
            .args(["--tls-replication", "yes", "--tls-cluster", "yes"])
            .arg("--tls-ca-cert-file")
            .arg(pki.join("ca.pem"))
            .arg("--tls-cert-file")
            .arg(pki.join("server.pem"))
            .arg("--tls-key-file")
            .arg(pki.join("server.key")),
    };
    if options.password {
        command.args(["--requirepass", PASSWORD, "--masterauth", PASSWORD]);
    }
    if options.durable {
        command.args(["--appendonly", "yes", "--appendfsync", "always"]);
    }
    if options.cluster {
        command.args(["--cluster-enabled", "yes", "--cluster-node-timeout", "1500"]);
        command.args(["--cluster-replica-validity-factor", "0"]);
    }
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
        .spawn()
        .expect("redis-server must be installed: apt-get install redis-server")
}

/// Three primaries, each with a replica.
pub struct Cluster {
    pub nodes: Vec<RedisServer>,
    options: Options,
}

impl Cluster {
    pub fn start(options: Options, pki: Option<&Pki>) -> Self {
        let options = Options {
            cluster: true,
            ..options
        };
        let nodes: Vec<_> = (0..6).map(|_| RedisServer::start(options, pki)).collect();
        let addresses: Vec<_> = nodes
            .iter()
            .map(|n| format!("127.0.0.1:{}", n.port))
            .collect();
        let mut create = vec!["--cluster", "create"];
        create.extend(addresses.iter().map(String::as_str));
        create.extend(["--cluster-replicas", "1", "--cluster-yes"]);
        let said = nodes[0].cli(&create);
        // On a slow machine it may look before all nodes have heard of each other; `wait` sees whether it did its work.
        if !said.contains("All 16384 slots covered") {
            eprintln!("{said}");
        }
        let cluster = Self { nodes, options };
        cluster.wait();
        cluster
    }

    /// All nodes agree, and every replica follows its primary.
    pub fn wait(&self) {
        until("the cluster is whole", Duration::from_secs(60), || {
            let whole = |node: &RedisServer| {
                let info = node.cli(&["CLUSTER", "INFO"]);
                let replicas = node.cli(&["INFO", "replication"]);
                info.contains("cluster_state:ok")
                    && info.contains("cluster_known_nodes:6")
                    && (replicas.contains("connected_slaves:1")
                        || replicas.contains("master_link_status:up"))
            };
            self.nodes.iter().all(whole)
        });
    }

    pub fn primaries(&self) -> Vec<usize> {
        let primary = |node: &RedisServer| node.cli(&["ROLE"]).starts_with("master");
        (0..self.nodes.len())
            .filter(|&i| primary(&self.nodes[i]))
            .collect()
    }

    pub fn settings(&self) -> Settings {
        settings(
            self.nodes.iter().map(|n| n.port).collect(),
            self.options,
            None,
        )
    }
}

pub fn settings(ports: Vec<u16>, options: Options, tls: Option<Tls>) -> Settings {
    Settings {
        addresses: ports
            .into_iter()
            .map(|port| ("127.0.0.1".to_owned(), port))
            .collect(),
        cluster: options.cluster,
        username: None,
        password: options.password.then(|| Secret::new(PASSWORD)),
        database: 0,
        tls,
        connections: 2,
        budget: Duration::from_millis(50),
        max_in_flight: 4_096,
        breaker_failures: 5,
    }
}

/// A store that answers.
pub async fn connect(settings: &Settings) -> RedisStore {
    let store = RedisStore::start(settings, prefix()).unwrap();
    eventually("the store is ready", Duration::from_secs(60), async || {
        redis_proxy::store::Store::health(&store).open_breakers == 0
    })
    .await;
    store
}

pub fn prefix() -> Prefix {
    Prefix::new("kong:rl:").unwrap()
}

pub fn until(what: &str, within: Duration, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < within, "not within {within:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub async fn eventually(what: &str, within: Duration, mut holds: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < within, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
