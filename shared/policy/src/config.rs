//! From bytes to a checked configuration, or to all of its errors with their paths.

use std::fmt;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::json;
use crate::node::{Error, Node, Segment};

/// A configuration that a policy runs on: parsed from `Raw`, checked once, private afterwards.
pub trait Configure: Sized + 'static {
    /// What the operator writes. Derives `Deserialize` with `deny_unknown_fields`.
    type Raw: DeserializeOwned;

    /// Checks everything and reports every problem; `None` if there was one.
    fn check(raw: Self::Raw, problems: &mut Problems) -> Option<Self>;
}

/// For policies without options.
impl Configure for () {
    type Raw = NoOptions;

    fn check(_: NoOptions, _: &mut Problems) -> Option<Self> {
        Some(())
    }
}

/// An object without members.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoOptions {}

/// What the [`Guard`](crate::Guard) of every filter understands, beside the filter's own options in
/// the same object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct GuardConfig {
    /// Decide, count and log, but let every request pass.
    pub shadow: bool,
    /// What happens to a request for which the filter has no answer because of a fault of its own.
    pub on_fault: OnFault,
}

/// Fail closed or open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema, serde::Serialize),
    schemars(inline)
)]
pub enum OnFault {
    /// Refuses it with 503 `filter_fault`.
    #[default]
    Deny,
    /// Passes it on.
    Allow,
}

/// The whole configuration of a filter.
#[derive(Clone, Debug)]
pub struct Loaded<C> {
    pub guard: GuardConfig,
    pub policy: C,
}

impl<C: Configure> Loaded<C> {
    /// Parses the JSON text that the gateway passes on. Empty text is an empty object.
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigErrors> {
        let bytes = if bytes.trim_ascii().is_empty() {
            b"{}"
        } else {
            bytes
        };
        let value =
            json::parse(bytes).map_err(|e| ConfigErrors::one("", format!("not JSON: {e}")))?;
        Self::read(value)
    }

    /// The same of a value that is JSON already.
    pub fn read(mut value: Value) -> Result<Self, ConfigErrors> {
        let mut problems = Problems::default();
        let Value::Object(members) = &mut value else {
            return Err(ConfigErrors::one("", "must be a JSON object"));
        };
        let mut guard_members = serde_json::Map::new();
        for name in ["shadow", "on_fault"] {
            if let Some(value) = members.remove(name) {
                guard_members.insert(name.to_owned(), value);
            }
        }
        let mut taken = TakenOut::default();
        let guard = read::<GuardConfig>(Value::Object(guard_members), &mut problems, &mut taken);
        let policy = read::<C::Raw>(value, &mut problems, &mut taken).and_then(|raw| {
            let mut found = Problems::default();
            let checked = C::check(raw, &mut found);
            for (path, problem) in found.0 {
                problems.say(taken.original(&path), problem);
            }
            checked
        });
        match (guard, policy, problems.0.is_empty()) {
            (Some(guard), Some(policy), true) => Ok(Self { guard, policy }),
            (_, _, false) => Err(ConfigErrors(problems.0)),
            (_, _, true) => Err(ConfigErrors::one("", "refused without a reason")),
        }
    }
}

/// More problems than this in one configuration are not listed.
const MAX_PROBLEMS: usize = 64;

/// Deserializes; on an error notes it, takes the offending member out and tries again, so that all
/// errors are found and not only the first. What is left may be good enough for further checks.
fn read<T: DeserializeOwned>(
    mut value: Value,
    problems: &mut Problems,
    taken: &mut TakenOut,
) -> Option<T> {
    for _ in 0..MAX_PROBLEMS {
        match T::deserialize(Node(&value)) {
            Ok(raw) => return Some(raw),
            Err(error) => {
                if !take_out_of(&mut value, error, problems, taken) {
                    return None;
                }
            }
        }
    }
    None
}

/// Notes the error, unless it follows from one before, and takes out what it is about; false if there
/// is nothing to take out.
fn take_out_of(
    value: &mut Value,
    error: Error,
    problems: &mut Problems,
    taken: &mut TakenOut,
) -> bool {
    let (path, problem) = error.into_parts();
    let shown = taken.original(&shown(&path));
    let follows = missing_field(&problem).is_some_and(|field| taken.has(&join(&shown, field)));
    if !follows {
        problems.say(&shown, problem);
    }
    let out = take_out(value, &path);
    taken.0.push(shown);
    out
}

