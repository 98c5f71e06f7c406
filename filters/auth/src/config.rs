//! What the operator configures, and what is made of it.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::time::Duration;

use ipnet::IpNet;
use policy::callout::Upstream;
use policy::duration::Span;
use policy::head::is_header_name;
use policy::names::Names;
use policy::route::{Match, RawMatch};
use policy::{Configure, Problems, Secret, Service};
use serde::Deserialize;
use watchlist::RawListService;

use crate::credential::Source;
use crate::jwt::Expected;
use crate::rule::{ClaimRule, Method, Rule, Test};
use crate::signature::Algorithm;

/// The options of the filter.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Raw {
    /// Token issuers by a name of your choice, which rules refer to.
    #[serde(default)]
    pub providers: BTreeMap<String, RawProvider>,
    /// How API keys are presented and resolved. Without it no rule may accept API keys.
    #[serde(default)]
    pub api_keys: Option<RawApiKeys>,
    /// Who may pass where. The first rule that matches decides; a request that matches none is refused.
    pub rules: Vec<RawRule>,
    /// Refuses an address after too many failed authentications. Off unless given.
    #[serde(default)]
    pub failures: Option<RawFailures>,
    /// Peers whose `X-Forwarded-For` is believed, as CIDRs.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<String>"))]
    pub trusted_proxies: Vec<IpNet>,
    /// Further request headers that only the gateway may set; a client's own are removed on every
    /// route. Injected headers are always among them.
    #[serde(default)]
    pub identity_headers: Vec<String>,
    /// Verified tokens to remember per worker; about 600 bytes each. 0 remembers none. At most 1,000,000.
    #[serde(default = "default_token_cache")]
    pub token_cache: usize,
    /// Who checks signatures: `auto` uses the gateway's own crypto where it has any, `pure` never.
    #[serde(default)]
    pub crypto: RawCrypto,
}

/// An issuer of tokens.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RawProvider {
    /// The exact `iss` of its tokens.
    pub issuer: String,
    /// Accepted audiences; `aud` must contain one of them.
    pub audiences: Vec<String>,
    /// Accepted signature algorithms: `RS256`, `ES256`, `EdDSA`.
    #[serde(default = "default_algorithms")]
    pub algorithms: Vec<String>,
    /// Where its public keys are.
    pub jwks: RawJwks,
    /// How far the issuer's clock may be off. At most 5m.
    #[serde(default = "default_skew")]
    pub clock_skew: Span,
    /// Oldest `iat` that is accepted; `null` for no bound, which also makes `iat` optional.
    #[serde(default = "default_max_age")]
    pub max_age: Option<Span>,
    /// Whether `tid` must be a non-empty string.
    #[serde(default = "default_true")]
    pub require_tid: bool,
    /// Where to look for a token.
    #[serde(default = "default_sources")]
    pub token_from: Vec<RawSource>,
    /// Headers for the upstream and the claims they come from; a dot reaches into an object.
    #[serde(default = "default_inject")]
    pub inject: BTreeMap<String, String>,
    /// Longest token that is looked at, in bytes. 256 to 65536.
    #[serde(default = "default_max_token_bytes")]
    pub max_token_bytes: usize,
}

/// One place of a token: exactly one of `header`, `query`, `cookie`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
pub struct RawSource {
    /// A request header.
    pub header: Option<String>,
    /// The authentication scheme before the token in that header, such as `Bearer`.
    pub scheme: Option<String>,
    /// A query parameter.
    pub query: Option<String>,
    /// A cookie.
    pub cookie: Option<String>,
}

/// A JWK Set (RFC 7517) behind the gateway.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RawJwks {
    /// Envoy: a cluster name. Kong: `host:port`.
    pub upstream: String,
    /// The `Host` to ask for.
    pub authority: String,
    /// The path of the set.
    #[serde(default = "default_jwks_path")]
    pub path: String,
    /// How long fetched keys serve. 1s to 24h. They are fetched anew when a tenth of it is left.
    #[serde(default = "default_ttl")]
    pub ttl: Span,
    /// Longest wait for the source. 10ms to 30s.
    #[serde(default = "default_timeout")]
    pub timeout: Span,
    /// Least time between fetches that unknown key ids cause. 100ms to 1h.
    #[serde(default = "default_cooldown")]
    pub refetch_cooldown: Span,
}

