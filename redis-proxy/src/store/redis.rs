//! Redis 7, single or Cluster.
//!
//! One key is one `EVALSHA` of one key: atomic, on Redis's clock, no cross-slot trick. Calls of all requests
//! share few multiplexed connections, so they are pipelined without waiting for each other. A
//! script Redis does not know (new primary, `SCRIPT FLUSH`) is sent in full once, with `EVAL`.
//!
//! A call that is not answered within the budget fails as [`Failure::StoreTimeout`]; at most
//! [`Settings::max_in_flight`] keys wait at a time, further ones fail as [`Failure::Overloaded`]. Failures in a row open a
//! [`Breaker`]; open, a call fails in well under a microsecond. One task per store probes and
//! reconnects. A Cluster has a breaker per 1/64 of its slots, so one dead primary does not stop the others.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use futures_util::future::{BoxFuture, join_all};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, FromRedisValue,
    IntoConnectionInfo as _, RedisConnectionInfo, RedisError, ServerErrorKind, TlsCertificates,
    aio::MultiplexedConnection,
    cluster::{ClusterClient, ClusterClientBuilder},
    cluster_async::ClusterConnection,
};
use tokio::{
    sync::{Notify, Semaphore},
    time::{Instant, sleep, timeout, timeout_at},
};
use wire::limits::{Failure, GIVE_BACK_HORIZON_MS, GiveBack};

use super::{Ask, Health, Outcome, Store};
use crate::{
    breaker::{Backoff, Breaker},
    bucket::{Decision, Rule},
    key::Prefix,
    script::Script,
    secret::Secret,
};

/// Parts of a Cluster with a breaker of their own. A power of two below 16,384.
const STRIPES: usize = 64;
/// Longest wait for a new connection, in the background.
const CONNECT: Duration = Duration::from_secs(1);
/// Failed probes in a row after which a connection is made anew.
const PROBES_PER_CONNECTION: u32 = 3;

/// How to reach Redis.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `host:port`; one for a single Redis, any nodes of a Cluster.
    pub addresses: Vec<(String, u16)>,
    /// Redis Cluster.
    pub cluster: bool,
    /// ACL user.
    pub username: Option<String>,
    /// Password.
    pub password: Option<Secret>,
    /// Database of a single Redis.
    pub database: i64,
    /// TLS, if set.
    pub tls: Option<Tls>,
    /// Connections of a single Redis; a Cluster has one per node.
    pub connections: usize,
    /// Time for a call.
    pub budget: Duration,
    /// Keys that may wait at a time.
    pub max_in_flight: usize,
    /// Failures in a row that open a breaker.
    pub breaker_failures: u32,
}

/// PEM texts, read already.
#[derive(Clone, Default)]
pub struct Tls {
    /// Certificate authorities; the system's when `None`.
    pub ca: Option<Vec<u8>>,
    /// Client certificate chain and key.
    pub client: Option<(Vec<u8>, Vec<u8>)>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("ca", &self.ca.is_some())
            .field("client", &self.client.is_some())
            .finish()
    }
}

/// A connection that is shared.
#[derive(Clone)]
pub(crate) enum Connection {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connection {
    pub(crate) async fn query<T: FromRedisValue>(
        &mut self,
        command: &Cmd,
    ) -> Result<T, RedisError> {
        match self {
            Self::Single(connection) => command.query_async(connection).await,
            Self::Cluster(connection) => command.query_async(connection).await,
        }
    }
}

/// What makes connections.
pub(crate) enum Connector {
    Single(Box<Client>),
    Cluster(Box<ClusterClient>),
}

/// Redis, single or Cluster.
pub struct RedisStore {
    inner: Arc<Inner>,
}

struct Inner {
    connector: Connector,
    connections: Vec<ArcSwapOption<Connection>>,
    next: AtomicUsize,
    breakers: Vec<Breaker>,
    permits: Semaphore,
    budget: Duration,
    prefix: Prefix,
    paced: Script,
    window: Script,
    trouble: Notify,
}

impl RedisStore {
    /// Does not wait for Redis: until the first connection stands, calls fail as [`Failure::StoreOpen`].
    ///
    /// # Errors
    /// The settings contradict themselves or a certificate cannot be read.
    pub fn start(settings: &Settings, prefix: Prefix) -> Result<Self, RedisError> {
        Self::start_with(settings, prefix, Script::paced(), Script::window())
    }

