//! Filters in a configuration of Envoy.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine as _;
use policy::duration::Span;
use policy::metric::LABELS;
use serde_json::Value;

use super::gateway::{self, Found};
use super::{Seen, kubernetes};
use crate::filters::{self, Filter};
use crate::finding::Findings;
use crate::yaml::{File, Kind, Node};

const WASM: &str = "envoy.extensions.filters.http.wasm.v3.Wasm";
const FILTER_CONFIG: &str = "envoy.config.route.v3.FilterConfig";
const SET_FILTER_STATE: &str = "envoy.extensions.filters.http.set_filter_state.v3.Config";
const DOWNSTREAM_TLS: &str = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";
const STRING: &str = "google.protobuf.StringValue";
const BYTES: &str = "google.protobuf.BytesValue";
const STRUCT: &str = "google.protobuf.Struct";
const TYPED_STRUCTS: [&str; 2] = ["xds.type.v3.TypedStruct", "udpa.type.v1.TypedStruct"];

/// Fields of `envoy.extensions.filters.http.wasm.v3.Wasm`.
const OF_WASM: [&str; 2] = ["@type", "config"];
/// Fields of `envoy.extensions.wasm.v3.PluginConfig`.
const OF_PLUGIN: [&str; 9] = [
    "name",
    "root_id",
    "vm_config",
    "configuration",
    "fail_open",
    "failure_policy",
    "reload_config",
    "capability_restriction_config",
    "allow_on_headers_stop_iteration",
];
/// Fields of `envoy.extensions.wasm.v3.VmConfig`.
const OF_VM: [&str; 8] = [
    "vm_id",
    "runtime",
    "code",
    "configuration",
    "allow_precompiled",
    "nack_on_code_cache_miss",
    "environment_variables",
    "precompiled",
];

/// Longest delay of the tarpit unless it is configured.
const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// Envoy's own `stream_idle_timeout`.
const STREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(300);

/// The parts of a document that filters refer to.
struct Surroundings {
    /// `None` where clusters also come from elsewhere.
    clusters: Option<BTreeSet<String>>,
    /// `None` where routes also come from elsewhere.
    routes: Option<BTreeSet<String>>,
}

/// Checks a document: a bootstrap, a listener, an EnvoyFilter of Istio.
pub fn check(file: &File, document: &Node, seen: &mut Vec<Seen>, findings: &mut Findings) {
    if kubernetes::check(document, seen, findings) {
        return;
    }
    let surroundings = Surroundings::of(document);
    let mut vms = Vec::new();
    let mut chains = Vec::new();
    walk(document, &mut |node| {
        let filters = node.items_of("http_filters");
        if !filters.is_empty() {
            chains.push((Some(node), filters));
        }
    });
    let in_chains: BTreeSet<u64> = chains
        .iter()
        .flat_map(|(_, filters)| filters.iter().map(|filter| filter.line))
        .collect();
    // Those that are in no chain: of a list of extension configurations, or of a patch.
    walk(document, &mut |node| {
        let alone = node
            .get("typed_config")
            .is_some_and(|it| unpack(it).is_some());
        if alone && !in_chains.contains(&node.line) {
            chains.push((None, std::slice::from_ref(node)));
        }
    });
    let mut any = false;
    for (manager, filters) in chains {
        any |= check_chain(
            file,
            manager,
            filters,
            &surroundings,
            &mut vms,
            seen,
            findings,
        );
    }
    if any {
        check_listeners(document, findings);
        check_labels(document, findings);
    }
}

/// Calls for every object.
fn walk<'a>(node: &'a Node, visit: &mut impl FnMut(&'a Node)) {
    match &node.kind {
        Kind::Map(members) => {
            visit(node);
            for (_, member) in members {
                walk(member, visit);
            }
        }
        Kind::List(items) => {
            for item in items {
                walk(item, visit);
            }
        }
        _ => {}
    }
}

fn type_of(node: &Node) -> &str {
    let url = node.text_of("@type").unwrap_or_default();
    url.rsplit('/').next().unwrap_or_default()
}

