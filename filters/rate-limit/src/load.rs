//! How the upstreams fare, and by how much limits shrink for it (R19).

use std::rc::Rc;
use std::time::Duration;

use policy::{Answer, Callout, CalloutError, Service, Time};
use wire::load::{FULL, LOAD_PATH, LoadReply, LoadReport, UpstreamFactors, UpstreamLoad};

const REPORT_EVERY: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(1);
const MAX_ANSWER: usize = 1024 * 1024;

/// What this worker saw since its last report, and the factors of now. By the index of the upstream.
#[derive(Debug)]
pub(crate) struct Load {
    seen: Vec<Seen>,
    factors: Vec<UpstreamFactors>,
    rests: Option<(Time, Time)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    requests: u64,
    failures: u64,
    latency: Duration,
}

impl Load {
    pub fn new(upstreams: usize) -> Self {
        Self {
            seen: vec![Seen::default(); upstreams],
            factors: Vec::new(),
            rests: None,
        }
    }

    /// An upstream, or the gateway in its place, has answered with this status after so long.
    pub fn note(&mut self, upstream: usize, status: Option<u16>, took: Duration) {
        if let Some(seen) = self.seen.get_mut(upstream) {
            let failed = status.is_none_or(|status| status >= 500);
            seen.requests = seen.requests.saturating_add(1);
            seen.failures = seen.failures.saturating_add(u64::from(failed));
            seen.latency = seen.latency.saturating_add(took);
        }
    }

    /// The report, if it is time for one.
    pub fn report(&mut self, names: &[Rc<str>], proxy: &Service, now: Time) -> Option<Callout> {
        if names.is_empty() {
            return None;
        }
        if let Some((from, until)) = self.rests
            && from <= now
            && now < until
        {
            return None;
        }
        self.rests = Some((now, now.plus(REPORT_EVERY)));
        let upstreams = names
            .iter()
            .zip(&mut self.seen)
            .filter(|(_, seen)| seen.requests > 0)
            .map(|(name, seen)| {
                let seen = std::mem::take(seen);
                UpstreamLoad {
                    upstream: name.to_string(),
                    requests: seen.requests,
                    failures: seen.failures,
                    latency_ms_sum: u64::try_from(seen.latency.as_millis()).unwrap_or(u64::MAX),
                }
            })
            .collect();
        let body = serde_json::to_vec(&LoadReport { upstreams }).ok()?;
        let mut callout = proxy.callout("POST", LOAD_PATH, body, MAX_ANSWER);
        callout.timeout = TIMEOUT;
        Some(callout)
    }

    /// Takes the end of a report. The last factors stay when no others came.
    pub fn store(&mut self, answer: Result<Answer<'_>, CalloutError>) -> bool {
        let reply = answer
            .ok()
            .filter(|answer| answer.status == 200)
            .and_then(|answer| policy::json::read::<LoadReply>(answer.body).ok());
        match reply {
            Some(reply) => {
                self.factors = reply.factors;
                true
            }
            None => false,
        }
    }

    /// The factor of a tier at an upstream, thousandths.
    pub fn permille(&self, upstream: &str, tier: &str) -> u32 {
        self.factors
            .iter()
            .find(|factors| factors.upstream == upstream)
            .map_or(FULL, |factors| factors.permille(tier))
    }
}
