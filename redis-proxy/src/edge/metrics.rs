//! What `/metrics` shows of the lists.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use super::store::{Change, EdgeFailure};

/// Codes of refusals told apart; the rest count as `other`.
const MAX_CODES: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListAction {
    list: &'static str,
    action: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Code {
    code: String,
}

/// The metrics of the lists. Clones count together.
#[derive(Clone, Default)]
pub struct EdgeMetrics {
    changes: Family<ListAction, Counter>,
    refused: Family<Code, Counter>,
    failures: Family<Code, Counter>,
    codes: Arc<Mutex<HashSet<String>>>,
}

impl EdgeMetrics {
    /// Has a registry show them.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "edge_changes",
            "Changes of the lists made through this process",
            self.changes.clone(),
        );
        registry.register(
            "edge_refused",
            "Attempts to change a list that were refused",
            self.refused.clone(),
        );
        registry.register(
            "edge_store_failures",
            "Operations that the store of the lists did not do",
            self.failures.clone(),
        );
    }

    pub(super) fn changed(&self, change: &Change) {
        let label = ListAction {
            list: change.entry.list.as_str(),
            action: change.action.as_str(),
        };
        self.changes.get_or_create(&label).inc();
    }

    pub(super) fn refused(&self, code: &str) {
        let mut codes = self.codes.lock().unwrap_or_else(PoisonError::into_inner);
        let code = if codes.contains(code) || codes.len() < MAX_CODES {
            codes.insert(code.to_owned());
            code
        } else {
            "other"
        };
        let code = code.to_owned();
        self.refused.get_or_create(&Code { code }).inc();
    }

    pub(super) fn failed(&self, failure: EdgeFailure) {
        let code = failure.code().to_owned();
        self.failures.get_or_create(&Code { code }).inc();
    }
}
