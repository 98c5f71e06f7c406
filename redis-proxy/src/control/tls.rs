//! Mutual TLS of the control listener: certificates from files, read again when these change; who was
//! refused, and why.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig,
    SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject as _},
    server::{
        NoServerSessionStorage, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::{CertifiedKey, SingleCertAndKey},
};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::identity::Identity;

/// Where the certificates are, PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The server's certificate, then those between it and its authority.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authorities of clients.
    pub client_ca: PathBuf,
}

/// What is wrong with a file.
#[derive(Debug)]
pub struct BadFile {
    /// Which: `cert`, `key` or `client_ca`.
    pub file: &'static str,
    /// What is wrong. Never holds what is in it.
    pub problem: String,
}

/// Certificates that fit together.
pub struct Certificates {
    own: Arc<SingleCertAndKey>,
    clients: Arc<dyn ClientCertVerifier>,
    provider: Arc<CryptoProvider>,
    /// Of all files, to see a change.
    digest: [u8; 32],
}

impl Certificates {
    /// Reads the files.
    ///
    /// # Errors
    /// All files that cannot be used.
    pub fn load(files: &Files) -> Result<Self, Vec<BadFile>> {
        let provider = Arc::new(ring::default_provider());
        let mut bad = Vec::new();
        let mut read = |file: &'static str, path: &Path| {
            std::fs::read(path)
                .map_err(|error| {
                    let problem = error.to_string();
                    bad.push(BadFile { file, problem });
                })
                .ok()
        };
        let read = (
            read("cert", &files.cert),
            read("key", &files.key),
            read("client_ca", &files.client_ca),
        );
        let (Some(cert), Some(key), Some(client_ca)) = read else {
            return Err(bad);
        };
        let digest = digest(&[&cert, &key, &client_ca]);
        let own = own(&cert, &key, &provider).map_err(|e| bad.push(e)).ok();
        let clients = clients(&client_ca, &provider).map_err(|e| bad.push(e)).ok();
        match (own, clients) {
            (Some(own), Some(clients)) => Ok(Self {
                own,
                clients,
                provider,
                digest,
            }),
            _ => Err(bad),
        }
    }

    /// One configuration per connection, so that what a refused client showed is known. Sessions are not resumed:
    /// each connection shows its certificate.
    fn accept(&self, witness: &Arc<Witness>) -> Result<ServerConfig, Error> {
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(Arc::clone(witness) as Arc<dyn ClientCertVerifier>)
            .with_cert_resolver(Arc::clone(&self.own) as Arc<_>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }
}

fn digest(files: &[&[u8]]) -> [u8; 32] {
    let mut sum = Sha256::new();
    for file in files {
        sum.update(Sha256::digest(file));
    }
    sum.finalize().into()
}

fn own(
    cert: &[u8],
    key: &[u8],
    provider: &CryptoProvider,
) -> Result<Arc<SingleCertAndKey>, BadFile> {
    let chain = certificates("cert", cert)?;
    let bad_key = |problem: &str| BadFile {
        file: "key",
        problem: problem.to_owned(),
    };
    let key =
        PrivateKeyDer::from_pem_slice(key).map_err(|_| bad_key("holds no PEM private key"))?;
    let own = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        Error::InconsistentKeys(_) => bad_key("is not that of the certificate"),
        Error::InvalidCertificate(_) => BadFile {
            file: "cert",
            problem: "is no certificate".to_owned(),
        },
        _ => bad_key("cannot be used"),
    })?;
    Ok(Arc::new(SingleCertAndKey::from(own)))
}

