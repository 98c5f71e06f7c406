//! The auth-service: key sets and the resolver of API keys.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use wire::api_keys::{RESOLVE_PATH, ResolveReply, ResolveRequest};

use crate::fault::Fault;
use crate::mint::{Key, b64, jwks, sha256_hex};
use crate::world::{Asked, End, Response, Served, Service};

/// How long an answer takes when nothing is wrong.
const LATENCY: Duration = Duration::from_millis(1);

/// A key that a client may present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// The raw key.
    pub key: String,
    pub id: String,
    pub account: String,
    pub tier: Option<String>,
    pub tenant: Option<String>,
    pub active: bool,
}

impl ApiKey {
    /// An active key of an account, always the same for the same name.
    #[must_use]
    pub fn new(name: &str, account: &str) -> Self {
        let secret = sha256_digest(name);
        Self {
            key: format!("gk_test_{}", b64(secret)),
            id: format!("key_{name}"),
            account: account.to_owned(),
            tier: None,
            tenant: None,
            active: true,
        }
    }
}

fn sha256_digest(text: &str) -> Vec<u8> {
    use sha2::Digest as _;
    sha2::Sha256::digest(text).to_vec()
}

/// What can fail separately.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// Every key set.
    Jwks,
    /// The resolver of API keys.
    Resolve,
    /// The whole auth-service.
    All,
    /// The counts of redis-proxy.
    Acquire,
    /// Its tier table.
    Tiers,
    /// Its adaptive factors.
    Load,
    /// Its quotas.
    Quota,
    /// The whole of redis-proxy.
    RedisProxy,
    /// Its lists.
    Lists,
    /// Where it takes samples.
    Samples,
    /// Lists and samples both.
    ListService,
}

impl Endpoint {
    /// Whether it is redis-proxy's.
    #[must_use]
    pub const fn is_of_redis_proxy(self) -> bool {
        matches!(
            self,
            Self::Acquire | Self::Tiers | Self::Load | Self::Quota | Self::RedisProxy
        )
    }

    /// Whether it is of the lists' service.
    #[must_use]
    pub const fn is_of_list_service(self) -> bool {
        matches!(self, Self::Lists | Self::Samples | Self::ListService)
    }
}

/// The service. Clones are the same service.
#[derive(Clone, Default)]
pub struct AuthService(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// Key set documents by path.
    jwks: BTreeMap<String, String>,
    /// API keys by the SHA-256 of the key.
    api_keys: BTreeMap<String, ApiKey>,
    service_tokens: Vec<String>,
    faults: BTreeMap<Endpoint, Fault>,
    asked: Vec<Asked>,
}

/// The service token unless a test sets others.
pub const SERVICE_TOKEN: &str = "service-token-for-tests";

impl AuthService {
    #[must_use]
    pub fn new() -> Self {
        let service = Self::default();
        service.accept_service_tokens([SERVICE_TOKEN]);
        service
    }

    /// Publishes these keys, and no others, under a path.
    pub fn publish<'a>(&self, path: &str, keys: impl IntoIterator<Item = &'a Key>) {
        self.publish_document(path, jwks(keys).to_string());
    }

    /// Publishes any document under a path.
    pub fn publish_document(&self, path: &str, document: impl Into<String>) {
        self.state().jwks.insert(path.to_owned(), document.into());
    }

    /// Makes an API key known, or changes it.
    pub fn add_api_key(&self, key: ApiKey) {
        self.state().api_keys.insert(sha256_hex(&key.key), key);
    }

    /// Revokes an API key.
    ///
    /// # Panics
    /// When there is no such key.
    pub fn revoke(&self, key: &str) {
        let mut state = self.state();
        let Some(known) = state.api_keys.get_mut(&sha256_hex(key)) else {
            panic!("the auth-service does not know the key to revoke");
        };
        known.active = false;
    }

    /// Forgets an API key.
    pub fn forget(&self, key: &str) {
        self.state().api_keys.remove(&sha256_hex(key));
    }

    /// The service tokens that the resolver accepts; all others get 401.
    pub fn accept_service_tokens<'a>(&self, tokens: impl IntoIterator<Item = &'a str>) {
        self.state().service_tokens = tokens.into_iter().map(str::to_owned).collect();
    }

    /// Makes an endpoint fail, or work again with [`Fault::None`].
    ///
    /// # Panics
    /// When a single endpoint is told to refuse connections: an address refuses, not a path.
    pub fn fail(&self, endpoint: Endpoint, fault: Fault) {
        assert!(
            fault != Fault::Refused || endpoint == Endpoint::All,
            "only the whole service can refuse connections: say `all`"
        );
        self.state().faults.insert(endpoint, fault);
    }

    /// Everything works again.
    pub fn heal(&self) {
        self.state().faults.clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn endpoint(&self, path: &str) -> Option<Endpoint> {
        if path == RESOLVE_PATH {
            Some(Endpoint::Resolve)
        } else if self.jwks.contains_key(path) {
            Some(Endpoint::Jwks)
        } else {
            None
        }
    }

    fn fault(&self, endpoint: Option<Endpoint>) -> Fault {
        let of = |endpoint| self.faults.get(&endpoint).filter(|f| **f != Fault::None);
        of(Endpoint::All)
            .or_else(|| endpoint.and_then(of))
            .cloned()
            .unwrap_or_default()
    }

    fn answer(&self, asked: &Asked) -> Response {
        match self.endpoint(&asked.path) {
            Some(Endpoint::Jwks) if asked.method == "GET" => {
                let document = self.jwks.get(&asked.path).cloned().unwrap_or_default();
                Response::new(200, "application/json", document)
            }
            Some(Endpoint::Resolve) if asked.method == "POST" => self.resolve(asked),
            Some(_) => Response::new(405, "text/plain", "method not allowed"),
            None => Response::new(404, "text/plain", "not found"),
        }
    }

    fn resolve(&self, asked: &Asked) -> Response {
        let authorized = asked
            .header("authorization")
            .and_then(|value| value.strip_prefix("Bearer "))
            .is_some_and(|token| self.service_tokens.iter().any(|known| known == token));
        if !authorized {
            return Response::json(401, &json!({"error": "service token"}));
        }
        let Ok(question) = serde_json::from_slice::<ResolveRequest>(&asked.body) else {
            return Response::json(400, &json!({"error": "body"}));
        };
        let Some(key) = self.api_keys.get(&question.key_sha256) else {
            return Response::json(404, &json!({"error": "unknown key"}));
        };
        let reply = ResolveReply {
            active: key.active,
            account_id: Some(key.account.clone()),
            key_id: Some(key.id.clone()),
            tier: key.tier.clone(),
            tenant_id: key.tenant.clone(),
        };
        Response::json(200, &serde_json::to_value(reply).unwrap_or(Value::Null))
    }
}

