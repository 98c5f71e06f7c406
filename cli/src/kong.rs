//! The parts of Kong's declarative configuration that refer to each other.

use crate::yaml::Node;

/// A route, in a service or beside.
#[derive(Clone, Copy, Debug)]
pub struct Route<'a> {
    pub node: &'a Node,
    pub name: &'a str,
    /// The service that it leads to, by name, and itself if it is in the document.
    pub service_name: Option<&'a str>,
    pub service: Option<&'a Node>,
}

/// What is shown of what has no name.
pub const NAMELESS: &str = "(without a name)";

/// Every route of a document.
pub fn routes(document: &Node) -> Vec<Route<'_>> {
    let services = document.items_of("services");
    let nested = services.iter().flat_map(|service| {
        let routes = service.items_of("routes").iter();
        routes.map(move |node| (node, name_of(service), Some(service)))
    });
    let beside = document.items_of("routes").iter().map(|node| {
        let name = reference(node, "service");
        let service = name.and_then(|name| services.iter().find(|it| name_of(it) == Some(name)));
        (node, name, service)
    });
    nested
        .chain(beside)
        .map(|(node, service_name, service)| Route {
            node,
            name: name_of(node).unwrap_or(NAMELESS),
            service_name,
            service,
        })
        .collect()
}

/// The name of an entity, or its id.
pub fn name_of(node: &Node) -> Option<&str> {
    node.text_of("name").or_else(|| node.text_of("id"))
}

/// What a member refers to: `route: x` or `route: { name: x }`.
pub fn reference<'a>(node: &'a Node, field: &str) -> Option<&'a str> {
    let to = node.get(field)?;
    to.text().or_else(|| name_of(to))
}

/// Whether an entity is switched on, as it is unless it says otherwise.
pub fn is_on(node: &Node) -> bool {
    node.get("enabled").and_then(Node::bool) != Some(false)
}
