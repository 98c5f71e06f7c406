//! How much of its quota each tenant has used (Q1): told by `quota.updated` on NATS JetStream, kept in the store,
//! looked up by the workers.
//!
//! An event goes one way: [`consumer`] takes it from a durable consumer, [`event`] reads it, [`QuotaStore::put`]
//! keeps it if it is newer than what is there, and only then is it acknowledged. What makes no sense goes to the
//! dead-letter subject. So events may come twice, late or in any order.

pub mod consumer;
pub mod embedded;
pub mod event;
pub mod metrics;
pub mod record;
pub mod redis;
pub mod settings;
pub mod store;

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use tokio::time::Instant;
use wire::quota::Quota;

pub use record::Record;
pub use settings::Settings;
pub use store::{Put, QuotaFailure, QuotaStore};

use metrics::QuotaMetrics;

/// The quotas, for handlers.
pub struct Quotas {
    store: Arc<dyn QuotaStore>,
    metrics: QuotaMetrics,
    health: Arc<Health>,
}

impl Quotas {
    /// Over a store. Takes events in the background if the settings say so.
    ///
    /// # Errors
    /// The credentials for NATS make no sense.
    pub async fn start(
        store: Arc<dyn QuotaStore>,
        settings: &Settings,
    ) -> Result<Arc<Self>, std::io::Error> {
        let metrics = QuotaMetrics::default();
        let health = Arc::new(Health::default());
        if let Some(nats) = &settings.consumer {
            let (metrics, health) = (metrics.clone(), Arc::clone(&health));
            consumer::start(nats.clone(), Arc::clone(&store), metrics, health).await?;
        }
        Ok(Arc::new(Self {
            store,
            metrics,
            health,
        }))
    }

    /// What is known of these tenants, in order.
    ///
    /// # Errors
    /// The store did not answer.
    pub async fn look_up(&self, tenants: &[String]) -> Result<Vec<Option<Quota>>, QuotaFailure> {
        let found = self.store.get(tenants).await;
        match &found {
            Ok(found) => self.metrics.looked_up(found),
            Err(failure) => self.metrics.failed(*failure),
        }
        Ok(found?
            .into_iter()
            .map(|record| record.map(Record::into_quota))
            .collect())
    }

    /// What `/metrics` shows of quotas.
    #[must_use]
    pub const fn metrics(&self) -> &QuotaMetrics {
        &self.metrics
    }

    /// What an operator should know, one line each; empty when all is well. For `/readyz`.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        self.health.notes()
    }
}

/// Whether events arrive and are kept.
#[derive(Debug, Default)]
pub struct Health {
    /// There is no connection to NATS.
    away: AtomicBool,
    /// Why no event is taken, and since when.
    trouble: Mutex<Option<(Instant, String)>>,
}

impl Health {
    fn connected(&self, connected: bool) {
        self.away.store(!connected, Ordering::Relaxed);
    }

    /// Keeps the time at which the trouble began.
    fn is_in_trouble(&self, why: &str) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let since = trouble
            .as_ref()
            .map_or_else(Instant::now, |(since, _)| *since);
        *trouble = Some((since, why.to_owned()));
    }

    fn is_well(&self) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.away.load(Ordering::Relaxed) {
            notes.push("quota events: NATS is not there".to_owned());
        }
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, why)) = &*trouble {
            let seconds = since.elapsed().as_secs();
            notes.push(format!("quota events wait since {seconds} s: {why}"));
        }
        notes
    }
}
