//! Public keys as JWKS documents (RFC 7517), well-formed and otherwise.

use rsa::traits::PrivateKeyParts as _;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::b64;
use super::key::{Key, Pair};

/// A member of a key set.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum JwkEntry {
    /// The public part of the key of this name.
    Key(String),
    /// The same, tampered with.
    Altered(AlteredJwk),
    /// Anything.
    Raw(RawJwk),
}

/// A key with members changed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlteredJwk {
    pub key: String,
    /// Members to set.
    #[serde(default)]
    pub set: Map<String, Value>,
    /// Members to leave out.
    #[serde(default)]
    pub without: Vec<String>,
    /// Publish the private members too.
    #[serde(default)]
    pub private: bool,
}

/// A member that no key stands behind.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawJwk {
    pub raw: Value,
}

/// The public part of a key.
#[must_use]
pub fn jwk(key: &Key) -> Value {
    let mut members = match &key.pair {
        Pair::Rsa(_) => json!({
            "kty": "RSA",
            "n": b64(key.modulus().unwrap_or_default()),
            "e": "AQAB",
        }),
        Pair::P256(pair) => {
            let point = pair.verifying_key().to_sec1_point(false);
            json!({
                "kty": "EC",
                "crv": "P-256",
                "x": b64(point.x().unwrap()),
                "y": b64(point.y().unwrap()),
            })
        }
        Pair::Ed25519(pair) => json!({
            "kty": "OKP",
            "crv": "Ed25519",
            "x": b64(pair.verifying_key().as_bytes()),
        }),
    };
    members["kid"] = key.kid.clone().into();
    members["use"] = "sig".into();
    members["alg"] = key.alg().as_str().into();
    members
}

/// A key set document.
#[must_use]
pub fn jwks<'a>(keys: impl IntoIterator<Item = &'a Key>) -> Value {
    json!({ "keys": keys.into_iter().map(jwk).collect::<Vec<_>>() })
}

impl JwkEntry {
    /// The entry as JSON; `find` knows the keys by name.
    ///
    /// # Errors
    /// When there is no such key.
    pub fn render(&self, find: impl Fn(&str) -> Option<Key>) -> Result<Value, String> {
        let lookup = |name: &str| find(name).ok_or_else(|| format!("there is no key {name:?}"));
        match self {
            Self::Key(name) => Ok(jwk(&lookup(name)?)),
            Self::Raw(raw) => Ok(raw.raw.clone()),
            Self::Altered(altered) => {
                let key = lookup(&altered.key)?;
                let mut members = jwk(&key);
                if altered.private {
                    for (name, value) in private_members(&key) {
                        members[name] = value.into();
                    }
                }
                if let Value::Object(members) = &mut members {
                    members.extend(altered.set.clone());
                    members.retain(|name, _| !altered.without.contains(name));
                }
                Ok(members)
            }
        }
    }
}

fn private_members(key: &Key) -> Vec<(&'static str, String)> {
    match &key.pair {
        Pair::Rsa(key) => {
            let [p, q] = [&key.primes()[0], &key.primes()[1]]
                .map(|prime| b64(prime.to_be_bytes_trimmed_vartime()));
            vec![
                ("d", b64(key.d().to_be_bytes_trimmed_vartime())),
                ("p", p),
                ("q", q),
            ]
        }
        Pair::P256(key) => vec![("d", b64(key.to_bytes()))],
        Pair::Ed25519(key) => vec![("d", b64(key.to_bytes()))],
    }
}
