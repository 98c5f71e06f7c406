//! RS256: RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017 section 8.2.2), verification only.

use ::rsa::pkcs1v15::{Signature, VerifyingKey};
use ::rsa::signature::hazmat::PrehashVerifier;
use ::rsa::{BoxedUint, RsaPublicKey};
use sha2::{Digest, Sha256};

use super::{BadKey, BadSignature, der};

const MIN_BITS: u32 = 2048;
const MAX_BITS: u32 = 8192;
const MAX_EXPONENT: u64 = (1 << 33) - 1;

/// SEQUENCE { OID rsaEncryption, NULL } (RFC 8017 appendix A.1).
const ALGORITHM: [u8; 15] = [
    0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
];

#[derive(Clone, Debug)]
pub(super) struct Key {
    verifier: VerifyingKey<Sha256>,
    /// Big-endian, without leading zeros.
    modulus: Vec<u8>,
}

impl Key {
    /// The key and its SubjectPublicKeyInfo.
    pub(super) fn new(n: &[u8], e: &[u8]) -> Result<(Self, Vec<u8>), BadKey> {
        let n = der::strip_zeros(n);
        let bits = bits(n);
        if bits < MIN_BITS {
            return Err(BadKey::RsaTooShort);
        }
        if bits > MAX_BITS {
            return Err(BadKey::RsaTooLong);
        }
        if n.last().is_none_or(|last| last & 1 == 0) {
            return Err(BadKey::RsaModulus);
        }
        let exponent = exponent(e).ok_or(BadKey::RsaExponent)?;

        // A multiple of 64 bits whatever the size of a limb, so that nothing is cut off.
        let modulus = BoxedUint::from_be_slice(n, bits.next_multiple_of(64))
            .map_err(|_| BadKey::RsaModulus)?;
        let key = RsaPublicKey::new(modulus, BoxedUint::from(exponent))
            .map_err(|_| BadKey::RsaModulus)?;

        let numbers = der::value(der::SEQUENCE, &[&der::unsigned(n), &der::unsigned(e)]);
        let bit_string = der::value(der::BIT_STRING, &[&[0], &numbers]);
        let spki = der::value(der::SEQUENCE, &[&ALGORITHM, &bit_string]);
        let key = Self {
            verifier: VerifyingKey::new(key),
            modulus: n.to_vec(),
        };
        Ok((key, spki))
    }

    /// The signature is as long as the modulus and below it (RFC 8017 sections 5.2.2 and 8.2.2).
    pub(super) fn check_range(&self, signature: &[u8]) -> Result<(), BadSignature> {
        // Of equal length, the order of the bytes is the order of the numbers.
        if signature.len() == self.modulus.len() && signature < self.modulus.as_slice() {
            Ok(())
        } else {
            Err(BadSignature)
        }
    }

    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        Signature::try_from(signature).is_ok_and(|signature| {
            self.verifier
                .verify_prehash(&Sha256::digest(message), &signature)
                .is_ok()
        })
    }
}

/// The length of a big-endian number without leading zero bytes.
fn bits(n: &[u8]) -> u32 {
    let all = u32::try_from(n.len()).unwrap_or(u32::MAX).saturating_mul(8);
    all.saturating_sub(n.first().map_or(0, |first| first.leading_zeros()))
}

fn exponent(e: &[u8]) -> Option<u64> {
    let e = der::strip_zeros(e);
    if e.len() > 8 {
        return None;
    }
    let e = e.iter().fold(0, |e, byte| (e << 8) | u64::from(*byte));
    (e & 1 == 1 && (3..=MAX_EXPONENT).contains(&e)).then_some(e)
}
