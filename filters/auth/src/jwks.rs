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
        ignored.sort_by_key(|ignored| ignored.index);

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