/// API keys.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RawApiKeys {
    /// The request header that carries the key.
    #[serde(default = "default_key_header")]
    pub header: String,
    /// What a key must begin with.
    #[serde(default = "default_prefixes")]
    pub prefixes: Vec<String>,
    /// Envoy: a cluster name. Kong: `host:port`.
    pub upstream: String,
    /// The `Host` to ask for.
    pub authority: String,
    /// The path of the resolver.
    #[serde(default = "default_resolve_path")]
    pub path: String,
    /// Sent to the resolver as `Authorization: Bearer`. Swapped by reloading the configuration.
    pub service_token: Secret,
    /// Longest wait for the resolver. 10ms to 30s.
    #[serde(default = "default_timeout")]
    pub timeout: Span,
    /// How long an answer is remembered, good or bad. 1s to 5m.
    #[serde(default = "default_key_ttl")]
    pub ttl: Span,
    /// Keys to remember per worker; about 400 bytes each. 1 to 1,000,000.
    #[serde(default = "default_key_capacity")]
    pub capacity: usize,
    /// The redis-proxy that keeps the list `revoked`: what is remembered of a key on it is forgotten at once, rather
    /// than when its `ttl` ends. Off unless given.
    #[serde(default)]
    pub revocations: Option<RawListService>,
}

/// Who may pass.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RawRule {
    /// Which requests the rule is about.
    pub r#match: RawMatch,
    /// Lets everybody pass.
    pub public: bool,
    /// Accepted credentials.
    pub any_of: Vec<RawMethod>,
    /// Whether the upstream sees the token. An API key it never sees.
    pub forward_credential: bool,
    /// What the claims of the token must say; 403 otherwise.
    pub claims: Vec<RawClaimRule>,
}

/// One accepted kind of credential; exactly one of `jwt`, `api_key`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RawMethod {
    /// A token of this provider.
    pub jwt: Option<String>,
    /// An API key.
    pub api_key: bool,
}

/// A requirement on one claim; exactly one of `equals`, `contains`, `one_of`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RawClaimRule {
    /// The claim; a dot reaches into an object.
    pub claim: String,
    /// It is this string.
    pub equals: Option<String>,
    /// It is an array with this string, or a space-separated string with this word.
    pub contains: Option<String>,
    /// It is one of these strings.
    pub one_of: Option<Vec<String>>,
}

/// When an address is refused for a while.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RawFailures {
    /// Failed authentications of one address per window and worker before it gets 429. 1 to 1,000,000.
    pub limit: u32,
    /// The window. 1s to 24h.
    #[serde(default = "default_failure_window")]
    pub window: Span,
    /// Addresses to remember per worker; about 150 bytes each. An IPv6 client counts as its /64. 1 to 1,000,000.
    #[serde(default = "default_failure_capacity")]
    pub capacity: usize,
}

/// Who checks signatures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema, serde::Serialize),
    schemars(inline)
)]
pub enum RawCrypto {
    #[default]
    Auto,
    Pure,
}

fn default_true() -> bool {
    true
}
fn default_token_cache() -> usize {
    4_096
}
fn default_algorithms() -> Vec<String> {
    vec!["RS256".to_owned()]
}
fn default_skew() -> Span {
    Span::secs(0)
}
#[allow(clippy::unnecessary_wraps)]
fn default_max_age() -> Option<Span> {
    Some(Span::secs(86_400))
}
fn default_sources() -> Vec<RawSource> {
    vec![RawSource {
        header: Some("authorization".to_owned()),
        scheme: Some("Bearer".to_owned()),
        ..RawSource::default()
    }]
}
fn default_inject() -> BTreeMap<String, String> {
    // Not collected: that sorts, and a sort is 5 KB of a module for each type.
    let mut inject = BTreeMap::new();
    for (header, claim) in [
        ("x-account-id", "account_id"),
        ("x-tenant-id", "tid"),
        ("x-tier", "tier"),
        ("x-user-id", "sub"),
    ] {
        inject.insert(header.to_owned(), claim.to_owned());
    }
    inject
}
fn default_max_token_bytes() -> usize {
    8_192
}
fn default_jwks_path() -> String {
    "/.well-known/jwks.json".to_owned()
}
fn default_ttl() -> Span {
    Span::secs(300)
}
fn default_timeout() -> Span {
    Span::secs(2)
}
fn default_cooldown() -> Span {
    Span::secs(10)
}
fn default_key_header() -> String {
    "x-api-key".to_owned()
}
fn default_prefixes() -> Vec<String> {
    vec!["gk_live_".to_owned(), "gk_test_".to_owned()]
}
fn default_resolve_path() -> String {
    wire::api_keys::RESOLVE_PATH.to_owned()
}
fn default_key_ttl() -> Span {
    Span::secs(60)
}
fn default_key_capacity() -> usize {
    10_000
}
fn default_failure_window() -> Span {
    Span::secs(60)
}
fn default_failure_capacity() -> usize {
    10_000
}

