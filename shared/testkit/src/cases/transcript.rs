//! What a case showed in one gateway, written down so that gateways can be compared.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::exchange::{Exchange, Seen};

/// The folder that transcripts are written to; none are unless it is set.
pub const FOLDER: &str = "PORTCULLIS_TRANSCRIPTS";

/// One run of a case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transcript {
    pub filter: String,
    pub case: String,
    /// Where it ran: `envoy`, `kong`, `like_envoy`, `like_kong`.
    pub manner: String,
    /// What came of the requests of each step, in order; of requests at once, sorted.
    pub steps: Vec<Vec<Shown>>,
    /// How metrics moved in the whole case.
    pub metrics: BTreeMap<String, u64>,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Shown {
    pub status: u16,
    /// By name; several values are joined by `, `.
    pub headers: BTreeMap<String, String>,
    /// Of an answer by a filter.
    pub body: Option<String>,
    /// The request as the upstream saw it.
    pub upstream: Option<ShownRequest>,
}

/// A request as the upstream saw it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ShownRequest {
    pub method: String,
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Transcript {
    /// Writes it into the folder.
    ///
    /// # Errors
    /// When that is not possible.
    pub fn write(&self, folder: &Path) -> Result<(), String> {
        let folder = folder.join(&self.manner);
        let path = folder.join(format!("{}.{}.json", self.filter, self.case));
        let text = serde_json::to_string_pretty(self).map_err(|e| e.to_string())?;
        std::fs::create_dir_all(&folder)
            .and_then(|()| std::fs::write(&path, text))
            .map_err(|e| format!("{}: {e}", path.display()))
    }

    /// Every transcript in the folder.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn read_all(folder: &Path) -> Result<Vec<Self>, String> {
        let entries = |folder: &Path| -> Result<Vec<PathBuf>, String> {
            let entries =
                std::fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
            let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
            paths.sort();
            Ok(paths)
        };
        let mut all = Vec::new();
        for manner in entries(folder)? {
            for path in entries(&manner)? {
                let text = std::fs::read_to_string(&path);
                let text = text.map_err(|e| format!("{}: {e}", path.display()))?;
                let one = serde_json::from_str(&text);
                all.push(one.map_err(|e| format!("{}: {e}", path.display()))?);
            }
        }
        Ok(all)
    }
}

impl From<&Exchange> for Shown {
    fn from(exchange: &Exchange) -> Self {
        let headers = exchange.headers.iter();
        Self {
            status: exchange.status,
            headers: joined(headers.map(|(name, value)| (name.as_str(), shown(value)))),
            body: match exchange.upstream {
                Some(_) => None,
                None => Some(shown(&exchange.body)),
            },
            upstream: exchange.upstream.as_ref().map(ShownRequest::from),
        }
    }
}

impl From<&Seen> for ShownRequest {
    fn from(seen: &Seen) -> Self {
        let headers = seen.headers.iter();
        Self {
            method: seen.method.clone(),
            path: shown(&seen.path.bytes()),
            headers: joined(headers.map(|(name, value)| (name.as_str(), shown(&value.bytes())))),
            body: shown(&seen.body.bytes()),
        }
    }
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn joined<'a>(pairs: impl Iterator<Item = (&'a str, String)>) -> BTreeMap<String, String> {
    let mut out: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in pairs {
        out.entry(name.to_owned())
            .and_modify(|all| *all = format!("{all}, {value}"))
            .or_insert(value);
    }
    out
}
