//! Tokens: JWTs (RFC 7519) as they should be, and as attackers send them.

use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use policy::Time;
use policy::duration::Span;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::Sha256;

use super::{Key, b64};

/// A recipe for a token. Times are relative to the moment it is minted at.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Token {
    /// The name of the key that signs it.
    pub key: Option<String>,
    /// Header members to set, over `alg`, `typ` and `kid`.
    pub header: Map<String, Value>,
    /// Header members to leave out.
    pub without_header: Vec<String>,
    /// Claims.
    pub claims: Map<String, Value>,
    /// Claims to leave out.
    pub without: Vec<String>,
    /// `exp`, so long from now: `1h`, `-5s`.
    pub exp_in: Option<String>,
    /// `iat`, so long from now.
    pub iat_in: Option<String>,
    /// `nbf`, so long from now.
    pub nbf_in: Option<String>,
    /// The header's JSON text itself, for members that occur twice and the like.
    pub raw_header: Option<String>,
    /// The same for the claims.
    pub raw_claims: Option<String>,
    /// What is wrong with it.
    pub forge: Option<Forge>,
    /// The whole token; nothing else counts then.
    pub literal: Option<String>,
}

/// Ways to make a token that nobody should believe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Forge {
    /// `alg: none` and an empty signature.
    AlgNone,
    /// `alg: none`, yet with the signature of the key.
    AlgNoneSigned,
    /// HS256 with the public key's PEM as the secret.
    Hs256Pem,
    /// The same without the last newline.
    Hs256PemTrimmed,
    /// HS256 with the public key's DER as the secret.
    Hs256Der,
    /// HS256 with the modulus as the secret.
    Hs256Modulus,
    /// One bit of the signature turned.
    FlipSignature,
    /// The signature cut to half.
    HalfSignature,
    /// A signature of nothing but zero bytes.
    ZeroSignature,
    /// An empty third part.
    EmptySignature,
    /// Header and claims only.
    TwoParts,
    /// A fourth part.
    FourParts,
    /// Three dots and nothing.
    OnlyDots,
    /// The claims of another subject under the signature.
    OtherClaims,
    /// Base64 with `=`.
    Padded,
    /// The signature's last character replaced by one that decodes to the same bytes.
    NonCanonical,
    /// Bytes after the claims' JSON value, signed.
    TrailingBytes,
    /// A NUL in the middle of the token.
    Nul,
    /// The claims are a JSON array, signed.
    ArrayClaims,
    /// The header is no JSON.
    HeaderNotJson,
    /// The claims are no JSON, signed.
    ClaimsNotJson,
    /// The claims hold 5,000 nested arrays, signed.
    Nested,
    /// The claims hold 100,000 more characters, signed.
    Huge,
    /// ES256 with the signature in DER instead of `r || s`.
    DerSignature,
}

impl Token {
    /// A token signed by the key of this name, good for an hour.
    #[must_use]
    pub fn new(key: &str) -> Self {
        Self {
            key: Some(key.to_owned()),
            exp_in: Some("1h".into()),
            iat_in: Some("-1m".into()),
            ..Self::default()
        }
    }

    /// Sets a claim.
    #[must_use]
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    #[must_use]
    pub const fn forge(mut self, forge: Forge) -> Self {
        self.forge = Some(forge);
        self
    }

    /// Makes the token. `expand` replaces placeholders in header members and claims.
    ///
    /// # Errors
    /// When the recipe makes no sense.
    pub fn mint(
        &self,
        now: Time,
        find: impl Fn(&str) -> Option<Key>,
        expand: impl Fn(&str) -> Result<String, String>,
    ) -> Result<String, String> {
        if let Some(literal) = &self.literal {
            return Ok(literal.clone());
        }
        let name = self.key.as_deref().ok_or("a token needs a key")?;
        let key = find(name).ok_or_else(|| format!("there is no key {name:?}"))?;
        let header = match &self.raw_header {
            Some(raw) => expand(raw)?,
            None => self.header_text(&key, &expand)?,
        };
        let claims = match &self.raw_claims {
            Some(raw) => expand_times(&expand(raw)?, now)?,
            None => self.claims_text(now, &expand)?,
        };
        self.assemble(&key, &header, &claims)
    }

    fn header_text(
        &self,
        key: &Key,
        expand: &impl Fn(&str) -> Result<String, String>,
    ) -> Result<String, String> {
        let alg = match self.forge {
            Some(Forge::AlgNone | Forge::AlgNoneSigned) => "none",
            Some(
                Forge::Hs256Pem | Forge::Hs256PemTrimmed | Forge::Hs256Der | Forge::Hs256Modulus,
            ) => "HS256",
            _ => key.alg().as_str(),
        };
        let mut header = Map::new();
        header.insert("alg".into(), alg.into());
        header.insert("typ".into(), "JWT".into());
        header.insert("kid".into(), key.kid.clone().into());
        header.extend(self.header.clone());
        header.retain(|name, _| !self.without_header.contains(name));
        expand(&Value::Object(header).to_string())
    }

