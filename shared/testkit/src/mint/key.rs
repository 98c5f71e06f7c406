//! Signing keys.

use std::sync::OnceLock;

use ed25519_dalek::Signer as _;
use rsa::pkcs1v15;
use rsa::pkcs8::{EncodePublicKey as _, LineEnding};
use rsa::signature::SignatureEncoding as _;
use rsa::traits::PublicKeyParts as _;
use rsa::{BoxedUint, RsaPrivateKey, RsaPublicKey};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::primes::{RSA_1024, RSA_2048};

/// What a key signs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
pub enum Alg {
    RS256,
    ES256,
    EdDSA,
}

impl Alg {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::ES256 => "ES256",
            Self::EdDSA => "EdDSA",
        }
    }
}

/// A key pair with its id.
#[derive(Clone)]
pub struct Key {
    pub kid: String,
    pub(super) pair: Pair,
}

#[derive(Clone)]
pub(super) enum Pair {
    Rsa(&'static RsaPrivateKey),
    P256(Box<p256::ecdsa::SigningKey>),
    Ed25519(Box<ed25519_dalek::SigningKey>),
}

impl Key {
    /// How many different 2048-bit RSA keys there are.
    pub const RSA_KEYS: usize = RSA_2048.len();

    /// The RSA key of this number, below [`Key::RSA_KEYS`].
    ///
    /// # Panics
    /// When there is no such key.
    #[must_use]
    pub fn rsa(kid: &str, number: usize) -> Self {
        static KEYS: [OnceLock<RsaPrivateKey>; RSA_2048.len()] =
            [const { OnceLock::new() }; RSA_2048.len()];
        let cell = KEYS.get(number).unwrap_or_else(|| {
            panic!(
                "there are only {} RSA keys: use ES256 or EdDSA for more",
                Self::RSA_KEYS
            )
        });
        Self {
            kid: kid.to_owned(),
            pair: Pair::Rsa(cell.get_or_init(|| from_primes(RSA_2048[number]))),
        }
    }

    /// An RSA key of 1024 bits: nobody should believe it.
    #[must_use]
    pub fn weak_rsa(kid: &str) -> Self {
        static KEY: OnceLock<RsaPrivateKey> = OnceLock::new();
        Self {
            kid: kid.to_owned(),
            pair: Pair::Rsa(KEY.get_or_init(|| from_primes(RSA_1024))),
        }
    }

    /// An ES256 key that is always the same for the same seed.
    ///
    /// # Panics
    /// When the seed yields no key, which is as likely as a collision.
    #[must_use]
    pub fn p256(kid: &str, seed: &str) -> Self {
        Self::p256_from(kid, &Sha256::digest(seed))
    }

    /// The ES256 key with this private number.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn p256_from(kid: &str, d: &[u8]) -> Self {
        let key = p256::ecdsa::SigningKey::from_slice(d)
            .unwrap_or_else(|e| panic!("{kid}: no P-256 private key: {e}"));
        Self {
            kid: kid.to_owned(),
            pair: Pair::P256(Box::new(key)),
        }
    }

    /// An EdDSA key that is always the same for the same seed.
    #[must_use]
    pub fn ed25519(kid: &str, seed: &str) -> Self {
        Self::ed25519_from(kid, &Sha256::digest(seed))
    }

    /// The Ed25519 key with these 32 private bytes.
    ///
    /// # Panics
    /// When they are not 32.
    #[must_use]
    pub fn ed25519_from(kid: &str, d: &[u8]) -> Self {
        let d: [u8; 32] = d
            .try_into()
            .unwrap_or_else(|_| panic!("{kid}: an Ed25519 private key has 32 bytes"));
        Self {
            kid: kid.to_owned(),
            pair: Pair::Ed25519(Box::new(ed25519_dalek::SigningKey::from_bytes(&d))),
        }
    }

    #[must_use]
    pub const fn alg(&self) -> Alg {
        match self.pair {
            Pair::Rsa(_) => Alg::RS256,
            Pair::P256(_) => Alg::ES256,
            Pair::Ed25519(_) => Alg::EdDSA,
        }
    }

    /// The signature of a message, as JWS wants it: raw `r || s` for ES256.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        match &self.pair {
            Pair::Rsa(key) => pkcs1v15::SigningKey::<Sha256>::new((*key).clone())
                .sign(message)
                .to_vec(),
            Pair::P256(key) => {
                let signature: p256::ecdsa::Signature = key.sign(message);
                signature.to_bytes().to_vec()
            }
            Pair::Ed25519(key) => key.sign(message).to_bytes().to_vec(),
        }
    }

    /// The public key as DER SubjectPublicKeyInfo.
    ///
    /// # Panics
    /// When it cannot be encoded.
    #[must_use]
    pub fn spki_der(&self) -> Vec<u8> {
        match &self.pair {
            Pair::Rsa(key) => RsaPublicKey::from(*key)
                .to_public_key_der()
                .expect("an RSA key has an encoding")
                .into_vec(),
            Pair::P256(key) => key
                .verifying_key()
                .to_public_key_der()
                .expect("a P-256 key has an encoding")
                .into_vec(),
            Pair::Ed25519(key) => {
                // RFC 8410 section 4: a fixed prefix and the 32 bytes.
                let mut der = vec![
                    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0,
                ];
                der.extend_from_slice(key.verifying_key().as_bytes());
                der
            }
        }
    }

    /// The public key as PEM, which an HS256 forger would take for the secret.
    ///
    /// # Panics
    /// When it is no RSA key.
    #[must_use]
    pub fn spki_pem(&self) -> String {
        let Pair::Rsa(key) = &self.pair else {
            panic!("{}: only RSA keys have a PEM form here", self.kid)
        };
        RsaPublicKey::from(*key)
            .to_public_key_pem(LineEnding::LF)
            .expect("an RSA key has an encoding")
    }

    /// The modulus of an RSA key.
    pub(super) fn modulus(&self) -> Option<Vec<u8>> {
        match &self.pair {
            Pair::Rsa(key) => Some(key.n().to_be_bytes_trimmed_vartime().to_vec()),
            _ => None,
        }
    }
}

fn from_primes(primes: [&str; 2]) -> RsaPrivateKey {
    let [p, q] = primes.map(|hex| {
        let bits = u32::try_from(hex.len() * 4).expect("a prime is not that long");
        BoxedUint::from_be_hex(hex, bits).expect("primes are hexadecimal")
    });
    RsaPrivateKey::from_p_q(p, q, BoxedUint::from(65537_u32)).expect("the primes make a key")
}
