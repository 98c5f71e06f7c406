//! The links of a chain, as a list of types: `(First, (Second, ()))`.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::{Map, Value};

use super::tags::Tags;
use crate::Policy;
use crate::callout::{Answer, Callout, CalloutError};
use crate::config::Loaded;
use crate::effects::{Effects, HeaderEdit};
use crate::event::Event;
use crate::guard::{Guard, Lent};
use crate::head::Head;
use crate::host::Host;
use crate::keeper::{Keeper, KeeperCx};
use crate::metric::{Kind, Metric, NoMetric, Sample};
use crate::phases::Phases;
use crate::series::Series;
use crate::time::Time;
use crate::verdict::Verdict;

/// The policies of a chain. Made by [`links!`](crate::links).
pub trait Links: 'static {
    const PHASES: Phases;
    const WAITS: bool;
    type Configs: 'static;
    type Keepers: 'static;
    type Metric: Metric;
    type Requests: 'static;

    fn names() -> Vec<&'static str>;

    /// Takes each link's section out. `None` if one was wrong.
    fn load(
        sections: &mut Map<String, Value>,
        errors: &mut Vec<(String, String)>,
    ) -> Option<Self::Configs>;

    #[doc(hidden)]
    fn series<M>(configs: &Self::Configs, series: &mut Series<M>, wrap: impl Fn(Self::Metric) -> M);

    fn keepers(configs: &Self::Configs, now: Time) -> Self::Keepers;

    /// As often as the most impatient wants.
    fn tick_every(configs: &Self::Configs) -> Option<Duration>;

    fn requests(stream: u32) -> Self::Requests;

    #[doc(hidden)]
    fn on_tick<M>(
        keepers: &mut Self::Keepers,
        configs: &Self::Configs,
        ticking: &mut Ticking<'_, M>,
        index: usize,
        wrap: impl Fn(Self::Metric) -> M,
    );

    #[doc(hidden)]
    fn on_answer<M>(
        keepers: &mut Self::Keepers,
        configs: &Self::Configs,
        answer: (usize, u32, Result<Answer<'_>, CalloutError>),
        ticking: &mut Ticking<'_, M>,
        index: usize,
        wrap: impl Fn(Self::Metric) -> M,
    );

    #[doc(hidden)]
    fn on_request<M>(
        requests: &mut Self::Requests,
        configs: &Self::Configs,
        keepers: &mut Self::Keepers,
        event: Event<'_>,
        pass: &mut Pass<'_, M>,
        wrap: impl Fn(Self::Metric) -> M,
    ) -> Verdict;

    fn may_read_body(requests: &Self::Requests, configs: &Self::Configs) -> bool;

    fn hold(requests: &Self::Requests, configs: &Self::Configs, time: Duration) -> Option<Callout>;

    fn watches_response(requests: &Self::Requests) -> Phases;

    #[doc(hidden)]
    fn on_response<M>(
        requests: &mut Self::Requests,
        configs: &Self::Configs,
        keepers: &mut Self::Keepers,
        back: &mut Return<'_, M>,
        wrap: impl Fn(Self::Metric) -> M,
    );

    #[doc(hidden)]
    fn on_done<M>(
        requests: &mut Self::Requests,
        configs: &Self::Configs,
        keepers: &mut Self::Keepers,
        pass: &mut Pass<'_, M>,
        wrap: impl Fn(Self::Metric) -> M,
    );
}

/// A request on its way in.
pub struct Pass<'a, M> {
    pub now: Time,
    pub host: &'a dyn Host,
    pub came: &'a Head,
    pub edited: &'a mut Option<Head>,
    pub effects: &'a mut Effects<M>,
}

/// A response on its way out.
pub struct Return<'a, M> {
    pub now: Time,
    pub host: &'a dyn Host,
    pub request: &'a Head,
    pub came: &'a Head,
    pub edited: Option<Head>,
    /// How many of the edits so far are in `edited`: they are made when a further link looks.
    pub made: usize,
    pub effects: &'a mut Effects<M>,
}

