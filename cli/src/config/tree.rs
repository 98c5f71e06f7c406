//! The folder of the sources.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::problems::{Place, Problems};
use crate::outcome::Failure;
use crate::release::files::hex;
use crate::yaml::{self, Node};

/// What a file of a folder describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Noun {
    Service,
    Route,
    Plugin,
    FilterChain,
}

impl Noun {
    pub const ALL: [Self; 4] = [Self::Service, Self::Route, Self::Plugin, Self::FilterChain];

    const fn folder(self) -> &'static str {
        match self {
            Self::Service => "services",
            Self::Route => "routes",
            Self::Plugin => "plugins",
            Self::FilterChain => "filter-chains",
        }
    }
}

/// What stands beside the folders.
pub const SETTINGS: &str = "gateway.yml";
pub const REGISTRY: &str = "registry.yml";
pub const ENVOY_BASE: &str = "envoy-base.yaml";

/// A file with one document.
#[derive(Debug)]
pub struct Source {
    /// As it is shown.
    pub file: String,
    /// Its name without what comes after the dot.
    pub stem: String,
    pub document: Node,
}

/// All that is read.
#[derive(Debug)]
pub struct Tree {
    pub nouns: BTreeMap<Noun, Vec<Source>>,
    pub settings: Option<Source>,
    pub registry: Option<Source>,
    pub envoy_base: Option<Source>,
    /// SHA-256, in hexadecimal, of every name and every byte that was read.
    pub digest: String,
}

impl Tree {
    /// Reads a folder. What is in `outputs` is what a build wrote there.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn read(
        folder: &Path,
        outputs: &[PathBuf],
        problems: &mut Problems,
    ) -> Result<Self, Failure> {
        let mut reader = Reader {
            folder,
            digest: Sha256::new(),
        };
        let mut nouns = BTreeMap::new();
        for noun in Noun::ALL {
            let mut sources = Vec::new();
            let inside = folder.join(noun.folder());
            for path in entries(&inside, false)? {
                if !is_yaml(&path) || path.is_dir() {
                    let message = format!(
                        "is no YAML file: {} has one for each, .yml or .yaml",
                        noun.folder()
                    );
                    problems.error("stray-file", &place(&path), message);
                    continue;
                }
                sources.extend(reader.source(&path, problems)?);
            }
            nouns.insert(noun, sources);
        }
        for path in entries(folder, true)? {
            let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
            let known = [SETTINGS, REGISTRY, ENVOY_BASE].contains(&name)
                || outputs.iter().any(|output| output == &path)
                || path.is_dir()
                || !is_yaml(&path);
            if !known {
                let message = format!(
                    "is none of {SETTINGS}, {REGISTRY} and {ENVOY_BASE}, and in no folder of services/, routes/, plugins/, filter-chains/"
                );
                problems.error("stray-file", &place(&path), message);
            }
        }
        let mut beside = |name: &str| {
            let path = folder.join(name);
            if path.exists() {
                reader.source(&path, problems)
            } else {
                Ok(None)
            }
        };
        let settings = beside(SETTINGS)?;
        let registry = beside(REGISTRY)?;
        let envoy_base = beside(ENVOY_BASE)?;
        Ok(Self {
            nouns,
            settings,
            registry,
            envoy_base,
            digest: hex(&reader.digest.finalize()),
        })
    }

    /// The files of a folder.
    pub fn of(&self, noun: Noun) -> &[Source] {
        self.nouns.get(&noun).map(Vec::as_slice).unwrap_or_default()
    }
}

/// Reads files, and keeps the digest of all.
struct Reader<'a> {
    folder: &'a Path,
    digest: Sha256,
}

impl Reader<'_> {
    /// `None` if it is no YAML, which is said.
    fn source(&mut self, path: &Path, problems: &mut Problems) -> Result<Option<Source>, Failure> {
        let text = yaml::read(path)?;
        let name = path.strip_prefix(self.folder).unwrap_or(path);
        for part in [name.to_string_lossy().as_bytes(), text.as_bytes()] {
            let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
            self.digest.update(length.to_be_bytes());
            self.digest.update(part);
        }
        let mut at = place(path);
        match yaml::documents(&text) {
            Err(not_yaml) => {
                at.line = not_yaml.line.unwrap_or(0);
                problems.error("yaml", &at, not_yaml.why);
                Ok(None)
            }
            Ok(documents) => {
                let mut documents = documents.into_iter();
                let (Some(document), None) = (documents.next(), documents.next()) else {
                    problems.error("yaml", &at, "must hold one document");
                    return Ok(None);
                };
                Ok(Some(Source {
                    file: at.file,
                    stem: path
                        .file_stem()
                        .and_then(OsStr::to_str)
                        .unwrap_or_default()
                        .to_owned(),
                    document,
                }))
            }
        }
    }
}

fn place(path: &Path) -> Place {
    Place {
        file: path.display().to_string(),
        line: 0,
        path: String::new(),
    }
}

fn is_yaml(path: &Path) -> bool {
    path.extension()
        .is_some_and(|it| it == "yml" || it == "yaml")
}

/// What is in a folder, by name, but for what is hidden; nothing if there is no such folder and there need not be.
fn entries(folder: &Path, must_be: bool) -> Result<Vec<PathBuf>, Failure> {
    if !must_be && !folder.exists() {
        return Ok(Vec::new());
    }
    let read = std::fs::read_dir(folder).map_err(|e| Failure::of_file(folder, e))?;
    let mut paths = Vec::new();
    for entry in read {
        let entry = entry.map_err(|e| Failure::of_file(folder, e))?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}
