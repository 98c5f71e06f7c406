//! The format of a case file. Unknown members are errors.

use std::collections::BTreeMap;
use std::net::IpAddr;

use policy::duration::Span;
use serde::Deserialize;
use serde_json::{Map, Value};
use wire::lists::ListName;

use super::expectation::{Count, Expect};
use crate::auth_service::Endpoint;
use crate::fault::Fault;
use crate::gateway::HostName;
use crate::mint::{Alg, JwkEntry, Token};
use crate::request::Tls;
use crate::workspace;

/// A whole file.
#[derive(Clone, Debug)]
pub struct CaseFile {
    pub defaults: Defaults,
    pub keys: BTreeMap<String, KeySpec>,
    pub api_keys: BTreeMap<String, ApiKeySpec>,
    pub tokens: BTreeMap<String, Token>,
    pub cases: Vec<Case>,
    rows: Vec<String>,
    sections: Vec<String>,
    in_gateways: Vec<String>,
    /// The section of the configuration that the cases are about; all of it unless given.
    pub section: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    /// Rows that this file must have cases for: `J1` or `J1-J22`.
    #[serde(default)]
    rows: Vec<String>,
    /// Filters whose cases run here too, each with its configuration in the section of its name.
    #[serde(default)]
    sections: Vec<String>,
    /// Those of them that run in a real gateway unless all are asked for: `auth::the_case`.
    #[serde(default)]
    in_gateways: Vec<String>,
    #[serde(default)]
    defaults: Defaults,
    #[serde(default)]
    keys: BTreeMap<String, KeySpec>,
    #[serde(default)]
    api_keys: BTreeMap<String, ApiKeySpec>,
    #[serde(default)]
    tokens: BTreeMap<String, Value>,
    #[serde(default, rename = "case")]
    cases: Vec<Case>,
}

/// What holds for every case unless it says otherwise.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Defaults {
    /// The filter's configuration.
    pub config: Value,
    /// Members of every token.
    pub token: Map<String, Value>,
    /// What the services are like at the start.
    pub world: Change,
    /// The path of a step that names none.
    pub path: Option<String>,
}

/// A signing key.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeySpec {
    pub alg: Alg,
    /// Its id; its name unless given.
    pub kid: Option<String>,
    /// An RSA key of 1024 bits.
    #[serde(default)]
    pub weak: bool,
    /// The private number of an ES256 or EdDSA key, base64url.
    pub d: Option<String>,
}

/// An API key that the auth-service knows.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKeySpec {
    /// The raw key; made from the name unless given.
    pub key: Option<String>,
    pub id: Option<String>,
    pub account: String,
    pub tier: Option<String>,
    pub tenant: Option<String>,
    #[serde(default = "yes")]
    pub active: bool,
    /// False for a well-formed key that the auth-service has never heard of.
    #[serde(default = "yes")]
    pub known: bool,
}

const fn yes() -> bool {
    true
}

/// One behaviour.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// A sentence in snake_case.
    pub name: String,
    /// The requirements it proves.
    #[serde(default)]
    pub rows: Vec<String>,
    #[serde(default = "everywhere")]
    pub hosts: Vec<HostName>,
    /// Merged over the default configuration (RFC 7396).
    #[serde(default)]
    pub config: Value,
    /// Dotted paths of members to leave out of the configuration: `providers.staff.max_age`.
    #[serde(default)]
    pub without: Vec<String>,
    /// The configuration's text itself, instead.
    pub config_text: Option<String>,
    /// The configuration must be refused with an error line for each of these.
    pub refused: Option<Vec<String>>,
    /// What the services are like at the start, over the defaults.
    #[serde(default)]
    pub world: Change,
    /// What is done, in order.
    #[serde(default, rename = "step")]
    pub steps: Vec<Step>,
    /// How often services were asked in the whole case.
    #[serde(default)]
    pub calls: BTreeMap<String, Count>,
    /// How metrics moved in the whole case.
    #[serde(default)]
    pub metrics: BTreeMap<String, Count>,
    /// Parts of lines that the gateway's log must hold in the end.
    #[serde(default)]
    pub log: Vec<String>,
    /// Parts of error lines that the gateway's log may hold.
    #[serde(default)]
    pub expected_errors: Vec<String>,
    /// Threads of a real gateway that serve requests.
    pub workers: Option<u32>,
}

