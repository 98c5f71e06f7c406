//! `portcullis provenance`: how a release was built, signed by who built it.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::outcome::{Failure, Outcome};
use crate::release::files;
use crate::release::keys::KeySource;
use crate::release::module::Unsigned;
use crate::release::provenance::{Build, Product};
use crate::release::statement::plain;
use crate::release::term::now;

/// Write and sign the provenance of modules as they were built: in-toto, SLSA v1, in a DSSE envelope
#[derive(Debug, Args)]
pub struct Provenance {
    /// The modules, before they are signed.
    #[arg(required = true, value_name = "WASM")]
    modules: Vec<PathBuf>,
    /// The folder that the modules are named relative to.
    #[arg(long, value_name = "FOLDER")]
    root: PathBuf,
    #[command(flatten)]
    key: KeySource,
    /// Where the sources are.
    #[arg(long, value_name = "URI", value_parser = plain)]
    source: String,
    /// The commit that they were built from.
    #[arg(long, value_parser = plain)]
    commit: String,
    /// Who built them.
    #[arg(long, value_name = "URI", value_parser = plain)]
    builder: String,
    /// What built them, a line each: dist/toolchain.txt.
    #[arg(long, value_name = "FILE")]
    toolchain: PathBuf,
    /// The Cargo.lock of the build.
    #[arg(long, value_name = "FILE")]
    lock: PathBuf,
    /// An SBOM or another file that belongs to them.
    #[arg(long, value_name = "FILE")]
    byproduct: Vec<PathBuf>,
    /// Where it goes.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Serialize)]
struct Written {
    file: PathBuf,
    modules: usize,
    byproducts: usize,
    key_id: String,
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: {} modules, {} files that belong to them, signed with the key {}",
            self.file.display(),
            self.modules,
            self.byproducts,
            self.key_id
        )
    }
}

impl Provenance {
    pub fn run(self) -> Result<Outcome, Failure> {
        let key = self.key.load()?;
        let mut names = BTreeSet::new();
        let mut modules = Vec::new();
        for path in &self.modules {
            let fault = |why: &str| Failure::of_file(path, why);
            let name = path.strip_prefix(&self.root).unwrap_or(path);
            let name = name.to_str().ok_or_else(|| fault("its name is no text"))?;
            if !names.insert(name.to_owned()) {
                return Err(fault("named twice"));
            }
            let bytes = files::read(path)?;
            Unsigned::parse(&bytes).map_err(|flaw| fault(&flaw.to_string()))?;
            modules.push(Product {
                name: name.to_owned(),
                sha256: files::sha256(&bytes),
            });
        }
        let mut byproducts = Vec::new();
        for path in &self.byproduct {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if !names.insert(name.clone().into_owned()) {
                return Err(Failure::of_file(path, "named twice"));
            }
            byproducts.push(Product {
                name: name.into_owned(),
                sha256: files::sha256(&files::read(path)?),
            });
        }
        let report = Written {
            file: self.out,
            modules: modules.len(),
            byproducts: byproducts.len(),
            key_id: key.public().id(),
        };
        let toolchain = files::read_text(&self.toolchain)?;
        let build = Build {
            source: self.source,
            commit: self.commit,
            builder: self.builder,
            toolchain: toolchain.lines().map(str::to_owned).collect(),
            lock: files::sha256(&files::read(&self.lock)?),
            finished_at: now(),
            modules,
            byproducts,
        };
        files::write(&report.file, build.signed(&key).as_bytes())?;
        Outcome::new(&report, true)
    }
}
