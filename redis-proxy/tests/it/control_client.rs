//! Certificates and clients with them, for the tests of the control API.

use std::{
    io,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::body::{Body, to_bytes};
use hyper::{Request, client::conn::http1, header::HeaderMap};
use hyper_util::rt::TokioIo;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SanType,
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use serde_json::Value;
use tempfile::TempDir;
use testkit::ports::free_port;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::{redis_server::eventually, service::Service};

pub const SOC: &str = "spiffe://portcullis.test/soc";

/// Who a certificate is for, and when. The default is `soc`, now.
#[derive(Clone)]
pub struct Holder {
    pub name: Option<&'static str>,
    pub uri: Option<&'static str>,
    pub use_for: ExtendedKeyUsagePurpose,
    /// Seconds from now.
    pub valid: std::ops::Range<i64>,
}

pub fn soc() -> Holder {
    Holder {
        name: None,
        uri: Some(SOC),
        use_for: ExtendedKeyUsagePurpose::ClientAuth,
        valid: -60..3_600,
    }
}

/// A certificate with its key, PEM.
#[derive(Clone)]
pub struct Identity {
    pub cert: String,
    pub key: String,
}

pub struct Authority {
    pub cert: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, "test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self {
            cert: params.self_signed(&key).unwrap().pem(),
            issuer: Issuer::new(params, key),
        }
    }

    pub fn issue(&self, holder: &Holder) -> Identity {
        let names = match holder.use_for {
            ExtendedKeyUsagePurpose::ServerAuth => vec!["localhost".to_owned()],
            _ => vec![],
        };
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(name) = holder.name {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        if let Some(uri) = holder.uri {
            params
                .subject_alt_names
                .push(SanType::URI(uri.try_into().unwrap()));
        }
        params.extended_key_usages = vec![holder.use_for.clone()];
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let at = |offset| {
            let since_1970 = now.checked_add_signed(offset).unwrap();
            rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(since_1970)
        };
        params.not_before = at(holder.valid.start);
        params.not_after = at(holder.valid.end);
        let key = KeyPair::generate().unwrap();
        Identity {
            cert: params.signed_by(&key, &self.issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    pub fn server(&self) -> Identity {
        self.issue(&Holder {
            name: Some("redis-proxy"),
            uri: None,
            use_for: ExtendedKeyUsagePurpose::ServerAuth,
            ..soc()
        })
    }
}

/// redis-proxy with a control API.
pub struct Control {
    pub service: Service,
    pub port: u16,
    pub authority: Authority,
    pub files: TempDir,
}

impl Control {
    pub async fn start() -> Self {
        Self::start_with("", "").await
    }

    /// With more lines at the top and in `[control]`.
    pub async fn start_with(top: &str, more: &str) -> Self {
        let authority = Authority::new();
        let files = tempfile::tempdir().unwrap();
        install(files.path(), &authority);
        let port = free_port();
        let dir = files.path().display();
        let config = format!(
            "{top}\n[control]\nlisten = '127.0.0.1:{port}'\ncert = '{dir}/server.pem'\n\
             key = '{dir}/server.key'\nclient_ca = '{dir}/ca.pem'\n\
             allow = ['{SOC}', 'spiffe://portcullis.test/team/*', 'tool']\n{more}"
        );
        Self {
            service: Service::start(&config).await,
            port,
            authority,
            files,
        }
    }

    pub fn client(&self, identity: Option<&Identity>) -> Client {
        Client {
            port: self.port,
            authority: self.authority.cert.clone(),
            identity: identity.cloned(),
        }
    }

    /// A client that is listed.
    pub fn soc(&self) -> Client {
        self.client(Some(&self.authority.issue(&soc())))
    }

    /// This many audit lines of a kind, and no more of them.
    pub async fn audit(&self, count: usize, which: impl Fn(&Value) -> bool) -> Vec<Value> {
        lines(&self.service, "audit", count, which).await
    }

    /// The one audit line about a code.
    pub async fn audited(&self, code: &str) -> Value {
        self.audit(1, |line| line["code"] == code).await.remove(0)
    }
}

/// The fields of a target's lines of a kind, of which there are this many; waits for them.
pub async fn lines(
    service: &Service,
    target: &str,
    count: usize,
    which: impl Fn(&Value) -> bool,
) -> Vec<Value> {
    let mut found = Vec::new();
    let what = format!("{count} lines of {target}");
    eventually(&what, Duration::from_secs(60), async || {
        let log = service.log.lock().unwrap();
        found = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|line| line["target"] == target)
            .map(|mut line| line["fields"].take())
            .filter(&which)
            .collect();
        found.len() >= count
    })
    .await;
    assert_eq!(found.len(), count, "{found:?}");
    found
}

/// Writes the authority and a server's certificate.
pub fn install(dir: &Path, authority: &Authority) {
    let server = authority.server();
    // Whole or not at all, for who looks meanwhile.
    let write = |name: &str, text: &str| {
        let next = dir.join(format!("{name}.next"));
        std::fs::write(&next, text).unwrap();
        std::fs::rename(next, dir.join(name)).unwrap();
    };
    write("server.pem", &server.cert);
    write("server.key", &server.key);
    write("ca.pem", &authority.cert);
}

/// What nobody may wait for for ever, whatever is killed meanwhile: who does is told of here, and not by whoever ends
/// tests that last too long.
pub async fn in_the_end<T>(what: &str, end: impl Future<Output = T>) -> T {
    const PATIENCE: Duration = Duration::from_secs(60);
    let end = tokio::time::timeout(PATIENCE, end).await;
    end.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"))
}

/// Who asks.
#[derive(Clone)]
pub struct Client {
    port: u16,
    authority: String,
    identity: Option<Identity>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    /// Checks that it is a problem; its code.
    pub fn problem(&self) -> &str {
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(self.body["status"], self.status);
        assert!(self.body["detail"].is_string(), "{:?}", self.body);
        self.body["code"].as_str().unwrap()
    }
}

/// A connection that stays.
pub struct Connection {
    sender: http1::SendRequest<Body>,
}

impl Client {
    pub async fn connect(&self) -> io::Result<Connection> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(self.authority.as_bytes()).unwrap())
            .unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(Identity { cert, key }) => builder
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()],
                    PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
                )
                .unwrap(),
        };
        let name = ServerName::try_from("localhost").unwrap();
        let stream = in_the_end("a connection", async {
            let stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
            let tls = TlsConnector::from(Arc::new(config));
            tls.connect(name, stream).await
        });
        let stream = stream.await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        tokio::spawn(connection);
        Ok(Connection { sender })
    }

    pub async fn try_send(&self, method: &str, path: &str, body: &str) -> io::Result<Answer> {
        self.connect().await?.send(method, path, body).await
    }

    pub async fn send(&self, method: &str, path: &str, body: &str) -> Answer {
        self.try_send(method, path, body).await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, "").await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, "").await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &body.to_string()).await
    }
}

