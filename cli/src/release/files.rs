//! Files, read within bounds and written whole or not at all.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::outcome::Failure;

/// No module, SBOM or image of ours comes near it.
pub const LARGEST: u64 = 64 << 20;

/// Reads a file of at most [`LARGEST`] bytes.
///
/// # Errors
/// When it cannot be read or is larger.
pub fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let fault = |e: std::io::Error| Failure::of_file(path, e);
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(fault)?;
    let read = file.take(LARGEST.saturating_add(1)).read_to_end(&mut bytes);
    if u64::try_from(read.map_err(fault)?).is_ok_and(|size| size > LARGEST) {
        return Err(Failure::of_file(path, "larger than 64 MiB"));
    }
    Ok(bytes)
}

/// Reads a file of text.
///
/// # Errors
/// When it cannot be read or is no UTF-8.
pub fn read_text(path: &Path) -> Result<String, Failure> {
    String::from_utf8(read(path)?).map_err(|_| Failure::of_file(path, "not text"))
}

/// Writes a file, under its name only when it is whole, and makes the folder that it is in.
///
/// # Errors
/// When that cannot be done; then what was there before is still there.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let fault = |e: std::io::Error| Failure::of_file(path, e);
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(folder).map_err(fault)?;
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}", std::process::id()));
    let part = folder.join(name);
    let done = File::create(&part)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&part, path));
    if done.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    done.map_err(fault)
}

/// SHA-256 in lower-case hexadecimal.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
