//! What is measured: filter chains of Envoy.

use envoy_test::artifacts;
use kong_test::Source;
use serde_json::{Value, json};

use crate::gateway::KongChain;

/// Entries of the deny list.
pub const ENTRIES: usize = 100_000;

/// How requests come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tokens {
    /// All with one token, which was seen before.
    Seen,
    /// Each with one that was never seen.
    New,
}

/// One way to run Envoy.
#[derive(Clone)]
pub struct Variant {
    pub name: &'static str,
    pub what: &'static str,
    pub host: Host,
    pub tokens: Tokens,
}

/// Where it runs, and what.
#[derive(Clone)]
pub enum Host {
    Envoy {
        filters: Vec<Value>,
        /// Requests go on to an upstream; else Envoy answers them itself, behind the filters.
        upstream: bool,
    },
    /// Before an upstream, always: what answers in Kong's own stead answers ahead of its filters.
    Kong(KongChain),
}

impl Variant {
    /// Whether its requests go on to an upstream.
    #[must_use]
    pub const fn has_upstream(&self) -> bool {
        match &self.host {
            Host::Envoy { upstream, .. } => *upstream,
            Host::Kong(_) => true,
        }
    }
}

/// Names of variants that others are compared with.
pub const BARE: &str = "bare";
pub const BARE_UPSTREAM: &str = "bare, upstream";
pub const BARE_KONG: &str = "bare, Kong";
pub const BARE_NEW: &str = "bare, new tokens";
pub const EMPTY: &str = "empty Wasm filter";
pub const SEPARATE: &str = "chain, 5 VMs";
pub const ONE: &str = "chain, one VM";

pub const ALL_SEPARATE: &str = "with quota, 6 VMs";
pub const ALL_ONE: &str = "with quota, one VM";

/// Our filters in the recommended order.
pub const CHAIN: [&str; 6] = [
    "edge_headers",
    "fingerprint_deny",
    "tarpit",
    "auth",
    "rate_limit",
    "quota",
];
/// Those that targets are about.
const FIVE: usize = 5;

/// All of them; modules of their own go to `folder`.
///
/// # Errors
/// When a filter has not been built.
pub fn all(jwks: &str, folder: &std::path::Path) -> Result<Vec<Variant>, String> {
    let empty = folder.join("empty.wasm");
    let module = wat::parse_str(include_str!("empty.wat")).map_err(|e| e.to_string())?;
    std::fs::write(&empty, module).map_err(|e| e.to_string())?;
    let variant = |name, what, filters| Variant {
        name,
        what,
        host: Host::Envoy {
            filters,
            upstream: false,
        },
        tokens: Tokens::Seen,
    };
    let new = |variant: Variant| Variant {
        tokens: Tokens::New,
        ..variant
    };
    let upstream = |name, what, filters| Variant {
        host: Host::Envoy {
            filters,
            upstream: true,
        },
        ..variant(name, what, vec![])
    };
    let ours = |names: &[&str]| -> Result<Vec<Value>, String> {
        names.iter().map(|name| own(name, &options(name))).collect()
    };
    let pure = own("auth", &{
        let mut options = options("auth");
        options["crypto"] = json!("pure");
        options
    })?;
    let five = CHAIN.get(..FIVE).unwrap_or_default();
    let one_of = |names: &[&str]| own("portcullis", &sections(names));
    let one = || one_of(five);
    let mut variants = vec![
        variant(BARE, "Envoy without filters", vec![]),
        variant(
            "jwt_authn",
            "native, RS256, no cache",
            vec![jwt_authn(jwks, false)],
        ),
        variant(
            "jwt_authn, cached",
            "native, with its token cache",
            vec![jwt_authn(jwks, true)],
        ),
        variant(
            "local_ratelimit",
            "native, one bucket",
            vec![local_ratelimit()],
        ),
        variant("rbac", "native, 100 addresses denied", vec![rbac()]),
        variant(
            EMPTY,
            "what any Wasm filter costs",
            vec![wasm("empty", &empty, &json!({}))],
        ),
        variant("edge_headers", "", ours(&["edge_headers"])?),
        variant(
            "fingerprint_deny",
            "100,000 entries",
            ours(&["fingerprint_deny"])?,
        ),
        variant("tarpit", "an empty list", ours(&["tarpit"])?),
        variant("auth", "a token seen before", ours(&["auth"])?),
        variant("rate_limit", "leased, 6 dimensions", ours(&["rate_limit"])?),
        variant(SEPARATE, "all five, each in its own VM", ours(five)?),
        variant(ONE, "all five as one module", vec![one()?]),
        variant(
            ALL_SEPARATE,
            "the whole recommended chain, each in its own VM",
            ours(&CHAIN)?,
        ),
        variant(
            ALL_ONE,
            "the whole recommended chain as one module",
            vec![one_of(&CHAIN)?],
        ),
        new(variant(BARE_NEW, "Envoy without filters", vec![])),
        new(variant(
            "jwt_authn, new tokens",
            "native, RS256",
            vec![jwt_authn(jwks, true)],
        )),
        new(variant(
            "auth, new tokens",
            "Envoy's crypto",
            ours(&["auth"])?,
        )),
        new(variant(
            "auth, new tokens, pure Rust",
            "as in Kong, but in V8",
            vec![pure],
        )),
        new(variant(
            "chain, one VM, new tokens",
            "Envoy's crypto",
            vec![one()?],
        )),
        upstream(BARE_UPSTREAM, "Envoy without filters", vec![]),
        upstream(
            "rate_limit, upstream",
            "leased, 6 dimensions",
            ours(&["rate_limit"])?,
        ),
        upstream("chain, 5 VMs, upstream", "", ours(five)?),
        upstream("chain, one VM, upstream", "", vec![one()?]),
    ];
    if Source::find().is_ok() {
        variants.extend(in_kong());
    }
    Ok(variants)
}

