//! The rules, each with a name of its own.

use super::openapi::Apis;
use crate::finding::Findings;
use crate::kong::{NAMELESS, Route, is_on, name_of, reference, routes};
use crate::secret;
use crate::yaml::{Kind, Node};

/// Every rule and what it asks for.
pub const RULES: [(&str, &str); 10] = [
    (
        "path-unknown",
        "A route leads to a path that its service's OpenAPI document has",
    ),
    (
        "method-unknown",
        "A route takes only methods that its service's OpenAPI document has there",
    ),
    (
        "openapi-missing",
        "Every service with routes has an OpenAPI document",
    ),
    (
        "auth-missing",
        "A route has authentication, or says that it is public: public:true",
    ),
    ("tags-missing", "A route is tagged env:, owner: and tier:"),
    (
        "route-name",
        "A route is named rt-<service>-<version>-<purpose>",
    ),
    ("secret-in-plain", "No secret is written down"),
    (
        "spiffe-missing",
        "A sensitive route names the identity of its upstream",
    ),
    (
        "upstream-unverified",
        "A sensitive route leads to a service over mutual TLS that is verified",
    ),
    (
        "algorithm-unpinned",
        "Tokens are signed with a key pair, by an algorithm that is named",
    ),
];

/// Whether there is a rule of that name.
pub fn is_one(name: &str) -> bool {
    RULES.iter().any(|(rule, _)| *rule == name)
}

/// Plugins of Kong that find out who it is.
const AUTH_PLUGINS: [&str; 11] = [
    "basic-auth",
    "header-cert-auth",
    "hmac-auth",
    "jwt",
    "jwt-signer",
    "key-auth",
    "key-auth-enc",
    "ldap-auth",
    "mtls-auth",
    "oauth2",
    "openid-connect",
];

/// Checks a document.
pub fn check(document: &Node, apis: &Apis, sensitive: &[String], findings: &mut Findings) {
    let mut without_api = Vec::new();
    for route in routes(document) {
        name(&route, findings);
        tags(&route, findings);
        auth(&route, document, findings);
        paths(&route, apis, &mut without_api, findings);
        identity(&route, sensitive, findings);
    }
    secrets(document, "", findings);
    algorithms(document, findings);
}

/// The line of a route's name.
fn line_of(route: &Route<'_>) -> u64 {
    route.node.line_of("name")
}

fn paths_of<'a>(route: &Route<'a>) -> impl Iterator<Item = (&'a str, u64)> {
    let paths = route.node.items_of("paths").iter();
    paths.filter_map(|path| Some((path.text()?, path.line)))
}

fn has_tag(route: &Route<'_>, fits: impl Fn(&str) -> bool) -> bool {
    let mut tags = route.node.items_of("tags").iter().filter_map(Node::text);
    tags.any(fits)
}

fn name(route: &Route<'_>, findings: &mut Findings) {
    let name = route.name;
    let parts: Vec<&str> = name.split('-').collect();
    let is_word = |part: &&str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    let is_version = |part: &&str| {
        part.strip_prefix('v')
            .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
    };
    let version = parts.iter().position(is_version);
    let good = parts.first() == Some(&"rt")
        && parts.iter().all(is_word)
        && version.is_some_and(|at| at >= 2 && at < parts.len().saturating_sub(1));
    if !good {
        let message = format!(
            "{name} is not named rt-<service>-<version>-<purpose>, such as rt-orders-v1-api"
        );
        findings.error("route-name", line_of(route), message);
    }
}

fn tags(route: &Route<'_>, findings: &mut Findings) {
    let missing: Vec<&str> = ["env:", "owner:", "tier:"]
        .into_iter()
        .filter(|key| {
            !has_tag(route, |tag| {
                tag.strip_prefix(key)
                    .is_some_and(|it| !it.trim().is_empty())
            })
        })
        .collect();
    if !missing.is_empty() {
        let message = format!("{} has no tag {}", route.name, missing.join(", "));
        findings.error("tags-missing", line_of(route), message);
    }
}

