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

#[cfg(test)]
mod tests {
    use serde_json::json;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use crate::signature::tests::{Answer, FakeHost, vectors};

    fn token_of(name: &str) -> String {
        let vectors = vectors();
        let all = vectors["vectors"].as_array().unwrap();
        let vector = all.iter().find(|vector| vector["name"] == name).unwrap();
        vector["token"].as_str().unwrap().to_owned()
    }

    fn keys() -> KeySet {
        KeySet::parse(vectors()["jwks"].to_string().as_bytes())
            .unwrap()
            .0
    }

    /// What a gateway does, but that a token without `kid` is checked with the key given.
    fn check(
        raw: &str,
        keys: &KeySet,
        without_kid: Option<&str>,
        host: &FakeHost,
    ) -> Result<Claims, TokenError> {
        let token = Token::parse(raw, DEFAULT_MAX_BYTES)?;
        let key = match without_kid {
            Some(kid) => keys.get(kid, token.algorithm(&Algorithm::ALL)?).unwrap(),
            None => token.key(keys, &Algorithm::ALL)?,
        };
        token.verify(key, host, true)
    }

    #[test]
    fn both_paths_give_the_verdicts_of_the_corpus() {
        let vectors = vectors();
        let keys = keys();
        let expected = Expected {
            issuer: vectors["expected"]["iss"].as_str().unwrap().into(),
            audiences: vec![vectors["expected"]["aud"].as_str().unwrap().into()],
            ..strict()
        };
        let all = vectors["vectors"].as_array().unwrap();
        assert!(all.len() > 250);
        for vector in all {
            let raw = vector["token"].as_str().unwrap();
            let complete = vector["complete"] == true;
            let without_kid = (!complete).then(|| vector["kid"].as_str().unwrap());
            for answer in [Answer::Nothing, Answer::Honest] {
                let host = FakeHost::answering(answer);
                let verdict = check(raw, &keys, without_kid, &host);
                let code = verdict.as_ref().err().map(|error| error.code());
                assert_eq!(code, vector["code"].as_str(), "{}", vector["name"]);
                assert_eq!(code.is_none(), vector["valid"] == true);
                if let Ok(claims) = verdict
                    && complete
                {
                    let now = Time::from_secs(1_800_000_000);
                    claims.validate(&expected, now).unwrap();
                }
            }
        }
    }

    #[test]
    fn size_is_bounded_first() {
        let good = token_of("rsa: good");
        assert!(Token::parse(&good, good.len()).is_ok());
        let error = |raw: &str, max| Token::parse(raw, max).unwrap_err();
        assert_eq!(
            error(&good, good.len().saturating_sub(1)),
            Malformed::TooLong
        );
        assert_eq!(
            error(&"a".repeat(100_000), DEFAULT_MAX_BYTES),
            Malformed::TooLong
        );
        assert_eq!(
            error(&"a".repeat(8192), DEFAULT_MAX_BYTES),
            Malformed::Parts
        );
        assert_eq!(
            error(&".".repeat(8192), DEFAULT_MAX_BYTES),
            Malformed::Parts
        );
        assert_eq!(error("", 0), Malformed::Parts);
    }

    #[test]
    fn nothing_but_base64url_is_read() {
        let good = token_of("rsa: good");
        let (header, rest) = good.split_once('.').unwrap();
        let (payload, signature) = rest.split_once('.').unwrap();
        for stray in [
            "\0", " ", "\n", "\r\n", "\t", "=", "+", "/", "%", "é", "\u{2028}", "\u{ff21}",
        ] {
            for raw in [
                format!("{stray}{good}"),
                format!("{good}{stray}"),
                format!("{header}{stray}.{payload}.{signature}"),
                format!("{header}.{stray}{payload}.{signature}"),
                format!("{header}.{payload}{stray}.{signature}"),
                format!("{header}.{payload}.{stray}{signature}"),
            ] {
                let error = Token::parse(&raw, DEFAULT_MAX_BYTES).unwrap_err();
                assert_eq!(error, Malformed::Encoding, "{stray:?}");
            }
        }
    }

    fn header(text: &str) -> Result<Header, Malformed> {
        let raw = format!("{}.e30.AA", URL_SAFE_NO_PAD.encode(text));
        Token::parse(&raw, 100_000).map(|token| token.header().clone())
    }

