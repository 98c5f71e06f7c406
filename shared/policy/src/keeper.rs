//! Memory per configuration and worker: caches, lists, leases.

use std::time::Duration;

use crate::callout::{Answer, Callout, CalloutError};
use crate::effects::Effects;
use crate::metric::Metric;
use crate::time::Time;

/// The same idea as a policy, for what outlives a request. Background work is asked for here and
/// nowhere else, because both gateways allow it only from a tick.
pub trait Keeper<C, M: Metric>: Sized + 'static {
    /// The keeper of a configuration that was just loaded.
    fn new(config: &C, now: Time) -> Self;

    /// How often [`Keeper::on_tick`] wants to be called.
    fn tick_every(_config: &C) -> Option<Duration> {
        None
    }

    /// Time has passed. May ask for callouts.
    fn on_tick(&mut self, _cx: &mut KeeperCx<'_, C, M>) {}

    /// A callout that this keeper asked for under `tag` has ended.
    fn on_answer(
        &mut self,
        _tag: u32,
        _answer: Result<Answer<'_>, CalloutError>,
        _cx: &mut KeeperCx<'_, C, M>,
    ) {
    }
}

/// For policies that remember nothing.
impl<C, M: Metric> Keeper<C, M> for () {
    fn new(_config: &C, _now: Time) -> Self {}
}

/// What a keeper is handed.
pub struct KeeperCx<'a, C, M> {
    pub config: &'a C,
    pub now: Time,
    pub effects: &'a mut Effects<M>,
    /// Callouts to make, each under a tag of the keeper's choice. Only from [`Keeper::on_tick`].
    pub calls: &'a mut Vec<(u32, Callout)>,
}
