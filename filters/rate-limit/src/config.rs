//! What the operator configures, and what is made of it.

use std::rc::Rc;

use ipnet::IpNet;
use policy::head::is_header_name;
use policy::proxy::RawProxy;
use policy::route::{Match, RawMatch};
use policy::{Configure, Problems, Service};
use serde::{Deserialize, Deserializer};
use wire::limits::{Limit, MAX_DIM_BYTES, Shape};
use wire::load::MAX_UPSTREAM_BYTES;
use wire::tiers::TENANT_DEFAULT;

use crate::dimension::{Source, Space};
use crate::limit_text::{BadLimit, Burst, Count, Spread};
use crate::rule::{Missing, OnFailure, Rule, RuleLimit};

/// The options of the filter.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Raw {
    /// The redis-proxy that keeps the counts.
    pub proxy: RawProxy,
    /// Which limits apply to which requests. Every rule that matches applies, and the strictest limit wins;
    /// of limits on the same dimension and scope only those of the first matching rule count.
    pub rules: Vec<RawRule>,
    /// Which request headers say who it is. The auth filter sets them and removes a client's own.
    #[serde(default)]
    pub identity: RawIdentity,
    /// Peers whose `X-Forwarded-For` is believed, as CIDRs.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<String>"))]
    pub trusted_proxies: Vec<IpNet>,
    /// An IPv6 client counts as its network of so many bits. 32 to 128.
    #[serde(default = "default_v6_prefix")]
    pub ipv6_prefix: u8,
    /// Keys to remember per worker; about 300 bytes each. The least recently used makes room. 1,000 to 1,000,000.
    #[serde(default = "default_capacity")]
    pub capacity: usize,
    /// Highest rate that any limit may allow, bursts left out: no rule can open the gate wider by mistake (R14).
    #[serde(default = "default_ceiling")]
    pub ceiling: String,
}

/// Request headers that the auth filter sets.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
pub struct RawIdentity {
    /// The value of the dimension `consumer`.
    pub consumer: String,
    /// The value of the dimension `api_key`.
    pub api_key: String,
    /// The value of the dimension `tenant`.
    pub tenant: String,
    /// The value of the dimension `operator`.
    pub operator: String,
}

impl Default for RawIdentity {
    fn default() -> Self {
        Self {
            consumer: "x-account-id".to_owned(),
            api_key: "x-api-key-id".to_owned(),
            tenant: "x-tenant-id".to_owned(),
            operator: "x-operator-id".to_owned(),
        }
    }
}

/// Limits for some requests.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RawRule {
    /// Which requests the rule is about; all unless given.
    #[serde(default)]
    pub r#match: RawMatch,
    /// The limits, all of them.
    pub limits: Vec<RawLimit>,
    /// The status of a refusal. 400 to 499.
    #[serde(default = "default_reject_status")]
    pub reject_status: u16,
    /// What becomes of a request when the limits cannot be known. By default `allow` for GET, HEAD and OPTIONS,
    /// `deny` for all others.
    #[serde(default)]
    pub on_failure: Option<RawOnFailure>,
    /// With `on_failure: local`, the share of each limit that one worker lets pass by itself, percent. 1 to 100.
    #[serde(default)]
    pub local_share: Option<u32>,
    /// Decide, count and log, but let pass.
    #[serde(default)]
    pub shadow: bool,
    /// The name of the upstream behind these requests. Its failures and latency are reported, and the limits shrink
    /// while it suffers, lowest tier first. Off unless given.
    #[serde(default)]
    pub adaptive: Option<String>,
}

/// What becomes of a request when the limits cannot be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(inline))]
pub enum RawOnFailure {
    Deny,
    Allow,
    Local,
}

