//! What the filter counts beside allowed and denied requests.

use std::borrow::Cow;
use std::rc::Rc;

use policy::{Kind, Metric};
use watchlist::Unusable;

/// Exported with the prefix `portcullis_auth_`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AuthMetric {
    /// Signatures checked, by provider and by whether they were good.
    SignatureChecks { provider: Rc<str>, valid: bool },
    /// Look-ups among the verified tokens.
    TokenCache { hit: bool },
    /// Fetches of a JWKS that ended, by provider and by whether they brought usable keys.
    JwksFetches { provider: Rc<str>, ok: bool },
    /// Usable keys of a provider.
    JwksKeys { provider: Rc<str> },
    /// Look-ups among the remembered API keys.
    KeyCache { hit: bool },
    /// Questions to the resolver that ended: `active`, `inactive`, `failed`, or `stale`, older than a revocation.
    KeyLookups { result: &'static str },
    /// Keys that were forgotten because they were revoked.
    KeysRevoked,
    /// Questions for the list of revoked keys that ended: `ok`, or why not.
    RevocationPolls { result: &'static str },
}

impl AuthMetric {
    /// All of them, for these providers.
    pub(crate) fn all<'a>(providers: impl Iterator<Item = &'a Rc<str>>) -> Vec<Self> {
        let mut all = vec![Self::KeysRevoked];
        for hit in [true, false] {
            all.extend([Self::TokenCache { hit }, Self::KeyCache { hit }]);
        }
        for result in ["active", "inactive", "failed", "stale"] {
            all.push(Self::KeyLookups { result });
        }
        let ends = ["ok"].into_iter();
        for result in ends.chain(Unusable::SILENT).chain(Unusable::BAD_PAGE) {
            all.push(Self::RevocationPolls { result });
        }
        for provider in providers {
            let provider = || provider.clone();
            all.push(Self::JwksKeys {
                provider: provider(),
            });
            for good in [true, false] {
                all.extend([
                    Self::SignatureChecks {
                        provider: provider(),
                        valid: good,
                    },
                    Self::JwksFetches {
                        provider: provider(),
                        ok: good,
                    },
                ]);
            }
        }
        all
    }
}

impl Metric for AuthMetric {
    fn kind(&self) -> Kind {
        match self {
            Self::JwksKeys { .. } => Kind::Gauge,
            _ => Kind::Counter,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::SignatureChecks { .. } => "portcullis_auth_signature_checks",
            Self::TokenCache { .. } => "portcullis_auth_token_cache",
            Self::JwksFetches { .. } => "portcullis_auth_jwks_fetches",
            Self::JwksKeys { .. } => "portcullis_auth_jwks_keys",
            Self::KeyCache { .. } => "portcullis_auth_key_cache",
            Self::KeyLookups { .. } => "portcullis_auth_key_lookups",
            Self::KeysRevoked => "portcullis_auth_keys_revoked",
            Self::RevocationPolls { .. } => "portcullis_auth_revocation_polls",
        }
    }

    fn labels(&self) -> Vec<(&'static str, Cow<'static, str>)> {
        let provider = |provider: &Rc<str>| ("provider", Cow::Owned(provider.to_string()));
        let result = |word: &'static str| ("result", Cow::Borrowed(word));
        let hit = |hit: bool| result(if hit { "hit" } else { "miss" });
        match self {
            Self::SignatureChecks {
                provider: name,
                valid,
            } => {
                vec![
                    provider(name),
                    result(if *valid { "valid" } else { "invalid" }),
                ]
            }
            Self::JwksFetches { provider: name, ok } => {
                vec![provider(name), result(if *ok { "ok" } else { "failed" })]
            }
            Self::JwksKeys { provider: name } => vec![provider(name)],
            Self::TokenCache { hit: was_hit } | Self::KeyCache { hit: was_hit } => {
                vec![hit(*was_hit)]
            }
            Self::KeyLookups { result: word } | Self::RevocationPolls { result: word } => {
                vec![result(word)]
            }
            Self::KeysRevoked => Vec::new(),
        }
    }
}
