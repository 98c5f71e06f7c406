//! What a gateway runs as one module.

use std::time::Duration;

use crate::Policy;
use crate::callout::{Answer, Callout, CalloutError};
use crate::config::{ConfigErrors, Loaded};
use crate::event::Event;
use crate::guard::{Guard, Lent};
use crate::head::Head;
use crate::keeper::{Keeper, KeeperCx};
use crate::metric::Metric;
use crate::phases::Phases;
use crate::series::Series;
use crate::time::Time;
use crate::verdict::Verdict;

/// One guarded [`Policy`], or a [`Chain`](crate::Chain) of them. Drivers run filters, so that both
/// are run alike.
pub trait Filter: Sized + 'static {
    /// The name of the `.wasm` file and of log lines.
    const NAME: &'static str;
    /// Which callbacks of the gateway it needs.
    const PHASES: Phases;
    /// Whether [`Policy::WAITS`] of any policy in it: else it asks less of its gateway.
    const WAITS: bool;
    /// The whole configuration, checked.
    type Config: 'static;
    /// Memory per configuration and worker.
    type Keeper: 'static;
    type Metric: Metric;
    /// One request on its way through.
    type Request: 'static;

    /// Reads the JSON text that the gateway passes on.
    fn load(text: &[u8]) -> Result<Self::Config, ConfigErrors>;

    /// What is counted from the start.
    fn series(config: &Self::Config) -> Series<Self::Metric>;

    fn keeper(config: &Self::Config, now: Time) -> Self::Keeper;

    /// How often [`Filter::on_tick`] wants to be called.
    fn tick_every(config: &Self::Config) -> Option<Duration>;

    /// Time has passed.
    fn on_tick(keeper: &mut Self::Keeper, cx: &mut KeeperCx<'_, Self::Config, Self::Metric>);

    /// A callout that a tick asked for has ended.
    fn on_answer(
        keeper: &mut Self::Keeper,
        tag: u32,
        answer: Result<Answer<'_>, CalloutError>,
        cx: &mut KeeperCx<'_, Self::Config, Self::Metric>,
    );

    /// A request that has not been looked at yet; `stream` is the gateway's number of it.
    fn request(stream: u32) -> Self::Request;

    /// Decides, as [`Policy::on_request`] does.
    fn on_request(request: &mut Self::Request, event: Event<'_>, lent: Lent<'_, Self>) -> Verdict;

    /// The headers as they are by now: those that came, with the edits made so far in this filter.
    fn head<'a>(request: &'a Self::Request, came: &'a Head) -> &'a Head;

    /// Whether the body may still be wanted when the request has been held for something else.
    fn may_read_body(request: &Self::Request, config: &Self::Config) -> bool;

    /// [`Policy::hold`] of whoever holds the request.
    fn hold(request: &Self::Request, config: &Self::Config, time: Duration) -> Option<Callout>;

    /// How much of the response matters: [`Phases::RESPONSE`], [`Phases::RESPONSE_STATUS`] or nothing.
    /// `answered` when the response is this filter's own reply.
    fn watches_response(request: &Self::Request, answered: bool) -> Phases;

    /// The response is about to leave.
    fn on_response(request: &mut Self::Request, response: &Head, lent: Lent<'_, Self>);

    /// The request is over, or its client has gone.
    fn on_done(request: &mut Self::Request, lent: Lent<'_, Self>);
}

impl<P: Policy> Filter for P {
    const NAME: &'static str = P::NAME;
    const PHASES: Phases = P::PHASES;
    const WAITS: bool = P::WAITS;
    type Config = Loaded<P::Config>;
    type Keeper = P::Keeper;
    type Metric = P::Metric;
    type Request = Guard<P>;

    fn load(text: &[u8]) -> Result<Self::Config, ConfigErrors> {
        Loaded::parse(text)
    }

    fn series(config: &Self::Config) -> Series<Self::Metric> {
        let mut series = Series::new();
        series.add::<P>(config, |metric| metric);
        series
    }

    fn keeper(config: &Self::Config, now: Time) -> Self::Keeper {
        <P::Keeper as Keeper<_, _>>::new(&config.policy, now)
    }

    fn tick_every(config: &Self::Config) -> Option<Duration> {
        P::Keeper::tick_every(&config.policy)
    }

    fn on_tick(keeper: &mut Self::Keeper, cx: &mut KeeperCx<'_, Self::Config, Self::Metric>) {
        keeper.on_tick(&mut cx.of_policy());
    }

    fn on_answer(
        keeper: &mut Self::Keeper,
        tag: u32,
        answer: Result<Answer<'_>, CalloutError>,
        cx: &mut KeeperCx<'_, Self::Config, Self::Metric>,
    ) {
        keeper.on_answer(tag, answer, &mut cx.of_policy());
    }

    fn request(stream: u32) -> Guard<P> {
        Guard::new(stream)
    }

    fn on_request(request: &mut Guard<P>, event: Event<'_>, lent: Lent<'_, P>) -> Verdict {
        request.on_request(event, lent)
    }

    fn head<'a>(_: &'a Guard<P>, came: &'a Head) -> &'a Head {
        came
    }

    fn may_read_body(_: &Guard<P>, _: &Self::Config) -> bool {
        false
    }

    fn hold(_: &Guard<P>, config: &Self::Config, time: Duration) -> Option<Callout> {
        P::hold(&config.policy, time)
    }

    fn watches_response(request: &Guard<P>, answered: bool) -> Phases {
        if answered {
            Phases::NONE
        } else {
            request.watches_response()
        }
    }

    fn on_response(request: &mut Guard<P>, response: &Head, lent: Lent<'_, P>) {
        request.on_response(response, lent);
    }

    fn on_done(request: &mut Guard<P>, lent: Lent<'_, P>) {
        request.on_done(lent);
    }
}

impl<C, M> KeeperCx<'_, Loaded<C>, M> {
    fn of_policy(&mut self) -> KeeperCx<'_, C, M> {
        KeeperCx {
            config: &self.config.policy,
            now: self.now,
            effects: &mut *self.effects,
            calls: &mut *self.calls,
        }
    }
}
