//! JSON Schemas of configurations, and what Kong reads about a filter beside its module.
//!
//! The schemas keep to draft 4 and to what Kong 3.9's validator (`lua-resty-ljsonschema`) understands: no references,
//! no `const`, no `format`.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::config::GuardConfig;
use crate::metric::LABELS;

/// Everything that a filter with these options understands: its own and the [`Guard`](crate::Guard)'s.
#[must_use]
pub fn of<Raw: JsonSchema>() -> Value {
    let mut schema = generate::<Raw>();
    let guard = generate::<GuardConfig>();
    if let (Some(Value::Object(own)), Some(Value::Object(of_guard))) =
        (schema.get_mut("properties"), guard.get("properties"))
    {
        own.extend(of_guard.clone());
    } else if let (Value::Object(schema), Some(of_guard)) = (&mut schema, guard.get("properties")) {
        schema.insert("properties".to_owned(), of_guard.clone());
    }
    if let Value::Object(schema) = &mut schema {
        schema.remove("title");
        schema.insert("additionalProperties".to_owned(), Value::Bool(false));
        if !schema.contains_key("required") {
            // No configuration is an empty one.
            schema.insert("type".to_owned(), json!(["object", "null"]));
        }
    }
    schema
}

/// The text of `<filter>.meta.json`: with it Kong takes the configuration as an object, refuses one that the schema
/// does not allow before any filter sees it, and shows labels as labels.
#[must_use]
pub fn kong_meta<Raw: JsonSchema>() -> String {
    meta(of::<Raw>())
}

/// The same of a [`Chain`](crate::Chain) with these sections: each a name and what [`of`] says.
#[must_use]
pub fn kong_meta_of_chain(sections: &[(&str, Value)]) -> String {
    meta(of_chain(sections))
}

/// Everything that a [`Chain`](crate::Chain) with these sections understands.
#[must_use]
pub fn of_chain(sections: &[(&str, Value)]) -> Value {
    let properties: Map<String, Value> = sections
        .iter()
        .map(|(name, schema)| {
            let mut schema = schema.clone();
            if let Value::Object(schema) = &mut schema {
                // A section that is there is an object: what is off is left out.
                schema.insert("type".to_owned(), json!("object"));
            }
            ((*name).to_owned(), schema)
        })
        .collect();
    json!({ "type": "object", "additionalProperties": false, "properties": properties })
}

fn meta(config_schema: Value) -> String {
    // Kong looks for each label behind the one before, so their order counts.
    let patterns: Vec<Value> = LABELS
        .iter()
        .map(|label| json!({ "label": label, "pattern": format!(r"(\.{label}=([^.]+))") }))
        .collect();
    let meta = json!({
        "config_schema": config_schema,
        "metrics": { "label_patterns": patterns },
    });
    format!("{:#}\n", sorted(meta))
}

fn generate<T: JsonSchema>() -> Value {
    let schema = SchemaSettings::draft07()
        .with(|settings| {
            settings.inline_subschemas = true;
            settings.meta_schema = None;
        })
        .into_generator()
        .into_root_schema_for::<T>();
    let mut schema = schema.to_value();
    to_draft_4(&mut schema);
    schema
}

/// Rewrites a schema, but for what is below `default`, `enum` and the names of `properties`.
fn to_draft_4(schema: &mut Value) {
    let Value::Object(members) = schema else {
        return;
    };
    for ignored in ["$schema", "format"] {
        members.remove(ignored);
    }
    if members.get("default") == Some(&Value::Null) {
        members.remove("default");
    }
    if let Some(value) = members.remove("const") {
        members.insert("enum".to_owned(), json!([value]));
    }
    for (name, member) in members.iter_mut() {
        match (name.as_str(), member) {
            ("properties", Value::Object(properties)) => {
                properties.values_mut().for_each(to_draft_4);
            }
            ("anyOf" | "oneOf" | "allOf", Value::Array(parts)) => {
                parts.iter_mut().for_each(to_draft_4);
            }
            ("items" | "additionalProperties" | "not", part) => to_draft_4(part),
            _ => {}
        }
    }
    words_as_one_enum(members);
}

/// `oneOf` words, each with its description, becomes one `enum`.
fn words_as_one_enum(members: &mut Map<String, Value>) {
    let Some(Value::Array(parts)) = members.get("oneOf") else {
        return;
    };
    let words: Option<Vec<Value>> = parts
        .iter()
        .map(|part| match part.get("enum")?.as_array()?.as_slice() {
            [word @ Value::String(_)] => Some(word.clone()),
            _ => None,
        })
        .collect();
    if let Some(words) = words {
        members.remove("oneOf");
        members.insert("type".to_owned(), json!("string"));
        members.insert("enum".to_owned(), Value::Array(words));
    }
}

/// The same with all members in order, whatever map `serde_json` was built with.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.into_iter().collect();
            members.sort_by(|(a, _), (b, _)| a.cmp(b));
            members
                .into_iter()
                .map(|(name, member)| (name, sorted(member)))
                .collect()
        }
        Value::Array(items) => items.into_iter().map(sorted).collect(),
        value => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of three.
    #[derive(serde::Deserialize, JsonSchema)]
    #[serde(rename_all = "snake_case")]
    #[allow(dead_code)]
    enum Word {
        /// The first.
        One,
        /// The second.
        Two,
    }

    #[derive(serde::Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Toy {
        /// A word.
        word: Word,
        #[serde(default)]
        perhaps: Option<Word>,
        #[serde(default)]
        format: Option<u32>,
        #[serde(default)]
        list: Vec<Toys>,
    }

    #[derive(serde::Deserialize, JsonSchema)]
    #[allow(dead_code)]
    struct Toys {
        many: std::collections::BTreeMap<String, u8>,
    }

    #[test]
    fn schemas_are_of_draft_4() {
        let schema = of::<Toy>();
        assert_eq!(
            schema,
            json!({
                "type": "object",
                "required": ["word"],
                "additionalProperties": false,
                "properties": {
                    "word": { "description": "A word.", "type": "string", "enum": ["one", "two"] },
                    "perhaps": { "anyOf": [
                        { "description": "One of three.", "type": "string", "enum": ["one", "two"] },
                        { "type": "null" },
                    ] },
                    "format": { "type": ["integer", "null"], "minimum": 0 },
                    "list": { "type": "array", "items": {
                        "type": "object",
                        "required": ["many"],
                        "properties": { "many": { "type": "object", "additionalProperties": {
                            "type": "integer", "minimum": 0, "maximum": 255,
                        } } },
                    } },
                    "shadow": {
                        "type": "boolean",
                        "default": false,
                        "description": "Decide, count and log, but let every request pass.",
                    },
                    "on_fault": {
                        "type": "string",
                        "enum": ["deny", "allow"],
                        "default": "deny",
                        "description": "What happens to a request for which the filter has no answer because of a fault of its own.",
                    },
                },
            }),
            "{schema:#}"
        );
    }
}
