//! Configuration: file, then environment, then flags; the later wins. All of it is checked at once.
//!
//! The environment is `REDIS_PROXY_` and the path with `__` between its parts:
//! `REDIS_PROXY_REDIS__PASSWORD`. Bounds and defaults are in the README and here only.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Parser;
use figment::{
    Figment,
    providers::{Env, Format as _, Serialized, Toml},
};
use serde::{Deserialize, Serialize};
use wire::tiers::TierTable;

use crate::{
    aimd, control, edge,
    key::{DEFAULT_PREFIX, Prefix},
    listener::Bounds,
    quota,
    secret::Secret,
    store::redis,
    tiers::RawTiers,
    traces,
};

/// Flags: each overrides the file and the environment.
#[derive(Debug, Clone, Default, Parser, Serialize)]
#[command(version, about)]
pub struct Flags {
    /// The configuration file (TOML). Without one, the defaults serve.
    #[arg(long, short, env = "REDIS_PROXY_CONFIG")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// Address to listen on, `ip:port`; port 0 takes a free one.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// Where tokens are kept: `embedded`, `redis` or `cluster`.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<String>,
    /// Check the configuration, print every problem, and stop.
    #[arg(long)]
    #[serde(skip)]
    pub check: bool,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    listen: SocketAddr,
    store: StoreKind,
    prefix: String,
    budget_ms: u64,
    max_body_bytes: usize,
    max_in_flight: usize,
    request_timeout_ms: u64,
    max_connections: usize,
    first_head_timeout_ms: u64,
    idle_timeout_ms: u64,
    drain_ms: u64,
    log: String,
    embedded: RawEmbedded,
    edge: edge::settings::RawEdge,
    nats: edge::settings::RawNats,
    quota: quota::settings::RawQuota,
    fingerprints: RawFingerprints,
    control: Option<control::settings::RawControl>,
    redis: RawRedis,
    adaptive: RawAdaptive,
    tiers: RawTiers,
    traces: traces::settings::RawTraces,
}

/// Where tokens are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// In this process.
    Embedded,
    /// One Redis.
    Redis,
    /// A Redis Cluster.
    Cluster,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, default)]
struct RawEmbedded {
    path: Option<PathBuf>,
    max_keys: usize,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, default)]
struct RawRedis {
    addresses: Vec<String>,
    username: Option<String>,
    password: Option<Secret>,
    password_file: Option<PathBuf>,
    database: i64,
    connections: usize,
    breaker_failures: u32,
    tls: bool,
    ca_file: Option<PathBuf>,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, default)]
struct RawAdaptive {
    enabled: bool,
    interval_ms: u64,
    floor_permille: u32,
    decrease_permille: u32,
    increase_permille: u32,
    failure_percent: u32,
    latency_ms: u64,
    min_requests: u64,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8970)),
            store: StoreKind::Embedded,
            prefix: DEFAULT_PREFIX.to_owned(),
            budget_ms: 50,
            max_body_bytes: 262_144,
            max_in_flight: 4_096,
            request_timeout_ms: 2_000,
            max_connections: 1_000,
            first_head_timeout_ms: 5_000,
            idle_timeout_ms: 300_000,
            drain_ms: 5_000,
            log: "info".to_owned(),
            embedded: RawEmbedded::default(),
            edge: edge::settings::RawEdge::default(),
            nats: edge::settings::RawNats::default(),
            quota: quota::settings::RawQuota::default(),
            fingerprints: RawFingerprints::default(),
            control: None,
            redis: RawRedis::default(),
            adaptive: RawAdaptive::default(),
            tiers: RawTiers::default(),
            traces: traces::settings::RawTraces::default(),
        }
    }
}

impl Default for RawEmbedded {
    fn default() -> Self {
        Self {
            path: None,
            max_keys: 1_000_000,
        }
    }
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields, default)]
struct RawFingerprints {
    counters: usize,
    log_samples: bool,
    metrics_top: usize,
}

