//! The HTTP service: one module per resource.

mod health;
mod limits;
mod lists;
mod load;
mod openapi;
pub(crate) mod problem;
mod quota;
mod samples;
mod sleep;
mod tiers;
mod upstream_failures;

use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware::{Next, from_fn, from_fn_with_state},
    response::IntoResponse as _,
    routing::{get, post},
};
use tokio::{sync::Semaphore, time::timeout};
use wire::{
    limits::ACQUIRE_PATH, load::LOAD_PATH, quota::QUOTA_PATH, samples::SAMPLES_PATH,
    tiers::TIERS_PATH, upstream_failures::UPSTREAM_FAILURES_PATH,
};

pub use openapi::document;

use crate::{
    aimd::Adaptive,
    config::Config,
    edge::Edge,
    fingerprints::Fingerprints,
    key::Prefix,
    metrics::Metrics,
    quota::Quotas,
    store::{
        Store,
        embedded::{Clock, steady_clock},
    },
    traces::{self, Traces},
};
use wire::tiers::TierTable;

/// What the handlers share.
pub struct State {
    /// Where tokens are kept.
    pub store: Arc<dyn Store>,
    /// What key names start with.
    pub prefix: Prefix,
    /// The tier table of now, without factors.
    pub tiers: ArcSwap<TierTable>,
    /// The adaptive factors; `None`: off.
    pub adaptive: Mutex<Option<Adaptive>>,
    /// What `/metrics` shows.
    pub metrics: Arc<Metrics>,
    /// Requests to the store served at a time.
    pub permits: Semaphore,
    /// Who is denied, slowed down or revoked.
    pub edge: Arc<Edge>,
    /// How much of its quota each tenant has used.
    pub quotas: Arc<Quotas>,
    /// Who comes by.
    pub fingerprints: Arc<Fingerprints>,
    /// Whether each sample is also a line of the log.
    pub log_samples: bool,
    /// Values of each kind of client that `/metrics` shows.
    pub metrics_top: usize,
    /// Batches of samples read at a time.
    pub batches: Semaphore,
    /// The time.
    pub clock: Clock,
}

impl State {
    /// The state of a fresh process.
    #[must_use]
    pub fn new(
        config: &Config,
        store: Arc<dyn Store>,
        edge: Arc<Edge>,
        quotas: Arc<Quotas>,
    ) -> Arc<Self> {
        let mut metrics = Metrics::new();
        let clock = steady_clock();
        let now_ms = clock().checked_div(1_000).unwrap_or_default();
        let fingerprints = Fingerprints::new(config.fingerprints.counters, now_ms);
        metrics.show(edge.metrics(), quotas.metrics());
        let state = Self {
            store,
            prefix: config.prefix.clone(),
            tiers: ArcSwap::from_pointee(config.live.tiers.clone()),
            adaptive: Mutex::new(None),
            metrics: Arc::new(metrics),
            permits: Semaphore::new(config.max_in_flight.min(Semaphore::MAX_PERMITS)),
            edge,
            quotas,
            fingerprints: Arc::new(fingerprints),
            log_samples: config.fingerprints.log_samples,
            metrics_top: config.fingerprints.metrics_top,
            batches: Semaphore::new(samples::MAX_AT_A_TIME),
            clock,
        };
        state.apply(config.live.clone());
        Arc::new(state)
    }

    /// Takes over what may change while running.
    pub fn apply(&self, live: crate::config::Live) {
        let tiers = live
            .tiers
            .tiers
            .iter()
            .map(|(name, tier)| (tier.rank, name.clone()));
        let mut adaptive = self.adaptive();
        match (live.adaptive, adaptive.as_mut()) {
            (None, _) => *adaptive = None,
            (Some(settings), Some(adaptive)) => adaptive.configure(settings, tiers),
            (Some(settings), None) => *adaptive = Some(Adaptive::new(settings, tiers)),
        }
        drop(adaptive);
        self.tiers.store(Arc::new(live.tiers));
    }

    /// The adaptive factors, locked.
    pub fn adaptive(&self) -> std::sync::MutexGuard<'_, Option<Adaptive>> {
        self.adaptive
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The factors of now.
    #[must_use]
    pub fn factors(&self) -> Vec<wire::load::UpstreamFactors> {
        self.adaptive()
            .as_ref()
            .map(Adaptive::factors)
            .unwrap_or_default()
    }
}

/// The routes.
pub fn router(state: Arc<State>, config: &Config, traces: Option<Traces>) -> Router {
    let patience = config.request_timeout;
    let in_time = move |request, next: Next| async move {
        match timeout(patience, next.run(request)).await {
            Ok(response) => response,
            Err(_) => problem::too_slow().into_response(),
        }
    };
    let samples_limit = DefaultBodyLimit::max(config.max_body_bytes.max(samples::MAX_BODY));
    let failures_limit =
        DefaultBodyLimit::max(config.max_body_bytes.max(upstream_failures::MAX_BODY));
    let routes = Router::new()
        .route(
            UPSTREAM_FAILURES_PATH,
            post(upstream_failures::report).layer(failures_limit),
        )
        .route(SAMPLES_PATH, post(samples::report).layer(samples_limit))
        .route(ACQUIRE_PATH, post(limits::acquire))
        .route(LOAD_PATH, post(load::report))
        .route(TIERS_PATH, get(tiers::table))
        .route(QUOTA_PATH, post(quota::look_up))
        .route(lists::PATH, get(lists::page))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .route("/openapi.json", get(openapi::serve))
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(DefaultBodyLimit::max(config.max_body_bytes))
        .layer(from_fn(in_time))
        .with_state(state)
        .merge(sleep::route(config.bounds.connections / 2));
    match traces {
        None => routes,
        Some(traces) => routes.layer(from_fn_with_state(traces, traces::follow)),
    }
}
