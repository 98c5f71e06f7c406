//! EdDSA with Ed25519 (RFC 8037 section 3.1). Always in pure Rust: no gateway offers it.

use ed25519_dalek::{Signature, VerifyingKey};

use super::{BadKey, der};

/// SEQUENCE { OID id-Ed25519 } (RFC 8410 section 3).
const ALGORITHM: [u8; 7] = [0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70];

#[derive(Clone, Debug)]
pub(super) struct Key(VerifyingKey);

impl Key {
    /// The key and its SubjectPublicKeyInfo.
    pub(super) fn new(x: &[u8]) -> Result<(Self, Vec<u8>), BadKey> {
        let bytes: &[u8; 32] = x.try_into().map_err(|_| BadKey::Length)?;
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| BadKey::NotOnCurve)?;
        if key.to_edwards().compress().as_bytes() != bytes {
            return Err(BadKey::NotOnCurve);
        }
        if key.is_weak() {
            return Err(BadKey::SmallOrder);
        }
        let bit_string = der::value(der::BIT_STRING, &[&[0], bytes]);
        let spki = der::value(der::SEQUENCE, &[&ALGORITHM, &bit_string]);
        Ok((Self(key), spki))
    }

    /// Strict: S below the group order, R canonical and not of small order.
    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        Signature::from_slice(signature)
            .is_ok_and(|signature| self.0.verify_strict(message, &signature).is_ok())
    }
}
