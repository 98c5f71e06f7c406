//! The bootstrap of Envoy: a base that is written by hand, with routes, filters and clusters put into it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use policy::metric::LABELS;
use serde_json::{Value, json};

use super::chain::{Chain, Gateway};
use super::document;
use super::entry::Entry;
use super::model::Model;
use super::problems::{Place, Problems};
use super::route::Route;
use super::rules::Expansion;
use super::service::Service;
use super::tree::Source;
use crate::filters::Filter;

const TYPES: &str = "type.googleapis.com/";
const MANAGER: &str =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const ROUTER: &str = "envoy.extensions.filters.http.router.v3.Router";
const WASM: &str = "envoy.extensions.filters.http.wasm.v3.Wasm";
const FILTER_CONFIG: &str = "envoy.config.route.v3.FilterConfig";
const UPSTREAM_TLS: &str = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
const STRING: &str = "google.protobuf.StringValue";

/// `None` where the base cannot be made into one.
pub fn document(
    model: &Model<'_>,
    base: &Source,
    called: &mut BTreeSet<String>,
    problems: &mut Problems,
) -> Option<Value> {
    let entry = Entry::new(&base.file, &base.document);
    let mut document = base.document.to_json();
    let whole = whole_chain(model, problems);
    let filters = whole.map(|chain| {
        let routes = model.routes.values().filter(|it| it.filter_chain.is_some());
        let routes: Vec<&Route> = routes.collect();
        let mut expansion = Expansion {
            model,
            gateway: Gateway::Envoy,
            called,
            problems,
        };
        expansion.configs(chain, &routes)
    });
    labels(&mut document);
    let managers = managers(&document);
    let [manager] = managers.as_slice() else {
        let message = format!(
            "has {} HTTP connection managers: routes and filters go into one",
            managers.len()
        );
        problems.error("envoy-base", &entry.place(), message);
        return None;
    };
    let manager = document.pointer_mut(manager)?;
    if manager.get("route_config").is_some() || manager.get("rds").is_some() {
        let message = "has routes: those are what routes/ and registry.yml are for";
        problems.error("envoy-base", &entry.place(), message);
    }
    let routes = route_config(model, whole);
    let own: Vec<Value> = filters
        .unwrap_or_default()
        .iter()
        .map(|(filter, config)| wasm(filter, config, model))
        .collect();
    put_filters(manager, own, &entry.place(), problems);
    if let Some(members) = manager.as_object_mut() {
        members.insert("route_config".into(), routes);
    }
    put_clusters(&mut document, model, called, &entry, problems);
    Some(document)
}

/// The chain that Envoy runs: every other one has to be a part of it, in the same order and with the same
/// configurations, because there is one for all routes.
fn whole_chain<'m, 'a>(model: &'m Model<'a>, problems: &mut Problems) -> Option<&'m Chain<'a>> {
    let used: BTreeSet<&String> = model
        .routes
        .values()
        .filter_map(|route| route.filter_chain.as_ref())
        .collect();
    let chains: Vec<&Chain<'a>> = model
        .chains
        .values()
        .filter(|chain| used.contains(&chain.name))
        .collect();
    let whole = *chains.iter().max_by_key(|chain| chain.filters.len())?;
    for chain in chains {
        let mut rest = whole.filters.iter();
        for link in &chain.filters {
            let Some(same) = rest.find(|it| it.filter.name == link.filter.name) else {
                let message = format!(
                    "{} is not in {}, or not in this order: Envoy runs one chain for all routes, of which the others are parts",
                    link.filter.name, whole.name
                );
                problems.error("filter-chain", &link.place_of(Gateway::Envoy, ""), message);
                break;
            };
            if same.config(Gateway::Envoy) != link.config(Gateway::Envoy) {
                let message = format!(
                    "{} is configured otherwise in {}: Envoy runs one for all routes; let rules match routes",
                    link.filter.name, whole.name
                );
                problems.error("filter-chain", &link.place_of(Gateway::Envoy, ""), message);
            }
        }
    }
    Some(whole)
}