/// A path as it is written: `limits[2].window`.
fn shown(path: &[Segment]) -> String {
    path.iter()
        .fold(String::new(), |path, segment| match segment {
            Segment::Member(name) => join(&path, name),
            Segment::Item(index) => format!("{path}[{index}]"),
        })
}

/// The paths of what was taken out, as they are in the operator's text.
#[derive(Default)]
struct TakenOut(Vec<String>);

impl TakenOut {
    fn has(&self, path: &str) -> bool {
        self.0.iter().any(|taken| taken == path)
    }

    /// The path in the operator's text: items after one that was taken out have moved up.
    fn original(&self, path: &str) -> String {
        let mut out = String::with_capacity(path.len());
        let mut rest = path;
        while let Some((before, after)) = rest.split_once('[') {
            out.push_str(before);
            let Some((digits, tail)) = after.split_once(']') else {
                break;
            };
            let Ok(mut index) = digits.parse::<usize>() else {
                break;
            };
            let mut gone: Vec<usize> = self
                .0
                .iter()
                .filter_map(|taken| {
                    taken
                        .strip_prefix(&out)?
                        .strip_prefix('[')?
                        .strip_suffix(']')?
                        .parse()
                        .ok()
                })
                .collect();
            gone.sort_unstable();
            for gone in gone {
                if gone <= index {
                    index = index.saturating_add(1);
                }
            }
            out.push_str(&format!("[{index}]"));
            rest = tail;
        }
        out.push_str(rest);
        out
    }
}

fn missing_field(problem: &str) -> Option<&str> {
    problem.strip_prefix("missing field `")?.split('`').next()
}

fn join(path: &str, field: &str) -> String {
    if path.is_empty() {
        field.to_owned()
    } else {
        format!("{path}.{field}")
    }
}

/// Removes the member or item at the path; false if there is nothing to remove.
fn take_out(value: &mut Value, path: &[Segment]) -> bool {
    let Some((last, before)) = path.split_last() else {
        return false;
    };
    let mut at = value;
    for segment in before {
        let next = match (segment, at) {
            (Segment::Member(name), Value::Object(members)) => members.get_mut(name),
            (Segment::Item(index), Value::Array(items)) => items.get_mut(*index),
            _ => None,
        };
        let Some(next) = next else { return false };
        at = next;
    }
    match (last, at) {
        (Segment::Member(name), Value::Object(members)) => members.remove(name).is_some(),
        (Segment::Item(index), Value::Array(items)) if *index < items.len() => {
            items.remove(*index);
            true
        }
        _ => false,
    }
}

/// Collects what is wrong, each with its path: `limits[2].window`.
#[derive(Debug, Default)]
pub struct Problems(Vec<(String, String)>);

impl Problems {
    /// Notes a problem. Values of secrets do not belong here.
    pub fn say(&mut self, path: impl fmt::Display, problem: impl fmt::Display) {
        self.0.push((path.to_string(), problem.to_string()));
    }

    /// The value, or a note of what is wrong with it.
    pub fn check<T, E: fmt::Display>(
        &mut self,
        path: impl fmt::Display,
        result: Result<T, E>,
    ) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(problem) => {
                self.say(path, problem);
                None
            }
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Everything that is wrong with a configuration. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(Vec<(String, String)>);

impl ConfigErrors {
    #[must_use]
    pub fn one(path: impl Into<String>, problem: impl Into<String>) -> Self {
        Self(vec![(path.into(), problem.into())])
    }

    /// All of these, if there are any.
    #[must_use]
    pub fn all(errors: Vec<(String, String)>) -> Option<Self> {
        (!errors.is_empty()).then_some(Self(errors))
    }

    /// The errors: path and problem.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(path, problem)| (path.as_str(), problem.as_str()))
    }

    /// One line for each error: `auth: rules[2].prefix: must start with /`. Control characters in
    /// names that the operator wrote are escaped.
    pub fn lines<'a>(&'a self, filter: &'a str) -> impl Iterator<Item = String> + 'a {
        self.iter().map(move |(path, problem)| {
            let line = if path.is_empty() {
                format!("{filter}: {problem}")
            } else {
                format!("{filter}: {path}: {problem}")
            };
            one_line(&line)
        })
    }
}

