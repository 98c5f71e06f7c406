//! What the operator configures, and what is made of it.

use std::rc::Rc;

use ipnet::IpNet;
use policy::head::is_header_name;
use policy::route::{Match, RawMatch};
use policy::{Configure, Problems, Service};
use serde::Deserialize;
use watchlist::{Clients, DEFAULT_CAPACITY, RawClients, RawListService};

use crate::bots::Agents;
use crate::hint::{Country, HintHeaders};
use crate::rule::{Filter, Rule};

/// The options of the filter.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Raw {
    /// The redis-proxy that keeps the deny list and takes samples. Without it only the rules apply.
    #[serde(default)]
    pub lists: Option<RawListService>,
    /// What becomes of requests before the first list is here (D4). Later the last one serves, however old.
    #[serde(default)]
    pub on_missing_list: OnMissingList,
    /// Entries to hold per worker; `docs/lists.md` has the memory. Those beyond it are ignored, and counted. 1 to
    /// 4,000,000.
    #[serde(default = "default_capacity")]
    pub list_capacity: usize,
    /// How clients are told apart.
    #[serde(default)]
    pub client: RawClients,
    /// Which headers of a trusted peer say where a client is.
    #[serde(default)]
    pub hints: RawHints,
    /// What routes ask of their clients. Every rule that matches applies.
    #[serde(default)]
    pub rules: Vec<RawRule>,
    /// Which requests are reported (D8).
    #[serde(default)]
    pub sampling: RawSampling,
}

/// Deny or allow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema, serde::Serialize),
    schemars(inline)
)]
pub enum OnMissingList {
    /// Refuses it with 503 `list_unavailable`.
    #[default]
    Deny,
    /// Goes on to the rules.
    Allow,
}

/// Headers that say where a client is. Believed only from `client.trusted_proxies`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
pub struct RawHints {
    /// The country, as two letters.
    pub country_header: String,
    /// The number of the autonomous system: `64496` or `AS64496`. At Cloudflare a transform rule makes it of
    /// `ip.src.asnum`.
    pub asn_header: String,
}

impl Default for RawHints {
    fn default() -> Self {
        Self {
            country_header: "cf-ipcountry".to_owned(),
            asn_header: "x-client-asn".to_owned(),
        }
    }
}

/// What some routes ask of their clients. All of it must hold; who does not meet it gets 403 `EDGE_DENIED`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RawRule {
    /// Which requests the rule is about; all unless given.
    pub r#match: RawMatch,
    /// Countries that may pass, and no other nor an unknown one: ISO 3166-1 such as `AF`.
    pub allow_countries: Vec<String>,
    /// Countries that may not pass. An unknown one may. Cloudflare's `T1` is Tor.
    pub deny_countries: Vec<String>,
    /// Autonomous systems that may pass, and no other nor an unknown one.
    pub allow_asns: Vec<u32>,
    /// Autonomous systems that may not pass. An unknown one may.
    pub deny_asns: Vec<u32>,
    /// Networks that may pass, as CIDRs, and no other.
    #[cfg_attr(feature = "schema", schemars(with = "Vec<String>"))]
    pub allow_networks: Vec<IpNet>,
    /// Whether obvious bots are turned away by their user agent: scanners, crawlers, headless browsers, libraries.
    pub deny_bots: bool,
    /// Further parts of user agents that are turned away, in any case.
    pub deny_user_agents: Vec<String>,
    /// Parts of user agents that pass all the same, in any case.
    pub allow_user_agents: Vec<String>,
    /// Decide and count, but let pass.
    pub shadow: bool,
}

/// Which requests are reported.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
pub struct RawSampling {
    /// Each worker reports every Nth of its requests; 0: none. 0 to 1,000,000.
    pub every: u32,
    /// Whether samples are written to the gateway's log, as JSON at level `info`.
    pub access_log: bool,
    /// Whether samples are sent to `lists`, in batches once a second.
    pub send: bool,
    /// Samples to keep per worker until they are sent; about 300 bytes each. Those beyond it are dropped, and counted. 1 to
    /// 10,000.
    pub buffer: usize,
    /// Where it says who the client is: in the headers of the `request`, if the auth filter runs before this one and
    /// removes a client's own; of the `response`, if it runs later and somebody writes them there; or nowhere.
    pub identity: Identity,
    /// The header with `consumer_id`.
    pub consumer_header: String,
    /// The header with `tenant_id`.
    pub tenant_header: String,
}

impl Default for RawSampling {
    fn default() -> Self {
        Self {
            every: 10,
            access_log: true,
            send: true,
            buffer: 2_000,
            identity: Identity::None,
            consumer_header: "x-account-id".to_owned(),
            tenant_header: "x-tenant-id".to_owned(),
        }
    }
}