/// Where the connection managers are, as JSON pointers.
fn managers(document: &Value) -> Vec<String> {
    fn search(value: &Value, at: &str, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                let of_type = members.get("@type").and_then(Value::as_str);
                if of_type.is_some_and(|it| it.ends_with(MANAGER)) {
                    found.push(at.to_owned());
                }
                for (key, member) in members {
                    let key = key.replace('~', "~0").replace('/', "~1");
                    search(member, &format!("{at}/{key}"), found);
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    search(item, &format!("{at}/{index}"), found);
                }
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    search(document, "", &mut found);
    found
}

/// Labels in the names of our metrics become labels of Prometheus.
fn labels(document: &mut Value) {
    let tags = LABELS
        .iter()
        .map(|label| json!({ "tag_name": label, "regex": format!("(\\.{label}=([^.]+))") }));
    let Some(members) = document.as_object_mut() else {
        return;
    };
    let stats = members.entry("stats_config").or_insert_with(|| json!({}));
    let Some(stats) = stats.as_object_mut() else {
        return;
    };
    let list = stats.entry("stats_tags").or_insert_with(|| json!([]));
    if let Some(list) = list.as_array_mut() {
        for tag in tags {
            if !list
                .iter()
                .any(|own| own.get("tag_name") == tag.get("tag_name"))
            {
                list.push(tag);
            }
        }
    }
}

/// Puts ours before the router, which is the last one.
fn put_filters(manager: &mut Value, own: Vec<Value>, at: &Place, problems: &mut Problems) {
    let list = manager
        .get_mut("http_filters")
        .and_then(Value::as_array_mut);
    let of_type = |filter: &Value| {
        let typed = filter.pointer("/typed_config/@type");
        typed.and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let Some((list, router)) = list.and_then(|list| {
        let router = list.iter().position(|it| of_type(it).ends_with(ROUTER))?;
        Some((list, router))
    }) else {
        problems.error("envoy-base", at, "has no router among its http_filters");
        return;
    };
    if list.iter().any(|it| of_type(it).ends_with(WASM)) {
        let message = "has a Wasm filter: those are what filter-chains/ is for";
        problems.error("envoy-base", at, message);
    }
    list.splice(router..router, own);
}

fn wasm(filter: &Filter, config: &Value, model: &Model<'_>) -> Value {
    let mut plugin = json!({
        "name": filter.name,
        // A filter that crashed is started anew; nothing passes meanwhile.
        "failure_policy": "FAIL_RELOAD",
        "vm_config": {
            "vm_id": filter.name,
            "runtime": "envoy.wasm.runtime.v8",
            "code": { "local": { "filename": format!("{}/{}.wasm", model.settings.modules, filter.name) } },
        },
        "configuration": { "@type": format!("{TYPES}{STRING}"), "value": document::to_json(config) },
    });
    if reads_bodies(config)
        && let Some(members) = plugin.as_object_mut()
    {
        members.insert("allow_on_headers_stop_iteration".into(), true.into());
    }
    json!({
        "name": name_of(filter),
        "typed_config": { "@type": format!("{TYPES}{WASM}"), "config": plugin },
    })
}

fn name_of(filter: &Filter) -> String {
    match filter.name {
        "portcullis" => filter.name.to_owned(),
        name => format!("portcullis.{name}"),
    }
}

/// Whether a limit counts by what is in a body.
fn reads_bodies(config: &Value) -> bool {
    match config {
        Value::Object(members) => {
            members.get("dimension").and_then(Value::as_str) == Some("body")
                || members.values().any(reads_bodies)
        }
        Value::Array(items) => items.iter().any(reads_bodies),
        _ => false,
    }
}

/// The longest path comes first, as in Kong; then routes with methods.
fn route_config(model: &Model<'_>, whole: Option<&Chain<'_>>) -> Value {
    let mut all: Vec<(&str, &Route)> = model
        .routes
        .values()
        .flat_map(|route| route.paths.iter().map(move |path| (path.as_str(), route)))
        .collect();
    all.sort_by_key(|(path, route)| {
        let without = route.methods.is_empty();
        (std::cmp::Reverse(path.len()), *path, without, &route.name)
    });
    // nginx takes none either: whoever it would reach repeats the request, credentials and all.
    let no_trace = json!({
        "name": "no-trace",
        "match": {
            "prefix": "/",
            "headers": [{ "name": ":method", "string_match": { "exact": "TRACE" } }],
        },
        "direct_response": { "status": 405 },
    });
    let of_routes = all
        .into_iter()
        .filter_map(|(path, route)| of_route(path, route, model, whole));
    let routes: Vec<Value> = std::iter::once(no_trace).chain(of_routes).collect();
    json!({
        "name": "routes",
        "virtual_hosts": [{ "name": "api", "domains": ["*"], "routes": routes }],
    })
}

fn of_route(
    path: &str,
    route: &Route,
    model: &Model<'_>,
    whole: Option<&Chain<'_>>,
) -> Option<Value> {
    let service = model.services.get(&route.service)?;
    let mut matches = match path {
        "/" => json!({ "prefix": path }),
        path => json!({ "path_separated_prefix": path }),
    };
    if !route.methods.is_empty()
        && let Some(members) = matches.as_object_mut()
    {
        let regex = route.methods.join("|");
        let methods =
            json!([{ "name": ":method", "string_match": { "safe_regex": { "regex": regex } } }]);
        members.insert("headers".into(), methods);
    }
    let mut entity = json!({
        "name": route.name,
        "match": matches,
        "route": {
            "cluster": service.name,
            "timeout": duration(service.timeout),
            // As Kong: the service is asked under its own name, and told the client's.
            "host_rewrite_literal": service.url.host_header(),
            "append_x_forwarded_host": true,
        },
    });
    let own = model.chain_of(route);
    let off: BTreeMap<String, Value> = whole
        .into_iter()
        .flat_map(|whole| &whole.filters)
        .filter(|link| {
            let mut links = own.into_iter().flat_map(|own| &own.filters);
            !links.any(|it| it.filter.name == link.filter.name)
        })
        .map(|link| {
            let off = json!({ "@type": format!("{TYPES}{FILTER_CONFIG}"), "disabled": true });
            (name_of(link.filter), off)
        })
        .collect();
    if !off.is_empty()
        && let Some(members) = entity.as_object_mut()
    {
        members.insert("typed_per_filter_config".into(), json!(off));
    }
    Some(entity)
}

/// `15s`, `0.250s`, as Protobuf writes it.
fn duration(time: Duration) -> String {
    match time.subsec_millis() {
        0 => format!("{}s", time.as_secs()),
        millis => format!("{}.{millis:03}s", time.as_secs()),
    }
}

fn put_clusters(
    document: &mut Value,
    model: &Model<'_>,
    called: &BTreeSet<String>,
    base: &Entry<'_>,
    problems: &mut Problems,
) {
    let at = base.place();
    let Some(resources) = document
        .get_mut("static_resources")
        .and_then(Value::as_object_mut)
    else {
        problems.error("envoy-base", &at, "has no static_resources");
        return;
    };
    let list = resources.entry("clusters").or_insert_with(|| json!([]));
    let Some(list) = list.as_array_mut() else {
        problems.error("envoy-base", &at, "its clusters are no list");
        return;
    };
    for service in model.services.values() {
        let mut routes = model.routes.values();
        let used = called.contains(&service.name) || routes.any(|it| it.service == service.name);
        if !used {
            continue;
        }
        let name = Value::from(service.name.as_str());
        if list.iter().any(|it| it.get("name") == Some(&name)) {
            let message = format!(
                "has a cluster {}, which is a service at {}",
                service.name, service.at
            );
            problems.error("duplicate", &at, message);
        }
        list.push(cluster(service, model));
    }
}

fn cluster(service: &Service, model: &Model<'_>) -> Value {
    let url = &service.url;
    let mut cluster = json!({
        "name": service.name,
        "type": if url.is_address() { "STATIC" } else { "STRICT_DNS" },
        "connect_timeout": duration(service.connect_timeout),
        "load_assignment": {
            "cluster_name": service.name,
            "endpoints": [{ "lb_endpoints": [{ "endpoint": {
                "address": { "socket_address": { "address": url.host, "port_value": url.port } },
            } }] }],
        },
    });
    if url.tls
        && let Some(members) = cluster.as_object_mut()
    {
        members.insert("transport_socket".into(), tls(service, model));
    }
    cluster
}

/// The certificate has to be of somebody who is believed, and for this host.
fn tls(service: &Service, model: &Model<'_>) -> Value {
    let url = &service.url;
    let san = if url.is_address() {
        "IP_ADDRESS"
    } else {
        "DNS"
    };
    let mut context = json!({
        "@type": format!("{TYPES}{UPSTREAM_TLS}"),
        "common_tls_context": {
            "tls_params": { "tls_minimum_protocol_version": "TLSv1_2" },
            "validation_context": {
                "trusted_ca": { "filename": model.settings.trusted_ca },
                "match_typed_subject_alt_names": [{ "san_type": san, "matcher": { "exact": url.host } }],
            },
        },
    });
    if !url.is_address()
        && let Some(members) = context.as_object_mut()
    {
        members.insert("sni".into(), url.host.clone().into());
    }
    json!({ "name": "envoy.transport_sockets.tls", "typed_config": context })
}
