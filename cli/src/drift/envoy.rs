//! What Envoy runs: its bootstrap, and what came of it and of xDS.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::Compared;
use super::admin::Asking;
use super::compare::Comparison;
use crate::outcome::Failure;
use crate::yaml;

/// Parts of a configuration.
#[derive(Debug, Default)]
struct Parts {
    /// What is neither a resource nor about the process itself.
    bootstrap: BTreeMap<String, Value>,
    listeners: BTreeMap<String, Value>,
    clusters: BTreeMap<String, Value>,
    /// Those that listeners fetch; the others are in them.
    routes: BTreeMap<String, Value>,
}

/// Booleans that are more than yes and no: absent is neither.
const THREE_WAYS: [&str; 12] = [
    "append",
    "bypass_transparent",
    "enabled",
    "generate_request_id",
    "include_attempt_count",
    "normalize_path",
    "use_http_header",
    "use_original_dst",
    "use_remote_address",
    "validate_clusters",
    "enable_trailers",
    "require_client_certificate",
];
/// The first words of enumerations: as good as nothing.
const FIRST_WORDS: [&str; 12] = [
    "AUTO",
    "APPEND_IF_EXISTS_OR_ADD",
    "DEFAULT",
    "HTTP1",
    "IMPLEMENTATION_SPECIFIC_DEFAULT",
    "NONE",
    "OVERWRITE",
    "ROUND_ROBIN",
    "STATIC",
    "TCP",
    "TLS_AUTO",
    "UNSPECIFIED",
];

pub fn compare(files: &[PathBuf], admin: &Asking) -> Result<Compared, Failure> {
    let mut wanted = Parts::default();
    for file in files {
        let read = yaml::File::read(file)?
            .map_err(|e| Failure::of_file(file, format!("is no YAML: {}", e.why)))?;
        for document in &read.documents {
            let document = parsed(document.to_json());
            let is_resources = document.get("resources").is_some();
            let is_bootstrap = document.get("static_resources").is_some()
                || document.get("dynamic_resources").is_some();
            if is_resources {
                wanted.add_resources(&document);
            } else if is_bootstrap {
                wanted.add_bootstrap(document);
            } else {
                return Err(Failure::of_file(
                    file,
                    "is neither a bootstrap of Envoy nor a file of xDS resources",
                ));
            }
        }
    }
    let mut comparison = Comparison::new(is_default);
    let dump = admin.json("/config_dump")?;
    let running = Parts::of_dump(&dump, &mut comparison).ok_or_else(|| {
        Failure::new(format!(
            "{}/config_dump: has no configs: not Envoy's admin port",
            admin.client.target
        ))
    })?;
    // What Envoy says of itself there is none of the file's business.
    let mut bootstrap = running.bootstrap;
    let node = bootstrap.remove("node");
    if let (Some(own), Some(Value::Object(members))) = (wanted.bootstrap.get("node"), node) {
        let said = members
            .into_iter()
            .filter(|(name, _)| own.get(name).is_some())
            .collect::<Map<_, _>>();
        bootstrap.insert("node".into(), said.into());
    }
    let admin_layers = admin_layers(&bootstrap);
    comparison.sets("bootstrap", &wanted.bootstrap, &bootstrap);
    comparison.sets("listeners", &wanted.listeners, &running.listeners);
    comparison.sets("clusters", &wanted.clusters, &running.clusters);
    comparison.sets("routes", &wanted.routes, &running.routes);
    runtime(&admin.json("/runtime")?, &admin_layers, &mut comparison);
    let mut notes = Vec::new();
    if comparison.redacted > 0 {
        notes.push(format!(
            "secrets that Envoy does not show, and that were not compared: {}",
            comparison.redacted
        ));
    }
    Ok(Compared {
        differences: comparison.differences,
        notes,
    })
}

impl Parts {
    fn add_bootstrap(&mut self, document: Value) {
        let Value::Object(members) = document else {
            return;
        };
        for (name, member) in members {
            if name != "static_resources" {
                self.bootstrap.insert(name, member);
                continue;
            }
            let Value::Object(resources) = member else {
                continue;
            };
            for (kind, list) in resources {
                let into = match kind.as_str() {
                    "listeners" => &mut self.listeners,
                    "clusters" => &mut self.clusters,
                    _ => {
                        self.bootstrap
                            .insert(format!("static_resources.{kind}"), list);
                        continue;
                    }
                };
                for item in list.as_array().into_iter().flatten() {
                    into.insert(name_of(item, into.len()), item.clone());
                }
            }
        }
    }

    /// A file of xDS, in which each resource says what it is.
    fn add_resources(&mut self, document: &Value) {
        let resources = document.get("resources").and_then(Value::as_array);
        for resource in resources.into_iter().flatten() {
            let of_type = resource
                .get("@type")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let into = match of_type.rsplit('.').next() {
                Some("Listener") => &mut self.listeners,
                Some("Cluster") => &mut self.clusters,
                Some("RouteConfiguration") => &mut self.routes,
                _ => continue,
            };
            into.insert(
                name_of(resource, into.len()),
                without_type(resource.clone()),
            );
        }
    }

