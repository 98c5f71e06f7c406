//! `portcullis promote`: an approver's statement and signature.

use std::fmt;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::outcome::{Failure, Outcome};
use crate::release::files;
use crate::release::keys::KeySource;
use crate::release::module::Signed;
use crate::release::statement::{Approval, plain};
use crate::release::term::{Term, now};
use crate::release::trust::{Asked, Policy, Verdict};
use crate::sign::{Written, named};

/// Approve modules for an environment, if they have every signature that it needs beside its own
#[derive(Debug, Args)]
pub struct Promote {
    /// The modules.
    #[arg(required = true, value_name = "WASM")]
    modules: Vec<PathBuf>,
    /// Which signatures which environment needs.
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// The environment that they are approved for.
    #[arg(long, value_name = "ENVIRONMENT")]
    to: String,
    #[command(flatten)]
    key: KeySource,
    /// Where the approval was decided.
    #[arg(long, value_parser = plain)]
    ticket: Option<String>,
    #[command(flatten)]
    term: Term,
    /// The folder that the approved modules go to.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
}

#[derive(Serialize)]
struct Report {
    environment: String,
    /// What stands in the way, module by module.
    refused: Vec<Verdict>,
    /// Null if there is any.
    written: Option<Written>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for verdict in &self.refused {
            verdict.fmt(f)?;
        }
        match &self.written {
            Some(written) => write!(f, "approved for {}\n{written}", self.environment),
            None => writeln!(f, "nothing was approved"),
        }
    }
}

impl Promote {
    pub fn run(self) -> Result<Outcome, Failure> {
        let policy = Policy::load(&self.policy)?;
        let key = self.key.load()?;
        let public = key.public();
        if !policy.may_approve(&public, &self.to) {
            return Err(Failure::new(format!(
                "the policy does not let the key {} approve for {}",
                public.id(),
                self.to
            )));
        }
        let (signed_at, expires_at) = self.term.until()?;
        let approval = Approval {
            environment: self.to.clone(),
            ticket: self.ticket,
            signed_at,
            expires_at,
        };
        let mut approved = Vec::new();
        let mut refused = Vec::new();
        for path in &self.modules {
            let (name, file) = named(path)?;
            let bytes = files::read(path)?;
            let asked = Asked {
                source: path.display().to_string(),
                environment: &self.to,
                at: now(),
                name: Some(&name),
                gateway: None,
            };
            let mut verdict = policy.judge(&bytes, &asked, true)?;
            if verdict.counts(&public) {
                verdict.problem(
                    "approved_already",
                    "this key has approved it already".to_owned(),
                );
            }
            if !verdict.trusted {
                refused.push(verdict);
                continue;
            }
            let fault = |why: String| Failure::of_file(path, why);
            let signed = Signed::parse(&bytes).map_err(|flaw| fault(flaw.to_string()))?;
            approved.push((
                self.out.join(file),
                signed.approve(&approval, &key).map_err(fault)?,
            ));
        }
        let good = refused.is_empty();
        let mut written = Written::new(public.id(), expires_at);
        if good {
            written.write_all(approved)?;
        }
        let report = Report {
            environment: self.to,
            refused,
            written: good.then_some(written),
        };
        Outcome::new(&report, good)
    }
}
