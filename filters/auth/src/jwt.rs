//! JSON Web Tokens: compact JWS (RFC 7515 section 7.1) with a claims set (RFC 7519).
//!
//! [`Token::parse`] bounds and reads what must be read before the signature is checked: the header.
//! The claims are decoded by [`Token::verify`] alone, so that a forged payload costs nothing and
//! cannot be looked at.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use policy::effects::is_header_value;
use policy::{Host, Time};
use serde_json::{Map, Value};

use crate::jwks::{Key, KeySet, MAX_KID};
use crate::signature::{self, Algorithm};

/// How long a token may be, in bytes, unless configured otherwise.
pub const DEFAULT_MAX_BYTES: usize = 8 * 1024;

/// The types of token that are taken for access tokens, without `application/` and in lower case
/// (RFC 7519 section 5.1, RFC 9068 section 4; `JOSE` names the serialisation, RFC 7515 section
/// 4.1.9). Others have another purpose: `dpop+jwt`, `logout+jwt`, `secevent+jwt` (RFC 8725 section 3.11).
const TYPES: [&str; 3] = ["jwt", "at+jwt", "jose"];

/// Why a token is refused. Every one is a 401.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    Malformed(Malformed),
    /// `alg` is not among those listed for the provider, or not supported at all.
    AlgorithmNotAllowed,
    /// The header has no `kid`. No refetch of the JWKS can help.
    KeyIdMissing,
    /// The JWKS has no key of this `kid` and algorithm.
    KeyUnknown,
    SignatureInvalid,
    Claim(ClaimError),
}

impl TokenError {
    /// A stable name, for `code` in the problem document and for metrics.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Malformed(_) => "token_malformed",
            Self::AlgorithmNotAllowed => "algorithm_not_allowed",
            Self::KeyIdMissing | Self::KeyUnknown => "key_unknown",
            Self::SignatureInvalid => "signature_invalid",
            Self::Claim(claim) => claim.code(),
        }
    }

    /// A sentence for the client. It contains nothing of the token.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Malformed(_) => "The token is malformed.",
            Self::AlgorithmNotAllowed => "The token's signature algorithm is not allowed.",
            Self::KeyIdMissing | Self::KeyUnknown => "The token's signing key is not known.",
            Self::SignatureInvalid => "The token's signature is not valid.",
            Self::Claim(claim) => claim.title(),
        }
    }

    /// A phrase for the log. It contains nothing of the token.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Malformed(malformed) => malformed.reason(),
            Self::AlgorithmNotAllowed => "`alg` is not allowed",
            Self::KeyIdMissing => "the header has no `kid`",
            Self::KeyUnknown => "no key has this `kid` and algorithm",
            Self::SignatureInvalid => "the signature does not verify",
            Self::Claim(claim) => claim.reason(),
        }
    }
}

impl From<Malformed> for TokenError {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl From<ClaimError> for TokenError {
    fn from(claim: ClaimError) -> Self {
        Self::Claim(claim)
    }
}

/// What is wrong with the form of a token. The code is always `token_malformed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Longer than allowed.
    TooLong,
    /// Not three non-empty parts.
    Parts,
    /// A part is not base64url in its canonical form, without padding (RFC 7515 section 2).
    Encoding,
    /// The header is not a JSON object, or a member occurs twice.
    Header,
    /// `alg` is missing or not a string.
    Algorithm,
    /// `kid` is not a string, or longer than 256 bytes.
    KeyId,
    /// `typ` is not a string, or not that of an access token.
    Type,
    /// The header has `crit`: no extension is understood here (RFC 7515 section 4.1.11).
    Critical,
    /// The header has `b64` with a value other than `true` (RFC 7797 section 7).
    Unencoded,
    /// The header has `enc` or `zip`: a JWE (RFC 7516).
    Encrypted,
    /// The payload is not a JSON object, or a member occurs twice.
    Claims,
}

impl Malformed {
    /// A phrase for the log. It contains nothing of the token.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::TooLong => "the token is too long",
            Self::Parts => "the token does not have three non-empty parts",
            Self::Encoding => "a part is not canonical base64url",
            Self::Header => "the header is not a JSON object, or a member occurs twice",
            Self::Algorithm => "`alg` is missing or not a string",
            Self::KeyId => "`kid` is not a string or too long",
            Self::Type => "`typ` is not that of an access token",
            Self::Critical => "the header has `crit`",
            Self::Unencoded => "the header has `b64`",
            Self::Encrypted => "the token is encrypted",
            Self::Claims => "the payload is not a JSON object, or a member occurs twice",
        }
    }
}