/// What keepers are handed, and what they ask for.
pub struct Ticking<'a, M> {
    pub now: Time,
    pub slack: Duration,
    pub effects: &'a mut Effects<M>,
    pub calls: &'a mut Vec<(u32, Callout)>,
    pub tags: &'a mut Tags,
}

/// A keeper in a chain, with its sinks.
pub struct Own<P: Policy> {
    keeper: P::Keeper,
    effects: Effects<P::Metric>,
    calls: Vec<(u32, Callout)>,
    ticked: Option<Time>,
}

/// A link's part of a request.
pub struct LinkRequest<P> {
    guard: Guard<P>,
    stage: Stage,
}

/// How far a request is with a link.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Ahead,
    /// It waits here.
    Here,
    Passed,
    /// It was answered here.
    Denied,
}

/// A metric of this link, or of one behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Either<A, B> {
    First(A),
    Rest(B),
}

impl<A: Metric, B: Metric> Metric for Either<A, B> {
    const SUMS: bool = A::SUMS || B::SUMS;

    fn known(&self) -> bool {
        match self {
            Self::First(metric) => metric.known(),
            Self::Rest(metric) => metric.known(),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            // What the policy did not announce is a gauge for it.
            Self::First(metric) if metric.kind() == Kind::Sum && !A::SUMS => Kind::Gauge,
            Self::First(metric) => metric.kind(),
            Self::Rest(metric) => metric.kind(),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::First(metric) => metric.name(),
            Self::Rest(metric) => metric.name(),
        }
    }

    fn labels(&self) -> Vec<(&'static str, Cow<'static, str>)> {
        match self {
            Self::First(metric) => metric.labels(),
            Self::Rest(metric) => metric.labels(),
        }
    }
}

impl Links for () {
    const PHASES: Phases = Phases::NONE;
    const WAITS: bool = false;
    type Configs = ();
    type Keepers = ();
    type Metric = NoMetric;
    type Requests = ();

    fn names() -> Vec<&'static str> {
        Vec::new()
    }

    fn load(_: &mut Map<String, Value>, _: &mut Vec<(String, String)>) -> Option<()> {
        Some(())
    }

    fn series<M>((): &(), _: &mut Series<M>, _: impl Fn(NoMetric) -> M) {}

    fn keepers((): &(), _: Time) {}

    fn tick_every((): &()) -> Option<Duration> {
        None
    }

    fn requests(_: u32) {}

    fn on_tick<M>(
        (): &mut (),
        (): &(),
        _: &mut Ticking<'_, M>,
        _: usize,
        _: impl Fn(NoMetric) -> M,
    ) {
    }

    fn on_answer<M>(
        (): &mut (),
        (): &(),
        _: (usize, u32, Result<Answer<'_>, CalloutError>),
        _: &mut Ticking<'_, M>,
        _: usize,
        _: impl Fn(NoMetric) -> M,
    ) {
    }

    fn on_request<M>(
        (): &mut (),
        (): &(),
        (): &mut (),
        _: Event<'_>,
        _: &mut Pass<'_, M>,
        _: impl Fn(NoMetric) -> M,
    ) -> Verdict {
        Verdict::Allow
    }

    fn may_read_body((): &(), (): &()) -> bool {
        false
    }

    fn hold((): &(), (): &(), _: Duration) -> Option<Callout> {
        None
    }

    fn watches_response((): &()) -> Phases {
        Phases::NONE
    }

    fn on_response<M>(
        (): &mut (),
        (): &(),
        (): &mut (),
        _: &mut Return<'_, M>,
        _: impl Fn(NoMetric) -> M,
    ) {
    }

    fn on_done<M>(
        (): &mut (),
        (): &(),
        (): &mut (),
        _: &mut Pass<'_, M>,
        _: impl Fn(NoMetric) -> M,
    ) {
    }
}

