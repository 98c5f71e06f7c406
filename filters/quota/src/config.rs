//! What the operator configures, and what is made of it.

use std::rc::Rc;
use std::time::Duration;

use policy::duration::Span;
use policy::head::is_header_name;
use policy::proxy::RawProxy;
use policy::route::{Match, RawMatch};
use policy::{Configure, Problems, Service};
use serde::Deserialize;

/// The options of the filter.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Raw {
    /// The redis-proxy that knows the quotas.
    pub proxy: RawProxy,
    /// What becomes of which requests. The first rule that matches decides; requests that none matches pass.
    pub rules: Vec<RawRule>,
    /// The request header that says whose the request is. The auth filter sets it and removes a client's own.
    #[serde(default = "default_tenant_header")]
    pub tenant_header: String,
    /// How old an answer about a tenant that makes requests may be before a tick asks again. 500ms to 10m.
    #[serde(default = "default_freshness")]
    pub freshness: Span,
    /// An answer that is older than this is none, whether redis-proxy is away or the tenant was. `freshness` to 24h.
    #[serde(default = "default_max_age")]
    pub max_age: Span,
    /// Tenants to remember per worker, as many with a quota and as many without; about 300 bytes each. The least
    /// recently used makes room. 100 to 1,000,000.
    #[serde(default = "default_capacity")]
    pub capacity: usize,
    /// Whether responses say how much is used: `X-Quota-Limit` and the like.
    #[serde(default = "yes")]
    pub headers: bool,
}

/// What becomes of some requests.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RawRule {
    /// Which requests the rule is about; all unless given.
    #[serde(default)]
    pub r#match: RawMatch,
    /// `alert` lets everybody pass and tells; `enforce` refuses those whose quota is used up; `off` does nothing.
    #[serde(default)]
    pub mode: Mode,
    /// What becomes of a request of a tenant that this worker does not know yet: `wait` for redis-proxy to say,
    /// `allow` and ask with the next tick, or `deny` until it is known. By default `wait` with `enforce`, `allow` with
    /// `alert`, which takes no other.
    #[serde(default)]
    pub on_unknown: Option<OnUnknown>,
    /// With `on_unknown: wait`, what becomes of a request when redis-proxy does not say.
    #[serde(default)]
    pub on_failure: Otherwise,
    /// What becomes of a request that no quota is about: without a tenant, or of one that redis-proxy has no quota for.
    #[serde(default)]
    pub without_quota: Otherwise,
}

/// How much a quota means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema, serde::Serialize),
    schemars(inline)
)]
pub enum Mode {
    /// Nobody is refused (Q2).
    #[default]
    Alert,
    /// Refused when it is used up (Q3).
    Enforce,
    /// Not looked at.
    Off,
}

/// What becomes of requests of tenants that are not known yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(inline))]
pub enum OnUnknown {
    /// Pass; the next tick asks.
    Allow,
    /// Refused with 503 until it is known.
    Deny,
    /// Held until redis-proxy has said.
    Wait,
}

/// Pass or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema, serde::Serialize),
    schemars(inline)
)]
pub enum Otherwise {
    #[default]
    Allow,
    Deny,
}

fn default_tenant_header() -> String {
    "x-tenant-id".to_owned()
}
fn default_freshness() -> Span {
    Span::secs(2)
}
fn default_max_age() -> Span {
    Span::secs(300)
}
fn default_capacity() -> usize {
    10_000
}
fn yes() -> bool {
    true
}

/// The options, checked.
#[derive(Debug)]
pub struct Config {
    pub(crate) proxy: Service,
    pub(crate) rules: Vec<Rule>,
    pub(crate) tenant_header: Rc<str>,
    pub(crate) freshness: Duration,
    pub(crate) max_age: Duration,
    pub(crate) capacity: usize,
    pub(crate) headers: bool,
}

/// One rule, checked.
#[derive(Debug)]
pub(crate) struct Rule {
    pub matches: Match,
    pub mode: Mode,
    pub on_unknown: OnUnknown,
    pub on_failure: Otherwise,
    pub without_quota: Otherwise,
}

impl Configure for Config {
    type Raw = Raw;

    fn check(raw: Raw, problems: &mut Problems) -> Option<Self> {
        let proxy = raw.proxy.check("proxy", problems);
        if raw.rules.is_empty() {
            problems.say("rules", "must not be empty");
        }
        let rules = (0_usize..).zip(raw.rules);
        let rules = rules
            .map(|(index, rule)| check_rule(&format!("rules[{index}]"), rule, problems))
            .collect();
        if !is_header_name(&raw.tenant_header) {
            problems.say("tenant_header", "must be a header name");
        }
        let (freshness, max_age) = (raw.freshness.0, raw.max_age.0);
        if !(Duration::from_millis(500)..=Duration::from_secs(600)).contains(&freshness) {
            problems.say("freshness", "must be between 500ms and 10m");
        }
        if max_age < freshness || max_age > Duration::from_secs(86_400) {
            problems.say("max_age", "must be between freshness and 24h");
        }
        if !(100..=1_000_000).contains(&raw.capacity) {
            problems.say("capacity", "must be between 100 and 1000000");
        }
        Some(Self {
            proxy,
            rules,
            tenant_header: raw.tenant_header.to_ascii_lowercase().into(),
            freshness,
            max_age,
            capacity: raw.capacity,
            headers: raw.headers,
        })
    }
}