/// Where it says who the client is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema, serde::Serialize),
    schemars(inline)
)]
pub enum Identity {
    /// Nowhere that could be believed.
    #[default]
    None,
    /// In headers that the auth filter has set.
    Request,
    /// In headers that the upstream has set.
    Response,
}

fn default_capacity() -> usize {
    DEFAULT_CAPACITY
}

/// The options, checked.
#[derive(Debug)]
pub struct Config {
    pub(crate) lists: Option<Service>,
    pub(crate) on_missing_list: OnMissingList,
    pub(crate) list_capacity: usize,
    pub(crate) clients: Clients,
    pub(crate) hints: HintHeaders,
    pub(crate) rules: Vec<Rule>,
    pub(crate) sampling: Sampling,
}

#[derive(Debug)]
pub(crate) struct Sampling {
    pub every: u32,
    pub access_log: bool,
    pub send: bool,
    pub buffer: usize,
    pub identity: Identity,
    pub consumer_header: Rc<str>,
    pub tenant_header: Rc<str>,
}

impl Configure for Config {
    type Raw = Raw;

    fn check(raw: Raw, problems: &mut Problems) -> Option<Self> {
        if raw.lists.is_none() && raw.rules.is_empty() {
            problems.say(
                "",
                "has neither lists nor rules: nobody would be turned away",
            );
        }
        if !(1..=4_000_000).contains(&raw.list_capacity) {
            problems.say("list_capacity", "must be between 1 and 4000000");
        }
        for (path, header) in [
            ("hints.country_header", &raw.hints.country_header),
            ("hints.asn_header", &raw.hints.asn_header),
            ("sampling.consumer_header", &raw.sampling.consumer_header),
            ("sampling.tenant_header", &raw.sampling.tenant_header),
        ] {
            if !is_header_name(header) {
                problems.say(path, "is no header name");
            }
        }
        if raw.sampling.every > 1_000_000 {
            problems.say("sampling.every", "must be between 0 and 1000000");
        }
        if !(1..=10_000).contains(&raw.sampling.buffer) {
            problems.say("sampling.buffer", "must be between 1 and 10000");
        }
        let believes = !raw.client.trusted_proxies.is_empty();
        let lists = raw.lists.map(|lists| lists.check("lists", problems));
        let clients = Clients::check(raw.client, "client", problems);
        let rules = raw
            .rules
            .into_iter()
            .enumerate()
            .map(|(index, rule)| check_rule(&format!("rules[{index}]"), rule, believes, problems))
            .collect();
        problems.is_empty().then(|| Self {
            lists,
            on_missing_list: raw.on_missing_list,
            list_capacity: raw.list_capacity,
            clients,
            hints: HintHeaders {
                country: raw.hints.country_header.into(),
                asn: raw.hints.asn_header.into(),
            },
            rules,
            sampling: Sampling {
                every: raw.sampling.every,
                access_log: raw.sampling.access_log,
                send: raw.sampling.send,
                buffer: raw.sampling.buffer,
                identity: raw.sampling.identity,
                consumer_header: raw.sampling.consumer_header.into(),
                tenant_header: raw.sampling.tenant_header.into(),
            },
        })
    }
}