/// Identity headers that no client may set, whether or not the filter injects them.
const ALWAYS_REMOVED: [&str; 5] = [
    "x-account-id",
    "x-api-key-id",
    "x-tenant-id",
    "x-tier",
    "x-user-id",
];

/// The checked configuration.
#[derive(Debug)]
pub struct Config {
    pub(crate) providers: Vec<Provider>,
    pub(crate) api_keys: Option<ApiKeys>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) failures: Option<Failures>,
    pub(crate) trusted_proxies: Vec<IpNet>,
    pub(crate) identity_headers: Names,
    pub(crate) token_cache: Option<NonZeroUsize>,
    pub(crate) host_crypto: bool,
}

#[derive(Debug)]
pub(crate) struct Provider {
    pub name: Rc<str>,
    pub expected: Expected,
    pub algorithms: Vec<Algorithm>,
    pub jwks: Jwks,
    pub sources: Vec<Source>,
    pub inject: Vec<(Rc<str>, String)>,
    pub max_token_bytes: usize,
}

#[derive(Debug)]
pub(crate) struct Jwks {
    pub upstream: Upstream,
    pub path: Rc<str>,
    pub ttl: Duration,
    pub timeout: Duration,
    pub refetch_cooldown: Duration,
}

impl Jwks {
    /// How long before they expire the keys are fetched anew: a tenth of their time.
    pub fn refresh_ahead(&self) -> Duration {
        self.ttl.checked_div(10).unwrap_or_default()
    }
}

#[derive(Debug)]
pub(crate) struct ApiKeys {
    pub header: Rc<str>,
    pub prefixes: Vec<String>,
    pub upstream: Upstream,
    pub path: Rc<str>,
    pub service_token: Secret,
    pub timeout: Duration,
    pub ttl: Duration,
    pub capacity: NonZeroUsize,
    pub revocations: Option<Service>,
}

#[derive(Debug)]
pub(crate) struct Failures {
    pub limit: u32,
    pub window: Duration,
    pub capacity: NonZeroUsize,
}

impl Configure for Config {
    type Raw = Raw;

    fn check(raw: Raw, problems: &mut Problems) -> Option<Self> {
        let names: Vec<String> = raw.providers.keys().cloned().collect();
        let api_keys_given = raw.api_keys.is_some();
        let providers: Vec<_> = raw
            .providers
            .into_iter()
            .filter_map(|(name, provider)| check_provider(&name, provider, problems))
            .collect();
        let api_keys = raw
            .api_keys
            .and_then(|api_keys| check_api_keys(api_keys, problems));
        if raw.rules.is_empty() {
            problems.say("rules", "must not be empty: every request would be refused");
        }
        let rules = raw
            .rules
            .into_iter()
            .enumerate()
            .map(|(index, rule)| check_rule(index, rule, &names, api_keys_given, problems))
            .collect();
        let failures = raw.failures.and_then(|failures| {
            within("failures.limit", failures.limit, 1, 1_000_000, problems);
            span(
                "failures.window",
                failures.window,
                Span::secs(1),
                Span::secs(86_400),
                problems,
            );
            Some(Failures {
                limit: failures.limit,
                window: failures.window.0,
                capacity: capacity("failures.capacity", failures.capacity, problems)?,
            })
        });
        if raw.token_cache > 1_000_000 {
            problems.say("token_cache", "must be between 0 and 1000000");
        }
        let mut identity_headers: Vec<Rc<str>> = ALWAYS_REMOVED.into_iter().map(Rc::from).collect();
        for (index, header) in raw.identity_headers.iter().enumerate() {
            if is_header_name(header) {
                identity_headers.push(header.to_ascii_lowercase().into());
            } else {
                problems.say(
                    format_args!("identity_headers[{index}]"),
                    "is no header name",
                );
            }
        }
        for provider in &providers {
            identity_headers.extend(provider.inject.iter().map(|(header, _)| Rc::clone(header)));
        }
        problems.is_empty().then_some(Self {
            providers,
            api_keys,
            rules,
            failures,
            trusted_proxies: raw.trusted_proxies,
            identity_headers: Names::new(identity_headers.iter().map(|name| &**name)),
            token_cache: NonZeroUsize::new(raw.token_cache),
            host_crypto: raw.crypto == RawCrypto::Auto,
        })
    }
}

