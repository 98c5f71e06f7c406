//! What outlives a request: what is known of tenants, and the questions of ticks.

use std::rc::Rc;
use std::time::Duration;

use policy::{Answer, CalloutError, Effects, Keeper, KeeperCx, Level, Service, Time};
use wire::quota::MAX_TENANTS;

use crate::config::Config;
use crate::lookup;
use crate::metric::QuotaMetric;
use crate::tenants::Tenants;

/// Tenants that are due are asked about with the next tick.
const TICK: Duration = Duration::from_millis(100);
/// Questions that one tick asks at most, each about [`MAX_TENANTS`].
const CALLS: usize = 4;
/// Tenants without a known quota that one tick asks about at most.
const OTHERS: usize = MAX_TENANTS;
/// An answer is waited for a little longer than the gateway does.
const SLACK: Duration = Duration::from_millis(50);
const GAUGES_EVERY: Duration = Duration::from_secs(1);
/// After a question without an answer nobody asks for so long, doubling to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The memory of one configuration in one worker.
#[derive(Debug)]
pub struct QuotaKeeper {
    pub(crate) tenants: Tenants,
    silence: Option<Silence>,
    /// Questions of ticks that are under way.
    calls: Vec<(u32, Vec<Rc<str>>)>,
    next_call: u32,
    gauges: Option<Time>,
}

/// redis-proxy did not answer.
#[derive(Debug)]
struct Silence {
    /// When it did not, or was last asked again.
    since: Time,
    /// From then until it is asked again.
    pause: Duration,
    /// The tenant to ask about where none is due.
    about: Rc<str>,
}

/// How long anybody waits for a question that is under way.
pub(crate) fn patience(proxy: &Service) -> Duration {
    proxy.timeout().saturating_add(SLACK)
}

impl Keeper<Config, QuotaMetric> for QuotaKeeper {
    fn new(config: &Config, _: Time) -> Self {
        Self {
            tenants: Tenants::new(config.capacity),
            silence: None,
            calls: Vec::new(),
            next_call: 0,
            gauges: None,
        }
    }

    fn tick_every(_: &Config) -> Option<Duration> {
        Some(TICK)
    }

    fn on_tick(&mut self, cx: &mut KeeperCx<'_, Config, QuotaMetric>) {
        let (proxy, now) = (&cx.config.proxy, cx.now);
        if self.may_ask(now) {
            let mut due = self.tenants.due(MAX_TENANTS.saturating_mul(CALLS), OTHERS);
            if let Some(silence) = &mut self.silence {
                silence.since = now;
                silence.pause = silence.pause.saturating_mul(2).min(LONGEST_PAUSE);
                if due.is_empty() {
                    due.push(Rc::clone(&silence.about));
                }
            }
            for tenants in due.chunks(MAX_TENANTS) {
                let Some(callout) = lookup::ask(tenants, proxy) else {
                    continue;
                };
                self.tenants.asked(tenants, now.plus(patience(proxy)));
                let tag = self.next_call;
                self.next_call = self.next_call.wrapping_add(1);
                self.calls.push((tag, tenants.to_vec()));
                cx.calls.push((tag, callout));
                cx.effects.count(QuotaMetric::Lookups { by: "tick" });
            }
        }
        if self
            .gauges
            .is_none_or(|last| now < last || now.since(last) >= GAUGES_EVERY)
        {
            self.gauges = Some(now);
            let tenants = u64::try_from(self.tenants.len()).unwrap_or(u64::MAX);
            cx.effects.record(QuotaMetric::Tenants, tenants);
            let up = u64::from(!self.is_silent());
            cx.effects.record(QuotaMetric::ProxyUp, up);
        }
    }

    fn on_answer(
        &mut self,
        tag: u32,
        answer: Result<Answer<'_>, CalloutError>,
        cx: &mut KeeperCx<'_, Config, QuotaMetric>,
    ) {
        if let Some(at) = self.calls.iter().position(|(call, _)| *call == tag) {
            let (_, tenants) = self.calls.swap_remove(at);
            self.settle(&tenants, answer, cx.now, cx.effects);
        }
    }
}

impl QuotaKeeper {
    /// Whether the last question had no answer. Requests do not ask then: a tick does, after a pause.
    pub(crate) const fn is_silent(&self) -> bool {
        self.silence.is_some()
    }

    fn may_ask(&self, now: Time) -> bool {
        self.silence
            .as_ref()
            .is_none_or(|it| now < it.since || now.since(it.since) >= it.pause)
    }

    /// Takes the end of a question, whoever asked.
    pub(crate) fn settle(
        &mut self,
        tenants: &[Rc<str>],
        answer: Result<Answer<'_>, CalloutError>,
        now: Time,
        effects: &mut Effects<QuotaMetric>,
    ) {
        effects.wake = true;
        match lookup::read(answer, tenants.len()) {
            Ok(quotas) => {
                if self.silence.take().is_some() {
                    effects.record(QuotaMetric::ProxyUp, 1);
                    effects.log(Level::Info, "quota: redis-proxy answers again");
                }
                for (tenant, quota) in tenants.iter().zip(quotas) {
                    let is_over = quota.as_ref().is_some_and(|quota| quota.is_used_up());
                    let said = quota.as_ref().filter(|_| is_over).map(|quota| {
                        format!(
                            "quota: tenant {tenant} has used {} of {} until {}",
                            quota.used, quota.limit, quota.reset_at
                        )
                    });
                    let before = self.tenants.told(tenant, quota, now);
                    let was_over = before.is_some_and(|quota| quota.is_used_up());
                    if let Some(line) = said.filter(|_| !was_over) {
                        effects.log(Level::Warn, line);
                    }
                }
            }
            Err(reason) => {
                effects.count(QuotaMetric::Failures { reason });
                self.tenants.unanswered(tenants);
                let Some(about) = tenants.first().filter(|_| self.silence.is_none()) else {
                    return;
                };
                effects.record(QuotaMetric::ProxyUp, 0);
                let line = format!("quota: redis-proxy does not answer ({reason})");
                effects.log(Level::Warn, line);
                self.silence = Some(Silence {
                    since: now,
                    pause: FIRST_PAUSE,
                    about: Rc::clone(about),
                });
            }
        }
    }
}
