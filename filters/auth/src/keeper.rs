//! What outlives a request: keys, verified tokens, API keys, failures, revocations.

use std::time::Duration;

use policy::{Answer, CalloutError, Keeper, KeeperCx, Level, Sample, Service, Time};
use watchlist::Follower;
use wire::lists::ListName;

use crate::api_key::KeyMemory;
use crate::config::Config;
use crate::failures::FailureCounts;
use crate::key_source::KeySource;
use crate::metric::AuthMetric;
use crate::verified::VerifiedTokens;

/// How often the keeper looks at its keys and those who waited too long are woken.
const TICK: Duration = Duration::from_millis(50);
/// The callout for the list of revoked keys. Providers are numbered from 0.
const REVOCATIONS: u32 = u32::MAX;

/// The memory of one configuration in one worker.
#[derive(Debug)]
pub struct AuthKeeper {
    /// By the index of the provider.
    pub(crate) sources: Vec<KeySource>,
    pub(crate) tokens: VerifiedTokens,
    pub(crate) api_keys: Option<KeyMemory>,
    pub(crate) failures: Option<FailureCounts>,
    revocations: Follower,
    /// Why the list of revoked keys could not be had the last time, so that it is said once.
    trouble: Option<&'static str>,
}

impl Keeper<Config, AuthMetric> for AuthKeeper {
    fn new(config: &Config, _now: Time) -> Self {
        Self {
            sources: config
                .providers
                .iter()
                .map(|_| KeySource::default())
                .collect(),
            tokens: VerifiedTokens::new(config.token_cache),
            api_keys: config.api_keys.as_ref().map(KeyMemory::new),
            failures: config.failures.as_ref().map(FailureCounts::new),
            revocations: Follower::new(ListName::Revoked),
            trouble: None,
        }
    }

    fn tick_every(_: &Config) -> Option<Duration> {
        Some(TICK)
    }

    fn on_tick(&mut self, cx: &mut KeeperCx<'_, Config, AuthMetric>) {
        let sources = self.sources.iter_mut().zip(&cx.config.providers);
        for (tag, (source, provider)) in (0_u32..).zip(sources) {
            if source.is_due(&provider.jwks, cx.now) {
                cx.calls.push((tag, source.fetch(&provider.jwks, cx.now)));
            }
        }
        if let Some(service) = revocations(cx.config)
            && let Some(callout) = self.revocations.poll(service, cx.now)
        {
            cx.calls.push((REVOCATIONS, callout));
        }
    }

    fn on_answer(
        &mut self,
        tag: u32,
        answer: Result<Answer<'_>, CalloutError>,
        cx: &mut KeeperCx<'_, Config, AuthMetric>,
    ) {
        if tag == REVOCATIONS {
            self.take_revocations(answer, cx);
            return;
        }
        let Ok(index) = usize::try_from(tag) else {
            return;
        };
        if let (Some(source), Some(provider)) =
            (self.sources.get_mut(index), cx.config.providers.get(index))
        {
            source.store(answer, provider, cx.now, cx.effects);
        }
    }
}

impl AuthKeeper {
    fn take_revocations(
        &mut self,
        answer: Result<Answer<'_>, CalloutError>,
        cx: &mut KeeperCx<'_, Config, AuthMetric>,
    ) {
        let Some(api_keys) = &mut self.api_keys else {
            return;
        };
        let before = api_keys.revoked();
        let taken = self.revocations.take(answer, cx.now, api_keys);
        let revoked = api_keys.revoked().saturating_sub(before);
        if revoked > 0 {
            cx.effects.samples.push(Sample {
                metric: AuthMetric::KeysRevoked,
                value: revoked,
            });
        }
        let result = match taken {
            Ok(_) => {
                if self.trouble.take().is_some() {
                    let line = "auth: the list of revoked keys can be had again";
                    cx.effects.log(Level::Info, line);
                }
                "ok"
            }
            Err(unusable) => {
                let reason = unusable.reason();
                if self.trouble.replace(reason) != Some(reason) {
                    let line = format!("auth: the list of revoked keys cannot be had ({reason})");
                    cx.effects.log(Level::Warn, line);
                }
                reason
            }
        };
        cx.effects.count(AuthMetric::RevocationPolls { result });
    }
}

/// Where revoked keys are listed, if that is wanted.
fn revocations(config: &Config) -> Option<&Service> {
    config.api_keys.as_ref()?.revocations.as_ref()
}
