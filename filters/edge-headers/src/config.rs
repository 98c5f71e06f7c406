//! What the operator configures, and what is made of it.

use std::collections::BTreeMap;
use std::rc::Rc;

use ipnet::IpNet;
use policy::duration::Span;
use policy::effects::is_header_value;
use policy::head::is_header_name;
use policy::names::Names;
use policy::route::{Match, RawMatch};
use policy::{Configure, Problems};
use serde::Deserialize;

use crate::required::{Header, Required};

/// The options of the filter.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Raw {
    /// The value of `X-Gateway-Source`, by which upstreams know what came through the gateway (H2). Whatever the client
    /// sent under that name is overwritten.
    #[serde(default = "default_source")]
    pub source: String,
    /// Edits of the request.
    #[serde(default)]
    pub request: RawRequest,
    /// Edits of the response.
    #[serde(default)]
    pub response: RawResponse,
    /// Headers that requests must have (H6). All rules that match hold.
    #[serde(default)]
    pub required: Vec<RawRequired>,
    /// Peers whose `X-Forwarded-Proto` is believed, as CIDRs: load balancers that end TLS before the gateway.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<String>"))]
    pub trusted_proxies: Vec<IpNet>,
}

/// Edits of the request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
pub struct RawRequest {
    /// Headers that are removed: whatever a client says there is not to be believed (H1). `_` counts as `-`.
    pub remove: Vec<String>,
    /// Headers by which the gateway tells upstreams who the client is; a client's own are removed (H1).
    pub identity: Vec<String>,
    /// Headers to set, whatever the client sent.
    pub set: BTreeMap<String, String>,
}

impl Default for RawRequest {
    fn default() -> Self {
        Self {
            remove: owned(&["x-forwarded-host", "server", "x-powered-by"]),
            identity: owned(&[
                "x-account-id",
                "x-api-key-id",
                "x-consumer-id",
                "x-operator-id",
                "x-tenant-id",
                "x-tier",
                "x-user-id",
            ]),
            set: BTreeMap::new(),
        }
    }
}

/// Edits of the response.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
pub struct RawResponse {
    /// Headers that are removed, because they tell about servers (H3). `_` counts as `-`.
    pub remove: Vec<String>,
    /// Headers to set, whatever the upstream sent.
    pub set: BTreeMap<String, String>,
    /// `Strict-Transport-Security` for clients that came over TLS (H4, RFC 6797); `null` sends none.
    pub hsts: Option<RawHsts>,
    /// Whether clients are told `X-Request-Id` (H5).
    pub request_id: bool,
}

impl Default for RawResponse {
    fn default() -> Self {
        Self {
            remove: owned(&[
                "server",
                "x-powered-by",
                "via",
                "x-aspnet-version",
                "x-aspnetmvc-version",
            ]),
            set: BTreeMap::new(),
            hsts: Some(RawHsts::default()),
            request_id: true,
        }
    }
}

/// `Strict-Transport-Security`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
pub struct RawHsts {
    /// How long browsers keep to TLS. Whole seconds; at least `365d` with `preload`, `0s` takes it back.
    pub max_age: Span,
    /// Also for all subdomains.
    pub include_subdomains: bool,
    /// Agrees to be on the list that browsers ship with.
    pub preload: bool,
}

impl Default for RawHsts {
    fn default() -> Self {
        Self {
            max_age: Span::secs(31_536_000),
            include_subdomains: true,
            preload: true,
        }
    }
}

/// Headers that some requests must have.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RawRequired {
    /// Which requests the rule is about; all unless given.
    #[serde(default)]
    pub r#match: RawMatch,
    /// The headers, each exactly once and not empty.
    pub headers: Vec<RawHeader>,
}

/// A header that must be there.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RawHeader {
    /// Its name.
    pub name: String,
    /// The claim of the bearer token that it must equal, such as `tid`. The token is read unverified, so the `auth`
    /// filter has to come later in the chain; a request without a bearer token is left to it.
    #[serde(default)]
    pub claim: Option<String>,
}

