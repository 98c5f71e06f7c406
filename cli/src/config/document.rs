//! A value as YAML, always the same bytes.

use serde::ser::{Serialize, SerializeMap as _, SerializeSeq as _, Serializer};
use serde_json::Value;

use crate::outcome::Failure;
use crate::yaml;

/// Members that come before all others, which are in the order of their names.
const FIRST: [&str; 4] = ["_format_version", "@type", "name", "match"];

/// A value whose members are written in one order, whatever the order they were put in.
struct Ordered<'a>(&'a Value);

impl Serialize for Ordered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(members) => {
                let mut sorted: Vec<_> = members.iter().collect();
                sorted.sort_by_key(|(name, _)| {
                    let first = FIRST.iter().position(|first| first == name);
                    (first.unwrap_or(FIRST.len()), name.as_str())
                });
                let mut map = serializer.serialize_map(Some(sorted.len()))?;
                for (name, member) in sorted {
                    map.serialize_entry(name, &Self(member))?;
                }
                map.end()
            }
            Value::Array(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(&Self(item))?;
                }
                list.end()
            }
            other => other.serialize(serializer),
        }
    }
}

/// The document as YAML, with a newline at its end.
///
/// # Errors
/// When what was written would be read as something else.
pub fn to_yaml(document: &Value) -> Result<String, Failure> {
    let options =
        serde_saphyr::ser_options! { min_fold_chars: usize::MAX, folded_wrap_chars: usize::MAX };
    let text = serde_saphyr::to_string_with_options(&Ordered(document), options)
        .map_err(|e| Failure::new(format!("what was built cannot be written as YAML: {e}")))?;
    let read = yaml::documents(&text).ok();
    let read = read.as_deref().and_then(|all| all.first());
    if read.map(yaml::Node::to_json).as_ref() != Some(document) {
        return Err(Failure::new(
            "what was built does not come back from YAML as it was: this is a fault of portcullis",
        ));
    }
    Ok(text)
}

/// The same as JSON in lines, for what a filter gets as text.
pub fn to_json(value: &Value) -> String {
    // Read back, its members are where `Ordered` put them.
    let text = serde_json::to_string_pretty(&Ordered(value));
    text.unwrap_or_else(|_| value.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_order_is_always_the_same_and_nothing_changes_its_meaning() {
        let long = "x ".repeat(200);
        let document = json!({
            "z": [{"b": 1, "name": "one", "a": {"empty": {}, "none": []}}],
            "_format_version": "3.0",
            "text": "{\n  \"a\": 1\n}\n",
            "words": ["yes", "null", "~", "1e3", "0x10", "- x", "a: b", "#c", "", " ", "012", "1_000"],
            "regex": "~/v1/a\\.b$",
            "long": long,
        });
        let text = to_yaml(&document).unwrap();
        assert!(text.starts_with("_format_version: \"3.0\"\n"), "{text}");
        assert!(text.contains("- name: one\n"), "{text}");
        assert_eq!(text, to_yaml(&document.clone()).unwrap());
        assert_eq!(
            to_json(&json!({"b": 1, "a": [1], "name": "x"})),
            "{\n  \"name\": \"x\",\n  \"a\": [\n    1\n  ],\n  \"b\": 1\n}"
        );
    }
}
