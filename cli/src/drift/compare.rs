//! Two trees, and where they differ.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::mask::{HIDDEN, masked, names_credential};

/// Something that is not the same. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// `routes rt-orders-v1-api: methods[0]`.
    pub path: String,
    /// In Git; absent if only the gateway has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<Value>,
    /// In the gateway; absent if only Git has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running: Option<Value>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  {}", self.path)?;
        let show = |value: &Option<Value>| match value {
            None => "(nothing)".to_owned(),
            Some(Value::String(text)) if text == HIDDEN => text.clone(),
            Some(value) => value.to_string(),
        };
        writeln!(f, "    - in Git:  {}", show(&self.file))?;
        write!(f, "    + running: {}", show(&self.running))
    }
}

/// Whether a gateway leaves this out under this name, because it is what it does anyway.
pub type IsDefault = fn(name: &str, value: &Value) -> bool;

/// Compares, and writes down what differs.
pub struct Comparison {
    pub is_default: IsDefault,
    pub differences: Vec<Difference>,
    /// Places that the gateway does not show.
    pub redacted: usize,
    /// Whether what is being compared is a secret because of what stands beside it.
    hides: bool,
}

/// What Envoy shows in place of a secret: as text, and as bytes.
const REDACTED: [&str; 2] = ["[redacted]", "W3JlZGFjdGVkXQ=="];

impl Comparison {
    pub fn new(is_default: IsDefault) -> Self {
        Self {
            is_default,
            differences: Vec::new(),
            redacted: 0,
            hides: false,
        }
    }

    /// Compares two sets of things by name.
    pub fn sets(
        &mut self,
        kind: &str,
        file: &BTreeMap<String, Value>,
        running: &BTreeMap<String, Value>,
    ) {
        let names: std::collections::BTreeSet<&String> =
            file.keys().chain(running.keys()).collect();
        for name in names {
            let mut path = vec![kind.to_owned(), name.clone()];
            self.values(&mut path, file.get(name), running.get(name));
        }
    }

    /// Compares what is at a path.
    pub fn values(
        &mut self,
        path: &mut Vec<String>,
        file: Option<&Value>,
        running: Option<&Value>,
    ) {
        let (Some(of_file), Some(of_running)) = (file, running) else {
            let name = path.last().map(String::as_str).unwrap_or_default();
            let same = match (file, running) {
                (Some(value), None) => (self.is_default)(name, value),
                (None, Some(Value::String(text))) => {
                    (self.is_default)(name, &Value::from(text.as_str()))
                }
                (None, Some(value)) => value.is_null(),
                _ => true,
            };
            if !same {
                self.differ(path, file, running);
            }
            return;
        };
        match (of_file, of_running) {
            (Value::Object(a), Value::Object(b)) => {
                let names_one = names_credential(a) || names_credential(b);
                let before = self.hides;
                let names: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
                for name in names {
                    self.hides = before || (names_one && name == "value");
                    path.push(name.clone());
                    self.values(path, a.get(name), b.get(name));
                    path.pop();
                }
                self.hides = before;
            }
            (Value::Array(a), Value::Array(b)) => self.lists(path, a, b),
            (_, Value::String(text)) if REDACTED.contains(&text.as_str()) => {
                self.redacted = self.redacted.saturating_add(1);
            }
            (a, b) if same(a, b) => {}
            _ => self.differ(path, file, running),
        }
    }

    /// Lists whose items have names are compared by name, and then by order.
    fn lists(&mut self, path: &mut Vec<String>, a: &[Value], b: &[Value]) {
        if let (Some(of_a), Some(of_b)) = (names(a), names(b)) {
            let by_name = |list: &[Value], names: &[String]| -> BTreeMap<String, Value> {
                names.iter().cloned().zip(list.iter().cloned()).collect()
            };
            let (file, running) = (by_name(a, &of_a), by_name(b, &of_b));
            let all: std::collections::BTreeSet<&String> =
                file.keys().chain(running.keys()).collect();
            for name in all {
                path.push(format!("[{name}]"));
                self.values(path, file.get(name), running.get(name));
                path.pop();
            }
            let common = |list: &[String], other: &[String]| -> Vec<Value> {
                let both = list.iter().filter(|name| other.contains(name));
                both.map(|name| name.as_str().into()).collect()
            };
            let (one, other) = (common(&of_a, &of_b), common(&of_b, &of_a));
            if one != other {
                path.push("(order)".to_owned());
                self.differ(path, Some(&one.into()), Some(&other.into()));
                path.pop();
            }
            return;
        }
        for index in 0..a.len().max(b.len()) {
            path.push(format!("[{index}]"));
            let (one, other) = (a.get(index), b.get(index));
            if one.is_some() != other.is_some() {
                self.differ(path, one, other);
            } else {
                self.values(path, one, other);
            }
            path.pop();
        }
    }

