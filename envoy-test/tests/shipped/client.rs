//! A client of the gateway.

use std::net::SocketAddr;
use std::sync::Arc;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A connection.
pub struct Client {
    sender: SendRequest<Empty<Bytes>>,
    /// The certificate that the gateway showed.
    pub gateway: Option<Vec<u8>>,
}

/// What came back.
#[derive(Debug)]
pub struct Got {
    pub status: u16,
    pub headers: String,
    pub body: String,
}

impl Got {
    /// Whether no other request may come on this connection.
    pub fn closes(&self) -> bool {
        self.headers.contains("\"connection\": \"close\"")
    }

    /// The code of a problem document; empty if it is none.
    pub fn code(&self) -> String {
        let document: Value = serde_json::from_str(&self.body).unwrap_or_default();
        document["code"].as_str().unwrap_or_default().to_owned()
    }
}

pub fn trusting(roots: RootCertStore) -> Arc<ClientConfig> {
    let config = ClientConfig::builder().with_root_certificates(roots);
    Arc::new(config.with_no_client_auth())
}

impl Client {
    pub async fn tls(address: SocketAddr, config: Arc<ClientConfig>) -> Result<Self, String> {
        let stream = connect(address).await?;
        let name = ServerName::try_from("gateway.test").unwrap();
        let stream = TlsConnector::from(config).connect(name, stream).await;
        let stream = stream.map_err(|e| format!("TLS: {e}"))?;
        let certificates = stream.get_ref().1.peer_certificates();
        let gateway = certificates.and_then(|all| Some(all.first()?.to_vec()));
        Self::over(stream, gateway).await
    }

    pub async fn plain(address: SocketAddr) -> Result<Self, String> {
        Self::over(connect(address).await?, None).await
    }

    async fn over<S>(stream: S, gateway: Option<Vec<u8>>) -> Result<Self, String>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let shaken = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = shaken.map_err(|e| e.to_string())?;
        tokio::spawn(connection);
        Ok(Self { sender, gateway })
    }

    pub async fn get(&mut self, host: &str, path: &str) -> Result<Got, String> {
        let request = hyper::Request::get(path).header("host", host);
        let request = request.body(Empty::new()).unwrap();
        self.sender.ready().await.map_err(|e| e.to_string())?;
        let response = self.sender.send_request(request).await;
        let (head, body) = response.map_err(|e| e.to_string())?.into_parts();
        let body = body.collect().await.map_err(|e| e.to_string())?.to_bytes();
        Ok(Got {
            status: head.status.as_u16(),
            headers: format!("{:?}", head.headers),
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    let stream = TcpStream::connect(address).await;
    stream.map_err(|e| format!("{address}: {e}"))
}
