//! Certificates for `127.0.0.1`, made anew for each run.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

/// The certificate of the server, by whom it is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signer {
    /// The authority that clients trust.
    Trusted,
    /// One they have never heard of.
    Stranger,
}

/// A certificate authority that clients trust, and what it and a stranger have signed.
pub struct Authority {
    directory: TempDir,
}

impl Authority {
    /// # Panics
    /// When there is no temporary directory to be had.
    #[must_use]
    pub fn new() -> Self {
        let authority = Self {
            directory: tempfile::tempdir().expect("a directory"),
        };
        for signer in [Signer::Trusted, Signer::Stranger] {
            authority.make(signer);
        }
        authority
    }

    /// The certificate of the trusted authority.
    #[must_use]
    pub fn trusted(&self) -> PathBuf {
        self.file(Signer::Trusted, "ca")
    }

    /// A server's certificate and its key.
    #[must_use]
    pub fn server(&self, signer: Signer) -> [PathBuf; 2] {
        ["pem", "key"].map(|kind| self.file(signer, kind))
    }

    fn make(&self, signer: Signer) {
        let write = |file: &Path, pem: String| std::fs::write(file, pem).expect("a file");
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let name = format!("{signer:?}");
        params.distinguished_name.push(DnType::CommonName, name);
        let own = params.self_signed(&key).expect("a certificate");
        write(&self.file(signer, "ca"), own.pem());
        let issuer = Issuer::new(params, key);

        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address");
        let signed = params.signed_by(&key, &issuer).expect("a certificate");
        write(&self.file(signer, "pem"), signed.pem());
        write(&self.file(signer, "key"), key.serialize_pem());
    }

    fn file(&self, signer: Signer, kind: &str) -> PathBuf {
        self.directory.path().join(format!("{signer:?}.{kind}"))
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}
