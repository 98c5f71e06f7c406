//! What a configuration counts from the start, at zero.
//!
//! A counter that first appears with its first event has no rate before its second. And Kong 3.9 holds the lock of its
//! metrics while it shows them and lets other work of the same worker go on meanwhile: a filter that defines a
//! series at that moment waits for ever, and the worker with it. So all series are defined together with
//! the configuration, before there are requests, but for those whose labels nobody knows by then.

use crate::Policy;
use crate::config::Loaded;
use crate::effects::Outcome;
use crate::metric::exported_name;

/// The series of a filter.
#[derive(Debug)]
pub struct Series<M> {
    /// By the name of the policy.
    pub outcomes: Vec<(&'static str, Outcome)>,
    /// Policies whose requests may wait: each has a histogram, [`exported_wait`].
    pub waits: Vec<&'static str>,
    pub metrics: Vec<M>,
}

/// The name and label of the histogram of how long requests of a policy waited for a service, milliseconds.
#[must_use]
pub fn exported_wait(filter: &'static str) -> String {
    exported_name("portcullis_wait_milliseconds", &[("filter", filter.into())])
}

/// The guard's own refusal.
pub(crate) const TOO_MANY_HEADERS: &str = "too_many_headers";

impl<M> Series<M> {
    #[must_use]
    pub const fn new() -> Self {
        Self {
            outcomes: Vec::new(),
            waits: Vec::new(),
            metrics: Vec::new(),
        }
    }

    /// Adds those of a policy.
    pub fn add<P: Policy>(&mut self, config: &Loaded<P::Config>, wrap: impl Fn(P::Metric) -> M) {
        let refused: fn(&'static str) -> Outcome = if config.guard.shadow {
            Outcome::Shadowed
        } else {
            Outcome::Denied
        };
        if P::WAITS {
            self.waits.push(P::NAME);
        }
        let codes = P::CODES.iter().chain([&TOO_MANY_HEADERS]);
        self.outcomes
            .extend([(P::NAME, Outcome::Allowed), (P::NAME, Outcome::Faulted)]);
        self.outcomes
            .extend(codes.map(|code| (P::NAME, refused(code))));
        self.metrics
            .extend(P::series(&config.policy).into_iter().map(wrap));
    }
}

impl<M> Default for Series<M> {
    fn default() -> Self {
        Self::new()
    }
}
