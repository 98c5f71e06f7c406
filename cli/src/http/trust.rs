//! Whose certificates are believed.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use crate::outcome::Failure;

#[derive(Clone)]
pub struct Trust(Option<Arc<ClientConfig>>);

impl Trust {
    /// The certificates of this PEM file alone; without one those that the system believes.
    ///
    /// # Errors
    /// When there is none.
    pub fn new(ca: Option<&Path>) -> Result<Self, Failure> {
        let mut roots = RootCertStore::empty();
        match ca {
            Some(path) => {
                let wrong = |why: &dyn std::fmt::Display| Failure::of_file(path, why);
                let bytes = std::fs::read(path).map_err(|e| wrong(&e))?;
                for certificate in CertificateDer::pem_slice_iter(&bytes) {
                    let certificate = certificate.map_err(|e| wrong(&e))?;
                    roots.add(certificate).map_err(|e| wrong(&e))?;
                }
                if roots.is_empty() {
                    return Err(wrong(&"has no certificate"));
                }
            }
            None => {
                let system = rustls_native_certs::load_native_certs();
                roots.add_parsable_certificates(system.certs);
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| Failure::new(format!("TLS: {e}")))?
            .with_root_certificates(roots);
        let mut config = config.with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(Some(Arc::new(config))))
    }

    /// For what is asked without TLS.
    pub const fn nobody() -> Self {
        Self(None)
    }

    /// For a target: none is needed without TLS.
    ///
    /// # Errors
    /// As [`Trust::new`].
    pub fn for_target(tls: bool, ca: Option<&Path>) -> Result<Self, Failure> {
        if tls {
            Self::new(ca)
        } else {
            Ok(Self::nobody())
        }
    }

    pub fn config(&self) -> Option<Arc<ClientConfig>> {
        self.0.clone()
    }
}
