//! `routes/<name>.yml`: which requests go to which service, and who may send them.

use super::entry::{Entry, name_as_file};
use super::problems::{Place, Problems};
use super::settings::{self, Settings, Throttle};
use super::tree::Source;

const METHODS: [&str; 7] = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"];

#[derive(Clone, Debug)]
pub struct Route {
    pub name: String,
    pub service: String,
    /// Each covers itself and everything under it, whole segments.
    pub paths: Vec<String>,
    /// All if empty. Sorted.
    pub methods: Vec<String>,
    pub authorizer: Authorizer,
    pub throttle: Throttle,
    pub tags: Vec<(String, String)>,
    /// `None`: that of the settings, or the only one.
    pub filter_chain: Option<String>,
    pub at: Place,
}

/// Who may send requests to a route.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Authorizer {
    /// What the rules of the chain say.
    AsTheChainSays,
    Everybody,
    /// Whoever has a credential of one of these kinds. Sorted, not empty.
    AnyOf(Vec<Credential>),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Credential {
    ApiKey,
    /// A token of this provider of the chain's `auth`.
    Token(String),
}

impl Route {
    pub fn read(source: &Source, settings: &Settings, problems: &mut Problems) -> Option<Self> {
        let entry = Entry::new(&source.file, &source.document);
        let keys = [
            "name",
            "service",
            "paths",
            "methods",
            "authorizer",
            "throttle-rate",
            "throttle-burst",
            "tags",
            "filter-chain",
        ];
        if !entry.known(&keys, problems) {
            return None;
        }
        let name = name_as_file(&entry, &source.stem, problems);
        let service = entry.text("service", problems);
        let mut paths = Vec::new();
        if entry.get("paths").is_none() {
            problems.error("missing", &entry.place_of("paths"), "is required");
        }
        for (at, path) in entry.texts("paths", problems) {
            paths.extend(path_of(&at, path, problems));
        }
        let mut methods = Vec::new();
        for (at, method) in entry.texts("methods", problems) {
            if METHODS.contains(&method) {
                methods.push(method.to_owned());
            } else {
                let message = format!("{method:?} is none of {}", METHODS.join(", "));
                problems.error("wrong-type", &at, message);
            }
        }
        paths.sort();
        methods.sort();
        paths.dedup();
        methods.dedup();
        let authorizer = Authorizer::read(&entry, true, problems);
        let keys = ["throttle-rate", "throttle-burst"];
        let throttle = Throttle::read(&entry, keys, settings, problems);
        let tags = settings::tags(&entry, problems);
        let filter_chain = entry.optional_text("filter-chain", problems);
        (!paths.is_empty()).then_some(())?;
        Some(Self {
            name: name?.to_owned(),
            service: service?.to_owned(),
            paths,
            methods,
            authorizer,
            throttle: throttle.unwrap_or(settings.throttle),
            tags,
            filter_chain: filter_chain.map(str::to_owned),
            at: entry.place(),
        })
    }
}

impl Authorizer {
    /// Reads the member `authorizer`: providers, `api-key`, or `public` alone where that is allowed.
    pub fn read(entry: &Entry<'_>, may_be_public: bool, problems: &mut Problems) -> Self {
        let names = entry.texts("authorizer", problems);
        let at = entry.place_of("authorizer");
        if names.iter().any(|(_, name)| *name == "public") {
            if !may_be_public {
                let message = "a registered service is not public: write a route for it";
                problems.error("authorizer", &at, message);
            } else if names.len() > 1 {
                problems.error("authorizer", &at, "public is all or nothing");
            }
            return Self::Everybody;
        }
        let mut credentials: Vec<Credential> = names
            .into_iter()
            .map(|(_, name)| match name {
                "api-key" => Credential::ApiKey,
                name => Credential::Token(name.to_owned()),
            })
            .collect();
        credentials.sort();
        credentials.dedup();
        match credentials.is_empty() {
            true => Self::AsTheChainSays,
            false => Self::AnyOf(credentials),
        }
    }
}

/// A path that means the same in both gateways.
pub fn path_of(at: &Place, path: &str, problems: &mut Problems) -> Option<String> {
    let segments = path.strip_prefix('/');
    let good = path == "/"
        || segments.is_some_and(|rest| {
            rest.split('/').all(|segment| {
                !segment.is_empty()
                    && segment != "."
                    && segment != ".."
                    && segment.bytes().all(|b| {
                        b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~')
                    })
            })
        });
    if !good {
        let message = format!(
            "{path:?} is no path: / or /segments, without one at its end, of letters, digits and - _ . ~"
        );
        problems.error("path", at, message);
    }
    good.then(|| path.to_owned())
}

/// Whether a path is another or under it, by whole segments.
pub fn covers(prefix: &str, path: &str) -> bool {
    let prefix = prefix.trim_end_matches('/');
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_whole_segments() {
        let at = Place {
            file: "routes/x.yml".into(),
            line: 1,
            path: String::new(),
        };
        for path in ["/", "/v1", "/v1/orders", "/a-b_c.d~e"] {
            let mut problems = Problems::default();
            assert_eq!(path_of(&at, path, &mut problems).as_deref(), Some(path));
            assert!(problems.is_empty());
        }
        for path in [
            "", "v1", "/v1/", "//v1", "/v1/../x", "/v1/*", "/v%31", "~/v1", "/v1?x",
        ] {
            let mut problems = Problems::default();
            assert_eq!(path_of(&at, path, &mut problems), None, "{path}");
            assert!(!problems.is_empty());
        }
        assert!(covers("/", "/v1") && covers("/v1", "/v1") && covers("/v1", "/v1/x"));
        assert!(!covers("/v1", "/v10") && !covers("/v1/x", "/v1"));
    }
}