fn clients(
    pem: &[u8],
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, BadFile> {
    let bad = |problem: String| BadFile {
        file: "client_ca",
        problem,
    };
    let mut roots = RootCertStore::empty();
    for authority in certificates("client_ca", pem)? {
        roots
            .add(authority)
            .map_err(|_| bad("holds what is no certificate".to_owned()))?;
    }
    let builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    builder.build().map_err(|error| bad(error.to_string()))
}

fn certificates(file: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, BadFile> {
    let bad = |problem: &str| BadFile {
        file,
        problem: problem.to_owned(),
    };
    let all: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|_| bad("is no PEM"))?;
    if all.is_empty() {
        return Err(bad("holds no PEM certificate"));
    }
    Ok(all)
}

/// The certificates of now.
pub struct Tls {
    files: Files,
    current: ArcSwap<Certificates>,
}

/// What a look at the files found.
#[derive(Debug)]
pub enum Look {
    /// They are the same.
    Same,
    /// They have changed and are used from now on. Open connections stay.
    Changed,
    /// They have changed and cannot be used; those from before stay.
    Bad(Vec<BadFile>),
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// All files that cannot be used.
    pub fn load(files: Files) -> Result<Self, Vec<BadFile>> {
        let current = ArcSwap::from_pointee(Certificates::load(&files)?);
        Ok(Self { files, current })
    }

    /// Reads the files again. Blocks.
    pub fn look(&self) -> Look {
        match Certificates::load(&self.files) {
            Ok(new) if new.digest == self.current.load().digest => Look::Same,
            Ok(new) => {
                self.current.store(Arc::new(new));
                Look::Changed
            }
            Err(bad) => Look::Bad(bad),
        }
    }

    /// The handshake with a client; it must show a certificate of one of the authorities.
    ///
    /// # Errors
    /// What went wrong, and the connection, over which the client has been told.
    pub async fn accept(
        &self,
        stream: TcpStream,
    ) -> Result<(TlsStream<TcpStream>, Identity), (Refused, TcpStream)> {
        let certificates = self.current.load_full();
        let witness = Arc::new(Witness::new(Arc::clone(&certificates.clients)));
        let config = match certificates.accept(&witness) {
            Ok(config) => Arc::new(config),
            Err(error) => return Err((Refused::new(&io::Error::other(error), &witness), stream)),
        };
        let accept = TlsAcceptor::from(config).accept(stream);
        match accept.into_fallible().await {
            Ok(stream) => {
                let (_, connection) = stream.get_ref();
                let identity = connection
                    .peer_certificates()
                    .and_then(|chain| Identity::of(chain.first()?))
                    .unwrap_or_default();
                Ok((stream, identity))
            }
            Err((error, stream)) => Err((Refused::new(&error, &witness), stream)),
        }
    }
}

/// A handshake that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Who the certificate says it is for; nobody has vouched for it. Empty: there was none.
    pub claims: String,
    /// Why, for programs.
    pub code: &'static str,
    /// Why, for people.
    pub detail: String,
}

impl Refused {
    /// The handshake took too long.
    #[must_use]
    pub fn too_slow() -> Self {
        Self {
            claims: String::new(),
            code: "handshake_timeout",
            detail: "the client did not end its handshake in time".to_owned(),
        }
    }

    fn new(error: &io::Error, witness: &Witness) -> Self {
        let tls = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<Error>());
        let code = match tls {
            Some(Error::NoCertificatesPresented) => "no_certificate",
            Some(Error::InvalidCertificate(why)) => match why {
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    "certificate_expired"
                }
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                    "certificate_not_yet_valid"
                }
                CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                    "certificate_foreign"
                }
                _ => "certificate_invalid",
            },
            Some(Error::PeerIncompatible(_)) => "tls_incompatible",
            _ => "handshake_failed",
        };
        Self {
            claims: witness.claims(),
            code,
            detail: tls.map_or_else(|| error.to_string(), ToString::to_string),
        }
    }
}

/// Verifies clients as `inner` does, and remembers who one claimed to be.
#[derive(Debug)]
struct Witness {
    inner: Arc<dyn ClientCertVerifier>,
    claims: Mutex<String>,
}

impl Witness {
    fn new(inner: Arc<dyn ClientCertVerifier>) -> Self {
        Self {
            inner,
            claims: Mutex::default(),
        }
    }

    fn claims(&self) -> String {
        self.claims
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl ClientCertVerifier for Witness {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Some(identity) = Identity::of(end_entity) {
            *self.claims.lock().unwrap_or_else(PoisonError::into_inner) = identity.to_string();
        }
        self.inner
            .verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