/// One limit.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RawLimit {
    /// Whom it counts.
    pub dimension: RawDimension,
    /// How many: `1000/s`, `5/min`, `10/15min`, `1000/5min`; units `ms`, `s`, `min`, `h`, `d`. May be left out with
    /// `tiers`, which makes it `1000/s`.
    #[serde(default)]
    pub limit: Option<String>,
    /// Of a rate: `default` (twice the rate for ten seconds), `none`, or a number of requests that may come early.
    #[serde(default)]
    pub burst: RawBurst,
    /// `rate` spreads the requests evenly, `count` lets any of them come at once but never more in any period. A
    /// limit of up to a second is a rate unless this says otherwise, one above is a count.
    #[serde(default)]
    pub shape: Option<RawShape>,
    /// Limits of the same dimension with different scopes count apart. Lower-case letters, digits and `-`.
    #[serde(default)]
    pub scope: Option<String>,
    /// Of `header`, `claim` and `body`: the name of the dimension in keys and metrics; a header's is its own unless given.
    #[serde(default)]
    pub name: Option<String>,
    /// Of `header`: the header. Of `claim`: the header that the auth filter injects the claim into.
    #[serde(default)]
    pub header: Option<String>,
    /// Of `body`: where in the JSON body the value is (RFC 6901): `/account`.
    #[serde(default)]
    pub pointer: Option<String>,
    /// Of `body`: how much of the body is read, bytes. A longer body has no value. 64 to 65536.
    #[serde(default)]
    pub max_bytes: Option<usize>,
    /// Of `tenant`: whether the tenant's tier says what its limit is.
    #[serde(default)]
    pub tiers: bool,
    /// What becomes of a request without a value: `skip` the limit, or `deny` it with 400. By default `deny` for
    /// `body`, `skip` for all others.
    #[serde(default)]
    pub missing: Option<RawMissing>,
}

/// Whom a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(inline))]
pub enum RawDimension {
    Consumer,
    ApiKey,
    Tenant,
    Operator,
    Route,
    Ip,
    Global,
    Header,
    Claim,
    Body,
}

/// How the requests of a period may be spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(inline))]
pub enum RawShape {
    Rate,
    Count,
}

/// What becomes of a request without a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(inline))]
pub enum RawMissing {
    Skip,
    Deny,
}

/// What may exceed the even pace.
#[derive(Clone, Copy, Debug)]
pub struct RawBurst(Burst);

impl Default for RawBurst {
    fn default() -> Self {
        Self(Burst::Usual)
    }
}

impl<'de> Deserialize<'de> for RawBurst {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        match (value.as_str(), value.as_u64()) {
            (Some("default"), _) => Ok(Self(Burst::Usual)),
            (Some("none"), _) => Ok(Self(Burst::None)),
            (_, Some(requests)) => Ok(Self(Burst::Requests(requests))),
            _ => Err(serde::de::Error::custom(
                "must be \"default\", \"none\" or a number of requests",
            )),
        }
    }
}

#[cfg(feature = "schema")]
impl serde::Serialize for RawBurst {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Burst::Usual => serializer.serialize_str("default"),
            Burst::None => serializer.serialize_str("none"),
            Burst::Requests(requests) => serializer.serialize_u64(requests),
        }
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for RawBurst {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Burst".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": ["string", "integer"] })
    }

    fn inline_schema() -> bool {
        true
    }
}

fn default_v6_prefix() -> u8 {
    64
}
fn default_capacity() -> usize {
    50_000
}
fn default_ceiling() -> String {
    "100000/s".to_owned()
}
fn default_reject_status() -> u16 {
    429
}

/// How much of a body is read unless a limit says otherwise, bytes.
const DEFAULT_MAX_BYTES: usize = 4_096;
/// The share of a limit with `on_failure: local` unless the rule says otherwise, percent.
const DEFAULT_LOCAL_SHARE: u32 = 10;
/// Most pairs of dimension and scope.
const MAX_FAMILIES: usize = 128;
/// Most limits of all rules, so that the keys of one request fit into one call.
const MAX_LIMITS: usize = wire::limits::MAX_KEYS;
/// Names of dimensions that no header, claim or body value may take.
const RESERVED: [&str; 7] = [
    "consumer", "api_key", "tenant", "operator", "route", "ip", "global",
];

/// The checked configuration.
#[derive(Debug)]
pub struct Config {
    pub(crate) proxy: Service,
    pub(crate) rules: Vec<Rule>,
    pub(crate) spaces: Vec<Space>,
    /// The names that adaptive rules report under.
    pub(crate) upstreams: Vec<Rc<str>>,
    pub(crate) tenant_header: Rc<str>,
    pub(crate) trusted_proxies: Vec<IpNet>,
    pub(crate) ipv6_prefix: u8,
    pub(crate) capacity: usize,
    /// A limit asks for the tier table.
    pub(crate) has_tiers: bool,
}

impl Config {
    /// Whether any limit counts by a value of the body.
    pub(crate) fn reads_body(&self) -> bool {
        let by_body = |space: &Space| matches!(space.source, Source::Body { .. });
        self.spaces.iter().any(by_body)
    }
}

impl Configure for Config {
    type Raw = Raw;

