//! `registry.yml`: services that register themselves, each with the route to it.
//!
//! A domain team writes four required values and two optional ones; a service and a route come of them:
//! `rt-<id>-<version>-api`.

use super::entry::{Entry, is_name};
use super::problems::Problems;
use super::route::{Authorizer, Route, path_of};
use super::service::{Service, Url};
use super::settings::{self, Settings, Throttle};
use super::tree::Source;

/// What an entry may have.
const KEYS: [&str; 8] = [
    "url",
    "version",
    "route-prefix",
    "authorizer",
    "throttle-rate",
    "throttle-burst",
    "tags",
    "filter-chain",
];

/// The service and the route of every entry.
pub fn read(
    source: &Source,
    settings: &Settings,
    problems: &mut Problems,
) -> Vec<(Service, Route)> {
    let top = Entry::new(&source.file, &source.document);
    top.known(&["services"], problems);
    let Some(services) = top.object("services", problems) else {
        return Vec::new();
    };
    let ids: Vec<&str> = services
        .node
        .members()
        .iter()
        .map(|(key, _)| key.name.as_str())
        .collect();
    ids.into_iter()
        .filter_map(|id| entry(id, &services, settings, problems))
        .collect()
}

fn entry(
    id: &str,
    services: &Entry<'_>,
    settings: &Settings,
    problems: &mut Problems,
) -> Option<(Service, Route)> {
    let at = services.place_of(id);
    let entry = services.object(id, problems)?;
    // A part of the route's name, whose parts are separated by -.
    if !is_name(id) || id.contains(['_', '.']) {
        let message =
            format!("{id:?} is no id of a service: lower-case letters, digits, and - between them");
        problems.error("name", &at, message);
        return None;
    }
    if !entry.known(&KEYS, problems) {
        return None;
    }
    let url = Url::read(&entry, problems);
    let version = entry.text("version", problems).filter(|version| {
        let digits = version.strip_prefix('v').unwrap_or_default();
        let good = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        if !good {
            let message = format!("{version:?} is no version: v1, v2, …");
            problems.error("wrong-type", &entry.place_of("version"), message);
        }
        good
    });
    let prefix = entry
        .text("route-prefix", problems)
        .and_then(|path| path_of(&entry.place_of("route-prefix"), path, problems));
    if entry.get("authorizer").is_none() {
        problems.error("missing", &entry.place_of("authorizer"), "is required");
    }
    let authorizer = Authorizer::read(&entry, false, problems);
    let keys = ["throttle-rate", "throttle-burst"];
    let throttle = Throttle::read(&entry, keys, settings, problems);
    let tags = settings::tags(&entry, problems);
    let filter_chain = entry.optional_text("filter-chain", problems);
    let route = Route {
        name: format!("rt-{id}-{}-api", version?),
        service: id.to_owned(),
        paths: vec![prefix?],
        methods: Vec::new(),
        authorizer,
        throttle: throttle.unwrap_or(settings.throttle),
        tags: tags.clone(),
        filter_chain: filter_chain.map(str::to_owned),
        at: at.clone(),
    };
    Some((Service::registered(id, url?, tags, at), route))
}
