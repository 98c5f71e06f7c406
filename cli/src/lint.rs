//! `portcullis lint`: does a declarative configuration of Kong keep to the contract with those who own the routes (L2)?

mod openapi;
mod rules;
mod sarif;
mod waiver;

use std::fmt;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::finding::{Finding, Findings, Severity};
use crate::kong::routes;
use crate::outcome::{Failure, Outcome};
use crate::yaml;

use self::openapi::Apis;
use self::waiver::{Waived, Waivers};

/// Check a declarative configuration of Kong against rules, and against its services' OpenAPI documents
///
/// A rule is waived where it is broken, with a reason: `# portcullis-lint: allow route-name -- older than the rule`, on
/// the line that is complained of, or above it. The list of rules is in cli/README.md.
#[derive(Debug, Args)]
pub struct Lint {
    /// A declarative configuration of Kong, YAML or JSON
    file: PathBuf,
    /// A folder with the OpenAPI document of each service: <service>.yaml, .yml or .json
    #[arg(long, value_name = "DIR")]
    openapi: PathBuf,
    /// Routes under these paths must name the identity of their upstream
    #[arg(
        long,
        value_name = "PATH",
        default_values = ["/v1/compliance", "/v1/regulator", "/v1/cbc", "/v1/sender-id"],
    )]
    sensitive: Vec<String>,
    /// Also write what was found to this file, as SARIF 2.1.0
    #[arg(long, value_name = "FILE")]
    sarif: Option<PathBuf>,
    /// Count warnings as errors
    #[arg(long)]
    strict: bool,
}

#[derive(Serialize)]
struct Report {
    errors: usize,
    warnings: usize,
    findings: Vec<Finding>,
    /// What a comment in the file allows.
    waived: Vec<Waived>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        write!(
            f,
            "errors: {}, warnings: {}, waived: {}",
            self.errors,
            self.warnings,
            self.waived.len()
        )
    }
}

impl Lint {
    pub fn run(self) -> Result<Outcome, Failure> {
        let mut findings = Findings::new(self.file.display().to_string());
        let mut waivers = Waivers::default();
        match yaml::File::read(&self.file)? {
            Err(not_yaml) => findings.error("yaml", not_yaml.line.unwrap_or(0), not_yaml.why),
            Ok(file) => {
                let apis = Apis::read(&self.openapi)?;
                for document in &file.documents {
                    rules::check(document, &apis, &self.sensitive, &mut findings);
                }
                if !file.documents.iter().any(|it| !routes(it).is_empty()) {
                    findings.error("no-route", 0, "no route is in it");
                }
                waivers = Waivers::of(&file.text, &mut findings);
            }
        }
        let (findings, waived) = waivers.apply(findings);
        let count = |severity| findings.iter().filter(|it| it.severity == severity).count();
        let report = Report {
            errors: count(Severity::Error),
            warnings: count(Severity::Warning),
            findings,
            waived,
        };
        if let Some(file) = &self.sarif {
            let log = sarif::log(&report.findings, &report.waived);
            std::fs::write(file, format!("{log:#}\n")).map_err(|e| Failure::of_file(file, e))?;
        }
        let good = report.errors == 0 && (report.warnings == 0 || !self.strict);
        Outcome::new(&report, good)
    }
}
