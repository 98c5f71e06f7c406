//! The configuration of each filter of a chain in a gateway: as it is written, with the names of services made into what
//! that gateway calls them, and with the rules that come of routes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::chain::{Chain, Gateway, Link};
use super::model::Model;
use super::problems::{Place, Problems};
use super::route::{Authorizer, Credential, Route, covers};
use crate::filters::Filter;

/// What is known of a chain while its configurations are made.
pub struct Expansion<'m, 'a> {
    pub model: &'m Model<'a>,
    pub gateway: Gateway,
    /// The services that filters call.
    pub called: &'m mut BTreeSet<String>,
    pub problems: &'m mut Problems,
}

impl Expansion<'_, '_> {
    /// Each filter of the chain with its configuration, for these routes.
    pub fn configs(
        &mut self,
        chain: &Chain<'_>,
        routes: &[&Route],
    ) -> Vec<(&'static Filter, Value)> {
        for concern in ["auth", "rate_limit"] {
            let has = chain.filters.iter().any(|link| has_section(link, concern));
            if !has {
                self.check_without(concern, chain, routes);
            }
        }
        let links = chain.filters.iter();
        links
            .map(|link| {
                let mut config = link.config(self.gateway);
                self.name_services(link, &mut config, "");
                self.add_rules(link, &mut config, routes);
                let config = Value::Object(config);
                self.check(link, &config);
                (link.filter, config)
            })
            .collect()
    }

    /// Routes that ask for what no filter of their chain does.
    fn check_without(&mut self, concern: &str, chain: &Chain<'_>, routes: &[&Route]) {
        for route in routes {
            let asks = match concern {
                "auth" => matches!(route.authorizer, Authorizer::AnyOf(_)),
                _ => route.throttle != self.model.settings.throttle,
            };
            if asks {
                let message = format!(
                    "{} asks for {concern}, which the filter chain {} does not have",
                    route.name, chain.name
                );
                self.problems.error("reference", &route.at, message);
            }
        }
    }

    /// Every `upstream` names a service; the gateway has a name of its own for it.
    fn name_services(&mut self, link: &Link<'_>, members: &mut Map<String, Value>, path: &str) {
        for (key, member) in members.iter_mut() {
            let at = match path {
                "" => key.clone(),
                path => format!("{path}.{key}"),
            };
            self.name_service(link, key, member, &at);
        }
    }

    fn name_service(&mut self, link: &Link<'_>, key: &str, value: &mut Value, at: &str) {
        match value {
            Value::Object(members) => self.name_services(link, members, at),
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.name_service(link, "", item, &format!("{at}[{index}]"));
                }
            }
            Value::String(name) if key == "upstream" => {
                let place = link.place_of(self.gateway, at);
                let Some(service) = self.model.services.get(name.as_str()) else {
                    let message = format!("there is no service {name}");
                    self.problems.error("reference", &place, message);
                    return;
                };
                self.called.insert(name.clone());
                if self.gateway == Gateway::Kong {
                    if service.url.tls {
                        let message =
                            format!("{name} is https: in Kong filters call services without TLS");
                        self.problems.error("reference", &place, message);
                    }
                    *name = service.url.authority();
                }
            }
            _ => {}
        }
    }

    /// Adds the rules that come of routes behind those that are written.
    fn add_rules(&mut self, link: &Link<'_>, config: &mut Map<String, Value>, routes: &[&Route]) {
        for concern in ["auth", "rate_limit"] {
            let (section, path) = if link.filter.name == concern {
                (Some(&mut *config), "")
            } else if link.filter.name == "portcullis" {
                let section = config.get_mut(concern).and_then(Value::as_object_mut);
                (section, concern)
            } else {
                continue;
            };
            let Some(section) = section else { continue };
            let rules = section.entry("rules").or_insert_with(|| json!([]));
            let Some(rules) = rules.as_array_mut() else {
                // The filter itself says what is wrong with it.
                continue;
            };
            let at = if path.is_empty() {
                "rules".to_owned()
            } else {
                format!("{path}.rules")
            };
            let place = |rest: &str| link.place_of(self.gateway, &format!("{at}{rest}"));
            match concern {
                "auth" => {
                    check_shadows(rules, routes, &place, self.problems);
                    rules.extend(auth_rules(routes));
                }
                _ => {
                    check_route_limits(rules, &place, self.problems);
                    rules.extend(limits(routes, self.model));
                }
            }
        }
    }

    /// What the filter itself says of its configuration.
    fn check(&mut self, link: &Link<'_>, config: &Value) {
        for (path, problem) in (link.filter.problems)(config.to_string().as_bytes()) {
            let place = link.place_of(self.gateway, &path);
            let message = format!("{}: {problem}", link.filter.name);
            self.problems.error("config", &place, message);
        }
    }
}