    /// As [`RedisStore::start`], with other scripts: for the test that gives them the time.
    ///
    /// # Errors
    /// As [`RedisStore::start`].
    pub fn start_with(
        settings: &Settings,
        prefix: Prefix,
        paced: Script,
        window: Script,
    ) -> Result<Self, RedisError> {
        // Harmless when one is installed already: then that one is used.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let cluster = settings.cluster;
        let slots = if cluster {
            1
        } else {
            settings.connections.max(1)
        };
        let breakers = if cluster { STRIPES } else { 1 };
        let breaker = || Breaker::new(settings.breaker_failures);
        let inner = Arc::new(Inner {
            connector: connector(settings)?,
            connections: std::iter::repeat_with(ArcSwapOption::empty)
                .take(slots)
                .collect(),
            next: AtomicUsize::new(0),
            breakers: std::iter::repeat_with(breaker).take(breakers).collect(),
            permits: Semaphore::new(settings.max_in_flight.clamp(1, Semaphore::MAX_PERMITS)),
            budget: settings.budget,
            prefix,
            paced,
            window,
            trouble: Notify::new(),
        });
        inner.breakers.iter().for_each(Breaker::open);
        inner.trouble.notify_one();
        tokio::spawn(watch(Arc::downgrade(&inner)));
        Ok(Self { inner })
    }
}

pub(crate) fn connector(settings: &Settings) -> Result<Connector, RedisError> {
    let certificates = settings.tls.as_ref().map(|tls| TlsCertificates {
        client_tls: tls
            .client
            .clone()
            .map(|(client_cert, client_key)| redis::ClientTlsConfig {
                client_cert,
                client_key,
            }),
        root_cert: tls.ca.clone(),
    });
    let infos = settings
        .addresses
        .iter()
        .map(|address| info(settings, address))
        .collect::<Result<Vec<_>, _>>()?;
    if settings.cluster {
        let mut builder = ClusterClientBuilder::new(infos)
            .retries(2)
            .min_retry_wait(1)
            .max_retry_wait(10)
            .connection_timeout(CONNECT)
            .response_timeout(settings.budget.saturating_mul(4))
            .overall_response_timeout(Some(settings.budget.saturating_mul(4)));
        if let Some(certificates) = certificates {
            builder = builder.certs(certificates);
        }
        return builder
            .build()
            .map(|client| Connector::Cluster(Box::new(client)));
    }
    let Some(info) = infos.into_iter().next() else {
        return Err((ErrorKind::InvalidClientConfig, "no address").into());
    };
    match certificates {
        Some(certificates) => Client::build_with_tls(info, certificates),
        None => Client::open(info),
    }
    .map(|client| Connector::Single(Box::new(client)))
}

fn info(settings: &Settings, (host, port): &(String, u16)) -> Result<ConnectionInfo, RedisError> {
    let (host, port) = (host.clone(), *port);
    let address = match settings.tls {
        None => ConnectionAddr::Tcp(host, port),
        Some(_) => ConnectionAddr::TcpTls {
            host,
            port,
            insecure: false,
            tls_params: None,
        },
    };
    let mut login = RedisConnectionInfo::default().set_db(settings.database);
    if let Some(username) = &settings.username {
        login = login.set_username(username);
    }
    if let Some(password) = &settings.password {
        login = login.set_password(password.reveal());
    }
    Ok(address.into_connection_info()?.set_redis_settings(login))
}

impl Inner {
    fn breaker(&self, name: &str) -> Option<&Breaker> {
        match self.breakers.as_slice() {
            [only] => Some(only),
            many => {
                let slot = slot(name);
                let stripe = slot.saturating_mul(many.len()).checked_div(16_384)?;
                many.get(stripe)
            }
        }
    }

