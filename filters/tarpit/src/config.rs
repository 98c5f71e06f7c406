//! What the operator configures, and what is made of it.

use std::num::NonZeroUsize;
use std::time::Duration;

use policy::duration::Span;
use policy::{Configure, Problems};
use serde::Deserialize;
use watchlist::{Clients, DEFAULT_CAPACITY, ListService, RawClients, RawListService};

/// The options of the filter.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Raw {
    /// The redis-proxy that keeps the list `tarpit`. Where only a callout can hold a request (Kong), it holds it.
    pub service: RawListService,
    /// How clients are told apart.
    #[serde(default)]
    pub clients: RawClients,
    /// The longest delay; the first is 1s, each next one twice as long. 1s to 5m. The gateway's own timeouts must be
    /// longer.
    #[serde(default = "default_longest_delay")]
    pub longest_delay: Span,
    /// Requests that one worker holds at a time; further ones are refused with 403 at once. 0 to 100,000.
    #[serde(default = "default_max_held")]
    pub max_held: usize,
    /// Clients whose visits one worker counts; about 200 bytes each. 1 to 1,000,000.
    #[serde(default = "default_max_clients")]
    pub max_clients: usize,
    /// Entries of the list that one worker holds; further ones are ignored. 1 to 10,000,000.
    #[serde(default = "default_max_entries")]
    pub max_entries: usize,
    /// What happens to all requests until the list has been here once: `pass` or `deny` (503).
    #[serde(default)]
    pub without_list: WithoutList,
}

/// What happens without a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema, serde::Serialize),
    schemars(inline)
)]
pub enum WithoutList {
    #[default]
    Pass,
    Deny,
}

fn default_longest_delay() -> Span {
    Span::secs(30)
}
fn default_max_held() -> usize {
    4_096
}
fn default_max_clients() -> usize {
    20_000
}
fn default_max_entries() -> usize {
    DEFAULT_CAPACITY
}

/// The options, checked.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) service: ListService,
    pub(crate) clients: Clients,
    pub(crate) longest_delay: Duration,
    pub(crate) max_held: usize,
    pub(crate) max_clients: NonZeroUsize,
    pub(crate) max_entries: usize,
    pub(crate) without_list: WithoutList,
}

impl Configure for Config {
    type Raw = Raw;

    fn check(raw: Raw, problems: &mut Problems) -> Option<Self> {
        let service = ListService::check(raw.service, "service", problems);
        let clients = Clients::check(raw.clients, "clients", problems);
        let longest_delay = raw.longest_delay.0;
        if !(Duration::from_secs(1)..=Duration::from_secs(300)).contains(&longest_delay) {
            problems.say("longest_delay", "must be between 1s and 5m");
        }
        if raw.max_held > 100_000 {
            problems.say("max_held", "must be between 0 and 100000");
        }
        if !(1..=1_000_000).contains(&raw.max_clients) {
            problems.say("max_clients", "must be between 1 and 1000000");
        }
        if !(1..=10_000_000).contains(&raw.max_entries) {
            problems.say("max_entries", "must be between 1 and 10000000");
        }
        Some(Self {
            service,
            clients,
            longest_delay,
            max_held: raw.max_held,
            max_clients: NonZeroUsize::new(raw.max_clients)?,
            max_entries: raw.max_entries,
            without_list: raw.without_list,
        })
    }
}

#[cfg(test)]
mod tests {
    use policy::Loaded;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    const SERVICE: &str = r#""service":{"upstream":"redis-proxy","authority":"redis-proxy"}"#;

    fn errors(rest: &str) -> String {
        let text = format!("{{{SERVICE}{rest}}}");
        match Loaded::<Config>::parse(text.as_bytes()) {
            Ok(_) => String::new(),
            Err(errors) => errors.lines("tarpit").collect::<Vec<_>>().join("\n"),
        }
    }

    #[test]
    fn the_service_is_all_that_is_needed() {
        assert_eq!(errors(""), "");
        assert!(Loaded::<Config>::parse(b"{}").is_err());
    }

    #[test]
    fn every_bound_is_kept_and_named() {
        for (option, good, bad) in [
            ("longest_delay", "\"1s\"", "\"999ms\""),
            ("longest_delay", "\"5m\"", "\"301s\""),
            ("max_held", "0", "100001"),
            ("max_clients", "1", "0"),
            ("max_clients", "1000000", "1000001"),
            ("max_entries", "1", "0"),
            ("max_entries", "10000000", "10000001"),
            ("without_list", "\"deny\"", "\"maybe\""),
        ] {
            assert_eq!(errors(&format!(",\"{option}\":{good}")), "", "{option}");
            let found = errors(&format!(",\"{option}\":{bad}"));
            assert!(found.contains(option), "{option}: {found}");
        }
        for (options, at) in [
            (r#","clients":{"ja4_header":"a b"}"#, "clients.ja4_header"),
            (
                r#","clients":{"trusted_proxies":["x"]}"#,
                "clients.trusted_proxies[0]",
            ),
        ] {
            let found = errors(options);
            assert!(found.contains(at), "{found}");
        }
    }
}
