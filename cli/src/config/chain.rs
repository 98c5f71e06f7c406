//! `filter-chains/<name>.yml`: filters in the order in which they run, each with its configuration.

use serde_json::{Map, Value};

use super::entry::{Entry, name_as_file};
use super::problems::{Place, Problems};
use super::tree::Source;
use crate::filters::{self, Filter};
use crate::yaml::Node;

#[derive(Debug)]
pub struct Chain<'a> {
    pub name: String,
    pub filters: Vec<Link<'a>>,
    pub at: Place,
}

/// A filter of a chain.
#[derive(Debug)]
pub struct Link<'a> {
    pub filter: &'static Filter,
    file: &'a str,
    path: String,
    line: u64,
    config: Option<&'a Node>,
    in_envoy: Option<&'a Node>,
    in_kong: Option<&'a Node>,
}

/// For which gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gateway {
    Envoy,
    Kong,
}

impl<'a> Chain<'a> {
    pub fn read(source: &'a Source, problems: &mut Problems) -> Option<Self> {
        let entry = Entry::new(&source.file, &source.document);
        if !entry.known(&["name", "filters"], problems) {
            return None;
        }
        let name = name_as_file(&entry, &source.stem, problems);
        let mut filters: Vec<Link<'a>> = Vec::new();
        for item in entry.list("filters", problems) {
            let Some(link) = Link::read(&item, problems) else {
                continue;
            };
            if filters.iter().any(|it| it.filter.name == link.filter.name) {
                let message = format!("{} is in this chain already", link.filter.name);
                problems.error("duplicate", &item.place(), message);
            }
            filters.push(link);
        }
        if filters.is_empty() {
            problems.error("missing", &entry.place_of("filters"), "has no filter");
        }
        Some(Self {
            name: name?.to_owned(),
            filters,
            at: entry.place(),
        })
    }
}

impl<'a> Link<'a> {
    fn read(entry: &Entry<'a>, problems: &mut Problems) -> Option<Self> {
        if !entry.known(&["name", "config", "envoy", "kong"], problems) {
            return None;
        }
        let name = entry.text("name", problems)?;
        let Some(filter) = filters::find(name) else {
            let meant = filters::meant(name).map(|meant| format!("; did you mean {}?", meant.name));
            let message = format!("there is no filter {name}{}", meant.unwrap_or_default());
            problems.error("filter-unknown", &entry.place_of("name"), message);
            return None;
        };
        let mut part = |key| entry.object(key, problems).map(|it| it.node);
        Some(Self {
            filter,
            file: entry.file,
            path: entry.path.clone(),
            line: entry.node.line,
            config: part("config"),
            in_envoy: part("envoy"),
            in_kong: part("kong"),
        })
    }

    /// Its configuration in a gateway, as it is written: what is there under the gateway's name replaces what is in
    /// `config`.
    pub fn config(&self, gateway: Gateway) -> Map<String, Value> {
        let parts = [self.config, self.over(gateway)];
        parts
            .into_iter()
            .flatten()
            .filter_map(|node| match node.to_json() {
                Value::Object(members) => Some(members),
                _ => None,
            })
            .flatten()
            .collect()
    }

    fn over(&self, gateway: Gateway) -> Option<&'a Node> {
        match gateway {
            Gateway::Envoy => self.in_envoy,
            Gateway::Kong => self.in_kong,
        }
    }

    /// Where something of its configuration is: `rules[2].match`.
    pub fn place_of(&self, gateway: Gateway, path: &str) -> Place {
        let first = path.split(['.', '[']).next().unwrap_or_default();
        let over = self.over(gateway);
        let (key, node) = match over.filter(|node| node.get(first).is_some()) {
            Some(node) if gateway == Gateway::Envoy => ("envoy", Some(node)),
            Some(node) => ("kong", Some(node)),
            None => ("config", self.config),
        };
        let dot = if path.is_empty() { "" } else { "." };
        Place {
            file: self.file.to_owned(),
            line: node.map_or(self.line, |node| node.line_of(path)),
            path: format!("{}.{key}{dot}{path}", self.path),
        }
    }
}