impl Default for RawFingerprints {
    fn default() -> Self {
        Self {
            counters: 1_000,
            log_samples: true,
            metrics_top: 0,
        }
    }
}

impl Default for RawRedis {
    fn default() -> Self {
        Self {
            addresses: vec!["127.0.0.1:6379".to_owned()],
            username: None,
            password: None,
            password_file: None,
            database: 0,
            connections: 2,
            breaker_failures: 5,
            tls: false,
            ca_file: None,
            cert_file: None,
            key_file: None,
        }
    }
}

impl Default for RawAdaptive {
    fn default() -> Self {
        Self {
            enabled: false,
            interval_ms: 1_000,
            floor_permille: 100,
            decrease_permille: 500,
            increase_permille: 50,
            failure_percent: 5,
            latency_ms: 500,
            min_requests: 20,
        }
    }
}

/// A checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// What key names start with.
    pub prefix: Prefix,
    /// Time for the store to decide a batch.
    pub budget: Duration,
    /// Longest request body.
    pub max_body_bytes: usize,
    /// Requests served at a time, and keys waiting at the store at a time.
    pub max_in_flight: usize,
    /// Time for a request, its body included.
    pub request_timeout: Duration,
    /// What a listener bounds.
    pub bounds: Bounds,
    /// Filter of the log, as `tracing-subscriber` reads it.
    pub log: String,
    /// Where tokens are kept.
    pub store: StoreConfig,
    /// How the lists are kept.
    pub edge: edge::settings::Settings,
    /// How quotas are kept.
    pub quota: quota::Settings,
    /// How samples are counted.
    pub fingerprints: FingerprintConfig,
    /// The control API; `None`: there is none.
    pub control: Option<control::settings::Settings>,
    /// Where spans go; `None`: there are none.
    pub traces: Option<traces::Settings>,
    /// What may change while running.
    pub live: Live,
    /// Length of an adaptive interval.
    pub adaptive_interval: Duration,
}

/// Where tokens are kept.
#[derive(Debug, Clone)]
pub enum StoreConfig {
    /// In this process; with a path, windowed limits survive a `kill -9`.
    Embedded {
        /// The file.
        path: Option<PathBuf>,
        /// Most keys.
        max_keys: usize,
    },
    /// Redis, single or Cluster.
    Redis(Box<redis::Settings>),
}

/// How samples are counted.
#[derive(Debug, Clone, Copy)]
pub struct FingerprintConfig {
    /// Counters of each kind in each bucket of time.
    pub counters: usize,
    /// Whether each sample is also a line of the log, target `sample`.
    pub log_samples: bool,
    /// Values of each kind that `/metrics` shows; 0: none.
    pub metrics_top: usize,
}

/// What may change while running: the file is read again when it changes and on SIGHUP.
#[derive(Debug, Clone)]
pub struct Live {
    /// The tier table.
    pub tiers: TierTable,
    /// Adaptive settings; `None`: off.
    pub adaptive: Option<aimd::Settings>,
}

/// Every problem found, one per line, each with its path.
#[derive(Debug)]
pub struct ConfigErrors(Vec<String>);

impl std::fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for ConfigErrors {}

impl Config {
    /// Reads file, environment and flags.
    ///
    /// # Errors
    /// All problems at once.
    pub fn load(flags: &Flags) -> Result<Self, ConfigErrors> {
        let mut figment = Figment::new();
        if let Some(path) = &flags.config {
            figment = figment.merge(Toml::file_exact(path));
        }
        let env = Env::prefixed("REDIS_PROXY_")
            .ignore(&["config"])
            .split("__");
        let figment = figment.merge(env).merge(Serialized::defaults(flags));
        let raw: Raw = figment.extract().map_err(|errors| {
            // The value is not shown: it may be a secret.
            ConfigErrors(errors.into_iter().map(|e| problem(&e)).collect())
        })?;
        raw.check()
    }
}

