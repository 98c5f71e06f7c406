//! ES256: ECDSA on P-256 with SHA-256 (RFC 7518 section 3.4).

use ::p256::ecdsa::signature::hazmat::PrehashVerifier;
use ::p256::ecdsa::{Signature, VerifyingKey};
use sha2::{Digest, Sha256};

use super::{BadKey, BadSignature, der};

const COORDINATE: usize = 32;
const UNCOMPRESSED: u8 = 4;

/// SEQUENCE { OID id-ecPublicKey, OID prime256v1 } (RFC 5480 section 2.1.1).
const ALGORITHM: [u8; 21] = [
    0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
    0xce, 0x3d, 0x03, 0x01, 0x07,
];

#[derive(Clone, Debug)]
pub(super) struct Key(VerifyingKey);

impl Key {
    /// The key and its SubjectPublicKeyInfo.
    pub(super) fn new(x: &[u8], y: &[u8]) -> Result<(Self, Vec<u8>), BadKey> {
        if x.len() != COORDINATE || y.len() != COORDINATE {
            return Err(BadKey::Length);
        }
        let point = [&[UNCOMPRESSED], x, y].concat();
        let key = VerifyingKey::from_sec1_bytes(&point).map_err(|_| BadKey::NotOnCurve)?;
        let bit_string = der::value(der::BIT_STRING, &[&[0], &point]);
        let spki = der::value(der::SEQUENCE, &[&ALGORITHM, &bit_string]);
        Ok((Self(key), spki))
    }

    pub(super) fn verify(&self, message: &[u8], signature: &Signature) -> bool {
        self.0
            .verify_prehash(&Sha256::digest(message), signature)
            .is_ok()
    }
}

/// Reads the 64 bytes r ‖ s of JOSE, each of 1..n (a high s is accepted, as RFC 7518 does), and
/// writes them in DER for a gateway's crypto.
pub(super) fn read_signature(raw: &[u8]) -> Result<(Signature, Vec<u8>), BadSignature> {
    let (r, s) = raw.split_at_checked(COORDINATE).ok_or(BadSignature)?;
    let parsed = Signature::from_slice(raw).map_err(|_| BadSignature)?;
    let der = der::value(der::SEQUENCE, &[&der::unsigned(r), &der::unsigned(s)]);
    Ok((parsed, der))
}
