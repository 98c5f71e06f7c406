//! The control API of a redis-proxy, as an operator's `curl` speaks to it.

use std::process::Command;
use std::time::Duration;

use envoy_test::artifacts;
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::ports::free_port;

/// A list that operators keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    Deny,
    Tarpit,
}

impl List {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Tarpit => "tarpit",
        }
    }
}

/// A place for a control API, with certificates of its own.
pub struct Control {
    port: u16,
    certificates: TempDir,
}

impl Control {
    /// Makes certificates as `make certs` does.
    ///
    /// # Panics
    /// When that failed.
    #[must_use]
    pub fn prepare() -> Self {
        let certificates = tempfile::tempdir().unwrap();
        let made = Command::new(artifacts::workspace().join("tools/certs.sh"))
            .arg(certificates.path())
            .output()
            .expect("tools/certs.sh runs");
        assert!(made.status.success(), "{made:?}");
        Self {
            port: free_port(),
            certificates,
        }
    }

    /// The part of redis-proxy's configuration that opens it.
    #[must_use]
    pub fn config(&self) -> String {
        let folder = self.certificates.path().display();
        format!(
            "[control]\nlisten = '127.0.0.1:{}'\ncert = '{folder}/server.pem'\n\
             key = '{folder}/server.key'\nclient_ca = '{folder}/ca.pem'\n\
             allow = ['spiffe://portcullis.local/soc']\n",
            self.port
        )
    }

    /// A certificate, as PEM, and its key, of a server called `localhost`.
    ///
    /// # Panics
    /// When they are not there.
    #[must_use]
    pub fn server_certificate(&self) -> [String; 2] {
        ["server.pem", "server.key"]
            .map(|name| std::fs::read_to_string(self.certificates.path().join(name)).unwrap())
    }

    /// Lists a client; the entry's id.
    ///
    /// # Panics
    /// When it is not taken.
    #[must_use]
    pub fn push(&self, list: List, kind: &str, value: &str, ttl: Duration, reason: &str) -> String {
        let body = json!({
            "kind": kind,
            "value": value,
            "ttlSeconds": ttl.as_secs(),
            "reason": reason,
        });
        let path = format!("/v1/internal/edge/{}", list.name());
        let entry = self.ask("POST", &path, &body.to_string());
        entry["id"].as_str().expect("an id").to_owned()
    }

    /// Takes an entry off its list.
    ///
    /// # Panics
    /// When there is none.
    pub fn delete(&self, list: List, entry: &str) {
        let path = format!("/v1/internal/edge/{}/{entry}", list.name());
        self.ask("DELETE", &path, "");
    }

    /// Asks for something.
    ///
    /// # Panics
    /// When it is refused.
    #[must_use]
    pub fn get(&self, path: &str) -> Value {
        self.ask("GET", path, "")
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Value {
        let file = |name: &str| self.certificates.path().join(name);
        let mut command = Command::new("curl");
        command
            .args(["--silent", "--show-error", "--fail-with-body"])
            .args(["--max-time", "10", "--request", method])
            .arg("--cacert")
            .arg(file("ca.pem"))
            .arg("--cert")
            .arg(file("soc.pem"))
            .arg("--key")
            .arg(file("soc.key"))
            .arg(format!("https://localhost:{}{path}", self.port));
        if !body.is_empty() {
            command.args(["--header", "content-type: application/json"]);
            command.args(["--data-binary", body]);
        }
        let output = command.output().expect("curl runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{method} {path}: {said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_str(&said).unwrap_or_default()
    }
}