fn problem(error: &figment::Error) -> String {
    use figment::error::Kind;
    let what = match &error.kind {
        Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected) => {
            format!("must be {expected}")
        }
        Kind::UnknownField(field, known) => format!("{field}: unknown; known are {known:?}"),
        Kind::Message(message) if !error.path.iter().any(|part| part == "password") => {
            message.clone()
        }
        Kind::Message(_) => "is not valid".to_owned(),
        other => other.to_string(),
    };
    format!("{}: {what}", error.path.join("."))
}

impl Raw {
    fn check(self) -> Result<Config, ConfigErrors> {
        let mut problems = Problems::default();
        problems.within("budget_ms", self.budget_ms, 1, 10_000);
        problems.within("max_body_bytes", self.max_body_bytes, 1_024, 16_777_216);
        problems.within("max_in_flight", self.max_in_flight, 64, 1_000_000);
        problems.within("request_timeout_ms", self.request_timeout_ms, 10, 60_000);
        problems.within("max_connections", self.max_connections, 1, 1_000_000);
        problems.within(
            "first_head_timeout_ms",
            self.first_head_timeout_ms,
            10,
            60_000,
        );
        problems.within("idle_timeout_ms", self.idle_timeout_ms, 1_000, 3_600_000);
        problems.within("drain_ms", self.drain_ms, 0, 600_000);
        problems.within("embedded.max_keys", self.embedded.max_keys, 16, 100_000_000);
        self.adaptive.check(&mut problems);
        let embedded = self.store == StoreKind::Embedded;
        let edge = self.edge.check(self.nats, embedded, &mut problems);
        let nats = edge.as_ref().and_then(|edge| edge.nats.as_ref());
        let quota = self.quota.check(nats, embedded, &mut problems);
        let counters = self.fingerprints.counters;
        problems.within("fingerprints.counters", counters, 64, 10_000);
        let metrics_top = self.fingerprints.metrics_top;
        problems.within("fingerprints.metrics_top", metrics_top, 0, 100);
        let control = self.control.and_then(|raw| raw.check(&mut problems));
        let traces = self.traces.check(&mut problems);
        let prefix = problems.keep("prefix", Prefix::new(&self.prefix));
        let tiers = self
            .tiers
            .table()
            .map_err(|all| problems.0.extend(all))
            .ok();
        let budget = Duration::from_millis(self.budget_ms);
        let store = match self.store {
            StoreKind::Embedded => Some(StoreConfig::Embedded {
                path: self.embedded.path,
                max_keys: self.embedded.max_keys,
            }),
            kind => self
                .redis
                .settings(kind, budget, self.max_in_flight, &mut problems)
                .map(|settings| StoreConfig::Redis(Box::new(settings))),
        };
        match (prefix, tiers, store, edge, quota) {
            (Some(prefix), Some(tiers), Some(store), Some(edge), Some(quota))
                if problems.0.is_empty() =>
            {
                Ok(Config {
                    listen: self.listen,
                    prefix,
                    budget,
                    max_body_bytes: self.max_body_bytes,
                    max_in_flight: self.max_in_flight,
                    request_timeout: Duration::from_millis(self.request_timeout_ms),
                    bounds: Bounds {
                        connections: self.max_connections,
                        first_head: Duration::from_millis(self.first_head_timeout_ms),
                        idle: Duration::from_millis(self.idle_timeout_ms),
                        drain: Duration::from_millis(self.drain_ms),
                    },
                    log: self.log,
                    store,
                    edge,
                    quota,
                    fingerprints: FingerprintConfig {
                        counters,
                        log_samples: self.fingerprints.log_samples,
                        metrics_top,
                    },
                    control,
                    traces,
                    live: Live {
                        tiers,
                        adaptive: self.adaptive.settings(),
                    },
                    adaptive_interval: Duration::from_millis(self.adaptive.interval_ms),
                })
            }
            _ => Err(ConfigErrors(problems.0)),
        }
    }
}