    fn connection(&self) -> Option<Arc<Connection>> {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        let slot = next.checked_rem(self.connections.len())?;
        self.connections.get(slot)?.load_full()
    }

    async fn one(&self, ask: &Ask, deadline: Instant) -> Outcome {
        let breaker = self.breaker(&ask.name).ok_or(Failure::StoreUnavailable)?;
        if breaker.is_open() {
            return Err(Failure::StoreOpen);
        }
        let connection = self.connection().ok_or(Failure::StoreOpen)?;
        let mut connection = Connection::clone(&connection);
        let outcome = match timeout_at(deadline, self.run(&mut connection, ask)).await {
            Ok(Ok(decision)) => {
                breaker.success();
                return Ok(decision);
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, "redis");
                Failure::StoreUnavailable
            }
            Err(_) => Failure::StoreTimeout,
        };
        if breaker.failure() {
            tracing::warn!(
                failure = outcome.code(),
                "redis failed repeatedly, breaker opens"
            );
            self.trouble.notify_one();
        }
        Err(outcome)
    }

    async fn run(&self, connection: &mut Connection, ask: &Ask) -> Result<Decision, RedisError> {
        let script = match ask.rule {
            Rule::Paced(_) => &self.paced,
            Rule::Window(_) => &self.window,
        };
        let call = |mut command: Cmd| {
            command.arg(1).arg(&ask.name);
            arguments(&mut command, ask);
            command
        };
        let mut by_hash = redis::cmd("EVALSHA");
        by_hash.arg(script.hash());
        match connection.query(&call(by_hash)).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                let mut in_full = redis::cmd("EVAL");
                in_full.arg(script.text());
                connection.query(&call(in_full)).await.map(decision)
            }
            answer => answer.map(decision),
        }
    }

    async fn connect(&self) -> Result<Connection, RedisError> {
        let connecting = async {
            match &self.connector {
                Connector::Single(client) => {
                    let config = AsyncConnectionConfig::new()
                        .set_connection_timeout(Some(CONNECT))
                        .set_response_timeout(Some(CONNECT));
                    let connection = client.get_multiplexed_async_connection_with_config(&config);
                    connection.await.map(Connection::Single)
                }
                Connector::Cluster(client) => {
                    client.get_async_connection().await.map(Connection::Cluster)
                }
            }
        };
        // Twice: a handshake is several round trips, and a Cluster's visits several nodes.
        let late = || RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
        timeout(CONNECT.saturating_mul(2), connecting)
            .await
            .unwrap_or_else(|_| Err(late()))
    }

    /// One read in each stripe that is held back, within the budget of a call. True if all are well.
    async fn probe(&self) -> bool {
        let open = || {
            self.breakers
                .iter()
                .enumerate()
                .filter(|(_, breaker)| breaker.is_open())
        };
        let probes = open().map(|(stripe, breaker)| async move {
            let Some(connection) = self.connection() else {
                return;
            };
            let mut read = redis::cmd("EXISTS");
            read.arg(probe_name(&self.prefix, stripe, self.breakers.len()));
            let mut connection = Connection::clone(&connection);
            if let Ok(Ok(_)) = timeout(self.budget, connection.query::<i64>(&read)).await {
                breaker.close();
            }
        });
        join_all(probes).await;
        open().next().is_none()
    }

    async fn reconnect(&self) {
        for place in &self.connections {
            let connection = match self.connect().await {
                Ok(connection) => Some(Arc::new(connection)),
                Err(error) => {
                    tracing::warn!(%error, "no connection to redis");
                    None
                }
            };
            let failed = connection.is_none();
            place.store(connection);
            if failed {
                return;
            }
        }
    }

    fn all_well(&self) -> bool {
        self.breakers.iter().all(|breaker| !breaker.is_open())
    }
}