impl Connection {
    pub async fn send(&mut self, method: &str, path: &str, body: &str) -> io::Result<Answer> {
        self.send_body(method, path, Body::from(body.to_owned()))
            .await
    }

    pub async fn send_body(&mut self, method: &str, path: &str, body: Body) -> io::Result<Answer> {
        self.send_with(method, path, &[], body).await
    }

    pub async fn send_with(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Body,
    ) -> io::Result<Answer> {
        self.sender.ready().await.map_err(io::Error::other)?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .header("content-type", "application/json");
        let request = headers
            .iter()
            .fold(request, |request, (name, value)| {
                request.header(*name, *value)
            })
            .body(body)
            .unwrap();
        let answer = in_the_end("an answer", async {
            let response = self.sender.send_request(request).await;
            let (head, body) = response.map_err(io::Error::other)?.into_parts();
            let body = to_bytes(Body::new(body), usize::MAX).await;
            Ok::<_, io::Error>((head, body.map_err(io::Error::other)?))
        });
        let (head, body) = answer.await?;
        Ok(Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body: match body.as_ref() {
                b"" => Value::Null,
                // A page is text.
                body => serde_json::from_slice(body)
                    .unwrap_or_else(|_| String::from_utf8_lossy(body).into()),
            },
        })
    }
}
