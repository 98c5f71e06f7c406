//! What is wrong with a tree of sources.

use std::fmt;

use crate::finding::{Finding, Severity};

/// Where something stands in the sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// As it is shown: `ops/config/routes/orders.yml`.
    pub file: String,
    /// From 1.
    pub line: u64,
    /// `filters[2].config.rules[0]`; empty for the whole file.
    pub path: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// All of it: a build says everything that it sees at once.
#[derive(Debug, Default)]
pub struct Problems(Vec<Finding>);

impl Problems {
    pub fn error(&mut self, rule: &'static str, at: &Place, message: impl fmt::Display) {
        self.0.push(Finding {
            severity: Severity::Error,
            rule,
            file: at.file.clone(),
            line: (at.line > 0).then_some(at.line),
            filter: None,
            path: (!at.path.is_empty()).then(|| at.path.clone()),
            message: message.to_string(),
        });
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// By file and line.
    pub fn into_vec(mut self) -> Vec<Finding> {
        self.0.sort_by(|a, b| {
            (&a.file, a.line, &a.path, &a.message).cmp(&(&b.file, b.line, &b.path, &b.message))
        });
        self.0.dedup_by(|a, b| {
            (&a.file, a.line, &a.path, &a.message) == (&b.file, b.line, &b.path, &b.message)
        });
        self.0
    }
}
