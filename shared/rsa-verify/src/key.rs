//! Public keys: their bounds, and what is kept of them.

use crate::encoding;
use crate::limbs;
use crate::montgomery::Modulus;

const MIN_BITS: usize = 2048;
const MAX_BITS: usize = 8192;
const MAX_EXPONENT: u64 = (1 << 33) - 1;

/// Why a key is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadKey {
    /// The modulus has fewer than 2048 bits (RFC 7518 section 3.3).
    TooShort,
    /// The modulus has more than 8192 bits: verifying would take too long.
    TooLong,
    /// The modulus is even.
    EvenModulus,
    /// The exponent is even, below 3 or above 2³³ − 1.
    Exponent,
}

/// An RSA public key, ready to verify with. About 1.3 KB for 2048 bits.
#[derive(Clone, Debug)]
pub struct PublicKey {
    /// Big-endian, without leading zeros.
    n: Vec<u8>,
    e: u64,
    modulus: Modulus,
}

impl PublicKey {
    /// The key of modulus `n` and exponent `e`, both big-endian. Leading zero bytes do not count.
    ///
    /// # Errors
    /// The bounds of [`BadKey`].
    pub fn new(n: &[u8], e: &[u8]) -> Result<Self, BadKey> {
        let n = without_leading_zeros(n);
        let unused = n.first().map_or(0, |first| first.leading_zeros());
        let bits = n.len().saturating_mul(8).saturating_sub(unused as usize);
        if bits < MIN_BITS {
            return Err(BadKey::TooShort);
        }
        if bits > MAX_BITS {
            return Err(BadKey::TooLong);
        }
        if n.last().is_none_or(|last| last & 1 == 0) {
            return Err(BadKey::EvenModulus);
        }
        Ok(Self {
            e: exponent(e).ok_or(BadKey::Exponent)?,
            modulus: Modulus::new(n),
            n: n.to_vec(),
        })
    }

    /// The modulus, big-endian, without leading zeros.
    #[must_use]
    pub fn modulus(&self) -> &[u8] {
        &self.n
    }

    /// Whether a signature is as long as the modulus and below it (RFC 8017 sections 5.2.2 and 8.2.2).
    /// [`Self::verifies`] is false for all others.
    #[must_use]
    pub fn is_in_range(&self, signature: &[u8]) -> bool {
        // Of equal length, the order of the bytes is the order of the numbers.
        signature.len() == self.n.len() && signature < self.n.as_slice()
    }

    /// Whether the signature is that of a message with this SHA-256. Compares the whole encoded message, as
    /// RFC 8017 section 8.2.2 does: there is nothing that a forged padding could hide in.
    #[must_use]
    pub fn verifies(&self, digest: &[u8; 32], signature: &[u8]) -> bool {
        if !self.is_in_range(signature) {
            return false;
        }
        let expected = self.modulus.number(&encoding::encode(digest, self.n.len()));
        self.modulus.power(&self.modulus.number(signature), self.e) == expected
    }

    /// What a signature in range opens to, as long as the modulus (RSAVP1, RFC 8017 section 5.2.2). For
    /// tests: only [`Self::verifies`] says whether it is right.
    #[must_use]
    pub fn open(&self, signature: &[u8]) -> Option<Vec<u8>> {
        self.is_in_range(signature).then(|| {
            let opened = self.modulus.power(&self.modulus.number(signature), self.e);
            limbs::to_be_bytes(&opened, self.n.len())
        })
    }
}

fn exponent(e: &[u8]) -> Option<u64> {
    let e = without_leading_zeros(e);
    if e.len() > 8 {
        return None;
    }
    let e = e.iter().fold(0, |e, byte| (e << 8) | u64::from(*byte));
    (e & 1 == 1 && (3..=MAX_EXPONENT).contains(&e)).then_some(e)
}

fn without_leading_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use sha2::{Digest as _, Sha256};
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn bytes(hex: &Value) -> Vec<u8> {
        let hex = hex.as_str().unwrap();
        (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect()
    }

    /// Forged paddings, other hashes, edges of the arithmetic; keys of 2048 to 8192 bits.
    #[test]
    fn wycheproof_agrees() {
        let all: Value =
            serde_json::from_slice(include_bytes!("../vectors/wycheproof.json")).unwrap();
        let (mut valid, mut invalid) = (0, 0);
        for group in all["groups"].as_array().unwrap() {
            let key = PublicKey::new(&bytes(&group["n"]), &bytes(&group["e"])).unwrap();
            for test in group["tests"].as_array().unwrap() {
                let digest = Sha256::digest(bytes(&test[2])).into();
                let verdict = key.verifies(&digest, &bytes(&test[3]));
                // "acceptable" is an encoding without NULL, which RFC 8017 does not know.
                assert_eq!(verdict, test[0] == "valid", "{test}");
                if verdict {
                    valid += 1;
                } else {
                    invalid += 1;
                }
            }
        }
        assert_eq!((valid, invalid), (31, 289));
    }

    fn refusal(n: &[u8], e: &[u8]) -> Option<BadKey> {
        PublicKey::new(n, e).err()
    }

    #[test]
    fn keys_have_2048_to_8192_bits() {
        let e = [1, 0, 1];
        let mut below = [0xff; 256];
        below[0] = 0x7f;
        for n in [&[][..], &[0; 256], &[1], &[0xff; 128], &[0xff; 255], &below] {
            assert_eq!(refusal(n, &e), Some(BadKey::TooShort));
        }
        for length in [256, 257, 384, 512, 1024] {
            assert_eq!(refusal(&vec![0xff; length], &e), None);
        }
        let mut above = [0xff; 1025];
        above[0] = 1;
        for n in [&above[..], &[0xff; 1025], &[0xff; 100_000]] {
            assert_eq!(refusal(n, &e), Some(BadKey::TooLong));
        }
        let mut even = [0xff; 256];
        even[255] = 0xfe;
        assert_eq!(refusal(&even, &e), Some(BadKey::EvenModulus));
    }

    #[test]
    fn exponents_are_odd_and_of_3_to_33_bits() {
        let n = [0xff; 256];
        let longest = [1, 0xff, 0xff, 0xff, 0xff];
        for e in [
            &[3][..],
            &[1, 0, 1],
            &[0, 0, 0, 0, 0, 0, 0, 0, 0, 3],
            &longest,
        ] {
            assert_eq!(refusal(&n, e), None, "{e:?}");
        }
        let bad: [&[u8]; 8] = [
            &[],
            &[0],
            &[1],
            &[2],
            &[1, 0, 0],
            &[2, 0, 0, 0, 1],
            &[0xff; 8],
            &[1, 0, 0, 0, 0, 0, 0, 0, 3],
        ];
        for e in bad {
            assert_eq!(refusal(&n, e), Some(BadKey::Exponent), "{e:?}");
        }
    }

    #[test]
    fn signatures_are_as_long_as_the_modulus_and_below_it() {
        let n = [0xff; 256];
        let key = PublicKey::new(&[&[0, 0], &n[..]].concat(), &[3]).unwrap();
        assert_eq!(key.modulus(), n);
        let mut below = n;
        below[255] = 0xfe;
        assert!(key.is_in_range(&below));
        assert!(key.is_in_range(&[0; 256]));
        for signature in [&[][..], &[0; 255], &[0; 257], &n] {
            assert!(!key.is_in_range(signature));
            assert!(!key.verifies(&[0; 32], signature));
        }
        assert!(!key.verifies(&[0; 32], &[0; 256]));
    }
}
