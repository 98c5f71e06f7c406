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

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::RefCell;

    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use policy::host::Fact;
    use serde_json::Value;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    /// Keys, tokens and verdicts; made by `tests/vectors.py`.
    pub(crate) fn vectors() -> Value {
        policy::json::parse(include_bytes!("../tests/vectors.json")).unwrap()
    }

    pub(crate) struct Asked {
        algorithm: String,
        spki: Vec<u8>,
        signature: Vec<u8>,
    }

    /// A gateway that answers as it is told, and remembers what it was asked.
    #[derive(Default)]
    pub(crate) struct FakeHost {
        pub(crate) answer: Answer,
        pub(crate) asked: RefCell<Vec<Asked>>,
    }

    #[derive(Clone, Copy, Default)]
    pub(crate) enum Answer {
        /// Has no crypto.
        #[default]
        Nothing,
        Always(bool),
        /// Reads DER as a gateway does, and verifies.
        Honest,
    }

    impl FakeHost {
        pub(crate) fn answering(answer: Answer) -> Self {
            Self {
                answer,
                asked: RefCell::default(),
            }
        }
    }

    impl Host for FakeHost {
        fn fact(&self, _: Fact) -> Option<Vec<u8>> {
            None
        }

        fn verify(&self, asked: Signature<'_>) -> Option<bool> {
            self.asked.borrow_mut().push(Asked {
                algorithm: asked.algorithm.into(),
                spki: asked.spki.into(),
                signature: asked.signature.into(),
            });
            match self.answer {
                Answer::Nothing => None,
                Answer::Always(verdict) => Some(verdict),
                Answer::Honest => Some(verify_der(&asked)),
            }
        }
    }

    fn verify_der(asked: &Signature<'_>) -> bool {
        use ::p256::ecdsa::signature::Verifier as _;
        use ::rsa::pkcs8::DecodePublicKey as _;
        match asked.algorithm {
            "RS256" => {
                let key = ::rsa::RsaPublicKey::from_public_key_der(asked.spki).unwrap();
                let key = ::rsa::pkcs1v15::VerifyingKey::<sha2::Sha256>::new(key);
                let signature = asked.signature.try_into().unwrap();
                key.verify(asked.message, &signature).is_ok()
            }
            "ES256" => {
                let point = asked.spki.get(26..).unwrap();
                let key = ::p256::ecdsa::VerifyingKey::from_sec1_bytes(point).unwrap();
                let signature = ::p256::ecdsa::Signature::from_der(asked.signature).unwrap();
                key.verify(asked.message, &signature).is_ok()
            }
            other => panic!("asked for {other}"),
        }
    }

    fn bytes(value: &Value) -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(value.as_str().unwrap()).unwrap()
    }

    fn key(kid: &str) -> PublicKey {
        let vectors = vectors();
        let keys = vectors["jwks"]["keys"].as_array().unwrap();
        let jwk = keys.iter().find(|jwk| jwk["kid"] == kid).unwrap();
        match jwk["kty"].as_str().unwrap() {
            "RSA" => PublicKey::rsa(&bytes(&jwk["n"]), &bytes(&jwk["e"])).unwrap(),
            "EC" => PublicKey::p256(&bytes(&jwk["x"]), &bytes(&jwk["y"])).unwrap(),
            _ => PublicKey::ed25519(&bytes(&jwk["x"])).unwrap(),
        }
    }

    /// The signing input and the signature of a vector.
    fn signed(name: &str) -> (String, Vec<u8>) {
        let vectors = vectors();
        let all = vectors["vectors"].as_array().unwrap();
        let vector = all.iter().find(|vector| vector["name"] == name).unwrap();
        let (input, signature) = vector["token"].as_str().unwrap().rsplit_once('.').unwrap();
        (input.into(), URL_SAFE_NO_PAD.decode(signature).unwrap())
    }

    const EACH: [(&str, &str, Algorithm); 4] = [
        ("rsa", "rsa: good", Algorithm::Rs256),
        ("rsa-e3", "rsa-e3: good", Algorithm::Rs256),
        ("ec", "ec: good", Algorithm::Es256),
        ("ed", "ed: good", Algorithm::EdDsa),
    ];

    #[test]
    fn algorithms_have_exactly_one_name() {
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::from_name(algorithm.name()), Some(algorithm));
            let json = Value::from(algorithm.name());
            assert_eq!(
                serde_json::from_value::<Algorithm>(json).unwrap(),
                algorithm
            );
        }
        for other in [
            "none", "HS256", "rs256", "EDDSA", "eddsa", "RS256\0", "", "RS512", "PS256",
        ] {
            assert_eq!(Algorithm::from_name(other), None, "{other}");
            assert!(serde_json::from_value::<Algorithm>(other.into()).is_err());
        }
    }

    #[test]
    fn the_example_of_rfc_8037_verifies() {
        let (input, signature) = signed("RFC 8037 A.4");
        let verdict = verify(
            Algorithm::EdDsa,
            &key("ed"),
            input.as_bytes(),
            &signature,
            &FakeHost::default(),
            true,
        );
        assert_eq!(verdict, Ok(()));
    }

    #[test]
    fn a_key_verifies_with_its_own_algorithm_alone() {
        for (kid, name, own) in EACH {
            let key = key(kid);
            assert_eq!(key.algorithm(), own);
            let (input, signature) = signed(name);
            for algorithm in Algorithm::ALL {
                for answer in [Answer::Nothing, Answer::Honest] {
                    let host = FakeHost::answering(answer);
                    let verdict =
                        verify(algorithm, &key, input.as_bytes(), &signature, &host, true);
                    assert_eq!(verdict.is_ok(), algorithm == own, "{kid} {algorithm:?}");
                }
            }
        }
    }

    #[test]
    fn the_gateway_is_given_spki_and_der() {
        let vectors = vectors();
        for (kid, name, algorithm) in EACH {
            let key = key(kid);
            assert_eq!(key.spki(), bytes(&vectors["spki"][kid]), "{kid}");
            let (input, signature) = signed(name);
            let host = FakeHost::answering(Answer::Honest);
            verify(algorithm, &key, input.as_bytes(), &signature, &host, true).unwrap();
            let asked = host.asked.borrow();
            if algorithm == Algorithm::EdDsa {
                assert!(asked.is_empty(), "no gateway has Ed25519");
                continue;
            }
            let asked = asked.first().unwrap();
            assert_eq!(asked.algorithm, algorithm.name());
            assert_eq!(asked.spki, key.spki());
            if algorithm == Algorithm::Es256 {
                assert_eq!(asked.signature.first(), Some(&0x30));
            } else {
                assert_eq!(asked.signature, signature);
            }
        }
    }

    #[test]
    fn the_gateway_has_the_last_word_if_it_is_asked() {
        for (kid, name, algorithm) in EACH.into_iter().take(3) {
            let key = key(kid);
            let (input, signature) = signed(name);
            let verdict = |message: &str, answer, use_host| {
                let host = FakeHost::answering(answer);
                verify(
                    algorithm,
                    &key,
                    message.as_bytes(),
                    &signature,
                    &host,
                    use_host,
                )
            };
            assert_eq!(
                verdict(&input, Answer::Always(false), true),
                Err(BadSignature)
            );
            assert_eq!(verdict("other", Answer::Always(true), true), Ok(()));
            assert_eq!(verdict(&input, Answer::Always(false), false), Ok(()));
            assert_eq!(
                verdict("other", Answer::Always(true), false),
                Err(BadSignature)
            );
            assert_eq!(verdict(&input, Answer::Nothing, true), Ok(()));
            assert_eq!(verdict("other", Answer::Nothing, true), Err(BadSignature));
        }
    }

    #[test]
    fn the_gateway_is_not_asked_about_signatures_out_of_range() {
        let host = FakeHost::answering(Answer::Always(true));
        let n = bytes(&vectors()["jwks"]["keys"][0]["n"]);
        for signature in [&[][..], &[1; 255], &[1; 257], &[0xff; 256], &n] {
            let verdict = verify(Algorithm::Rs256, &key("rsa"), b"", signature, &host, true);
            assert_eq!(verdict, Err(BadSignature));
        }
        for signature in [&[][..], &[1; 63], &[1; 65], &[0xff; 64], &[0; 64], &[1; 32]] {
            let verdict = verify(Algorithm::Es256, &key("ec"), b"", signature, &host, true);
            assert_eq!(verdict, Err(BadSignature));
        }
        assert!(host.asked.borrow().is_empty());
    }

    fn rsa_error(n: &[u8], e: &[u8]) -> Option<BadKey> {
        PublicKey::rsa(n, e).err()
    }

    #[test]
    fn rsa_keys_have_2048_to_8192_bits() {
        let e = [1, 0, 1];
        let mut below = [0xff; 256];
        below[0] = 0x7f;
        for n in [&[][..], &[0; 256], &[1], &[0xff; 128], &[0xff; 255], &below] {
            assert_eq!(rsa_error(n, &e), Some(BadKey::RsaTooShort));
        }
        assert_eq!(rsa_error(&[0xff; 256], &e), None);
        assert_eq!(rsa_error(&[0xff; 257], &e), None);
        assert_eq!(rsa_error(&[0xff; 1024], &e), None);
        let mut above = [0xff; 1025];
        above[0] = 1;
        for n in [&above[..], &[0xff; 1025], &[0xff; 100_000]] {
            assert_eq!(rsa_error(n, &e), Some(BadKey::RsaTooLong));
        }
        let mut even = [0xff; 256];
        even[255] = 0xfe;
        assert_eq!(rsa_error(&even, &e), Some(BadKey::RsaModulus));
    }

    #[test]
    fn rsa_exponents_are_odd_and_of_3_to_33_bits() {
        let n = [0xff; 256];
        for e in [
            &[3][..],
            &[1, 0, 1],
            &[0, 0, 0, 0, 0, 0, 0, 0, 0, 3],
            &[1, 0xff, 0xff, 0xff, 0xff],
        ] {
            assert_eq!(rsa_error(&n, e), None, "{e:?}");
        }
        for e in [
            &[][..],
            &[0],
            &[1],
            &[2],
            &[1, 0, 0],
            &[2, 0, 0, 0, 1],
            &[0xff; 8],
            &[1, 0, 0, 0, 0, 0, 0, 0, 3],
            &n,
        ] {
            assert_eq!(rsa_error(&n, e), Some(BadKey::RsaExponent), "{e:?}");
        }
    }

    #[test]
    fn leading_zeros_of_a_modulus_do_not_count() {
        let n = bytes(&vectors()["jwks"]["keys"][0]["n"]);
        let padded = PublicKey::rsa(&[&[0, 0], n.as_slice()].concat(), &[0, 1, 0, 1]).unwrap();
        assert_eq!(padded.spki(), key("rsa").spki());
        let (input, signature) = signed("rsa: good");
        let host = FakeHost::default();
        let verdict = verify(
            Algorithm::Rs256,
            &padded,
            input.as_bytes(),
            &signature,
            &host,
            true,
        );
        assert_eq!(verdict, Ok(()));
    }

    #[test]
    fn points_are_on_their_curve() {
        let keys = vectors()["jwks"]["keys"].clone();
        let (x, y) = (bytes(&keys[2]["x"]), bytes(&keys[2]["y"]));
        let error = |x: &[u8], y: &[u8]| PublicKey::p256(x, y).err();
        assert_eq!(error(&x, &y), None);
        assert_eq!(error(&y, &x), Some(BadKey::NotOnCurve));
        assert_eq!(error(&[0; 32], &[0; 32]), Some(BadKey::NotOnCurve));
        assert_eq!(error(&[0xff; 32], &y), Some(BadKey::NotOnCurve));
        for (x, y) in [
            (&x[1..], &y[..]),
            (&x, &y[..31]),
            (&[], &[]),
            (&[0; 33], &y),
        ] {
            assert_eq!(error(x, y), Some(BadKey::Length));
        }

        let error = |x: &[u8]| PublicKey::ed25519(x).err();
        assert_eq!(error(&bytes(&keys[3]["x"])), None);
        assert_eq!(error(&bytes(&keys[4]["x"])), Some(BadKey::SmallOrder));
        assert_eq!(error(&bytes(&keys[5]["x"])), Some(BadKey::SmallOrder));
        assert_eq!(error(&bytes(&keys[6]["x"])), Some(BadKey::NotOnCurve));
        assert_eq!(error(&[0; 32]), Some(BadKey::SmallOrder));
        let mut none = [0; 32];
        none[0] = 2;
        assert_eq!(error(&none), Some(BadKey::NotOnCurve));
        // The identity with the sign of a zero.
        let mut identity = [0; 32];
        identity[0] = 1;
        identity[31] = 0x80;
        assert_eq!(error(&identity), Some(BadKey::NotOnCurve));
        for length in [0, 31, 33, 64] {
            assert_eq!(error(&vec![1; length]), Some(BadKey::Length));
        }
    }
}
