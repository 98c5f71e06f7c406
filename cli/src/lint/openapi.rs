//! What services say that they offer.

use std::collections::BTreeMap;
use std::path::Path;

use crate::outcome::Failure;
use crate::yaml::{self, Node};

const METHODS: [&str; 8] = [
    "get", "put", "post", "delete", "options", "head", "patch", "trace",
];

/// The OpenAPI documents of a folder, by service.
#[derive(Debug)]
pub struct Apis(BTreeMap<String, Api>);

/// The paths of a service.
#[derive(Debug)]
pub struct Api(Vec<Offer>);

/// A path and its methods.
#[derive(Debug)]
struct Offer {
    /// `None` is a parameter.
    segments: Vec<Option<String>>,
    /// In capitals.
    methods: Vec<String>,
}

impl Apis {
    /// Reads every document of the folder.
    ///
    /// # Errors
    /// When one cannot be read, or is no OpenAPI document.
    pub fn read(folder: &Path) -> Result<Self, Failure> {
        let entries = std::fs::read_dir(folder).map_err(|e| Failure::of_file(folder, e))?;
        let mut apis = BTreeMap::new();
        for entry in entries {
            let path = entry.map_err(|e| Failure::of_file(folder, e))?.path();
            let extension = path.extension().and_then(|it| it.to_str());
            let stem = path.file_stem().and_then(|it| it.to_str());
            let (Some("yaml" | "yml" | "json"), Some(stem)) = (extension, stem) else {
                continue;
            };
            let file = yaml::File::read(&path)?.map_err(|e| Failure::of_file(&path, e.why))?;
            let document = file.documents.first();
            let paths = document.and_then(|it| it.get("paths"));
            let (Some(document), Some(paths)) = (document, paths) else {
                return Err(Failure::of_file(
                    &path,
                    "is no OpenAPI document: it has no paths",
                ));
            };
            apis.insert(stem.to_owned(), Api::of(document, paths));
        }
        Ok(Self(apis))
    }

    /// That of a service.
    pub fn of(&self, service: &str) -> Option<&Api> {
        self.0.get(service)
    }
}

impl Api {
    fn of(document: &Node, paths: &Node) -> Self {
        let mut bases: Vec<Vec<Option<String>>> = document
            .items_of("servers")
            .iter()
            .filter_map(|server| server.text_of("url"))
            .map(|url| {
                let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
                let path = match (url.starts_with('/'), after_scheme.split_once('/')) {
                    (true, _) => url,
                    (false, Some((_, path))) => path,
                    (false, None) => "",
                };
                segments(path)
            })
            .collect();
        if bases.is_empty() {
            bases.push(Vec::new());
        }
        let offers = paths.members().iter().flat_map(|(path, item)| {
            let methods: Vec<String> = item
                .members()
                .iter()
                .filter(|(key, _)| METHODS.contains(&key.name.as_str()))
                .map(|(key, _)| key.name.to_ascii_uppercase())
                .collect();
            let own = segments(&path.name);
            bases
                .iter()
                .map(|base| Offer {
                    segments: base.iter().chain(&own).cloned().collect(),
                    methods: methods.clone(),
                })
                .collect::<Vec<_>>()
        });
        Self(offers.collect())
    }

    /// Whether anything is offered at this path or under it.
    pub fn has_under(&self, path: &str) -> bool {
        let path = segments(path);
        self.0.iter().any(|offer| offer.is_under(&path))
    }

    /// Whether anything at this path or under it takes the method.
    pub fn takes(&self, path: &str, method: &str) -> bool {
        let path = segments(path);
        let mut under = self.0.iter().filter(|offer| offer.is_under(&path));
        under.any(|offer| {
            let get = method == "HEAD" && offer.methods.iter().any(|it| it == "GET");
            // A gateway answers what browsers ask beforehand.
            get || method == "OPTIONS" || offer.methods.iter().any(|it| it == method)
        })
    }
}

impl Offer {
    fn is_under(&self, path: &[Option<String>]) -> bool {
        path.len() <= self.segments.len()
            && path
                .iter()
                .zip(&self.segments)
                .all(|(asked, offered)| asked.is_none() || offered.is_none() || asked == offered)
    }
}

/// `/v1/{id}/` is `v1` and a parameter.
fn segments(path: &str) -> Vec<Option<String>> {
    path.split('/')
        .filter(|segment| !segment.is_empty())
        .map(|segment| (!segment.contains('{')).then(|| segment.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_and_parameters_are_understood() {
        let text = "servers: [ { url: 'https://x.example/api' } ]\n\
                    paths:\n  /v1/orders/{id}/items: { get: {}, parameters: [] }\n  /v1/orders: { post: {} }\n";
        let document = &yaml::documents(text).unwrap()[0];
        let api = Api::of(document, document.get("paths").unwrap());
        for (path, known) in [
            ("/api", true),
            ("/api/v1/orders", true),
            ("/api/v1/orders/", true),
            ("/api/v1/orders/7/items", true),
            ("/api/v1/orders/7/items/8", false),
            ("/api/v1/order", false),
            ("/v1/orders", false),
            ("/", true),
        ] {
            assert_eq!(api.has_under(path), known, "{path}");
        }
        assert!(api.takes("/api/v1/orders", "POST"));
        assert!(api.takes("/api/v1/orders", "HEAD"));
        assert!(!api.takes("/api/v1/orders/7", "POST"));
        assert!(!api.takes("/api/v1", "DELETE"));
    }
}
