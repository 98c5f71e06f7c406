//! What holds for filters in either gateway.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::filters::Filter;
use crate::finding::{Finding, Findings, Severity};
use crate::yaml::{self, Node};

/// The order in which they cost the least, and in which each finds what it needs.
const ORDER: [&str; 6] = [
    "edge_headers",
    "fingerprint_deny",
    "tarpit",
    "auth",
    "rate_limit",
    "quota",
];

/// What nobody should run with: the examples have it.
const PLACEHOLDERS: [&str; 3] = ["change-me", "changeme", "example"];

/// The configuration of a filter in a gateway, once it is known to be good or bad.
pub struct Found<'a> {
    pub filter: &'static Filter,
    /// As the filter gets it.
    pub config: Value,
    /// Where the filter is.
    pub line: u64,
    /// The line of a path in the configuration.
    pub line_of: Box<dyn Fn(&str) -> u64 + 'a>,
}

impl Found<'_> {
    fn say(
        &self,
        findings: &mut Findings,
        severity: Severity,
        rule: &'static str,
        path: &str,
        message: String,
    ) {
        findings.push(Finding {
            severity,
            rule,
            file: String::new(),
            line: Some(if path.is_empty() {
                self.line
            } else {
                (self.line_of)(path)
            }),
            filter: Some(self.filter.name.to_owned()),
            path: (!path.is_empty()).then(|| path.to_owned()),
            message,
        });
    }

    pub fn error(&self, findings: &mut Findings, rule: &'static str, path: &str, message: String) {
        self.say(findings, Severity::Error, rule, path, message);
    }

    pub fn warning(
        &self,
        findings: &mut Findings,
        rule: &'static str,
        path: &str,
        message: String,
    ) {
        self.say(findings, Severity::Warning, rule, path, message);
    }

    /// Every member of that name, at any depth, with its path.
    pub fn members(&self, name: &str) -> Vec<(String, &Value)> {
        let mut found = Vec::new();
        search(&self.config, "", name, &mut found);
        found
    }

    /// What it makes of a concern: its whole configuration, or a section of the chain's.
    pub fn section(&self, name: &str) -> Option<&Value> {
        if self.filter.name == name {
            return Some(&self.config);
        }
        let is_chain = self.filter.name == "portcullis";
        self.config.get(name).filter(|_| is_chain)
    }

    /// The filters that run here: itself, or the links of the chain.
    pub fn concerns(&self) -> Vec<&'static str> {
        match self.filter.name {
            "portcullis" => {
                let links = ORDER.into_iter();
                links.filter(|name| self.section(name).is_some()).collect()
            }
            name => vec![name],
        }
    }

    /// Whether a limit counts by what is in a request's body.
    pub fn reads_bodies(&self) -> bool {
        self.members("dimension")
            .iter()
            .any(|(_, dimension)| *dimension == "body")
    }
}

fn search<'v>(value: &'v Value, path: &str, name: &str, found: &mut Vec<(String, &'v Value)>) {
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                let at = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                if key == name {
                    found.push((at.clone(), member));
                }
                search(member, &at, name, found);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                search(item, &format!("{path}[{index}]"), name, found);
            }
        }
        _ => {}
    }
}

/// What the filter says of its configuration. True if nothing.
pub fn problems(
    filter: &Filter,
    config: &[u8],
    line_of: impl Fn(&str) -> u64,
    findings: &mut Findings,
) -> bool {
    let problems = (filter.problems)(config);
    let good = problems.is_empty();
    for (path, problem) in problems {
        findings.push(Finding {
            severity: Severity::Error,
            rule: "config",
            file: String::new(),
            line: Some(line_of(&path)).filter(|line| *line > 0),
            filter: Some(filter.name.to_owned()),
            path: (!path.is_empty()).then_some(path),
            message: problem,
        });
    }
    good
}

/// The same of JSON text; `line` tells the line in the file of a line in the text.
pub fn problems_in_text(
    filter: &Filter,
    text: &str,
    line: impl Fn(u64) -> u64,
    findings: &mut Findings,
) -> bool {
    let tree = yaml::documents(text)
        .ok()
        .and_then(|all| all.into_iter().next());
    let broken = serde_json::from_str::<serde::de::IgnoredAny>(text)
        .err()
        .map(|error| u64::try_from(error.line()).unwrap_or(1));
    let line_of = |path: &str| {
        let of_tree = tree.as_ref().map_or(1, |tree| tree.line_of(path));
        line(broken.unwrap_or(of_tree))
    };
    problems(filter, text.as_bytes(), line_of, findings)
}

/// What the configurations of all filters of a chain say about the gateway and about each other.
pub fn check_chain(chain: &[Found<'_>], findings: &mut Findings) {
    let mut seen = BTreeSet::new();
    let mut furthest: Option<(usize, &str)> = None;
    let all = chain.iter().flat_map(|found| {
        let concerns = found.concerns().into_iter();
        concerns.map(move |name| (found, name))
    });
    for (found, name) in all {
        if !seen.insert(name) {
            let message =
                format!("{name} is in this chain twice: each request is judged and counted twice");
            found.warning(findings, "filter-twice", "", message);
        }
        let place = ORDER.iter().position(|known| *known == name);
        match (place, furthest) {
            (Some(place), Some((before, earlier))) if before > place => {
                let message = format!("{name} comes after {earlier}: {}", why_before(name));
                found.warning(findings, "order", "", message);
            }
            (Some(place), _) => furthest = Some((place, name)),
            (None, _) => {}
        }
    }
    for found in chain {
        for (path, token) in found.members("service_token") {
            if token
                .as_str()
                .is_some_and(|token| PLACEHOLDERS.contains(&token))
            {
                let message = "is the examples' own: give the service's real token".to_owned();
                found.warning(findings, "placeholder", &path, message);
            }
        }
    }
}

fn why_before(name: &str) -> &'static str {
    match name {
        "edge_headers" => {
            "what only gateways may say is taken out before anything reads it, and auth verifies the claim that it reads"
        }
        "fingerprint_deny" => "a client that is denied anyway should cost nothing further on",
        "tarpit" => {
            "one in the tarpit should not cost a look-up of its credentials, nor any budget"
        }
        _ => {
            "who is refused should spend no budget, and limits by consumer or tenant read what auth injects"
        }
    }
}

/// Routes that rules name and nobody has: such a rule never matches.
pub fn check_routes(found: &Found<'_>, routes: &BTreeSet<String>, findings: &mut Findings) {
    for (path, matcher) in found.members("match") {
        let names = matcher.get("routes").and_then(Value::as_array);
        for (index, name) in names.into_iter().flatten().enumerate() {
            if let Some(name) = name.as_str().filter(|name| !routes.contains(*name)) {
                let message = format!("no route is named {name}: the rule matches nothing");
                let path = format!("{path}.routes[{index}]");
                found.error(findings, "route-unknown", &path, message);
            }
        }
    }
}

/// Members that the gateway does not know.
pub fn unknown_members(node: &Node, known: &[&str], what: &str, findings: &mut Findings) {
    for (key, _) in node.members() {
        if !known.contains(&key.name.as_str()) {
            let message = format!("{what} has no field {}", key.name);
            findings.error("unknown-field", key.line, message);
        }
    }
}
