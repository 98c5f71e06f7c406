//! What `/metrics` shows of the lists.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use wire::lists::ListName;

use super::{
    event,
    store::{Action, Change, Durability, EdgeFailure},
};

/// Codes of refusals told apart; the rest count as `other`.
const MAX_CODES: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct List {
    list: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListAction {
    list: &'static str,
    action: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Code {
    code: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    r#type: &'static str,
}

/// The metrics of the lists. Clones count together.
#[derive(Clone, Default)]
pub struct EdgeMetrics {
    changes: Family<ListAction, Counter>,
    refused: Family<Code, Counter>,
    failures: Family<Code, Counter>,
    codes: Arc<Mutex<HashSet<String>>>,
    members: Family<List, Gauge>,
    version: Family<List, Gauge>,
    age: Family<List, Gauge<f64, AtomicU64>>,
    follow_failures: Family<List, Counter>,
    durable: Gauge,
    waiting: Family<List, Gauge>,
    published: Family<Kind, Counter>,
    publish_failures: Counter,
    connected: Gauge,
}

impl EdgeMetrics {
    /// Has a registry show them: those whose labels are known, from the start at zero, since a counter that first appears
    /// with its first event has no rate before its second.
    pub fn register(&self, registry: &mut Registry) {
        for list in ListName::ALL {
            let (name, actions) = (list.as_str(), Action::ALL);
            for action in actions {
                let label = ListAction {
                    list: name,
                    action: action.as_str(),
                };
                let _ = self.changes.get_or_create(&label);
                if let Some(kind) = event::kind(list, action) {
                    let _ = self.published.get_or_create(&Kind { r#type: kind });
                }
            }
            let _ = self.follow_failures.get_or_create(&List { list: name });
        }
        for failure in EdgeFailure::ALL {
            let code = failure.code().to_owned();
            let _ = self.failures.get_or_create(&Code { code });
        }
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
        registry.register(
            "edge_members",
            "Members of the list as the workers are served it",
            self.members.clone(),
        );
        registry.register(
            "edge_version",
            "Version of the list as the workers are served it",
            self.version.clone(),
        );
        registry.register(
            "edge_age_seconds",
            "Time since the store was last heard of the list",
            self.age.clone(),
        );
        registry.register(
            "edge_follow_failures",
            "Times the store did not say what changed",
            self.follow_failures.clone(),
        );
        registry.register(
            "edge_store_durable",
            "1: what is acknowledged survives kill -9 of the store; 0: it does not; -1: not known",
            self.durable.clone(),
        );
        registry.register(
            "edge_events_waiting",
            "Events that wait for NATS",
            self.waiting.clone(),
        );
        registry.register(
            "edge_events_published",
            "Events that JetStream acknowledged",
            self.published.clone(),
        );
        registry.register(
            "edge_publish_failures",
            "Times events could not be published",
            self.publish_failures.clone(),
        );
        registry.register(
            "edge_nats_connected",
            "1 while there is a connection to NATS",
            self.connected.clone(),
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

    pub(super) fn follows(&self, list: ListName, members: usize, version: u64) {
        let list = List {
            list: list.as_str(),
        };
        let members = i64::try_from(members).unwrap_or(i64::MAX);
        let version = i64::try_from(version).unwrap_or(i64::MAX);
        self.members.get_or_create(&list).set(members);
        self.version.get_or_create(&list).set(version);
    }

    pub(super) fn age(&self, list: ListName, age: Duration) {
        let list = List {
            list: list.as_str(),
        };
        self.age.get_or_create(&list).set(age.as_secs_f64());
    }

    pub(super) fn not_followed(&self, list: ListName) {
        let list = List {
            list: list.as_str(),
        };
        self.follow_failures.get_or_create(&list).inc();
    }

    pub(super) fn durable(&self, durability: Durability) {
        self.durable.set(match durability {
            Durability::Durable => 1,
            Durability::Volatile => 0,
            Durability::Unknown => -1,
        });
    }

    pub(super) fn waiting(&self, list: ListName, events: u64) {
        let list = List {
            list: list.as_str(),
        };
        let events = i64::try_from(events).unwrap_or(i64::MAX);
        self.waiting.get_or_create(&list).set(events);
    }

    pub(super) fn published(&self, change: &Change) {
        if let Some(kind) = event::kind(change.entry.list, change.action) {
            self.published.get_or_create(&Kind { r#type: kind }).inc();
        }
    }

    pub(super) fn told(&self, kind: &'static str) {
        self.published.get_or_create(&Kind { r#type: kind }).inc();
    }

    pub(super) fn not_published(&self) {
        self.publish_failures.inc();
    }

    pub(super) fn nats_connected(&self, connected: bool) {
        self.connected.set(i64::from(connected));
    }
}
