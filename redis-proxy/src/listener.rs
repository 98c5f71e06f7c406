//! One listener: how many connections, and how long each may stay silent.
//!
//! `axum::serve` has neither bound. Whoever opens connections and says nothing would hold them all for ever.

use std::{
    future::Future,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::Request};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use tower_service::Service as _;

/// After an accept that failed (too many open files, say).
const AFTER_FAILURE: Duration = Duration::from_millis(50);

/// What a listener bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Connections at a time; more wait unaccepted.
    pub connections: usize,
    /// From the connection, its handshake included, to the end of the head of its first request.
    pub first_head: Duration,
    /// From the end of a request to the end of the head of the next one (HTTP/1), or to a ping of ours, which
    /// must be answered within `first_head` (HTTP/2).
    pub idle: Duration,
    /// For open requests to end once it stops.
    pub drain: Duration,
}

/// Serves until `stop`, then lets open requests end. `handshake` makes of a TCP connection what HTTP is
/// spoken over, in that connection's own task: TLS, or nothing for plain HTTP. What else it learns about the
/// other end is an extension of each request.
pub async fn serve<H, F, S, P>(
    listener: TcpListener,
    handshake: H,
    routes: Router,
    bounds: Bounds,
    stop: impl Future<Output = ()> + Send,
) where
    H: Fn(TcpStream) -> F,
    F: Future<Output = io::Result<(S, P)>> + Send + 'static,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    P: Clone + Send + Sync + 'static,
{
    let room = Arc::new(Semaphore::new(
        bounds.connections.min(Semaphore::MAX_PERMITS),
    ));
    let (stopping, stopped) = watch::channel(false);
    let mut open = JoinSet::new();
    let accept = async {
        loop {
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
                return;
            };
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    sleep(AFTER_FAILURE).await;
                    continue;
                }
            };
            while open.try_join_next().is_some() {}
            let stream = handshake(stream);
            let (routes, stopped) = (routes.clone(), stopped.clone());
            open.spawn(async move {
                let _permit = permit;
                connection(stream, routes, bounds, stopped).await;
            });
        }
    };
    tokio::select! {
        () = accept => {}
        () = stop => {}
    }
    drop(listener);
    let _ = stopping.send(true);
    let ended = async { while open.join_next().await.is_some() {} };
    if timeout(bounds.drain, ended).await.is_err() {
        tracing::warn!("requests still open after drain_ms are cut");
    }
}

async fn connection<S, P>(
    stream: impl Future<Output = io::Result<(S, P)>>,
    routes: Router,
    bounds: Bounds,
    mut stopped: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    P: Clone + Send + Sync + 'static,
{
    let silent = sleep(bounds.first_head);
    tokio::pin!(silent);
    let stream = tokio::select! {
        stream = stream => stream,
        () = &mut silent => return,
    };
    let Ok((stream, peer)) = stream else { return };

    let heard = Arc::new(AtomicBool::new(false));
    let hears = Arc::clone(&heard);
    let service = service_fn(move |mut request: Request<Incoming>| {
        hears.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(peer.clone());
        routes.clone().call(request)
    });
    let mut http = Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.idle);
    http.http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(bounds.idle)
        .keep_alive_timeout(bounds.first_head);
    let served = http.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(served);
    let (mut timed, mut draining) = (true, false);
    loop {
        tokio::select! {
            _ = &mut served => return,
            () = &mut silent, if timed => {
                timed = false;
                if !heard.load(Ordering::Relaxed) {
                    return;
                }
            }
            _ = stopped.changed(), if !draining => {
                draining = true;
                served.as_mut().graceful_shutdown();
            }
        }
    }
}
