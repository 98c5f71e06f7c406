//! Which requests a rule is about. Every filter's rules match in this one way.

use serde::Deserialize;

use crate::config::Problems;
use crate::head::Head;
use crate::path::{canonical, is_under};

/// A rule's `match`: all given parts must hold; an empty one matches every request.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RawMatch {
    /// The path itself, without query.
    pub path: Option<String>,
    /// The path and everything under it: `/v1/sms` covers `/v1/sms/send` but not `/v1/smses`.
    pub prefix: Option<String>,
    /// HTTP methods; all if empty.
    pub methods: Vec<String>,
    /// Host names without port, `*.example.com` for subdomains; all if empty.
    pub hosts: Vec<String>,
    /// Names the gateway gives its routes (`xds.route_name`, `kong.route_name`); all if empty.
    pub routes: Vec<String>,
}

/// A checked [`RawMatch`].
#[derive(Clone, Debug)]
pub struct Match {
    path: Option<String>,
    prefix: Option<String>,
    methods: Vec<String>,
    hosts: Vec<String>,
    routes: Vec<String>,
}

impl Match {
    /// Checks the parts; `at` is the path of the `match` object in the configuration.
    pub fn check(raw: RawMatch, at: &str, problems: &mut Problems) -> Self {
        for (name, path) in [("path", &raw.path), ("prefix", &raw.prefix)] {
            let Some(path) = path else { continue };
            if !path.starts_with('/') {
                problems.say(format_args!("{at}.{name}"), "must start with /");
            } else if canonical(path).as_deref() != Ok(path) {
                problems.say(
                    format_args!("{at}.{name}"),
                    "is no path that a request can have: no query, no //, no dot segments, \
                     percent-encoding only where needed and in capitals",
                );
            }
        }
        if raw.path.is_some() && raw.prefix.is_some() {
            problems.say(at, "has both path and prefix: give one");
        }
        for (index, method) in raw.methods.iter().enumerate() {
            if method.is_empty() || !method.bytes().all(|b| b.is_ascii_uppercase() || b == b'-') {
                problems.say(
                    format_args!("{at}.methods[{index}]"),
                    "must be an HTTP method in capitals",
                );
            }
        }
        for (index, host) in raw.hosts.iter().enumerate() {
            let name = host.strip_prefix("*.").unwrap_or(host);
            let fits = !name.is_empty()
                && name.bytes().all(|b| {
                    b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.')
                });
            if !fits {
                problems.say(
                    format_args!("{at}.hosts[{index}]"),
                    "must be a host name in lower case without port, or *. and one",
                );
            }
        }
        Self {
            path: raw.path,
            prefix: raw.prefix,
            methods: raw.methods,
            hosts: raw.hosts,
            routes: raw.routes,
        }
    }

    /// Whether the rule is about this request, whose path was read with care: `path`. Only what the rule names is
    /// looked up, and `route` only called if it names routes.
    pub fn matches(
        &self,
        path: &str,
        request: &Head,
        route: impl FnOnce() -> Option<Vec<u8>>,
    ) -> bool {
        self.path.as_ref().is_none_or(|expected| expected == path)
            && self
                .prefix
                .as_ref()
                .is_none_or(|prefix| is_under(path, prefix))
            && (self.methods.is_empty() || self.has_method(request.method()))
            && (self.hosts.is_empty()
                || request.authority().is_some_and(|host| self.has_host(host)))
            && (self.routes.is_empty()
                || route().is_some_and(|name| self.routes.iter().any(|r| r.as_bytes() == name)))
    }

    fn has_method(&self, method: &str) -> bool {
        self.methods.iter().any(|expected| expected == method)
    }

    fn has_host(&self, authority: &str) -> bool {
        let host = without_port(authority).to_ascii_lowercase();
        self.hosts
            .iter()
            .any(|expected| match expected.strip_prefix("*.") {
                Some(domain) => host
                    .strip_suffix(domain)
                    .is_some_and(|sub| sub.len() > 1 && sub.ends_with('.')),
                None => *expected == host,
            })
    }
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn matcher(json: &str) -> Match {
        let mut problems = Problems::default();
        let matcher = Match::check(serde_json::from_str(json).unwrap(), "match", &mut problems);
        assert!(problems.is_empty(), "{problems:?}");
        matcher
    }

    #[test]
    fn every_part_must_hold() {
        let m = matcher(
            r#"{"prefix":"/v1","methods":["GET"],"hosts":["*.example.com","localhost"],"routes":["rt-a"]}"#,
        );
        let route = || Some(b"rt-a".to_vec());
        let request = |method: &str, host: &str| -> Head {
            [(":method", method), ("host", host)].into_iter().collect()
        };
        let get = request("GET", "localhost");
        let get_from = |host: &str| request("GET", host);
        assert!(m.matches("/v1/x", &get_from("API.example.com:443"), route));
        assert!(m.matches("/v1/x", &get, route));
        assert!(!m.matches("/v2/x", &get, route));
        assert!(!m.matches("/v1/x", &request("POST", "localhost"), route));
        assert!(!m.matches("/v1/x", &get_from("example.com"), route));
        assert!(!m.matches("/v1/x", &get_from("badexample.com"), route));
        assert!(!m.matches("/v1/x", &[(":method", "GET")].into_iter().collect(), route));
        assert!(!m.matches("/v1/x", &get, || Some(b"rt-b".to_vec())));
        assert!(!m.matches("/v1/x", &get, || None));
    }

    #[test]
    fn an_empty_match_matches_and_asks_nothing() {
        let m = matcher("{}");
        assert!(m.matches("/", &Head::default(), || panic!("asked for the route")));
    }

    #[test]
    fn impossible_matches_are_reported() {
        let mut problems = Problems::default();
        let raw = r#"{"path":"v1","prefix":"/a//b","methods":["get"],"hosts":["Example.com:80"]}"#;
        Match::check(
            serde_json::from_str(raw).unwrap(),
            "rules[0].match",
            &mut problems,
        );
        let found = format!("{problems:?}");
        for at in ["path", "prefix", "methods[0]", "hosts[0]"] {
            assert!(
                found.contains(&format!("rules[0].match.{at}")),
                "{at}: {found}"
            );
        }
        assert!(found.contains("both path and prefix"));
    }
}
