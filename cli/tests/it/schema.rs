//! `schema`: what it says of a configuration is what the filter says.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Map, Value, json};

use crate::run::{portcullis, root};

/// The filters with cases, by their folders.
fn filters() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = fs::read_dir(root().join("filters"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("cases.toml").exists())
        .collect();
    folders.sort();
    folders
}

fn schema_of(folder: &Path) -> Value {
    let name = folder
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .replace('-', "_");
    let run = portcullis(["schema", &name]);
    assert_eq!(run.code, 0, "{run:#?}");
    run.json()
}

#[test]
fn a_schema_is_that_of_the_file_for_kong() {
    for folder in filters() {
        let meta = fs::read_to_string(folder.join("meta.json")).unwrap();
        let meta: Value = serde_json::from_str(&meta).unwrap();
        assert_eq!(schema_of(&folder), meta["config_schema"], "{folder:?}");
    }
    assert_eq!(portcullis(["schema", "nothing"]).code, 2);
}

/// What another implementation of JSON Schema, a strict one, says of each configuration that the filters' cases have.
const VALIDATE: &str = "
import json, sys
from jsonschema import Draft4Validator
for schema, configs in json.load(sys.stdin):
    Draft4Validator.check_schema(schema)
    validator = Draft4Validator(schema)
    for name, config in configs:
        for error in validator.iter_errors(config):
            print(name, list(error.path), error.message)
";

#[test]
fn it_allows_every_configuration_that_the_filters_take() {
    let mut pairs = Vec::new();
    let mut count = 0;
    for folder in filters() {
        let text = fs::read_to_string(folder.join("cases.toml")).unwrap();
        let file: Value = toml::from_str(&text).unwrap();
        let mut configs = Vec::new();
        for case in file["case"].as_array().unwrap() {
            if case.get("refused").is_some() || case.get("config_text").is_some() {
                continue;
            }
            let mut config = file["defaults"]["config"].clone();
            merge(&mut config, &case["config"]);
            configs.push(json!([case["name"], config]));
        }
        count += configs.len();
        pairs.push(json!([schema_of(&folder), configs]));
    }
    assert!(count > 100, "{count}");
    assert_eq!(said_of(&json!(pairs)), "");
    let wrong = json!([[schema_of(&root().join("filters/tarpit")), [["wrong", { "listz": {} }]]]]);
    let said = said_of(&wrong);
    assert!(said.contains("'lists' is a required property"), "{said}");
    assert!(said.contains("'listz' was unexpected"), "{said}");
}

/// With the Python and the libraries of schemathesis, which the tests need anyway.
fn said_of(pairs: &Value) -> String {
    let wrapper = fs::canonicalize(root().join(".tools/bin/schemathesis"));
    let wrapper = wrapper.expect("schemathesis must be installed: make setup");
    let text = fs::read_to_string(&wrapper).unwrap();
    let python = text
        .split_once("exec \"")
        .unwrap()
        .1
        .split('"')
        .next()
        .unwrap();
    let mut child = Command::new(python)
        .args(["-c", VALIDATE])
        .env("PYTHONPATH", wrapper.with_file_name("lib"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(pairs.to_string().as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// JSON merge patch (RFC 7396).
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        if !patch.is_null() {
            *target = patch.clone();
        }
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    for (name, value) in patch {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(name);
        } else {
            merge(&mut target[name], value);
        }
    }
}
