//! What the operator configures, and what is made of it.

use std::num::NonZeroUsize;
use std::time::Duration;

use policy::duration::Span;
use policy::{Configure, Problems, Service};
use serde::Deserialize;
use watchlist::{Clients, DEFAULT_CAPACITY, RawClients, RawListService};

/// The options of the filter.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Raw {
    /// The redis-proxy that keeps the list `tarpit`. Where only a callout can hold a request (Kong), it holds it.
    pub lists: RawListService,
    /// How clients are told apart.
    #[serde(default)]
    pub client: RawClients,
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
    /// Entries of the list that one worker holds; further ones are ignored. 1 to 4,000,000.
    #[serde(default = "default_list_capacity")]
    pub list_capacity: usize,
    /// What becomes of requests before the first list is here. Later the last one serves, however old.
    #[serde(default)]
    pub on_missing_list: OnMissingList,
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
    /// Refuses them with 503 `list_unavailable`.
    Deny,
    /// Lets them pass.
    #[default]
    Allow,
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
fn default_list_capacity() -> usize {
    DEFAULT_CAPACITY
}

/// The options, checked.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) lists: Service,
    pub(crate) clients: Clients,
    pub(crate) longest_delay: Duration,
    pub(crate) max_held: usize,
    pub(crate) max_clients: NonZeroUsize,
    pub(crate) list_capacity: usize,
    pub(crate) on_missing_list: OnMissingList,
}

impl Configure for Config {
    type Raw = Raw;

    fn check(raw: Raw, problems: &mut Problems) -> Option<Self> {
        let lists = raw.lists.check("lists", problems);
        let clients = Clients::check(raw.client, "client", problems);
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
        if !(1..=4_000_000).contains(&raw.list_capacity) {
            problems.say("list_capacity", "must be between 1 and 4000000");
        }
        Some(Self {
            lists,
            clients,
            longest_delay,
            max_held: raw.max_held,
            max_clients: NonZeroUsize::new(raw.max_clients)?,
            list_capacity: raw.list_capacity,
            on_missing_list: raw.on_missing_list,
        })
    }
}

#[cfg(test)]
mod tests {
    use policy::Loaded;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    const SERVICE: &str = r#""lists":{"upstream":"redis-proxy","authority":"redis-proxy"}"#;

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
            ("list_capacity", "1", "0"),
            ("list_capacity", "4000000", "4000001"),
            ("on_missing_list", "\"deny\"", "\"maybe\""),
        ] {
            assert_eq!(errors(&format!(",\"{option}\":{good}")), "", "{option}");
            let found = errors(&format!(",\"{option}\":{bad}"));
            assert!(found.contains(option), "{option}: {found}");
        }
        for (options, at) in [
            (r#","client":{"ja4_header":"a b"}"#, "client.ja4_header"),
            (
                r#","client":{"trusted_proxies":["x"]}"#,
                "client.trusted_proxies[0]",
            ),
        ] {
            let found = errors(options);
            assert!(found.contains(at), "{found}");
        }
    }
}