fn check_provider(name: &str, raw: RawProvider, problems: &mut Problems) -> Option<Provider> {
    let at = format!("providers.{name}");
    let word = !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if !word {
        problems.say(&at, "the name must be of letters, digits, _ and -");
    }
    not_empty(&format!("{at}.issuer"), &raw.issuer, problems);
    if raw.audiences.is_empty() || raw.audiences.iter().any(String::is_empty) {
        problems.say(
            format_args!("{at}.audiences"),
            "must name at least one audience, none empty",
        );
    }
    if raw.algorithms.is_empty() {
        problems.say(format_args!("{at}.algorithms"), "must not be empty");
    }
    let algorithms = raw
        .algorithms
        .iter()
        .enumerate()
        .filter_map(|(index, algorithm)| {
            let found = Algorithm::from_name(algorithm);
            if found.is_none() {
                problems.say(
                    format_args!("{at}.algorithms[{index}]"),
                    "must be RS256, ES256 or EdDSA",
                );
            }
            found
        })
        .collect();
    span(
        &format!("{at}.clock_skew"),
        raw.clock_skew,
        Span::secs(0),
        Span::secs(300),
        problems,
    );
    if raw.token_from.is_empty() {
        problems.say(format_args!("{at}.token_from"), "must not be empty");
    }
    let sources = raw
        .token_from
        .into_iter()
        .enumerate()
        .filter_map(|(index, source)| {
            check_source(&format!("{at}.token_from[{index}]"), source, problems)
        })
        .collect();
    let mut inject = Vec::new();
    for (header, claim) in raw.inject {
        let at = format!("{at}.inject.{header}");
        if !is_header_name(&header) {
            problems.say(&at, "is no header name");
        }
        not_empty(&at, &claim, problems);
        inject.push((header.to_ascii_lowercase().into(), claim));
    }
    within(
        &format!("{at}.max_token_bytes"),
        raw.max_token_bytes,
        256,
        65_536,
        problems,
    );
    let jwks = check_jwks(&format!("{at}.jwks"), raw.jwks, problems);
    Some(Provider {
        name: name.into(),
        expected: Expected {
            issuer: raw.issuer,
            audiences: raw.audiences,
            clock_skew: raw.clock_skew.0,
            max_age: raw.max_age.map(|span| span.0),
            require_tid: raw.require_tid,
        },
        algorithms,
        jwks,
        sources,
        inject,
        max_token_bytes: raw.max_token_bytes,
    })
}

fn check_source(at: &str, raw: RawSource, problems: &mut Problems) -> Option<Source> {
    let checked = match (raw.header, raw.query, raw.cookie, raw.scheme) {
        (Some(name), None, None, scheme) if is_header_name(&name) => Ok(Source::Header {
            name: name.to_ascii_lowercase().into(),
            scheme: scheme.map(Into::into),
        }),
        (Some(_), None, None, _) => Err("header: is no header name"),
        (None, Some(name), None, None) if !name.is_empty() => Ok(Source::Query(name.into())),
        (None, None, Some(name), None) if is_header_name(&name) => Ok(Source::Cookie(name.into())),
        (None, None, Some(_), None) => Err("cookie: is no cookie name"),
        _ => Err("must have exactly one of header, query, cookie; scheme goes with header"),
    };
    problems.check(at, checked)
}

fn check_jwks(at: &str, raw: RawJwks, problems: &mut Problems) -> Jwks {
    span(
        &format!("{at}.ttl"),
        raw.ttl,
        Span::secs(1),
        Span::secs(86_400),
        problems,
    );
    check_timeout(at, raw.timeout, problems);
    span(
        &format!("{at}.refetch_cooldown"),
        raw.refetch_cooldown,
        Span::millis(100),
        Span::secs(3_600),
        problems,
    );
    Jwks {
        upstream: check_upstream(at, &raw.upstream, &raw.authority, problems),
        path: check_path(at, &raw.path, problems),
        ttl: raw.ttl.0,
        timeout: raw.timeout.0,
        refetch_cooldown: raw.refetch_cooldown.0,
    }
}

