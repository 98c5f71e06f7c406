//! JSON Web Key Sets (RFC 7517): which keys of a provider may verify its tokens.
//!
//! A key that cannot be used is left out with a warning; the others serve (requirement J18).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::signature::{Algorithm, BadKey, PublicKey};

/// How large a JWKS may be, in bytes. For the callout that fetches it: [`KeySet::parse`] does not
/// check it.
pub const MAX_BYTES: usize = 256 * 1024;

/// How many keys a JWKS may list, usable or not.
pub const MAX_KEYS: usize = 100;

/// The longest `kid`, in bytes, here and in tokens.
pub const MAX_KID: usize = 256;

/// Members that only a private or symmetric key has (RFC 7518 sections 6.2.2, 6.3.2 and 6.4.1).
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// What a key is recognised by after a refresh of the JWKS: SHA-256 over its `kid` and its
/// SubjectPublicKeyInfo. Neither a renamed key nor new material under an old name has the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId([u8; 32]);

impl KeyId {
    fn of(kid: &str, spki: &[u8]) -> Self {
        let mut hash = Sha256::new();
        // The hash of the name has a fixed length, so that no name can run into the key.
        hash.update(Sha256::digest(kid));
        hash.update(spki);
        Self(hash.finalize().into())
    }
}

/// A usable key.
#[derive(Clone, Debug)]
pub struct Key {
    kid: String,
    id: KeyId,
    public: PublicKey,
}

impl Key {
    /// The name that tokens refer to it by.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Its identity, for caches that outlive a refresh (requirement J21).
    #[must_use]
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// The one algorithm that it verifies.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.public.algorithm()
    }

    /// What to verify with.
    #[must_use]
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }
}

/// The usable keys of a JWKS: 1 to [`MAX_KEYS`], no two of the same `kid` and algorithm.
#[derive(Clone, Debug)]
pub struct KeySet {
    keys: Vec<Key>,
}

impl KeySet {
    /// Reads a JWKS. Beside the keys it returns what was left out, for warnings.
    ///
    /// Unknown members, of the set or of a key, are ignored (RFC 7517 sections 4 and 5); a member that
    /// occurs twice makes the whole document unreadable. Of two equal keys the first serves. Two
    /// different keys of the same `kid` and algorithm are ambiguous and neither serves.
    ///
    /// # Errors
    /// Not a JWKS, more than [`MAX_KEYS`] keys, or no usable key.
    pub fn parse(bytes: &[u8]) -> Result<(Self, Vec<Ignored>), JwksError> {
        let document = policy::json::parse(bytes).map_err(|_| JwksError::NotJson)?;
        let Some(Value::Array(entries)) = document.get("keys") else {
            return Err(JwksError::NotJwks);
        };
        if entries.len() > MAX_KEYS {
            return Err(JwksError::TooManyKeys);
        }

        let mut read: Vec<(usize, Key)> = Vec::new();
        let mut ignored = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            match read_key(entry) {
                Ok(key) => read.push((index, key)),
                Err(reason) => ignored.push(Ignored {
                    index,
                    kid: kid_for_log(entry),
                    reason,
                }),
            }
        }

        let mut keys: Vec<Key> = Vec::new();
        for (position, (index, key)) in read.iter().enumerate() {
            let same_name = |(_, other): &&(usize, Key)| {
                other.kid == key.kid && other.algorithm() == key.algorithm()
            };
            let reason = if read
                .iter()
                .filter(same_name)
                .any(|(_, other)| other.id != key.id)
            {
                Some(Reason::Ambiguous)
            } else if read.iter().take(position).any(|other| same_name(&other)) {
                Some(Reason::Repeated)
            } else {
                None
            };
            match reason {
                None => keys.push(key.clone()),
                Some(reason) => ignored.push(Ignored {
                    index: *index,
                    kid: Some(key.kid.escape_debug().to_string()),
                    reason,
                }),
            }
        }
        ignored.sort_unstable_by_key(|ignored| ignored.index);