    fn check(raw: Raw, problems: &mut Problems) -> Option<Self> {
        let proxy = raw.proxy.check("proxy", problems);
        if !(32..=128).contains(&raw.ipv6_prefix) {
            problems.say("ipv6_prefix", "must be between 32 and 128");
        }
        if !(1_000..=1_000_000).contains(&raw.capacity) {
            problems.say("capacity", "must be between 1000 and 1000000");
        }
        for (name, header) in [
            ("consumer", &raw.identity.consumer),
            ("api_key", &raw.identity.api_key),
            ("tenant", &raw.identity.tenant),
            ("operator", &raw.identity.operator),
        ] {
            if !is_header_name(header) {
                problems.say(format_args!("identity.{name}"), "is no header name");
            }
        }
        if raw.rules.is_empty() {
            problems.say("rules", "must not be empty: nothing would be limited");
        }
        let ceiling = problems.check("ceiling", raw.ceiling.parse::<Count>());
        let mut book = Book {
            identity: raw.identity,
            ceiling,
            spaces: Vec::new(),
            counts: Vec::new(),
            families: Vec::new(),
            upstreams: Vec::new(),
            limits: 0,
        };
        let rules: Vec<Rule> = raw
            .rules
            .into_iter()
            .enumerate()
            .map(|(index, rule)| check_rule(index, rule, &mut book, problems))
            .collect();
        if book.limits > MAX_LIMITS {
            problems.say(
                "rules",
                format_args!(
                    "have {} limits; at most {MAX_LIMITS} are possible",
                    book.limits
                ),
            );
        }
        if book.families.len() > MAX_FAMILIES {
            problems.say("rules", "have more than 128 dimensions and scopes");
        }
        let has_tiers = rules
            .iter()
            .flat_map(|rule| &rule.limits)
            .any(|limit| limit.tiers);
        problems.is_empty().then_some(Self {
            proxy,
            rules,
            spaces: book.spaces,
            upstreams: book.upstreams,
            tenant_header: book.identity.tenant.to_ascii_lowercase().into(),
            trusted_proxies: raw.trusted_proxies,
            ipv6_prefix: raw.ipv6_prefix,
            capacity: raw.capacity,
            has_tiers,
        })
    }
}

/// What is known of the rules so far.
struct Book {
    identity: RawIdentity,
    ceiling: Option<Count>,
    spaces: Vec<Space>,
    /// By the index of the space: the limit that was first given.
    counts: Vec<Given>,
    families: Vec<Rc<str>>,
    upstreams: Vec<Rc<str>>,
    limits: usize,
}

/// The limit of a count, and where it was given.
struct Given {
    limit: Limit,
    tiers: bool,
    at: String,
}

impl Given {
    /// Whether another limit of the same dimension has the same key in the store.
    fn shares_with(&self, other: &Limit) -> bool {
        let is_count = |limit: &Limit| matches!(limit.shape, Shape::Window {});
        self.limit.period_ms == other.period_ms && is_count(&self.limit) == is_count(other)
    }
}

