//! `portcullis sign`: the builder's statement and signature.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::outcome::{Failure, Outcome};
use crate::release::files;
use crate::release::keys::KeySource;
use crate::release::module::Unsigned;
use crate::release::statement::{Release, Target, plain};
use crate::release::term::Term;
use crate::release::trust::date;

/// Sign modules as they were built: what they are, for which gateway, until when
#[derive(Debug, Args)]
pub struct Sign {
    /// The modules; each is signed as what its file is called.
    #[arg(required = true, value_name = "WASM")]
    modules: Vec<PathBuf>,
    #[command(flatten)]
    key: KeySource,
    /// What they are built for.
    #[arg(long)]
    gateway: Target,
    /// The release that they belong to.
    #[arg(long, value_parser = plain)]
    version: String,
    /// The commit that they were built from.
    #[arg(long, value_parser = plain)]
    commit: Option<String>,
    #[command(flatten)]
    term: Term,
    /// The folder that the signed modules go to.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
}

/// What was signed.
#[derive(Serialize)]
pub struct Written {
    key_id: String,
    expires_at: String,
    modules: Vec<WrittenModule>,
}

#[derive(Serialize)]
struct WrittenModule {
    file: PathBuf,
    sha256: String,
}

impl Written {
    #[must_use]
    pub fn new(key_id: String, expires_at: time::OffsetDateTime) -> Self {
        Self {
            key_id,
            expires_at: date(expires_at),
            modules: Vec::new(),
        }
    }

    /// Writes modules.
    ///
    /// # Errors
    /// When two would have the same name, or one cannot be written.
    pub fn write_all(&mut self, modules: Vec<(PathBuf, Vec<u8>)>) -> Result<(), Failure> {
        let mut names = BTreeSet::new();
        if let Some((file, _)) = modules.iter().find(|(file, _)| !names.insert(file)) {
            return Err(Failure::of_file(file, "two modules would be written there"));
        }
        for (file, bytes) in modules {
            files::write(&file, &bytes)?;
            let sha256 = files::sha256(&bytes);
            self.modules.push(WrittenModule { file, sha256 });
        }
        Ok(())
    }
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "signed with the key {}, until {}",
            self.key_id, self.expires_at
        )?;
        for module in &self.modules {
            writeln!(f, "  {} sha256:{}", module.file.display(), module.sha256)?;
        }
        Ok(())
    }
}

impl Sign {
    pub fn run(self) -> Result<Outcome, Failure> {
        let key = self.key.load()?;
        let (signed_at, expires_at) = self.term.until()?;
        let mut written = Written::new(key.public().id(), expires_at);
        let mut signed = Vec::new();
        for path in &self.modules {
            let fault = |why: String| Failure::of_file(path, why);
            let (name, file) = named(path)?;
            let module =
                Unsigned::parse(&files::read(path)?).map_err(|flaw| fault(flaw.to_string()))?;
            let release = Release {
                module: name,
                gateway: self.gateway,
                version: self.version.clone(),
                commit: self.commit.clone(),
                signed_at,
                expires_at,
            };
            signed.push((
                self.out.join(file),
                module.sign(&release, &key).map_err(fault)?,
            ));
        }
        written.write_all(signed)?;
        Outcome::new(&written, true)
    }
}

/// The module's name, and its file's: `auth`, `auth.wasm`.
///
/// # Errors
/// When the file is not called like a module.
pub fn named(path: &std::path::Path) -> Result<(String, String), Failure> {
    let file = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    match file.strip_suffix(".wasm").map(plain) {
        Some(Ok(name)) => Ok((name, file.to_owned())),
        _ => Err(Failure::of_file(
            path,
            "a module is a file called <name>.wasm",
        )),
    }
}
