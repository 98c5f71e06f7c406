//! Several policies as one filter: one crossing for each phase of a request, whatever their number.
//!
//! A chain does what the same filters do one after another. Each link has its own section of the
//! configuration, its own guard, keeper, counters and shadow mode; a missing section switches it off.
//! A link sees the headers with the edits of those before it, and decides only if they let the request
//! pass. The response goes back through those who saw the request, the last one first, as in Envoy.

mod links;
mod tags;

use std::marker::PhantomData;
use std::time::Duration;

use serde_json::Value;

use crate::callout::{Answer, Callout, CalloutError};
use crate::config::ConfigErrors;
use crate::event::Event;
use crate::filter::Filter;
use crate::guard::Lent;
use crate::head::Head;
use crate::json;
use crate::keeper::KeeperCx;
use crate::phases::Phases;
use crate::series::Series;
use crate::time::Time;
use crate::verdict::Verdict;

pub use links::{Either, Links};

use links::{Pass, Return, Ticking};
use tags::Tags;

/// What a chain is called and what it is made of.
pub trait Chained: 'static {
    /// The name of the `.wasm` file.
    const NAME: &'static str;
    /// The policies in the order in which requests meet them: [`links!`](crate::links).
    type Links: Links;
}

/// The filter that runs the links of `C`.
pub struct Chain<C>(PhantomData<C>);

/// The policies of a chain, in order: `links![EdgeHeaders, Auth]`.
#[macro_export]
macro_rules! links {
    ($($policy:ty),* $(,)?) => { $crate::links!(@nest $($policy),*) };
    (@nest) => { () };
    (@nest $first:ty $(, $rest:ty)*) => { ($first, $crate::links!(@nest $($rest),*)) };
}

/// What outlives the requests of a chain.
pub struct ChainKeeper<L: Links> {
    links: L::Keepers,
    /// Whose callouts are under way.
    tags: Tags,
}

/// A request on its way through a chain.
pub struct ChainRequest<L: Links> {
    links: L::Requests,
    /// The headers as edited so far, once they were.
    edited: Option<Head>,
}

impl<C: Chained> Filter for Chain<C> {
    const NAME: &'static str = C::NAME;
    const PHASES: Phases = C::Links::PHASES;
    const WAITS: bool = C::Links::WAITS;
    type Config = <C::Links as Links>::Configs;
    type Keeper = ChainKeeper<C::Links>;
    type Metric = <C::Links as Links>::Metric;
    type Request = ChainRequest<C::Links>;

    /// Every section by itself, so that all errors of all links are found.
    fn load(text: &[u8]) -> Result<Self::Config, ConfigErrors> {
        let text = text.trim_ascii();
        let text = if text.is_empty() { b"{}" } else { text };
        let value =
            json::parse(text).map_err(|e| ConfigErrors::one("", format!("not JSON: {e}")))?;
        let Value::Object(mut sections) = value else {
            return Err(ConfigErrors::one("", "must be a JSON object"));
        };
        let names = C::Links::names().join(", ");
        if sections.is_empty() {
            let problem = format!("switches nothing on: give at least one of {names}");
            return Err(ConfigErrors::one("", problem));
        }
        let mut errors = Vec::new();
        let configs = C::Links::load(&mut sections, &mut errors);
        for name in sections.keys() {
            errors.push((name.clone(), format!("is no section; there are {names}")));
        }
        match (ConfigErrors::all(errors), configs) {
            (None, Some(configs)) => Ok(configs),
            (Some(errors), _) => Err(errors),
            (None, None) => Err(ConfigErrors::one("", "refused without a reason")),
        }
    }

    fn series(config: &Self::Config) -> Series<Self::Metric> {
        let mut series = Series::new();
        C::Links::series(config, &mut series, |metric| metric);
        series
    }

    fn keeper(config: &Self::Config, now: Time) -> Self::Keeper {
        ChainKeeper {
            links: C::Links::keepers(config, now),
            tags: Tags::default(),
        }
    }

    fn tick_every(config: &Self::Config) -> Option<Duration> {
        C::Links::tick_every(config)
    }

    fn on_tick(keeper: &mut Self::Keeper, cx: &mut KeeperCx<'_, Self::Config, Self::Metric>) {
        let ticking = &mut Ticking {
            now: cx.now,
            // A tick that comes a little early is this one, not the next.
            slack: (C::Links::tick_every(cx.config).and_then(|every| every.checked_div(2)))
                .unwrap_or_default(),
            effects: &mut *cx.effects,
            calls: &mut *cx.calls,
            tags: &mut keeper.tags,
        };
        C::Links::on_tick(&mut keeper.links, cx.config, ticking, 0, |metric| metric);
    }

    fn on_answer(
        keeper: &mut Self::Keeper,
        tag: u32,
        answer: Result<Answer<'_>, CalloutError>,
        cx: &mut KeeperCx<'_, Self::Config, Self::Metric>,
    ) {
        let Some((link, tag)) = keeper.tags.take(tag) else {
            return;
        };
        let ticking = &mut Ticking {
            now: cx.now,
            slack: Duration::ZERO,
            effects: &mut *cx.effects,
            calls: &mut *cx.calls,
            tags: &mut keeper.tags,
        };
        let answer = (link, tag, answer);
        C::Links::on_answer(&mut keeper.links, cx.config, answer, ticking, 0, |metric| {
            metric
        });
    }

    fn request(stream: u32) -> Self::Request {
        ChainRequest {
            links: C::Links::requests(stream),
            edited: None,
        }
    }

    fn on_request(request: &mut Self::Request, event: Event<'_>, lent: Lent<'_, Self>) -> Verdict {
        let pass = &mut Pass {
            now: lent.now,
            host: lent.host,
            came: lent.request,
            edited: &mut request.edited,
            effects: lent.effects,
        };
        let (config, keeper) = (lent.config, &mut lent.keeper.links);
        C::Links::on_request(&mut request.links, config, keeper, event, pass, |metric| {
            metric
        })
    }

    fn head<'a>(request: &'a Self::Request, came: &'a Head) -> &'a Head {
        request.edited.as_ref().unwrap_or(came)
    }

    fn may_read_body(request: &Self::Request, config: &Self::Config) -> bool {
        C::Links::may_read_body(&request.links, config)
    }

    fn hold(request: &Self::Request, config: &Self::Config, time: Duration) -> Option<Callout> {
        C::Links::hold(&request.links, config, time)
    }

    fn watches_response(request: &Self::Request, _: bool) -> Phases {
        C::Links::watches_response(&request.links)
    }

    fn on_response(request: &mut Self::Request, response: &Head, lent: Lent<'_, Self>) {
        let back = &mut Return {
            now: lent.now,
            host: lent.host,
            request: request.edited.as_ref().unwrap_or(lent.request),
            came: response,
            edited: None,
            made: 0,
            effects: lent.effects,
        };
        let (config, keeper) = (lent.config, &mut lent.keeper.links);
        C::Links::on_response(&mut request.links, config, keeper, back, |metric| metric);
    }

    fn on_done(request: &mut Self::Request, lent: Lent<'_, Self>) {
        let pass = &mut Pass {
            now: lent.now,
            host: lent.host,
            came: lent.request,
            edited: &mut request.edited,
            effects: lent.effects,
        };
        let (config, keeper) = (lent.config, &mut lent.keeper.links);
        C::Links::on_done(&mut request.links, config, keeper, pass, |metric| metric);
    }
}

#[cfg(test)]
mod tests;