fn one_line(text: &str) -> String {
    text.chars()
        .fold(String::with_capacity(text.len()), |mut out, c| {
            if c.is_control() {
                out.extend(c.escape_default());
            } else {
                out.push(c);
            }
            out
        })
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (path, problem)) in self.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            if path.is_empty() {
                write!(f, "{separator}{problem}")?;
            } else {
                write!(f, "{separator}{path}: {problem}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[derive(Debug)]
    struct Limits(u64);

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct RawLimits {
        limits: Vec<RawLimit>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct RawLimit {
        rate: u64,
        #[serde(default)]
        window: u64,
    }

    impl Configure for Limits {
        type Raw = RawLimits;
        fn check(raw: RawLimits, problems: &mut Problems) -> Option<Self> {
            for (i, limit) in raw.limits.iter().enumerate() {
                if limit.window == 0 {
                    problems.say(format_args!("limits[{i}].window"), "must be > 0");
                }
            }
            Some(Self(raw.limits.iter().map(|l| l.rate).sum()))
        }
    }

    fn errors(text: &str) -> Vec<String> {
        match Loaded::<Limits>::parse(text.as_bytes()) {
            Ok(_) => Vec::new(),
            Err(errors) => errors.lines("rate_limit").collect(),
        }
    }

    #[test]
    fn a_good_one_is_loaded_with_the_guard_beside() {
        let loaded = Loaded::<Limits>::parse(
            br#"{"shadow":true,"on_fault":"allow","limits":[{"rate":3,"window":1}]}"#,
        )
        .unwrap();
        assert_eq!(loaded.policy.0, 3);
        assert_eq!(
            loaded.guard,
            GuardConfig {
                shadow: true,
                on_fault: OnFault::Allow
            }
        );
    }

    #[test]
    fn every_error_is_reported_with_its_path() {
        let found = errors(
            r#"{"shadow":1,"limits":[{"rate":1,"window":1},{"rate":"x","window":1,"widnow":2},{"rate":1}]}"#,
        );
        assert_eq!(
            found,
            [
                "rate_limit: shadow: invalid type: integer `1`, expected a boolean",
                "rate_limit: limits[1].rate: invalid type: string, expected u64",
                "rate_limit: limits[1].widnow: unknown field `widnow`, expected `rate` or `window`",
                "rate_limit: limits[2].window: must be > 0",
            ]
        );
    }

    #[test]
    fn an_empty_object_is_an_empty_list_where_a_list_belongs() {
        let loaded = Loaded::<Limits>::parse(br#"{"limits":{}}"#).unwrap();
        assert_eq!(loaded.policy.0, 0);
        let many = format!("[{}]", vec!["{}"; 2 * MAX_PROBLEMS].join(","));
        let mut problems = Problems::default();
        let many: Option<Vec<Vec<u8>>> = read(
            serde_json::from_str(&many).unwrap(),
            &mut problems,
            &mut TakenOut::default(),
        );
        assert_eq!(many, Some(vec![Vec::new(); 2 * MAX_PROBLEMS]));
        assert!(problems.is_empty());
        for (text, error) in [
            (
                r#"{"limits":{"rate":1}}"#,
                "rate_limit: limits: invalid type: map, expected a sequence",
            ),
            (
                r#"{"limits":[{"rate":{}}]}"#,
                "rate_limit: limits[0].rate: invalid type: map, expected u64",
            ),
        ] {
            assert_eq!(errors(text), [error]);
        }
    }

    #[test]
    fn items_keep_their_numbers_when_others_are_taken_out() {
        let found = errors(
            r#"{"limits":[7,{"rate":1,"window":1},8,{"rate":1},{"rate":"hunter2","window":1}]}"#,
        );
        assert_eq!(
            found,
            [
                "rate_limit: limits[0]: invalid type: integer `7`, expected struct RawLimit",
                "rate_limit: limits[2]: invalid type: integer `8`, expected struct RawLimit",
                "rate_limit: limits[4].rate: invalid type: string, expected u64",
                "rate_limit: limits[3].window: must be > 0",
            ]
        );
    }

    #[test]
    fn a_line_stays_one_line() {
        let found = errors("{\"limits\":[],\"a\\nb\":1}");
        assert_eq!(found.len(), 1);
        assert!(!found[0].contains('\n'), "{found:?}");
    }

    #[test]
    fn doubled_members_and_other_json_are_refused() {
        for bad in ["[]", "{", "{\"limits\":[],\"limits\":[]}", "\u{feff}{}"] {
            assert_eq!(errors(bad).len(), 1, "{bad}");
        }
        assert_eq!(errors(""), ["rate_limit: missing field `limits`"]);
    }
}
