//! What outlives a request: the deny list, and samples on their way.

use std::time::Duration;

use policy::{Answer, CalloutError, Effects, Keeper, KeeperCx, Level, Sample, Time};
use watchlist::{Followed, Follower, Unusable, Watchlist};
use wire::lists::ListName;

use crate::config::Config;
use crate::metric::DenyMetric;
use crate::sampler::Sampler;

/// How often the list is looked after. It is asked for every `wire::lists::POLL_MS`, with jitter.
const TICK: Duration = Duration::from_millis(100);
const GAUGES_EVERY: Duration = Duration::from_secs(1);

const LIST: u32 = 0;
const SAMPLES: u32 = 1;

/// The memory of one configuration in one worker.
#[derive(Debug)]
pub struct DenyKeeper {
    pub(crate) deny: Watchlist,
    pub(crate) sampler: Sampler,
    /// Where user agents are written in lower case.
    pub(crate) scratch: String,
    follower: Follower,
    /// Why the list last could not be followed: said once.
    trouble: Option<Unusable>,
    ignored: u64,
    gauges: Option<Time>,
}

impl Keeper<Config, DenyMetric> for DenyKeeper {
    fn new(config: &Config, now: Time) -> Self {
        Self {
            deny: Watchlist::new(config.list_capacity, now),
            sampler: Sampler::new(config.sampling.buffer),
            scratch: String::new(),
            follower: Follower::new(ListName::Deny),
            trouble: None,
            ignored: 0,
            gauges: None,
        }
    }

    fn tick_every(config: &Config) -> Option<Duration> {
        config.lists.as_ref().map(|_| TICK)
    }

    fn on_tick(&mut self, cx: &mut KeeperCx<'_, Config, DenyMetric>) {
        let Some(service) = &cx.config.lists else {
            return;
        };
        self.deny.sweep(cx.now);
        if let Some(callout) = self.follower.poll(service, cx.now) {
            cx.calls.push((LIST, callout));
        }
        let every = cx.config.sampling.every;
        if let Some(callout) = self.sampler.send(every, service, cx.now) {
            cx.calls.push((SAMPLES, callout));
        }
        if self
            .gauges
            .is_none_or(|last| cx.now < last || cx.now.since(last) >= GAUGES_EVERY)
        {
            self.gauges = Some(cx.now);
            self.show(cx.now, cx.effects);
        }
    }

    fn on_answer(
        &mut self,
        tag: u32,
        answer: Result<Answer<'_>, CalloutError>,
        cx: &mut KeeperCx<'_, Config, DenyMetric>,
    ) {
        if tag == SAMPLES {
            self.sampler.sent(answer, cx.now, cx.effects);
            return;
        }
        let result = self.follower.take(answer, cx.now, &mut self.deny);
        self.note(result, cx.now, cx.effects);
    }
}

impl DenyKeeper {
    /// Counts what an answer did, and logs when that changes.
    fn note(
        &mut self,
        result: Result<Followed, Unusable>,
        now: Time,
        effects: &mut Effects<DenyMetric>,
    ) {
        let result = match result {
            Ok(Followed::Unchanged) => "unchanged",
            Ok(Followed::Changed(_) | Followed::Complete(_)) => "changed",
            Err(unusable) => {
                effects.count(match unusable {
                    Unusable::Silent(reason) => DenyMetric::ListFailures { reason },
                    Unusable::BadPage(reason) => DenyMetric::BadPages { reason },
                });
                if self.trouble != Some(unusable) {
                    self.trouble = Some(unusable);
                    let line = format!(
                        "fingerprint_deny: the deny list cannot be followed ({}); version {} with {} entries serves on",
                        unusable.reason(),
                        self.follower.version(),
                        self.deny.len()
                    );
                    effects.log(Level::Warn, line);
                }
                return;
            }
        };
        effects.count(DenyMetric::ListPolls { result });
        if self.trouble.take().is_some() {
            effects.log(
                Level::Info,
                "fingerprint_deny: the deny list is followed again",
            );
        }
        if result == "changed" {
            self.show(now, effects);
        }
    }

    fn show(&mut self, now: Time, effects: &mut Effects<DenyMetric>) {
        let entries = u64::try_from(self.deny.len()).unwrap_or(u64::MAX);
        effects.record(DenyMetric::ListEntries, entries);
        effects.record(DenyMetric::ListVersion, self.follower.version());
        if let Some(age) = self.follower.age(now) {
            effects.record(DenyMetric::ListAge, age.as_secs());
        }
        let ignored = self.deny.ignored().saturating_sub(self.ignored);
        if ignored > 0 {
            self.ignored = self.deny.ignored();
            effects.samples.push(Sample {
                metric: DenyMetric::ListIgnored,
                value: ignored,
            });
        }
    }
}