        if keys.is_empty() {
            return Err(JwksError::NoUsableKey(ignored));
        }
        Ok((Self { keys }, ignored))
    }

    /// The key of this name for this algorithm.
    #[must_use]
    pub fn get(&self, kid: &str, algorithm: Algorithm) -> Option<&Key> {
        self.keys
            .iter()
            .find(|key| key.algorithm() == algorithm && key.kid == kid)
    }

    /// Whether the key of this identity is still in the set.
    #[must_use]
    pub fn holds(&self, id: KeyId) -> bool {
        self.keys.iter().any(|key| key.id == id)
    }

    /// The usable keys, in the order of the document.
    #[must_use]
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }
}

/// A JWKS that no key can be taken from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JwksError {
    /// Not JSON, or a member occurs twice.
    NotJson,
    /// No object with an array `keys`.
    NotJwks,
    /// More than [`MAX_KEYS`] keys.
    TooManyKeys,
    /// Keys, but none that may be used; says why, for each.
    NoUsableKey(Vec<Ignored>),
}

impl JwksError {
    /// A stable name, for metrics and log lines.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotJson => "jwks_not_json",
            Self::NotJwks => "jwks_malformed",
            Self::TooManyKeys => "jwks_too_many_keys",
            Self::NoUsableKey(_) => "jwks_no_usable_key",
        }
    }
}

impl fmt::Display for JwksError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJson => f.write_str("the JWKS is not JSON, or a member occurs twice"),
            Self::NotJwks => f.write_str("the JWKS is not an object with an array `keys`"),
            Self::TooManyKeys => write!(f, "the JWKS has more than {MAX_KEYS} keys"),
            Self::NoUsableKey(_) => f.write_str("the JWKS has no usable key"),
        }
    }
}

/// A key that was left out. Its `Display` is a line for the log, without key material.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// Its place in `keys`, from 0.
    pub index: usize,
    /// Its name, escaped, if it has a usable one.
    pub kid: Option<String>,
    pub reason: Reason,
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JWKS key {}", self.index)?;
        if let Some(kid) = &self.kid {
            write!(f, " (kid \"{kid}\")")?;
        }
        write!(f, " ignored: {}", self.reason.phrase())
    }
}

/// Why a key is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Not a JSON object.
    NotAnObject,
    /// It has members of a private or symmetric key. Such a key is compromised.
    Private,
    /// `kty` missing or none of `RSA`, `EC` and `OKP`.
    KeyType,
    /// `crv` missing or none of `P-256` (EC) and `Ed25519` (OKP).
    Curve,
    /// `use` is not `sig`.
    Use,
    /// `key_ops` does not list `verify`.
    KeyOps,
    /// `kid` missing, empty, not a string or longer than [`MAX_KID`].
    Kid,
    /// `alg` is not the algorithm of the key's type.
    Algorithm,
    /// A number or coordinate is missing or not base64url.
    Encoding,
    /// The number or point itself.
    Material(BadKey),
    /// An earlier key is the same.
    Repeated,
    /// Another key has the same `kid` and algorithm.
    Ambiguous,
}

impl Reason {
    /// A phrase for a log line.
    #[must_use]
    pub const fn phrase(self) -> &'static str {
        match self {
            Self::NotAnObject => "it is not an object",
            Self::Private => "it has private members",
            Self::KeyType => "`kty` is not supported",
            Self::Curve => "`crv` is not supported",
            Self::Use => "`use` is not `sig`",
            Self::KeyOps => "`key_ops` does not list `verify`",
            Self::Kid => "`kid` is missing, empty or too long",
            Self::Algorithm => "`alg` is not supported with this key",
            Self::Encoding => "a member is missing or not base64url",
            Self::Material(bad) => bad.reason(),
            Self::Repeated => "it repeats an earlier key",
            Self::Ambiguous => "another key has the same `kid`",
        }
    }
}

impl From<BadKey> for Reason {
    fn from(bad: BadKey) -> Self {
        Self::Material(bad)
    }
}