fn auth(route: &Route<'_>, document: &Node, findings: &mut Findings) {
    // What stands beside the routes belongs to what it refers to, or to all.
    let (of_route, of_service) = (Some(route.name), route.service_name);
    let is_of = |item: &Node| match (reference(item, "route"), reference(item, "service")) {
        (None, None) => true,
        (Some(name), _) => of_route == Some(name),
        (None, name) => of_service == name,
    };
    let guards = |of: &Node| {
        of.items_of("plugins")
            .iter()
            .any(|it| is_of(it) && authenticates(it))
            || of
                .items_of("filter_chains")
                .iter()
                .any(|it| is_of(it) && has_auth(it))
    };
    let mut around = [Some(route.node), route.service, Some(document)]
        .into_iter()
        .flatten();
    if !around.any(guards) && !has_tag(route, |tag| tag == "public:true") {
        let message = format!(
            "{} has no authentication, and no tag public:true",
            route.name
        );
        findings.error("auth-missing", line_of(route), message);
    }
}

/// Whether a plugin of Kong refuses those of whom it does not know who they are.
fn authenticates(plugin: &Node) -> bool {
    let known = plugin
        .text_of("name")
        .is_some_and(|name| AUTH_PLUGINS.contains(&name));
    let anonymous = plugin.at(&["config", "anonymous"]).and_then(Node::text);
    known && is_on(plugin) && plugin.get("consumer").is_none() && anonymous.is_none()
}

/// Whether a filter of the chain finds out who it is.
fn has_auth(chain: &Node) -> bool {
    is_on(chain)
        && chain.items_of("filters").iter().any(|filter| {
            let has = match filter.text_of("name") {
                Some("auth") => true,
                Some("portcullis") => filter.at(&["config", "auth"]).is_some(),
                _ => false,
            };
            has && is_on(filter)
        })
}

fn paths<'a>(
    route: &Route<'a>,
    apis: &Apis,
    without_api: &mut Vec<&'a str>,
    findings: &mut Findings,
) {
    let Some(service) = route.service else {
        return;
    };
    let name = name_of(service).unwrap_or(NAMELESS);
    let Some(api) = apis.of(name) else {
        if !without_api.contains(&name) {
            let message =
                format!("there is no OpenAPI document of {name}: {name}.yaml, .yml or .json");
            findings.error("openapi-missing", service.line_of("name"), message);
            without_api.push(name);
        }
        return;
    };
    let strips = route.node.get("strip_path").and_then(Node::bool) != Some(false);
    let base = base_of(service);
    for (path, line) in paths_of(route) {
        let sent = match (strips, path.strip_prefix('~')) {
            (true, _) => base.clone(),
            (false, Some(regex)) => format!("{base}{}", literal(regex)),
            (false, None) => format!("{base}{path}"),
        };
        if !api.has_under(&sent) {
            let message = format!(
                "{}: {name} has nothing at {sent}, where {path} leads",
                route.name
            );
            findings.error("path-unknown", line, message);
            continue;
        }
        for method in route.node.items_of("methods") {
            if let Some(word) = method.text().filter(|word| !api.takes(&sent, word)) {
                let message = format!("{}: {name} takes no {word} at {sent}", route.name);
                findings.error("method-unknown", method.line, message);
            }
        }
    }
}

/// The path that comes before every other: that of `url`, or `path`.
fn base_of(service: &Node) -> String {
    let of_url = service.text_of("url").and_then(|url| {
        let (_, rest) = url.split_once("://")?;
        let (_, path) = rest.split_once('/')?;
        Some(format!("/{path}"))
    });
    let path = of_url.or_else(|| service.text_of("path").map(str::to_owned));
    path.unwrap_or_default().trim_end_matches('/').to_owned()
}

/// The whole segments at the beginning of a regular expression that are nothing but text.
fn literal(regex: &str) -> String {
    let regex = regex.strip_prefix('^').unwrap_or(regex);
    let special = |c: char| "\\()[]{}.*+?|^$".contains(c);
    match regex.find(special) {
        None => regex.to_owned(),
        Some(at) => {
            let text = regex.get(..at).unwrap_or_default();
            let rest = regex.get(at..).unwrap_or_default();
            // `/v1/orders$` ends with a whole segment, `/v1/ord.*` does not.
            let whole = rest == "$" || text.ends_with('/');
            let end = if whole {
                text.len()
            } else {
                text.rfind('/').unwrap_or(0)
            };
            text.get(..end).unwrap_or_default().to_owned()
        }
    }
}

