//! The way from the outbox to NATS JetStream (C2).
//!
//! An event leaves the outbox when JetStream has acknowledged it: at least once, whatever dies in between. The
//! `Nats-Msg-Id` is the change's, so JetStream drops what comes twice within its duplicate window. Several
//! redis-proxy on one Redis all publish; that costs traffic and nothing else.

use std::{
    future::IntoFuture as _,
    path::PathBuf,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_nats::{
    ServerAddr,
    jetstream::{
        self, ErrorCode,
        context::GetStreamErrorKind,
        message::PublishMessage,
        stream::{Config, StorageType},
    },
};
use futures_util::future::join_all;
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use wire::{lists::ListName, upstream_failures::UpstreamFailure};

use super::{
    event::{self, Event, UpstreamFailed},
    metrics::EdgeMetrics,
    store::{Change, EdgeStore},
};
use crate::{
    nats::{self, PATIENCE, Server},
    secret::Secret,
};

/// Events published at a time.
const BATCH: usize = 256;
/// The outbox is looked at this often if nobody says that it has something: others fill it, too.
const LOOK: Duration = Duration::from_millis(500);
/// Pauses after a failure: this, doubling to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How long JetStream remembers message ids in a stream that is made here.
const DUPLICATES: Duration = Duration::from_secs(600);

/// How to reach NATS.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `nats://` or `tls://`, without credentials.
    pub urls: Vec<ServerAddr>,
    /// The content of a `.creds` file: JWT and seed.
    pub credentials: Option<Secret>,
    /// PEM file of certificate authorities; the system's when `None`.
    pub ca: Option<PathBuf>,
    /// The stream that takes the events.
    pub stream: String,
    /// Make the stream if it is not there.
    pub create_stream: bool,
    /// What subjects start with, the final dot included; empty: nothing.
    pub subject_prefix: String,
}

impl Settings {
    /// How to reach NATS, for others who do.
    #[must_use]
    pub fn server(&self) -> Server {
        Server {
            urls: self.urls.clone(),
            credentials: self.credentials.clone(),
            ca: self.ca.clone(),
        }
    }
}

/// Publishes for as long as the store lives.
pub struct Publisher {
    context: jetstream::Context,
    settings: Settings,
    metrics: EdgeMetrics,
    /// The stream was looked at since the last failure.
    checked: AtomicBool,
}

impl Publisher {
    /// Does not wait for NATS: until it is there, events wait in the outbox.
    ///
    /// # Errors
    /// The credentials make no sense.
    pub async fn start(
        settings: Settings,
        store: &Arc<dyn EdgeStore>,
        lists: [(ListName, Arc<Notify>); 3],
        metrics: EdgeMetrics,
    ) -> Result<Arc<Self>, std::io::Error> {
        let told = metrics.clone();
        let client = nats::connect(&settings.server(), move |connected| {
            told.nats_connected(connected);
            if connected {
                tracing::info!("NATS is there");
            } else {
                tracing::warn!("NATS is not there: events wait");
            }
        })
        .await?;
        let context = nats::context(client);
        let publisher = Arc::new(Self {
            context,
            settings,
            metrics,
            checked: AtomicBool::new(false),
        });
        for (list, filled) in lists {
            let publisher = Arc::clone(&publisher);
            tokio::spawn(publisher.run(list, Arc::downgrade(store), filled));
        }
        Ok(publisher)
    }

