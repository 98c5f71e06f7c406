//! Who plays: keys, tokens, API keys and the filter's configuration.

use policy::Time;
use serde_json::json;
use testkit::auth_service::SERVICE_TOKEN;
use testkit::mint::Forge;
use testkit::{ApiKey, Key, Token, World};

pub const ISSUER: &str = "https://auth.example.com";

pub struct Cast {
    pub good: String,
    pub other_good: String,
    pub admin: String,
    pub expired: String,
    pub hs256: String,
    pub none: String,
    pub other_audience: String,
    pub unknown_kid: String,
    pub impostor: String,
    pub key: ApiKey,
    pub new_key: ApiKey,
    pub revoked_key: ApiKey,
    pub late_key: ApiKey,
}

impl Cast {
    /// Makes everybody, and tells the auth-service.
    pub fn new(world: &World, now: Time) -> Self {
        let staff = Key::rsa("staff-2026", 0);
        world.auth.publish("/.well-known/jwks.json", [&staff]);
        let revoked_key = ApiKey {
            active: false,
            ..ApiKey::new("revoked", "acc-77")
        };
        let key = |name| ApiKey {
            tier: Some("gold".into()),
            ..ApiKey::new(name, "acc-42")
        };
        let cast = Self {
            good: mint(now, &staff, claims("user-7")),
            other_good: mint(now, &staff, claims("user-8")),
            admin: mint(
                now,
                &staff,
                claims("user-1").claim("role", json!(["admin"])),
            ),
            expired: mint(
                now,
                &staff,
                Token {
                    exp_in: Some("-10s".into()),
                    ..claims("user-7")
                },
            ),
            hs256: mint(now, &staff, claims("user-7").forge(Forge::Hs256Pem)),
            none: mint(now, &staff, claims("user-7").forge(Forge::AlgNoneSigned)),
            other_audience: mint(now, &staff, claims("user-7").claim("aud", "billing")),
            unknown_kid: mint(now, &Key::rsa("nobody-knows", 1), claims("user-7")),
            impostor: mint(now, &Key::rsa("staff-2026", 1), claims("user-7")),
            key: key("demo"),
            new_key: key("demo-new"),
            revoked_key,
            late_key: key("late"),
        };
        for key in [&cast.key, &cast.new_key, &cast.revoked_key, &cast.late_key] {
            world.auth.add_api_key(key.clone());
        }
        cast
    }
}

fn claims(user: &str) -> Token {
    Token {
        // Long enough for an afternoon with `make run`.
        exp_in: Some("12h".into()),
        ..Token::new("key")
    }
    .claim("iss", ISSUER)
    .claim("aud", "orders")
    .claim("sub", user)
    .claim("tid", "tenant-3")
    .claim("tier", "gold")
    .claim("account_id", "acc-42")
}

fn mint(now: Time, key: &Key, token: Token) -> String {
    token
        .mint(now, |_| Some(key.clone()), |text| Ok(text.to_owned()))
        .expect("the recipe is complete")
}

/// What the operator of this demo configures.
pub fn config() -> String {
    json!({
        "providers": {"staff": {
            "issuer": ISSUER,
            "audiences": ["orders"],
            "jwks": {"upstream": "auth_service", "authority": "auth.internal"},
            "token_from": [
                {"header": "authorization", "scheme": "Bearer"},
                {"query": "access_token"},
            ],
        }},
        "api_keys": {
            "upstream": "auth_service",
            "authority": "auth.internal",
            "service_token": SERVICE_TOKEN,
        },
        "failures": {"limit": 10, "window": "1m"},
        "trusted_proxies": ["127.0.0.0/8"],
        "rules": [
            {"match": {"prefix": "/public"}, "public": true},
            {
                "match": {"prefix": "/v1/admin"},
                "any_of": [{"jwt": "staff"}],
                "claims": [{"claim": "role", "contains": "admin"}],
            },
            {"match": {"prefix": "/v1"}, "any_of": [{"jwt": "staff"}, {"api_key": true}]},
        ],
    })
    .to_string()
}