/// Repairs what failed, for as long as the store lives.
async fn watch(store: Weak<Inner>) {
    let mut backoff = Backoff::new();
    let mut failed_probes = u32::MAX;
    while let Some(inner) = store.upgrade() {
        if inner.all_well() {
            // A store dropped meanwhile is noticed within a second.
            let _ = timeout(CONNECT, inner.trouble.notified()).await;
            // A broken connection of a single Redis is not trusted again.
            failed_probes = if inner.breakers.len() == 1 {
                u32::MAX
            } else {
                0
            };
            continue;
        }
        let patience = if inner.breakers.len() == 1 {
            1
        } else {
            PROBES_PER_CONNECTION
        };
        if failed_probes >= patience || inner.connection().is_none() {
            inner.reconnect().await;
            failed_probes = 0;
        }
        if inner.probe().await {
            tracing::info!("redis answers");
            backoff = Backoff::new();
        } else {
            failed_probes = failed_probes.saturating_add(1);
            drop(inner);
            sleep(backoff.pause()).await;
        }
    }
}

/// A name within the prefix that falls into a stripe of the slots. It is only read.
fn probe_name(prefix: &Prefix, stripe: usize, stripes: usize) -> String {
    let name = |n: u32| format!("{}probe:{n}", prefix.as_str());
    let falls =
        |name: &String| slot(name).saturating_mul(stripes).checked_div(16_384) == Some(stripe);
    (0..100_000)
        .map(name)
        .find(falls)
        .unwrap_or_else(|| name(0))
}

/// What the scripts return.
type Numbers = (u64, u64, u64, u64);

/// The Cluster slot of a name. Names have no `{tag}`.
fn slot(name: &str) -> usize {
    usize::from(crc16::State::<crc16::XMODEM>::calculate(name.as_bytes())) & 0x3FFF
}

fn arguments(command: &mut Cmd, ask: &Ask) {
    let GiveBack { tokens, age_ms } = ask.give_back;
    command.arg(ask.want).arg(tokens);
    if age_ms <= GIVE_BACK_HORIZON_MS {
        command.arg(age_ms.saturating_mul(1_000));
    } else {
        command.arg(-1);
    }
    match &ask.rule {
        Rule::Paced(limit) => command
            .arg(limit.sustained.tokens)
            .arg(limit.peak.tokens)
            .arg(limit.sustained.period_ns)
            .arg(limit.sustained.tolerance_ns)
            .arg(limit.peak.tolerance_ns),
        Rule::Window(limit) => command
            .arg(limit.tokens)
            .arg(limit.hold_us)
            .arg(limit.slot_us),
    };
}

fn decision((granted, retry_after_ms, remaining, reset_ms): Numbers) -> Decision {
    // Redis itself forgets the key when it no longer matters.
    Decision {
        granted,
        retry_after_ms,
        remaining,
        reset_ms,
        keep_ms: 0,
    }
}

impl Store for RedisStore {
    fn acquire<'a>(&'a self, asks: &'a [Ask]) -> BoxFuture<'a, Vec<Outcome>> {
        Box::pin(async move {
            let wanted = u32::try_from(asks.len()).unwrap_or(u32::MAX);
            let Ok(_permit) = self.inner.permits.try_acquire_many(wanted) else {
                return vec![Err(Failure::Overloaded); asks.len()];
            };
            let Some(deadline) = Instant::now().checked_add(self.inner.budget) else {
                return vec![Err(Failure::StoreTimeout); asks.len()];
            };
            join_all(asks.iter().map(|ask| self.inner.one(ask, deadline))).await
        })
    }

    fn health(&self) -> Health {
        let open = self
            .inner
            .breakers
            .iter()
            .filter(|breaker| breaker.is_open())
            .count();
        Health {
            ready: open < self.inner.breakers.len(),
            open_breakers: open,
            keys: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stripe_has_a_name_to_probe() {
        let prefix = Prefix::new("kong:rl:").unwrap();
        for stripe in 0..STRIPES {
            let name = probe_name(&prefix, stripe, STRIPES);
            let slot = slot(&name);
            assert_eq!(slot * STRIPES / 16_384, stripe);
        }
    }
}