fn check_api_keys(raw: RawApiKeys, problems: &mut Problems) -> Option<ApiKeys> {
    let at = "api_keys";
    if !is_header_name(&raw.header) {
        problems.say(format_args!("{at}.header"), "is no header name");
    }
    if raw.prefixes.is_empty() || raw.prefixes.iter().any(String::is_empty) {
        problems.say(
            format_args!("{at}.prefixes"),
            "must name at least one prefix, none empty",
        );
    }
    let token = raw.service_token.expose();
    if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
        problems.say(
            format_args!("{at}.service_token"),
            "must be of visible ASCII characters, without spaces",
        );
    }
    check_timeout(at, raw.timeout, problems);
    span(
        &format!("{at}.ttl"),
        raw.ttl,
        Span::secs(1),
        Span::secs(300),
        problems,
    );
    Some(ApiKeys {
        header: raw.header.to_ascii_lowercase().into(),
        prefixes: raw.prefixes,
        upstream: check_upstream(at, &raw.upstream, &raw.authority, problems),
        path: check_path(at, &raw.path, problems),
        service_token: raw.service_token,
        timeout: raw.timeout.0,
        ttl: raw.ttl.0,
        revocations: raw
            .revocations
            .map(|raw| raw.check("api_keys.revocations", problems)),
        capacity: capacity("api_keys.capacity", raw.capacity, problems)?,
    })
}

