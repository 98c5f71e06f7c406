//! What the operator configures, and what is made of it.

use policy::{Configure, Problems};
use serde::Deserialize;

/// The options of the filter.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Raw {
    /// Refuses every request.
    #[serde(default)]
    pub closed: bool,
}

/// The options, checked.
#[derive(Clone, Debug)]
pub struct Config {
    closed: bool,
}

impl Config {
    /// Whether every request is refused.
    #[must_use]
    pub const fn closed(&self) -> bool {
        self.closed
    }
}

impl Configure for Config {
    type Raw = Raw;

    fn check(raw: Raw, _: &mut Problems) -> Option<Self> {
        Some(Self { closed: raw.closed })
    }
}

#[cfg(test)]
mod tests {
    use policy::Loaded;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn is_open_unless_closed() {
        let closed =
            |text: &str| Loaded::<Config>::parse(text.as_bytes()).map(|it| it.policy.closed());
        assert_eq!(closed("{}"), Ok(false));
        assert_eq!(closed(r#"{"closed": true}"#), Ok(true));
        assert!(closed(r#"{"closd": true}"#).is_err());
    }
}
