//! The configurations under `ops/` that no Envoy of ours reads: each filter's part is loaded by the built filter.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::Value;
use testkit::gateway::{FilterSetup, Gateway};
use testkit::strict::StrictKong;
use testkit::{World, workspace};

/// Every document of a YAML file.
fn documents(path: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(workspace::root().join("ops").join(path)).unwrap();
    text.split("\n---\n")
        .map(|part| serde_saphyr::from_str(part).unwrap_or_else(|e| panic!("{path}: {e}")))
        .collect()
}

fn items<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value
        .get(name)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// Loads a filter with its configuration.
fn load(filter: &Value, name: &str, config: &str) {
    let name = filter.get(name).and_then(Value::as_str).expect("a name");
    let config = filter.get(config).expect("a configuration").to_string();
    let mut kong = StrictKong::new(&workspace::root().join("dist/kong"));
    kong.open(&World::new()).unwrap();
    let setup = FilterSetup {
        name: name.to_owned(),
        config,
    };
    match kong.configure(&[setup]).unwrap() {
        Ok(()) => kong.stop(&[]).unwrap(),
        Err(refused) => panic!("{name}:\n{}", refused.lines.join("\n")),
    }
}

#[test]
fn kong_yml() {
    let mut loaded = 0;
    for document in documents("kong/kong.yml")
        .into_iter()
        .chain(documents("kong/one-vm.yml"))
    {
        for service in items(&document, "services") {
            for route in items(service, "routes") {
                let name = route.get("name").and_then(Value::as_str).unwrap();
                assert!(
                    name.starts_with("rt-") && name.split('-').count() == 4,
                    "{name}"
                );
                for chain in items(route, "filter_chains") {
                    for filter in items(chain, "filters") {
                        load(filter, "name", "config");
                        loaded += 1;
                    }
                }
            }
        }
    }
    assert_eq!(loaded, 9);
}

/// The entry for Envoy's filter chain, loaded by the double: the services are named alike there.
#[test]
fn envoy_in_one_vm() {
    let documents = documents("envoy/one-vm.yaml");
    let filter = &documents[0][0];
    let config = filter
        .pointer("/typed_config/config/configuration/value")
        .and_then(Value::as_str)
        .unwrap();
    let config: Value = serde_json::from_str(config).unwrap();
    let filter = serde_json::json!({ "name": filter["name"], "config": config });
    load(&filter, "name", "config");
}

#[test]
fn istio() {
    let documents = documents("istio/wasm-plugins.yaml");
    for document in &documents {
        load(document.get("spec").unwrap(), "pluginName", "pluginConfig");
    }
    assert_eq!(documents.len(), 3);
}

#[test]
fn envoy_gateway() {
    let mut loaded = 0;
    for document in documents("envoy-gateway/extension-policy.yaml") {
        for filter in items(document.get("spec").unwrap(), "wasm") {
            load(filter, "name", "config");
            loaded += 1;
        }
    }
    assert_eq!(loaded, 3);
}