/// The same in Kong, beside what operators use there.
fn in_kong() -> Vec<Variant> {
    let variant = |name, what, filters: &[&str], plugins| Variant {
        name,
        what,
        host: Host::Kong(KongChain {
            filters: (filters.iter())
                .map(|name| json!({"name": name, "config": options(name)}))
                .collect(),
            plugins,
        }),
        tokens: Tokens::Seen,
    };
    let lua = vec![
        json!({"name": "key-auth"}),
        json!({"name": "rate-limiting", "config": {
            "second": 100_000, "minute": 6_000_000, "policy": "local", "limit_by": "consumer",
        }}),
    ];
    let five = CHAIN.get(..FIVE).unwrap_or_default();
    let one = Variant {
        host: Host::Kong(KongChain {
            filters: vec![json!({"name": "portcullis", "config": sections(five)})],
            plugins: vec![],
        }),
        ..variant("Kong, chain, one VM", "all five as one module", &[], vec![])
    };
    vec![
        variant(
            BARE_KONG,
            "Kong without plugins, before an upstream",
            &[],
            vec![],
        ),
        variant(
            "Kong, Lua",
            "its plugins key-auth and rate-limiting, counted locally",
            &[],
            lua,
        ),
        variant(
            "Kong, auth and rate_limit",
            "a token seen before; leased, 6 dimensions",
            &["auth", "rate_limit"],
            vec![],
        ),
        variant(
            "Kong, chain, 5 VMs",
            "all five, each in its own VM",
            five,
            vec![],
        ),
        one,
    ]
}

/// What a chain of these in one module is configured with.
fn sections(names: &[&str]) -> Value {
    (names.iter())
        .map(|name| ((*name).to_owned(), options(name)))
        .collect()
}