/// The message of type Wasm in a `typed_config`, which may be in a TypedStruct.
fn unpack(typed: &Node) -> Option<&Node> {
    let of_type = type_of(typed);
    if of_type == WASM {
        return Some(typed);
    }
    let wrapped = typed
        .text_of("type_url")
        .is_some_and(|url| url.ends_with(WASM));
    (TYPED_STRUCTS.contains(&of_type) && wrapped).then(|| typed.get("value"))?
}

impl Surroundings {
    fn of(document: &Node) -> Self {
        let mut dynamic = false;
        let mut clusters = BTreeSet::new();
        let mut routes = BTreeSet::new();
        let mut elsewhere = document.get("static_resources").is_none();
        walk(document, &mut |node| {
            dynamic |= node.get("cds_config").is_some();
            elsewhere |= node.get("rds").is_some()
                || node.get("scoped_routes").is_some()
                || node.get("lds_config").is_some();
            for host in node.items_of("virtual_hosts") {
                let names = host
                    .items_of("routes")
                    .iter()
                    .filter_map(|it| it.text_of("name"));
                routes.extend(names.map(str::to_owned));
            }
        });
        let of_document = document.at(&["static_resources", "clusters"]);
        if let Some(list) = of_document {
            let names = list.items().iter().filter_map(|it| it.text_of("name"));
            clusters.extend(names.map(str::to_owned));
        }
        let known = document.get("static_resources").is_some() && !dynamic;
        Self {
            clusters: known.then_some(clusters),
            routes: (!elsewhere).then_some(routes),
        }
    }
}

/// Checks the filters of one chain. True if one is ours.
fn check_chain<'a>(
    file: &'a File,
    manager: Option<&Node>,
    filters: &'a [Node],
    surroundings: &Surroundings,
    vms: &mut Vec<(String, &'static str)>,
    seen: &mut Vec<Seen>,
    findings: &mut Findings,
) -> bool {
    let mut chain = Vec::new();
    let mut any = false;
    let mut names = BTreeSet::new();
    let mut after_router = false;
    for node in filters {
        names.extend(node.text_of("name"));
        let typed = node.get("typed_config");
        let Some(wasm) = typed.and_then(unpack) else {
            check_type(node, findings);
            after_router |=
                typed.is_some_and(|typed| type_of(typed).ends_with(".router.v3.Router"));
            continue;
        };
        let Some(filter) = which(node, wasm, findings) else {
            continue;
        };
        any = true;
        seen.push(Seen {
            filter: filter.name.to_owned(),
            line: node.line,
        });
        if after_router {
            let message = format!("{} comes after the router: it never runs", filter.name);
            findings.error("after-router", node.line, message);
        }
        if node.get("disabled").and_then(Node::bool) == Some(true) {
            let message = format!(
                "{} is switched off but where a route switches it on",
                filter.name
            );
            findings.warning("switched-off", node.line_of("disabled"), message);
        }
        gateway::unknown_members(wasm, &OF_WASM, WASM, findings);
        let Some(plugin) = wasm.get("config") else {
            findings.error(
                "no-config",
                wasm.line,
                format!("{} has no config", filter.name),
            );
            continue;
        };
        gateway::unknown_members(plugin, &OF_PLUGIN, "the config of a Wasm filter", findings);
        check_crash(filter, plugin, findings);
        check_vm(filter, plugin, vms, findings);
        if let Some(found) = check_configuration(file, filter, plugin, findings) {
            check_bodies(&found, plugin, findings);
            check_clusters(&found, surroundings, findings);
            if let Some(routes) = &surroundings.routes {
                gateway::check_routes(&found, routes, findings);
            }
            chain.push(found);
        }
    }
    gateway::check_chain(&chain, findings);
    if let Some(manager) = manager.filter(|_| any) {
        check_timeouts(manager, &chain, findings);
        check_fingerprints(manager, &chain, findings);
        check_routes_overrides(manager, &names, findings);
    }
    any
}

