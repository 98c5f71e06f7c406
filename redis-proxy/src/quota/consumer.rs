//! The way from NATS JetStream to the store (Q1).
//!
//! A durable pull consumer: an event is acknowledged when the store has it, so that it comes again if anything
//! dies in between; that changes nothing, for the store keeps the newest. Several redis-proxy on one Redis share
//! the consumer and its events. What makes no sense is sent to the dead-letter subject, with the reason in its
//! headers, and only then terminated. While the store is away events wait, here and in the stream.

use std::{
    future::IntoFuture as _,
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_nats::jetstream::{
    self, AckKind, ErrorCode, Message,
    consumer::{AckPolicy, DeliverPolicy, pull},
    context::GetStreamErrorKind,
    message::PublishMessage,
    stream::{Config, StorageType, Stream},
};
use futures_util::StreamExt as _;
use tokio::time::{sleep, timeout};

use super::{
    Health,
    event::{self, Dead},
    metrics::QuotaMetrics,
    record::Record,
    store::{Put, QuotaStore},
};
use crate::nats::{self, PATIENCE, Server};

/// Events stored at a time.
const BATCH: usize = 256;
/// Events that may be unacknowledged at a time.
const MAX_UNACKNOWLEDGED: i64 = 2_048;
/// A pull waits so long for events; NATS gives a sign of life in between.
const PULL: Duration = Duration::from_secs(20);
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Pauses after a failure: this, doubling to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// An event that could not be sent to the dead-letter subject comes again after this.
const DEAD_AGAIN: Duration = Duration::from_secs(5);
/// How long JetStream remembers message ids in a stream that is made here.
const DUPLICATES: Duration = Duration::from_secs(600);

/// Where events come from.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How to reach NATS.
    pub server: Server,
    /// The subject of the events.
    pub subject: String,
    /// The subject of those that make no sense; a stream must take it.
    pub dead_subject: String,
    /// The stream that has the events.
    pub stream: String,
    /// Make the stream if it is not there, with both subjects.
    pub create_stream: bool,
    /// The name of the consumer. redis-proxies with the same name share the events.
    pub durable: String,
    /// An event that is not acknowledged in this time comes again, to whoever asks.
    pub ack_wait: Duration,
    /// How far `last_updated` may be ahead of this machine's clock.
    pub max_ahead: Duration,
}

/// Takes events for as long as the process lives. Does not wait for NATS.
///
/// # Errors
/// The credentials make no sense.
pub async fn start(
    settings: Settings,
    store: Arc<dyn QuotaStore>,
    metrics: QuotaMetrics,
    health: Arc<Health>,
) -> Result<(), std::io::Error> {
    health.connected(false);
    let (shown, noted) = (metrics.clone(), Arc::clone(&health));
    let client = nats::connect(&settings.server, move |connected| {
        shown.nats_connected(connected);
        noted.connected(connected);
        if connected {
            tracing::info!("NATS is there for quota events");
        } else {
            tracing::warn!("NATS is not there: quota events do not come");
        }
    })
    .await?;
    let consumer = Consumer {
        context: nats::context(client),
        settings,
        store,
        metrics,
        health,
    };
    tokio::spawn(consumer.run());
    Ok(())
}

struct Consumer {
    context: jetstream::Context,
    settings: Settings,
    store: Arc<dyn QuotaStore>,
    metrics: QuotaMetrics,
    health: Arc<Health>,
}

impl Consumer {
    async fn run(self) {
        let mut pause = PAUSE;
        loop {
            let Err((why, worked)) = self.consume().await;
            if worked {
                pause = PAUSE;
            }
            self.metrics.interrupted();
            self.health.is_in_trouble(&why);
            tracing::warn!(%why, "quota events wait");
            sleep(pause).await;
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
    }

    /// Takes events until something fails: why, and whether any was taken.
    async fn consume(&self) -> Result<std::convert::Infallible, (String, bool)> {
        let failed = |error: &dyn std::fmt::Display| (error.to_string(), false);
        let stream = self.stream().await.map_err(|why| (why, false))?;
        let consumer = self.consumer(&stream).await.map_err(|why| (why, false))?;
        let messages = consumer
            .stream()
            .max_messages_per_batch(BATCH)
            .expires(PULL)
            .heartbeat(HEARTBEAT)
            .messages()
            .await
            .map_err(|error| failed(&error))?;
        self.health.is_well();
        tracing::info!(subject = self.settings.subject, "quota events are taken");
        let mut batches = messages.ready_chunks(BATCH);
        let mut worked = false;
        while let Some(batch) = batches.next().await {
            let mut taken = Vec::with_capacity(batch.len());
            let mut failure = None;
            for message in batch {
                match message {
                    Ok(message) => taken.push(message),
                    Err(error) => failure = Some(error.to_string()),
                }
            }
            worked |= !taken.is_empty();
            self.take(taken).await;
            if let Some(why) = failure {
                return Err((why, worked));
            }
        }
        Err(("the stream of events ended".to_owned(), worked))
    }

    /// The stream, made if it may be.
    async fn stream(&self) -> Result<Stream, String> {
        let Settings {
            stream,
            create_stream,
            subject,
            dead_subject,
            ..
        } = &self.settings;
        match self.context.get_stream(stream).await {
            Ok(stream) => Ok(stream),
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(why)
                    if why.error_code() == ErrorCode::STREAM_NOT_FOUND && *create_stream =>
                {
                    tracing::info!(stream, "the stream of quota events is made");
                    let wanted = Config {
                        name: stream.clone(),
                        subjects: vec![subject.clone(), dead_subject.clone()],
                        storage: StorageType::File,
                        duplicate_window: DUPLICATES,
                        ..Config::default()
                    };
                    let made = self.context.create_stream(wanted).await;
                    made.map_err(|error| error.to_string())
                }
                _ => Err(error.to_string()),
            },
        }
    }