fn check_rule(at: &str, raw: RawRule, problems: &mut Problems) -> Rule {
    let matches = Match::check(raw.r#match, &format!("{at}.match"), problems);
    if raw.mode != Mode::Enforce {
        let never = "goes with mode enforce: without it nobody waits and nobody is refused";
        if raw
            .on_unknown
            .is_some_and(|chosen| chosen != OnUnknown::Allow)
        {
            problems.say(format_args!("{at}.on_unknown"), never);
        }
        for (name, chosen) in [
            ("on_failure", raw.on_failure),
            ("without_quota", raw.without_quota),
        ] {
            if chosen == Otherwise::Deny {
                problems.say(format_args!("{at}.{name}"), never);
            }
        }
    }
    let usual = match raw.mode {
        Mode::Enforce => OnUnknown::Wait,
        Mode::Alert | Mode::Off => OnUnknown::Allow,
    };
    Rule {
        matches,
        mode: raw.mode,
        on_unknown: raw.on_unknown.unwrap_or(usual),
        on_failure: raw.on_failure,
        without_quota: raw.without_quota,
    }
}

#[cfg(test)]
mod tests {
    use policy::Loaded;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn load(rest: &str) -> Result<Config, String> {
        let text = format!(r#"{{"proxy":{{"upstream":"p","authority":"p"}}{rest}}}"#);
        Loaded::<Config>::parse(text.as_bytes())
            .map(|loaded| loaded.policy)
            .map_err(|errors| errors.lines("quota").collect::<Vec<_>>().join("\n"))
    }

    #[test]
    fn a_rule_alerts_unless_it_enforces() {
        let config = load(r#","rules":[{},{"mode":"enforce"}]"#).unwrap();
        let [alerts, enforces] = config.rules.as_slice() else {
            panic!("two rules");
        };
        assert_eq!(
            (alerts.mode, alerts.on_unknown),
            (Mode::Alert, OnUnknown::Allow)
        );
        assert_eq!(
            (enforces.mode, enforces.on_unknown),
            (Mode::Enforce, OnUnknown::Wait)
        );
        assert_eq!(enforces.on_failure, Otherwise::Allow);
    }

    #[test]
    fn every_bound_is_kept_and_named() {
        for (option, good, bad) in [
            ("freshness", "\"500ms\"", "\"499ms\""),
            ("freshness", "\"1m\"", "\"11m\""),
            ("max_age", "\"2s\"", "\"1s\""),
            ("max_age", "\"24h\"", "\"25h\""),
            ("capacity", "100", "99"),
            ("capacity", "1000000", "1000001"),
            ("tenant_header", "\"X-Tenant\"", "\"x tenant\""),
            ("headers", "false", "1"),
            ("rules", "[{}]", "[]"),
        ] {
            let rules = if option == "rules" {
                ""
            } else {
                ",\"rules\":[{}]"
            };
            let with = |value| load(&format!(",\"{option}\":{value}{rules}")).map(|_| ());
            assert_eq!(with(good), Ok(()), "{option}");
            let found = with(bad).unwrap_err();
            assert!(found.contains(&format!("quota: {option}")), "{found}");
        }
        let found = Loaded::<Config>::parse(
            br#"{"proxy":{"upstream":"","authority":"p","timeout":"4ms","service_token":""},"rules":[{}]}"#,
        )
        .map(|_| ())
        .unwrap_err();
        let found: Vec<_> = found.lines("quota").collect();
        for path in ["proxy.upstream", "proxy.timeout", "proxy.service_token"] {
            assert!(found.iter().any(|line| line.contains(path)), "{found:?}");
        }
    }

    #[test]
    fn an_alert_that_refuses_is_a_mistake() {
        for option in [
            r#""on_unknown":"wait""#,
            r#""on_unknown":"deny""#,
            r#""on_failure":"deny""#,
            r#""without_quota":"deny""#,
        ] {
            for mode in ["alert", "off"] {
                let rules = format!(r#","rules":[{{"mode":"{mode}",{option}}}]"#);
                let found = load(&rules).map(|_| ()).unwrap_err();
                assert!(found.contains("goes with mode enforce"), "{found}");
            }
            load(&format!(r#","rules":[{{"mode":"enforce",{option}}}]"#)).unwrap();
        }
    }
}