impl<P: Policy, R: Links> Links for (P, R) {
    const PHASES: Phases = P::PHASES.with(R::PHASES);
    const WAITS: bool = P::WAITS || R::WAITS;
    type Configs = (Option<Loaded<P::Config>>, R::Configs);
    type Keepers = (Option<Own<P>>, R::Keepers);
    type Metric = Either<P::Metric, R::Metric>;
    type Requests = (LinkRequest<P>, R::Requests);

    fn names() -> Vec<&'static str> {
        let mut names = vec![P::NAME];
        names.extend(R::names());
        names
    }

    fn load(
        sections: &mut Map<String, Value>,
        errors: &mut Vec<(String, String)>,
    ) -> Option<Self::Configs> {
        let own = match sections.remove(P::NAME).map(Loaded::read) {
            None => Some(None),
            Some(Ok(config)) => Some(Some(config)),
            Some(Err(found)) => {
                errors.extend(
                    found
                        .iter()
                        .map(|(path, problem)| (under(P::NAME, path), problem.to_owned())),
                );
                None
            }
        };
        let rest = R::load(sections, errors);
        own.zip(rest)
    }

    fn series<M>(
        (config, rest): &Self::Configs,
        series: &mut Series<M>,
        wrap: impl Fn(Self::Metric) -> M,
    ) {
        if let Some(config) = config {
            series.add::<P>(config, |metric| wrap(Either::First(metric)));
        }
        R::series(rest, series, |metric| wrap(Either::Rest(metric)));
    }

    fn keepers(configs: &Self::Configs, now: Time) -> Self::Keepers {
        let own = configs.0.as_ref().map(|config| Own {
            keeper: <P::Keeper as Keeper<_, _>>::new(&config.policy, now),
            effects: Effects::default(),
            calls: Vec::new(),
            ticked: None,
        });
        (own, R::keepers(&configs.1, now))
    }

    fn tick_every(configs: &Self::Configs) -> Option<Duration> {
        let own = own_tick::<P>(configs.0.as_ref());
        let rest = R::tick_every(&configs.1);
        own.into_iter().chain(rest).min()
    }

    fn requests(stream: u32) -> Self::Requests {
        let own = LinkRequest {
            guard: Guard::new(stream),
            stage: Stage::Ahead,
        };
        (own, R::requests(stream))
    }

    fn on_tick<M>(
        keepers: &mut Self::Keepers,
        configs: &Self::Configs,
        ticking: &mut Ticking<'_, M>,
        index: usize,
        wrap: impl Fn(Self::Metric) -> M,
    ) {
        if let (Some(config), Some(own)) = (&configs.0, &mut keepers.0)
            && let Some(every) = own_tick::<P>(Some(config))
            && own.is_due(every, ticking)
        {
            own.ticked = Some(ticking.now);
            own.keep(
                config,
                ticking,
                index,
                |m| wrap(Either::First(m)),
                |k, cx| {
                    k.on_tick(cx);
                },
            );
        }
        let next = index.saturating_add(1);
        R::on_tick(&mut keepers.1, &configs.1, ticking, next, |m| {
            wrap(Either::Rest(m))
        });
    }

    fn on_answer<M>(
        keepers: &mut Self::Keepers,
        configs: &Self::Configs,
        answer: (usize, u32, Result<Answer<'_>, CalloutError>),
        ticking: &mut Ticking<'_, M>,
        index: usize,
        wrap: impl Fn(Self::Metric) -> M,
    ) {
        if answer.0 != index {
            let next = index.saturating_add(1);
            R::on_answer(&mut keepers.1, &configs.1, answer, ticking, next, |m| {
                wrap(Either::Rest(m))
            });
        } else if let (Some(config), Some(own)) = (&configs.0, &mut keepers.0) {
            let (_, tag, answer) = answer;
            own.keep(
                config,
                ticking,
                index,
                |m| wrap(Either::First(m)),
                |k, cx| {
                    k.on_answer(tag, answer, cx);
                },
            );
        }
    }

    fn on_request<M>(
        requests: &mut Self::Requests,
        configs: &Self::Configs,
        keepers: &mut Self::Keepers,
        event: Event<'_>,
        pass: &mut Pass<'_, M>,
        wrap: impl Fn(Self::Metric) -> M,
    ) -> Verdict {
        let mut event = event;
        let (own, rest) = requests;
        if let (Some(config), Some(keeper)) = (&configs.0, &mut keepers.0)
            && own.stage != Stage::Passed
        {
            let request = pass.edited.as_ref().unwrap_or(pass.came);
            let lent = keeper.lend(config, request, pass.now, pass.host);
            let verdict = own.guard.on_request(event, lent);
            edit(pass.came, pass.edited, &keeper.effects.headers);
            hand_on(&mut keeper.effects, pass.effects, |m| {
                wrap(Either::First(m))
            });
            own.stage = match &verdict {
                Verdict::Allow => Stage::Passed,
                Verdict::Deny(_) => Stage::Denied,
                _ => Stage::Here,
            };
            if verdict != Verdict::Allow {
                return verdict;
            }
            event = Event::Headers;
        }
        R::on_request(rest, &configs.1, &mut keepers.1, event, pass, |m| {
            wrap(Either::Rest(m))
        })
    }

    fn may_read_body(requests: &Self::Requests, configs: &Self::Configs) -> bool {
        let own = requests.0.stage == Stage::Ahead
            && P::PHASES.has(Phases::REQUEST_BODY)
            && (configs.0.as_ref()).is_some_and(|config| P::reads_body(&config.policy));
        own || R::may_read_body(&requests.1, &configs.1)
    }

    fn hold(requests: &Self::Requests, configs: &Self::Configs, time: Duration) -> Option<Callout> {
        match &configs.0 {
            Some(config) if requests.0.stage == Stage::Here => P::hold(&config.policy, time),
            _ => R::hold(&requests.1, &configs.1, time),
        }
    }

    fn watches_response(requests: &Self::Requests) -> Phases {
        let rest = R::watches_response(&requests.1);
        if requests.0.is_there() {
            rest.with(requests.0.guard.watches_response())
        } else {
            rest
        }
    }

    fn on_response<M>(
        requests: &mut Self::Requests,
        configs: &Self::Configs,
        keepers: &mut Self::Keepers,
        back: &mut Return<'_, M>,
        wrap: impl Fn(Self::Metric) -> M,
    ) {
        let (own, rest) = requests;
        R::on_response(rest, &configs.1, &mut keepers.1, back, |m| {
            wrap(Either::Rest(m))
        });
        if let (Some(config), Some(keeper)) = (&configs.0, &mut keepers.0)
            && own.is_there()
            // A response that was replaced does not come by here, as in a gateway.
            && back.effects.replacement.is_none()
            && own.guard.watches_response() != Phases::NONE
        {
            let lent = keeper.lend(config, back.request, back.now, back.host);
            own.guard.on_response(back.response(), lent);
            hand_on(&mut keeper.effects, back.effects, |m| {
                wrap(Either::First(m))
            });
        }
    }

    fn on_done<M>(
        requests: &mut Self::Requests,
        configs: &Self::Configs,
        keepers: &mut Self::Keepers,
        pass: &mut Pass<'_, M>,
        wrap: impl Fn(Self::Metric) -> M,
    ) {
        let (own, rest) = requests;
        if let (Some(config), Some(keeper)) = (&configs.0, &mut keepers.0)
            && own.stage != Stage::Ahead
        {
            let request = pass.edited.as_ref().unwrap_or(pass.came);
            let lent = keeper.lend(config, request, pass.now, pass.host);
            own.guard.on_done(lent);
            hand_on(&mut keeper.effects, pass.effects, |m| {
                wrap(Either::First(m))
            });
        }
        R::on_done(rest, &configs.1, &mut keepers.1, pass, |m| {
            wrap(Either::Rest(m))
        });
    }
}

