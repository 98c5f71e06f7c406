//! An upstream that ends TLS, asks for a client certificate, and tells whose it was.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::pki::Identity;

/// Never to be seen by a client that was not to see it.
pub const SECRET: &str = "canary-of-the-upstream";

#[derive(Clone)]
pub struct TlsUpstream {
    pub address: SocketAddr,
    state: Arc<State>,
}

struct State {
    /// For connections from now on; `None`: plain HTTP.
    tls: Mutex<Option<Arc<ServerConfig>>>,
    answer: Mutex<Answer>,
    requests: AtomicU64,
    serving: AtomicUsize,
    most: AtomicUsize,
    /// Requests by client certificate.
    clients: Mutex<BTreeMap<Vec<u8>, u64>>,
}

#[derive(Clone)]
struct Answer {
    after: Duration,
    body: String,
    closes: bool,
}

impl TlsUpstream {
    /// Plain HTTP, until it is told who it is. Each answer ends its connection.
    pub async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            tls: Mutex::default(),
            answer: Mutex::new(Answer {
                after: Duration::ZERO,
                body: SECRET.to_owned(),
                closes: true,
            }),
            requests: AtomicU64::default(),
            serving: AtomicUsize::default(),
            most: AtomicUsize::default(),
            clients: Mutex::default(),
        });
        let upstream = Self { address, state };
        let accepting = upstream.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(accepting.clone().connection(stream));
            }
        });
        upstream
    }

    /// Who it is, and whose clients it accepts; `None`: it asks for no certificate.
    pub fn is(&self, identity: &Identity, clients: Option<RootCertStore>) {
        let config = ServerConfig::builder();
        let config = match clients {
            Some(roots) => {
                let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build();
                config.with_client_cert_verifier(verifier.unwrap())
            }
            None => config.with_no_client_auth(),
        };
        let config = config
            .with_single_cert(identity.chain(), identity.private_key())
            .unwrap();
        *self.state.tls.lock().unwrap() = Some(Arc::new(config));
    }

    /// It speaks plain HTTP.
    pub fn is_nobody(&self) {
        *self.state.tls.lock().unwrap() = None;
    }

    pub fn answers(&self, after: Duration, body: &str, closes: bool) {
        let body = body.to_owned();
        *self.state.answer.lock().unwrap() = Answer {
            after,
            body,
            closes,
        };
    }

    pub fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::SeqCst)
    }

    /// How many requests are served right now.
    pub fn serving(&self) -> usize {
        self.state.serving.load(Ordering::SeqCst)
    }

    /// The most requests served at a time so far; it starts anew.
    pub fn most_at_a_time(&self) -> usize {
        self.state.most.swap(0, Ordering::SeqCst)
    }

    /// How many requests came with this client certificate.
    pub fn from(&self, identity: &Identity) -> u64 {
        let clients = self.state.clients.lock().unwrap();
        let der = identity.chain()[0].to_vec();
        clients.get(&der).copied().unwrap_or_default()
    }

    async fn connection(self, stream: TcpStream) {
        let tls = self.state.tls.lock().unwrap().clone();
        match tls {
            None => self.serve(stream, None).await,
            Some(config) => {
                let Ok(stream) = TlsAcceptor::from(config).accept(stream).await else {
                    return;
                };
                let certificates = stream.get_ref().1.peer_certificates();
                let client = certificates.and_then(|all| Some(all.first()?.to_vec()));
                self.serve(stream, client).await;
            }
        }
    }

    async fn serve<S>(self, stream: S, client: Option<Vec<u8>>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(move |_: Request<Incoming>| {
            let (state, client) = (Arc::clone(&self.state), client.clone());
            async move {
                let answer = state.answer.lock().unwrap().clone();
                state.requests.fetch_add(1, Ordering::SeqCst);
                let serving = state.serving.fetch_add(1, Ordering::SeqCst) + 1;
                state.most.fetch_max(serving, Ordering::SeqCst);
                tokio::time::sleep(answer.after).await;
                state.serving.fetch_sub(1, Ordering::SeqCst);
                let name = client.as_deref().and_then(spiffe_id).unwrap_or_default();
                if let Some(client) = client {
                    *state.clients.lock().unwrap().entry(client).or_default() += 1;
                }
                let mut response = Response::builder()
                    .header("x-secret", SECRET)
                    .header("x-client", name);
                if answer.closes {
                    response = response.header("connection", "close");
                }
                let body = Full::new(Bytes::from(answer.body));
                Ok::<_, Infallible>(response.body(body).unwrap())
            }
        });
        let _ = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await;
    }
}

/// The URI in a certificate: an IA5String of this beginning, behind its length.
pub fn spiffe_id(der: &[u8]) -> Option<String> {
    let start = der.windows(9).position(|part| part == b"spiffe://")?;
    let length = usize::from(*der.get(start.checked_sub(1)?)?);
    let text = der.get(start..start + length)?;
    String::from_utf8(text.to_vec()).ok()
}
