//! The filters that this command knows, each by its own code.

use policy::chain::Links as _;
use policy::{ConfigErrors, Filter as _, Loaded};
use serde_json::Value;

/// A filter.
#[derive(Clone, Copy, Debug)]
pub struct Filter {
    /// As in metrics, logs and file names: `rate_limit`.
    pub name: &'static str,
    /// What the filter itself says of a configuration: each problem with its path.
    pub problems: fn(&[u8]) -> Vec<(String, String)>,
    /// The JSON Schema of its configuration.
    pub schema: fn() -> Value,
}

macro_rules! filters {
    ($($name:ident)*) => {
        /// Those that are known, by name.
        pub const FILTERS: &[Filter] = &[$(
            Filter {
                name: stringify!($name),
                problems: |config| problems_of(Loaded::<$name::Config>::parse(config)),
                schema: policy::schema::of::<$name::Raw>,
            },
        )* CHAIN];
    };
}

// One a line: `make new` adds to them.
filters! {
    auth
    edge_headers
    fingerprint_deny
    quota
    rate_limit
    tarpit
    upstream_identity
}

/// All of them in one module, each with its section of the configuration.
const CHAIN: Filter = Filter {
    name: portcullis::Portcullis::NAME,
    problems: |config| problems_of(portcullis::Portcullis::load(config)),
    schema: || {
        let links = <portcullis::Concerns as policy::Chained>::Links::names();
        let sections: Vec<(&str, Value)> = links
            .into_iter()
            .filter_map(|name| Some((name, (find(name)?.schema)())))
            .collect();
        policy::schema::of_chain(&sections)
    },
};

fn problems_of<T>(loaded: Result<T, ConfigErrors>) -> Vec<(String, String)> {
    match loaded {
        Ok(_) => Vec::new(),
        Err(errors) => errors
            .iter()
            .map(|(path, problem)| (path.to_owned(), problem.to_owned()))
            .collect(),
    }
}

/// The filter of that name.
pub fn find(name: &str) -> Option<&'static Filter> {
    FILTERS.iter().find(|filter| filter.name == name)
}

/// The filter that is meant by something like its name: `portcullis.rate-limit`, `rate_limits`.
pub fn meant(name: &str) -> Option<&'static Filter> {
    let last = name.rsplit(['.', '/']).next().unwrap_or_default();
    let plain = last.to_ascii_lowercase().replace('-', "_");
    FILTERS
        .iter()
        .map(|filter| (distance(filter.name, &plain), filter))
        .filter(|(distance, filter)| *distance <= filter.name.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, filter)| filter)
}

/// All names, for messages.
pub fn names() -> String {
    let names: Vec<&str> = FILTERS.iter().map(|filter| filter.name).collect();
    names.join(", ")
}

/// How many characters have to be put in, taken out or changed.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i.saturating_add(1);
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (y, above) in b.bytes().zip(row.iter_mut().skip(1)) {
            let changed = diagonal.saturating_add(usize::from(x != y));
            diagonal = *above;
            left = changed
                .min(left.saturating_add(1))
                .min(above.saturating_add(1));
            *above = left;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_meant_is_found() {
        for (name, expected) in [
            ("rate_limit", Some("rate_limit")),
            ("portcullis.rate-limit", Some("rate_limit")),
            ("ratelimit", Some("rate_limit")),
            ("Auth", Some("auth")),
            ("auht", None),
            ("fingerprint_dney", Some("fingerprint_deny")),
            ("envoy.filters.http.router", None),
            ("oauth2", None),
            ("tarpits", Some("tarpit")),
        ] {
            assert_eq!(meant(name).map(|filter| filter.name), expected, "{name}");
        }
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn every_filter_of_the_tree_is_known() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../filters");
        let mut found: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.join("cases.toml").exists())
            .map(|path| {
                path.file_name()
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .replace('-', "_")
            })
            .collect();
        found.sort();
        let mut known: Vec<&str> = FILTERS.iter().map(|filter| filter.name).collect();
        known.sort_unstable();
        assert_eq!(
            found, known,
            "cli/src/filters.rs and cli/Cargo.toml name them"
        );
    }
}
