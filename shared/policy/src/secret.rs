//! A configured secret: readable by the code that sends it, invisible everywhere else.

use serde::{Deserialize, Deserializer};

/// A string that never shows in a log, an error or a panic message.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(transparent)
)]
pub struct Secret(String);

impl Secret {
    #[must_use]
    pub const fn new(secret: String) -> Self {
        Self(secret)
    }

    /// The secret itself, for the one place that must send it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Says nothing of what it found: an error would show a secret of the wrong type.
impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(secret) => Ok(Self(secret)),
            _ => Err(serde::de::Error::custom("must be a string")),
        }
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn is_not_shown_by_debug() {
        assert_eq!(format!("{:?}", Secret::new("hunter2".into())), "[secret]");
    }

    #[test]
    fn is_not_shown_by_an_error() {
        let error = serde_json::from_str::<Secret>("123456789").unwrap_err();
        assert!(!error.to_string().contains("123456789"), "{error}");
    }
}
