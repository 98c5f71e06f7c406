//! What Kong reads about a filter, generated from the types that parse its options.

use std::path::Path;

use schemars::JsonSchema;

/// Fails if `meta.json` in the filter's folder is not what the types say; with `UPDATE=1` in the environment rewrites
/// it instead.
///
/// # Panics
/// When the file is stale or missing.
pub fn assert_written<Raw: JsonSchema>(file: &Path) {
    assert_is(file, &policy::schema::kong_meta::<Raw>());
}

/// The same of a file that is to hold this text.
///
/// # Panics
/// When the file is stale or missing.
pub fn assert_is(file: &Path, expected: &str) {
    if std::fs::read_to_string(file).is_ok_and(|text| text == expected) {
        return;
    }
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(file, expected).unwrap();
        return;
    }
    panic!(
        "{} is stale: run the test once with UPDATE=1",
        file.display()
    );
}
