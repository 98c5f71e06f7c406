//! `plugins/<name>.yml`: a plugin of Kong.

use serde_json::Value;

use super::entry::Entry;
use super::problems::{Place, Problems};
use super::tree::Source;
use crate::filters;

/// Plugins whose work Envoy does by itself: its admin port shows every metric.
const IN_ENVOY_TOO: [&str; 1] = ["prometheus"];

#[derive(Clone, Debug)]
pub struct Plugin {
    pub name: String,
    pub config: Option<Value>,
    pub service: Option<String>,
    pub route: Option<String>,
    pub at: Place,
}

impl Plugin {
    pub fn read(source: &Source, problems: &mut Problems) -> Option<Self> {
        let entry = Entry::new(&source.file, &source.document);
        if !entry.known(&["name", "config", "service", "route", "only"], problems) {
            return None;
        }
        let name = entry.text("name", problems)?;
        if filters::find(name).is_some() {
            let message = format!("{name} is a filter: it belongs into filter-chains/");
            problems.error("filter-as-plugin", &entry.place_of("name"), message);
            return None;
        }
        let only = entry.optional_text("only", problems);
        match only {
            None if !IN_ENVOY_TOO.contains(&name) => {
                let message = format!(
                    "Envoy has no {name}: say `only: kong` if it may do without, or let a filter do it"
                );
                problems.error("only-kong", &entry.place_of("only"), message);
            }
            Some("kong") | None => {}
            Some(other) => {
                let message = format!("must be kong, not {other:?}");
                problems.error("wrong-type", &entry.place_of("only"), message);
            }
        }
        let service = entry.optional_text("service", problems);
        let route = entry.optional_text("route", problems);
        if service.is_some() && route.is_some() {
            let message = "belongs to a service or to a route, not to both";
            problems.error("reference", &entry.place_of("route"), message);
        }
        Some(Self {
            name: name.to_owned(),
            config: entry.object("config", problems).map(|it| it.node.to_json()),
            service: service.map(str::to_owned),
            route: route.map(str::to_owned),
            at: entry.place(),
        })
    }
}