impl RawAdaptive {
    fn check(&self, problems: &mut Problems) {
        problems.within("adaptive.interval_ms", self.interval_ms, 100, 60_000);
        problems.within("adaptive.floor_permille", self.floor_permille, 1, 1_000);
        problems.within("adaptive.decrease_permille", self.decrease_permille, 1, 999);
        problems.within(
            "adaptive.increase_permille",
            self.increase_permille,
            1,
            1_000,
        );
        problems.within("adaptive.failure_percent", self.failure_percent, 0, 100);
        problems.within("adaptive.latency_ms", self.latency_ms, 1, 600_000);
        problems.within("adaptive.min_requests", self.min_requests, 1, 1_000_000);
    }

    fn settings(&self) -> Option<aimd::Settings> {
        self.enabled.then_some(aimd::Settings {
            floor_permille: self.floor_permille,
            decrease_permille: self.decrease_permille,
            increase_permille: self.increase_permille,
            failure_percent: self.failure_percent,
            latency_ms: self.latency_ms,
            min_requests: self.min_requests,
        })
    }
}

impl RawRedis {
    fn settings(
        self,
        kind: StoreKind,
        budget: Duration,
        max_in_flight: usize,
        problems: &mut Problems,
    ) -> Option<redis::Settings> {
        problems.within("redis.connections", self.connections, 1, 64);
        problems.within("redis.breaker_failures", self.breaker_failures, 1, 1_000);
        let cluster = kind == StoreKind::Cluster;
        if cluster && self.database != 0 {
            problems.add("redis.database", "must be 0 in a cluster");
        }
        if self.addresses.is_empty() || (!cluster && self.addresses.len() > 1) {
            problems.add(
                "redis.addresses",
                "must be one address, or more for a cluster",
            );
        }
        if self.password.is_some() && self.password_file.is_some() {
            problems.add(
                "redis.password",
                "and redis.password_file exclude each other",
            );
        }
        if !self.tls && (self.ca_file.is_some() || self.cert_file.is_some()) {
            problems.add("redis.tls", "must be true for certificates to be used");
        }
        if self.cert_file.is_some() != self.key_file.is_some() {
            problems.add("redis.cert_file", "and redis.key_file need each other");
        }
        let addresses = self
            .addresses
            .iter()
            .filter_map(|a| problems.keep("redis.addresses", address(a)));
        let addresses = addresses.collect();
        let mut read =
            |path: &str, file: Option<PathBuf>| file.and_then(|file| problems.read(path, &file));
        let from_file = read("redis.password_file", self.password_file);
        let ca = read("redis.ca_file", self.ca_file);
        let client =
            read("redis.cert_file", self.cert_file).zip(read("redis.key_file", self.key_file));
        let from_file = from_file.map(|bytes| {
            Secret::new(String::from_utf8_lossy(&bytes).trim_end_matches(['\r', '\n']))
        });
        Some(redis::Settings {
            addresses,
            cluster,
            username: self.username,
            password: self.password.or(from_file),
            database: self.database,
            tls: self.tls.then_some(redis::Tls { ca, client }),
            connections: self.connections,
            budget,
            max_in_flight,
            breaker_failures: self.breaker_failures,
        })
    }
}

fn address(text: &str) -> Result<(String, u16), &'static str> {
    let problem = "must be host:port";
    let (host, port) = text.rsplit_once(':').ok_or(problem)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        return Err(problem);
    }
    Ok((host.to_owned(), port.parse().map_err(|_| problem)?))
}

/// Problems found so far.
#[derive(Default)]
pub(crate) struct Problems(Vec<String>);

impl Problems {
    pub(crate) fn add(&mut self, path: &str, problem: &str) {
        self.0.push(format!("{path}: {problem}"));
    }

    pub(crate) fn within<T: PartialOrd + std::fmt::Display>(
        &mut self,
        path: &str,
        n: T,
        low: T,
        high: T,
    ) {
        if n < low || n > high {
            self.add(path, &format!("must be {low} to {high}"));
        }
    }

