//! A real Envoy with a configuration as it is shipped, but for ports and paths, between a client and a world.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use envoy_test::artifacts;
use serde_json::{Value, json};
use testkit::http_client::Connection;
use testkit::http_server::Server;
use testkit::{Request, World};

use crate::run::root;

const STARTS_WITHIN: Duration = Duration::from_secs(60);

pub struct Edge {
    child: Child,
    folder: tempfile::TempDir,
    pub port: u16,
    pub admin: SocketAddr,
    /// What Envoy was started with.
    pub config: Value,
    _servers: Vec<Server>,
    _runtime: tokio::runtime::Runtime,
}

impl Drop for Edge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads YAML.
pub fn read(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap();
    serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Runs `envoy --mode validate`.
pub fn validate(config: &Value, folder: &Path) {
    let path = folder.join("validate.json");
    fs::write(&path, config.to_string()).unwrap();
    let output = Command::new(artifacts::envoy().unwrap())
        .args(["--mode", "validate", "--config-path"])
        .arg(&path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
}

impl Edge {
    /// Starts it. Clusters lead to the services of the world; all others to the upstream.
    pub fn start(config: Value, world: World) -> Self {
        Self::start_with(config, world, |_, _| {})
    }

    /// The same, edited when ports, paths and addresses are those of this machine; the folder is Envoy's.
    pub fn start_with(
        mut config: Value,
        world: World,
        edit: impl FnOnce(&mut Value, &Path),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        certificate(folder.path());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let service = |name: &str| {
            let service = world.service(name).expect("a service");
            Server::service(runtime.handle(), Arc::clone(&service)).unwrap()
        };
        let upstream = Server::upstream(runtime.handle(), world.upstream.clone()).unwrap();
        let servers = vec![
            upstream,
            service("auth_service"),
            service("list_service"),
            service("redis_proxy"),
        ];
        let at: Vec<SocketAddr> = servers.iter().map(Server::address).collect();
        place(&mut config, folder.path(), &at);
        edit(&mut config, folder.path());
        let path = folder.path().join("envoy.json");
        fs::write(&path, config.to_string()).unwrap();
        let child = spawn(folder.path());
        let mut edge = Self {
            child,
            folder,
            port: 0,
            admin: SocketAddr::from(([127, 0, 0, 1], 0)),
            config,
            _servers: servers,
            _runtime: runtime,
        };
        edge.await_listener();
        edge
    }

    /// Ends it, and starts it with another configuration.
    pub fn restart(mut self, edit: impl FnOnce(&mut Value)) -> Self {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        edit(&mut self.config);
        let _ = fs::remove_file(self.folder.path().join("admin"));
        let config = self.config.clone();
        fs::write(self.folder.path().join("envoy.json"), config.to_string()).unwrap();
        self.child = spawn(self.folder.path());
        self.await_listener();
        self
    }

    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Where clients go. The certificate is `path("tls.crt")`.
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    pub fn admin_url(&self) -> String {
        format!("http://{}", self.admin)
    }

    pub fn ask_admin(&self, method: &str, path: &str) -> Option<Vec<u8>> {
        let mut connection = Connection::open(self.admin, None).ok()?;
        let answer = connection.exchange(&Request::new(method, path)).ok()?;
        (answer.status == 200).then_some(answer.body)
    }

    /// Changes something through the admin port.
    pub fn ask_admin_to(&self, path: &str) {
        assert!(self.ask_admin("POST", path).is_some(), "{path}");
    }

    fn await_listener(&mut self) {
        let began = Instant::now();
        loop {
            let at = fs::read_to_string(self.folder.path().join("admin")).ok();
            if let Some(at) = at.and_then(|at| at.trim().parse().ok()) {
                self.admin = at;
                let found = self
                    .ask_admin("GET", "/listeners?format=json")
                    .and_then(|body| serde_json::from_slice::<Value>(&body).ok())
                    .and_then(|all| {
                        let socket =
                            &all["listener_statuses"][0]["local_address"]["socket_address"];
                        socket["port_value"].as_u64()
                    });
                // Its workers take connections then.
                let ready = self.ask_admin("GET", "/ready").is_some();
                if let Some(port) = found.filter(|_| ready) {
                    self.port = u16::try_from(port).unwrap();
                    return;
                }
            }
            assert!(
                began.elapsed() < STARTS_WITHIN,
                "{}",
                fs::read_to_string(self.folder.path().join("envoy.log")).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until this holds.
    pub fn until(&self, what: &str, mut fits: impl FnMut(&Self) -> bool) {
        let began = Instant::now();
        while !fits(self) {
            assert!(
                began.elapsed() < STARTS_WITHIN,
                "no sign of {what}:\n{}",
                fs::read_to_string(self.folder.path().join("envoy.log")).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The status of an answer, its head in lower case, and its body.
    pub fn curl(&self, path: &str, options: &[&str]) -> (u16, String, String) {
        let output = Command::new("curl")
            .args(["--silent", "--include", "--max-time", "10", "--path-as-is"])
            .args(["--cacert", &self.path("tls.crt")])
            .args(options)
            .arg(format!("{}{path}", self.url()))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let (head, body) = said.split_once("\r\n\r\n").unwrap_or((&said, ""));
        let status = head.split(' ').nth(1).and_then(|it| it.parse().ok());
        (
            status.unwrap_or_default(),
            head.to_ascii_lowercase(),
            body.to_owned(),
        )
    }
}

/// Starts Envoy with what is in the folder.
fn spawn(folder: &Path) -> Child {
    let file = |name: &str| File::create(folder.join(name)).unwrap();
    Command::new(artifacts::envoy().unwrap())
        .arg("--config-path")
        .arg(folder.join("envoy.json"))
        .arg("--admin-address-path")
        .arg(folder.join("admin"))
        .args(["--concurrency", "1", "--disable-hot-restart"])
        .stdin(Stdio::null())
        .stdout(file("access.log"))
        .stderr(file("envoy.log"))
        .spawn()
        .unwrap()
}

fn certificate(folder: &Path) {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    fs::write(folder.join("tls.crt"), made.cert.pem()).unwrap();
    fs::write(folder.join("tls.key"), made.signing_key.serialize_pem()).unwrap();
}

/// Ports, paths and addresses of this machine in place of those of production.
pub fn place(config: &mut Value, folder: &Path, at: &[SocketAddr]) {
    let dist = root()
        .join("dist")
        .canonicalize()
        .unwrap()
        .display()
        .to_string();
    let text = config
        .to_string()
        .replace("/etc/envoy/tls", &folder.display().to_string())
        .replace("/etc/portcullis", &dist);
    *config = serde_json::from_str(&text).unwrap();
    let local = json!({ "address": "127.0.0.1", "port_value": 0 });
    config["admin"]["address"]["socket_address"] = local.clone();
    for listener in config["static_resources"]["listeners"]
        .as_array_mut()
        .unwrap()
    {
        listener["address"]["socket_address"] = local.clone();
    }
    for cluster in config["static_resources"]["clusters"]
        .as_array_mut()
        .unwrap()
    {
        let to = match cluster["name"].as_str().unwrap() {
            "auth-service" => at[1],
            "redis-proxy" => at[2],
            "limiter" => at[3],
            _ => at[0],
        };
        cluster["type"] = "STATIC".into();
        cluster.as_object_mut().unwrap().remove("transport_socket");
        let endpoint =
            &mut cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"];
        endpoint["address"]["socket_address"] =
            json!({ "address": to.ip().to_string(), "port_value": to.port() });
    }
}
