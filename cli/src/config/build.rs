//! `portcullis config build`.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::generated::{self, Found};
use super::model::Model;
use super::problems::{Place, Problems};
use super::tree::{ENVOY_BASE, Tree};
use super::{document, envoy, kong};
use crate::finding::Finding;
use crate::outcome::{Failure, Outcome};
use crate::release::files;

/// Build kong.yml and envoy.yaml from a folder of sources
///
/// Sources are services/, routes/, plugins/ and filter-chains/, one noun in a file, registry.yml with the services that
/// register themselves, gateway.yml with what holds for all, and envoy-base.yaml, into which Envoy's part is put. What is
/// built is the same bytes wherever it is built. cli/README.md has every key.
#[derive(Debug, Args)]
pub struct Build {
    /// The folder of the sources
    folder: PathBuf,
    /// Where Kong's configuration goes [default: <FOLDER>/kong.yml]
    #[arg(long, value_name = "FILE")]
    kong: Option<PathBuf>,
    /// Where Envoy's goes, if the sources have envoy-base.yaml [default: <FOLDER>/envoy.yaml]
    #[arg(long, value_name = "FILE")]
    envoy: Option<PathBuf>,
    /// Write nothing; exit code 1 and a diff if a file is not what the sources make
    #[arg(long, conflicts_with = "discard_edits")]
    check: bool,
    /// Also overwrite a file that somebody has edited, or that was never generated: its content is lost
    #[arg(long)]
    discard_edits: bool,
}

#[derive(Serialize)]
struct Report {
    /// SHA-256 of the sources.
    sources: String,
    files: Vec<Written>,
    findings: Vec<Finding>,
}

/// What became of a generated file.
#[derive(Serialize)]
struct Written {
    file: String,
    found: Found,
    done: Done,
    /// What is not as it should be.
    #[serde(skip_serializing_if = "String::is_empty")]
    diff: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Done {
    /// It is what the sources make.
    UpToDate,
    Written,
    /// It is not, and was left as it is.
    Stale,
    Refused,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        if !self.findings.is_empty() {
            return write!(f, "errors: {}; nothing was written", self.findings.len());
        }
        for Written {
            file,
            found,
            done,
            diff,
        } in &self.files
        {
            f.write_str(diff)?;
            let what = match (done, found) {
                (Done::UpToDate, _) => "up to date",
                (Done::Written, _) => "written",
                (Done::Stale, Found::Absent) => "STALE: it is not there",
                (Done::Stale, Found::Generated) => "STALE: its sources have changed since",
                (Done::Stale, Found::Edited) => "STALE: edited by hand",
                (Done::Stale, Found::Foreign) => "STALE: not generated",
                (Done::Refused, Found::Foreign) => {
                    "REFUSED: it was never generated; --discard-edits overwrites it"
                }
                (Done::Refused, _) => {
                    "REFUSED: edited by hand since it was built; put the edit into the sources, or lose it with --discard-edits"
                }
            };
            writeln!(f, "{file}: {what}")?;
        }
        write!(f, "sources sha256:{}", self.sources)
    }
}

impl Build {
    pub fn run(self) -> Result<Outcome, Failure> {
        let kong_file = self
            .kong
            .clone()
            .unwrap_or_else(|| self.folder.join("kong.yml"));
        let envoy_file = self
            .envoy
            .clone()
            .unwrap_or_else(|| self.folder.join("envoy.yaml"));
        let mut problems = Problems::default();
        let outputs = [kong_file.clone(), envoy_file.clone()];
        let tree = Tree::read(&self.folder, &outputs, &mut problems)?;
        let built = self.documents(&tree, &mut problems);
        if !problems.is_empty() {
            let report = Report {
                sources: tree.digest,
                files: Vec::new(),
                findings: problems.into_vec(),
            };
            return Outcome::new(&report, false);
        }
        let (kong, envoy) = built;
        let mut texts = vec![(kong_file, document::to_yaml(&kong)?)];
        if let Some(envoy) = envoy {
            texts.push((envoy_file, document::to_yaml(&envoy)?));
        }
        let mut planned = Vec::new();
        for (path, content) in &texts {
            let text = generated::text(&tree.digest, content);
            planned.push((path, generated::look(path)?, text));
        }
        // All or none: two gateways of different sources would be worse than either.
        let refused = !self.check
            && !self.discard_edits
            && planned
                .iter()
                .any(|(_, (found, _), _)| matches!(found, Found::Edited | Found::Foreign));
        let mut written = Vec::new();
        for (path, (found, before), text) in planned {
            written.push(self.finish(path, found, &before, &text, refused)?);
        }
        let good = written
            .iter()
            .all(|it| matches!(it.done, Done::UpToDate | Done::Written));
        let report = Report {
            sources: tree.digest,
            files: written,
            findings: Vec::new(),
        };
        Outcome::new(&report, good)
    }

    fn documents(
        &self,
        tree: &Tree,
        problems: &mut Problems,
    ) -> (serde_json::Value, Option<serde_json::Value>) {
        let model = Model::of(tree, problems);
        let mut called = BTreeSet::new();
        let kong = kong::document(&model, &mut called, problems);
        let envoy = match &tree.envoy_base {
            Some(base) => envoy::document(&model, base, &mut called, problems),
            None => {
                if self.envoy.is_some() {
                    let at = Place {
                        file: self.folder.join(ENVOY_BASE).display().to_string(),
                        line: 0,
                        path: String::new(),
                    };
                    problems.error("missing", &at, "is not there: Envoy's part goes into it");
                }
                None
            }
        };
        model.check_use(&called, problems);
        (kong, envoy)
    }

    fn finish(
        &self,
        path: &Path,
        found: Found,
        before: &str,
        text: &str,
        refused: bool,
    ) -> Result<Written, Failure> {
        let done = if before == text {
            Done::UpToDate
        } else if self.check {
            Done::Stale
        } else if refused {
            match found {
                Found::Edited | Found::Foreign => Done::Refused,
                Found::Absent | Found::Generated => Done::Stale,
            }
        } else {
            files::write(path, text.as_bytes())?;
            Done::Written
        };
        let diff = match done {
            Done::Stale | Done::Refused => generated::diff(path, before, text),
            Done::UpToDate | Done::Written => String::new(),
        };
        Ok(Written {
            file: path.display().to_string(),
            found,
            done,
            diff,
        })
    }
}