    pub(crate) fn keep<T>(&mut self, path: &str, result: Result<T, &'static str>) -> Option<T> {
        result.map_err(|problem| self.add(path, problem)).ok()
    }

    pub(crate) fn read(&mut self, path: &str, file: &Path) -> Option<Vec<u8>> {
        std::fs::read(file)
            .map_err(|error| self.add(path, &error.to_string()))
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn load(text: &str) -> Result<Config, ConfigErrors> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        Config::load(&Flags {
            config: Some(file.path().into()),
            ..Flags::default()
        })
    }

    #[test]
    fn without_a_file_the_embedded_store_serves() {
        let config = Config::load(&Flags::default()).unwrap();
        assert!(matches!(
            config.store,
            StoreConfig::Embedded {
                path: None,
                max_keys: 1_000_000
            }
        ));
        assert_eq!(config.budget, Duration::from_millis(50));
        assert!(config.live.adaptive.is_none());
    }

    #[test]
    fn flags_win_over_the_file() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"listen = '127.0.0.1:1'\nstore = 'redis'")
            .unwrap();
        let config = Config::load(&Flags {
            config: Some(file.path().into()),
            listen: Some(([127, 0, 0, 1], 2).into()),
            ..Flags::default()
        });
        let config = config.unwrap();
        assert_eq!(config.listen.port(), 2);
        assert!(matches!(config.store, StoreConfig::Redis(_)));
    }

    #[test]
    fn traces_go_to_a_plain_address() {
        for good in [
            "http://127.0.0.1:4318",
            "http://[::1]:4318/v1/traces",
            "http://collector",
        ] {
            let config = load(&format!("[traces]\nendpoint = '{good}'"));
            assert!(config.unwrap().traces.is_some(), "{good}");
        }
        assert!(load("").unwrap().traces.is_none(), "off by default");
        for bad in [
            "https://collector",
            "collector:4318",
            "http://a:b@collector",
            "http://c/?x=1",
            "/v1",
        ] {
            let errors = load(&format!("[traces]\nendpoint = '{bad}'")).unwrap_err();
            assert!(
                errors
                    .to_string()
                    .starts_with("traces.endpoint: must be http://"),
                "{bad}"
            );
        }
    }

    #[test]
    fn all_problems_are_named_at_once() {
        let text = "budget_ms = 0\nprefix = 'x'\nstore = 'redis'\n[redis]\naddresses = ['a']\n\
                    password = 'hunter2'\npassword_file = '/nonexistent'\ncert_file = '/nonexistent'";
        let errors = load(text).unwrap_err().to_string();
        for path in [
            "budget_ms: must be 1 to 10000",
            "prefix: ",
            "redis.addresses: must be host:port",
            "redis.password: and",
            "redis.password_file: No such file",
            "redis.tls: ",
            "redis.cert_file: and",
        ] {
            assert!(errors.contains(path), "{path} in\n{errors}");
        }
        assert!(!errors.contains("hunter2"));
    }

    #[test]
    fn unknown_and_mistyped_fields_are_refused_without_showing_values() {
        let errors = load("budget = 1").unwrap_err().to_string();
        assert!(errors.contains("budget: unknown"), "{errors}");
        let errors = load("[redis]\npassword = 123456").unwrap_err().to_string();
        assert!(
            errors.contains("redis.password") && !errors.contains("123456"),
            "{errors}"
        );
    }

    #[test]
    fn a_password_comes_from_a_file_without_its_line_end_and_never_shows() {
        let mut secret = tempfile::NamedTempFile::new().unwrap();
        secret.write_all(b"hunter2\n").unwrap();
        let text = format!(
            "store = 'redis'\n[redis]\npassword_file = '{}'",
            secret.path().display()
        );
        let config = load(&text).unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
        let StoreConfig::Redis(settings) = config.store else {
            panic!("redis")
        };
        assert_eq!(settings.password.unwrap().reveal(), "hunter2");
    }
}