    fn of_dump(dump: &Value, comparison: &mut Comparison) -> Option<Self> {
        let configs = dump.get("configs")?.as_array()?;
        let mut parts = Self::default();
        for config in configs {
            let of_type = config
                .get("@type")
                .and_then(Value::as_str)
                .unwrap_or_default();
            match of_type.rsplit('.').next() {
                Some("BootstrapConfigDump") => {
                    let mut bootstrap = config.get("bootstrap").cloned().unwrap_or_default();
                    // Listeners and clusters are taken from where they are, not from where they began.
                    let resources = bootstrap.get_mut("static_resources");
                    if let Some(resources) = resources.and_then(Value::as_object_mut) {
                        resources.remove("listeners");
                        resources.remove("clusters");
                    }
                    parts.add_bootstrap(parsed(bootstrap));
                }
                Some("ListenersConfigDump") => {
                    resources(config, "listener", &mut parts.listeners, comparison);
                }
                Some("ClustersConfigDump") => {
                    resources(config, "cluster", &mut parts.clusters, comparison);
                }
                Some("RoutesConfigDump") => {
                    for route in items(config, "dynamic_route_configs") {
                        let route = route.get("route_config").cloned().unwrap_or_default();
                        let route = without_type(parsed(route));
                        parts
                            .routes
                            .insert(name_of(&route, parts.routes.len()), route);
                    }
                }
                _ => {}
            }
        }
        Some(parts)
    }
}

/// Listeners or clusters of a dump, those that are in force; one that was refused is a difference.
fn resources(
    config: &Value,
    kind: &str,
    into: &mut BTreeMap<String, Value>,
    comparison: &mut Comparison,
) {
    let statics = items(config, &format!("static_{kind}s"));
    let actives = items(config, &format!("dynamic_active_{kind}s"));
    let dynamics = items(config, &format!("dynamic_{kind}s"));
    let in_force = statics
        .chain(actives)
        .filter_map(|it| it.get(kind))
        .chain(dynamics.filter_map(|it| it.pointer(&format!("/active_state/{kind}"))));
    for resource in in_force {
        let resource = without_type(parsed(resource.clone()));
        into.insert(name_of(&resource, into.len()), resource);
    }
    for dynamic in items(config, &format!("dynamic_{kind}s")) {
        if let Some(error) = dynamic.get("error_state") {
            let name = dynamic
                .get("name")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let when = error
                .get("last_update_attempt")
                .cloned()
                .unwrap_or_default();
            let path = [format!("{kind}s"), name.to_owned(), "(refused)".to_owned()];
            let message = json!({ "an update that Envoy refused": when });
            comparison.differ(&path, None, Some(&message));
        }
    }
}

fn items<'a>(config: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    config
        .get(name)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn name_of(resource: &Value, index: usize) -> String {
    let name = resource.get("name").and_then(Value::as_str);
    name.map_or_else(|| format!("[{index}]"), str::to_owned)
}

fn without_type(mut resource: Value) -> Value {
    if let Some(members) = resource.as_object_mut() {
        members.remove("@type");
    }
    resource
}

/// JSON in text, as filters get it, is compared as JSON.
fn parsed(value: Value) -> Value {
    match value {
        Value::Object(mut members) => {
            let is_text = members
                .get("@type")
                .and_then(Value::as_str)
                .is_some_and(|it| it.ends_with("google.protobuf.StringValue"));
            if let (true, Some(Value::String(text))) = (is_text, members.get("value"))
                && let Ok(inner @ (Value::Object(_) | Value::Array(_))) = serde_json::from_str(text)
            {
                members.insert("value".into(), inner);
                return members.into();
            }
            members
                .into_iter()
                .map(|(name, member)| (name, parsed(member)))
                .collect::<Map<_, _>>()
                .into()
        }
        Value::Array(items) => items.into_iter().map(parsed).collect(),
        other => other,
    }
}

/// What Envoy leaves out of its dump, because it is what a field has anyway.
fn is_default(name: &str, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value && !THREE_WAYS.contains(&name),
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty() || FIRST_WORDS.contains(&text.as_str()),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
    }
}

/// The layers of the runtime that the admin port writes: `admin`, unless they are named.
fn admin_layers(bootstrap: &BTreeMap<String, Value>) -> Vec<String> {
    let runtime = bootstrap.get("layered_runtime");
    let layers = runtime
        .and_then(|it| it.get("layers"))
        .and_then(Value::as_array);
    let Some(layers) = layers else {
        return vec!["admin".to_owned()];
    };
    let written = layers
        .iter()
        .filter(|layer| layer.get("admin_layer").is_some());
    written
        .filter_map(|layer| layer.get("name")?.as_str().map(str::to_owned))
        .collect()
}

/// Keys that somebody has set through the admin port.
fn runtime(answer: &Value, admin_layers: &[String], comparison: &mut Comparison) {
    let layers = answer.get("layers").and_then(Value::as_array);
    let written = layers.into_iter().flatten().position(|layer| {
        let name = layer.as_str().unwrap_or_default();
        admin_layers.iter().any(|admin| admin == name)
    });
    let Some(layer) = written else {
        return;
    };
    let entries = answer.get("entries").and_then(Value::as_object);
    for (name, entry) in entries.into_iter().flatten() {
        let value = entry.pointer(&format!("/layer_values/{layer}"));
        let value = value.and_then(Value::as_str).unwrap_or_default();
        if !value.is_empty() {
            let path = ["runtime".to_owned(), name.clone()];
            comparison.differ(&path, None, Some(&value.into()));
        }
    }
}