fn everywhere() -> Vec<HostName> {
    vec![HostName::Drive, HostName::Envoy, HostName::Kong]
}

/// One thing that is done. In order: the change of the world, the new configuration, the wait, the
/// request.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Step {
    /// A change of the services.
    pub change: Option<Change>,
    /// A new configuration: merged over the case's own.
    pub config: Option<Value>,
    /// The new configuration must be refused with these; the old one stays.
    pub refused: Option<Vec<String>>,
    /// So much time passes.
    pub wait: Option<Span>,
    /// A GET request of this path.
    pub get: Option<String>,
    /// A POST request of this path.
    pub post: Option<String>,
    /// A request with any method.
    pub method: Option<String>,
    /// The path of that request.
    pub path: Option<String>,
    /// Names and values, in order. `\xff` is a byte; placeholders are replaced.
    pub headers: Vec<(String, String)>,
    /// Adds `authorization: Bearer` with this token.
    pub token: Option<String>,
    /// Adds `x-api-key` with this key.
    pub key: Option<String>,
    pub body: Option<String>,
    /// Where the request comes from, in 127.0.0.0/8.
    pub peer: Option<IpAddr>,
    /// What the gateway's own TLS inspector tells of the client.
    pub tls: Option<Tls>,
    /// So often, one after another; `${n}` counts from 0.
    pub repeat: Option<usize>,
    /// So often, all at once; `${n}` counts from 0.
    pub concurrent: Option<usize>,
    /// What must come of it, each time.
    pub expect: Option<Expect>,
}

/// A change of the services.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Change {
    /// Key sets by path, in place of what was there.
    pub jwks: BTreeMap<String, Vec<JwkEntry>>,
    /// Documents by path, whatever they are.
    pub documents: BTreeMap<String, String>,
    /// What fails from now on; `none` works again.
    pub fault: BTreeMap<Endpoint, Fault>,
    /// Everything works again.
    pub heal: bool,
    /// Tenants and the tiers they are put into: `standard`, `p3`.
    pub tenants: BTreeMap<String, String>,
    /// Quotas of tenants, by tenant.
    pub quota: BTreeMap<String, QuotaSpec>,
    /// Tenants whose quota is forgotten.
    pub unquota: Vec<String>,
    /// Entries that lists gain: `ip 192.0.2.1 5m`; an hour unless they say how long.
    pub list: BTreeMap<ListName, Vec<String>>,
    /// Entries that lists lose: `ip 192.0.2.1`.
    pub unlist: BTreeMap<ListName, Vec<String>>,
    /// The store of the lists is lost, before entries are added.
    pub lose_lists: bool,
    /// So many changes make a page of a list.
    pub page_changes: Option<usize>,
    /// API keys that are revoked, by name.
    pub revoke: Vec<String>,
    /// API keys that are active, by name.
    pub activate: Vec<String>,
    /// Service tokens that the auth-service accepts.
    pub service_tokens: Option<Vec<String>>,
    /// What the upstream answers.
    pub upstream: Option<UpstreamAnswer>,
}

/// The quota of a tenant.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuotaSpec {
    pub limit: u64,
    pub used: u64,
    /// So long from now; at the start of 2100 unless given.
    pub resets_in: Option<Span>,
}

/// An answer of the upstream.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpstreamAnswer {
    #[serde(default = "ok")]
    pub status: u16,
    #[serde(default)]
    pub headers: Vec<(String, String)>,
}

const fn ok() -> u16 {
    200
}