    /// Publishes an event that is kept by whoever saw it, until this returns `Ok`: then JetStream has it.
    ///
    /// # Errors
    /// Why JetStream did not acknowledge it. It may have it all the same; told again with the same id, it is there once.
    pub async fn tell(&self, failure: &UpstreamFailure) -> Result<(), String> {
        self.check_stream().await?;
        let event = UpstreamFailed::new(failure);
        let payload = serde_json::to_vec(&event).map_err(|e| e.to_string())?;
        let subject = format!("{}{}", self.settings.subject_prefix, event::UPSTREAM_FAILED);
        let message = PublishMessage::build()
            .payload(payload.into())
            .message_id(&failure.id)
            .expected_stream(&self.settings.stream)
            .header("Content-Type", event::MEDIA_TYPE);
        let sent = self.context.send_publish(subject, message).await;
        let acknowledged = sent.map_err(|e| e.to_string())?.into_future();
        match timeout(PATIENCE, acknowledged).await {
            Ok(Ok(_)) => {
                self.metrics.told(event::UPSTREAM_FAILED);
                Ok(())
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("not acknowledged in time".to_owned()),
        }
        .inspect_err(|_| {
            self.checked.store(false, Ordering::Relaxed);
            self.metrics.not_published();
        })
    }

    async fn run(self: Arc<Self>, list: ListName, store: Weak<dyn EdgeStore>, filled: Arc<Notify>) {
        let mut pause = PAUSE;
        loop {
            let Some(strong) = store.upgrade() else {
                return;
            };
            let ended = self.drain(list, &*strong).await;
            drop(strong);
            match ended {
                Ok(()) => {
                    pause = PAUSE;
                    let _ = timeout(LOOK, filled.notified()).await;
                }
                Err(why) => {
                    self.checked.store(false, Ordering::Relaxed);
                    self.metrics.not_published();
                    tracing::warn!(%list, %why, "events wait");
                    sleep(pause).await;
                    pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Publishes until the outbox is empty.
    async fn drain(&self, list: ListName, store: &dyn EdgeStore) -> Result<(), String> {
        loop {
            let waiting = store.waiting(list).await.map_err(|e| e.to_string())?;
            self.metrics.waiting(list, waiting);
            if waiting == 0 {
                return Ok(());
            }
            let pending = store
                .pending(list, BATCH)
                .await
                .map_err(|e| e.to_string())?;
            self.check_stream().await?;
            let (delivered, failure) = self.publish(&pending).await;
            if !delivered.is_empty() {
                store
                    .delivered(list, &delivered)
                    .await
                    .map_err(|e| e.to_string())?;
            }
            if let Some(why) = failure {
                return Err(why);
            }
        }
    }

    /// Sends all, then waits for each acknowledgement. What was acknowledged, and why not all.
    async fn publish(&self, pending: &[Change]) -> (Vec<String>, Option<String>) {
        let mut delivered = Vec::new();
        let mut failure = None;
        let mut sent = Vec::new();
        for change in pending {
            let Some((kind, event)) = Event::new(change) else {
                delivered.push(change.id.clone());
                continue;
            };
            let payload = match serde_json::to_vec(&event) {
                Ok(payload) => payload,
                Err(error) => {
                    failure = Some(error.to_string());
                    break;
                }
            };
            let subject = format!("{}{kind}", self.settings.subject_prefix);
            let message = PublishMessage::build()
                .payload(payload.into())
                .message_id(&change.id)
                .expected_stream(&self.settings.stream)
                .header("Content-Type", event::MEDIA_TYPE);
            match self.context.send_publish(subject, message).await {
                Ok(acknowledged) => sent.push((change, acknowledged)),
                Err(error) => {
                    failure = Some(error.to_string());
                    break;
                }
            }
        }
        // All at once: when NATS went, each would take the whole patience.
        let acknowledged = sent.into_iter().map(|(change, acknowledged)| async move {
            let ended = timeout(PATIENCE, acknowledged.into_future()).await;
            (change, ended)
        });
        for (change, ended) in join_all(acknowledged).await {
            match ended {
                Ok(Ok(_)) => {
                    self.metrics.published(change);
                    delivered.push(change.id.clone());
                }
                Ok(Err(error)) => failure = Some(error.to_string()),
                Err(_) => failure = Some("not acknowledged in time".to_owned()),
            }
        }
        (delivered, failure)
    }

    /// Makes or looks at the stream, once after each failure.
    async fn check_stream(&self) -> Result<(), String> {
        if self.checked.load(Ordering::Relaxed) {
            return Ok(());
        }
        let Settings {
            stream,
            create_stream,
            subject_prefix,
            ..
        } = &self.settings;
        let config = match self.context.get_stream(stream).await {
            Ok(stream) => stream.cached_info().config.clone(),
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(why)
                    if why.error_code() == ErrorCode::STREAM_NOT_FOUND && *create_stream =>
                {
                    tracing::info!(stream, "the stream is made");
                    let wanted = Config {
                        name: stream.clone(),
                        subjects: ["edge.>", "kong.mtls.>"]
                            .map(|subjects| format!("{subject_prefix}{subjects}"))
                            .to_vec(),
                        storage: StorageType::File,
                        duplicate_window: DUPLICATES,
                        num_replicas: 1,
                        ..Config::default()
                    };
                    let made = self.context.get_or_create_stream(wanted).await;
                    made.map_err(|e| e.to_string())?
                        .cached_info()
                        .config
                        .clone()
                }
                _ => return Err(format!("stream {stream:?}: {error}")),
            },
        };
        for kind in event::KINDS {
            let subject = format!("{subject_prefix}{kind}");
            if !config.subjects.iter().any(|of| covers(of, &subject)) {
                return Err(format!("stream {stream:?} does not take {subject}"));
            }
        }
        if config.storage != StorageType::File {
            tracing::error!(
                stream,
                "the stream is in memory: it loses events with its NATS"
            );
        }
        self.checked.store(true, Ordering::Relaxed);
        Ok(())
    }
}

/// Whether a subject with `*` and `>` takes another one.
fn covers(pattern: &str, subject: &str) -> bool {
    let mut patterns = pattern.split('.');
    let mut tokens = subject.split('.');
    loop {
        match (patterns.next(), tokens.next()) {
            (None, None) => return true,
            (Some(">"), Some(_)) => return true,
            (Some(pattern), Some(token)) if pattern == "*" || pattern == token => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_matched_as_nats_does() {
        for (pattern, covers_it) in [
            ("edge.deny.added.v1", true),
            ("edge.>", true),
            (">", true),
            ("edge.*.added.*", true),
            ("edge.*.*", false),
            ("edge.deny.added.v1.>", false),
            ("edge.tarpit.>", false),
            ("prod.edge.>", false),
        ] {
            assert_eq!(
                covers(pattern, "edge.deny.added.v1"),
                covers_it,
                "{pattern}"
            );
        }
    }
}
