//! Envoy's own filters, which ours are measured beside.

use serde_json::{Value, json};

use crate::limiter;
use crate::variant::{AUDIENCE, ISSUER};

/// The six dimensions of our `rate_limit`, as descriptors: what each is called, and the request header that has it.
const DESCRIPTORS: [(&str, &str); 5] = [
    ("ip", "x-forwarded-for"),
    ("consumer", "x-account-id"),
    ("tenant", "x-tenant-id"),
    ("x-plan", "x-plan"),
    ("x-region", "x-region"),
];
/// The sixth, for everybody together.
const EVERYBODY: &str = "global";

/// A filter that Envoy has by itself.
pub fn filter(kind: &str, mut config: Value) -> Value {
    config["@type"] = json!(format!(
        "type.googleapis.com/envoy.extensions.filters.http.{kind}"
    ));
    json!({"name": kind, "typed_config": config})
}

pub fn jwt_authn(jwks: &str, cached: bool) -> Value {
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
    filter(
        "jwt_authn.v3.JwtAuthentication",
        json!({
            "providers": {"bench": provider},
            "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "bench"}}],
        }),
    )
}

pub fn local_ratelimit() -> Value {
    let always = json!({"default_value": {"numerator": 100, "denominator": "HUNDRED"}});
    filter(
        "local_ratelimit.v3.LocalRateLimit",
        json!({
            "stat_prefix": "bench",
            "token_bucket": {"max_tokens": 1_000_000, "tokens_per_fill": 1_000_000, "fill_interval": "1s"},
            "filter_enabled": always,
            "filter_enforced": always,
        }),
    )
}

pub fn rbac() -> Value {
    let principals: Vec<Value> = (0..100)
        .map(|n| json!({"direct_remote_ip": {"address_prefix": format!("192.0.2.{n}"), "prefix_len": 32}}))
        .collect();
    filter(
        "rbac.v3.RBAC",
        json!({"rules": {"action": "DENY", "policies": {"listed": {
            "permissions": [{"any": true}],
            "principals": principals,
        }}}}),
    )
}

/// Asks the external limiter about each request. Who is not answered is refused, so that a limiter that is away is not
/// taken for a fast one.
pub fn ratelimit() -> Value {
    let of_headers = DESCRIPTORS.map(
        |(key, header)| json!({"request_headers": {"header_name": header, "descriptor_key": key}}),
    );
    let everybody = json!({"generic_key": {
        "descriptor_key": EVERYBODY, "descriptor_value": EVERYBODY,
    }});
    let limits: Vec<Value> = (of_headers.into_iter().chain([everybody]))
        .map(|action| json!({"actions": [action]}))
        .collect();
    filter(
        "ratelimit.v3.RateLimit",
        json!({
            "domain": limiter::DOMAIN,
            "failure_mode_deny": true,
            "timeout": "1s",
            "rate_limits": limits,
            "rate_limit_service": {
                "transport_api_version": "V3",
                "grpc_service": {"envoy_grpc": {"cluster_name": limiter::CLUSTER}},
            },
        }),
    )
}

/// Answers every request: `ratelimit` passes over routes that answer by themselves.
pub fn answers() -> Value {
    filter(
        "fault.v3.HTTPFault",
        json!({"abort": {
            "http_status": 200,
            "percentage": {"numerator": 100, "denominator": "HUNDRED"},
        }}),
    )
}
