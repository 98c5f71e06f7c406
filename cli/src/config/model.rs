//! The sources, read and compared with each other.

use std::collections::{BTreeMap, BTreeSet};

use super::chain::Chain;
use super::plugin::Plugin;
use super::problems::{Place, Problems};
use super::registry;
use super::route::{Authorizer, Route, covers};
use super::service::Service;
use super::settings::{Settings, TAGS};
use super::tree::{Noun, Tree};

/// All that the configurations are made of.
#[derive(Debug)]
pub struct Model<'a> {
    pub settings: Settings,
    pub services: BTreeMap<String, Service>,
    /// By name.
    pub routes: BTreeMap<String, Route>,
    pub plugins: Vec<Plugin>,
    pub chains: BTreeMap<String, Chain<'a>>,
}

impl<'a> Model<'a> {
    pub fn of(tree: &'a Tree, problems: &mut Problems) -> Self {
        let settings = Settings::read(tree.settings.as_ref(), problems);
        let mut model = Self {
            services: BTreeMap::new(),
            routes: BTreeMap::new(),
            plugins: Vec::new(),
            chains: BTreeMap::new(),
            settings,
        };
        for source in tree.of(Noun::Service) {
            if let Some(service) = Service::read(source, problems) {
                model.add_service(service, problems);
            }
        }
        for source in tree.of(Noun::Route) {
            if let Some(route) = Route::read(source, &model.settings, problems) {
                model.add_route(route, problems);
            }
        }
        if let Some(source) = &tree.registry {
            for (service, route) in registry::read(source, &model.settings, problems) {
                model.add_service(service, problems);
                model.add_route(route, problems);
            }
        }
        for source in tree.of(Noun::FilterChain) {
            let Some(chain) = Chain::read(source, problems) else {
                continue;
            };
            if let Some(other) = model.chains.get(&chain.name) {
                twice("filter chain", &chain.name, &chain.at, &other.at, problems);
                continue;
            }
            model.chains.insert(chain.name.clone(), chain);
        }
        for source in tree.of(Noun::Plugin) {
            if let Some(plugin) = Plugin::read(source, problems) {
                model.add_plugin(plugin, problems);
            }
        }
        model.finish_routes(problems);
        model.check_paths(problems);
        if model.routes.is_empty() && problems.is_empty() {
            let at = Place {
                file: "routes".into(),
                line: 0,
                path: String::new(),
            };
            problems.error(
                "missing",
                &at,
                "there is no route, in routes/ or in registry.yml",
            );
        }
        model
    }

    fn add_service(&mut self, service: Service, problems: &mut Problems) {
        if let Some(other) = self.services.get(&service.name) {
            twice("service", &service.name, &service.at, &other.at, problems);
            return;
        }
        self.services.insert(service.name.clone(), service);
    }

    fn add_route(&mut self, route: Route, problems: &mut Problems) {
        if let Some(other) = self.routes.get(&route.name) {
            twice("route", &route.name, &route.at, &other.at, problems);
            return;
        }
        self.routes.insert(route.name.clone(), route);
    }

    fn add_plugin(&mut self, plugin: Plugin, problems: &mut Problems) {
        let owner = |it: &Plugin| (it.name.clone(), it.service.clone(), it.route.clone());
        if let Some(other) = self.plugins.iter().find(|it| owner(it) == owner(&plugin)) {
            twice("plugin", &plugin.name, &plugin.at, &other.at, problems);
        }
        for (what, name, known) in [
            (
                "service",
                &plugin.service,
                plugin
                    .service
                    .as_ref()
                    .is_none_or(|it| self.services.contains_key(it)),
            ),
            (
                "route",
                &plugin.route,
                plugin
                    .route
                    .as_ref()
                    .is_none_or(|it| self.routes.contains_key(it)),
            ),
        ] {
            if let Some(name) = name.as_ref().filter(|_| !known) {
                problems.error(
                    "reference",
                    &plugin.at,
                    format!("there is no {what} {name}"),
                );
            }
        }
        self.plugins.push(plugin);
        self.plugins.sort_by_key(owner);
    }

