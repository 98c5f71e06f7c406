//! What is measured: filter chains of Envoy and Kong.

use envoy_test::artifacts;
use kong_test::Source;
use serde_json::{Value, json};

use crate::gateway::KongChain;
use crate::limiter::Limiter;
use crate::native;

/// Entries of the deny list.
pub const ENTRIES: usize = 100_000;

/// What no worker has seen before, of each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum New {
    /// Nothing: all requests are the same.
    Nothing,
    /// Its token.
    Token,
    /// Its client: address, account, tenant, and the other headers that limits count by.
    Client,
}

/// A service whose CPU is part of the price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    Nobody,
    RedisProxy,
    Limiter,
}

/// One way to run a gateway.
#[derive(Clone)]
pub struct Variant {
    pub name: &'static str,
    pub what: &'static str,
    pub host: Host,
    pub new: New,
    pub asks: Asks,
    /// Whether it denies clients that are on the deny list.
    pub denies: bool,
}

/// Where it runs, and what.
#[derive(Clone)]
pub enum Host {
    Envoy {
        filters: Vec<Value>,
        end: End,
    },
    /// Before an upstream, always: what answers in Kong's own stead answers ahead of its filters.
    Kong(KongChain),
}

/// Who answers what the filters let pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Envoy itself, by its route.
    Route,
    /// The last filter, in place of the upstream that the route leads to.
    Filter,
    Upstream,
}

impl Variant {
    /// Whether its requests go on to an upstream.
    #[must_use]
    pub const fn has_upstream(&self) -> bool {
        match &self.host {
            Host::Envoy { end, .. } => matches!(end, End::Upstream),
            Host::Kong(_) => true,
        }
    }

    /// The bare variant that it is compared with.
    #[must_use]
    pub const fn base(&self) -> &'static str {
        match (&self.host, self.new) {
            (Host::Kong(_), _) => BARE_KONG,
            (Host::Envoy { end, .. }, new) => match (end, new) {
                (End::Upstream, _) => BARE_UPSTREAM,
                (End::Filter, _) => BARE_ANSWERED,
                (End::Route, New::Nothing) => BARE,
                (End::Route, New::Token | New::Client) => BARE_NEW,
            },
        }
    }
}

/// Names of variants that others are compared with.
pub const BARE: &str = "bare";
pub const BARE_UPSTREAM: &str = "bare, upstream";
pub const BARE_KONG: &str = "bare, Kong";
pub const BARE_NEW: &str = "bare, new tokens";
pub const BARE_ANSWERED: &str = "bare, a filter answers";
pub const EMPTY: &str = "empty Wasm filter";
pub const SEPARATE: &str = "chain, 5 VMs";
pub const ONE: &str = "chain, one VM";

pub const LEASED: &str = "rate_limit";
pub const LEASED_UPSTREAM: &str = "rate_limit, upstream";
pub const LIMITER: &str = "ratelimit, gRPC limiter";
pub const LIMITER_UPSTREAM: &str = "ratelimit, gRPC limiter, upstream";

pub const ALL_SEPARATE: &str = "with quota, 6 VMs";
pub const ALL_ONE: &str = "with quota, one VM";

/// Our filters in the recommended order.
pub const CHAIN: [&str; 6] = [
    "edge_headers",
    DENIES,
    "tarpit",
    "auth",
    "rate_limit",
    "quota",
];
/// The one that denies who is on the deny list.
const DENIES: &str = "fingerprint_deny";
/// Those that targets are about.
const FIVE: usize = 5;

