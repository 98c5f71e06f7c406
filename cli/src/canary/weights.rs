//! The file that Envoy follows: a runtime layer (RTDS) with the weights of two clusters.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::outcome::Failure;

/// Which file, and which keys in it.
pub struct Weights {
    path: PathBuf,
    stable: String,
    canary: String,
}

/// What Envoy calls the document.
const KIND: &str = "type.googleapis.com/envoy.service.runtime.v3.Runtime";
/// `rtds_layer.name` in Envoy's bootstrap.
const LAYER: &str = "canary";

impl Weights {
    pub fn new(path: &Path, key: &str, stable: &str, canary: &str) -> Self {
        Self {
            path: path.to_owned(),
            stable: format!("{key}.{stable}"),
            canary: format!("{key}.{canary}"),
        }
    }

    /// The runtime keys and their values while the canary gets this share.
    pub fn keys(&self, percent: u8) -> [(&str, u8); 2] {
        let rest = 100_u8.saturating_sub(percent);
        [(&self.stable, rest), (&self.canary, percent)]
    }

    /// Moves the file into place whole, so that nobody ever reads half of it, and it outlives the machine.
    ///
    /// # Errors
    /// When it cannot be written; the old one stays.
    pub fn write(&self, percent: u8) -> Result<(), Failure> {
        let wrong = |e: std::io::Error| Failure::of_file(&self.path, e);
        let layer: serde_json::Map<String, Value> = (self.keys(percent).into_iter())
            .map(|(key, weight)| (key.to_owned(), Value::from(weight)))
            .collect();
        let document = json!({"resources": [{"@type": KIND, "name": LAYER, "layer": layer}]});
        let mut name = self.path.clone().into_os_string();
        name.push(".next");
        let next = PathBuf::from(name);
        let mut file = fs::File::create(&next).map_err(wrong)?;
        writeln!(file, "{document:#}").map_err(wrong)?;
        file.sync_all().map_err(wrong)?;
        fs::rename(&next, &self.path).map_err(wrong)
    }

    /// The share that the canary gets.
    ///
    /// # Errors
    /// When there is no such file, or it says something else.
    pub fn read(&self) -> Result<u8, Failure> {
        let text = fs::read_to_string(&self.path).map_err(|e| Failure::of_file(&self.path, e))?;
        let document: Value =
            serde_json::from_str(&text).map_err(|e| Failure::of_file(&self.path, e))?;
        let layer = document.pointer("/resources/0/layer");
        let weight = |key: &str| {
            let weight = layer?.get(key)?.as_u64()?;
            u8::try_from(weight).ok()
        };
        match (weight(&self.stable), weight(&self.canary)) {
            (Some(rest), Some(percent)) if rest.checked_add(percent) == Some(100) => Ok(percent),
            _ => Err(Failure::of_file(&self.path, "holds no such weights")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("canary.json");
        let weights = Weights::new(&path, "canary.orders", "a", "b");
        assert!(weights.read().is_err());
        for percent in [0, 5, 100] {
            weights.write(percent).unwrap();
            assert_eq!(weights.read().unwrap(), percent);
        }
        assert_eq!(
            weights.keys(5),
            [("canary.orders.a", 95), ("canary.orders.b", 5)]
        );
        let other = Weights::new(&path, "canary.other", "a", "b");
        assert!(other.read().is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