impl<P> LinkRequest<P> {
    /// The response comes by here: the request has been here and was not answered here.
    fn is_there(&self) -> bool {
        matches!(self.stage, Stage::Here | Stage::Passed)
    }
}

impl<P: Policy> Own<P> {
    /// What the link's guard is lent for one event; its effects stay here.
    fn lend<'a>(
        &'a mut self,
        config: &'a Loaded<P::Config>,
        request: &'a Head,
        now: Time,
        host: &'a dyn Host,
    ) -> Lent<'a, P> {
        Lent {
            config,
            keeper: &mut self.keeper,
            request,
            now,
            host,
            effects: &mut self.effects,
        }
    }

    /// Whether so much time has passed since the last tick, or cannot be told.
    fn is_due<M>(&self, every: Duration, ticking: &Ticking<'_, M>) -> bool {
        self.ticked.is_none_or(|ticked| {
            ticking.now < ticked || ticking.now.since(ticked).saturating_add(ticking.slack) >= every
        })
    }

    /// Lets the keeper work and takes what it asks for.
    fn keep<M>(
        &mut self,
        config: &Loaded<P::Config>,
        ticking: &mut Ticking<'_, M>,
        index: usize,
        wrap: impl Fn(P::Metric) -> M,
        work: impl FnOnce(&mut P::Keeper, &mut KeeperCx<'_, P::Config, P::Metric>),
    ) {
        let mut cx = KeeperCx {
            config: &config.policy,
            now: ticking.now,
            effects: &mut self.effects,
            calls: &mut self.calls,
        };
        work(&mut self.keeper, &mut cx);
        for (tag, callout) in self.calls.drain(..) {
            ticking.calls.push((ticking.tags.give(index, tag), callout));
        }
        hand_on(&mut self.effects, ticking.effects, wrap);
    }
}

