//! The declarative configuration of Kong.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::chain::{Chain, Gateway};
use super::model::Model;
use super::problems::Problems;
use super::route::Route;
use super::rules::Expansion;
use super::service::Service;

pub fn document(
    model: &Model<'_>,
    called: &mut BTreeSet<String>,
    problems: &mut Problems,
) -> Value {
    let mut expansion = Expansion {
        model,
        gateway: Gateway::Kong,
        called,
        problems,
    };
    let services: Vec<Value> = model
        .services
        .values()
        .filter_map(|service| entity(service, model, &mut expansion))
        .collect();
    let plugins: Vec<Value> = model
        .plugins
        .iter()
        .map(|plugin| {
            let mut entity = json!({ "name": plugin.name });
            for (key, value) in [
                ("config", plugin.config.clone()),
                ("service", plugin.service.clone().map(Value::from)),
                ("route", plugin.route.clone().map(Value::from)),
            ] {
                put(&mut entity, key, value);
            }
            entity
        })
        .collect();
    let mut document = json!({ "_format_version": "3.0", "services": services });
    put(
        &mut document,
        "plugins",
        (!plugins.is_empty()).then(|| plugins.into()),
    );
    document
}

/// Adds a member if there is one.
fn put(entity: &mut Value, key: &str, value: Option<Value>) {
    if let (Some(members), Some(value)) = (entity.as_object_mut(), value) {
        members.insert(key.to_owned(), value);
    }
}

/// A service with its routes; `None` if it has none, and is only called by filters.
fn entity(
    service: &Service,
    model: &Model<'_>,
    expansion: &mut Expansion<'_, '_>,
) -> Option<Value> {
    let routes: Vec<&Route> = model
        .routes
        .values()
        .filter(|route| route.service == service.name)
        .collect();
    let first = routes.first()?;
    let together = routes
        .iter()
        .all(|route| route.filter_chain == first.filter_chain);
    let mut nested: Vec<Value> = routes.iter().map(|route| of_route(route)).collect();
    let mut of_service = None;
    if together {
        let chain = model.chain_of(first);
        of_service = chain.map(|chain| filters(&service.name, chain, &routes, expansion));
    } else {
        for (route, entity) in routes.iter().zip(&mut nested) {
            let name = route.name.strip_prefix("rt-").unwrap_or(&route.name);
            let chain = model.chain_of(route);
            let chain = chain.map(|chain| filters(name, chain, &[route], expansion));
            put(entity, "filter_chains", chain.map(|chain| json!([chain])));
        }
    }
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let mut entity = json!({
        "name": service.name,
        "url": service.url.text(),
        "connect_timeout": millis(service.connect_timeout),
        "read_timeout": millis(service.timeout),
        "write_timeout": millis(service.timeout),
        // As Envoy, which repeats nothing unless it is told to.
        "retries": 0,
        "routes": nested,
    });
    let tags = tags(&service.tags);
    put(
        &mut entity,
        "tags",
        (!service.tags.is_empty()).then_some(tags),
    );
    put(
        &mut entity,
        "tls_verify",
        service.url.tls.then(|| true.into()),
    );
    put(
        &mut entity,
        "filter_chains",
        of_service.map(|chain| json!([chain])),
    );
    Some(entity)
}

fn tags(tags: &[(String, String)]) -> Value {
    let mut tags: Vec<String> = tags
        .iter()
        .map(|(key, value)| format!("{key}:{value}"))
        .collect();
    tags.sort();
    tags.into()
}

fn of_route(route: &Route) -> Value {
    let paths: Vec<String> = route.paths.iter().flat_map(|path| paths(path)).collect();
    let mut entity = json!({
        "name": route.name,
        "paths": paths,
        "strip_path": false,
        "tags": tags(&route.tags),
    });
    let methods = (!route.methods.is_empty()).then(|| route.methods.clone().into());
    put(&mut entity, "methods", methods);
    entity
}

/// The path itself, and everything under it: a plain path of Kong's also takes what merely begins alike.
fn paths(path: &str) -> Vec<String> {
    if path == "/" {
        return vec![path.to_owned()];
    }
    let escaped = path.replace('.', "\\.");
    vec![format!("~{escaped}$"), format!("{path}/")]
}

fn filters(
    name: &str,
    chain: &Chain<'_>,
    routes: &[&Route],
    expansion: &mut Expansion<'_, '_>,
) -> Value {
    let filters: Vec<Value> = expansion
        .configs(chain, routes)
        .into_iter()
        .map(|(filter, config)| json!({ "name": filter.name, "config": config }))
        .collect();
    json!({ "name": format!("fc-{name}"), "filters": filters })
}
