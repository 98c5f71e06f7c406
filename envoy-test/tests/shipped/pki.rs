//! A certificate authority of the tests, which stands in for SPIRE and for the authorities of the public.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use envoy_test::artifacts;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SanType, SerialNumber,
};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use time::{Duration, OffsetDateTime};

pub struct Authority {
    pub pem: String,
    pub key: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key.
#[derive(Clone)]
pub struct Identity {
    pub cert: String,
    pub key: String,
    pub serial: u64,
}

/// When a certificate is good.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Valid {
    Now,
    Past,
    Future,
}

static SERIAL: AtomicU64 = AtomicU64::new(1_000);

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            pem,
            key: key.serialize_pem(),
            issuer: Issuer::new(params, key),
        }
    }

    /// An SVID: a certificate for this SPIFFE ID and nothing else.
    pub fn svid(&self, id: &str) -> Identity {
        self.issue(&[SanType::URI(id.try_into().unwrap())], Valid::Now)
    }

    pub fn named(&self, name: &str) -> Identity {
        self.issue(&[SanType::DnsName(name.try_into().unwrap())], Valid::Now)
    }

    pub fn issue(&self, names: &[SanType], valid: Valid) -> Identity {
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = names.to_vec();
        params.serial_number = Some(SerialNumber::from(serial));
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let now = OffsetDateTime::now_utc();
        let (from, until) = match valid {
            Valid::Now => (-1, 1),
            Valid::Past => (-2, -1),
            Valid::Future => (1, 2),
        };
        params.not_before = now + Duration::hours(from);
        params.not_after = now + Duration::hours(until);
        let key = KeyPair::generate().unwrap();
        Identity {
            cert: params.signed_by(&key, &self.issuer).unwrap().pem(),
            key: key.serialize_pem(),
            serial,
        }
    }

    /// The list of these as revoked.
    pub fn crl(&self, serials: &[u64]) -> String {
        let now = OffsetDateTime::now_utc();
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: now - Duration::minutes(1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: now - Duration::minutes(5),
            next_update: now + Duration::hours(1),
            crl_number: SerialNumber::from(SERIAL.fetch_add(1, Ordering::Relaxed)),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    pub fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        let der = CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap();
        roots.add(der).unwrap();
        roots
    }
}

impl Identity {
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![CertificateDer::from_pem_slice(self.cert.as_bytes()).unwrap()]
    }

    pub fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap()
    }

    /// Puts it into a folder that Envoy watches, with the shipped script.
    pub fn put(&self, folder: &Path) {
        put(folder, &[("tls.crt", &self.cert), ("tls.key", &self.key)]);
    }
}

/// Replaces the files of a folder with the shipped script.
pub fn put(folder: &Path, files: &[(&str, &str)]) {
    let staging = tempfile::tempdir().unwrap();
    let paths = files.iter().map(|(name, content)| {
        let path = staging.path().join(name);
        fs::write(&path, content).unwrap();
        path
    });
    let script = artifacts::workspace().join("ops/envoy/put-secret.sh");
    let status = Command::new(script)
        .arg(folder)
        .args(paths)
        .status()
        .unwrap();
    assert!(status.success());
}
