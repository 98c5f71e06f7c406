//! A connection to NATS, for all who need one.

use std::{path::PathBuf, time::Duration};

use async_nats::{Client, ConnectOptions, Event, ServerAddr, jetstream};

use crate::secret::Secret;

/// For each answer of NATS.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);
/// Pauses between attempts to connect: this, doubling to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How to reach NATS.
#[derive(Clone, Debug)]
pub struct Server {
    /// `nats://` or `tls://`, without credentials.
    pub urls: Vec<ServerAddr>,
    /// The content of a `.creds` file: JWT and seed.
    pub credentials: Option<Secret>,
    /// PEM file of certificate authorities; the system's when `None`.
    pub ca: Option<PathBuf>,
}

/// Does not wait for NATS; says whenever it comes or goes.
///
/// # Errors
/// The credentials make no sense.
pub(crate) async fn connect(
    server: &Server,
    connected: impl Fn(bool) + Clone + Send + Sync + 'static,
) -> Result<Client, std::io::Error> {
    // Harmless when one is installed already: then that one is used.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut options = ConnectOptions::new()
        .name("redis-proxy")
        .retry_on_initial_connect()
        .connection_timeout(PATIENCE)
        .request_timeout(Some(PATIENCE))
        .reconnect_delay_callback(|attempt| {
            let doubled = 2_u32.saturating_pow(u32::try_from(attempt.min(8)).unwrap_or(8));
            PAUSE.saturating_mul(doubled).min(LONGEST_PAUSE)
        })
        .event_callback(move |event| {
            let connected = connected.clone();
            async move {
                match event {
                    Event::Connected => connected(true),
                    Event::Disconnected => connected(false),
                    other => tracing::warn!(event = %other, "NATS"),
                }
            }
        });
    if let Some(credentials) = &server.credentials {
        options = options.credentials(credentials.reveal())?;
    }
    if let Some(ca) = &server.ca {
        options = options.add_root_certificates(ca.clone());
    }
    options
        .connect(server.urls.clone())
        .await
        .map_err(std::io::Error::other)
}

/// JetStream over a connection.
pub(crate) fn context(client: Client) -> jetstream::Context {
    jetstream::ContextBuilder::new()
        .timeout(PATIENCE)
        .ack_timeout(PATIENCE)
        .build(client)
}