fn check_rule(
    index: usize,
    raw: RawRule,
    providers: &[String],
    api_keys: bool,
    problems: &mut Problems,
) -> Rule {
    let at = format!("rules[{index}]");
    if raw.public && !(raw.any_of.is_empty() && raw.claims.is_empty()) {
        problems.say(&at, "is public, so any_of and claims have no place in it");
    }
    if !raw.public && raw.any_of.is_empty() {
        problems.say(&at, "needs any_of, or public: true");
    }
    let methods: Vec<Method> = raw
        .any_of
        .into_iter()
        .enumerate()
        .filter_map(|(index, method)| {
            let at = format!("{at}.any_of[{index}]");
            let checked = match (method.jwt, method.api_key) {
                (Some(name), false) => providers
                    .iter()
                    .position(|provider| *provider == name)
                    .map(Method::Jwt)
                    .ok_or("jwt: there is no such provider"),
                (None, true) if api_keys => Ok(Method::ApiKey),
                (None, true) => Err("api_key: needs api_keys to be configured"),
                _ => Err("must have exactly one of jwt, api_key"),
            };
            problems.check(at, checked)
        })
        .collect();
    if !raw.claims.is_empty() && methods.contains(&Method::ApiKey) {
        problems.say(
            format_args!("{at}.claims"),
            "an API key has no claims: give it a rule of its own",
        );
    }
    let claims = raw
        .claims
        .into_iter()
        .enumerate()
        .filter_map(|(index, claim)| {
            let at = format!("{at}.claims[{index}]");
            not_empty(&format!("{at}.claim"), &claim.claim, problems);
            let test = match (claim.equals, claim.contains, claim.one_of) {
                (Some(value), None, None) => Ok(Test::OneOf(vec![value])),
                (None, Some(value), None) => Ok(Test::Contains(value)),
                (None, None, Some(values)) if !values.is_empty() => Ok(Test::OneOf(values)),
                _ => Err("must have exactly one of equals, contains, one_of"),
            };
            Some(ClaimRule {
                claim: claim.claim,
                test: problems.check(&at, test)?,
            })
        })
        .collect();
    Rule {
        matches: Match::check(raw.r#match, &format!("{at}.match"), problems),
        public: raw.public,
        methods,
        forward_credential: raw.forward_credential,
        claims,
    }
}

fn check_upstream(at: &str, target: &str, authority: &str, problems: &mut Problems) -> Upstream {
    not_empty(&format!("{at}.upstream"), target, problems);
    let fits = !authority.is_empty() && authority.bytes().all(|b| b.is_ascii_graphic());
    if !fits {
        problems.say(format_args!("{at}.authority"), "must be a host name");
    }
    Upstream {
        target: target.into(),
        authority: authority.into(),
    }
}

fn check_path(at: &str, path: &str, problems: &mut Problems) -> Rc<str> {
    if !path.starts_with('/') || !path.bytes().all(|b| b.is_ascii_graphic()) {
        problems.say(
            format_args!("{at}.path"),
            "must start with / and have no spaces",
        );
    }
    path.into()
}

fn check_timeout(at: &str, timeout: Span, problems: &mut Problems) {
    span(
        &format!("{at}.timeout"),
        timeout,
        Span::millis(10),
        Span::secs(30),
        problems,
    );
}

fn span(at: &str, value: Span, least: Span, most: Span, problems: &mut Problems) {
    if value < least || value > most {
        problems.say(
            at,
            format_args!("must be between {:?} and {:?}", least.0, most.0),
        );
    }
}

fn within<N: PartialOrd + std::fmt::Display>(
    at: &str,
    value: N,
    least: N,
    most: N,
    problems: &mut Problems,
) {
    if value < least || value > most {
        problems.say(at, format_args!("must be between {least} and {most}"));
    }
}

fn capacity(at: &str, value: usize, problems: &mut Problems) -> Option<NonZeroUsize> {
    within(at, value, 1, 1_000_000, problems);
    NonZeroUsize::new(value)
}

fn not_empty(at: &str, value: &str, problems: &mut Problems) {
    if value.is_empty() {
        problems.say(at, "must not be empty");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::Loaded;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn errors(text: &str) -> Vec<String> {
        match Loaded::<Config>::parse(text.as_bytes()) {
            Ok(_) => Vec::new(),
            Err(errors) => errors.lines("auth").collect(),
        }
    }

    #[test]
    fn the_least_configuration_has_the_documented_defaults() {
        let config = Loaded::<Config>::parse(
            br#"{"providers":{"staff":{"issuer":"https://i","audiences":["a"],
                 "jwks":{"upstream":"u","authority":"u"}}},
                 "rules":[{"any_of":[{"jwt":"staff"}]}]}"#,
        )
        .unwrap()
        .policy;
        let staff = &config.providers[0];
        assert_eq!(staff.algorithms, [Algorithm::Rs256]);
        assert_eq!(staff.expected.max_age, Some(Duration::from_secs(86_400)));
        assert_eq!(staff.expected.clock_skew, Duration::ZERO);
        assert!(staff.expected.require_tid);
        assert_eq!(staff.jwks.ttl, Duration::from_secs(300));
        assert!(config.failures.is_none());
        assert!(config.identity_headers.has(b"x-api-key-id"));
    }

    #[test]
    fn every_mistake_is_named_with_its_path() {
        let found = errors(
            r#"{"providers":{"st aff":{"issuer":"","audiences":[],"algorithms":["HS256","none"],
                 "clock_skew":"1h","token_from":[{"header":"authorization","query":"t"}],
                 "inject":{"bad header":"sub"},"max_token_bytes":1,
                 "jwks":{"upstream":"","authority":"a b","path":"x","ttl":"0s","timeout":"1h"}}},
                "api_keys":{"upstream":"u","authority":"u","service_token":"top secret","prefixes":[],"capacity":0},
                "rules":[{"public":true,"any_of":[{"jwt":"nobody"}]},{},
                         {"any_of":[{"api_key":true}],"claims":[{"claim":"role"}]}],
                "failures":{"limit":0},"identity_headers":["a:b"],"trusted_proxies":["10.0.0.0/33"]}"#,
        );
        for at in [
            "providers.st aff: the name",
            "providers.st aff.issuer",
            "providers.st aff.audiences",
            "providers.st aff.algorithms[0]: must be RS256, ES256 or EdDSA",
            "providers.st aff.algorithms[1]",
            "providers.st aff.clock_skew",
            "providers.st aff.token_from[0]",
            "providers.st aff.inject.bad header",
            "providers.st aff.max_token_bytes",
            "providers.st aff.jwks.upstream",
            "providers.st aff.jwks.authority",
            "providers.st aff.jwks.path",
            "providers.st aff.jwks.ttl",
            "providers.st aff.jwks.timeout",
            "api_keys.service_token",
            "api_keys.prefixes",
            "api_keys.capacity",
            "rules[0]: is public",
            "rules[0].any_of[0]: jwt: there is no such provider",
            "rules[1]: needs any_of",
            "rules[2].claims: an API key has no claims",
            "rules[2].claims[0]: must have exactly one",
            "failures.limit",
            "identity_headers[0]",
            "trusted_proxies[0]",
        ] {
            assert!(
                found
                    .iter()
                    .any(|line| line.starts_with(&format!("auth: {at}"))),
                "{at} is missing in {found:#?}"
            );
        }
        assert!(!found.iter().any(|line| line.contains("top secret")));
    }

    #[test]
    fn a_secret_of_the_wrong_type_is_not_shown() {
        let found = errors(
            r#"{"rules":[{"public":true}],"api_keys":{"upstream":"u","authority":"u","service_token":987654321}}"#,
        );
        assert_eq!(found, ["auth: api_keys.service_token: must be a string"]);
    }
}