/// What the header says. Keys and links in it (`jwk`, `jku`, `x5c`, `x5u`) are never looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// `alg`, as sent.
    pub alg: String,
    /// `kid`, at most 256 bytes.
    pub kid: Option<String>,
}

impl Header {
    fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let Ok(Value::Object(mut members)) = policy::json::parse(bytes) else {
            return Err(Malformed::Header);
        };
        if members.contains_key("crit") {
            return Err(Malformed::Critical);
        }
        if members.contains_key("enc") || members.contains_key("zip") {
            return Err(Malformed::Encrypted);
        }
        if members.get("b64").is_some_and(|b64| b64 != true) {
            return Err(Malformed::Unencoded);
        }
        if members.get("typ").is_some_and(|typ| !is_access_token(typ)) {
            return Err(Malformed::Type);
        }
        let kid = match members.remove("kid") {
            None => None,
            Some(Value::String(kid)) if kid.len() <= MAX_KID => Some(kid),
            Some(_) => return Err(Malformed::KeyId),
        };
        match members.remove("alg") {
            Some(Value::String(alg)) => Ok(Self { alg, kid }),
            _ => Err(Malformed::Algorithm),
        }
    }
}

fn is_access_token(typ: &Value) -> bool {
    typ.as_str().is_some_and(|typ| {
        let typ = typ.to_ascii_lowercase();
        let typ = typ.strip_prefix("application/").unwrap_or(&typ);
        TYPES.contains(&typ)
    })
}

/// A token of the right form, not yet verified.
#[derive(Clone, Debug)]
pub struct Token<'a> {
    signing_input: &'a str,
    payload: &'a str,
    header: Header,
    signature: Vec<u8>,
}

impl<'a> Token<'a> {
    /// Reads the header and the signature of a token of at most `max_bytes`.
    ///
    /// # Errors
    /// Everything of [`Malformed`] except `Claims`.
    pub fn parse(raw: &'a str, max_bytes: usize) -> Result<Self, Malformed> {
        if raw.len() > max_bytes {
            return Err(Malformed::TooLong);
        }
        let (signing_input, signature) = raw.rsplit_once('.').ok_or(Malformed::Parts)?;
        let (header, payload) = signing_input.split_once('.').ok_or(Malformed::Parts)?;
        if header.is_empty() || payload.is_empty() || signature.is_empty() || payload.contains('.')
        {
            return Err(Malformed::Parts);
        }
        if !payload.bytes().all(is_base64url) {
            return Err(Malformed::Encoding);
        }
        Ok(Self {
            signing_input,
            payload,
            header: Header::read(&decode(header)?)?,
            signature: decode(signature)?,
        })
    }

    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// What is signed: the first two parts with the dot between them.
    #[must_use]
    pub const fn signing_input(&self) -> &'a str {
        self.signing_input
    }

    /// The signature, decoded.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// The algorithm that the header names, if it is one of those allowed (requirement J1).
    ///
    /// # Errors
    /// [`TokenError::AlgorithmNotAllowed`].
    pub fn algorithm(&self, allowed: &[Algorithm]) -> Result<Algorithm, TokenError> {
        Algorithm::from_name(&self.header.alg)
            .filter(|algorithm| allowed.contains(algorithm))
            .ok_or(TokenError::AlgorithmNotAllowed)
    }

    /// The key that the header names (requirement J7).
    ///
    /// # Errors
    /// [`TokenError::AlgorithmNotAllowed`], [`TokenError::KeyIdMissing`], and
    /// [`TokenError::KeyUnknown`], which alone is worth a refetch of the JWKS.
    pub fn key<'k>(&self, keys: &'k KeySet, allowed: &[Algorithm]) -> Result<&'k Key, TokenError> {
        let algorithm = self.algorithm(allowed)?;
        let kid = self.header.kid.as_deref().ok_or(TokenError::KeyIdMissing)?;
        keys.get(kid, algorithm).ok_or(TokenError::KeyUnknown)
    }

    /// Checks the signature with a key found by [`Token::key`], then reads the claims. With
    /// `use_host` the gateway's crypto is used if it has one.
    ///
    /// # Errors
    /// [`TokenError::SignatureInvalid`], or [`Malformed::Claims`] and [`Malformed::Encoding`] of a
    /// payload that the issuer did sign.
    pub fn verify(&self, key: &Key, host: &dyn Host, use_host: bool) -> Result<Claims, TokenError> {
        let algorithm = self.algorithm(&[key.algorithm()])?;
        signature::verify(
            algorithm,
            key.public(),
            self.signing_input.as_bytes(),
            &self.signature,
            host,
            use_host,
        )
        .map_err(|_| TokenError::SignatureInvalid)?;
        match policy::json::parse(&decode(self.payload)?) {
            Ok(Value::Object(members)) => Ok(Claims(members)),
            _ => Err(Malformed::Claims.into()),
        }
    }
}

fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

fn decode(part: &str) -> Result<Vec<u8>, Malformed> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| Malformed::Encoding)
}

/// What a provider's tokens must say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// `iss`, exactly (requirement J2).
    pub issuer: String,
    /// `aud` must be or contain one of these (requirement J3). With none, no token passes.
    pub audiences: Vec<String>,
    /// How far the issuer's clock may be off, either way. Applied to `exp`, `nbf` and `iat`.
    pub clock_skew: Duration,
    /// How long ago a token may have been issued at most (requirement J6); `None`: as long as it
    /// likes.
    pub max_age: Option<Duration>,
    /// Whether `tid` must be a non-empty string (requirement J8).
    pub require_tid: bool,
}

/// Which claim is not as expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimError {
    /// `iss` is another, missing, or not a string.
    Issuer,
    /// `aud` contains no expected audience, is missing, or is neither a string nor an array of
    /// strings.
    Audience,
    /// `exp` is missing or not a number.
    ExpiryMissing,
    /// `exp` has come.
    Expired,
    /// `nbf` is not a number.
    NotBeforeMalformed,
    /// `nbf` has not come.
    NotYetValid,
    /// `iat` is not a number, or missing where an age is limited.
    IssuedAtMissing,
    /// `iat` has not come.
    IssuedInFuture,
    /// `iat` is longer ago than allowed.
    TooOld,
    /// `tid` is missing, empty, or not a string.
    Tenant,
}

impl ClaimError {
    /// A stable name, for `code` in the problem document and for metrics.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Issuer => "issuer_mismatch",
            Self::Audience => "audience_mismatch",
            Self::ExpiryMissing | Self::NotBeforeMalformed | Self::IssuedAtMissing => {
                "token_malformed"
            }
            Self::Expired => "token_expired",
            Self::NotYetValid | Self::IssuedInFuture => "token_not_yet_valid",
            Self::TooOld => "token_too_old",
            Self::Tenant => "tenant_missing",
        }
    }

    /// A sentence for the client. It contains nothing of the token.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Issuer => "The token is from another issuer.",
            Self::Audience => "The token is for another audience.",
            Self::ExpiryMissing | Self::NotBeforeMalformed | Self::IssuedAtMissing => {
                "The token is malformed."
            }
            Self::Expired => "The token has expired.",
            Self::NotYetValid | Self::IssuedInFuture => "The token is not valid yet.",
            Self::TooOld => "The token was issued too long ago.",
            Self::Tenant => "The token names no tenant.",
        }
    }

    /// A phrase for the log. It contains nothing of the token.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Issuer => "`iss` is not the expected issuer",
            Self::Audience => "`aud` does not contain an expected audience",
            Self::ExpiryMissing => "`exp` is missing or not a number",
            Self::Expired => "`exp` has passed",
            Self::NotBeforeMalformed => "`nbf` is not a number",
            Self::NotYetValid => "`nbf` has not come",
            Self::IssuedAtMissing => "`iat` is missing or not a number",
            Self::IssuedInFuture => "`iat` has not come",
            Self::TooOld => "`iat` is too long ago",
            Self::Tenant => "`tid` is missing, empty or not a string",
        }
    }
}

/// The claims of a token whose signature is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims(Map<String, Value>);

