//! The sections `[edge]` and `[nats]` of the configuration.

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;

use async_nats::ServerAddr;

use super::{body::Rules, publisher, store::Bounds};
use crate::{config::Problems, key::Prefix, secret::Secret};

/// What key names in Redis start with, unless the operator says otherwise.
pub const DEFAULT_PREFIX: &str = "kong:edge:";

/// The section `[edge]` as it is written.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, default)]
pub struct RawEdge {
    path: Option<PathBuf>,
    prefix: String,
    timeout_ms: u64,
    poll_ms: u64,
    max_entries: usize,
    max_gone: usize,
    max_audit: usize,
    min_prefix_v4: u8,
    min_prefix_v6: u8,
}

impl Default for RawEdge {
    fn default() -> Self {
        let Rules {
            min_prefix_v4,
            min_prefix_v6,
        } = Rules::default();
        Self {
            path: None,
            prefix: DEFAULT_PREFIX.to_owned(),
            timeout_ms: 2_000,
            poll_ms: 200,
            max_entries: 1_000_000,
            max_gone: 100_000,
            max_audit: 10_000,
            min_prefix_v4,
            min_prefix_v6,
        }
    }
}

/// The section `[nats]` as it is written; without `urls` there are no events.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, default)]
pub struct RawNats {
    urls: Vec<String>,
    creds_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    stream: String,
    create_stream: bool,
    subject_prefix: String,
    max_pending: usize,
}

impl Default for RawNats {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            creds_file: None,
            ca_file: None,
            stream: "EDGE".to_owned(),
            create_stream: false,
            subject_prefix: String::new(),
            max_pending: 100_000,
        }
    }
}

impl RawNats {
    /// Checks the section; `None`: there are no events, or there is a problem.
    fn check(self, problems: &mut Problems) -> Option<publisher::Settings> {
        problems.within("nats.max_pending", self.max_pending, 1, 10_000_000);
        if !is_stream(&self.stream) {
            let problem = "must be 1 to 64 of A-Z a-z 0-9 _ -";
            problems.add("nats.stream", problem);
        }
        if !is_subject_prefix(&self.subject_prefix) {
            let problem = "must be at most 64 of A-Z a-z 0-9 _ - ., and end in a dot";
            problems.add("nats.subject_prefix", problem);
        }
        if self.urls.is_empty() {
            return None;
        }
        let mut urls = Vec::new();
        for url in &self.urls {
            urls.extend(problems.keep("nats.urls", server(url)));
        }
        let tls = urls.iter().any(ServerAddr::tls_required);
        if self.ca_file.is_some() && !tls {
            problems.add("nats.ca_file", "needs a tls:// url");
        }
        let read = |path: &str, file: &PathBuf, problems: &mut Problems| problems.read(path, file);
        if let Some(file) = &self.ca_file {
            read("nats.ca_file", file, problems);
        }
        let credentials = self.creds_file.as_ref().and_then(|file| {
            let text = read("nats.creds_file", file, problems)?;
            Some(Secret::new(String::from_utf8_lossy(&text)))
        });
        if let Some(credentials) = &credentials
            && async_nats::ConnectOptions::new()
                .credentials(credentials.reveal())
                .is_err()
        {
            problems.add("nats.creds_file", "must hold a JWT and a seed");
        }
        Some(publisher::Settings {
            urls,
            credentials,
            ca: self.ca_file,
            stream: self.stream,
            create_stream: self.create_stream,
            subject_prefix: self.subject_prefix,
        })
    }
}

/// A url of NATS. What it says is not shown: it may hold a password, which is refused.
fn server(url: &str) -> Result<ServerAddr, &'static str> {
    let problem = "must be nats://host:port or tls://host:port, without credentials";
    let known = url.starts_with("nats://") || url.starts_with("tls://");
    url.parse::<ServerAddr>()
        .ok()
        .filter(|address| known && !address.has_user_pass() && !url.contains('@'))
        .ok_or(problem)
}

fn is_stream(name: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    (1..=64).contains(&name.len()) && name.bytes().all(legal)
}

fn is_subject_prefix(prefix: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
    prefix.is_empty()
        || (prefix.len() <= 64
            && prefix.ends_with('.')
            && !prefix.starts_with('.')
            && !prefix.contains("..")
            && prefix.bytes().all(legal))
}

/// How the lists are kept.
#[derive(Clone, Debug)]
pub struct Settings {
    /// File of the embedded store; without one the lists are in memory.
    pub path: Option<PathBuf>,
    /// What key names in Redis start with.
    pub prefix: Prefix,
    /// Time for an operation of the store.
    pub timeout: Duration,
    /// How often the store is asked what others changed.
    pub poll: Duration,
    /// What the store bounds.
    pub bounds: Bounds,
    /// Which networks may be listed.
    pub rules: Rules,
    /// Where events go; `None`: there are none.
    pub nats: Option<publisher::Settings>,
    /// Whether it is worth a note that the store is not durable: of Redis that is expected, of memory it is not.
    pub tells_durability: bool,
}

impl RawEdge {
    /// Checks the section; `None` if there is a problem.
    pub(crate) fn check(
        self,
        nats: RawNats,
        embedded: bool,
        problems: &mut Problems,
    ) -> Option<Settings> {
        if self.path.is_some() && !embedded {
            problems.add("edge.path", "is for the embedded store only");
        }
        let max_pending = nats.max_pending;
        let nats = nats.check(problems);
        problems.within("edge.timeout_ms", self.timeout_ms, 10, 60_000);
        problems.within("edge.poll_ms", self.poll_ms, 10, 1_000);
        problems.within("edge.max_entries", self.max_entries, 1, 10_000_000);
        problems.within("edge.max_gone", self.max_gone, 1_000, 10_000_000);
        problems.within("edge.max_audit", self.max_audit, 1_000, 10_000_000);
        problems.within("edge.min_prefix_v4", self.min_prefix_v4, 0, 32);
        problems.within("edge.min_prefix_v6", self.min_prefix_v6, 0, 128);
        let prefix = problems.keep("edge.prefix", Prefix::new(&self.prefix))?;
        Some(Settings {
            path: self.path,
            prefix,
            timeout: Duration::from_millis(self.timeout_ms),
            poll: Duration::from_millis(self.poll_ms),
            bounds: Bounds {
                entries: self.max_entries,
                gone: self.max_gone,
                audit: self.max_audit,
                pending: nats.as_ref().map(|_| max_pending),
            },
            rules: Rules {
                min_prefix_v4: self.min_prefix_v4,
                min_prefix_v6: self.min_prefix_v6,
            },
            nats,
            tells_durability: !embedded,
        })
    }
}
