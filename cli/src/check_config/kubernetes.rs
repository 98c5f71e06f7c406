//! Filters in resources of Istio and of Envoy Gateway, which make configurations of Envoy of them.

use super::Seen;
use super::gateway::{self, Found};
use crate::filters::{self, Filter};
use crate::finding::Findings;
use crate::yaml::Node;

/// Checks a `WasmPlugin` or an `EnvoyExtensionPolicy`; false if it is neither.
pub fn check(document: &Node, seen: &mut Vec<Seen>, findings: &mut Findings) -> bool {
    let spec = document.get("spec");
    match (document.text_of("kind"), spec) {
        (Some("WasmPlugin"), Some(spec)) => {
            let image = spec.text_of("url");
            if let Some(filter) = which(spec, spec.text_of("pluginName"), image, findings) {
                let opens = spec.text_of("failStrategy") == Some("FAIL_OPEN");
                let opens = opens.then(|| spec.line_of("failStrategy"));
                check_filter(filter, spec, "pluginConfig", opens, seen, findings);
            }
        }
        (Some("EnvoyExtensionPolicy"), Some(spec)) => {
            let mut chain = Vec::new();
            for node in spec.items_of("wasm") {
                let image = node.at(&["code", "image", "url"]);
                let image = image.or_else(|| node.at(&["code", "http", "url"]));
                let name = node.text_of("name");
                let Some(filter) = which(node, name, image.and_then(Node::text), findings) else {
                    continue;
                };
                let opens = node.get("failOpen").and_then(Node::bool) == Some(true);
                let opens = opens.then(|| node.line_of("failOpen"));
                chain.extend(check_filter(filter, node, "config", opens, seen, findings));
            }
            gateway::check_chain(&chain, findings);
        }
        _ => return false,
    }
    true
}

/// Which filter it is: `oci://registry.example.com/portcullis/auth:0.1.0` is auth.
fn which(
    node: &Node,
    name: Option<&str>,
    image: Option<&str>,
    findings: &mut Findings,
) -> Option<&'static Filter> {
    let of_image = image.map(|image| {
        let last = image.rsplit('/').next().unwrap_or_default();
        let last = last.split(['@', ':']).next().unwrap_or_default();
        last.strip_suffix(".wasm").unwrap_or(last)
    });
    let module = of_image.and_then(filters::find);
    let named = name.and_then(filters::meant);
    match (module, named) {
        (Some(module), Some(named)) if module.name != named.name => {
            let message = format!(
                "is named after {}, but its module is {}",
                named.name, module.name
            );
            findings.error("module-mismatch", node.line, message);
        }
        (None, Some(named)) => {
            let module = image.unwrap_or("none");
            let message = format!("is named after {}, but its module is {module}", named.name);
            findings.error("module-mismatch", node.line, message);
        }
        _ => {}
    }
    module.or(named)
}

fn check_filter<'a>(
    filter: &'static Filter,
    node: &'a Node,
    field: &str,
    opens: Option<u64>,
    seen: &mut Vec<Seen>,
    findings: &mut Findings,
) -> Option<Found<'a>> {
    seen.push(Seen {
        filter: filter.name.to_owned(),
        line: node.line,
    });
    if let Some(line) = opens {
        let message = format!("everything passes {} once it has crashed", filter.name);
        findings.error("fails-open", line, message);
    }
    let config = node.get(field).unwrap_or(node);
    let (json, text) = match node.get(field) {
        Some(config) => (config.to_json(), config.to_json().to_string()),
        None => (serde_json::Value::Null, String::new()),
    };
    let line_of = |path: &str| config.line_of(path);
    gateway::problems(filter, text.as_bytes(), line_of, findings).then(|| Found {
        filter,
        config: json,
        line: node.line,
        line_of: Box::new(|path| config.line_of(path)),
    })
}
