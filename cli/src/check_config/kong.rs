//! Filters in Kong's declarative configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::Seen;
use super::gateway::{self, Found};
use super::kong_conf::Needs;
use crate::filters::{self, Filter};
use crate::finding::Findings;
use crate::kong::{NAMELESS, Route, is_on, name_of, reference, routes};
use crate::yaml::{Kind, Node};

/// Fields of a chain (`kong/db/schema/entities/filter_chains.lua`).
const OF_CHAIN: [&str; 9] = [
    "id",
    "name",
    "enabled",
    "route",
    "service",
    "filters",
    "created_at",
    "updated_at",
    "tags",
];
/// Fields of a filter in a chain (`kong/db/schema/others/wasm_filter.lua`).
const OF_FILTER: [&str; 3] = ["name", "enabled", "config"];

/// What a chain belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Owner<'a> {
    Service(&'a str),
    Route(&'a str),
}

/// Checks a document; what is said of `kong.conf` depends on what its filters need.
pub fn check(document: &Node, seen: &mut Vec<Seen>, findings: &mut Findings) -> Needs {
    let mut needs = Needs::default();
    if document.get("_format_version").is_none() {
        let message = "is no declarative configuration of Kong: it has no _format_version";
        findings.error("kong-format", document.line, message);
    }
    let routes = routes(document);
    let route_names = routes.iter().map(|route| route.name.to_owned()).collect();
    let mut chains: BTreeMap<Owner<'_>, Vec<Found<'_>>> = BTreeMap::new();
    for (chain, owners) in chains_of(document, &routes) {
        let found = check_chain(chain, &owners, seen, findings);
        for it in &found {
            needs.add(it);
            check_addresses(it, findings);
            gateway::check_routes(it, &route_names, findings);
        }
        let Some(owner) = owners.first().copied() else {
            continue;
        };
        if chains.contains_key(&owner) {
            let what = match owner {
                Owner::Service(name) => format!("the service {name}"),
                Owner::Route(name) => format!("the route {name}"),
            };
            let message = format!("is the second chain of {what}: Kong takes one of each");
            findings.error("chain-twice", chain.line, message);
        }
        gateway::check_chain(&found, findings);
        chains.insert(owner, found);
    }
    check_both(&routes, &chains, findings);
    check_plugins(document, &routes, findings);
    if !seen.is_empty()
        && !plugins(document, &routes)
            .any(|it| is_on(it) && it.text_of("name") == Some("prometheus"))
    {
        let message = "the plugin prometheus is missing: nobody sees what the filters count";
        findings.warning("no-metrics", document.line, message);
    }
    needs
}

/// Every chain, with what it belongs to: one thing, if it is right.
fn chains_of<'a>(document: &'a Node, routes: &[Route<'a>]) -> Vec<(&'a Node, Vec<Owner<'a>>)> {
    let of_routes = routes.iter().flat_map(|route| {
        let owner = Owner::Route(route.name);
        let chains = route.node.items_of("filter_chains").iter();
        chains.map(move |chain| (chain, vec![owner]))
    });
    let of_services = document.items_of("services").iter().flat_map(|service| {
        let owner = Owner::Service(name_of(service).unwrap_or(NAMELESS));
        let chains = service.items_of("filter_chains").iter();
        chains.map(move |chain| (chain, vec![owner]))
    });
    let beside = document.items_of("filter_chains").iter().map(|chain| {
        let to = |field| reference(chain, field);
        let service = to("service").map(Owner::Service);
        (
            chain,
            to("route")
                .map(Owner::Route)
                .into_iter()
                .chain(service)
                .collect(),
        )
    });
    of_routes.chain(of_services).chain(beside).collect()
}

/// Checks a chain by itself.
fn check_chain<'a>(
    chain: &'a Node,
    owners: &[Owner<'_>],
    seen: &mut Vec<Seen>,
    findings: &mut Findings,
) -> Vec<Found<'a>> {
    let mut found = Vec::new();
    let mut ours = false;
    for node in chain.items_of("filters") {
        let Some(name) = node.text_of("name") else {
            findings.error("filter-unknown", node.line, "a filter without a name");
            continue;
        };
        let line = node.line_of("name");
        let filter = match (filters::find(name), filters::meant(name)) {
            (Some(filter), _) => filter,
            (None, Some(meant)) => {
                let message = format!("there is no filter {name}; did you mean {}?", meant.name);
                findings.error("filter-unknown", line, message);
                ours = true;
                continue;
            }
            // Another's.
            (None, None) => continue,
        };
        ours = true;
        seen.push(Seen {
            filter: filter.name.to_owned(),
            line,
        });
        gateway::unknown_members(node, &OF_FILTER, "a filter of a chain", findings);
        if !is_on(node) {
            let message = format!("{name} is switched off here");
            findings.warning("switched-off", node.line_of("enabled"), message);
        }
        found.extend(check_filter(filter, node, findings));
    }
    if ours {
        gateway::unknown_members(chain, &OF_CHAIN, "a filter chain", findings);
        if owners.len() != 1 {
            let message = "a chain belongs to one route or to one service";
            findings.error("chain-owner", chain.line, message);
        }
        if !is_on(chain) {
            let message = "the whole chain is switched off: everything passes";
            findings.warning("switched-off", chain.line_of("enabled"), message);
        }
    }
    found
}

