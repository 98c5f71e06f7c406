//! Names that nobody else has.

use std::fmt::Write as _;

/// 128 random bits as 32 hexadecimal digits.
///
/// # Errors
/// The system has no randomness.
pub fn name() -> Result<String, NoRandomness> {
    let mut bytes = [0; 16];
    rustls::crypto::ring::default_provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| NoRandomness)?;
    let mut text = String::with_capacity(32);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}

/// The system has no randomness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRandomness;

impl From<NoRandomness> for super::store::EdgeFailure {
    fn from(_: NoRandomness) -> Self {
        Self::Unavailable
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_differ() {
        let names: std::collections::HashSet<_> =
            (0..100).map(|_| super::name().unwrap()).collect();
        assert_eq!(names.len(), 100);
        assert!(names.iter().all(|name| name.len() == 32));
    }
}