fn read_key(entry: &Value) -> Result<Key, Reason> {
    let jwk = entry.as_object().ok_or(Reason::NotAnObject)?;
    if PRIVATE_MEMBERS.iter().any(|name| jwk.contains_key(*name)) {
        return Err(Reason::Private);
    }
    if jwk.get("use").is_some_and(|usage| usage != "sig") {
        return Err(Reason::Use);
    }
    if let Some(operations) = jwk.get("key_ops") {
        let operations = operations.as_array().ok_or(Reason::KeyOps)?;
        if !operations.iter().any(|operation| operation == "verify") {
            return Err(Reason::KeyOps);
        }
    }
    let kid = jwk
        .get("kid")
        .and_then(Value::as_str)
        .filter(|kid| !kid.is_empty() && kid.len() <= MAX_KID)
        .ok_or(Reason::Kid)?;
    let algorithm = match jwk.get("kty").and_then(Value::as_str) {
        Some("RSA") => Algorithm::Rs256,
        Some("EC") => Algorithm::Es256,
        Some("OKP") => Algorithm::EdDsa,
        _ => return Err(Reason::KeyType),
    };
    if jwk.get("alg").is_some_and(|alg| alg != algorithm.name()) {
        return Err(Reason::Algorithm);
    }
    let curve = |name: &str| {
        if jwk.get("crv").is_some_and(|crv| crv == name) {
            Ok(())
        } else {
            Err(Reason::Curve)
        }
    };
    let public = match algorithm {
        Algorithm::Rs256 => PublicKey::rsa(&bytes(jwk, "n")?, &bytes(jwk, "e")?)?,
        Algorithm::Es256 => {
            curve("P-256")?;
            PublicKey::p256(&bytes(jwk, "x")?, &bytes(jwk, "y")?)?
        }
        Algorithm::EdDsa => {
            curve("Ed25519")?;
            PublicKey::ed25519(&bytes(jwk, "x")?)?
        }
    };
    Ok(Key {
        kid: kid.to_owned(),
        id: KeyId::of(kid, public.spki()),
        public,
    })
}