impl Service for AuthService {
    fn serve(&self, asked: Asked) -> Served {
        let mut state = self.state();
        let fault = state.fault(state.endpoint(&asked.path));
        let right = state.answer(&asked);
        state.asked.push(asked);
        drop(state);
        serve_with(&fault, right)
    }

    fn refuses(&self) -> bool {
        self.state().fault(Some(Endpoint::All)) == Fault::Refused
    }

    /// `jwks` (all key sets), `resolve`, or `jwks:` and the path of one key set.
    fn calls(&self, endpoint: &str) -> Option<u64> {
        let state = self.state();
        let wanted: Box<dyn Fn(&Asked) -> bool> = match endpoint {
            "jwks" => Box::new(|asked| state.endpoint(&asked.path) == Some(Endpoint::Jwks)),
            "resolve" => Box::new(|asked| asked.path == RESOLVE_PATH),
            other => {
                let path = other.strip_prefix("jwks:")?;
                Box::new(move |asked| asked.path == path)
            }
        };
        let count = state.asked.iter().filter(|asked| wanted(asked)).count();
        u64::try_from(count).ok()
    }

    fn asked(&self) -> Vec<Asked> {
        self.state().asked.clone()
    }
}

/// What a service does that has this fault and would have given this answer.
pub(crate) fn serve_with(fault: &Fault, right: Response) -> Served {
    const MANY: usize = 10_000;
    const HUGE: usize = 10 * 1024 * 1024;
    let after = match fault {
        Fault::Slow(span) => span.0,
        _ => LATENCY,
    };
    let json = |body: Vec<u8>| End::Answer(Response::new(200, "application/json", body));
    let end = match fault {
        Fault::None | Fault::Slow(_) => End::Answer(right),
        Fault::Status(status) => {
            End::Answer(Response::new(*status, "text/plain", "something went wrong"))
        }
        Fault::Html => End::Answer(Response::new(
            200,
            "text/html",
            "<!doctype html><title>Sign in</title><p>Please sign in.",
        )),
        Fault::NotJson => json(b"\xff\xfe\x00{\"keys\":".to_vec()),
        Fault::HalfBody => {
            let half = right.body.len() / 2;
            json(right.body[..half].to_vec())
        }
        Fault::EmptyBody => json(Vec::new()),
        Fault::Huge => {
            let mut body = b"{\"active\":true,\"keys\":[],\"padding\":\"".to_vec();
            body.resize(HUGE, b'a');
            body.extend_from_slice(b"\"}");
            json(body)
        }
        Fault::ManyKeys => {
            let keys: Vec<Value> = (0..MANY)
                .map(|n| {
                    json!({
                        "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA",
                        "kid": format!("key-{n}"), "x": b64(sha256_digest(&n.to_string())),
                    })
                })
                .collect();
            json(json!({ "keys": keys }).to_string().into_bytes())
        }
        Fault::Body(body) => json(body.clone().into_bytes()),
        Fault::Refused | Fault::Reset => End::Reset,
        Fault::CutOff => End::CutOff(right),
        Fault::Hang => End::Hang,
    };
    Served { after, end }
}