/// A filter of ours by its name, whose type is no Wasm filter's.
fn check_type(node: &Node, findings: &mut Findings) {
    let name = node.text_of("name").unwrap_or_default();
    if !name.starts_with("portcullis") || node.get("config_discovery").is_some() {
        return;
    }
    let of_type = node.get("typed_config").map(type_of).unwrap_or_default();
    let message = format!(
        "{name} is of type {}, not {WASM}",
        if of_type.is_empty() {
            "(none)"
        } else {
            of_type
        }
    );
    findings.error("wrong-type", node.line, message);
}

/// What a module is called by its path: `auth.wasm`, or `auth/plugin.wasm` where a released image is mounted as a
/// volume.
fn called(path: &str) -> &str {
    let mut parts = path.rsplit('/');
    let file = parts.next().unwrap_or_default();
    match (file, parts.next()) {
        ("plugin.wasm", Some(folder)) => folder,
        _ => file.strip_suffix(".wasm").unwrap_or(file),
    }
}

/// Which filter it is: its module says so, if anything does.
fn which(node: &Node, wasm: &Node, findings: &mut Findings) -> Option<&'static Filter> {
    let plugin = wasm.get("config");
    let code = plugin.and_then(|it| it.at(&["vm_config", "code"]));
    let file = code.and_then(|it| it.at(&["local", "filename"]));
    let module = file
        .or_else(|| code.and_then(|it| it.at(&["remote", "http_uri", "uri"])))
        .and_then(Node::text);
    let stem = module.map(called);
    let names: Vec<(&str, u64)> = [(Some(node), "name"), (plugin, "name"), (plugin, "root_id")]
        .into_iter()
        .filter_map(|(of, field)| {
            let of = of?;
            Some((of.text_of(field)?, of.line_of(field)))
        })
        .collect();
    let named = names
        .iter()
        .find_map(|(name, line)| Some((filters::meant(name)?, *line)));
    match (stem.and_then(filters::find), named) {
        (Some(filter), _) => {
            for (name, line) in names {
                if let Some(other) = filters::meant(name).filter(|other| other.name != filter.name)
                {
                    let message = format!(
                        "is named after {}, but its module is {}",
                        other.name,
                        module.unwrap_or_default()
                    );
                    findings.error("module-mismatch", line, message);
                }
            }
            if let (Some(path), Some(file)) = (module, file)
                && path.contains("/kong/")
            {
                let message = format!(
                    "{path} is the module for Kong: it costs each request crossings for nothing"
                );
                findings.warning("module-for-kong", file.line, message);
            }
            Some(filter)
        }
        (None, Some((filter, line))) => {
            if let Some(module) = module {
                let message = format!("is named after {}, but its module is {module}", filter.name);
                findings.error("module-mismatch", file.map_or(line, |it| it.line), message);
            }
            Some(filter)
        }
        (None, None) => {
            let meant = stem.and_then(filters::meant);
            let ours = names
                .iter()
                .find(|(name, _)| name.starts_with("portcullis"));
            if let Some(meant) = meant {
                let message = format!(
                    "there is no module {}; did you mean {}.wasm?",
                    module.unwrap_or_default(),
                    meant.name
                );
                findings.error(
                    "module-mismatch",
                    file.map_or(node.line, |it| it.line),
                    message,
                );
            } else if let Some((name, line)) = ours {
                let message = format!("{name} is no filter: there are {}", filters::names());
                findings.error("filter-unknown", *line, message);
            }
            meant
        }
    }
}

/// What happens when a filter has crashed.
fn check_crash(filter: &Filter, plugin: &Node, findings: &mut Findings) {
    let policy = plugin.text_of("failure_policy");
    let opens = policy == Some("FAIL_OPEN");
    if opens || plugin.get("fail_open").and_then(Node::bool) == Some(true) {
        let line = plugin.line_of(if opens { "failure_policy" } else { "fail_open" });
        let message = format!("everything passes {} once it has crashed", filter.name);
        findings.error("fails-open", line, message);
    } else if plugin.get("fail_open").is_some() && policy.is_some() {
        let message = "fail_open and failure_policy exclude each other";
        findings.error("fails-open", plugin.line_of("fail_open"), message);
    } else if !matches!(policy, Some("FAIL_RELOAD" | "FAIL_CLOSED")) {
        let message = match policy {
            Some(other) => format!("{} has no failure_policy {other}", filter.name),
            None => format!(
                "{} has no failure_policy: a worker in which it has crashed answers 503 for ever; FAIL_RELOAD starts it anew",
                filter.name
            ),
        };
        let line = plugin.line_of("failure_policy");
        if policy.is_some() {
            findings.error("failure-policy", line, message);
        } else {
            findings.warning("failure-policy", line, message);
        }
    }
}