fn default_source() -> String {
    "kong".to_owned()
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Browsers list a domain only if it promises a year (hstspreload.org).
const PRELOAD_SECONDS: u64 = 31_536_000;
const SOURCE: &str = "x-gateway-source";
/// Headers that only gateways may move.
const NOT_OURS: [&str; 6] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "upgrade",
    "te",
];

/// The checked configuration.
#[derive(Debug)]
pub struct Config {
    pub(crate) request_remove: Names,
    pub(crate) request_set: Vec<(Rc<str>, Rc<str>)>,
    pub(crate) response_remove: Names,
    pub(crate) response_set: Vec<(Rc<str>, Rc<str>)>,
    /// The value of `Strict-Transport-Security`.
    pub(crate) hsts: Option<Rc<str>>,
    pub(crate) tells_id: bool,
    pub(crate) required: Vec<Required>,
    pub(crate) trusted_proxies: Vec<IpNet>,
}

impl Config {
    /// Whether a header of the request is set, which replaces whatever was there.
    pub(crate) fn sets_request(&self, name: &str) -> bool {
        self.request_set
            .iter()
            .any(|(own, _)| own.eq_ignore_ascii_case(name))
    }
}

impl Configure for Config {
    type Raw = Raw;

    fn check(raw: Raw, problems: &mut Problems) -> Option<Self> {
        if raw.source.is_empty() || !is_header_value(&raw.source) {
            problems.say("source", "must be visible ASCII");
        }
        let RawRequest {
            mut remove,
            identity,
            set,
        } = raw.request;
        names("request.remove", &remove, problems);
        names("request.identity", &identity, problems);
        names("response.remove", &raw.response.remove, problems);
        remove.extend(identity);
        // In the disguise of `x_gateway_source` too.
        remove.push(SOURCE.to_owned());
        let mut request_set = values("request.set", set, problems);
        if request_set.iter().any(|(name, _)| **name == *SOURCE) {
            problems.say("request.set", "has x-gateway-source: use source");
        }
        request_set.push((SOURCE.into(), raw.source.into()));
        let response_set = values("response.set", raw.response.set, problems);
        let hsts = raw
            .response
            .hsts
            .map(|hsts| strict_transport_security(&hsts, problems));
        let required: Vec<Required> = raw
            .required
            .into_iter()
            .enumerate()
            .map(|(index, rule)| check_required(index, rule, problems))
            .collect();
        problems.is_empty().then(|| Self {
            request_remove: Names::new(remove.iter().map(String::as_str)),
            request_set,
            response_remove: Names::new(raw.response.remove.iter().map(String::as_str)),
            response_set,
            hsts,
            tells_id: raw.response.request_id,
            required,
            trusted_proxies: raw.trusted_proxies,
        })
    }
}

fn names(at: &str, names: &[String], problems: &mut Problems) {
    for (index, name) in names.iter().enumerate() {
        movable(format_args!("{at}[{index}]"), name, problems);
    }
}

fn movable(at: std::fmt::Arguments<'_>, name: &str, problems: &mut Problems) {
    if !is_header_name(name) {
        problems.say(at, "is no header name");
    } else if NOT_OURS
        .iter()
        .any(|not_ours| name.eq_ignore_ascii_case(not_ours))
    {
        problems.say(
            at,
            "belongs to the connection: the gateway alone may change it",
        );
    }
}

fn values(
    at: &str,
    set: BTreeMap<String, String>,
    problems: &mut Problems,
) -> Vec<(Rc<str>, Rc<str>)> {
    set.into_iter()
        .map(|(name, value)| {
            movable(format_args!("{at}.{name}"), &name, problems);
            if !is_header_value(&value) {
                problems.say(format_args!("{at}.{name}"), "must be visible ASCII");
            }
            (name.to_ascii_lowercase().into(), value.into())
        })
        .collect()
}

fn strict_transport_security(hsts: &RawHsts, problems: &mut Problems) -> Rc<str> {
    let seconds = hsts.max_age.0.as_secs();
    if hsts.max_age.0.subsec_nanos() != 0 {
        problems.say("response.hsts.max_age", "must be whole seconds");
    }
    if hsts.preload && (seconds < PRELOAD_SECONDS || !hsts.include_subdomains) {
        problems.say(
            "response.hsts.preload",
            "needs a max_age of at least 365d and include_subdomains",
        );
    }
    let mut value = format!("max-age={seconds}");
    for (on, directive) in [
        (hsts.include_subdomains, "; includeSubDomains"),
        (hsts.preload, "; preload"),
    ] {
        if on {
            value.push_str(directive);
        }
    }
    value.into()
}

