//! The section `[quota]` of the configuration.

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;

use super::consumer;
use crate::{config::Problems, edge::publisher, key::Prefix};

/// What key names in Redis start with, unless the operator says otherwise.
pub const DEFAULT_PREFIX: &str = "quota:tenant:";

/// The section `[quota]` as it is written.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, default)]
pub struct RawQuota {
    consume: bool,
    subject: String,
    dead_subject: String,
    stream: String,
    create_stream: bool,
    durable: String,
    ack_wait_ms: u64,
    max_ahead_ms: u64,
    prefix: String,
    path: Option<PathBuf>,
    keep_days: u64,
    max_tenants: usize,
    timeout_ms: u64,
}

impl Default for RawQuota {
    fn default() -> Self {
        Self {
            consume: false,
            subject: "quota.updated".to_owned(),
            dead_subject: "quota.updated.dead".to_owned(),
            stream: "QUOTA".to_owned(),
            create_stream: false,
            durable: "redis-proxy-quota".to_owned(),
            ack_wait_ms: 30_000,
            max_ahead_ms: 300_000,
            prefix: DEFAULT_PREFIX.to_owned(),
            path: None,
            keep_days: 35,
            max_tenants: 100_000,
            timeout_ms: 1_000,
        }
    }
}

/// How quotas are kept.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where events come from; `None`: from nowhere.
    pub consumer: Option<consumer::Settings>,
    /// What key names in Redis start with.
    pub prefix: Prefix,
    /// File of the embedded store; without one quotas are in memory.
    pub path: Option<PathBuf>,
    /// How long a record is kept after its reset.
    pub keep: Duration,
    /// Tenants in the embedded store.
    pub max_tenants: usize,
    /// Time for an operation of the store.
    pub timeout: Duration,
}

impl RawQuota {
    /// Checks the section; `None` if there is a problem.
    pub(crate) fn check(
        self,
        nats: Option<&publisher::Settings>,
        embedded: bool,
        problems: &mut Problems,
    ) -> Option<Settings> {
        if self.path.is_some() && !embedded {
            problems.add("quota.path", "is for the embedded store only");
        }
        problems.within("quota.ack_wait_ms", self.ack_wait_ms, 1_000, 600_000);
        problems.within("quota.max_ahead_ms", self.max_ahead_ms, 0, 86_400_000);
        problems.within("quota.keep_days", self.keep_days, 1, 3_660);
        problems.within("quota.max_tenants", self.max_tenants, 1, 10_000_000);
        problems.within("quota.timeout_ms", self.timeout_ms, 10, 60_000);
        for (path, subject) in [
            ("quota.subject", &self.subject),
            ("quota.dead_subject", &self.dead_subject),
        ] {
            if !is_subject(subject) {
                let problem = "must be at most 128 of A-Z a-z 0-9 _ -, in parts joined by dots";
                problems.add(path, problem);
            }
        }
        if self.subject == self.dead_subject {
            problems.add("quota.dead_subject", "must not be quota.subject");
        }
        for (path, name) in [
            ("quota.stream", &self.stream),
            ("quota.durable", &self.durable),
        ] {
            if !is_name(name, 64) {
                problems.add(path, "must be 1 to 64 of A-Z a-z 0-9 _ -");
            }
        }
        if self.consume && nats.is_none() {
            problems.add("quota.consume", "needs nats.urls");
        }
        let prefix = problems.keep("quota.prefix", Prefix::new(&self.prefix))?;
        let consumer = nats
            .filter(|_| self.consume)
            .map(|nats| consumer::Settings {
                server: nats.server(),
                subject: self.subject,
                dead_subject: self.dead_subject,
                stream: self.stream,
                create_stream: self.create_stream,
                durable: self.durable,
                ack_wait: Duration::from_millis(self.ack_wait_ms),
                max_ahead: Duration::from_millis(self.max_ahead_ms),
            });
        Some(Settings {
            consumer,
            prefix,
            path: self.path,
            keep: Duration::from_secs(self.keep_days.saturating_mul(86_400)),
            max_tenants: self.max_tenants,
            timeout: Duration::from_millis(self.timeout_ms),
        })
    }
}

fn is_name(name: &str, most: usize) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    (1..=most).contains(&name.len()) && name.bytes().all(legal)
}

fn is_subject(subject: &str) -> bool {
    subject.len() <= 128 && subject.split('.').all(|part| is_name(part, 128))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_plain() {
        for good in ["quota.updated", "prod.quota.updated.dead", "a"] {
            assert!(is_subject(good), "{good}");
        }
        for bad in [
            "", "quota.", ".quota", "quota..x", "quota.*", "quota.>", "a b",
        ] {
            assert!(!is_subject(bad), "{bad}");
        }
    }
}
