//! What outlives a request: keys, verified tokens, API keys, failures.

use std::time::Duration;

use policy::{Answer, CalloutError, Keeper, KeeperCx, Time};

use crate::api_key::KeyMemory;
use crate::config::Config;
use crate::failures::FailureCounts;
use crate::key_source::KeySource;
use crate::metric::AuthMetric;
use crate::verified::VerifiedTokens;

/// How often the keeper looks at its keys and those who waited too long are woken.
const TICK: Duration = Duration::from_millis(50);

/// The memory of one configuration in one worker.
#[derive(Debug)]
pub struct AuthKeeper {
    /// By the index of the provider.
    pub(crate) sources: Vec<KeySource>,
    pub(crate) tokens: VerifiedTokens,
    pub(crate) api_keys: Option<KeyMemory>,
    pub(crate) failures: Option<FailureCounts>,
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
    }

    fn on_answer(
        &mut self,
        tag: u32,
        answer: Result<Answer<'_>, CalloutError>,
        cx: &mut KeeperCx<'_, Config, AuthMetric>,
    ) {
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