/// Checks the configuration of a filter; `None` if it is wrong.
fn check_filter<'a>(
    filter: &'static Filter,
    node: &'a Node,
    findings: &mut Findings,
) -> Option<Found<'a>> {
    let line = node.line_of("name");
    let Some(config) = node.get("config") else {
        return gateway::problems(filter, b"", |_| line, findings).then(|| Found {
            filter,
            config: serde_json::Value::Null,
            line,
            line_of: Box::new(move |_| line),
        });
    };
    if let Kind::Text(_) = config.kind {
        let message = format!(
            "the configuration of {} is text: with {}.meta.json beside the module Kong takes an object alone",
            filter.name, filter.name
        );
        findings.error("config-as-text", node.line_of("config"), message);
    }
    let (json, good) = match &config.kind {
        Kind::Text(text) => (
            serde_json::from_str(text).unwrap_or_default(),
            gateway::problems_in_text(filter, text, |_| config.line, findings),
        ),
        Kind::Null => (
            serde_json::Value::Null,
            gateway::problems(filter, b"", |_| line, findings),
        ),
        _ => {
            let json = config.to_json();
            let line_of = |path: &str| config.line_of(path);
            let good = gateway::problems(filter, json.to_string().as_bytes(), line_of, findings);
            (json, good)
        }
    };
    good.then(|| Found {
        filter,
        config: json,
        line,
        line_of: Box::new(|path| config.line_of(path)),
    })
}

/// Whether services can be reached as they are written.
fn check_addresses(found: &Found<'_>, findings: &mut Findings) {
    for (path, upstream) in found.members("upstream") {
        let Some(upstream) = upstream.as_str() else {
            continue;
        };
        if upstream.starts_with("unix:/") {
            continue;
        }
        let port = upstream.rsplit_once(':').and_then(|(host, port)| {
            let port: u16 = port.parse().ok().filter(|port| *port > 0)?;
            (!host.is_empty() && !host.contains(['/', '|', ' '])).then_some((host, port))
        });
        match port {
            None => {
                let message = format!("{upstream} is no host:port, as which Kong calls services");
                found.error(findings, "upstream-form", &path, message);
            }
            Some((host, _)) if host.parse::<IpAddr>().is_err() && host == "localhost" => {
                let message =
                    "localhost is for Kong's DNS resolver to know: better 127.0.0.1".to_owned();
                found.warning(findings, "upstream-localhost", &path, message);
            }
            Some(_) => {}
        }
    }
}

/// Filters that run twice, because the service of a route has them as well.
fn check_both(
    routes: &[Route<'_>],
    chains: &BTreeMap<Owner<'_>, Vec<Found<'_>>>,
    findings: &mut Findings,
) {
    for route in routes {
        let own = chains.get(&Owner::Route(route.name));
        let service = route
            .service_name
            .and_then(|name| chains.get(&Owner::Service(name)));
        let (Some(own), Some(service)) = (own, service) else {
            continue;
        };
        for found in own {
            if service.iter().any(|it| it.filter.name == found.filter.name) {
                let message = format!(
                    "runs twice on {}: the chain of its service has it too",
                    route.name
                );
                found.warning(findings, "filter-twice", "", message);
            }
        }
    }
}

/// Every plugin, with those of services and routes.
fn plugins<'a>(document: &'a Node, routes: &[Route<'a>]) -> impl Iterator<Item = &'a Node> {
    let of_services = document
        .items_of("services")
        .iter()
        .flat_map(|service| service.items_of("plugins"));
    let of_routes: Vec<&Node> = routes
        .iter()
        .flat_map(|route| route.node.items_of("plugins"))
        .collect();
    document
        .items_of("plugins")
        .iter()
        .chain(of_services)
        .chain(of_routes)
}

/// Filters among the plugins.
fn check_plugins(document: &Node, routes: &[Route<'_>], findings: &mut Findings) {
    for plugin in plugins(document, routes) {
        let name = plugin.text_of("name").unwrap_or_default();
        if filters::find(name).is_some() {
            let message = format!(
                "{name} is a filter: it belongs into a filter chain, whose order is as written"
            );
            findings.error("filter-as-plugin", plugin.line_of("name"), message);
        }
    }
    let known: BTreeSet<&str> = routes.iter().map(|route| route.name).collect();
    for chain in document.items_of("filter_chains") {
        let route = reference(chain, "route");
        if let Some(route) = route.filter(|route| !known.contains(route)) {
            let message = format!("there is no route {route}");
            findings.error("chain-owner", chain.line_of("route"), message);
        }
    }
}
