//! One connection to Redis, made anew when it failed.

use std::time::Duration;

use redis::{
    AsyncConnectionConfig, Cmd, ErrorKind, FromRedisValue, RedisError, ServerErrorKind, Value,
    cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr},
};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use crate::{
    edge::store::EdgeFailure,
    script::Script,
    store::redis::{Connection, Connector, Settings, connector},
};

/// After a connection that could not be made, no other one is tried for so long.
const PAUSE: Duration = Duration::from_millis(100);

/// The way to a Redis, single or Cluster. Operations share one connection and do not wait for each other.
pub(crate) struct Link {
    connector: Connector,
    held: Mutex<Held>,
    budget: Duration,
}

#[derive(Default)]
struct Held {
    connection: Option<Connection>,
    /// Counts connections, so that only the one that failed is given up.
    number: u64,
    failed: Option<Instant>,
}

impl Link {
    /// Does not connect yet.
    pub(crate) fn new(settings: &Settings, budget: Duration) -> Result<Self, RedisError> {
        // Harmless when one is installed already: then that one is used.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let settings = Settings {
            // The client of a Cluster waits four times as long by itself.
            budget: budget.checked_div(4).unwrap_or(budget),
            ..settings.clone()
        };
        Ok(Self {
            connector: connector(&settings)?,
            held: Mutex::default(),
            budget,
        })
    }

    /// Runs a script.
    pub(crate) async fn run<T: FromRedisValue>(
        &self,
        script: &Script,
        arguments: impl Fn(&mut Cmd),
    ) -> Result<T, EdgeFailure> {
        let call = |mut command: Cmd| {
            arguments(&mut command);
            command
        };
        let mut by_hash = redis::cmd("EVALSHA");
        by_hash.arg(script.hash());
        let by_hash = call(by_hash);
        self.with(async |connection| match connection.query(&by_hash).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                let mut in_full = redis::cmd("EVAL");
                in_full.arg(script.text());
                connection.query(&call(in_full)).await
            }
            answer => answer,
        })
        .await
    }

    /// Runs a plain command.
    pub(crate) async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, EdgeFailure> {
        self.with(async |connection| connection.query(command).await)
            .await
    }

    /// Asks the primary that has a slot.
    pub(crate) async fn ask_primary(&self, command: &Cmd, slot: u16) -> Result<Value, EdgeFailure> {
        self.with(async |connection| match connection {
            Connection::Single(_) => connection.query(command).await,
            Connection::Cluster(cluster) => {
                let route = Route::new(slot, SlotAddr::Master);
                let node = SingleNodeRoutingInfo::SpecificNode(route);
                cluster
                    .route_command(command.clone(), RoutingInfo::SingleNode(node))
                    .await
            }
        })
        .await
    }

    async fn with<T>(
        &self,
        operation: impl AsyncFnOnce(&mut Connection) -> Result<T, RedisError>,
    ) -> Result<T, EdgeFailure> {
        let mut number = None;
        let ended = timeout(self.budget, async {
            let (mut connection, its_number) = self.connection().await?;
            number = Some(its_number);
            operation(&mut connection).await
        })
        .await;
        let failure = match ended {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => {
                tracing::warn!(%error, "redis failed");
                if error.is_timeout() {
                    EdgeFailure::Timeout
                } else {
                    EdgeFailure::Unavailable
                }
            }
            Err(_) => EdgeFailure::Timeout,
        };
        if let Some(number) = number {
            let mut held = self.held.lock().await;
            if held.number == number {
                held.connection = None;
            }
        }
        Err(failure)
    }

    async fn connection(&self) -> Result<(Connection, u64), RedisError> {
        let mut held = self.held.lock().await;
        if let Some(connection) = &held.connection {
            return Ok((connection.clone(), held.number));
        }
        let refused = || RedisError::from(std::io::Error::from(std::io::ErrorKind::NotConnected));
        if held.failed.is_some_and(|at| at.elapsed() < PAUSE) {
            return Err(refused());
        }
        held.failed = Some(Instant::now());
        let connection = self.connect().await?;
        held.failed = None;
        held.number = held.number.saturating_add(1);
        held.connection = Some(connection.clone());
        Ok((connection, held.number))
    }

    async fn connect(&self) -> Result<Connection, RedisError> {
        match &self.connector {
            Connector::Single(client) => {
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(self.budget))
                    .set_response_timeout(Some(self.budget));
                let connection = client.get_multiplexed_async_connection_with_config(&config);
                connection.await.map(Connection::Single)
            }
            Connector::Cluster(client) => {
                client.get_async_connection().await.map(Connection::Cluster)
            }
        }
    }
}
