//! The control API (C1, C3, A8): mutual TLS, for people and programs that change lists. The filters have a
//! listener of their own (`crate::http`).

pub(crate) mod audit;
mod body;
mod cache;
mod entries;
mod fingerprints;
pub(crate) mod gate;
pub mod identity;
mod openapi;
mod origin;
pub(crate) mod query;
mod refusals;
pub mod settings;
pub mod tls;

use std::{
    future::Future,
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::{
    Router,
    middleware::from_fn_with_state,
    routing::{delete, get},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::spawn_blocking,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_rustls::server::TlsStream;

pub use openapi::document;

use self::{
    gate::Peer,
    identity::Allow,
    settings::Settings,
    tls::{Look, Tls},
};
use crate::{
    edge::{Edge, Refusal},
    fingerprints::Fingerprints,
    http::problem,
    listener::{self, Bounds},
    page,
    store::embedded::Clock,
};

/// The certificate files are looked at this often.
const LOOK: Duration = Duration::from_secs(1);

/// A refused client is heard out for so long, at most.
const LINGER: Duration = Duration::from_millis(500);

/// What the handlers share.
pub struct State {
    pub(crate) edge: Arc<Edge>,
    pub(crate) fingerprints: Arc<Fingerprints>,
    pub(crate) clock: Clock,
    allow: Allow,
    patience: Duration,
}

impl State {
    /// Milliseconds since 1970.
    pub(crate) fn now_ms(&self) -> u64 {
        (self.clock)().checked_div(1_000).unwrap_or_default()
    }
}

/// A bound listener that does not serve yet.
pub struct Control {
    listener: TcpListener,
    tls: Arc<Tls>,
    state: Arc<State>,
    bounds: Bounds,
    handshake_timeout: Duration,
}

/// What the control API works on.
pub struct Parts {
    /// The lists.
    pub edge: Arc<Edge>,
    /// Who comes by.
    pub fingerprints: Arc<Fingerprints>,
    /// The time.
    pub clock: Clock,
    /// For a request, its body included.
    pub request_timeout: Duration,
    /// Those of the filters' listener; the number of connections and the time for a handshake are its own.
    pub bounds: Bounds,
}

impl Control {
    /// Reads the certificates and binds the address.
    ///
    /// # Errors
    /// One of these failed.
    pub async fn bind(settings: &Settings, parts: Parts) -> io::Result<Self> {
        let tls = Tls::load(settings.files.clone()).map_err(|bad| {
            let problems = bad
                .iter()
                .map(|b| format!("control.{}: {}", b.file, b.problem));
            io::Error::other(problems.collect::<Vec<_>>().join("; "))
        })?;
        let listener = TcpListener::bind(settings.listen).await?;
        let handshake_timeout = settings.handshake_timeout;
        Ok(Self {
            listener,
            tls: Arc::new(tls),
            bounds: Bounds {
                connections: settings.max_connections,
                first_head: parts.bounds.first_head.saturating_add(handshake_timeout),
                ..parts.bounds
            },
            state: Arc::new(State {
                edge: parts.edge,
                fingerprints: parts.fingerprints,
                clock: parts.clock,
                allow: settings.allow.clone(),
                patience: parts.request_timeout,
            }),
            handshake_timeout,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop`, then lets open requests end.
    pub async fn serve(self, stop: impl Future<Output = ()> + Send) {
        let Self {
            listener,
            tls,
            state,
            bounds,
            handshake_timeout,
        } = self;
        let routes = router(Arc::clone(&state));
        let handshake = {
            let tls = Arc::clone(&tls);
            move |stream| {
                handshake(
                    stream,
                    Arc::clone(&tls),
                    Arc::clone(&state),
                    handshake_timeout,
                )
            }
        };
        tokio::select! {
            () = listener::serve(listener, handshake, routes, bounds, stop) => {}
            () = follow(tls) => {}
        }
    }
}

/// TLS with a client; a failure has its audit line.
async fn handshake(
    stream: TcpStream,
    tls: Arc<Tls>,
    state: Arc<State>,
    patience: Duration,
) -> io::Result<(TlsStream<TcpStream>, Peer)> {
    let from = stream.peer_addr()?;
    let (refused, stream) = match timeout(patience, tls.accept(stream)).await {
        Ok(Ok((stream, identity))) => return Ok((stream, Peer { from, identity })),
        Ok(Err((refused, stream))) => (refused, Some(stream)),
        Err(_) => (tls::Refused::too_slow(), None),
    };
    state.edge.refused(&Refusal {
        by: &refused.claims,
        from: Some(from),
        attempt: "TLS handshake",
        code: refused.code,
        detail: &refused.detail,
    });
    if let Some(stream) = stream {
        let _ = timeout(LINGER, linger(stream)).await;
    }
    Err(io::ErrorKind::ConnectionAborted.into())
}

/// Hears the client out, so that it gets to read why it was refused: what it has sent on top of a connection that
/// is closed would have the system forget what it was told.
async fn linger(mut stream: TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    let mut heard = [0; 4_096];
    while stream.read(&mut heard).await? > 0 {}
    Ok(())
}

/// Takes over certificates that have changed, for ever.
async fn follow(tls: Arc<Tls>) {
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = Vec::new();
    loop {
        ticks.tick().await;
        let files = Arc::clone(&tls);
        let Ok(look) = spawn_blocking(move || files.look()).await else {
            continue;
        };
        match look {
            Look::Same => told.clear(),
            Look::Changed => {
                told.clear();
                tracing::info!("certificates of the control listener read again");
            }
            Look::Bad(bad) => {
                let problems: Vec<_> = bad
                    .iter()
                    .map(|bad| format!("control.{}: {}", bad.file, bad.problem))
                    .collect();
                if problems != told {
                    let error = problems.join("; ");
                    tracing::error!(error, "certificates refused, the old ones stay");
                    told = problems;
                }
            }
        }
    }
}

/// The routes. Whatever they are asked passes the gate first.
fn router(state: Arc<State>) -> Router {
    Router::new()
        .route("/v1/internal/edge/audit", get(audit::list))
        .route(
            "/v1/internal/edge/{list}",
            get(entries::list).post(entries::add),
        )
        .route(
            "/v1/internal/edge/{list}/{id}",
            get(entries::get).delete(entries::remove),
        )
        .route("/cache/{key}", delete(cache::revoke))
        .route("/internal/edge/fingerprints", get(fingerprints::top))
        .route("/internal/edge/refusals", get(refusals::minutes))
        .route("/openapi.json", get(openapi::serve))
        .merge(page::routes())
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(from_fn_with_state(Arc::clone(&state), gate::pass))
        .with_state(state)
}

fn now_s() -> u64 {
    SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap_or_default()
        .as_secs()
}
