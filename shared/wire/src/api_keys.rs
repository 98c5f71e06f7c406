//! `POST /internal/api-keys/resolve`: who does this API key belong to? (A2)
//!
//! The filter sends the SHA-256 of the key, never the key. Any status but 200 and 404 is a failure
//! of the resolver, and the filter fails closed (A4).

use serde::{Deserialize, Serialize};

/// The path of the resolver unless the operator configures another.
pub const RESOLVE_PATH: &str = "/internal/api-keys/resolve";

/// What the filter asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolveRequest {
    /// SHA-256 of the key as it was presented, 64 lower-case hexadecimal digits.
    pub key_sha256: String,
}

/// What a resolver answers with status 200. A key it does not know is answered with 404.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolveReply {
    /// False for a key that was revoked or has expired.
    pub active: bool,
    /// The account the key belongs to. Required when `active`.
    #[serde(default)]
    pub account_id: Option<String>,
    /// The public id of the key, fit for logs. Required when `active`.
    #[serde(default)]
    pub key_id: Option<String>,
    /// The service tier of the account.
    #[serde(default)]
    pub tier: Option<String>,
    /// The tenant the account belongs to.
    #[serde(default)]
    pub tenant_id: Option<String>,
}