impl CaseFile {
    /// Reads a file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let raw: RawFile = toml::from_str(text).map_err(|e| e.to_string())?;
        let mut tokens = BTreeMap::new();
        for name in raw.tokens.keys() {
            let recipe = recipe(name, &raw.tokens, &raw.defaults.token, 0)?;
            let token =
                serde_json::from_value(recipe).map_err(|e| format!("tokens.{name}: {e}"))?;
            tokens.insert(name.clone(), token);
        }
        let file = Self {
            defaults: raw.defaults,
            keys: raw.keys,
            api_keys: raw.api_keys,
            tokens,
            cases: raw.cases,
            rows: raw
                .rows
                .iter()
                .map(|row| expand_rows(row))
                .collect::<Result<Vec<_>, _>>()?
                .concat(),
            sections: raw.sections,
            in_gateways: raw.in_gateways,
            section: None,
        };
        file.check()?;
        Ok(file)
    }

    fn check(&self) -> Result<(), String> {
        let mut names = std::collections::BTreeSet::new();
        for case in &self.cases {
            let name = &case.name;
            let fits = !name.is_empty()
                && name
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
            if !fits {
                return Err(format!("{name:?} is no sentence in snake_case"));
            }
            if !names.insert(name) {
                return Err(format!("two cases are named {name:?}"));
            }
            if case.steps.is_empty() && case.refused.is_none() {
                return Err(format!("{name}: a case without steps proves nothing"));
            }
            for (index, step) in case.steps.iter().enumerate() {
                step.check()
                    .map_err(|e| format!("{name}: step {}: {e}", index + 1))?;
            }
        }
        Ok(())
    }

    /// The file, and those of its sections: the cases of these filters, each about its section.
    ///
    /// # Errors
    /// When one cannot be read, or lacks a case that is named here.
    pub fn with_sections(self) -> Result<Vec<Self>, String> {
        let mut named = self.in_gateways.clone();
        let mut files = Vec::new();
        for section in &self.sections {
            let path = workspace::case_file(section);
            let text = std::fs::read_to_string(&path);
            let mut file = text
                .map_err(|e| e.to_string())
                .and_then(|text| Self::parse(&text))
                .map_err(|e| format!("{}: {e}", path.display()))?;
            // They are promises of the filter's own file.
            file.rows.clear();
            file.section = Some(section.clone());
            file.in_gateways = self.in_gateways.clone();
            for case in &file.cases {
                let name = file.name_of(case);
                named.retain(|other| *other != name);
            }
            files.push(file);
        }
        if !named.is_empty() {
            return Err(format!("in_gateways: there is no {}", named.join(", ")));
        }
        files.insert(0, self);
        Ok(files)
    }

    /// The name of a case among those of all sections.
    #[must_use]
    pub fn name_of(&self, case: &Case) -> String {
        match &self.section {
            Some(section) => format!("{section}::{}", case.name),
            None => case.name.clone(),
        }
    }

    /// Whether a real gateway runs the case unless all are asked for.
    #[must_use]
    pub fn is_for_gateways(&self, case: &Case) -> bool {
        self.section.is_none() || self.in_gateways.contains(&self.name_of(case))
    }

    /// A filter's configuration as its section, or itself.
    #[must_use]
    pub fn in_section(&self, config: String) -> String {
        match &self.section {
            Some(section) if config.trim().is_empty() => format!("{{\"{section}\":{{}}}}"),
            Some(section) => format!("{{\"{section}\":{config}}}"),
            None => config,
        }
    }

    /// A part of an error line as the filter of all sections says it: `auth: rules: …` is `auth.rules: …`.
    #[must_use]
    pub fn error_in_section(&self, part: &str, filter: &str) -> String {
        let Some(section) = &self.section else {
            return part.to_owned();
        };
        match part.strip_prefix(&format!("{section}: ")) {
            // The text is the whole filter's.
            Some(rest) if rest.starts_with("not JSON") => format!("{filter}: {rest}"),
            Some(rest) => format!("{section}.{rest}"),
            None => part.to_owned(),
        }
    }

    /// Rows that the file promises and no case of this process and Envoy proves.
    #[must_use]
    pub fn rows_without_a_case(&self) -> Vec<String> {
        let proven = |row: &String, host| {
            self.cases
                .iter()
                .any(|case| case.rows.contains(row) && case.runs_on(host))
        };
        let mut missing = Vec::new();
        for row in &self.rows {
            for host in [HostName::Drive, HostName::Envoy] {
                if !proven(row, host) {
                    missing.push(format!("{row} ({host:?})"));
                }
            }
        }
        missing
    }
}