impl Claims {
    /// Checks the claims (requirements J2 to J6 and J8). Returns the first instant at which the token
    /// will have become too old or expired: until then, a cache need not check it again.
    ///
    /// # Errors
    /// The first of [`ClaimError`] that applies: issuer, audience, times, tenant.
    pub fn validate(&self, expected: &Expected, now: Time) -> Result<Time, ClaimError> {
        if self.0.get("iss").and_then(Value::as_str) != Some(expected.issuer.as_str()) {
            return Err(ClaimError::Issuer);
        }
        self.check_audience(&expected.audiences)?;

        let now = i128::from(now.as_nanos());
        let skew = nanos(expected.clock_skew);
        let latest_now = now.saturating_add(skew);

        let exp = self
            .date("exp")
            .unwrap_or(Err(NotADate))
            .map_err(|NotADate| ClaimError::ExpiryMissing)?;
        let mut until = exp.saturating_add(skew);
        if now >= until {
            return Err(ClaimError::Expired);
        }
        if let Some(nbf) = self.date("nbf") {
            let nbf = nbf.map_err(|NotADate| ClaimError::NotBeforeMalformed)?;
            if nbf > latest_now {
                return Err(ClaimError::NotYetValid);
            }
        }
        match (self.date("iat"), expected.max_age) {
            (None, None) => {}
            (None, Some(_)) | (Some(Err(NotADate)), _) => return Err(ClaimError::IssuedAtMissing),
            (Some(Ok(iat)), max_age) => {
                if iat > latest_now {
                    return Err(ClaimError::IssuedInFuture);
                }
                if let Some(max_age) = max_age {
                    let last = iat.saturating_add(nanos(max_age)).saturating_add(skew);
                    if now > last {
                        return Err(ClaimError::TooOld);
                    }
                    until = until.min(last.saturating_add(1));
                }
            }
        }
        if expected.require_tid
            && self
                .0
                .get("tid")
                .and_then(Value::as_str)
                .is_none_or(str::is_empty)
        {
            return Err(ClaimError::Tenant);
        }
        Ok(Time::from_nanos(
            u64::try_from(until).unwrap_or(Time::NEVER.as_nanos()),
        ))
    }

    fn check_audience(&self, expected: &[String]) -> Result<(), ClaimError> {
        let is_expected = |audience: &str| expected.iter().any(|known| known == audience);
        let found = match self.0.get("aud") {
            Some(Value::String(audience)) => is_expected(audience),
            Some(Value::Array(audiences)) => {
                audiences.iter().all(Value::is_string)
                    && audiences.iter().filter_map(Value::as_str).any(is_expected)
            }
            _ => false,
        };
        if found {
            Ok(())
        } else {
            Err(ClaimError::Audience)
        }
    }

    /// A NumericDate (RFC 7519 section 2) in nanoseconds since the epoch, which may be negative or
    /// beyond what [`Time`] reaches.
    fn date(&self, name: &str) -> Option<Result<i128, NotADate>> {
        Some(numeric_date(self.0.get(name)?).ok_or(NotADate))
    }

    /// The claim of this name or dotted path. At each level a member that is named like the whole
    /// rest of the path comes first: `https://example.com/roles` finds that member, and
    /// `realm_access.roles` the member `roles` of `realm_access` unless there is one of the full name.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Value> {
        let mut members = &self.0;
        let mut rest = path;
        loop {
            if let Some(value) = members.get(rest) {
                return Some(value);
            }
            let (name, tail) = rest.split_once('.')?;
            members = members.get(name)?.as_object()?;
            rest = tail;
        }
    }
}

struct NotADate;

const NANOS_PER_SECOND: i128 = 1_000_000_000;

fn nanos(duration: Duration) -> i128 {
    i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX)
}

fn numeric_date(value: &Value) -> Option<i128> {
    let number = value.as_number()?;
    if let Some(seconds) = number.as_i128() {
        return Some(seconds.saturating_mul(NANOS_PER_SECOND));
    }
    let seconds = number.as_f64()?;
    // Conversions from floating point saturate.
    let whole = (seconds.trunc() as i128).saturating_mul(NANOS_PER_SECOND);
    Some(whole.saturating_add((seconds.fract() * 1e9) as i128))
}

/// The claim cannot be sent as a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAHeaderValue;

/// A claim as the value of a header (requirement J17): a string as it is, an integer in decimal,
/// `true` or `false`, an array of strings joined by commas.
///
/// # Errors
/// Anything else; a string with other than visible ASCII, inner spaces and tabs; an array member that
/// is empty or contains a comma, which would read as other members than were signed.
pub fn header_value(claim: &Value) -> Result<String, NotAHeaderValue> {
    match claim {
        Value::String(text) if is_stable(text) => Ok(text.clone()),
        Value::Bool(truth) => Ok(truth.to_string()),
        Value::Number(number) if number.is_i64() || number.is_u64() => Ok(number.to_string()),
        Value::Array(items) => {
            let items: Option<Vec<&str>> = items
                .iter()
                .map(|item| {
                    item.as_str()
                        .filter(|text| is_stable(text) && !text.is_empty() && !text.contains(','))
                })
                .collect();
            items.map(|items| items.join(",")).ok_or(NotAHeaderValue)
        }
        _ => Err(NotAHeaderValue),
    }
}

/// Whether the text arrives as it was sent: white space at its ends would be cut off on the way.
fn is_stable(text: &str) -> bool {
    is_header_value(text) && text.trim_ascii() == text
}