/// All of them; modules of their own go to `folder`.
///
/// # Errors
/// When a filter has not been built.
pub fn all(
    jwks: &str,
    folder: &std::path::Path,
    limiter: Option<&Limiter>,
) -> Result<Vec<Variant>, String> {
    let made = |name: &str, text: &str| -> Result<Value, String> {
        let path = folder.join(format!("{name}.wasm"));
        let module = wat::parse_str(text).map_err(|e| e.to_string())?;
        std::fs::write(&path, module).map_err(|e| e.to_string())?;
        Ok(wasm(name, &path, &json!({})))
    };
    let empty = made("empty", include_str!("modules/empty.wat"))?;
    let of_auth = made("calls_of_auth", include_str!("modules/calls_of_auth.wat"))?;
    let of_the_chain = made(
        "calls_of_the_chain",
        include_str!("modules/calls_of_the_chain.wat"),
    )?;
    let pure = own("auth", &{
        let mut options = options("auth");
        options["crypto"] = json!("pure");
        options
    })?;
    let long_tarpit = || {
        let mut options = options("tarpit");
        options["lists"] = service(LONG_TARPIT);
        own("tarpit", &options)
    };
    let five = CHAIN.get(..FIVE).unwrap_or_default();
    let mut variants = vec![
        native(BARE, "Envoy without filters", vec![]),
        native(
            "jwt_authn",
            "native, RS256, no cache",
            vec![native::jwt_authn(jwks, false)],
        ),
        native(
            "jwt_authn, cached",
            "native, with its token cache",
            vec![native::jwt_authn(jwks, true)],
        ),
        native(
            "local_ratelimit",
            "native, one bucket",
            vec![native::local_ratelimit()],
        ),
        native("rbac", "native, 100 addresses denied", vec![native::rbac()]),
        native(EMPTY, "what any Wasm filter costs", vec![empty]),
        ours("edge_headers", "", &["edge_headers"])?,
        ours("fingerprint_deny", "100,000 entries", &[DENIES])?,
        ours("tarpit", "an empty list", &["tarpit"])?,
        native("tarpit, long list", "100,000 entries", vec![long_tarpit()?]),
        native(
            "calls of auth",
            "what auth asks of the gateway, and no more",
            vec![of_auth],
        ),
        ours("auth", "a token seen before", &["auth"])?,
        ours(LEASED, "leased, 6 dimensions", &["rate_limit"])?,
        ours("quota", "a tenant seen before", &["quota"])?,
        ours(SEPARATE, "all five, each in its own VM", five)?,
        native(
            "calls of the chain, one VM",
            "what one module of all five asks of the gateway, and no more",
            vec![of_the_chain],
        ),
        one(ONE, "all five as one module", five)?,
        ours(
            ALL_SEPARATE,
            "the whole recommended chain, each in its own VM",
            &CHAIN,
        )?,
        one(ALL_ONE, "the whole recommended chain as one module", &CHAIN)?,
        native(BARE_NEW, "Envoy without filters", vec![]).with_new(New::Token),
        native(
            "jwt_authn, new tokens",
            "native, RS256",
            vec![native::jwt_authn(jwks, true)],
        )
        .with_new(New::Token),
        ours("auth, new tokens", "Envoy's crypto", &["auth"])?.with_new(New::Token),
        native(
            "auth, new tokens, pure Rust",
            "as in Kong, but in V8",
            vec![pure],
        )
        .with_new(New::Token),
        one("chain, one VM, new tokens", "Envoy's crypto", five)?.with_new(New::Token),
        ours(
            "fingerprint_deny, new clients",
            "100,000 entries",
            &[DENIES],
        )?
        .with_new(New::Client),
        native(
            "tarpit, long list, new clients",
            "100,000 entries",
            vec![long_tarpit()?],
        )
        .with_new(New::Client),
        ours(
            "rate_limit, new clients",
            "six dimensions, five of them with a new key: each request asks",
            &["rate_limit"],
        )?
        .with_new(New::Client),
        ours(
            "quota, new clients",
            "a new tenant: each request asks",
            &["quota"],
        )?
        .with_new(New::Client),
        native(BARE_UPSTREAM, "Envoy without filters", vec![]).with_upstream(),
        ours(LEASED_UPSTREAM, "leased, 6 dimensions", &["rate_limit"])?.with_upstream(),
        ours("chain, 5 VMs, upstream", "", five)?.with_upstream(),
        one("chain, one VM, upstream", "", five)?.with_upstream(),
    ];
    if limiter.is_some() {
        variants.extend(with_a_limiter());
    }
    if Source::find().is_ok() {
        variants.extend(in_kong());
    }
    Ok(variants)
}

impl Variant {
    fn with_new(self, new: New) -> Self {
        Self { new, ..self }
    }

    fn with_end(mut self, by: End) -> Self {
        if let Host::Envoy { end, .. } = &mut self.host {
            *end = by;
        }
        self
    }

    fn with_upstream(self) -> Self {
        self.with_end(End::Upstream)
    }
}

fn native(name: &'static str, what: &'static str, filters: Vec<Value>) -> Variant {
    Variant {
        name,
        what,
        host: Host::Envoy {
            filters,
            end: End::Route,
        },
        new: New::Nothing,
        asks: Asks::Nobody,
        denies: false,
    }
}

