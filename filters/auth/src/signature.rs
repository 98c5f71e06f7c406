//! Signature algorithms of RFC 7518 and RFC 8037: which are spoken, what a public key of each is, and
//! how one is checked: by the gateway's own crypto where there is one, in pure Rust elsewhere, with
//! the same verdict (requirements J1, J20, J22).

mod der;
mod ed25519;
mod p256;
mod rsa;

use policy::Host;
use policy::host::Signature;
use serde::Deserialize;

/// A signature algorithm (RFC 7518 section 3.1, RFC 8037 section 3.1). Symmetric algorithms and
/// `none` cannot be expressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    #[serde(rename = "RS256")]
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// Ed25519 (Ed448 is not supported).
    #[serde(rename = "EdDSA")]
    EdDsa,
}

impl Algorithm {
    /// Every algorithm there is.
    pub const ALL: [Self; 3] = [Self::Rs256, Self::Es256, Self::EdDsa];

    /// The algorithm of exactly this name; names are case-sensitive (RFC 7515 section 4.1.1).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }

    /// The name that `alg` has for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }
}

/// The signature does not verify, has the wrong size or range, or the key is of another algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadSignature;

/// Why key material cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadKey {
    /// RSA modulus shorter than 2048 bits (RFC 7518 section 3.3).
    RsaTooShort,
    /// RSA modulus longer than 8192 bits: checking would take too long.
    RsaTooLong,
    /// RSA modulus even.
    RsaModulus,
    /// RSA exponent even, below 3 or above 2³³ − 1.
    RsaExponent,
    /// A coordinate that does not have 32 bytes (RFC 7518 section 6.2.1.2, RFC 8037 section 2).
    Length,
    /// No point of the curve, or not its canonical encoding.
    NotOnCurve,
    /// An Ed25519 point of small order, under which one signature fits almost every message.
    SmallOrder,
}

impl BadKey {
    /// A phrase for a log line. It contains nothing of the key.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::RsaTooShort => "the RSA modulus has fewer than 2048 bits",
            Self::RsaTooLong => "the RSA modulus has more than 8192 bits",
            Self::RsaModulus => "the RSA modulus is even",
            Self::RsaExponent => "the RSA exponent is even, below 3 or above 33 bits",
            Self::Length => "a coordinate does not have 32 bytes",
            Self::NotOnCurve => "the point is not on the curve",
            Self::SmallOrder => "the point has small order",
        }
    }
}

/// A public key, parsed once and ready to verify with.
#[derive(Clone, Debug)]
pub struct PublicKey {
    material: Material,
    spki: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Material {
    Rsa(Box<rsa::Key>),
    P256(Box<p256::Key>),
    Ed25519(Box<ed25519::Key>),
}

impl PublicKey {
    /// An RSA key of modulus `n` and exponent `e`, both big-endian. Leading zero bytes, which RFC 7518
    /// section 2 forbids and some issuers send, are tolerated.
    ///
    /// # Errors
    /// The bounds of [`BadKey`].
    pub fn rsa(n: &[u8], e: &[u8]) -> Result<Self, BadKey> {
        let (key, spki) = rsa::Key::new(n, e)?;
        Ok(Self {
            material: Material::Rsa(Box::new(key)),
            spki,
        })
    }

    /// A P-256 key of the coordinates `x` and `y`, 32 bytes each, big-endian.
    ///
    /// # Errors
    /// Another length, or a point that is not on the curve.
    pub fn p256(x: &[u8], y: &[u8]) -> Result<Self, BadKey> {
        let (key, spki) = p256::Key::new(x, y)?;
        Ok(Self {
            material: Material::P256(Box::new(key)),
            spki,
        })
    }

    /// An Ed25519 key: the 32 bytes of RFC 8032 section 5.1.5.
    ///
    /// # Errors
    /// Another length, no canonical encoding of a point, or a point of small order.
    pub fn ed25519(x: &[u8]) -> Result<Self, BadKey> {
        let (key, spki) = ed25519::Key::new(x)?;
        Ok(Self {
            material: Material::Ed25519(Box::new(key)),
            spki,
        })
    }

    /// The one algorithm that the key may be used with.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        match self.material {
            Material::Rsa(_) => Algorithm::Rs256,
            Material::P256(_) => Algorithm::Es256,
            Material::Ed25519(_) => Algorithm::EdDsa,
        }
    }

    /// The key as DER SubjectPublicKeyInfo (RFC 5280 section 4.1).
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }
}

/// Checks a JWS signature over its signing input (RFC 7515 section 5.2).
///
/// `algorithm` is what the token claims; a key of another algorithm verifies nothing. With
/// `use_host`, RS256 and ES256 go to the gateway's crypto if it has one. Lengths and ranges are
/// checked here on both paths.
///
/// # Errors
/// [`BadSignature`], whatever is wrong.
pub fn verify(
    algorithm: Algorithm,
    key: &PublicKey,
    signing_input: &[u8],
    signature: &[u8],
    host: &dyn Host,
    use_host: bool,
) -> Result<(), BadSignature> {
    if key.algorithm() != algorithm {
        return Err(BadSignature);
    }
    let by_host = |signature: &[u8]| {
        let verdict = use_host.then(|| {
            host.verify(Signature {
                algorithm: algorithm.name(),
                spki: &key.spki,
                signature,
                message: signing_input,
            })
        });
        verdict.flatten()
    };
    let valid = match &key.material {
        Material::Rsa(key) => {
            key.check_range(signature)?;
            match by_host(signature) {
                Some(valid) => valid,
                None => key.verify(signing_input, signature),
            }
        }
        Material::P256(key) => {
            let (parsed, der) = p256::read_signature(signature)?;
            match by_host(&der) {
                Some(valid) => valid,
                None => key.verify(signing_input, &parsed),
            }
        }
        Material::Ed25519(key) => key.verify(signing_input, signature),
    };
    if valid { Ok(()) } else { Err(BadSignature) }
}
