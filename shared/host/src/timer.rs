//! Requests that wait for time to pass, or for the keeper to change.
//!
//! Only kept where a tick may wake a request; elsewhere nothing is ever held here.

use std::collections::BTreeSet;

use policy::Time;

/// Replies and resumptions in one callback. Envoy nests what follows them on its stack: 400 in one
/// tick overflow it.
pub const MAX_WOKEN: usize = 32;

/// The waiting requests of one configuration, by deadline.
#[derive(Default)]
pub struct Timer {
    asleep: BTreeSet<(Time, u32)>,
    awaiting: BTreeSet<(Time, u32)>,
    /// The keeper has changed, and not everyone who awaits that has been woken.
    changed: bool,
}

/// How a request waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    Asleep(Time),
    Awaiting(Time),
}

impl Timer {
    pub fn hold(&mut self, stream: u32, wait: Wait) {
        match wait {
            Wait::Asleep(until) => self.asleep.insert((until, stream)),
            Wait::Awaiting(until) => self.awaiting.insert((until, stream)),
        };
    }

    pub fn release(&mut self, stream: u32, wait: Wait) {
        match wait {
            Wait::Asleep(until) => self.asleep.remove(&(until, stream)),
            Wait::Awaiting(until) => self.awaiting.remove(&(until, stream)),
        };
    }

    /// The keeper has changed.
    pub fn change(&mut self) {
        self.changed = true;
    }

    /// One request that may go on now, taken out. The clock is read only if somebody waits.
    pub fn pop_due(&mut self, clock: impl FnOnce() -> Time) -> Option<u32> {
        if self.asleep.is_empty() && self.awaiting.is_empty() {
            self.changed = false;
            return None;
        }
        let now = clock();
        if self.asleep.first().is_some_and(|(until, _)| *until <= now) {
            return self.asleep.pop_first().map(|(_, stream)| stream);
        }
        let due = self.changed
            || self
                .awaiting
                .first()
                .is_some_and(|(until, _)| *until <= now);
        if !due {
            return None;
        }
        let popped = self.awaiting.pop_first().map(|(_, stream)| stream);
        if self.awaiting.is_empty() {
            self.changed = false;
        }
        popped
    }
}