fn check_rule(index: usize, raw: RawRule, book: &mut Book, problems: &mut Problems) -> Rule {
    let at = format!("rules[{index}]");
    if raw.limits.is_empty() {
        problems.say(format_args!("{at}.limits"), "must not be empty");
    }
    if !(400..=499).contains(&raw.reject_status) {
        problems.say(
            format_args!("{at}.reject_status"),
            "must be between 400 and 499",
        );
    }
    if raw.local_share.is_some() && raw.on_failure != Some(RawOnFailure::Local) {
        problems.say(
            format_args!("{at}.local_share"),
            "goes with on_failure: local",
        );
    }
    let percent = raw.local_share.unwrap_or(DEFAULT_LOCAL_SHARE);
    if !(1..=100).contains(&percent) {
        problems.say(
            format_args!("{at}.local_share"),
            "must be between 1 and 100",
        );
    }
    let on_failure = match raw.on_failure {
        None => OnFailure::ByMethod,
        Some(RawOnFailure::Deny) => OnFailure::Deny,
        Some(RawOnFailure::Allow) => OnFailure::Allow,
        Some(RawOnFailure::Local) => OnFailure::Local { percent },
    };
    let adaptive = raw.adaptive.and_then(|name| {
        if name.is_empty() || name.len() > MAX_UPSTREAM_BYTES {
            problems.say(
                format_args!("{at}.adaptive"),
                format_args!("must be a name of 1 to {MAX_UPSTREAM_BYTES} bytes"),
            );
            return None;
        }
        Some(index_of(&mut book.upstreams, name.into()))
    });
    let matches = Match::check(raw.r#match, &format!("{at}.match"), problems);
    let mut limits: Vec<RuleLimit> = Vec::new();
    for (index, limit) in raw.limits.into_iter().enumerate() {
        let at = format!("{at}.limits[{index}]");
        book.limits = book.limits.saturating_add(1);
        if let Some(limit) = check_limit(&at, limit, book, problems) {
            if limits.iter().any(|other| other.space == limit.space) {
                problems.say(&at, "counts the same as an earlier limit of the rule");
            }
            limits.push(limit);
        }
    }
    Rule {
        matches,
        limits,
        reject_status: raw.reject_status,
        on_failure,
        shadow: raw.shadow,
        adaptive,
    }
}

fn check_limit(
    at: &str,
    raw: RawLimit,
    book: &mut Book,
    problems: &mut Problems,
) -> Option<RuleLimit> {
    let space = check_dimension(at, &raw, &book.identity, problems);
    if raw.tiers && raw.dimension != RawDimension::Tenant {
        problems.say(format_args!("{at}.tiers"), "goes with dimension: tenant");
    }
    let limit = check_count(at, &raw, book.ceiling, problems);
    let (space, limit) = (space?, limit?);
    let if_missing = match (raw.missing, raw.dimension) {
        (Some(RawMissing::Deny), _) | (None, RawDimension::Body) => Missing::Deny,
        _ => Missing::Skip,
    };
    let family = index_of(&mut book.families, Rc::clone(&space.dim));
    let family = u32::try_from(family)
        .ok()
        .and_then(|bit| 1_u128.checked_shl(bit))
        .unwrap_or_default();
    if let Some(other) = book.spaces.iter().find(|other| other.dim == space.dim)
        && other.source != space.source
    {
        problems.say(
            at,
            format_args!(
                "names its dimension {} like another one of a different kind",
                space.dim
            ),
        );
    }
    let known = book
        .spaces
        .iter()
        .zip(&book.counts)
        .position(|(other, given)| other.dim == space.dim && given.shares_with(&limit));
    let index = match known {
        Some(index) => {
            // Routes differ in value where their limits differ.
            if let Some(given) = book.counts.get(index)
                && raw.dimension != RawDimension::Route
            {
                let what = if given.limit != limit {
                    Some("allows another number")
                } else if given.tiers != raw.tiers {
                    Some("has another value of tiers")
                } else {
                    None
                };
                if let Some(what) = what {
                    let whose = &given.at;
                    problems.say(
                        at,
                        format_args!(
                            "shares its count with {whose}, which {what}: give one of them a scope"
                        ),
                    );
                }
            }
            index
        }
        None => {
            book.spaces.push(space);
            book.counts.push(Given {
                limit,
                tiers: raw.tiers,
                at: at.to_owned(),
            });
            book.spaces.len().saturating_sub(1)
        }
    };
    Some(RuleLimit {
        space: u16::try_from(index).ok()?,
        family,
        limit,
        tiers: raw.tiers,
        if_missing,
    })
}

fn check_count(
    at: &str,
    raw: &RawLimit,
    ceiling: Option<Count>,
    problems: &mut Problems,
) -> Option<Limit> {
    let Some(text) = &raw.limit else {
        if raw.tiers {
            return Some(TENANT_DEFAULT);
        }
        problems.say(format_args!("{at}.limit"), "is missing");
        return None;
    };
    let count = problems.check(format_args!("{at}.limit"), text.parse::<Count>())?;
    if let Some(ceiling) = ceiling {
        let allowed = u128::from(ceiling.tokens).saturating_mul(u128::from(count.period_ms));
        let wanted = u128::from(count.tokens).saturating_mul(u128::from(ceiling.period_ms));
        if wanted > allowed {
            problems.say(
                format_args!("{at}.limit"),
                format_args!(
                    "is above the ceiling of {}/{}ms",
                    ceiling.tokens, ceiling.period_ms
                ),
            );
        }
    }
    let spread = match raw.shape {
        None => Spread::Usual,
        Some(RawShape::Rate) => Spread::Rate,
        Some(RawShape::Count) => Spread::Count,
    };
    let limit = count.limit(raw.burst.0, spread);
    let member = match limit {
        Err(BadLimit::BurstOfCount | BadLimit::BurstBelowRate) => "burst",
        _ => "limit",
    };
    problems.check(format_args!("{at}.{member}"), limit)
}

fn check_dimension(
    at: &str,
    raw: &RawLimit,
    identity: &RawIdentity,
    problems: &mut Problems,
) -> Option<Space> {
    use RawDimension as D;
    for (name, given, fits) in [
        (
            "name",
            raw.name.is_some(),
            matches!(raw.dimension, D::Header | D::Claim | D::Body),
        ),
        (
            "header",
            raw.header.is_some(),
            matches!(raw.dimension, D::Header | D::Claim),
        ),
        ("pointer", raw.pointer.is_some(), raw.dimension == D::Body),
        (
            "max_bytes",
            raw.max_bytes.is_some(),
            raw.dimension == D::Body,
        ),
    ] {
        if given && !fits {
            problems.say(
                format_args!("{at}.{name}"),
                "does not go with this dimension",
            );
        }
    }
    let header = |name: &str| Source::Header(name.to_ascii_lowercase().into());
    let (label, source) = match raw.dimension {
        D::Consumer => ("consumer".to_owned(), header(&identity.consumer)),
        D::ApiKey => ("api_key".to_owned(), header(&identity.api_key)),
        D::Tenant => ("tenant".to_owned(), header(&identity.tenant)),
        D::Operator => ("operator".to_owned(), header(&identity.operator)),
        D::Route => ("route".to_owned(), Source::Route),
        D::Ip => ("ip".to_owned(), Source::Ip),
        D::Global => ("global".to_owned(), Source::Global),
        D::Header | D::Claim => {
            let Some(name) = raw.header.as_deref().filter(|name| is_header_name(name)) else {
                problems.say(format_args!("{at}.header"), "must be a header name");
                return None;
            };
            let label = match (&raw.name, raw.dimension) {
                (Some(label), _) => label.clone(),
                (None, D::Header) => name.to_ascii_lowercase(),
                (None, _) => {
                    problems.say(
                        format_args!("{at}.name"),
                        "is missing: what the claim is called",
                    );
                    return None;
                }
            };
            (label, header(name))
        }
        D::Body => {
            let pointer = raw.pointer.clone().unwrap_or_default();
            if !pointer.starts_with('/') {
                problems.say(format_args!("{at}.pointer"), "must start with /");
            }
            let max_bytes = raw.max_bytes.unwrap_or(DEFAULT_MAX_BYTES);
            if !(64..=65_536).contains(&max_bytes) {
                problems.say(
                    format_args!("{at}.max_bytes"),
                    "must be between 64 and 65536",
                );
            }
            let Some(label) = raw.name.clone() else {
                problems.say(
                    format_args!("{at}.name"),
                    "is missing: what the value is called",
                );
                return None;
            };
            let pointer = pointer.into();
            (label, Source::Body { pointer, max_bytes })
        }
    };
    let own = matches!(raw.dimension, D::Header | D::Claim | D::Body);
    if own && (!is_word(&label) || RESERVED.contains(&label.as_str())) {
        problems.say(
            format_args!("{at}.name"),
            "must be of lower-case letters, digits, - and _, begin with a letter, and be no dimension of its own",
        );
        return None;
    }
    let dim = match &raw.scope {
        Some(scope) => {
            let word = !scope.is_empty()
                && scope
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
            if !word {
                problems.say(
                    format_args!("{at}.scope"),
                    "must be of lower-case letters, digits and -",
                );
            }
            format!("{label}-{scope}")
        }
        None => label.clone(),
    };
    if dim.len() > MAX_DIM_BYTES {
        problems.say(
            at,
            format_args!("its dimension and scope {dim} are longer than {MAX_DIM_BYTES} bytes"),
        );
    }
    Some(Space {
        dim: dim.into(),
        label: label.into(),
        source,
    })
}

fn index_of(names: &mut Vec<Rc<str>>, name: Rc<str>) -> usize {
    match names.iter().position(|known| *known == name) {
        Some(index) => index,
        None => {
            names.push(name);
            names.len().saturating_sub(1)
        }
    }
}

fn is_word(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
}

#[cfg(test)]
pub(crate) mod tests {
    use policy::Loaded;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn load(rules: &str) -> Result<Config, Vec<String>> {
        let text = format!(r#"{{"proxy":{{"upstream":"p","authority":"p"}},"rules":{rules}}}"#);
        Loaded::<Config>::parse(text.as_bytes())
            .map(|loaded| loaded.policy)
            .map_err(|errors| errors.lines("rate_limit").collect())
    }

    fn errors(rules: &str) -> String {
        load(rules).map(|_| ()).unwrap_err().join("\n")
    }

    #[test]
    fn every_problem_has_its_path() {
        for (limit, path) in [
            (r#""dimension":"ip","limit":"5/m""#, "limits[0].limit"),
            (r#""dimension":"ip","limit":"0/s""#, "limits[0].limit"),
            (r#""dimension":"ip","limit":"5/0min""#, "limits[0].limit"),
            (r#""dimension":"ip""#, "limits[0].limit"),
            (r#""dimension":"ip","limit":"100001/s""#, "limits[0].limit"),
            (
                r#""dimension":"route","limit":"200/s","burst":100"#,
                "limits[0].burst",
            ),
            (
                r#""dimension":"ip","limit":"5/min","burst":10"#,
                "limits[0].burst",
            ),
            (
                r#""dimension":"ip","limit":"5/s","burst":"huge""#,
                "limits[0].burst",
            ),
            (r#""dimension":"ip","tiers":true"#, "limits[0].tiers"),
            (
                r#""dimension":"body","limit":"5/s","pointer":"a","name":"account""#,
                "limits[0].pointer",
            ),
            (
                r#""dimension":"body","limit":"5/s","pointer":"/a""#,
                "limits[0].name",
            ),
            (r#""dimension":"header","limit":"5/s""#, "limits[0].header"),
            (
                r#""dimension":"header","limit":"5/s","header":"tenant""#,
                "limits[0].name",
            ),
            (
                r#""dimension":"ip","limit":"5/s","header":"x-a""#,
                "limits[0].header",
            ),
            (
                r#""dimension":"ip","limit":"5/s","scope":"A b""#,
                "limits[0].scope",
            ),
            (
                r#""dimension":"ip","limit":"5/s","shape":"odd""#,
                "limits[0].shape",
            ),
            (r#""dimension":"who","limit":"5/s""#, "limits[0].dimension"),
        ] {
            let found = errors(&format!(r#"[{{"limits":[{{{limit}}}]}}]"#));
            assert!(
                found.contains(&format!("rate_limit: rules[0].{path}")),
                "{limit}: {found}"
            );
        }
        let found = errors(r#"[{"limits":[],"reject_status":503,"local_share":5,"adaptive":""}]"#);
        for path in ["limits", "reject_status", "local_share", "adaptive"] {
            assert!(
                found.contains(&format!("rules[0].{path}")),
                "{path}: {found}"
            );
        }
    }

    #[test]
    fn limits_that_share_a_count_must_agree() {
        let rules = |second: &str| {
            format!(
                r#"[{{"match":{{"path":"/login"}},"limits":[{{"dimension":"ip","limit":"5/min"}}]}},
                    {{"limits":[{{"dimension":"ip",{second}}}]}}]"#
            )
        };
        assert!(
            errors(&rules(r#""limit":"100/min""#))
                .contains("shares its count with rules[0].limits[0]")
        );
        assert_eq!(load(&rules(r#""limit":"5/min""#)).unwrap().spaces.len(), 1);
        assert_eq!(
            load(&rules(r#""limit":"100/5min""#)).unwrap().spaces.len(),
            2
        );
        let scoped = load(&rules(r#""limit":"100/min","scope":"all""#)).unwrap();
        assert_eq!(&*scoped.spaces[1].dim, "ip-all");
        assert_eq!(&*scoped.spaces[1].label, "ip");
    }

    #[test]
    fn limits_that_share_a_count_are_both_of_the_tier_or_neither() {
        let rules = |second: &str| {
            format!(
                r#"[{{"match":{{"path":"/a"}},"limits":[{{"dimension":"tenant","limit":"1000/s"}}]}},
                    {{"limits":[{{"dimension":"tenant","limit":"1000/s"{second}}}]}}]"#
            )
        };
        let found = errors(&rules(r#","tiers":true"#));
        let problem = "rules[1].limits[0]: shares its count with rules[0].limits[0], which has another value of tiers";
        assert!(found.contains(problem), "{found}");
        for second in ["", r#","tiers":true,"scope":"other""#] {
            load(&rules(second)).unwrap();
        }
    }

    #[test]
    fn tiers_have_a_default() {
        let config = load(r#"[{"limits":[{"dimension":"tenant","tiers":true}]}]"#).unwrap();
        assert_eq!(config.rules[0].limits[0].limit, TENANT_DEFAULT);
        assert!(config.has_tiers);
    }
}
