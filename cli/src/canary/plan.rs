//! What is released, in which steps, and what it is measured by.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use policy::duration::Span;
use serde::Deserialize;

use super::weights::Weights;
use crate::http::Target;
use crate::outcome::Failure;

/// The file as it is written. TOML; unknown members are errors.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    /// The file that Envoy follows.
    runtime: PathBuf,
    /// `runtime_key_prefix` of the route's weighted clusters.
    key: String,
    /// The cluster of the version that serves.
    stable: String,
    /// The cluster of the new version.
    canary: String,
    #[serde(default = "steps")]
    steps: Vec<u8>,
    hold: Span,
    #[serde(default = "check_every")]
    check_every: Span,
    /// Admin endpoints of Envoys that have to have taken each step.
    #[serde(default)]
    envoys: Vec<String>,
    prometheus: RawPrometheus,
    traffic: RawTraffic,
    slo: Vec<RawSlo>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPrometheus {
    url: String,
    /// A file with a bearer token.
    token_file: Option<PathBuf>,
    /// PEM file of authorities; the system's unless given.
    ca_file: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTraffic {
    query: String,
    min: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSlo {
    name: String,
    query: String,
    max: f64,
}

fn steps() -> Vec<u8> {
    vec![5, 25, 50, 100]
}

const fn check_every() -> Span {
    Span::secs(15)
}

/// A checked plan.
#[derive(Debug)]
pub struct Plan {
    runtime: PathBuf,
    key: String,
    stable: String,
    pub canary: String,
    pub steps: Vec<u8>,
    pub hold: Duration,
    pub check_every: Duration,
    pub envoys: Vec<Target>,
    pub prometheus: Target,
    pub token_file: Option<PathBuf>,
    pub ca_file: Option<PathBuf>,
    pub bounds: Vec<Bound>,
}

/// A number that Prometheus is asked for, and what it has to be.
#[derive(Clone, Debug)]
pub struct Bound {
    pub name: String,
    pub query: String,
    pub limit: Limit,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

impl Plan {
    /// Reads and checks the file.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).map_err(|e| Failure::of_file(path, e))?;
        let raw: Raw = toml::from_str(&text).map_err(|e| Failure::of_file(path, e.message()))?;
        Self::check(raw).map_err(|problems| Failure::of_file(path, problems.join("; ")))
    }

    fn check(raw: Raw) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let mut must = |holds: bool, what: &str| {
            if !holds {
                problems.push(what.to_owned());
            }
        };
        let rises = raw.steps.windows(2).all(|pair| pair.first() < pair.last());
        let range = raw.steps.first().is_some_and(|first| *first > 0);
        let whole = raw.steps.last() == Some(&100);
        must(
            rises && range && whole,
            "steps: must rise from above 0 to 100",
        );
        let (hold, check_every) = (raw.hold.0, raw.check_every.0);
        must(
            !check_every.is_zero(),
            "check_every: must be longer than nothing",
        );
        must(
            hold >= check_every,
            "hold: must not be shorter than check_every",
        );
        must(!raw.key.is_empty(), "key: must not be empty");
        let clusters = [&raw.stable, &raw.canary];
        let named = clusters.iter().all(|name| !name.is_empty()) && raw.stable != raw.canary;
        must(named, "stable, canary: must be the names of two clusters");
        must(
            !raw.slo.is_empty(),
            "slo: must not be empty: nothing would be measured",
        );
        let mut names = BTreeSet::new();
        for slo in &raw.slo {
            let good = !slo.query.is_empty() && slo.max.is_finite() && names.insert(&slo.name);
            must(
                good,
                "slo: each must have a name of its own, a query and a max",
            );
        }
        let min = raw.traffic.min;
        must(
            min.is_finite() && min > 0.0,
            "traffic.min: must be above 0: no traffic proves nothing",
        );
        let mut target = |at: &str, text: &str| match text.parse::<Target>() {
            Ok(target) => Some(target),
            Err(problem) => {
                problems.push(format!("{at}: {problem}"));
                None
            }
        };
        let prometheus = target("prometheus.url", &raw.prometheus.url);
        let envoys = raw
            .envoys
            .iter()
            .filter_map(|url| target("envoys", url))
            .collect();
        let slos = raw.slo.into_iter().map(|slo| Bound {
            name: slo.name,
            query: slo.query,
            limit: Limit::AtMost(slo.max),
        });
        let traffic = Bound {
            name: "traffic".to_owned(),
            query: raw.traffic.query,
            limit: Limit::AtLeast(min),
        };
        let bounds = slos.chain([traffic]).collect();
        match prometheus {
            Some(prometheus) if problems.is_empty() => Ok(Self {
                runtime: raw.runtime,
                key: raw.key,
                stable: raw.stable,
                canary: raw.canary,
                steps: raw.steps,
                hold,
                check_every,
                envoys,
                prometheus,
                token_file: raw.prometheus.token_file,
                ca_file: raw.prometheus.ca_file,
                bounds,
            }),
            _ => Err(problems),
        }
    }

    pub fn weights(&self) -> Weights {
        Weights::new(&self.runtime, &self.key, &self.stable, &self.canary)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        runtime = "r.json"
        key = "canary.orders"
        stable = "a"
        canary = "b"
        hold = "5m"
        [prometheus]
        url = "http://localhost:9090"
        [traffic]
        query = "x"
        min = 1
        [[slo]]
        name = "errors"
        query = "y"
        max = 0.01
    "#;

    fn check(text: &str) -> Result<Plan, Vec<String>> {
        Plan::check(toml::from_str(text).map_err(|e| vec![e.to_string()])?)
    }

    #[test]
    fn every_mistake_is_named() {
        let plan = check(GOOD).unwrap();
        assert_eq!(plan.steps, [5, 25, 50, 100]);
        assert_eq!(plan.bounds.len(), 2);
        for (from, to, problem) in [
            (
                "hold = \"5m\"",
                "hold = \"5m\"\nsteps = [5, 5, 100]",
                "steps: must rise",
            ),
            (
                "hold = \"5m\"",
                "hold = \"5m\"\nsteps = [0, 100]",
                "steps: must rise",
            ),
            (
                "hold = \"5m\"",
                "hold = \"5m\"\nsteps = [5, 50]",
                "steps: must rise",
            ),
            (
                "hold = \"5m\"",
                "hold = \"1s\"",
                "hold: must not be shorter",
            ),
            ("canary = \"b\"", "canary = \"a\"", "two clusters"),
            ("min = 1", "min = 0", "traffic.min"),
            ("max = 0.01", "max = nan", "slo: each"),
            ("http://localhost:9090", "localhost", "prometheus.url: must"),
            ("key =", "kye =", "kye"),
        ] {
            assert!(GOOD.contains(from));
            let problems = check(&GOOD.replace(from, to)).unwrap_err();
            assert!(problems.join("\n").contains(problem), "{to}: {problems:?}");
        }
    }
}
