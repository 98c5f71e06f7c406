//! The control API, as an operator's `curl` speaks to it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

/// A list that operators keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    Deny,
    Tarpit,
}

impl List {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Tarpit => "tarpit",
        }
    }
}

pub struct Control {
    port: u16,
    certificates: PathBuf,
}

impl Control {
    pub fn new(port: u16, certificates: &Path) -> Self {
        Self {
            port,
            certificates: certificates.to_owned(),
        }
    }

    /// Lists an address; the entry's id.
    pub fn push(&self, list: List, address: &str, ttl: Duration) -> String {
        let body = json!({
            "kind": "ip",
            "value": address,
            "ttlSeconds": ttl.as_secs(),
            "reason": "how long does it take",
        });
        let path = format!("/v1/internal/edge/{}", list.name());
        let answer = self.ask("POST", &path, &body.to_string());
        let entry: Value = serde_json::from_str(&answer).expect("an entry");
        entry["id"].as_str().expect("an id").to_owned()
    }

    pub fn delete(&self, list: List, entry: &str) {
        let path = format!("/v1/internal/edge/{}/{entry}", list.name());
        self.ask("DELETE", &path, "");
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> String {
        let file = |name: &str| self.certificates.join(name);
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
        said
    }
}
