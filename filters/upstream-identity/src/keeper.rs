//! Failures on their way to redis-proxy. No request waits for it.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use policy::{
    Answer, Callout, CalloutError, Effects, Keeper, KeeperCx, Level, Sample, Service, Time,
};
use wire::upstream_failures::{
    FailureBatch, MAX_FAILURES, UPSTREAM_FAILURES_PATH, UpstreamFailure,
};

use crate::config::{Config, Route};
use crate::finding::Finding;
use crate::metric::IdentityMetric;

const SEND_EVERY: Duration = Duration::from_secs(1);
/// After a batch that nobody took.
const AFTER_FAILURE: Duration = Duration::from_secs(5);
/// Longest answer that is read.
const MAX_ANSWER: usize = 16 * 1_024;
const EVENTS: u32 = 0;

/// The memory of one configuration in one worker. Failures that are alike are one, with a count, so that an upstream
/// that is wrong for every request makes one event a second and not a thousand.
#[derive(Debug)]
pub struct Failures {
    seed: RandomState,
    made: u64,
    waiting: Vec<(Kind, UpstreamFailure)>,
    /// Failures that found no room since the last batch.
    dropped: u64,
    /// The batch that is under way, or is to be sent again.
    batch: Option<FailureBatch>,
    under_way: bool,
    rests: Option<(Time, Time)>,
    /// redis-proxy did not take the last batch: said once.
    trouble: bool,
}

/// What makes failures alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    /// The number of the route in the configuration.
    pub index: usize,
    pub route: Option<String>,
    pub service: Option<String>,
    pub finding: Finding,
}

impl Keeper<Config, IdentityMetric> for Failures {
    fn new(_: &Config, _: Time) -> Self {
        Self {
            seed: RandomState::new(),
            made: 0,
            waiting: Vec::new(),
            dropped: 0,
            batch: None,
            under_way: false,
            rests: None,
            trouble: false,
        }
    }

    fn tick_every(config: &Config) -> Option<Duration> {
        config.events.as_ref().map(|_| SEND_EVERY)
    }

    fn on_tick(&mut self, cx: &mut KeeperCx<'_, Config, IdentityMetric>) {
        if let Some(service) = &cx.config.events
            && let Some(callout) = self.send(service, cx.now)
        {
            cx.calls.push((EVENTS, callout));
        }
    }

    fn on_answer(
        &mut self,
        _: u32,
        answer: Result<Answer<'_>, CalloutError>,
        cx: &mut KeeperCx<'_, Config, IdentityMetric>,
    ) {
        self.sent(answer.map(|answer| answer.status), cx.now, cx.effects);
    }
}

impl Failures {
    /// Notes a failure.
    pub(crate) fn note(
        &mut self,
        kind: Kind,
        route: &Route,
        now: Time,
        effects: &mut Effects<IdentityMetric>,
    ) {
        let now_ms = now.as_nanos() / 1_000_000;
        if let Some((_, failure)) = self.waiting.iter_mut().find(|(known, _)| *known == kind) {
            failure.count = failure.count.saturating_add(1);
            failure.last_ms = now_ms;
            return;
        }
        if self.waiting.len() >= MAX_FAILURES {
            self.dropped = self.dropped.saturating_add(1);
            effects.count(IdentityMetric::Events { result: "dropped" });
            return;
        }
        let failure = UpstreamFailure {
            id: self.id(now),
            first_ms: now_ms,
            last_ms: now_ms,
            count: 1,
            reason: kind.finding.reason,
            route: kind.route.clone(),
            service: kind.service.clone(),
            expected: (route.expected.iter().map(|id| id.as_str().to_owned())).collect(),
            presented: kind.finding.presented.clone(),
            detail: kind.finding.detail.clone(),
        };
        self.waiting.push((kind, failure));
    }

    /// The batch to send, if it is time for one. One that was not taken comes first, with its ids.
    fn send(&mut self, service: &Service, now: Time) -> Option<Callout> {
        let rests = self
            .rests
            .is_some_and(|(from, until)| from <= now && now < until);
        if rests || self.under_way {
            return None;
        }
        if self.batch.is_none() && !self.waiting.is_empty() {
            self.batch = Some(FailureBatch {
                dropped: std::mem::take(&mut self.dropped),
                failures: (self.waiting.drain(..).map(|(_, failure)| failure)).collect(),
            });
        }
        let body = serde_json::to_vec(self.batch.as_ref()?).ok()?;
        self.under_way = true;
        Some(service.callout("POST", UPSTREAM_FAILURES_PATH, body, MAX_ANSWER))
    }

    /// Takes the end of a batch, as a status. It is kept until it is taken, or refused for good.
    fn sent(
        &mut self,
        ended: Result<u16, CalloutError>,
        now: Time,
        effects: &mut Effects<IdentityMetric>,
    ) {
        self.under_way = false;
        let result = match ended {
            Ok(200..=299) => "sent",
            // Wrong in itself: another time would be no better.
            Ok(400 | 404 | 405 | 413 | 415 | 422) => "lost",
            _ => {
                self.rests = Some((now, now.plus(AFTER_FAILURE)));
                if !std::mem::replace(&mut self.trouble, true) {
                    let line = "upstream_identity: redis-proxy does not take failures: they wait";
                    effects.log(Level::Warn, line);
                }
                return;
            }
        };
        let Some(batch) = self.batch.take() else {
            return;
        };
        self.trouble = result == "lost";
        if self.trouble {
            let line = "upstream_identity: redis-proxy refused a batch of failures";
            effects.log(Level::Warn, line);
        }
        effects.samples.push(Sample {
            metric: IdentityMetric::Events { result },
            value: u64::try_from(batch.failures.len()).unwrap_or(u64::MAX),
        });
    }

    /// An id that no other failure has. A gateway's random numbers may begin alike in its workers, so the time goes in as
    /// well. It proves nothing.
    fn id(&mut self, now: Time) -> String {
        self.made = self.made.wrapping_add(1);
        let mut hasher = self.seed.build_hasher();
        hasher.write_u64(now.as_nanos());
        hasher.write_u64(self.made);
        format!("{:016x}{:016x}", now.as_nanos(), hasher.finish())
    }
}