fn check_required(index: usize, rule: RawRequired, problems: &mut Problems) -> Required {
    let at = format!("required[{index}]");
    if rule.headers.is_empty() {
        problems.say(
            format_args!("{at}.headers"),
            "must not be empty: nothing would be required",
        );
    }
    let headers = rule
        .headers
        .into_iter()
        .enumerate()
        .map(|(index, header)| {
            let at = format!("{at}.headers[{index}]");
            if !is_header_name(&header.name) {
                problems.say(format_args!("{at}.name"), "is no header name");
            }
            if header.claim.as_deref() == Some("") {
                problems.say(format_args!("{at}.claim"), "must not be empty");
            }
            Header {
                name: header.name.to_ascii_lowercase().into(),
                claim: header.claim.map(Into::into),
            }
        })
        .collect();
    Required {
        matches: Match::check(rule.r#match, &format!("{at}.match"), problems),
        headers,
    }
}

#[cfg(test)]
mod tests {
    use policy::Loaded;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn config(text: &str) -> Config {
        Loaded::<Config>::parse(text.as_bytes()).unwrap().policy
    }

    fn errors(text: &str) -> Vec<String> {
        match Loaded::<Config>::parse(text.as_bytes()) {
            Ok(_) => Vec::new(),
            Err(errors) => errors.lines("edge_headers").collect(),
        }
    }

    #[test]
    fn needs_no_options() {
        let config = config("");
        assert!(config.request_remove.has(b"X-Forwarded-Host"));
        assert!(config.request_remove.has(b"x_tenant_id"));
        assert!(!config.request_remove.has(b"traceparent"));
        assert!(config.response_remove.has(b"via"));
        assert_eq!(
            config.hsts.as_deref(),
            Some("max-age=31536000; includeSubDomains; preload")
        );
        assert_eq!(
            config.request_set,
            [("x-gateway-source".into(), "kong".into())]
        );
    }

    #[test]
    fn hsts_can_be_weaker_taken_back_or_left_out() {
        for (text, value) in [
            (
                r#"{"max_age":"5m","include_subdomains":false,"preload":false}"#,
                Some("max-age=300"),
            ),
            (
                r#"{"max_age":"0s","preload":false}"#,
                Some("max-age=0; includeSubDomains"),
            ),
            ("null", None),
        ] {
            let config = config(&format!(r#"{{"response":{{"hsts":{text}}}}}"#));
            assert_eq!(config.hsts.as_deref(), value, "{text}");
        }
    }

    #[test]
    fn every_mistake_is_reported_with_its_path() {
        let found = errors(
            r#"{"source":"a\nb",
                "request":{"remove":["ok","not ok","Host"],"set":{"a b":"x","c":"\r","x-gateway-source":"y"}},
                "response":{"remove":["content-length"],"hsts":{"max_age":"1500ms"}},
                "required":[{"headers":[]},{"match":{"path":"x"},"headers":[{"name":"","claim":""}]}],
                "trusted_proxies":["10.0.0.0/33"]}"#,
        );
        for at in [
            "source: ",
            "request.remove[1]: ",
            "request.remove[2]: belongs",
            "request.set.a b: ",
            "request.set.c: ",
            "request.set: has x-gateway-source",
            "response.remove[0]: belongs",
            "response.hsts.max_age: ",
            "response.hsts.preload: ",
            "required[0].headers: ",
            "required[1].match.path: ",
            "required[1].headers[0].name: ",
            "required[1].headers[0].claim: ",
            "trusted_proxies[0]: ",
        ] {
            let line = format!("edge_headers: {at}");
            assert!(
                found.iter().any(|f| f.starts_with(&line)),
                "{at}: {found:#?}"
            );
        }
        assert_eq!(found.len(), 14, "{found:#?}");
    }
}