/// `believes`: there are peers whose hints are believed.
fn check_rule(at: &str, raw: RawRule, believes: bool, problems: &mut Problems) -> Rule {
    let asks_for_hints = !(raw.allow_countries.is_empty()
        && raw.deny_countries.is_empty()
        && raw.allow_asns.is_empty()
        && raw.deny_asns.is_empty());
    let matches = Match::check(raw.r#match, &format!("{at}.match"), problems);
    let allow_countries = check_countries(
        &format!("{at}.allow_countries"),
        &raw.allow_countries,
        problems,
    );
    let deny_countries = check_countries(
        &format!("{at}.deny_countries"),
        &raw.deny_countries,
        problems,
    );
    let countries = filter(at, "countries", allow_countries, deny_countries, problems);
    let asns = filter(at, "asns", raw.allow_asns, raw.deny_asns, problems);
    if asks_for_hints && !believes {
        problems.say(
            at,
            "asks for countries or ASNs, which only client.trusted_proxies can tell: there are none",
        );
    }
    for (name, parts) in [
        ("deny_user_agents", &raw.deny_user_agents),
        ("allow_user_agents", &raw.allow_user_agents),
    ] {
        for (index, part) in parts.iter().enumerate() {
            if part.is_empty() || !part.is_ascii() {
                problems.say(format_args!("{at}.{name}[{index}]"), "must be ASCII text");
            }
        }
    }
    let lower = |parts: Vec<String>| -> Vec<String> {
        parts.iter().map(|part| part.to_ascii_lowercase()).collect()
    };
    let rule = Rule {
        matches,
        countries,
        asns,
        networks: raw.allow_networks,
        agents: Agents {
            bots: raw.deny_bots,
            denied: lower(raw.deny_user_agents),
            excused: lower(raw.allow_user_agents),
        },
        shadow: raw.shadow,
    };
    if !asks_for_hints && rule.networks.is_empty() && rule.agents.is_empty() {
        problems.say(at, "asks for nothing");
    }
    rule
}

fn check_countries(at: &str, codes: &[String], problems: &mut Problems) -> Vec<Country> {
    let mut countries = Vec::new();
    for (index, code) in codes.iter().enumerate() {
        match Country::parse(code.as_bytes()) {
            Some(country) => countries.push(country),
            None => problems.say(
                format_args!("{at}[{index}]"),
                "must be a country's two letters, such as AF",
            ),
        }
    }
    countries
}

fn filter<T>(
    at: &str,
    what: &str,
    allow: Vec<T>,
    deny: Vec<T>,
    problems: &mut Problems,
) -> Filter<T> {
    match (allow.is_empty(), deny.is_empty()) {
        (true, true) => Filter::All,
        (false, true) => Filter::Only(allow),
        (true, false) => Filter::AllBut(deny),
        (false, false) => {
            problems.say(
                at,
                format_args!("has both allow_{what} and deny_{what}: give one"),
            );
            Filter::All
        }
    }
}

#[cfg(test)]
mod tests {
    use policy::Loaded;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn errors(text: &str) -> String {
        match Loaded::<Config>::parse(text.as_bytes()) {
            Ok(_) => String::new(),
            Err(errors) => errors
                .lines("fingerprint_deny")
                .collect::<Vec<_>>()
                .join("\n"),
        }
    }

    #[test]
    fn every_problem_has_its_path() {
        let trusted = r#""client":{"trusted_proxies":["10.0.0.0/8"]}"#;
        for (text, path) in [
            ("{}".to_owned(), "fingerprint_deny: has neither"),
            (r#"{"lists":{"upstream":"","authority":"p"}}"#.to_owned(), "lists.upstream: must"),
            (
                r#"{"lists":{"upstream":"p","authority":"p","timeout":"1ms"}}"#.to_owned(),
                "lists.timeout: must",
            ),
            (
                r#"{"lists":{"upstream":"p","authority":"p"},"list_capacity":0}"#.to_owned(),
                "list_capacity: must",
            ),
            (
                r#"{"lists":{"upstream":"p","authority":"p"},"sampling":{"every":1000001,"buffer":0}}"#.to_owned(),
                "sampling.buffer: must",
            ),
            (
                r#"{"lists":{"upstream":"p","authority":"p"},"client":{"ja4_header":"a b"}}"#.to_owned(),
                "client.ja4_header: is no header name",
            ),
            (
                r#"{"lists":{"upstream":"p","authority":"p"},"client":{"trusted_proxies":["10.0.0.0/40"]}}"#.to_owned(),
                "client.trusted_proxies[0]",
            ),
            (r#"{"rules":[{}]}"#.to_owned(), "rules[0]: asks for nothing"),
            (r#"{"rules":[{"allow_user_agents":["x"]}]}"#.to_owned(), "rules[0]: asks for nothing"),
            (
                r#"{"rules":[{"deny_bots":true},{"allow_countries":["AF"]}]}"#.to_owned(),
                "rules[1]: asks for countries or ASNs",
            ),
            (
                format!(r#"{{{trusted},"rules":[{{"allow_countries":["AFG"]}}]}}"#),
                "rules[0].allow_countries[0]: must be",
            ),
            (
                format!(r#"{{{trusted},"rules":[{{"allow_asns":[1],"deny_asns":[2]}}]}}"#),
                "rules[0]: has both allow_asns and deny_asns",
            ),
            (
                r#"{"rules":[{"deny_user_agents":[""]}]}"#.to_owned(),
                "rules[0].deny_user_agents[0]: must be",
            ),
            (
                r#"{"rules":[{"deny_bots":true,"match":{"prefix":"admin"}}]}"#.to_owned(),
                "rules[0].match.prefix: must start with /",
            ),
        ] {
            let found = errors(&text);
            assert!(found.contains(path), "{text}: {found}");
        }
        assert_eq!(errors(r#"{"rules":[{"deny_bots":true}]}"#), "");
    }
}