/// The virtual machine and the module.
fn check_vm(
    filter: &Filter,
    plugin: &Node,
    vms: &mut Vec<(String, &'static str)>,
    findings: &mut Findings,
) {
    let name = filter.name;
    let Some(vm) = plugin.get("vm_config") else {
        let message = format!("{name} has no vm_config, and so no module");
        findings.error("no-module", plugin.line, message);
        return;
    };
    gateway::unknown_members(vm, &OF_VM, "vm_config", findings);
    match vm.text_of("runtime") {
        Some("envoy.wasm.runtime.v8") => {}
        Some(other) => {
            let message = format!("{name} runs in envoy.wasm.runtime.v8, not in {other}");
            findings.error("runtime", vm.line_of("runtime"), message);
        }
        None => {
            let message = format!("{name} has no runtime: envoy.wasm.runtime.v8");
            findings.error("runtime", vm.line, message);
        }
    }
    if let Some(configuration) = vm.get("configuration") {
        let message = format!(
            "{name} reads its configuration from `configuration` beside vm_config, not in it"
        );
        findings.error("config-in-vm", configuration.line, message);
    }
    match vm.get("code") {
        None => {
            findings.error(
                "no-module",
                vm.line,
                format!("{name} has no code: no module"),
            );
        }
        Some(code) => {
            if let Some(remote) = code.get("remote")
                && remote.text_of("sha256").is_none_or(str::is_empty)
            {
                let message = format!("the module of {name} comes from elsewhere without a sha256");
                findings.error("no-checksum", remote.line, message);
            }
        }
    }
    match vm.text_of("vm_id") {
        None | Some("") => {
            let message = format!("{name} has no vm_id: give it one of its own");
            findings.warning("vm-id", vm.line, message);
        }
        Some(id) => {
            let other = vms.iter().find(|(known, _)| known == id);
            if let Some((_, other)) = other.filter(|(_, other)| *other != filter.name) {
                let message = format!("{name} has the vm_id of {other}: {id}");
                findings.warning("vm-id", vm.line_of("vm_id"), message);
            }
            vms.push((id.to_owned(), filter.name));
        }
    }
}

/// The configuration itself; `None` if it is wrong.
fn check_configuration<'a>(
    file: &'a File,
    filter: &'static Filter,
    plugin: &'a Node,
    findings: &mut Findings,
) -> Option<Found<'a>> {
    let line = plugin.line;
    let name = filter.name;
    let Some(any) = plugin.get("configuration") else {
        return gateway::problems(filter, b"", |_| line, findings).then(|| Found {
            filter,
            config: Value::Null,
            line,
            line_of: Box::new(move |_| line),
        });
    };
    let value = any.get("value");
    let text = match (type_of(any), value) {
        (STRING, Some(value)) => match value.text() {
            Some(text) => Ok((text.to_owned(), value)),
            None => Err("the value of a StringValue is text: JSON after `value: |`".to_owned()),
        },
        (BYTES, Some(value)) => value
            .text()
            .and_then(|text| {
                base64::engine::general_purpose::STANDARD
                    .decode(text.trim())
                    .ok()
            })
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .map(|text| (text, value))
            .ok_or_else(|| "the value of a BytesValue is text in base64".to_owned()),
        (STRUCT, _) => {
            let tree = value.unwrap_or(any);
            let mut json = tree.to_json();
            if let (None, Value::Object(members)) = (value, &mut json) {
                members.remove("@type");
            }
            let line_of = |path: &str| tree.line_of(path);
            let good = gateway::problems(filter, json.to_string().as_bytes(), line_of, findings);
            return good.then(|| Found {
                filter,
                config: json,
                line,
                line_of: Box::new(|path| tree.line_of(path)),
            });
        }
        ("", _) => Err(format!("has no @type: type.googleapis.com/{STRING}")),
        (STRING | BYTES, None) => Err("has no value".to_owned()),
        (other, _) => Err(format!(
            "{other} is none of {STRING}, {BYTES} and {STRUCT}: {name} would not get it"
        )),
    };
    let (text, value) = match text {
        Ok(text) => text,
        Err(why) => {
            findings.error(
                "config-type",
                any.line,
                format!("{name}: configuration: {why}"),
            );
            return None;
        }
    };
    let in_file = |line: u64| value.line_in_text(&file.text, line);
    let config = serde_json::from_str(&text).unwrap_or_default();
    if !gateway::problems_in_text(filter, &text, in_file, findings) {
        return None;
    }
    let tree = crate::yaml::documents(&text)
        .ok()
        .and_then(|all| all.into_iter().next());
    Some(Found {
        filter,
        config,
        line,
        line_of: Box::new(move |path| {
            value.line_in_text(
                &file.text,
                tree.as_ref().map_or(1, |tree| tree.line_of(path)),
            )
        }),
    })
}