/// Filters of ours, each in a virtual machine of its own.
fn ours(name: &'static str, what: &'static str, filters: &[&str]) -> Result<Variant, String> {
    let modules = (filters.iter())
        .map(|name| own(name, &options(name)))
        .collect::<Result<_, _>>()?;
    Ok(Variant {
        asks: asks(filters),
        denies: filters.contains(&DENIES),
        ..native(name, what, modules)
    })
}

/// Filters of ours as one module.
fn one(name: &'static str, what: &'static str, filters: &[&str]) -> Result<Variant, String> {
    let module = own("portcullis", &sections(filters))?;
    Ok(Variant {
        asks: asks(filters),
        denies: filters.contains(&DENIES),
        ..native(name, what, vec![module])
    })
}

/// Whom filters of ours ask while requests wait, or ahead of them.
fn asks(filters: &[&str]) -> Asks {
    if filters.contains(&"rate_limit") {
        Asks::RedisProxy
    } else {
        Asks::Nobody
    }
}

/// Envoy's own filter before an external limiter. It passes over routes that answer by themselves.
fn with_a_limiter() -> [Variant; 3] {
    let what = "native: six descriptors, each request asks the external limiter";
    let asks = |variant| Variant {
        asks: Asks::Limiter,
        ..variant
    };
    let asked = vec![native::ratelimit(), native::answers()];
    [
        native(
            BARE_ANSWERED,
            "Envoy's fault filter answers 200 itself",
            vec![native::answers()],
        )
        .with_end(End::Filter),
        asks(native(LIMITER, what, asked)).with_end(End::Filter),
        asks(native(LIMITER_UPSTREAM, what, vec![native::ratelimit()])).with_upstream(),
    ]
}

/// The same in Kong, beside what operators use there.
fn in_kong() -> Vec<Variant> {
    let variant = |name, what, filters: &[&str], plugins| Variant {
        name,
        what,
        asks: asks(filters),
        denies: filters.contains(&DENIES),
        host: Host::Kong(KongChain {
            filters: (filters.iter())
                .map(|name| json!({"name": name, "config": options(name)}))
                .collect(),
            plugins,
        }),
        new: New::Nothing,
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
        ..variant(
            "Kong, chain, one VM",
            "all five as one module",
            five,
            vec![],
        )
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
    let lists = service("list_service");
    match name {
        DENIES => json!({
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
            "proxy": asked(REDIS_PROXY),
            "trusted_proxies": ["127.0.0.0/8"],
            "rules": [{"match": {"prefix": "/v1"}, "on_failure": "deny", "limits": [
                {"dimension": "ip", "limit": LIMIT},
                {"dimension": "consumer", "limit": LIMIT},
                {"dimension": "tenant", "limit": LIMIT},
                {"dimension": "header", "header": "x-plan", "limit": LIMIT},
                {"dimension": "header", "header": "x-region", "limit": LIMIT},
                {"dimension": "global", "limit": LIMIT},
            ]}],
        }),
        "quota" => json!({
            "proxy": asked(QUOTAS),
            "rules": [{
                "match": {"prefix": "/v1"}, "mode": "enforce",
                "on_failure": "deny", "without_quota": "deny",
            }],
        }),
        _ => json!({}),
    }
}

/// Services by the names of their clusters.
pub const REDIS_PROXY: &str = "redis_proxy";
pub const QUOTAS: &str = "quota_service";
pub const LONG_TARPIT: &str = "long_tarpit";

fn service(name: &str) -> Value {
    json!({"upstream": name, "authority": name})
}

/// Nobody passes unasked: a request that is not answered in time is refused, and ends the run.
fn asked(name: &str) -> Value {
    let mut proxy = service(name);
    proxy["timeout"] = json!("1s");
    proxy
}

/// Of each dimension; nobody uses it up.
const LIMIT: &str = "100000/s";

pub const ISSUER: &str = "https://auth.example.com";
pub const AUDIENCE: &str = "orders";
pub const JWKS_PATH: &str = "/bench.json";

fn own(name: &str, options: &Value) -> Result<Value, String> {
    Ok(wasm(name, &artifacts::wasm(name)?, options))
}

/// A Wasm filter as Envoy is configured with it.
pub fn wasm(name: &str, module: &std::path::Path, options: &Value) -> Value {
    native::filter(
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
