//! Every way in which the filter says no, with its stable code.

use std::borrow::Cow;
use std::time::Duration;

use policy::Reply;

use crate::jwt::TokenError;

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The path has two readings: 400 `path_ambiguous`.
    Path,
    /// No rule matches: 401 `no_rule` (J13).
    NoRule,
    /// No credential of an accepted kind: 401 `credentials_missing`.
    Missing,
    /// Two different credentials of one kind: 401 `credentials_conflict` (J14).
    Conflict,
    /// 401 with the code of the error.
    Token(TokenError),
    /// A claim that must be injected cannot be a header: 401 `claim_not_injectable`.
    NotInjectable,
    /// The claims do not meet the rule: 403 `claims_insufficient` (J19).
    Claims,
    /// No unexpired keys and none to be had: 503 `jwks_unavailable` (J11).
    JwksUnavailable,
    /// The key has not the form of one: 401 `api_key_malformed` (A9).
    KeyMalformed,
    /// The key is unknown or revoked: 401 `api_key_invalid` (A1).
    KeyInvalid,
    /// The resolver failed: 503 `api_key_lookup_failed` (A4).
    KeyLookupFailed,
    /// Too many failures from this address: 429 `too_many_failures` (A12).
    TooManyFailures { retry_after: Duration },
}

/// Every code with which the filter refuses.
pub(crate) const CODES: &[&str] = &[
    "algorithm_not_allowed",
    "api_key_invalid",
    "api_key_lookup_failed",
    "api_key_malformed",
    "audience_mismatch",
    "claim_not_injectable",
    "claims_insufficient",
    "credentials_conflict",
    "credentials_missing",
    "issuer_mismatch",
    "jwks_unavailable",
    "key_unknown",
    "no_rule",
    "path_ambiguous",
    "signature_invalid",
    "tenant_missing",
    "token_expired",
    "token_malformed",
    "token_not_yet_valid",
    "token_too_old",
    "too_many_failures",
];

impl Refusal {
    /// Whether a credential was presented and found wrong: what guessing looks like.
    pub const fn is_failed_attempt(self) -> bool {
        matches!(
            self,
            Self::Conflict
                | Self::Token(_)
                | Self::NotInjectable
                | Self::KeyMalformed
                | Self::KeyInvalid
        )
    }

    /// The answer. `scheme` is the authentication scheme to ask for on a 401 (RFC 9110 section 11.6.1).
    pub fn reply(self, scheme: &'static str) -> Reply {
        let (status, code, title): (u16, &'static str, Cow<'static, str>) = match self {
            Self::Path => (
                400,
                "path_ambiguous",
                "The path of the request can be read in two ways.".into(),
            ),
            Self::NoRule => (401, "no_rule", "Nobody may pass here.".into()),
            Self::Missing => (
                401,
                "credentials_missing",
                "The request has no credential that is accepted here.".into(),
            ),
            Self::Conflict => (
                401,
                "credentials_conflict",
                "The request has more than one credential.".into(),
            ),
            Self::Token(error) => (401, error.code(), error.title().into()),
            Self::NotInjectable => (
                401,
                "claim_not_injectable",
                "A claim of the token cannot be passed on.".into(),
            ),
            Self::Claims => (
                403,
                "claims_insufficient",
                "The token does not grant this.".into(),
            ),
            Self::JwksUnavailable => (
                503,
                "jwks_unavailable",
                "Tokens cannot be checked at the moment.".into(),
            ),
            Self::KeyMalformed => (401, "api_key_malformed", "This is no API key.".into()),
            Self::KeyInvalid => (401, "api_key_invalid", "The API key is not valid.".into()),
            Self::KeyLookupFailed => (
                503,
                "api_key_lookup_failed",
                "API keys cannot be checked at the moment.".into(),
            ),
            Self::TooManyFailures { .. } => (
                429,
                "too_many_failures",
                "Too many failed authentications from this address.".into(),
            ),
        };
        let reply = Reply::problem(status, code, title);
        match self {
            Self::TooManyFailures { retry_after } => {
                let seconds = retry_after.as_nanos().div_ceil(1_000_000_000).max(1);
                reply.header("retry-after", seconds.to_string())
            }
            Self::JwksUnavailable | Self::KeyLookupFailed => reply.header("retry-after", "1"),
            Self::Claims => reply.header(
                "www-authenticate",
                format!("{scheme} realm=\"portcullis\", error=\"insufficient_scope\""),
            ),
            Self::Token(_) | Self::NotInjectable => reply.header(
                "www-authenticate",
                format!("{scheme} realm=\"portcullis\", error=\"invalid_token\""),
            ),
            _ if status == 401 => {
                reply.header("www-authenticate", format!("{scheme} realm=\"portcullis\""))
            }
            _ => reply,
        }
    }
}
