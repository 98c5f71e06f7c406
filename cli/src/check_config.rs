//! `portcullis check-config`: are the filters' configurations right, and does the gateway around them fit?
//!
//! Each configuration is parsed by the filter's own code (L1).

mod envoy;
mod gateway;
mod kong;
mod kong_conf;
mod kubernetes;

use std::fmt;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use crate::filters::Filter;
use crate::finding::{Finding, Findings, Severity};
use crate::outcome::{Failure, Outcome};
use crate::schema::filter;
use crate::yaml::{self, Node};

/// Check the configuration of a filter, or every one in a gateway's configuration
///
/// Of a gateway's configuration also what is around the filters: modules and names, what Envoy does when a filter
/// crashes, clusters that do not exist, timeouts that end before the tarpit does, and more. The list of rules is in
/// cli/README.md.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub struct CheckConfig {
    /// The filter: auth, edge_headers, fingerprint_deny, quota, rate_limit, tarpit, …
    #[arg(value_parser = filter, requires = "file", conflicts_with_all = ["envoy", "kong"])]
    filter: Option<&'static Filter>,
    /// Its configuration, JSON as the filter gets it
    file: Option<PathBuf>,
    /// An Envoy configuration, YAML or JSON: a bootstrap, any part of one, an EnvoyFilter or WasmPlugin of Istio, an
    /// EnvoyExtensionPolicy of Envoy Gateway
    #[arg(long, value_name = "FILE", conflicts_with = "kong")]
    envoy: Option<PathBuf>,
    /// A declarative configuration of Kong, YAML or JSON
    #[arg(long, value_name = "FILE")]
    kong: Option<PathBuf>,
    /// The kong.conf beside it
    #[arg(long, value_name = "FILE", requires = "kong")]
    kong_conf: Option<PathBuf>,
    /// Count warnings as errors
    #[arg(long)]
    strict: bool,
}

/// What was looked at and what was found.
#[derive(Serialize)]
struct Report {
    /// The filters whose configurations were found, in order.
    filters: Vec<Seen>,
    errors: usize,
    warnings: usize,
    findings: Vec<Finding>,
}

/// A filter with a configuration.
#[derive(Debug, Serialize)]
pub struct Seen {
    filter: String,
    line: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        let names: Vec<&str> = self
            .filters
            .iter()
            .map(|seen| seen.filter.as_str())
            .collect();
        let names = if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        };
        write!(
            f,
            "filters: {names}; errors: {}, warnings: {}",
            self.errors, self.warnings
        )
    }
}

impl CheckConfig {
    pub fn run(self) -> Result<Outcome, Failure> {
        let (filters, findings) = match (self.filter, &self.file, &self.envoy, &self.kong) {
            (Some(filter), Some(file), None, None) => one(filter, file)?,
            (None, None, Some(file), None) => in_envoy(file)?,
            (None, None, None, Some(file)) => in_kong(file, self.kong_conf.as_deref())?,
            _ => return Err(Failure::new("give a filter and a file, --envoy or --kong")),
        };
        let count = |severity| findings.iter().filter(|it| it.severity == severity).count();
        let report = Report {
            filters,
            errors: count(Severity::Error),
            warnings: count(Severity::Warning),
            findings,
        };
        let good = report.errors == 0 && (report.warnings == 0 || !self.strict);
        Outcome::new(&report, good)
    }
}

/// The configuration of one filter, as the filter gets it.
fn one(filter: &Filter, file: &Path) -> Result<(Vec<Seen>, Vec<Finding>), Failure> {
    let text = yaml::read(file)?;
    let mut findings = Findings::new(file.display().to_string());
    gateway::problems_in_text(filter, &text, |line| line, &mut findings);
    let seen = Seen {
        filter: filter.name.to_owned(),
        line: 1,
    };
    Ok((vec![seen], findings.into_vec()))
}

fn in_envoy(path: &Path) -> Result<(Vec<Seen>, Vec<Finding>), Failure> {
    in_gateway(path, |file, document, seen, findings| {
        envoy::check(file, document, seen, findings);
    })
}

fn in_kong(path: &Path, conf: Option<&Path>) -> Result<(Vec<Seen>, Vec<Finding>), Failure> {
    let mut all = Vec::new();
    let (seen, mut found) = in_gateway(path, |_, document, seen, findings| {
        all.push(kong::check(document, seen, findings));
    })?;
    if let Some(conf) = conf {
        let text = yaml::read(conf)?;
        let mut findings = Findings::new(conf.display().to_string());
        for needs in &all {
            kong_conf::check(&text, needs, &mut findings);
        }
        found.extend(findings.into_vec());
    }
    Ok((seen, found))
}

/// Calls for each document of a file.
fn in_gateway(
    path: &Path,
    mut check: impl FnMut(&yaml::File, &Node, &mut Vec<Seen>, &mut Findings),
) -> Result<(Vec<Seen>, Vec<Finding>), Failure> {
    let mut findings = Findings::new(path.display().to_string());
    let mut seen = Vec::new();
    match yaml::File::read(path)? {
        Err(not_yaml) => findings.error("yaml", not_yaml.line.unwrap_or(0), not_yaml.why),
        Ok(file) => {
            for document in &file.documents {
                check(&file, document, &mut seen, &mut findings);
            }
            if seen.is_empty() {
                findings.error("no-filter", 0, "no filter of Portcullis is in it");
            }
        }
    }
    Ok((seen, findings.into_vec()))
}