impl Case {
    #[must_use]
    pub fn runs_on(&self, host: HostName) -> bool {
        self.hosts.contains(&host)
    }
}

impl Step {
    /// Whether it sends a request.
    #[must_use]
    pub const fn sends(&self) -> bool {
        self.get.is_some()
            || self.post.is_some()
            || self.path.is_some()
            || self.token.is_some()
            || self.key.is_some()
            || !self.headers.is_empty()
    }

    fn check(&self) -> Result<(), String> {
        let ways = [&self.get, &self.post, &self.path];
        if ways.iter().filter(|way| way.is_some()).count() > 1 {
            return Err("give one of get, post and path".into());
        }
        if self.method.is_some() && (self.get.is_some() || self.post.is_some()) {
            return Err("method goes with path, not with get or post".into());
        }
        if self.repeat.is_some() && self.concurrent.is_some() {
            return Err("give one of repeat and concurrent".into());
        }
        if self.refused.is_some() && self.config.is_none() {
            return Err("refused goes with config".into());
        }
        if self.sends() && self.expect.is_none() {
            return Err("a request without an expectation proves nothing".into());
        }
        let idle = self.change.is_none() && self.config.is_none() && self.wait.is_none();
        if !self.sends() && idle {
            return Err("does nothing".into());
        }
        Ok(())
    }
}

/// The recipe of a token over the one it is `like`, or over the defaults.
fn recipe(
    name: &str,
    all: &BTreeMap<String, Value>,
    defaults: &Map<String, Value>,
    depth: usize,
) -> Result<Value, String> {
    if depth > all.len() {
        return Err(format!("tokens.{name}: is like itself"));
    }
    let mut own = all
        .get(name)
        .ok_or_else(|| format!("there is no token {name:?}"))?
        .clone();
    let like = match own
        .as_object_mut()
        .and_then(|members| members.remove("like"))
    {
        Some(Value::String(like)) => Some(like),
        Some(_) => return Err(format!("tokens.{name}.like: must be a name")),
        None => None,
    };
    let mut base = match like {
        Some(like) => recipe(&like, all, defaults, depth + 1)?,
        None => Value::Object(defaults.clone()),
    };
    merge(&mut base, &own);
    Ok(base)
}