/// What a filter of ours is configured with, alone or in a chain.
fn options(name: &str) -> Value {
    let lists = json!({"upstream": "list_service", "authority": "list_service"});
    match name {
        "fingerprint_deny" => json!({
            "lists": lists,
            "client": {"trusted_proxies": ["127.0.0.0/8"]},
            "sampling": {"every": 0},
        }),
        "tarpit" => json!({"lists": lists, "client": {"trusted_proxies": ["127.0.0.0/8"]}}),
        "auth" => json!({
            "providers": {"bench": {
                "issuer": ISSUER,
                "audiences": [AUDIENCE],
                "jwks": {"upstream": "auth_service", "authority": "auth_service", "path": JWKS_PATH},
            }},
            "rules": [{"match": {"prefix": "/v1"}, "any_of": [{"jwt": "bench"}]}],
        }),
        "rate_limit" => json!({
            "proxy": {"upstream": "redis_proxy", "authority": "redis_proxy"},
            "trusted_proxies": ["127.0.0.0/8"],
            "rules": [{"match": {"prefix": "/v1"}, "limits": [
                {"dimension": "ip", "limit": "100000/s"},
                {"dimension": "consumer", "limit": "100000/s"},
                {"dimension": "tenant", "limit": "100000/s"},
                {"dimension": "header", "header": "x-plan", "limit": "100000/s"},
                {"dimension": "header", "header": "x-region", "limit": "100000/s"},
                {"dimension": "global", "limit": "100000/s"},
            ]}],
        }),
        "quota" => json!({
            "proxy": {"upstream": "redis_proxy", "authority": "redis_proxy"},
            "rules": [{"match": {"prefix": "/v1"}, "mode": "enforce"}],
        }),
        _ => json!({}),
    }
}

pub const ISSUER: &str = "https://auth.example.com";
pub const AUDIENCE: &str = "orders";
pub const JWKS_PATH: &str = "/bench.json";

fn own(name: &str, options: &Value) -> Result<Value, String> {
    Ok(wasm(name, &artifacts::wasm(name)?, options))
}

/// A Wasm filter as Envoy is configured with it.
pub fn wasm(name: &str, module: &std::path::Path, options: &Value) -> Value {
    native(
        "wasm.v3.Wasm",
        json!({"config": {
            "name": name,
            "root_id": name,
            "allow_on_headers_stop_iteration": true,
            "configuration": {
                "@type": "type.googleapis.com/google.protobuf.StringValue",
                "value": options.to_string(),
            },
            "vm_config": {
                "vm_id": name,
                "runtime": "envoy.wasm.runtime.v8",
                "code": {"local": {"filename": module}},
            },
        }}),
    )
}

fn native(kind: &str, mut config: Value) -> Value {
    config["@type"] = json!(format!(
        "type.googleapis.com/envoy.extensions.filters.http.{kind}"
    ));
    json!({"name": kind, "typed_config": config})
}

fn jwt_authn(jwks: &str, cached: bool) -> Value {
    let mut provider = json!({
        "issuer": ISSUER,
        "audiences": [AUDIENCE],
        "local_jwks": {"inline_string": jwks},
        "claim_to_headers": [
            {"header_name": "x-account-id", "claim_name": "account_id"},
            {"header_name": "x-tenant-id", "claim_name": "tid"},
        ],
    });
    if cached {
        provider["jwt_cache_config"] = json!({"jwt_cache_size": 1000});
    }
    native(
        "jwt_authn.v3.JwtAuthentication",
        json!({
            "providers": {"bench": provider},
            "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "bench"}}],
        }),
    )
}

fn local_ratelimit() -> Value {
    let always = json!({"default_value": {"numerator": 100, "denominator": "HUNDRED"}});
    native(
        "local_ratelimit.v3.LocalRateLimit",
        json!({
            "stat_prefix": "bench",
            "token_bucket": {"max_tokens": 1_000_000, "tokens_per_fill": 1_000_000, "fill_interval": "1s"},
            "filter_enabled": always,
            "filter_enforced": always,
        }),
    )
}

fn rbac() -> Value {
    let principals: Vec<Value> = (0..100)
        .map(|n| json!({"direct_remote_ip": {"address_prefix": format!("192.0.2.{n}"), "prefix_len": 32}}))
        .collect();
    native(
        "rbac.v3.RBAC",
        json!({"rules": {"action": "DENY", "policies": {"listed": {
            "permissions": [{"any": true}],
            "principals": principals,
        }}}}),
    )
}
