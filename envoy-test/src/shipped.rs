//! An Envoy with a configuration of `ops/`, as it stands but for ports, paths and names.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use testkit::Request;
use testkit::http_client::Connection;

use crate::artifacts;
use crate::stats::Stats;

const WITHIN: Duration = Duration::from_secs(60);

/// A shipped configuration with its places filled in.
pub struct Shipped {
    text: String,
    pub folder: TempDir,
}

impl Shipped {
    /// The configuration of this path under `ops`. Its admin port is free.
    ///
    /// # Panics
    /// When it is not there.
    #[must_use]
    pub fn new(path: &str) -> Self {
        let text = fs::read_to_string(artifacts::workspace().join("ops").join(path)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut shipped = Self { text, folder };
        for port in ["9901", "9902"] {
            let at = format!("address: 127.0.0.1, port_value: {port}");
            if shipped.text.contains(&at) {
                shipped.put(&at, "address: 127.0.0.1, port_value: 0");
            }
        }
        if shipped.text.contains("/etc/portcullis") {
            let dist = artifacts::workspace().join("dist").display().to_string();
            shipped.put("/etc/portcullis", &dist);
        }
        shipped
    }

    /// Replaces a text that has to be there.
    ///
    /// # Panics
    /// When it is not.
    pub fn put(&mut self, from: &str, to: &str) {
        assert!(self.text.contains(from), "the configuration has no {from}");
        self.text = self.text.replace(from, to);
    }

    /// Has a name resolve to this address.
    pub fn place(&mut self, name: &str, port: u16, at: SocketAddr) {
        let from = format!("address: {name}, port_value: {port}");
        let to = format!("address: {}, port_value: {}", at.ip(), at.port());
        self.put(&from, &to);
    }

    /// Has the edge listen on a free port of this machine, with a certificate for `gateway.test`.
    ///
    /// # Panics
    /// When the configuration is none of an edge.
    pub fn listen(&mut self) {
        let made = rcgen::generate_simple_self_signed(["gateway.test".to_owned()]).unwrap();
        let write = |name: &str, pem: String| fs::write(self.folder.path().join(name), pem);
        write("tls.crt", made.cert.pem()).unwrap();
        write("tls.key", made.signing_key.serialize_pem()).unwrap();
        let here = self.folder.path().display().to_string();
        self.put("/etc/envoy/tls", &here);
        self.put(
            "address: 0.0.0.0, port_value: 8443",
            "address: 127.0.0.1, port_value: 0",
        );
    }

    /// Adds a part to its end.
    pub fn append(&mut self, part: &str) {
        self.text.push_str(part);
    }

    /// Copies the documents for SDS, and has Envoy look for secrets in this test's folder.
    ///
    /// # Panics
    /// When they cannot be copied.
    pub fn secrets(&mut self) {
        let sds = self.folder.path().join("sds");
        fs::create_dir(&sds).unwrap();
        let here = self.folder.path().display().to_string();
        for entry in fs::read_dir(artifacts::workspace().join("ops/envoy/sds")).unwrap() {
            let entry = entry.unwrap();
            let text = fs::read_to_string(entry.path()).unwrap();
            let text = text.replace("/etc/envoy", &here);
            fs::write(sds.join(entry.file_name()), text).unwrap();
        }
        self.put("/etc/envoy", &here);
    }

    /// The configuration as it is by now.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Has Envoy load it, but not serve.
    ///
    /// # Errors
    /// What Envoy says if it refuses it.
    ///
    /// # Panics
    /// When Envoy cannot be started.
    pub fn validate(&self) -> Result<(), String> {
        let path = self.folder.path().join("envoy.yaml");
        fs::write(&path, &self.text).unwrap();
        let output = Command::new(artifacts::envoy().unwrap())
            .args([
                "--mode",
                "validate",
                "--log-level",
                "error",
                "--config-path",
            ])
            .arg(&path)
            .output()
            .unwrap();
        if output.status.success() {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Starts it, and waits until it is ready.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(self) -> Running {
        self.start_with(&[
            "--concurrency",
            "2",
            "--log-level",
            "warning",
            "--component-log-level",
            "wasm:info",
        ])
    }

    /// The same with these options: how many workers, what is logged.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start_with(self, options: &[&str]) -> Running {
        let path = self.folder.path().join("envoy.yaml");
        fs::write(&path, &self.text).unwrap();
        let file = |name: &str| File::create(self.folder.path().join(name)).unwrap();
        let child = Command::new(artifacts::envoy().unwrap())
            .arg("--config-path")
            .arg(&path)
            .arg("--admin-address-path")
            .arg(self.folder.path().join("admin"))
            .arg("--disable-hot-restart")
            .args(options)
            .stdin(Stdio::null())
            .stdout(file("access.log"))
            .stderr(file("envoy.log"))
            .spawn()
            .unwrap();
        let envoy = Running {
            child,
            folder: self.folder,
        };
        envoy.until("its readiness", || {
            let ready = envoy.ask("/ready")?;
            (ready.trim() == "LIVE").then_some(())
        });
        envoy
    }
}

/// A running Envoy.
pub struct Running {
    child: Child,
    folder: TempDir,
}

impl Running {
    /// A path in its folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where its admin endpoint is, once it is there.
    #[must_use]
    pub fn admin(&self) -> Option<SocketAddr> {
        let admin = fs::read_to_string(self.path("admin")).ok()?;
        admin.trim().parse().ok()
    }

    /// Asks the admin endpoint.
    #[must_use]
    pub fn ask(&self, path: &str) -> Option<String> {
        let mut connection = Connection::open(self.admin()?, None).ok()?;
        let answer = connection.exchange(&Request::get(path)).ok()?;
        Some(String::from_utf8_lossy(&answer.body).into_owned())
    }

    /// Where the listener of this name listens.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn listener(&self, name: &str) -> SocketAddr {
        self.until("its listener", || {
            let all: Value = serde_json::from_str(&self.ask("/listeners?format=json")?).ok()?;
            let mut statuses = all["listener_statuses"].as_array()?.iter();
            let found = statuses.find(|status| status["name"] == name)?;
            let socket = &found["local_address"]["socket_address"];
            let port = u16::try_from(socket["port_value"].as_u64()?).ok()?;
            Some(SocketAddr::from(([127, 0, 0, 1], port)))
        })
    }

    /// A counter or gauge; 0 if it is not there.
    ///
    /// # Panics
    /// When Envoy does not tell.
    #[must_use]
    pub fn stat(&self, name: &str) -> u64 {
        let text = self.ask("/stats").expect("statistics");
        Stats::parse(&text).get(name)
    }

    /// Everything that it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        read(&self.path("envoy.log"))
    }

    /// What it has written of requests.
    #[must_use]
    pub fn access_log(&self) -> String {
        read(&self.path("access.log"))
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until there is something.
    ///
    /// # Panics
    /// When there is nothing within a minute.
    pub fn until<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(
                began.elapsed() < WITHIN,
                "Envoy shows no sign of {what}:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}