fn identity(route: &Route<'_>, sensitive: &[String], findings: &mut Findings) {
    let covers = |path: &str, prefix: &str| {
        let path = path.strip_prefix('~').unwrap_or(path);
        let path = path.strip_prefix('^').unwrap_or(path);
        let rest = path.strip_prefix(prefix.trim_end_matches('/'));
        rest.is_some_and(|rest| {
            rest.is_empty() || !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '-')
        })
    };
    let is_sensitive =
        paths_of(route).any(|(path, _)| sensitive.iter().any(|prefix| covers(path, prefix)));
    if !is_sensitive {
        return;
    }
    let named = [Some(route.node), route.service]
        .into_iter()
        .flatten()
        .any(|of| {
            of.members().iter().any(|(key, member)| {
                // The other routes of the service are none of its business.
                (key.name != "routes") && has_spiffe_id(&key.name, member)
            })
        });
    if !named {
        let message = format!(
            "{} is sensitive: it has no spiffe_id, spiffe://…",
            route.name
        );
        findings.error("spiffe-missing", line_of(route), message);
    }
    let Some(service) = route.service else {
        return;
    };
    let https = service.text_of("url").map_or_else(
        || service.text_of("protocol") == Some("https"),
        |url| url.starts_with("https://"),
    );
    let verified = service.get("tls_verify").and_then(Node::bool) == Some(true);
    if !https || !verified || service.get("client_certificate").is_none() {
        let message = format!(
            "{} is sensitive: its service needs https, tls_verify: true and a client_certificate",
            route.name
        );
        findings.error("upstream-unverified", line_of(route), message);
    }
}

fn has_spiffe_id(name: &str, node: &Node) -> bool {
    match &node.kind {
        Kind::Text(text) => name == "spiffe_id" && text.starts_with("spiffe://") && text.len() > 9,
        Kind::List(items) => items.iter().any(|item| has_spiffe_id("", item)),
        Kind::Map(members) => members
            .iter()
            .any(|(key, member)| has_spiffe_id(&key.name, member)),
        _ => false,
    }
}

fn secrets(node: &Node, name: &str, findings: &mut Findings) {
    match &node.kind {
        Kind::Text(text) if secret::is_one(name, text) => {
            // What is shown is the name alone.
            let what = if name.is_empty() { "a list" } else { name };
            let message = format!(
                "{what} holds a secret: refer to it, {{vault://…}} or ${{{{ env \"…\" }}}}"
            );
            findings.error("secret-in-plain", node.line, message);
        }
        Kind::List(items) => items.iter().for_each(|item| secrets(item, name, findings)),
        Kind::Map(members) => {
            for (key, member) in members {
                // The keys of Kong's key-auth plugin are called just that.
                let is_credential = name == "keyauth_credentials" && key.name == "key";
                let name = if is_credential { "api_key" } else { &key.name };
                secrets(member, name, findings);
            }
        }
        _ => {}
    }
}

/// Keys of Kong's own `jwt` plugin: HS256 unless they say otherwise. And the providers of our `auth`.
fn algorithms(node: &Node, findings: &mut Findings) {
    for (key, member) in node.members() {
        match key.name.as_str() {
            "jwt_secrets" => {
                for secret in member.items() {
                    let algorithm = secret.text_of("algorithm");
                    if algorithm.is_none_or(|it| it.starts_with("HS")) {
                        let message = format!(
                            "a key of the jwt plugin is of {}: name RS256, ES256 or another with a key pair",
                            algorithm.unwrap_or("no algorithm, and so HS256")
                        );
                        findings.error("algorithm-unpinned", secret.line, message);
                    }
                }
            }
            "algorithms" => {
                let names: Vec<&str> = member.items().iter().filter_map(Node::text).collect();
                if names.iter().any(|it| it.starts_with("HS") || *it == "none") {
                    let message = "a shared secret is no key pair: RS256, ES256 or EdDSA";
                    findings.error("algorithm-unpinned", key.line, message);
                }
            }
            _ => {}
        }
        algorithms(member, findings);
    }
    for item in node.items() {
        algorithms(item, findings);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regular_expressions_have_a_literal_beginning() {
        for (regex, expected) in [
            ("/v1/orders", "/v1/orders"),
            ("/v1/orders$", "/v1/orders"),
            ("^/v1/orders/(?<id>\\d+)$", "/v1/orders/"),
            ("/v1/ord.*", "/v1"),
            ("(/a|/b)", ""),
        ] {
            assert_eq!(literal(regex), expected, "{regex}");
        }
    }
}
