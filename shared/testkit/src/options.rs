//! Option tables of READMEs, generated from the types that parse the options.

use std::fmt::Write as _;
use std::path::Path;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use crate::meta::assert_is;

const BEGIN: &str = "<!-- options: generated from the code, `UPDATE=1 cargo test` rewrites -->";
const END: &str = "<!-- end of options -->";

/// Fails if the table in the README is not the one that the types say; with `UPDATE=1` in the
/// environment rewrites it instead.
///
/// # Panics
/// When the table is stale, or the README has no place for it.
pub fn assert_documented<Raw: JsonSchema>(readme: &Path) {
    let text = std::fs::read_to_string(readme).unwrap();
    let (before, rest) = text
        .split_once(BEGIN)
        .unwrap_or_else(|| panic!("{} has no line {BEGIN}", readme.display()));
    let (_, after) = rest
        .split_once(END)
        .unwrap_or_else(|| panic!("{} has no line {END}", readme.display()));
    let expected = format!("{before}{BEGIN}\n{}{END}{after}", table::<Raw>());
    assert_is(readme, &expected);
}

/// One row for each option, by its path.
fn table<Raw: JsonSchema>() -> String {
    let schema = SchemaSettings::draft07()
        .with(|settings| settings.inline_subschemas = true)
        .into_generator()
        .into_root_schema_for::<Raw>();
    let mut out = String::from("| option | type | default | meaning |\n|---|---|---|---|\n");
    rows("", schema.as_value(), &mut out);
    out
}

fn rows(path: &str, schema: &Value, out: &mut String) {
    let schema = without_null(schema);
    if let Some(items) = schema.get("items") {
        rows(&format!("{path}[]"), items, out);
    }
    if let Some(values) = schema.get("additionalProperties").filter(|v| v.is_object()) {
        rows(&join(path, "<name>"), values, out);
    }
    let Some(Value::Object(members)) = schema.get("properties") else {
        return;
    };
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    for (name, member) in members {
        let path = join(path, name);
        let default = if required.contains(&name.as_str()) {
            "required".to_owned()
        } else {
            default_of(member)
        };
        let meaning = member
            .get("description")
            .and_then(Value::as_str)
            .unwrap_or_else(|| panic!("{path} has no description"))
            .replace('\n', " ");
        writeln!(
            out,
            "| `{path}` | {} | {default} | {meaning} |",
            type_of(member)
        )
        .unwrap();
        rows(&path, member, out);
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// The schema itself where it is one of a value or null.
fn without_null(schema: &Value) -> &Value {
    schema
        .get("anyOf")
        .and_then(Value::as_array)
        .and_then(|any| any.iter().find(|one| one["type"] != "null"))
        .unwrap_or(schema)
}

fn default_of(schema: &Value) -> String {
    match schema.get("default") {
        None | Some(Value::Null) => "—".to_owned(),
        Some(Value::Array(items)) if items.is_empty() => "none".to_owned(),
        Some(Value::Object(members)) if members.is_empty() => "none".to_owned(),
        Some(Value::Object(members)) if is_nested(members) => "see below".to_owned(),
        Some(value) => format!("`{value}`"),
    }
}

fn is_nested(members: &Map<String, Value>) -> bool {
    members
        .values()
        .any(|value| value.is_array() || value.is_object() || value.is_null())
}

fn type_of(schema: &Value) -> String {
    let schema = without_null(schema);
    if let Some(words) = words_of(schema) {
        return words.join(" or ");
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds
            .iter()
            .filter_map(Value::as_str)
            .find(|kind| *kind != "null")
            .unwrap_or_default(),
        kind => kind.as_str().unwrap_or_default(),
    };
    match kind {
        "string" if schema["pattern"] == "^[0-9]+(ms|s|m|h|d)$" => "duration".to_owned(),
        "array" => format!("list of {}", type_of(&schema["items"])),
        "object" if schema["additionalProperties"].is_object() => {
            format!("map of {}", type_of(&schema["additionalProperties"]))
        }
        kind => kind.to_owned(),
    }
}

fn words_of(schema: &Value) -> Option<Vec<String>> {
    let words = |values: &Vec<Value>| {
        values
            .iter()
            .map(|word| word.as_str().map(|word| format!("`{word}`")))
            .collect::<Option<Vec<_>>>()
    };
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return words(values);
    }
    let variants = schema.get("oneOf")?.as_array()?;
    words(
        &variants
            .iter()
            .map(|variant| variant["const"].clone())
            .collect(),
    )
}
