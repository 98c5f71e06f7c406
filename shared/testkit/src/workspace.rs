//! What lies where in the workspace.

use std::path::{Path, PathBuf};

/// The root of the workspace.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .map(Path::to_path_buf)
        .unwrap_or_default()
}

/// The built filter of this name in one of the folders with artifacts: `dist`, `dist/kong`.
///
/// # Errors
/// When it has not been built.
pub fn artifact(folder: &str, filter: &str) -> Result<PathBuf, String> {
    let path = root().join(folder).join(format!("{filter}.wasm"));
    if path.is_file() {
        Ok(path)
    } else {
        Err(format!(
            "there is no {}: `make wasm` builds it",
            path.display()
        ))
    }
}

/// Where the cases of the filter of this name are, if it has any.
#[must_use]
pub fn case_file(filter: &str) -> PathBuf {
    let folder = filter.replace('_', "-");
    root().join("filters").join(folder).join("cases.toml")
}

/// Every filter with cases: its name as an artifact, and the path of its case file.
///
/// # Errors
/// When the folder of filters cannot be read.
pub fn case_files() -> Result<Vec<(String, PathBuf)>, String> {
    let folder = root().join("filters");
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