/// JSON merge patch (RFC 7396).
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        if !patch.is_null() {
            *target = patch.clone();
        }
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    if let Value::Object(target) = target {
        for (name, value) in patch {
            if value.is_null() {
                target.remove(name);
            } else {
                merge(target.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
    }
}

/// Takes the member at a dotted path out; numbers are places in lists.
///
/// # Errors
/// When there is none.
pub fn take_out(value: &mut Value, path: &str) -> Result<(), String> {
    let (parent, last) = path.rsplit_once('.').unwrap_or(("", path));
    let mut at = value;
    for part in parent.split('.').filter(|part| !part.is_empty()) {
        let next = match part.parse::<usize>() {
            Ok(index) => at.get_mut(index),
            Err(_) => at.get_mut(part),
        };
        at = next.ok_or_else(|| format!("without: there is no {path}"))?;
    }
    at.as_object_mut()
        .and_then(|members| members.remove(last))
        .map(drop)
        .ok_or_else(|| format!("without: there is no {path}"))
}

/// `J1-J3` is `J1`, `J2`, `J3`.
fn expand_rows(text: &str) -> Result<Vec<String>, String> {
    let Some((first, last)) = text.split_once('-') else {
        return Ok(vec![text.to_owned()]);
    };
    let split = |row: &str| -> Option<(String, u32)> {
        let at = row.find(|c: char| c.is_ascii_digit())?;
        Some((row[..at].to_owned(), row[at..].parse().ok()?))
    };
    match (split(first), split(last)) {
        (Some((a, from)), Some((b, to))) if a == b && from <= to => {
            Ok((from..=to).map(|n| format!("{a}{n}")).collect())
        }
        _ => Err(format!("rows: {text:?} is no row and no range of rows")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn unknown_members_are_errors() {
        for text in [
            "surprise = 1",
            "[[case]]\nname = 'a'\nsteps = []",
            "[[case]]\nname = 'a'\n[[case.step]]\ngett = '/'",
            "[[case]]\nname = 'a'\n[[case.step]]\nget = '/'\nexpect = { state = 200 }",
            "[tokens.a]\nexpin = '1h'",
        ] {
            assert!(CaseFile::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_request_needs_an_expectation() {
        let error = CaseFile::parse("[[case]]\nname = 'a'\n[[case.step]]\nget = '/'").unwrap_err();
        assert!(error.contains("step 1"), "{error}");
    }

    #[test]
    fn names_are_sentences_and_unique() {
        let case = |name: &str| format!("[[case]]\nname = '{name}'\n[[case.step]]\nwait = '1s'\n");
        assert!(CaseFile::parse(&case("it_works")).is_ok());
        assert!(CaseFile::parse(&case("It works")).is_err());
        assert!(CaseFile::parse(&[case("a"), case("a")].concat()).is_err());
    }

    #[test]
    fn tokens_build_on_one_another() {
        let file = CaseFile::parse(
            "[defaults.token]\nkey = 'k'\nexp_in = '1h'\n\
             [tokens.a.claims]\nx = 1\ny = 2\n\
             [tokens.b]\nlike = 'a'\nclaims = { y = 3 }\n",
        )
        .unwrap();
        let b = &file.tokens["b"];
        assert_eq!(b.key.as_deref(), Some("k"));
        assert_eq!(b.exp_in.as_deref(), Some("1h"));
        assert_eq!(Value::Object(b.claims.clone()), json!({"x": 1, "y": 3}));
        assert!(CaseFile::parse("[tokens.a]\nlike = 'a'").is_err());
        assert!(CaseFile::parse("[tokens.a]\nlike = 'b'").is_err());
    }

    #[test]
    fn merges_as_rfc_7396_does() {
        for (target, patch, merged) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (
                json!({"a": "b"}),
                json!({"b": "c"}),
                json!({"a": "b", "b": "c"}),
            ),
            (
                json!({"a": "b", "b": "c"}),
                json!({"a": null}),
                json!({"b": "c"}),
            ),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (
                json!({"a": [{"b": "c"}]}),
                json!({"a": [1]}),
                json!({"a": [1]}),
            ),
            (
                json!({}),
                json!({"a": {"bb": {"ccc": null}}}),
                json!({"a": {"bb": {}}}),
            ),
        ] {
            let mut result = target;
            merge(&mut result, &patch);
            assert_eq!(result, merged);
        }
    }

    #[test]
    fn takes_out_by_path() {
        let mut value = json!({"a": {"b": 1}, "rules": [{"x": 1}, {"x": 2, "y": 3}]});
        take_out(&mut value, "a.b").unwrap();
        take_out(&mut value, "rules.1.y").unwrap();
        assert_eq!(value, json!({"a": {}, "rules": [{"x": 1}, {"x": 2}]}));
        assert!(take_out(&mut value, "a.b").is_err());
        assert!(take_out(&mut value, "rules.7.x").is_err());
    }

    #[test]
    fn rows_come_in_ranges() {
        assert_eq!(expand_rows("J9-J11").unwrap(), ["J9", "J10", "J11"]);
        assert_eq!(expand_rows("A3").unwrap(), ["A3"]);
        assert!(expand_rows("J3-A4").is_err());
    }
}