fn has_section(link: &Link<'_>, concern: &str) -> bool {
    link.filter.name == concern
        || (link.filter.name == "portcullis" && link.config(Gateway::Envoy).get(concern).is_some())
}

/// One rule for all routes with the same credentials.
fn auth_rules(routes: &[&Route]) -> Vec<Value> {
    let mut groups: BTreeMap<&Authorizer, Vec<&str>> = BTreeMap::new();
    for route in routes {
        groups
            .entry(&route.authorizer)
            .or_default()
            .push(&route.name);
    }
    groups
        .into_iter()
        .filter_map(|(authorizer, mut names)| {
            names.sort_unstable();
            let matches = json!({ "routes": names });
            match authorizer {
                Authorizer::AsTheChainSays => None,
                Authorizer::Everybody => Some(json!({ "match": matches, "public": true })),
                Authorizer::AnyOf(credentials) => {
                    let any_of: Vec<Value> = credentials
                        .iter()
                        .map(|credential| match credential {
                            Credential::ApiKey => json!({ "api_key": true }),
                            Credential::Token(provider) => json!({ "jwt": provider }),
                        })
                        .collect();
                    Some(json!({ "match": matches, "any_of": any_of }))
                }
            }
        })
        .collect()
}

/// One rule for all routes with the same throttle (R14). Only the usual one has no scope: limits that share a scope have
/// to allow the same.
fn limits(routes: &[&Route], model: &Model<'_>) -> Vec<Value> {
    let mut groups: BTreeMap<_, Vec<&str>> = BTreeMap::new();
    for route in routes {
        groups.entry(route.throttle).or_default().push(&route.name);
    }
    groups
        .into_iter()
        .map(|(throttle, mut names)| {
            names.sort_unstable();
            let mut limit = json!({
                "dimension": "route",
                "limit": format!("{}/s", throttle.rate),
                "burst": throttle.burst,
            });
            if throttle != model.settings.throttle
                && let Some(limit) = limit.as_object_mut()
            {
                let scope = format!("{}-{}", throttle.rate, throttle.burst);
                limit.insert("scope".into(), scope.into());
            }
            json!({ "match": { "routes": names }, "limits": [limit] })
        })
        .collect()
}

/// A written rule decides before one that comes of a route: it must not decide all that the route takes.
fn check_shadows(
    rules: &[Value],
    routes: &[&Route],
    place: &impl Fn(&str) -> Place,
    problems: &mut Problems,
) {
    for (index, rule) in rules.iter().enumerate() {
        let none = Map::new();
        let conditions = rule
            .get("match")
            .and_then(Value::as_object)
            .unwrap_or(&none);
        if conditions.keys().any(|key| key != "prefix") {
            continue;
        }
        let prefix = conditions
            .get("prefix")
            .and_then(Value::as_str)
            .unwrap_or("/");
        for route in routes {
            let decided = route.authorizer != Authorizer::AsTheChainSays
                && route.paths.iter().any(|path| covers(prefix, path));
            if decided {
                let message = format!(
                    "decides for all of {} before its authorizer, at {}, is asked: narrow it, or take the authorizer away",
                    route.name, route.at
                );
                problems.error("authorizer", &place(&format!("[{index}]")), message);
            }
        }
    }
}

/// Limits by route come of routes alone: a second one would be as strict as the first, silently.
fn check_route_limits(rules: &[Value], place: &impl Fn(&str) -> Place, problems: &mut Problems) {
    for (index, rule) in rules.iter().enumerate() {
        let limits = rule.get("limits").and_then(Value::as_array);
        for (at, limit) in limits.into_iter().flatten().enumerate() {
            if limit.get("dimension").and_then(Value::as_str) == Some("route") {
                let message = "limits by route are those of routes and of the registry: throttle-rate, throttle-burst";
                problems.error(
                    "throttle",
                    &place(&format!("[{index}].limits[{at}]")),
                    message,
                );
            }
        }
    }
}
