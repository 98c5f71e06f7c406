//! Where Envoy and the built filters are. A test that lacks one fails and says what makes it.

use std::path::PathBuf;

use testkit::workspace::artifact;
pub use testkit::workspace::root as workspace;

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
    artifact("dist", filter)
}
