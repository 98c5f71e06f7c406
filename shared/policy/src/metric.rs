//! What is counted. Metrics are enums with documented variants; their exported names carry labels
//! in a form that both gateways turn into Prometheus labels:
//! `portcullis_requests.filter=auth.outcome=denied`.

use std::borrow::Cow;
use std::fmt::Debug;
use std::hash::Hash;

/// How a metric moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only up.
    Counter,
    /// Set to a value. Of several workers' values one is shown.
    Gauge,
    /// Set to a value by each worker; their sum is shown.
    Sum,
}

/// A metric with its labels.
pub trait Metric: Clone + Eq + Hash + Debug + 'static {
    /// Whether any of these is a [`Kind::Sum`]. Without it such a metric is a gauge: a filter without sums asks
    /// less of its gateway.
    const SUMS: bool = false;

    /// Whether its labels are known with the configuration, so that it is among [`Policy::series`](crate::Policy::series).
    fn known(&self) -> bool {
        true
    }

    fn kind(&self) -> Kind;
    /// The name without labels: letters, digits and `_`.
    fn name(&self) -> &'static str;
    /// Labels and their values. Values that a client can choose must be bounded by the policy.
    fn labels(&self) -> Vec<(&'static str, Cow<'static, str>)>;
}

/// For policies that count nothing of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoMetric {}

impl Metric for NoMetric {
    fn kind(&self) -> Kind {
        match *self {}
    }
    fn name(&self) -> &'static str {
        match *self {}
    }
    fn labels(&self) -> Vec<(&'static str, Cow<'static, str>)> {
        match *self {}
    }
}

/// A movement of a metric: an increment of a counter or a value of a gauge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample<M> {
    pub metric: M,
    pub value: u64,
}

/// Every label that a metric of ours may have, in the order in which a name carries them. Gateways are told these to
/// make Prometheus labels of them: Envoy in `stats_tags`, Kong in `<filter>.meta.json`.
pub const LABELS: [&str; 12] = [
    "filter",
    "outcome",
    "code",
    "provider",
    "dimension",
    "tenant",
    "tier",
    "match",
    "mode",
    "by",
    "reason",
    "result",
];

/// Longest label value that is exported.
pub const MAX_LABEL: usize = 64;

/// The exported name of a metric: labels in order, values cut to [`MAX_LABEL`] and cleaned of
/// everything that would end a label or break a stats sink.
#[must_use]
pub fn exported_name(name: &str, labels: &[(&str, Cow<'_, str>)]) -> String {
    let mut out = String::from(name);
    for (label, value) in labels {
        out.push('.');
        out.push_str(label);
        out.push('=');
        if value.is_empty() {
            out.push('-');
        }
        out.extend(value.chars().take(MAX_LABEL).map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '/') {
                c
            } else {
                '_'
            }
        }));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn labels_cannot_break_out() {
        let name = exported_name(
            "hits",
            &[("tenant", "a.b=c\n\"é".into()), ("tier", "".into())],
        );
        assert_eq!(name, "hits.tenant=a_b_c___.tier=-");
        let long = exported_name("hits", &[("t", "x".repeat(1_000).into())]);
        assert_eq!(long.len(), "hits.t=".len() + MAX_LABEL);
    }
}