    #[test]
    fn the_header_is_read_strictly() {
        assert_eq!(
            header(r#"{"alg":"x","kid":"k","jku":"https://evil","x5u":1,"jwk":{},"x5c":[]}"#),
            Ok(Header {
                alg: "x".into(),
                kid: Some("k".into())
            })
        );
        for (text, expected) in [
            ("", Malformed::Parts),
            ("{}", Malformed::Algorithm),
            ("\0", Malformed::Header),
            ("{\"alg\":\"a\u{0}\"}", Malformed::Header),
            (r#"{"alg":1}"#, Malformed::Algorithm),
            (r#"{"alg":["RS256"]}"#, Malformed::Algorithm),
            (r#"{"alg":null}"#, Malformed::Algorithm),
            (r#"{"alg":"a","alg":"a"}"#, Malformed::Header),
            (r#"{"alg":"a","x":{"y":1,"y":1}}"#, Malformed::Header),
            (
                r#"{"alg":"a","crit":["b64"],"b64":false}"#,
                Malformed::Critical,
            ),
            (r#"{"alg":"a","crit":null}"#, Malformed::Critical),
            (r#"{"alg":"a","b64":false}"#, Malformed::Unencoded),
            (r#"{"alg":"a","b64":"true"}"#, Malformed::Unencoded),
            (r#"{"alg":"a","enc":"A128GCM"}"#, Malformed::Encrypted),
            (r#"{"alg":"a","zip":"DEF"}"#, Malformed::Encrypted),
            (r#"{"alg":"a","typ":"dpop+jwt"}"#, Malformed::Type),
            (r#"{"alg":"a","typ":1}"#, Malformed::Type),
            (r#"{"alg":"a","kid":1}"#, Malformed::KeyId),
        ] {
            assert_eq!(header(text), Err(expected), "{text}");
        }
        let long = format!(r#"{{"alg":"a","kid":"{}"}}"#, "k".repeat(257));
        assert_eq!(header(&long), Err(Malformed::KeyId));
        let deep = format!(
            r#"{{"alg":"a","x":{}1{}}}"#,
            "[".repeat(5000),
            "]".repeat(5000)
        );
        assert_eq!(header(&deep), Err(Malformed::Header));
        for typ in [
            "JWT",
            "jwt",
            "at+jwt",
            "AT+JWT",
            "application/at+jwt",
            "application/JWT",
            "JOSE",
        ] {
            assert!(
                header(&json!({ "alg": "a", "typ": typ }).to_string()).is_ok(),
                "{typ}"
            );
        }
    }

    #[test]
    fn only_listed_algorithms_pass() {
        let raw = token_of("ec: good");
        let token = Token::parse(&raw, DEFAULT_MAX_BYTES).unwrap();
        assert_eq!(token.algorithm(&Algorithm::ALL), Ok(Algorithm::Es256));
        for allowed in [
            &[][..],
            &[Algorithm::Rs256],
            &[Algorithm::Rs256, Algorithm::EdDsa],
        ] {
            assert_eq!(
                token.algorithm(allowed),
                Err(TokenError::AlgorithmNotAllowed)
            );
            assert!(token.key(&keys(), allowed).is_err());
        }
    }

    #[test]
    fn a_key_of_another_algorithm_verifies_nothing() {
        let keys = keys();
        let raw = token_of("rsa: good");
        let token = Token::parse(&raw, DEFAULT_MAX_BYTES).unwrap();
        for key in keys.keys() {
            let verdict = token.verify(key, &FakeHost::answering(Answer::Honest), true);
            assert_eq!(verdict.is_ok(), key.kid() == "rsa", "{}", key.kid());
        }
    }

    #[test]
    fn a_missing_kid_is_not_worth_a_refetch() {
        let find = |name| {
            let raw = token_of(name);
            let token = Token::parse(&raw, DEFAULT_MAX_BYTES).unwrap();
            token.key(&keys(), &Algorithm::ALL).map(|_| ()).unwrap_err()
        };
        assert_eq!(find("kid missing"), TokenError::KeyIdMissing);
        assert_eq!(find("kid unknown"), TokenError::KeyUnknown);
        assert_eq!(find("kid missing").code(), "key_unknown");
    }

    const NOW: u64 = 1_800_000_000;
    const DAY: u64 = 86_400;

    fn strict() -> Expected {
        Expected {
            issuer: "https://issuer.test".into(),
            audiences: vec!["api".into(), "admin".into()],
            clock_skew: Duration::ZERO,
            max_age: None,
            require_tid: false,
        }
    }

    fn claims(changes: Value) -> Claims {
        let mut claims =
            json!({ "iss": "https://issuer.test", "aud": "api", "exp": 1_800_000_060 });
        for (name, value) in changes.as_object().unwrap() {
            if value == "absent" {
                claims.as_object_mut().unwrap().remove(name);
            } else {
                claims[name] = value.clone();
            }
        }
        Claims(claims.as_object().unwrap().clone())
    }

    fn verdict(expected: &Expected, changes: Value) -> Result<(), ClaimError> {
        claims(changes)
            .validate(expected, Time::from_secs(NOW))
            .map(|_| ())
    }

    #[test]
    fn the_issuer_is_exactly_the_expected_one() {
        assert_eq!(verdict(&strict(), json!({})), Ok(()));
        for iss in [
            json!("https://issuer.tesT"),
            json!("https://issuer.test/"),
            json!("https://issuer.tes"),
            json!("https://issuer.test\0"),
            json!(" https://issuer.test"),
            json!(""),
            json!(["https://issuer.test"]),
            json!(1),
            json!(null),
            json!("absent"),
        ] {
            assert_eq!(
                verdict(&strict(), json!({ "iss": iss })),
                Err(ClaimError::Issuer)
            );
        }
    }

    #[test]
    fn the_audience_is_or_contains_an_expected_one() {
        for aud in [
            json!("api"),
            json!("admin"),
            json!(["api"]),
            json!(["x", "admin"]),
        ] {
            assert_eq!(verdict(&strict(), json!({ "aud": aud })), Ok(()), "{aud}");
        }
        for aud in [
            json!("API"),
            json!("ap"),
            json!("api "),
            json!("api,admin"),
            json!("other"),
            json!(""),
            json!([]),
            json!(["other"]),
            json!(["api", 1]),
            json!([["api"]]),
            json!({ "api": true }),
            json!(1),
            json!(null),
            json!("absent"),
        ] {
            assert_eq!(
                verdict(&strict(), json!({ "aud": aud })),
                Err(ClaimError::Audience),
                "{aud}"
            );
        }
        let none = Expected {
            audiences: vec![],
            ..strict()
        };
        assert_eq!(verdict(&none, json!({})), Err(ClaimError::Audience));
        assert_eq!(
            verdict(&none, json!({ "aud": [] })),
            Err(ClaimError::Audience)
        );
    }

    #[test]
    fn an_expiry_is_required_and_lies_ahead() {
        for (exp, expected) in [
            (json!(NOW.saturating_add(1)), Ok(())),
            (json!(1_800_000_000.5), Ok(())),
            (json!(1e300), Ok(())),
            (json!(u64::MAX), Ok(())),
            (json!(NOW), Err(ClaimError::Expired)),
            (json!(1_800_000_000.0), Err(ClaimError::Expired)),
            (json!(1_799_999_999.999), Err(ClaimError::Expired)),
            (json!(NOW.saturating_sub(1)), Err(ClaimError::Expired)),
            (json!(0), Err(ClaimError::Expired)),
            (json!(-1), Err(ClaimError::Expired)),
            (json!(i64::MIN), Err(ClaimError::Expired)),
            (json!(-1e300), Err(ClaimError::Expired)),
            (json!("1800000060"), Err(ClaimError::ExpiryMissing)),
            (json!(true), Err(ClaimError::ExpiryMissing)),
            (json!([1_800_000_060]), Err(ClaimError::ExpiryMissing)),
            (json!(null), Err(ClaimError::ExpiryMissing)),
            (json!("absent"), Err(ClaimError::ExpiryMissing)),
        ] {
            assert_eq!(verdict(&strict(), json!({ "exp": exp })), expected, "{exp}");
        }
        let skewed = Expected {
            clock_skew: Duration::from_secs(30),
            ..strict()
        };
        let ago = |seconds| verdict(&skewed, json!({ "exp": NOW.saturating_sub(seconds) }));
        assert_eq!(ago(29), Ok(()));
        assert_eq!(ago(30), Err(ClaimError::Expired));
    }

    #[test]
    fn a_start_has_come() {
        let ahead = |seconds| json!({ "nbf": NOW.saturating_add(seconds) });
        assert_eq!(verdict(&strict(), ahead(0)), Ok(()));
        assert_eq!(verdict(&strict(), json!({ "nbf": -1 })), Ok(()));
        assert_eq!(verdict(&strict(), ahead(1)), Err(ClaimError::NotYetValid));
        assert_eq!(
            verdict(&strict(), json!({ "nbf": 1_800_000_000.001 })),
            Err(ClaimError::NotYetValid)
        );
        assert_eq!(
            verdict(&strict(), json!({ "nbf": 1e300 })),
            Err(ClaimError::NotYetValid)
        );
        for nbf in [json!("0"), json!(null), json!([])] {
            assert_eq!(
                verdict(&strict(), json!({ "nbf": nbf })),
                Err(ClaimError::NotBeforeMalformed)
            );
        }
        let skewed = Expected {
            clock_skew: Duration::from_secs(30),
            ..strict()
        };
        assert_eq!(verdict(&skewed, ahead(30)), Ok(()));
        assert_eq!(verdict(&skewed, ahead(31)), Err(ClaimError::NotYetValid));
    }

    #[test]
    fn the_age_is_limited_where_configured() {
        let aged = Expected {
            max_age: Some(Duration::from_secs(DAY)),
            ..strict()
        };
        let issued = |iat: u64| json!({ "iat": iat });
        let ago = |seconds| issued(NOW.saturating_sub(seconds));
        for young in [0, 1, DAY - 1, DAY] {
            assert_eq!(verdict(&aged, ago(young)), Ok(()), "{young}");
        }
        for old in [DAY + 1, 2 * DAY, NOW] {
            assert_eq!(verdict(&aged, ago(old)), Err(ClaimError::TooOld), "{old}");
            assert_eq!(verdict(&strict(), ago(old)), Ok(()));
        }
        assert_eq!(
            verdict(&aged, json!({ "iat": 1_799_913_599.999 })),
            Err(ClaimError::TooOld)
        );
        assert_eq!(
            verdict(&aged, json!({ "iat": -1e300 })),
            Err(ClaimError::TooOld)
        );
        assert_eq!(verdict(&aged, json!({})), Err(ClaimError::IssuedAtMissing));
        assert_eq!(verdict(&strict(), json!({})), Ok(()));
        for expected in [&aged, &strict()] {
            assert_eq!(
                verdict(expected, issued(NOW + 1)),
                Err(ClaimError::IssuedInFuture)
            );
            for iat in [json!("1800000000"), json!(null), json!({})] {
                assert_eq!(
                    verdict(expected, json!({ "iat": iat })),
                    Err(ClaimError::IssuedAtMissing)
                );
            }
        }
        let skewed = Expected {
            clock_skew: Duration::from_secs(30),
            ..aged
        };
        assert_eq!(verdict(&skewed, ago(DAY + 30)), Ok(()));
        assert_eq!(verdict(&skewed, ago(DAY + 31)), Err(ClaimError::TooOld));
        assert_eq!(verdict(&skewed, issued(NOW + 30)), Ok(()));
        assert_eq!(
            verdict(&skewed, issued(NOW + 31)),
            Err(ClaimError::IssuedInFuture)
        );
    }

    #[test]
    fn a_tenant_is_a_non_empty_string() {
        let tenants = Expected {
            require_tid: true,
            ..strict()
        };
        assert_eq!(verdict(&tenants, json!({ "tid": "t" })), Ok(()));
        for tid in [
            json!(""),
            json!(1),
            json!(null),
            json!(["t"]),
            json!({}),
            json!("absent"),
        ] {
            assert_eq!(
                verdict(&tenants, json!({ "tid": tid })),
                Err(ClaimError::Tenant)
            );
            assert_eq!(verdict(&strict(), json!({ "tid": tid })), Ok(()));
        }
    }

    #[test]
    fn tells_until_when_it_is_valid() {
        let until = |expected: &Expected, changes| {
            let claims = claims(changes);
            let until = claims.validate(expected, Time::from_secs(NOW)).unwrap();
            if until < Time::NEVER {
                let last = Time::from_nanos(until.as_nanos().saturating_sub(1));
                assert!(claims.validate(expected, last).is_ok());
                assert!(claims.validate(expected, until).is_err());
            }
            until
        };
        assert_eq!(until(&strict(), json!({})), Time::from_secs(NOW + 60));
        assert_eq!(
            until(&strict(), json!({ "exp": 1_800_000_000.5 })).as_nanos(),
            NOW * 1_000_000_000 + 500_000_000
        );
        assert_eq!(until(&strict(), json!({ "exp": 1e300 })), Time::NEVER);
        assert_eq!(until(&strict(), json!({ "exp": u64::MAX })), Time::NEVER);
        let aged = Expected {
            max_age: Some(Duration::from_secs(DAY)),
            clock_skew: Duration::from_secs(5),
            ..strict()
        };
        assert_eq!(
            until(&aged, json!({ "iat": NOW - DAY })),
            Time::from_nanos((NOW + 5) * 1_000_000_000 + 1)
        );
        assert_eq!(
            until(&aged, json!({ "iat": NOW })),
            Time::from_secs(NOW + 65)
        );
    }

    #[test]
    fn extreme_configurations_do_not_overflow() {
        let extreme = Expected {
            clock_skew: Duration::MAX,
            max_age: Some(Duration::MAX),
            ..strict()
        };
        for date in [
            json!(1e308),
            json!(-1e308),
            json!(u64::MAX),
            json!(i64::MIN),
            json!(0),
        ] {
            let claims = claims(json!({ "exp": date, "nbf": date, "iat": date }));
            for now in [Time::EPOCH, Time::from_secs(NOW), Time::NEVER] {
                let _ = claims.validate(&extreme, now);
                let _ = claims.validate(&strict(), now);
            }
        }
    }

    #[test]
    fn claims_are_found_by_name_or_path() {
        let claims = claims(json!({
            "sub": "s",
            "https://example.com/roles": ["a"],
            "a.b": 1,
            "a": { "b": 2, "c": { "d": 3 }, "c.d": 4, "": 5 },
            "resource": { "my.app": { "roles": ["r"] } },
            "list": [{ "x": 1 }],
            "": { "": 6 },
        }));
        for (path, expected) in [
            ("sub", Some(json!("s"))),
            ("https://example.com/roles", Some(json!(["a"]))),
            ("a.b", Some(json!(1))),
            ("a.c.d", Some(json!(4))),
            ("a.c", Some(json!({ "d": 3 }))),
            ("a.", Some(json!(5))),
            (".", Some(json!(6))),
            ("sub.x", None),
            ("list.0", None),
            ("list.x", None),
            ("missing", None),
            ("a.missing.d", None),
            ("resource.my.app.roles", None),
        ] {
            assert_eq!(claims.get(path).cloned(), expected, "{path}");
        }
        assert_eq!(claims.get(&".".repeat(100_000)), None);
    }

    #[test]
    fn claims_become_header_values_unchanged_or_not_at_all() {
        for (claim, expected) in [
            (json!("a b"), "a b"),
            (json!(""), ""),
            (json!("a,b"), "a,b"),
            (json!(7), "7"),
            (json!(-7), "-7"),
            (json!(u64::MAX), "18446744073709551615"),
            (json!(true), "true"),
            (json!(["admin"]), "admin"),
            (json!(["admin", "billing read"]), "admin,billing read"),
            (json!([]), ""),
        ] {
            assert_eq!(header_value(&claim).as_deref(), Ok(expected), "{claim}");
        }
        for claim in [
            json!("a\r\nX-Admin: 1"),
            json!("a\n"),
            json!("\0"),
            json!("é"),
            json!("\u{7f}"),
            json!(" a"),
            json!("a\t"),
            json!(1.5),
            json!(1e3),
            json!(null),
            json!({}),
            json!(["a", 1]),
            json!(["a,b"]),
            json!([""]),
            json!(["a\r"]),
            json!([["a"]]),
        ] {
            assert_eq!(header_value(&claim), Err(NotAHeaderValue), "{claim}");
        }
    }

    #[test]
    fn codes_are_stable() {
        for (error, code) in [
            (Malformed::TooLong.into(), "token_malformed"),
            (TokenError::AlgorithmNotAllowed, "algorithm_not_allowed"),
            (TokenError::KeyUnknown, "key_unknown"),
            (TokenError::KeyIdMissing, "key_unknown"),
            (TokenError::SignatureInvalid, "signature_invalid"),
            (ClaimError::Issuer.into(), "issuer_mismatch"),
            (ClaimError::Audience.into(), "audience_mismatch"),
            (ClaimError::ExpiryMissing.into(), "token_malformed"),
            (ClaimError::Expired.into(), "token_expired"),
            (ClaimError::NotBeforeMalformed.into(), "token_malformed"),
            (ClaimError::NotYetValid.into(), "token_not_yet_valid"),
            (ClaimError::IssuedAtMissing.into(), "token_malformed"),
            (ClaimError::IssuedInFuture.into(), "token_not_yet_valid"),
            (ClaimError::TooOld.into(), "token_too_old"),
            (ClaimError::Tenant.into(), "tenant_missing"),
        ] {
            let error: TokenError = error;
            assert_eq!(error.code(), code);
            assert!(error.title().ends_with('.'));
            assert!(!error.reason().is_empty());
        }
    }
}
