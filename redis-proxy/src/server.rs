//! The process: store, listener, timers, reload, shutdown.

use std::{
    future::{Future, ready},
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    time::{MissedTickBehavior, interval, timeout},
};

use crate::{
    config::{Config, Flags, StoreConfig},
    control::{Control, Parts},
    edge::{Edge, EdgeStore, embedded::Embedded as EmbeddedLists, redis::RedisLists},
    http::{State, router},
    listener,
    quota::{QuotaStore, Quotas, embedded::Embedded as EmbeddedQuotas, redis::RedisQuotas},
    store::{
        Store,
        embedded::{Embedded, steady_clock},
        redis::RedisStore,
    },
    traces::Traces,
};

/// Forgotten keys of the embedded store leave memory this often.
const SWEEP: Duration = Duration::from_secs(5);
/// The configuration file is looked at this often.
const LOOK: Duration = Duration::from_secs(1);

/// For the last spans to be sent.
const LAST_SPANS: Duration = Duration::from_secs(3);

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// Runs until SIGTERM or SIGINT, then lets open requests end.
///
/// # Errors
/// The store cannot be opened or the address not be bound.
pub async fn run(flags: Flags, config: Config) -> Result<(), AnyError> {
    let stop = stop_signal()?;
    // Before anybody can know that it runs: a signal without a handler ends it.
    let file = match flags.config.clone() {
        Some(path) => Some((path, signal(SignalKind::hangup())?)),
        None => None,
    };
    let store = open(&config)?;
    let edge = open_edge(&config).await?;
    let quotas = open_quotas(&config).await?;
    let state = State::new(&config, store, edge, quotas);
    let listener = TcpListener::bind(config.listen).await?;
    let control = control(&config, &state).await?;
    tracing::info!(listen = %listener.local_addr()?, store = ?kind(&config.store), "serving");

    tokio::spawn(adapt(Arc::clone(&state), config.adaptive_interval));
    if let Some((path, hangup)) = file {
        tokio::spawn(reload(Arc::clone(&state), flags, path, hangup));
    }
    let (stopping, stopped) = watch::channel(false);
    let stop = async {
        stop.await;
        tracing::info!("draining");
        let _ = stopping.send(true);
    };
    let (traces, sending) = match config.traces.clone() {
        None => (None, None),
        Some(settings) => {
            let (traces, sending) = Traces::start(settings, &state.metrics);
            (Some(traces), Some(sending))
        }
    };
    let routes = router(state, &config, traces);
    let plain = |stream| ready(Ok((stream, ())));
    let filters = listener::serve(
        listener,
        plain,
        routes,
        config.bounds,
        wait(stopped.clone()),
    );
    let people = async {
        if let Some(control) = control {
            control.serve(wait(stopped)).await;
        }
    };
    tokio::join!(stop, filters, people);
    if let Some(sending) = sending {
        // Connections that were cut off may still hold a route.
        let _ = timeout(LAST_SPANS, sending.end()).await;
    }
    Ok(())
}