impl<M> Return<'_, M> {
    /// The response with the edits of the links behind.
    fn response(&mut self) -> &Head {
        let edits = &self.effects.headers;
        edit(
            self.came,
            &mut self.edited,
            edits.get(self.made..).unwrap_or_default(),
        );
        self.made = edits.len();
        self.edited.as_ref().unwrap_or(self.came)
    }
}

/// Lets further links see these edits.
fn edit(came: &Head, edited: &mut Option<Head>, edits: &[HeaderEdit]) {
    if edits.is_empty() {
        return;
    }
    let head = edited.get_or_insert_with(|| came.editable());
    for edit in edits {
        head.edit(edit);
    }
}

/// Empties one link's sink into that of the chain.
fn hand_on<N, M>(from: &mut Effects<N>, to: &mut Effects<M>, wrap: impl Fn(N) -> M) {
    to.headers.append(&mut from.headers);
    to.outcomes.append(&mut from.outcomes);
    to.waits.append(&mut from.waits);
    to.logs.append(&mut from.logs);
    to.samples.extend(
        from.samples
            .drain(..)
            .map(|Sample { metric, value }| Sample {
                metric: wrap(metric),
                value,
            }),
    );
    to.wake |= std::mem::take(&mut from.wake);
    if let Some(reply) = from.replacement.take() {
        to.headers.clear();
        to.replacement = Some(reply);
    }
}

fn own_tick<P: Policy>(config: Option<&Loaded<P::Config>>) -> Option<Duration> {
    if P::PHASES.has(Phases::TICK) {
        P::Keeper::tick_every(&config?.policy)
    } else {
        None
    }
}

/// The path in the whole configuration.
fn under(section: &str, path: &str) -> String {
    if path.is_empty() {
        section.to_owned()
    } else {
        format!("{section}.{path}")
    }
}