    /// The durable consumer. One that is there is taken as it is, if it is for this subject.
    async fn consumer(
        &self,
        stream: &Stream,
    ) -> Result<jetstream::consumer::Consumer<pull::Config>, String> {
        let Settings {
            durable, subject, ..
        } = &self.settings;
        let wanted = pull::Config {
            durable_name: Some(durable.clone()),
            description: Some("redis-proxy: quota events to the store".to_owned()),
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::Explicit,
            ack_wait: self.settings.ack_wait,
            max_ack_pending: MAX_UNACKNOWLEDGED,
            filter_subject: subject.clone(),
            ..pull::Config::default()
        };
        let consumer = stream
            .get_or_create_consumer(durable, wanted)
            .await
            .map_err(|error| error.to_string())?;
        let config = &consumer.cached_info().config;
        if config.filter_subject != *subject || config.ack_policy != AckPolicy::Explicit {
            return Err(format!(
                "the consumer {durable} is there and not for {subject} with explicit acknowledgement"
            ));
        }
        Ok(consumer)
    }

    /// Stores what can be, sends the rest to the dead-letter subject, and acknowledges each.
    async fn take(&self, messages: Vec<Message>) {
        let mut good: Vec<(Message, Record)> = Vec::with_capacity(messages.len());
        for message in messages {
            match event::read(&message.payload, now_ms(), self.settings.max_ahead) {
                Ok(record) => good.push((message, record)),
                Err(dead) => self.bury(&message, dead).await,
            }
        }
        let (messages, records): (Vec<Message>, Vec<Record>) = good.into_iter().unzip();
        if messages.is_empty() {
            return;
        }
        let puts = self.store(&messages, &records).await;
        self.metrics.lags(oldest(&messages));
        if let Some(info) = messages.last().and_then(|last| last.info().ok()) {
            self.metrics.waiting(info.pending);
        }
        for (message, put) in messages.iter().zip(puts) {
            match put {
                Put::Occupied => self.bury(message, Dead::Occupied).await,
                Put::Full => self.bury(message, Dead::Full).await,
                put => {
                    if put == Put::Conflict {
                        tracing::warn!(
                            "two quota events of one tenant and time differ: the first stays"
                        );
                    }
                    self.metrics.put(put);
                    if let Err(error) = message.ack().await {
                        // It comes again, as a duplicate.
                        tracing::warn!(%error, "a quota event was not acknowledged");
                    }
                }
            }
        }
    }

    /// Stores the records, as often as it takes.
    async fn store(&self, messages: &[Message], records: &[Record]) -> Vec<Put> {
        let mut pause = PAUSE;
        let mut waits = false;
        loop {
            match self.store.put(records).await {
                Ok(puts) => {
                    if waits {
                        tracing::info!("quota events are stored again");
                        self.health.is_well();
                    }
                    return puts;
                }
                Err(failure) => {
                    self.metrics.failed(failure);
                    if !waits {
                        tracing::warn!(%failure, "quota events wait for the store");
                        self.metrics.interrupted();
                    }
                    waits = true;
                    self.health.is_in_trouble(&failure.to_string());
                }
            }
            self.metrics.lags(oldest(messages));
            // So that nobody else is sent them meanwhile, who would wait for the same store.
            for message in messages {
                let _ = message.ack_with(AckKind::Progress).await;
            }
            sleep(pause).await;
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
    }

    /// Sends an event to the dead-letter subject and ends it. If that fails it comes again: none is lost.
    async fn bury(&self, message: &Message, dead: Dead) {
        let sent = self.send_dead(message, dead).await;
        let ended = match &sent {
            Ok(()) => {
                self.metrics.dead(dead);
                tracing::warn!(
                    reason = dead.code(),
                    "a quota event makes no sense: see the dead-letter subject"
                );
                message.ack_with(AckKind::Term).await
            }
            Err(why) => {
                self.metrics.dead_failed();
                tracing::error!(
                    why,
                    subject = self.settings.dead_subject,
                    "the dead-letter subject takes nothing"
                );
                message.ack_with(AckKind::Nak(Some(DEAD_AGAIN))).await
            }
        };
        if let Err(error) = ended {
            tracing::warn!(%error, "a quota event was not ended");
        }
    }

    async fn send_dead(&self, message: &Message, dead: Dead) -> Result<(), String> {
        let mut letter = PublishMessage::build()
            .payload(message.payload.clone())
            .header("Portcullis-Reason", dead.code())
            .header("Portcullis-Detail", dead.detail())
            .header("Portcullis-Subject", message.subject.as_str());
        if let Ok(info) = message.info() {
            // The same event, if it comes again, is the same letter.
            let id = format!("dead-{}-{}", info.stream, info.stream_sequence);
            let sequence = info.stream_sequence.to_string();
            letter = letter
                .message_id(id)
                .header("Portcullis-Sequence", sequence.as_str());
        }
        let subject = self.settings.dead_subject.clone();
        let sent = self.context.send_publish(subject, letter).await;
        let acknowledged = sent.map_err(|error| error.to_string())?;
        match timeout(PATIENCE, acknowledged.into_future()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("not acknowledged in time".to_owned()),
        }
    }
}

/// The age of the oldest.
fn oldest(messages: &[Message]) -> Duration {
    let now = SystemTime::now();
    let age = |message: &Message| {
        let published: SystemTime = message.info().ok()?.published.into();
        now.duration_since(published).ok()
    };
    messages.iter().filter_map(age).max().unwrap_or_default()
}

fn now_ms() -> u64 {
    let since_1970 = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}
