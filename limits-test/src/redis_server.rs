//! Real `redis-server` processes on the loopback interface, ended with what holds them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;
use testkit::ports::free_port;

use crate::authority::{Authority, Signer};
use crate::child;
use crate::until::until;

/// What clients must say.
pub const PASSWORD: &str = "correct horse";

/// One `redis-server`, with password.
pub struct RedisServer {
    port: u16,
    child: Child,
    directory: TempDir,
    kind: Kind,
}

/// What a server is.
enum Kind {
    Single,
    /// It speaks TLS alone.
    Tls(Authority),
    /// Of a cluster.
    Node,
}

impl RedisServer {
    /// A server of its own.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start() -> Self {
        Self::start_as(Kind::Single)
    }

    /// The same, over TLS alone.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start_tls() -> Self {
        Self::start_as(Kind::Tls(Authority::new()))
    }

    fn start_as(kind: Kind) -> Self {
        let port = free_port();
        let directory = tempfile::tempdir().unwrap();
        let child = spawn(port, directory.path(), &kind);
        let server = Self {
            port,
            child,
            directory,
            kind,
        };
        server.wait();
        server
    }

    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts again on the same port, with the same directory.
    pub fn restart(&mut self) {
        self.kill();
        self.child = spawn(self.port, self.directory.path(), &self.kind);
        self.wait();
    }

    /// SIGSTOP: the port still accepts, nothing answers.
    pub fn freeze(&self) {
        child::signal(&self.child, Signal::STOP);
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        child::signal(&self.child, Signal::CONT);
    }

    /// Asks for another password from now on, and ends the connections of those who said the old one.
    ///
    /// # Panics
    /// When Redis does not obey.
    pub fn change_password(&self, from: &str, to: &str) {
        assert_eq!(
            self.cli_as(from, &["CONFIG", "SET", "requirepass", to]),
            "OK"
        );
        self.cli_as(to, &["CLIENT", "KILL", "TYPE", "normal"]);
    }

    /// The certificate that clients are to trust; `None` without TLS.
    #[must_use]
    pub fn trusted(&self) -> Option<PathBuf> {
        match &self.kind {
            Kind::Tls(authority) => Some(authority.trusted()),
            Kind::Single | Kind::Node => None,
        }
    }

    /// Shows a certificate of this signer from now on, and ends the connections of those who saw another one.
    ///
    /// # Panics
    /// When it speaks no TLS or does not obey.
    pub fn change_certificate(&self, signer: Signer) {
        let Kind::Tls(authority) = &self.kind else {
            panic!("this Redis speaks no TLS");
        };
        let [certificate, key] = authority
            .server(signer)
            .map(|file| file.display().to_string());
        let set = [
            "CONFIG",
            "SET",
            "tls-cert-file",
            &certificate,
            "tls-key-file",
            &key,
        ];
        assert_eq!(self.cli(&set), "OK");
        let _ = self.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
    }

    #[must_use]
    pub fn cli(&self, arguments: &[&str]) -> String {
        self.cli_as(PASSWORD, arguments)
    }

    fn cli_as(&self, password: &str, arguments: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        if matches!(self.kind, Kind::Tls(_)) {
            command.args(["--tls", "--insecure"]);
        }
        let output = command
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string()])
            .args(["-a", password, "--no-auth-warning"])
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
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(port: u16, directory: &Path, kind: &Kind) -> Child {
    let mut command = Command::new("redis-server");
    let port = port.to_string();
    command
        .args(["--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no", "--dir"])
        .arg(directory)
        .args(["--maxmemory-policy", "noeviction"])
        .args(["--repl-diskless-sync-delay", "0"])
        .args(["--requirepass", PASSWORD, "--masterauth", PASSWORD]);
    match kind {
        Kind::Single => command.args(["--port", &port]),
        Kind::Tls(authority) => {
            let [certificate, key] = authority.server(Signer::Trusted);
            command
                .args([
                    "--port",
                    "0",
                    "--tls-port",
                    &port,
                    "--tls-auth-clients",
                    "no",
                ])
                .arg("--tls-ca-cert-file")
                .arg(authority.trusted())
                .arg("--tls-cert-file")
                .arg(certificate)
                .arg("--tls-key-file")
                .arg(key)
        }
        Kind::Node => command
            .args(["--port", &port, "--cluster-enabled", "yes"])
            .args(["--cluster-node-timeout", "1500"])
            .args(["--cluster-replica-validity-factor", "0"]),
    };
    command.stdout(Stdio::null()).stderr(Stdio::null());
    child::spawn(&mut command).expect("redis-server must be installed")
}

/// Three primaries, each with a replica.
pub struct Cluster {
    nodes: Vec<RedisServer>,
}

impl Cluster {
    /// A cluster that is whole.
    ///
    /// # Panics
    /// When it does not become so.
    #[must_use]
    pub fn start() -> Self {
        let nodes: Vec<_> = (0..6).map(|_| RedisServer::start_as(Kind::Node)).collect();
        let addresses: Vec<String> = nodes.iter().map(RedisServer::address).collect();
        let mut create = vec!["--cluster", "create"];
        create.extend(addresses.iter().map(String::as_str));
        create.extend(["--cluster-replicas", "1", "--cluster-yes"]);
        let said = nodes[0].cli(&create);
        // On a slow machine it may look before all nodes have heard of each other; `wait` sees whether it did its work.
        if !said.contains("All 16384 slots covered") {
            eprintln!("{said}");
        }
        let cluster = Self { nodes };
        cluster.wait();
        cluster
    }

    /// All nodes agree, and every replica follows its primary.
    pub fn wait(&self) {
        until("the cluster is whole", Duration::from_secs(60), || {
            self.nodes.iter().all(|node| {
                let info = node.cli(&["CLUSTER", "INFO"]);
                let replicas = node.cli(&["INFO", "replication"]);
                info.contains("cluster_state:ok")
                    && info.contains("cluster_known_nodes:6")
                    && (replicas.contains("connected_slaves:1")
                        || replicas.contains("master_link_status:up"))
            })
        });
    }

    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(RedisServer::address).collect()
    }

    /// The primary that has this key.
    ///
    /// # Panics
    /// When no node says so.
    #[must_use]
    pub fn primary_of(&self, key: &str) -> usize {
        let slot: u32 = self
            .nodes
            .iter()
            .find_map(|node| node.cli(&["CLUSTER", "KEYSLOT", key]).parse().ok())
            .expect("some node lives");
        let has = |node: &RedisServer| {
            let nodes = node.cli(&["CLUSTER", "NODES"]);
            let own = nodes.lines().find(|line| line.contains("myself,master"));
            own.is_some_and(|line| {
                line.split(' ').skip(8).any(|range| {
                    let (from, to) = range.split_once('-').unwrap_or((range, range));
                    matches!((from.parse(), to.parse()), (Ok(from), Ok(to)) if (from..=to).contains(&slot))
                })
            })
        };
        self.nodes
            .iter()
            .position(has)
            .expect("some primary has the slot")
    }

    pub fn node(&mut self, index: usize) -> &mut RedisServer {
        &mut self.nodes[index]
    }
}
