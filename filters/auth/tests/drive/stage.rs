//! The gateway, the services behind it and the clients that the tests play with.

use std::sync::OnceLock;
use std::time::Duration;

use auth::Auth;
use policy::{Level, Time};
use serde_json::{Value, json};
use testkit::drive::BEGINNING;
use testkit::{ApiKey, Drive, Exchange, Flavour, Key, Request, Token, World};

pub const FLAVOURS: [Flavour; 2] = [Flavour::Envoy, Flavour::Kong];
/// The path of the key set.
pub const KEYS: &str = "/staff.json";
/// What the resolver wants to hear.
pub const SERVICE_TOKEN: &str = "service-token-number-one";

pub const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub const fn millis(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

pub const NANO: Duration = Duration::from_nanos(1);

/// Tokens under `/v1`, API keys under `/keys`, everybody under `/public`.
pub fn config() -> Value {
    json!({
        "providers": { "staff": {
            "issuer": "https://auth.example.com",
            "audiences": ["orders"],
            "jwks": { "upstream": "auth_service", "authority": "auth.internal", "path": KEYS },
        }},
        "api_keys": {
            "upstream": "auth_service",
            "authority": "auth.internal",
            "service_token": SERVICE_TOKEN,
        },
        "rules": [
            { "match": { "prefix": "/public" }, "public": true },
            { "match": { "prefix": "/admin" }, "any_of": [{ "jwt": "staff" }],
              "claims": [{ "claim": "role", "contains": "admin" }] },
            { "match": { "prefix": "/keys" }, "any_of": [{ "api_key": true }] },
            { "match": { "prefix": "/v1" }, "any_of": [{ "jwt": "staff" }] },
        ],
    })
}

/// The configuration with members set: dotted paths and values.
pub fn config_with<const N: usize>(changes: [(&str, Value); N]) -> Value {
    let mut config = config();
    for (path, value) in changes {
        let mut at = &mut config;
        for name in path.split('.') {
            at = &mut at[name];
        }
        *at = value;
    }
    config
}

pub fn staff() -> Key {
    Key::rsa("staff", 0)
}

/// A key pair that the issuer has not published.
pub fn stranger() -> Key {
    Key::rsa("stranger", 1)
}

/// Services that know [`staff`] and the API keys [`alice`] and [`bob`].
pub fn world() -> World {
    let world = World::new();
    world.auth.publish(KEYS, [&staff()]);
    world.auth.accept_service_tokens([SERVICE_TOKEN]);
    for key in [alice(), bob()] {
        world.auth.add_api_key(key);
    }
    world
}

pub fn alice() -> ApiKey {
    ApiKey::new("alice", "acc-alice")
}

pub fn bob() -> ApiKey {
    ApiKey::new("bob", "acc-bob")
}

/// A key of the right form that nobody has issued.
pub fn unheard_of(name: &str) -> ApiKey {
    ApiKey::new(name, "nobody")
}

pub fn start_like(flavour: Flavour, config: &Value) -> Drive<Auth> {
    Drive::like(flavour, config.to_string(), world()).unwrap()
}

pub fn start(config: &Value) -> Drive<Auth> {
    start_like(Flavour::Envoy, config)
}

/// A good token of this key, made when every drive begins, with changes.
pub fn token_by(key: &Key, change: impl FnOnce(&mut Token)) -> String {
    let mut token = Token::new("it")
        .claim("iss", "https://auth.example.com")
        .claim("aud", "orders")
        .claim("tid", "tenant-3")
        .claim("sub", "user-7")
        .claim("account_id", "acc-1");
    change(&mut token);
    let same = |text: &str| Ok(text.to_owned());
    token.mint(BEGINNING, |_| Some(key.clone()), same).unwrap()
}

/// A good token of [`staff`], with changes.
pub fn token(change: impl FnOnce(&mut Token)) -> String {
    token_by(&staff(), change)
}

/// A good token, always the same.
pub fn good() -> String {
    static GOOD: OnceLock<String> = OnceLock::new();
    GOOD.get_or_init(|| token(|_| {})).clone()
}

/// A token whose `kid` no key set has. Nobody comes to check its signature, which is cheap.
pub fn ghost(number: usize) -> String {
    token_by(&Key::ed25519("ghost", "ghost"), |token| {
        token.header.insert("alg".into(), "RS256".into());
        let kid = format!("ghost-{number}");
        token.header.insert("kid".into(), kid.into());
    })
}

pub fn with_token(token: &str) -> Request {
    Request::get("/v1/orders").bearer(token)
}

pub fn with_key(key: &ApiKey) -> Request {
    Request::get("/keys").header("x-api-key", &key.key)
}

pub fn outcome(drive: &mut Drive<Auth>, token: &str) -> String {
    drive.request(with_token(token)).word()
}

/// Everything that holds of a refusal, whoever caused it.
pub fn assert_clear_refusal(request: &Request, exchange: &Exchange) {
    let shown = || format!("{}\n{}", request.show(), exchange.show());
    assert!(exchange.upstream.is_none(), "{}", shown());
    let code = exchange.code().unwrap_or_else(|| panic!("{}", shown()));
    let faults = testkit::problem::faults(request, exchange, &code);
    assert!(faults.is_empty(), "{faults:#?}\n{}", shown());
    assert_ne!(code, "filter_fault", "{}", shown());
}

/// None of these is in a log line or a metric, and no line could be taken for two.
pub fn assert_secrets_kept(drive: &Drive<Auth>, secrets: &[&str]) {
    for (level, line) in drive.logs() {
        assert_ne!(*level, Level::Error, "{line}");
        assert!(!line.chars().any(char::is_control), "{line:?}");
        for secret in secrets {
            assert!(!line.contains(secret), "a secret in the log: {line}");
        }
    }
    for name in drive.metrics().keys() {
        for secret in secrets {
            assert!(!name.contains(secret), "a secret in a metric: {name}");
        }
    }
}

/// When the key set was fetched.
pub fn fetches(drive: &Drive<Auth>) -> Vec<Time> {
    drive
        .world()
        .asked()
        .iter()
        .filter(|asked| asked.path == KEYS)
        .map(|asked| asked.at)
        .collect()
}
