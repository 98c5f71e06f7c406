//! What the operator configures, and what is made of it.

use std::collections::BTreeSet;

use policy::route::{Match, RawMatch};
use policy::{Configure, Problems, Service};
use serde::Deserialize;
use watchlist::RawListService;
use wire::upstream_failures::MAX_EXPECTED;

use crate::spiffe::SpiffeId;

/// The options of the filter.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Raw {
    /// Which upstreams have to prove who they are. The first that matches counts; requests that match none are
    /// not looked at.
    pub routes: Vec<RawRoute>,
    /// The redis-proxy that makes events of failures, `kong.mtls.upstream.failed.v1` in NATS. Without it they are only
    /// counted and logged.
    #[serde(default)]
    pub events: Option<RawListService>,
}

/// Requests whose upstream has to prove who it is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RawRoute {
    /// Which requests; all unless given.
    #[serde(default)]
    pub r#match: RawMatch,
    /// Who may answer: SPIFFE IDs such as `spiffe://prod.example/ns/compliance/sa/engine`, compared as a whole. 1 to 16:
    /// two while an upstream moves from one to the other.
    pub spiffe_ids: Vec<String>,
}

/// The checked configuration.
#[derive(Debug)]
pub struct Config {
    pub(crate) routes: Vec<Route>,
    pub(crate) events: Option<Service>,
}

/// A checked [`RawRoute`].
#[derive(Debug)]
pub(crate) struct Route {
    pub matches: Match,
    pub expected: Vec<SpiffeId>,
}

impl Route {
    /// Whether this is who may answer.
    pub fn admits(&self, identity: &[u8]) -> bool {
        let mut expected = self.expected.iter();
        expected.any(|id| id.as_str().as_bytes() == identity)
    }
}

impl Configure for Config {
    type Raw = Raw;

    fn check(raw: Raw, problems: &mut Problems) -> Option<Self> {
        if raw.routes.is_empty() {
            problems.say("routes", "must not be empty: nothing would be looked at");
        }
        let mut routes = Vec::new();
        for (index, route) in raw.routes.into_iter().enumerate() {
            let at = format!("routes[{index}]");
            let matches = Match::check(route.r#match, &format!("{at}.match"), problems);
            let expected = identities(&at, &route.spiffe_ids, problems);
            routes.push(Route { matches, expected });
        }
        let events = (raw.events).map(|events| events.check("events", problems));
        problems.is_empty().then_some(Self { routes, events })
    }
}

fn identities(at: &str, texts: &[String], problems: &mut Problems) -> Vec<SpiffeId> {
    if !(1..=MAX_EXPECTED).contains(&texts.len()) {
        let problem = format!("must be 1 to {MAX_EXPECTED}");
        problems.say(format_args!("{at}.spiffe_ids"), problem);
    }
    let mut seen = BTreeSet::new();
    let mut identities = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        match SpiffeId::parse(text) {
            Ok(id) => identities.push(id),
            Err(problem) => problems.say(format_args!("{at}.spiffe_ids[{index}]"), problem),
        }
        if !seen.insert(text) {
            problems.say(format_args!("{at}.spiffe_ids[{index}]"), "is there twice");
        }
    }
    identities
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
            Err(errors) => {
                let lines: Vec<String> = errors.lines("upstream_identity").collect();
                lines.join("\n")
            }
        }
    }

    #[test]
    fn every_problem_has_its_path() {
        for (text, path) in [
            ("{}", "routes"),
            (r#"{"routes":[]}"#, "routes: must not be empty"),
            (
                r#"{"routes":[{"spiffe_ids":[]}]}"#,
                "routes[0].spiffe_ids: must be 1",
            ),
            (
                r#"{"routes":[{"spiffe_ids":["spiffe://a/b"]},{"spiffe_ids":["https://a/b"]}]}"#,
                "routes[1].spiffe_ids[0]: must",
            ),
            (
                r#"{"routes":[{"spiffe_ids":["spiffe://a/b","spiffe://a/b"]}]}"#,
                "routes[0].spiffe_ids[1]: is there twice",
            ),
            (
                r#"{"routes":[{"match":{"prefix":"v1"},"spiffe_ids":["spiffe://a/b"]}]}"#,
                "routes[0].match.prefix: must start",
            ),
            (
                r#"{"routes":[{"spiffe_ids":["spiffe://a/b"]}],"events":{"upstream":"","authority":"p"}}"#,
                "events.upstream: must",
            ),
        ] {
            let found = errors(text);
            assert!(found.contains(path), "{text}: {found}");
        }
        assert_eq!(
            errors(r#"{"routes":[{"spiffe_ids":["spiffe://a/b"]}]}"#),
            ""
        );
    }
}
