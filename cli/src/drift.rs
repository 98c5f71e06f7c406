//! `portcullis drift`: does a gateway run what is in Git (L3)?

mod admin;
mod compare;
mod envoy;
mod kong;
mod mask;
mod metrics;

use std::fmt;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::outcome::{Failure, Outcome};

use self::admin::Admin;
pub use self::admin::span;
use self::compare::Difference;

/// Exit code where it cannot be told whether there is a difference.
const CANNOT_TELL: u8 = 2;

/// Compare what a gateway runs with the files in Git
///
/// Kong, DB-less, is asked for /config and for its schemas, Envoy for /config_dump and /runtime. Defaults, ids, times and
/// the order of what has none do not count; secrets are compared and never shown. Exit code 0: no difference, 1: there is
/// one, 2: it cannot be told.
#[derive(Debug, Args)]
pub struct Drift {
    /// The declarative configuration that Kong is to run
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "envoy",
        required_unless_present = "envoy"
    )]
    kong: Option<PathBuf>,
    /// The bootstrap that Envoy is to run; again for each file of its xDS
    #[arg(long, value_name = "FILE")]
    envoy: Vec<PathBuf>,
    #[command(flatten)]
    admin: Admin,
    /// What the gateway is called in the output and in metrics [default: the host and port of --admin]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Also write the result to this file, for the textfile collector of Prometheus' node_exporter; left as it is where it
    /// cannot be told
    #[arg(long, value_name = "FILE")]
    metrics_file: Option<PathBuf>,
}

#[derive(Serialize)]
struct Report {
    gateway: String,
    /// Where it was asked.
    admin: String,
    files: Vec<String>,
    drift: bool,
    differences: Vec<Difference>,
    /// What was not compared, and why.
    notes: Vec<String>,
}

/// What a comparison gave.
#[derive(Default)]
struct Compared {
    differences: Vec<Difference>,
    notes: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = self.files.join(", ");
        match self.differences.len() {
            0 => writeln!(f, "{} runs what is in {files}", self.gateway)?,
            count => {
                let s = if count == 1 { "" } else { "s" };
                writeln!(
                    f,
                    "{} differs from {files}: {count} difference{s}",
                    self.gateway
                )?;
            }
        }
        for difference in &self.differences {
            writeln!(f, "{difference}")?;
        }
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        Ok(())
    }
}

impl Drift {
    pub fn run(self) -> Result<Outcome, Failure> {
        self.compare()
            .map_err(|failure| failure.with_exit_code(CANNOT_TELL))
    }

    fn compare(self) -> Result<Outcome, Failure> {
        let asked = self.admin.client()?;
        let compared = match &self.kong {
            Some(file) => kong::compare(file, &asked)?,
            None => envoy::compare(&self.envoy, &asked)?,
        };
        let target = &asked.client.target;
        let files = self.kong.iter().chain(&self.envoy);
        let report = Report {
            gateway: self.name.unwrap_or_else(|| target.authority()),
            admin: target.to_string(),
            files: files.map(|file| file.display().to_string()).collect(),
            drift: !compared.differences.is_empty(),
            differences: compared.differences,
            notes: compared.notes,
        };
        if let Some(file) = &self.metrics_file {
            metrics::write(file, &report.gateway, report.differences.len())?;
        }
        Outcome::new(&report, !report.drift)
    }
}
