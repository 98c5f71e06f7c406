//! What `/metrics` shows of quotas. No label holds the name of a tenant.

use std::{sync::atomic::AtomicU64, time::Duration};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::{
    event::Dead,
    record::Record,
    store::{Put, QuotaFailure},
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labelled {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Code {
    code: &'static str,
}

/// The metrics of quotas. Clones count together.
#[derive(Clone, Default)]
pub struct QuotaMetrics {
    events: Family<Labelled, Counter>,
    dead: Family<Reason, Counter>,
    dead_failures: Counter,
    interruptions: Counter,
    lag: Gauge<f64, AtomicU64>,
    waiting: Gauge,
    connected: Gauge,
    lookups: Family<Labelled, Counter>,
    failures: Family<Code, Counter>,
}

impl QuotaMetrics {
    /// Has a registry show them.
    pub fn register(&self, registry: &mut Registry) {
        for put in [Put::Applied, Put::Duplicate, Put::Stale, Put::Conflict] {
            let result = put.code();
            drop(self.events.get_or_create(&Labelled { result }));
        }
        for dead in Dead::ALL {
            let reason = dead.code();
            drop(self.dead.get_or_create(&Reason { reason }));
        }
        registry.register(
            "quota_events",
            "Events that were taken, by what they did: applied, duplicate, stale, conflict",
            self.events.clone(),
        );
        registry.register(
            "quota_dead_events",
            "Events that went to the dead-letter subject",
            self.dead.clone(),
        );
        registry.register(
            "quota_dead_failures",
            "Times an event could not be sent to the dead-letter subject; it is tried again",
            self.dead_failures.clone(),
        );
        registry.register(
            "quota_interruptions",
            "Times events could not be taken: NATS or the store failed",
            self.interruptions.clone(),
        );
        registry.register(
            "quota_lag_seconds",
            "Age of the oldest event of the last batch when it was stored, or while it waits to be",
            self.lag.clone(),
        );
        registry.register(
            "quota_events_waiting",
            "Events in the stream that nobody has been sent yet, as of the last one",
            self.waiting.clone(),
        );
        registry.register(
            "quota_nats_connected",
            "1 while there is a connection to NATS",
            self.connected.clone(),
        );
        registry.register(
            "quota_lookups",
            "Tenants that workers asked for: known, unknown",
            self.lookups.clone(),
        );
        registry.register(
            "quota_store_failures",
            "Operations that the store of quotas did not do",
            self.failures.clone(),
        );
    }

    pub(super) fn put(&self, put: Put) {
        self.events
            .get_or_create(&Labelled { result: put.code() })
            .inc();
    }

    pub(super) fn dead(&self, dead: Dead) {
        let reason = dead.code();
        self.dead.get_or_create(&Reason { reason }).inc();
    }

    pub(super) fn dead_failed(&self) {
        self.dead_failures.inc();
    }

    pub(super) fn interrupted(&self) {
        self.interruptions.inc();
    }

    pub(super) fn lags(&self, lag: Duration) {
        self.lag.set(lag.as_secs_f64());
    }

    pub(super) fn waiting(&self, events: u64) {
        self.waiting.set(i64::try_from(events).unwrap_or(i64::MAX));
    }

    pub(super) fn nats_connected(&self, connected: bool) {
        self.connected.set(i64::from(connected));
    }

    pub(super) fn looked_up(&self, found: &[Option<Record>]) {
        for record in found {
            let result = if record.is_some() { "known" } else { "unknown" };
            self.lookups.get_or_create(&Labelled { result }).inc();
        }
    }

    pub(super) fn failed(&self, failure: QuotaFailure) {
        let code = failure.code();
        self.failures.get_or_create(&Code { code }).inc();
    }
}
