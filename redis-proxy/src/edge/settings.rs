//! The sections `[edge]` and `[nats]` of the configuration.

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;

use super::{body::Rules, store::Bounds};
use crate::{config::Problems, key::Prefix};

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
}

impl RawEdge {
    /// Checks the section; `None` if there is a problem.
    pub(crate) fn check(self, problems: &mut Problems) -> Option<Settings> {
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
                pending: None,
            },
            rules: Rules {
                min_prefix_v4: self.min_prefix_v4,
                min_prefix_v6: self.min_prefix_v6,
            },
        })
    }
}
