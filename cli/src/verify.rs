//! `portcullis verify`: whether an environment may run these modules, and why.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use time::OffsetDateTime;

use crate::outcome::{Failure, Outcome};
use crate::release::files;
use crate::release::layout;
use crate::release::provenance::Provenance;
use crate::release::statement::Target;
use crate::release::term::{now, parse};
use crate::release::trust::{Asked, Policy, Verdict};
use crate::sign::named;

/// What an image calls its list of digests.
pub const CHECKSUMS: &str = "SHA256SUMS";
/// What an image calls its provenance.
pub const PROVENANCE: &str = "provenance.json";

/// Check that modules are as they were signed, and that an environment's signatures are all there
#[derive(Debug, Args)]
pub struct Verify {
    /// Modules, and folders in the OCI image layout.
    #[arg(required = true, value_name = "WASM|LAYOUT")]
    sources: Vec<PathBuf>,
    /// Which signatures which environment needs.
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// The environment that is to run them.
    #[arg(long)]
    environment: String,
    /// What a module has to have been signed as. Else what its file, or its layout's folder, is called.
    #[arg(long)]
    name: Option<String>,
    /// The gateway that is to run them.
    #[arg(long)]
    gateway: Option<Target>,
    /// As of this time, instead of now.
    #[arg(long, value_parser = parse, value_name = "RFC 3339")]
    at: Option<OffsetDateTime>,
    /// The signed provenance that every module has to be in; that in a layout is looked at anyway.
    #[arg(long, value_name = "FILE")]
    provenance: Option<PathBuf>,
    /// Refuse what comes without provenance.
    #[arg(long)]
    with_provenance: bool,
    /// Write what was in layouts to this folder, if all of it is trusted: <name>.wasm, kong/<name>.wasm, and the rest.
    #[arg(long, value_name = "FOLDER")]
    extract: Option<PathBuf>,
}

#[derive(Serialize)]
struct Report {
    trusted: bool,
    modules: Vec<Verdict>,
    extracted: Vec<PathBuf>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for verdict in &self.modules {
            verdict.fmt(f)?;
        }
        for file in &self.extracted {
            writeln!(f, "wrote {}", file.display())?;
        }
        Ok(())
    }
}

/// A module that was found, before it is judged.
struct Found {
    source: String,
    name: String,
    bytes: Vec<u8>,
}

/// What goes with a module in its layout.
type Beside = (String, Vec<u8>);

impl Verify {
    pub fn run(self) -> Result<Outcome, Failure> {
        let policy = Policy::load(&self.policy)?;
        let at = self.at.unwrap_or_else(now);
        let given = self.provenance.as_deref().map(files::read).transpose()?;
        let mut report = Report {
            trusted: true,
            modules: Vec::new(),
            extracted: Vec::new(),
        };
        let mut to_write = Vec::new();
        for source in &self.sources {
            let (found, beside) = self.look(source)?;
            let given = given.as_deref();
            let attached = beside.iter().find(|(name, _)| name == PROVENANCE);
            let all = [given, attached.map(|(_, bytes)| bytes.as_slice())];
            let provenances: Vec<&[u8]> = all.into_iter().flatten().collect();
            let mut trusted_here = true;
            for found in found {
                let asked = Asked {
                    source: found.source.clone(),
                    environment: &self.environment,
                    at,
                    name: Some(&found.name),
                    gateway: self.gateway,
                };
                let mut verdict = policy.judge(&found.bytes, &asked, false)?;
                self.judge_origin(&provenances, &beside, &policy, at, &mut verdict);
                trusted_here &= verdict.trusted;
                if source.is_dir() {
                    let folder = match verdict.gateway {
                        Some(Target::Kong) => Path::new("kong"),
                        _ => Path::new(""),
                    };
                    to_write.push((folder.join(format!("{}.wasm", found.name)), found.bytes));
                }
                report.modules.push(verdict);
            }
            report.trusted &= trusted_here;
            to_write.extend(beside.into_iter().map(|(name, bytes)| {
                let folder = if name.ends_with(".meta.json") {
                    "kong"
                } else {
                    ""
                };
                (Path::new(folder).join(name), bytes)
            }));
        }
        if let (true, Some(folder)) = (report.trusted, &self.extract) {
            for (name, bytes) in to_write {
                let path = folder.join(name);
                files::write(&path, &bytes)?;
                report.extracted.push(path);
            }
        }
        Outcome::new(&report, report.trusted)
    }

    /// The modules of a source, and what goes with them.
    fn look(&self, source: &Path) -> Result<(Vec<Found>, Vec<Beside>), Failure> {
        let shown = source.display();
        if !source.is_dir() {
            let (name, _) = named(source)?;
            let found = Found {
                source: shown.to_string(),
                name: self.name.clone().unwrap_or(name),
                bytes: files::read(source)?,
            };
            return Ok((vec![found], Vec::new()));
        }
        let folder = source
            .canonicalize()
            .map_err(|e| Failure::of_file(source, e))?;
        let folder = folder.file_name().unwrap_or_default().to_string_lossy();
        let name = self.name.clone().unwrap_or_else(|| folder.into_owned());
        let mut seen = BTreeSet::new();
        let (mut found, mut beside) = (Vec::new(), Vec::new());
        for image in layout::read(source)? {
            for (file, bytes) in image.modules() {
                if seen.insert(files::sha256(bytes)) {
                    found.push(Found {
                        source: format!("{shown}:{}/{file}", image.tag),
                        name: name.clone(),
                        bytes: bytes.to_vec(),
                    });
                }
            }
            let is_known = |file: &str| {
                file == PROVENANCE
                    || file == format!("{name}.cdx.json")
                    || file == format!("{name}.meta.json")
            };
            for (file, bytes) in image.files {
                if is_known(&file) && seen.insert(files::sha256(&bytes)) {
                    beside.push((file, bytes));
                }
            }
        }
        if found.is_empty() {
            return Err(Failure::of_file(source, "no module in there"));
        }
        Ok((found, beside))
    }

    /// Whether the module, and what goes with it, is of a build that a builder vouches for.
    fn judge_origin(
        &self,
        provenances: &[&[u8]],
        beside: &[Beside],
        policy: &Policy,
        at: OffsetDateTime,
        verdict: &mut Verdict,
    ) {
        let Some(code) = verdict.code_sha256.clone() else {
            return;
        };
        if self.with_provenance && provenances.is_empty() {
            verdict.problem("no_provenance", "nothing says how it was built".to_owned());
        }
        for bytes in provenances {
            let provenance = match Provenance::open(bytes, policy, at) {
                Ok(provenance) => provenance,
                Err(why) => {
                    verdict.problem("wrong_provenance", why);
                    continue;
                }
            };
            if !provenance.has_module(&code) {
                verdict.problem(
                    "wrong_provenance",
                    "the provenance is of another build".to_owned(),
                );
            }
            for (name, bytes) in beside {
                if name != PROVENANCE && !provenance.has_byproduct(name, &files::sha256(bytes)) {
                    verdict.problem(
                        "wrong_provenance",
                        format!("the provenance knows no such {name}"),
                    );
                }
            }
            verdict.provenance = Some(provenance.builder);
        }
    }
}