async fn wait(mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

async fn control(config: &Config, state: &State) -> Result<Option<Control>, AnyError> {
    let Some(settings) = &config.control else {
        return Ok(None);
    };
    let parts = Parts {
        edge: Arc::clone(&state.edge),
        fingerprints: Arc::clone(&state.fingerprints),
        clock: Arc::clone(&state.clock),
        request_timeout: config.request_timeout.saturating_add(config.edge.timeout),
        bounds: config.bounds,
    };
    let control = Control::bind(settings, parts).await?;
    tracing::info!(listen = %control.address()?, "control API serving");
    Ok(Some(control))
}

fn open(config: &Config) -> Result<Arc<dyn Store>, AnyError> {
    match &config.store {
        StoreConfig::Embedded { path, max_keys } => {
            let clock = steady_clock();
            let store = match path {
                Some(path) => Embedded::open(path, *max_keys, config.budget, clock)?,
                None => Embedded::in_memory(*max_keys, config.budget, clock),
            };
            let store = Arc::new(store);
            tokio::spawn(sweep(Arc::downgrade(&store)));
            Ok(store)
        }
        StoreConfig::Redis(settings) => Ok(Arc::new(RedisStore::start(
            settings,
            config.prefix.clone(),
        )?)),
    }
}

async fn open_edge(config: &Config) -> Result<Arc<Edge>, AnyError> {
    let settings = &config.edge;
    let (bounds, budget, clock) = (settings.bounds, settings.timeout, steady_clock());
    let store: Arc<dyn EdgeStore> = match (&config.store, &settings.path) {
        (StoreConfig::Redis(redis), _) => {
            Arc::new(RedisLists::start(redis, &settings.prefix, bounds, budget)?)
        }
        (StoreConfig::Embedded { .. }, Some(path)) => {
            Arc::new(EmbeddedLists::open(path, bounds, budget, clock)?)
        }
        (StoreConfig::Embedded { .. }, None) => {
            Arc::new(EmbeddedLists::in_memory(bounds, budget, clock)?)
        }
    };
    Ok(Edge::start(store, settings.clone()).await?)
}

async fn open_quotas(config: &Config) -> Result<Arc<Quotas>, AnyError> {
    let settings = &config.quota;
    let (keep, most) = (settings.keep, settings.max_tenants);
    let store: Arc<dyn QuotaStore> = match (&config.store, &settings.path) {
        (StoreConfig::Redis(redis), _) => {
            let (prefix, budget) = (&settings.prefix, settings.timeout);
            Arc::new(RedisQuotas::start(redis, prefix, keep, budget)?)
        }
        (StoreConfig::Embedded { .. }, Some(path)) => {
            Arc::new(EmbeddedQuotas::open(path, most, keep, steady_clock())?)
        }
        (StoreConfig::Embedded { .. }, None) => {
            Arc::new(EmbeddedQuotas::in_memory(most, keep, steady_clock()))
        }
    };
    Ok(Quotas::start(store, settings).await?)
}

fn kind(store: &StoreConfig) -> &'static str {
    match store {
        StoreConfig::Embedded { path: None, .. } => "embedded, memory",
        StoreConfig::Embedded { path: Some(_), .. } => "embedded, file",
        StoreConfig::Redis(settings) if settings.cluster => "redis cluster",
        StoreConfig::Redis(_) => "redis",
    }
}

async fn sweep(store: std::sync::Weak<Embedded>) {
    let mut ticks = interval(SWEEP);
    loop {
        ticks.tick().await;
        let Some(store) = store.upgrade() else { return };
        store.sweep();
    }
}

async fn adapt(state: Arc<State>, every: Duration) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Some(adaptive) = state.adaptive().as_mut() {
            adaptive.tick();
        }
    }
}

/// Reads tiers and adaptive settings again when the file changes, and on SIGHUP. A bad file changes nothing.
async fn reload(state: Arc<State>, flags: Flags, path: PathBuf, mut hangup: Signal) {
    let changed = |path: &PathBuf| {
        std::fs::metadata(path)
            .ok()
            .map(|m| (m.modified().unwrap_or(SystemTime::UNIX_EPOCH), m.len()))
    };
    let mut seen = changed(&path);
    loop {
        let asked = timeout(LOOK, hangup.recv()).await.is_ok();
        let now = changed(&path);
        if !asked && now == seen {
            continue;
        }
        seen = now;
        match Config::load(&flags) {
            Ok(config) => {
                state.metrics.reloads.inc();
                tracing::info!(
                    revision = config.live.tiers.revision,
                    "configuration read again"
                );
                state.apply(config.live);
            }
            Err(errors) => {
                state.metrics.reload_failures.inc();
                for error in errors.to_string().lines() {
                    tracing::error!(error, "configuration refused, the old one stays");
                }
            }
        }
    }
}

fn stop_signal() -> Result<impl Future<Output = ()> + Send + 'static, std::io::Error> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