    fn claims_text(
        &self,
        now: Time,
        expand: &impl Fn(&str) -> Result<String, String>,
    ) -> Result<String, String> {
        let mut claims = Map::new();
        for (name, offset) in [
            ("exp", &self.exp_in),
            ("iat", &self.iat_in),
            ("nbf", &self.nbf_in),
        ] {
            if let Some(offset) = offset {
                claims.insert(name.into(), seconds(now, offset)?);
            }
        }
        claims.extend(self.claims.clone());
        claims.retain(|name, _| !self.without.contains(name));
        expand(&Value::Object(claims).to_string())
    }

    fn assemble(&self, key: &Key, header: &str, claims: &str) -> Result<String, String> {
        let header = match self.forge {
            Some(Forge::HeaderNotJson) => "alg=RS256",
            _ => header,
        };
        let claims = match self.forge {
            Some(Forge::TrailingBytes) => format!("{claims}x"),
            Some(Forge::ArrayClaims) => format!("[{claims}]"),
            Some(Forge::ClaimsNotJson) => "iss=somebody".to_owned(),
            Some(Forge::Nested) => with_member(
                claims,
                &format!("{}{}", "[".repeat(5_000), "]".repeat(5_000)),
            ),
            Some(Forge::Huge) => with_member(claims, &format!("\"{}\"", "a".repeat(100_000))),
            _ => claims.to_owned(),
        };
        let mut signed = format!("{}.{}", b64(header), b64(&claims));
        let hs256 = |secret: &[u8]| -> Vec<u8> {
            let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes any length");
            mac.update(signed.as_bytes());
            mac.finalize().into_bytes().to_vec()
        };
        let mut signature = match self.forge {
            Some(Forge::Hs256Pem) => hs256(key.spki_pem().as_bytes()),
            Some(Forge::Hs256PemTrimmed) => hs256(key.spki_pem().trim_end().as_bytes()),
            Some(Forge::Hs256Der) => hs256(&key.spki_der()),
            Some(Forge::Hs256Modulus) => {
                hs256(&key.modulus().ok_or("only RSA keys have a modulus")?)
            }
            Some(Forge::AlgNone | Forge::EmptySignature) => Vec::new(),
            _ => key.sign(signed.as_bytes()),
        };
        match self.forge {
            Some(Forge::FlipSignature) => *signature.last_mut().ok_or("no signature")? ^= 1,
            Some(Forge::HalfSignature) => signature.truncate(signature.len() / 2),
            Some(Forge::ZeroSignature) => signature.fill(0),
            Some(Forge::DerSignature) => {
                signature = p256::ecdsa::Signature::from_slice(&signature)
                    .map_err(|e| format!("no ES256 signature: {e}"))?
                    .to_der()
                    .as_bytes()
                    .to_vec();
            }
            Some(Forge::OtherClaims) => {
                let mut other: Value = serde_json::from_str(&claims)
                    .map_err(|e| format!("claims to replace are no JSON: {e}"))?;
                other["sub"] = json!("somebody-else");
                signed = format!("{}.{}", b64(header), b64(other.to_string()));
            }
            _ => {}
        }
        let signature = b64(signature);
        Ok(match self.forge {
            Some(Forge::TwoParts) => signed,
            Some(Forge::FourParts) => format!("{signed}.{signature}.{signature}"),
            Some(Forge::OnlyDots) => "..".to_owned(),
            Some(Forge::Padded) => format!("{signed}.{signature}=="),
            Some(Forge::NonCanonical) => format!("{signed}.{}", non_canonical(&signature)?),
            Some(Forge::Nul) => format!("{signed}\0.{signature}"),
            _ => format!("{signed}.{signature}"),
        })
    }
}

/// The claims with one more member.
fn with_member(claims: &str, json: &str) -> String {
    let open = claims.trim_end().strip_suffix('}').unwrap_or(claims);
    format!("{open},\"padding\":{json}}}")
}

/// The same bytes in another spelling: the bits that base64 does not use are set.
fn non_canonical(text: &str) -> Result<String, String> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    if text.len().is_multiple_of(4) {
        return Err("base64 of this length has one spelling only".into());
    }
    let last = *text.as_bytes().last().ok_or("no signature")?;
    let at = ALPHABET
        .iter()
        .position(|letter| *letter == last)
        .ok_or("no base64url")?;
    Ok(format!(
        "{}{}",
        &text[..text.len() - 1],
        char::from(ALPHABET[at | 1])
    ))
}

/// `@(1h)` in raw claims is the time an hour from now, in seconds.
fn expand_times(text: &str, now: Time) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("@(") {
        let (offset, after) = after.split_once(')').ok_or("@( without )")?;
        out.push_str(before);
        out.push_str(&seconds(now, offset)?.to_string());
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// Whole seconds since the epoch, so long from now: `1h`, `-5s`, `0s`.
///
/// # Errors
/// When the offset is none.
pub fn seconds(now: Time, offset: &str) -> Result<Value, String> {
    let (back, span) = signed_span(offset)?;
    let at = if back {
        now.minus(span)
    } else {
        now.plus(span)
    };
    Ok(at.as_secs().into())
}

/// Whether it is in the past, and by how much.
///
/// # Errors
/// When the text is no duration.
pub fn signed_span(text: &str) -> Result<(bool, Duration), String> {
    let (back, text) = match text.strip_prefix('-') {
        Some(text) => (true, text),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let span: Span = text.parse().map_err(|e| format!("{text:?}: {e}"))?;
    Ok((back, span.0))
}
