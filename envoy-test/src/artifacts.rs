//! Where Envoy and the built filters are. A test that lacks one fails and says what makes it.

use std::path::{Path, PathBuf};

/// The root of the workspace.
#[must_use]
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map(Path::to_path_buf)
        .unwrap_or_default()
}

/// The Envoy binary: `ENVOY_BIN`, or the one that the Makefile fetched.
///
/// # Errors
/// When there is none.
pub fn envoy() -> Result<PathBuf, String> {
    let path = match std::env::var_os("ENVOY_BIN") {
        Some(path) => PathBuf::from(path),
        None => workspace().join(".tools/envoy/envoy"),
    };
    if path.is_file() {
        Ok(path)
    } else {
        Err(format!(
            "there is no Envoy at {}: `make setup` fetches it, or set ENVOY_BIN",
            path.display()
        ))
    }
}

/// The built filter of this name.
///
/// # Errors
/// When it has not been built.
pub fn wasm(filter: &str) -> Result<PathBuf, String> {
    let path = workspace().join("dist").join(format!("{filter}.wasm"));
    if path.is_file() {
        Ok(path)
    } else {
        Err(format!(
            "there is no {}: `make wasm` builds it",
            path.display()
        ))
    }
}

/// Every filter with cases: its name as an artifact, and the path of its case file.
///
/// # Errors
/// When the folder of filters cannot be read.
pub fn case_files() -> Result<Vec<(String, PathBuf)>, String> {
    let folder = workspace().join("filters");
    let entries = std::fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut files: Vec<(String, PathBuf)> = entries
        .flatten()
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().replace('-', "_");
            (name, entry.path().join("cases.toml"))
        })
        .filter(|(_, path)| path.is_file())
        .collect();
    files.sort();
    Ok(files)
}
