//! The world over HTTP, for real gateways: the same models behind listeners on the loopback
//! interface.

use std::convert::Infallible;
use std::future::Future as _;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use http_body_util::BodyExt as _;
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use policy::Time;
use socket2::{Domain, Socket, Type};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Sleep;

use crate::exchange::{Seen, Text};
use crate::upstream::Upstream;
use crate::world::{Asked, End, Service};

/// The first half of an answer has so long to leave.
const CUT_OFF_AFTER: Duration = Duration::from_millis(50);

/// What the wall clock says.
#[must_use]
pub fn wall_clock() -> Time {
    let since_epoch = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Time::EPOCH.plus(since_epoch)
}

/// A service or an upstream on a port of its own. Ends when dropped.
pub struct Server {
    runtime: Handle,
    backend: Backend,
    address: SocketAddr,
    /// Keeps the port while nobody listens on it.
    _reserved: Socket,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Clone)]
enum Backend {
    Service(Arc<dyn Service>),
    Upstream(Upstream),
}

impl Server {
    /// Serves a service.
    ///
    /// # Errors
    /// When no port can be had.
    pub fn service(runtime: &Handle, service: Arc<dyn Service>) -> io::Result<Self> {
        Self::start(runtime, Backend::Service(service))
    }

    /// Serves the upstream.
    ///
    /// # Errors
    /// When no port can be had.
    pub fn upstream(runtime: &Handle, upstream: Upstream) -> io::Result<Self> {
        Self::start(runtime, Backend::Upstream(upstream))
    }

    fn start(runtime: &Handle, backend: Backend) -> io::Result<Self> {
        let reserved = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let address = reserved
            .local_addr()?
            .as_socket()
            .ok_or_else(|| io::Error::other("no address"))?;
        let mut server = Self {
            runtime: runtime.clone(),
            backend,
            address,
            _reserved: reserved,
            accepting: None,
        };
        server.follow()?;
        Ok(server)
    }

    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Listens or refuses, as the service does right now.
    ///
    /// # Errors
    /// When the port cannot be listened on.
    pub fn follow(&mut self) -> io::Result<()> {
        let refuses = match &self.backend {
            Backend::Service(service) => service.refuses(),
            Backend::Upstream(_) => false,
        };
        if refuses {
            self.close();
        } else if self.accepting.is_none() {
            let socket = bind(self.address)?;
            socket.listen(1024)?;
            socket.set_nonblocking(true)?;
            let _inside = self.runtime.enter();
            let listener = TcpListener::from_std(socket.into())?;
            self.accepting = Some(self.runtime.spawn(accept(listener, self.backend.clone())));
        }
        Ok(())
    }

    /// Closes the listener and every connection, and waits until they are closed.
    fn close(&mut self) {
        if let Some(accepting) = self.accepting.take() {
            accepting.abort();
            if Handle::try_current().is_err() {
                let _ = self.runtime.block_on(accepting);
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.close();
    }
}

/// A socket on the address; others of this process may share it.
fn bind(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_port(true)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

async fn accept(listener: TcpListener, backend: Backend) {
    // Dropping the set ends its connections.
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        while connections.try_join_next().is_some() {}
        let backend = backend.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| answer(backend.clone(), request));
            // An error is a client that went away, or a fault that was asked for.
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                // Gateways keep connections; one that is closed on them is a request that fails.
                .header_read_timeout(None)
                .max_headers(4_096)
                .max_buf_size(16 * 1024 * 1024)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(
    backend: Backend,
    request: Request<Incoming>,
) -> Result<Response<Answer>, ConnectionClosed> {
    let (parts, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map_err(|_| ConnectionClosed)?
        .to_bytes();
    let headers: Vec<(String, Vec<u8>)> = parts
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect();
    let path = parts
        .uri
        .path_and_query()
        .map_or_else(|| parts.uri.to_string(), ToString::to_string);
    match backend {
        Backend::Upstream(upstream) => {
            let seen = Seen {
                method: parts.method.to_string(),
                path: Text::from(path.as_bytes()),
                headers: headers
                    .into_iter()
                    .map(|(name, value)| (name, Text::from(value.as_slice())))
                    .collect(),
                body: Text::from(&*body),
            };
            let (status, headers, body) = upstream.serve(&seen);
            respond(status, &headers, Answer::whole(body))
        }
        Backend::Service(service) => {
            let served = service.serve(Asked {
                at: wall_clock(),
                method: parts.method.to_string(),
                path,
                headers,
                body: body.to_vec(),
            });
            tokio::time::sleep(served.after).await;
            match served.end {
                End::Answer(response) => respond(
                    response.status,
                    &response.headers,
                    Answer::whole(response.body),
                ),
                End::CutOff(response) => respond(
                    response.status,
                    &response.headers,
                    Answer::half(response.body),
                ),
                End::Reset => Err(ConnectionClosed),
                End::Hang => std::future::pending::<Result<_, Infallible>>()
                    .await
                    .map_err(|never| match never {}),
            }
        }
    }
}

fn respond(
    status: u16,
    headers: &[(String, String)],
    answer: Answer,
) -> Result<Response<Answer>, ConnectionClosed> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response
        .header("content-length", answer.promised)
        .body(answer)
        .map_err(|_| ConnectionClosed)
}

/// A body that may end before its time.
struct Answer {
    rest: Option<Bytes>,
    promised: usize,
    /// Ends with an error after this; the time is for what came before to leave.
    cut_off: Option<Pin<Box<Sleep>>>,
}

impl Answer {
    fn whole(body: Vec<u8>) -> Self {
        Self {
            promised: body.len(),
            rest: Some(body.into()),
            cut_off: None,
        }
    }

    fn half(mut body: Vec<u8>) -> Self {
        // At least one byte is promised that never comes.
        let promised = body.len().max(1);
        body.truncate(body.len() / 2);
        Self {
            rest: Some(body.into()),
            promised,
            cut_off: Some(Box::pin(tokio::time::sleep(CUT_OFF_AFTER))),
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = ConnectionClosed;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ConnectionClosed>>> {
        if let Some(bytes) = self.rest.take().filter(|bytes| !bytes.is_empty()) {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        match &mut self.cut_off {
            Some(time) => time.as_mut().poll(cx).map(|()| Some(Err(ConnectionClosed))),
            None => Poll::Ready(None),
        }
    }
}

/// The connection ends without a proper answer.
#[derive(Debug)]
struct ConnectionClosed;

impl std::fmt::Display for ConnectionClosed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the connection is closed on purpose")
    }
}

impl std::error::Error for ConnectionClosed {}
