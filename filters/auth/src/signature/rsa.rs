//! RS256: RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017 section 8.2.2), verification only.

use rsa_verify::PublicKey;
use sha2::{Digest, Sha256};

use super::{BadKey, BadSignature, der};

/// SEQUENCE { OID rsaEncryption, NULL } (RFC 8017 appendix A.1).
const ALGORITHM: [u8; 15] = [
    0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
];

#[derive(Clone, Debug)]
pub(super) struct Key(PublicKey);

impl Key {
    /// The key and its SubjectPublicKeyInfo.
    pub(super) fn new(n: &[u8], e: &[u8]) -> Result<(Self, Vec<u8>), BadKey> {
        let key = PublicKey::new(n, e)?;
        let numbers = der::value(der::SEQUENCE, &[&der::unsigned(n), &der::unsigned(e)]);
        let bit_string = der::value(der::BIT_STRING, &[&[0], &numbers]);
        let spki = der::value(der::SEQUENCE, &[&ALGORITHM, &bit_string]);
        Ok((Self(key), spki))
    }

    /// The signature is as long as the modulus and below it (RFC 8017 sections 5.2.2 and 8.2.2).
    pub(super) fn check_range(&self, signature: &[u8]) -> Result<(), BadSignature> {
        if self.0.is_in_range(signature) {
            Ok(())
        } else {
            Err(BadSignature)
        }
    }

    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        self.0.verifies(&Sha256::digest(message).into(), signature)
    }
}

impl From<rsa_verify::BadKey> for BadKey {
    fn from(bad: rsa_verify::BadKey) -> Self {
        match bad {
            rsa_verify::BadKey::TooShort => Self::RsaTooShort,
            rsa_verify::BadKey::TooLong => Self::RsaTooLong,
            rsa_verify::BadKey::EvenModulus => Self::RsaModulus,
            rsa_verify::BadKey::Exponent => Self::RsaExponent,
        }
    }
}