    pub fn differ(&mut self, path: &[String], file: Option<&Value>, running: Option<&Value>) {
        let shown = |value: &Value| match self.hides {
            true => HIDDEN.into(),
            false => masked(path, value),
        };
        let difference = Difference {
            path: show(path),
            file: file.map(shown),
            running: running.map(shown),
        };
        self.differences.push(difference);
    }
}

/// The names of all items, if each has one of its own.
fn names(list: &[Value]) -> Option<Vec<String>> {
    let names: Option<Vec<String>> = list
        .iter()
        .map(|item| {
            let name = item.as_object()?.get("name")?;
            name.as_str().map(str::to_owned)
        })
        .collect();
    let names = names?;
    let unique: std::collections::BTreeSet<&String> = names.iter().collect();
    (unique.len() == names.len()).then_some(names)
}

/// Whether two values say the same: numbers too long for JSON are text, and durations have many forms.
fn same(a: &Value, b: &Value) -> bool {
    if a == b {
        return true;
    }
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => match (a.as_f64(), b.as_f64()) {
            (Some(a), Some(b)) => (a - b).abs() <= f64::EPSILON * a.abs().max(b.abs()),
            _ => false,
        },
        (Value::Number(number), Value::String(text))
        | (Value::String(text), Value::Number(number)) => number.to_string() == *text,
        (Value::String(a), Value::String(b)) => {
            seconds(a).is_some_and(|a| seconds(b).is_some_and(|b| (a - b).abs() < 1e-9))
        }
        (Value::Array(list), Value::Object(members))
        | (Value::Object(members), Value::Array(list)) => list.is_empty() && members.is_empty(),
        _ => false,
    }
}

/// `0.250s`.
fn seconds(text: &str) -> Option<f64> {
    let number = text.strip_suffix('s')?;
    let digits = number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    digits.then(|| number.parse().ok())?
}

/// `routes rt-orders-v1-api: methods[0]`.
fn show(path: &[String]) -> String {
    let mut parts = path.iter();
    let kind = parts.next().map(String::as_str).unwrap_or_default();
    let name = parts.next().map(String::as_str).unwrap_or_default();
    let mut text = String::new();
    for part in parts {
        if !part.starts_with('[') && !text.is_empty() {
            text.push('.');
        }
        text.push_str(part);
    }
    let head = format!("{kind} {name}");
    if text.is_empty() {
        head
    } else {
        format!("{head}: {text}")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn differences(file: &Value, running: &Value) -> Vec<String> {
        let mut comparison = Comparison::new(|_, value| value == &json!(false));
        let mut path = vec!["listeners".to_owned(), "x".to_owned()];
        comparison.values(&mut path, Some(file), Some(running));
        comparison
            .differences
            .iter()
            .map(|it| it.path.clone())
            .collect()
    }

    #[test]
    fn what_says_the_same_is_the_same() {
        let file = json!({"a": "0.250s", "b": 50000, "c": false, "d": [], "list": [{"name": "a"}, {"name": "b"}]});
        let running = json!({"a": "0.25s", "b": "50000", "d": {}, "e": null, "list": [{"name": "a"}, {"name": "b"}]});
        assert_eq!(differences(&file, &running), Vec::<String>::new());
    }

    #[test]
    fn what_does_not_is_found_where_it_is() {
        let file = json!({"a": "5s", "b": [1, 2], "list": [{"name": "a", "x": 1}, {"name": "b"}, {"name": "c"}]});
        let running = json!({"a": "6s", "b": [1], "c": false, "list": [{"name": "b"}, {"name": "a", "x": 2}, {"name": "d"}]});
        assert_eq!(
            differences(&file, &running),
            [
                "listeners x: a",
                "listeners x: b[1]",
                "listeners x: c",
                "listeners x: list[a].x",
                "listeners x: list[c]",
                "listeners x: list[d]",
                "listeners x: list.(order)",
            ]
        );
    }
}