    /// Gives every route its tags and its chain, and looks whether its service is there.
    fn finish_routes(&mut self, problems: &mut Problems) {
        let mut chains = self.chains.keys();
        let only = match (chains.next(), chains.next()) {
            (Some(only), None) => Some(only.clone()),
            _ => None,
        };
        let usual = self.settings.filter_chain.clone().or(only);
        for route in self.routes.values_mut() {
            let service = self.services.get(&route.service);
            if service.is_none() {
                let message = format!("there is no service {}", route.service);
                problems.error("reference", &route.at, message);
            }
            route.filter_chain = route.filter_chain.take().or_else(|| usual.clone());
            match &route.filter_chain {
                Some(name) if self.chains.contains_key(name) => {}
                Some(name) => {
                    let message = format!("there is no filter chain {name}");
                    problems.error("reference", &route.at, message);
                }
                None => {
                    let message = "names no filter-chain, and gateway.yml names none for all";
                    problems.error("reference", &route.at, message);
                }
            }
            // Its own, then its service's, then everybody's.
            let of_service = service.map(|it| it.tags.as_slice()).unwrap_or_default();
            for (key, value) in of_service.iter().chain(&self.settings.tags) {
                if !route.tags.iter().any(|(own, _)| own == key) {
                    route.tags.push((key.clone(), value.clone()));
                }
            }
            let is_public = route.authorizer == Authorizer::Everybody;
            route.tags.retain(|(key, _)| key != "public");
            if is_public {
                route.tags.push(("public".into(), "true".into()));
            }
            route.tags.sort();
            for key in TAGS {
                if !route.tags.iter().any(|(own, _)| own == key) {
                    let message = format!(
                        "{} has no tag {key}, its own, its service's or everybody's",
                        route.name
                    );
                    problems.error("missing", &route.at, message);
                }
            }
        }
    }

    /// Refuses what the gateways would read in two ways.
    fn check_paths(&self, problems: &mut Problems) {
        let takes: Vec<(&Route, &str)> = self
            .routes
            .values()
            .flat_map(|route| route.paths.iter().map(move |path| (route, path.as_str())))
            .collect();
        for (index, (one, path)) in takes.iter().enumerate() {
            for (other, under) in takes.iter().skip(index.saturating_add(1)) {
                if path == under && both_take_a_method(one, other) {
                    let message = format!("{under} is also taken by {}, at {}", one.name, one.at);
                    problems.error("duplicate", &other.at, message);
                }
            }
        }
        for (above, path) in &takes {
            for (below, under) in &takes {
                let nested = path != under && covers(path, under);
                if nested && !above.methods.is_empty() && below.methods.is_empty() {
                    let message = format!(
                        "{under} has no methods, and is under {path} of {}, which has: Kong would send those to {}; name the methods here too",
                        above.name, above.name
                    );
                    problems.error("path", &below.at, message);
                }
            }
        }
    }

    /// The services of which nothing makes use.
    pub fn check_use(&self, called: &BTreeSet<String>, problems: &mut Problems) {
        for service in self.services.values() {
            let routed = self.routes.values().any(|it| it.service == service.name);
            if !routed && !called.contains(&service.name) {
                let message = format!("no route leads to {}, and no filter calls it", service.name);
                problems.error("unused", &service.at, message);
            }
        }
        for chain in self.chains.values() {
            let mut routes = self.routes.values();
            if !routes.any(|it| it.filter_chain.as_ref() == Some(&chain.name)) {
                let message = format!("no route has the filter chain {}", chain.name);
                problems.error("unused", &chain.at, message);
            }
        }
    }

    /// The chain of a route.
    pub fn chain_of(&self, route: &Route) -> Option<&Chain<'a>> {
        self.chains.get(route.filter_chain.as_ref()?)
    }
}

fn both_take_a_method(one: &Route, other: &Route) -> bool {
    one.methods.is_empty()
        || other.methods.is_empty()
        || one.methods.iter().any(|it| other.methods.contains(it))
}

fn twice(what: &str, name: &str, at: &Place, other: &Place, problems: &mut Problems) {
    problems.error(
        "duplicate",
        at,
        format!("the {what} {name} is at {other} too"),
    );
}