/// A filter that reads bodies holds the headers back until then, which Envoy has to be told.
fn check_bodies(found: &Found<'_>, plugin: &Node, findings: &mut Findings) {
    let allowed = plugin
        .get("allow_on_headers_stop_iteration")
        .and_then(Node::bool);
    if found.reads_bodies() && allowed != Some(true) {
        let message = "a limit counts by the body, which never comes without allow_on_headers_stop_iteration: true";
        findings.error("body-held-back", found.line, message);
    }
}

/// Services are clusters.
fn check_clusters(found: &Found<'_>, surroundings: &Surroundings, findings: &mut Findings) {
    let Some(clusters) = &surroundings.clusters else {
        return;
    };
    for (path, upstream) in found.members("upstream") {
        if let Some(name) = upstream.as_str().filter(|name| !clusters.contains(*name)) {
            let message = format!("there is no cluster {name}");
            found.error(findings, "upstream-unknown", &path, message);
        }
    }
}

/// Timeouts that end a request before the tarpit answers it.
fn check_timeouts(manager: &Node, chain: &[Found<'_>], findings: &mut Findings) {
    let Some(tarpit) = chain.iter().find_map(|found| found.section("tarpit")) else {
        return;
    };
    let delay = tarpit
        .get("longest_delay")
        .and_then(Value::as_str)
        .and_then(|text| text.parse::<Span>().ok())
        .map_or(LONGEST_DELAY, |span| span.0);
    let mut check = |of: &Node, names: &[&str]| {
        let Some(node) = of.at(names) else { return };
        let Some(time) = node.text().and_then(seconds) else {
            return;
        };
        if !time.is_zero() && time <= delay {
            let message = format!(
                "{} of {time:?} ends before the tarpit's longest delay, {delay:?}: its clients get 504 or 408 instead",
                names.join(".")
            );
            findings.error("timeout-before-tarpit", node.line, message);
        }
    };
    check(manager, &["stream_idle_timeout"]);
    check(manager, &["request_timeout"]);
    check(
        manager,
        &["common_http_protocol_options", "max_stream_duration"],
    );
    let mut routes = Vec::new();
    walk(manager, &mut |node| {
        if node.get("match").is_some() {
            routes.extend(node.get("route"));
        }
    });
    for route in routes {
        check(route, &["idle_timeout"]);
        check(route, &["max_stream_duration", "max_stream_duration"]);
    }
    if delay >= STREAM_IDLE_TIMEOUT && manager.get("stream_idle_timeout").is_none() {
        let message = format!(
            "without stream_idle_timeout Envoy ends a request after {STREAM_IDLE_TIMEOUT:?}"
        );
        findings.error("timeout-before-tarpit", manager.line, message);
    }
}

/// `1.5s`
fn seconds(text: &str) -> Option<Duration> {
    let seconds: f64 = text.strip_suffix('s')?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// Lists of JA3 and JA4 need those of the TLS inspector.
fn check_fingerprints(manager: &Node, chain: &[Found<'_>], findings: &mut Findings) {
    let reader = chain.iter().find(|found| {
        let mut readers = ["fingerprint_deny", "tarpit"].iter();
        readers.any(|name| found.section(name).is_some())
    });
    let Some(reader) = reader else { return };
    let mut keys = BTreeSet::new();
    for filter in manager.items_of("http_filters") {
        let Some(typed) = filter.get("typed_config") else {
            continue;
        };
        if type_of(typed) == SET_FILTER_STATE {
            let objects = typed.items_of("on_request_headers").iter();
            keys.extend(objects.filter_map(|object| object.text_of("object_key")));
        }
    }
    for key in ["portcullis.ja3", "portcullis.ja4"] {
        if !keys.contains(key) {
            let message = format!(
                "no set_filter_state of {key}: entries of that kind match nobody but behind a trusted proxy"
            );
            reader.warning(findings, "no-fingerprint", "", message);
        }
    }
}

/// What routes make of the filters.
fn check_routes_overrides(manager: &Node, names: &BTreeSet<&str>, findings: &mut Findings) {
    let mut overrides = Vec::new();
    walk(manager, &mut |node| {
        overrides.extend(node.get("typed_per_filter_config"));
    });
    for of_route in overrides {
        for (key, config) in of_route.members() {
            let ours = filters::meant(&key.name).is_some() || key.name.starts_with("portcullis");
            if !ours {
                continue;
            }
            let name = &key.name;
            if !names.contains(name.as_str()) {
                let message = format!("no filter of this chain is named {name}");
                findings.error("route-override", key.line, message);
            } else if type_of(config) != FILTER_CONFIG {
                let message = format!(
                    "{name} takes no configuration of a route: its rules match routes; a route can only switch it off, with {FILTER_CONFIG}"
                );
                findings.error("route-override", key.line, message);
            } else if config.get("disabled").and_then(Node::bool) == Some(true) {
                let message = format!("{name} is switched off for a route");
                findings.warning("switched-off", key.line, message);
            }
        }
    }
}

/// Listeners with TLS of their own: who says JA3 and JA4 has to compute them.
fn check_listeners(document: &Node, findings: &mut Findings) {
    let mut listeners = Vec::new();
    walk(document, &mut |node| {
        if node.get("filter_chains").is_some() {
            listeners.push(node);
        }
    });
    for listener in listeners {
        let mut tls = false;
        let mut reads = false;
        let mut computed = BTreeSet::new();
        walk(listener, &mut |node| {
            tls |= type_of(node) == DOWNSTREAM_TLS;
            reads |= node
                .text_of("object_key")
                .is_some_and(|key| key.starts_with("portcullis.ja"));
            for (field, kind) in [
                ("enable_ja3_fingerprinting", "JA3"),
                ("enable_ja4_fingerprinting", "JA4"),
            ] {
                if node.get(field).and_then(Node::bool) == Some(true) {
                    computed.insert(kind);
                }
            }
        });
        for kind in ["JA3", "JA4"] {
            if tls && reads && !computed.contains(kind) {
                let message = format!(
                    "its TLS inspector does not compute {kind}: enable_{}_fingerprinting",
                    kind.to_ascii_lowercase()
                );
                findings.warning("no-fingerprint", listener.line, message);
            }
        }
    }
}

/// A bootstrap has to say which parts of names are labels.
fn check_labels(document: &Node, findings: &mut Findings) {
    if document.get("static_resources").is_none() {
        return;
    }
    let tags = document.at(&["stats_config", "stats_tags"]);
    let known: BTreeSet<&str> = tags
        .map(Node::items)
        .unwrap_or_default()
        .iter()
        .filter_map(|tag| tag.text_of("tag_name"))
        .collect();
    let missing: Vec<&str> = LABELS
        .into_iter()
        .filter(|label| !known.contains(label))
        .collect();
    if !missing.is_empty() {
        let message = format!(
            "stats_tags lack {}: in metrics they stay a part of the name",
            missing.join(", ")
        );
        findings.warning(
            "labels",
            tags.map_or(document.line, |tags| tags.line),
            message,
        );
    }
}