fn bytes(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, Reason> {
    jwk.get(name)
        .and_then(Value::as_str)
        .and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
        .ok_or(Reason::Encoding)
}

fn kid_for_log(entry: &Value) -> Option<String> {
    entry
        .get("kid")
        .and_then(Value::as_str)
        .filter(|kid| kid.len() <= MAX_KID)
        .map(|kid| kid.escape_debug().to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use crate::signature::tests::vectors;

    fn jwk(kid: &str) -> Value {
        let vectors = vectors();
        let keys = vectors["jwks"]["keys"].as_array().unwrap();
        keys.iter().find(|jwk| jwk["kid"] == kid).unwrap().clone()
    }

    /// The key with members replaced; those that become null are removed.
    fn with(kid: &str, changes: Value) -> Value {
        let mut jwk = jwk(kid);
        for (name, value) in changes.as_object().unwrap() {
            if value.is_null() {
                jwk.as_object_mut().unwrap().remove(name);
            } else {
                jwk[name] = value.clone();
            }
        }
        jwk
    }

    fn set(keys: &[Value]) -> Result<(KeySet, Vec<Ignored>), JwksError> {
        KeySet::parse(json!({ "keys": keys }).to_string().as_bytes())
    }

    /// Why this key alone is left out.
    fn reason(key: Value) -> Option<Reason> {
        match set(std::slice::from_ref(&key)) {
            Ok((keys, ignored)) => {
                assert_eq!((keys.keys().len(), ignored.len()), (1, 0));
                None
            }
            Err(JwksError::NoUsableKey(ignored)) => {
                assert_eq!(ignored.len(), 1);
                Some(ignored[0].reason)
            }
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn a_set_with_one_good_and_many_bad_keys_serves_the_good_one() {
        let bad = [
            with("rsa", json!({ "kid": "private", "d": "AQ" })),
            with("rsa", json!({ "kid": "enc", "use": "enc" })),
            with("rsa", json!({ "kid": "short", "n": "v".repeat(171) })),
            with("rsa", json!({ "kid": "unknown", "kty": "PQC" })),
            json!(null),
        ];
        for place in 0..=bad.len() {
            let mut keys = bad.to_vec();
            keys.insert(place, jwk("rsa"));
            let (served, ignored) = set(&keys).unwrap();
            assert_eq!(served.keys().len(), 1);
            assert!(served.get("rsa", Algorithm::Rs256).is_some());
            assert_eq!(ignored.len(), bad.len());
            let places: Vec<usize> = ignored.iter().map(|ignored| ignored.index).collect();
            assert!(places.is_sorted() && !places.contains(&place));
        }
    }

    #[test]
    fn the_corpus_has_four_usable_keys() {
        let (keys, ignored) = KeySet::parse(vectors()["jwks"].to_string().as_bytes()).unwrap();
        let kids: Vec<&str> = keys.keys().iter().map(Key::kid).collect();
        assert_eq!(kids, ["rsa", "rsa-e3", "ec", "ed"]);
        let reasons: Vec<Reason> = ignored.iter().map(|ignored| ignored.reason).collect();
        assert_eq!(
            reasons,
            [
                Reason::Material(BadKey::SmallOrder),
                Reason::Material(BadKey::SmallOrder),
                Reason::Material(BadKey::NotOnCurve),
                Reason::Private,
                Reason::Use,
            ]
        );
        assert_eq!(
            ignored[3].to_string(),
            "JWKS key 7 (kid \"secret\") ignored: it has private members"
        );
    }

    #[test]
    fn private_members_disqualify_any_key() {
        for kid in ["rsa", "ec", "ed"] {
            for member in PRIVATE_MEMBERS {
                for value in [json!("AQ"), json!(""), json!([]), json!(false)] {
                    assert_eq!(
                        reason(with(kid, json!({ member: value }))),
                        Some(Reason::Private)
                    );
                }
            }
        }
        // Even null, which `with` cannot say.
        let mut key = jwk("rsa");
        key["d"] = Value::Null;
        assert_eq!(reason(key), Some(Reason::Private));
    }

    #[test]
    fn usage_and_operations() {
        for (changes, expected) in [
            (json!({ "use": "sig" }), None),
            (json!({ "use": null }), None),
            (json!({ "use": "enc" }), Some(Reason::Use)),
            (json!({ "use": "SIG" }), Some(Reason::Use)),
            (json!({ "use": "" }), Some(Reason::Use)),
            (json!({ "use": ["sig"] }), Some(Reason::Use)),
            (json!({ "key_ops": ["verify"] }), None),
            (json!({ "key_ops": ["sign", "verify"] }), None),
            (json!({ "key_ops": [] }), Some(Reason::KeyOps)),
            (json!({ "key_ops": ["encrypt"] }), Some(Reason::KeyOps)),
            (json!({ "key_ops": "verify" }), Some(Reason::KeyOps)),
            (json!({ "key_ops": [["verify"]] }), Some(Reason::KeyOps)),
        ] {
            assert_eq!(reason(with("rsa", changes.clone())), expected, "{changes}");
        }
    }

    #[test]
    fn every_key_has_a_name_of_bounded_length() {
        for (kid, expected) in [
            (json!("k".repeat(256)), None),
            (json!("k".repeat(257)), Some(Reason::Kid)),
            (json!(""), Some(Reason::Kid)),
            (json!(1), Some(Reason::Kid)),
            (json!(null), Some(Reason::Kid)),
        ] {
            assert_eq!(reason(with("rsa", json!({ "kid": kid }))), expected);
        }
    }

    #[test]
    fn types_curves_and_algorithms_fit_together() {
        for (kid, changes, expected) in [
            ("rsa", json!({ "alg": null }), None),
            ("rsa", json!({ "alg": "RS512" }), Some(Reason::Algorithm)),
            ("rsa", json!({ "alg": "PS256" }), Some(Reason::Algorithm)),
            ("rsa", json!({ "alg": "RSA-OAEP" }), Some(Reason::Algorithm)),
            ("rsa", json!({ "alg": "HS256" }), Some(Reason::Algorithm)),
            ("rsa", json!({ "alg": "ES256" }), Some(Reason::Algorithm)),
            ("rsa", json!({ "alg": 256 }), Some(Reason::Algorithm)),
            ("rsa", json!({ "kty": null }), Some(Reason::KeyType)),
            ("rsa", json!({ "kty": "rsa" }), Some(Reason::KeyType)),
            (
                "rsa",
                json!({ "kty": "oct", "alg": null }),
                Some(Reason::KeyType),
            ),
            ("rsa", json!({ "kty": ["RSA"] }), Some(Reason::KeyType)),
            (
                "rsa",
                json!({ "kty": "EC", "alg": null }),
                Some(Reason::Curve),
            ),
            ("ec", json!({ "alg": "ES256" }), None),
            ("ec", json!({ "alg": "ES384" }), Some(Reason::Algorithm)),
            ("ec", json!({ "crv": null }), Some(Reason::Curve)),
            ("ec", json!({ "crv": "P-384" }), Some(Reason::Curve)),
            ("ec", json!({ "crv": "secp256k1" }), Some(Reason::Curve)),
            ("ec", json!({ "crv": "Ed25519" }), Some(Reason::Curve)),
            ("ec", json!({ "kty": "OKP" }), Some(Reason::Curve)),
            ("ed", json!({ "alg": null }), None),
            ("ed", json!({ "crv": "Ed448" }), Some(Reason::Curve)),
            ("ed", json!({ "crv": "X25519" }), Some(Reason::Curve)),
            ("ed", json!({ "alg": "ES256" }), Some(Reason::Algorithm)),
        ] {
            assert_eq!(
                reason(with(kid, changes.clone())),
                expected,
                "{kid} {changes}"
            );
        }
    }

    #[test]
    fn numbers_are_canonical_base64url() {
        let n = jwk("rsa")["n"].as_str().unwrap().to_owned();
        for (name, value) in [
            ("n", Value::Null),
            ("n", json!(7)),
            ("n", json!(format!("{n}=="))),
            ("n", json!(format!(" {n}"))),
            ("n", json!(n.replace('-', "+"))),
            ("n", json!(n.replace('_', "/"))),
            // The last character has two bits that do not count.
            ("n", json!(format!("{}R", n.strip_suffix('Q').unwrap()))),
            ("e", Value::Null),
            ("e", json!(65537)),
            ("e", json!("AQAB=")),
        ] {
            assert_eq!(
                reason(with("rsa", json!({ name: value }))),
                Some(Reason::Encoding)
            );
        }
        for (kid, member) in [("ec", "x"), ("ec", "y"), ("ed", "x")] {
            assert_eq!(
                reason(with(kid, json!({ member: null }))),
                Some(Reason::Encoding)
            );
            assert_eq!(
                reason(with(kid, json!({ member: "AQ" }))),
                Some(Reason::Material(BadKey::Length))
            );
        }
        assert_eq!(
            reason(with("rsa", json!({ "e": "" }))),
            Some(Reason::Material(BadKey::RsaExponent))
        );
    }

    #[test]
    fn equal_keys_serve_once_and_ambiguous_ones_not_at_all() {
        let (keys, ignored) = set(&[jwk("rsa"), jwk("rsa"), jwk("ec")]).unwrap();
        assert_eq!(keys.keys().len(), 2);
        assert_eq!(ignored[0].index, 1);
        assert_eq!(ignored[0].reason, Reason::Repeated);

        let other = with("rsa-e3", json!({ "kid": "rsa" }));
        let (keys, ignored) = set(&[jwk("rsa"), other.clone(), jwk("ec"), jwk("rsa")]).unwrap();
        assert_eq!(keys.keys().len(), 1);
        assert!(keys.get("rsa", Algorithm::Rs256).is_none());
        let reasons: Vec<Reason> = ignored.iter().map(|ignored| ignored.reason).collect();
        assert_eq!(reasons, [Reason::Ambiguous; 3]);

        // A key that may not be used does not make the other one ambiguous.
        let unusable = with("rsa-e3", json!({ "kid": "rsa", "use": "enc" }));
        assert!(
            set(&[unusable, jwk("rsa")])
                .unwrap()
                .0
                .get("rsa", Algorithm::Rs256)
                .is_some()
        );

        // One name for keys of two algorithms is not ambiguous.
        let (keys, ignored) = set(&[jwk("rsa"), with("ec", json!({ "kid": "rsa" }))]).unwrap();
        assert!(ignored.is_empty());
        for algorithm in [Algorithm::Rs256, Algorithm::Es256] {
            assert_eq!(keys.get("rsa", algorithm).unwrap().algorithm(), algorithm);
        }
        assert!(keys.get("rsa", Algorithm::EdDsa).is_none());
    }

    #[test]
    fn an_identity_is_of_name_and_material() {
        let (before, _) = set(&[jwk("rsa"), jwk("ec")]).unwrap();
        let id = before.get("rsa", Algorithm::Rs256).unwrap().id();
        assert!(before.holds(id));

        // Reordered, described in another way: the same key.
        let (same, _) = set(&[jwk("ec"), with("rsa", json!({ "alg": null, "x5t": "a" }))]).unwrap();
        assert!(same.holds(id));
        let (renamed, _) = set(&[with("rsa", json!({ "kid": "rsa2" }))]).unwrap();
        assert!(!renamed.holds(id));
        let (replaced, _) = set(&[with("rsa-e3", json!({ "kid": "rsa" }))]).unwrap();
        assert!(!replaced.holds(id));
        let (gone, _) = set(&[jwk("ec")]).unwrap();
        assert!(!gone.holds(id));
    }

    #[test]
    fn unknown_members_are_ignored() {
        let text = json!({ "keys": [jwk("rsa")], "next": { "keys": [] } }).to_string();
        assert!(KeySet::parse(text.as_bytes()).is_ok());
        assert_eq!(
            reason(with("rsa", json!({ "x5c": ["MA"], "ext": true }))),
            None
        );
    }

    #[test]
    fn what_is_no_jwks_is_refused() {
        let good = json!({ "keys": [jwk("rsa")] }).to_string();
        let cut = good.get(..good.len().saturating_sub(3)).unwrap().to_owned();
        let doubled = good.replacen("\"kty\"", "\"kid\":\"rsa\",\"kty\"", 1);
        for text in [
            "",
            "<!doctype html><html></html>",
            &cut,
            &doubled,
            "{\"keys\":[]}{}",
            "\0",
        ] {
            assert_eq!(
                KeySet::parse(text.as_bytes()).unwrap_err(),
                JwksError::NotJson,
                "{text}"
            );
        }
        assert_eq!(KeySet::parse(b"\xff\xfe").unwrap_err(), JwksError::NotJson);
        let deep = "[".repeat(100_000);
        assert_eq!(
            KeySet::parse(deep.as_bytes()).unwrap_err(),
            JwksError::NotJson
        );
        for text in [
            "[]",
            "null",
            "{}",
            "{\"keys\":{}}",
            "{\"keys\":null}",
            "{\"Keys\":[]}",
            "7",
        ] {
            assert_eq!(
                KeySet::parse(text.as_bytes()).unwrap_err(),
                JwksError::NotJwks,
                "{text}"
            );
        }
        assert_eq!(set(&[]).unwrap_err(), JwksError::NoUsableKey(vec![]));
        let error = set(&[jwk("secret")]).unwrap_err();
        assert_eq!(error.code(), "jwks_no_usable_key");
        assert!(matches!(error, JwksError::NoUsableKey(ignored) if ignored.len() == 1));
    }

    #[test]
    fn a_hundred_keys_are_enough() {
        let keys: Vec<Value> = (0..100)
            .map(|number| with("ed", json!({ "kid": number.to_string() })))
            .collect();
        assert_eq!(set(&keys).unwrap().0.keys().len(), MAX_KEYS);
        for count in [101, 10_000] {
            assert_eq!(
                set(&vec![json!({}); count]).unwrap_err(),
                JwksError::TooManyKeys
            );
        }
    }

    #[test]
    fn a_warning_is_one_line_without_key_material() {
        let d = "c2VjcmV0LWV4cG9uZW50";
        let (_, ignored) = set(&[
            jwk("ec"),
            with("rsa", json!({ "kid": "a\"\r\nb\u{1b}", "d": d })),
            with("rsa", json!({ "kid": "k".repeat(1000) })),
        ])
        .unwrap();
        let lines: Vec<String> = ignored.iter().map(Ignored::to_string).collect();
        assert_eq!(
            lines,
            [
                "JWKS key 1 (kid \"a\\\"\\r\\nb\\u{1b}\") ignored: it has private members",
                "JWKS key 2 ignored: `kid` is missing, empty or too long",
            ]
        );
    }
}
