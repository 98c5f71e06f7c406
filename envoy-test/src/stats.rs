//! Envoy's counters and gauges.

use std::collections::BTreeMap;

/// Every counter and gauge by its full name.
#[derive(Clone, Debug, Default)]
pub struct Stats(BTreeMap<String, u64>);

/// What Envoy puts before the names of a filter's own metrics.
const CUSTOM: &str = "wasmcustom.";

impl Stats {
    /// Reads the text of `/stats`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let pairs = text.lines().filter_map(|line| {
            let (name, value) = line.rsplit_once(": ")?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Self(pairs.collect())
    }

    /// A counter or gauge; 0 if it does not exist.
    #[must_use]
    pub fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// The metrics of filters, by exported name.
    #[must_use]
    pub fn custom(&self) -> BTreeMap<String, u64> {
        self.0
            .iter()
            .filter_map(|(name, value)| Some((name.strip_prefix(CUSTOM)?.to_owned(), *value)))
            .collect()
    }

    /// Counters that say that a virtual machine trapped and had to be replaced. Envoy moves them
    /// under `FAIL_RELOAD` only; under `FAIL_CLOSED` its log tells.
    #[must_use]
    pub fn vm_failures(&self) -> Vec<String> {
        self.0
            .iter()
            .filter(|(name, value)| {
                **value > 0 && name.starts_with("wasm.") && name.contains(".vm_reload")
            })
            .map(|(name, value)| format!("{name} = {value}"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_labels() {
        let stats = Stats::parse("wasmcustom.a.b=c: 3\nwasm.envoy.x.active: 2\nh: P0(1,2)\n");
        assert_eq!(stats.custom(), [("a.b=c".to_owned(), 3)].into());
        assert_eq!(stats.get("wasm.envoy.x.active"), 2);
        assert_eq!(stats.get("h"), 0);
    }
}
