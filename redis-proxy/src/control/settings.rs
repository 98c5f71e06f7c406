//! `[control]` in the configuration.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use serde::Deserialize;

use super::{
    identity::Allow,
    tls::{Certificates, Files},
};
use crate::config::Problems;

/// As it is written; absent: there is no control API.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawControl {
    #[serde(default = "listen")]
    listen: SocketAddr,
    cert: PathBuf,
    key: PathBuf,
    client_ca: PathBuf,
    allow: Vec<String>,
    #[serde(default = "max_connections")]
    max_connections: usize,
    #[serde(default = "handshake_timeout_ms")]
    handshake_timeout_ms: u64,
}

fn listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8971))
}

const fn max_connections() -> usize {
    100
}

const fn handshake_timeout_ms() -> u64 {
    3_000
}

/// The control listener.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// Where the certificates are.
    pub files: Files,
    /// Who may use it.
    pub allow: Allow,
    /// Connections at a time; more wait unaccepted.
    pub max_connections: usize,
    /// For the TLS handshake.
    pub handshake_timeout: Duration,
}

impl RawControl {
    /// Checks everything, and that the files can be used now.
    pub(crate) fn check(self, problems: &mut Problems) -> Option<Settings> {
        problems.within("control.max_connections", self.max_connections, 1, 10_000);
        problems.within(
            "control.handshake_timeout_ms",
            self.handshake_timeout_ms,
            10,
            60_000,
        );
        let files = Files {
            cert: self.cert,
            key: self.key,
            client_ca: self.client_ca,
        };
        for bad in Certificates::load(&files).err().into_iter().flatten() {
            problems.add(&format!("control.{}", bad.file), &bad.problem);
        }
        let allow = Allow::new(&self.allow)
            .map_err(|(at, problem)| problems.add(&format!("control.allow[{at}]"), problem))
            .ok()?;
        Some(Settings {
            listen: self.listen,
            files,
            allow,
            max_connections: self.max_connections,
            handshake_timeout: Duration::from_millis(self.handshake_timeout_ms),
        })
    }
}
