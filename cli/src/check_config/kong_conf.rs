//! `kong.conf`, as far as filters depend on it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::gateway::Found;
use crate::finding::Findings;

/// What Kong says of bodies unless it is told otherwise.
const BODY_BUFFER: u64 = 8 * 1024;
/// What `rate_limit` reads of a body, and how many clients `tarpit` holds, unless they are told otherwise.
const MAX_BYTES: u64 = 4_096;
const MAX_HELD: u64 = 4_096;

/// What the filters of a declarative configuration need.
#[derive(Debug, Default)]
pub struct Needs {
    names: Vec<&'static str>,
    /// The longest body that a limit reads, in bytes.
    body: Option<u64>,
    /// Clients in the tarpit of one worker.
    held: Option<u64>,
    /// Telltale headers are taken out of responses.
    quiet: bool,
}

impl Needs {
    /// Adds those of a filter.
    pub fn add(&mut self, found: &Found<'_>) {
        self.names.push(found.filter.name);
        if found.reads_bodies() {
            let bytes = found.members("max_bytes").into_iter();
            let longest = bytes.filter_map(|(_, bytes)| bytes.as_u64()).max();
            self.body = self.body.max(Some(longest.unwrap_or(MAX_BYTES)));
        }
        if let Some(tarpit) = found.section("tarpit") {
            let held = tarpit.get("max_held").and_then(Value::as_u64);
            self.held = self.held.max(Some(held.unwrap_or(MAX_HELD)));
        }
        self.quiet |= found.section("edge_headers").is_some();
    }
}

/// Checks a file. What Kong takes from its environment is not seen.
pub fn check(text: &str, needs: &Needs, findings: &mut Findings) {
    let settings = Settings::of(text);
    if settings.value("wasm") != Some("on") {
        findings.error("wasm-off", settings.line("wasm"), "filters need wasm = on");
    }
    if settings.value("wasm_filters_path").is_none() {
        let message = "wasm_filters_path is missing: where the modules and their .meta.json are";
        findings.error("wasm-off", 0, message);
    }
    if let Some(list) = settings.value("wasm_filters") {
        let listed: Vec<&str> = list.split(',').map(str::trim).collect();
        let lacks = needs.names.iter().find(|name| !listed.contains(name));
        if let Some(name) = lacks.filter(|_| !listed.contains(&"user")) {
            let message = format!("wasm_filters has neither user nor {name}");
            findings.error("wasm-off", settings.line("wasm_filters"), message);
        }
    }
    let field = "nginx_http_client_body_buffer_size";
    let buffer = settings.value(field).map_or(Some(BODY_BUFFER), size);
    if let (Some(body), Some(buffer)) = (needs.body, buffer)
        && buffer < body
    {
        let message = format!(
            "a limit reads bodies of up to {body} bytes, and nginx keeps {buffer} in memory: longer ones look empty to it"
        );
        findings.error("body-buffer", settings.line(field), message);
    }
    let field = "nginx_events_worker_connections";
    let connections = settings
        .value(field)
        .and_then(|value| value.parse::<u64>().ok());
    if let (Some(held), Some(connections)) = (needs.held, connections)
        && connections < held.saturating_mul(2)
    {
        let message = format!(
            "{held} clients in the tarpit hold two connections each, and a worker has {connections}"
        );
        findings.error("too-few-connections", settings.line(field), message);
    }
    if needs.quiet && settings.value("headers") != Some("off") {
        let message = "Kong adds Server, Via and X-Kong-* behind the filters: headers = off";
        findings.warning("headers-shown", settings.line("headers"), message);
    }
    if matches!(settings.value("status_listen"), None | Some("off")) {
        let message = "without status_listen nobody sees what the filters count";
        findings.warning("no-metrics", settings.line("status_listen"), message);
    }
}

/// `64k`, `1m`
fn size(text: &str) -> Option<u64> {
    let text = text.to_ascii_lowercase();
    let (digits, unit) = match text.strip_suffix('k') {
        Some(digits) => (digits, 1024),
        None => match text.strip_suffix('m') {
            Some(digits) => (digits, 1024 * 1024),
            None => (text.as_str(), 1),
        },
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

/// `name = value`, with comments after `#`; the last of a name counts.
struct Settings<'a>(BTreeMap<&'a str, (&'a str, u64)>);

impl<'a> Settings<'a> {
    fn of(text: &'a str) -> Self {
        let settings = (1..).zip(text.lines()).filter_map(|(line, content)| {
            let content = content.split('#').next().unwrap_or_default();
            let (name, value) = content.split_once('=')?;
            Some((name.trim(), (value.trim(), line)))
        });
        Self(settings.collect())
    }

    fn value(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).map(|(value, _)| *value)
    }

    fn line(&self, name: &str) -> u64 {
        self.0.get(name).map_or(0, |(_, line)| *line)
    }
}
