//! A [`Policy`] is one request's state machine, without I/O: what it reads is handed in, what it
//! causes is collected, what happens next is returned, time is an argument.
//!
//! Three drivers run the same policies: the crate `host` in a gateway, `testkit::Drive` on a
//! virtual clock, and the fuzzer. Nothing here knows which.

#![cfg_attr(test, allow(clippy::arithmetic_side_effects, clippy::string_slice))]

pub mod callout;
pub mod chain;
pub mod client_ip;
pub mod config;
pub mod cx;
pub mod duration;
pub mod effects;
pub mod event;
pub mod fault;
pub mod filter;
pub mod guard;
pub mod head;
pub mod host;
pub mod json;
pub mod keeper;
pub mod metric;
pub mod names;
mod node;
pub mod path;
pub mod phases;
pub mod proxy;
pub mod reply;
pub mod route;
#[cfg(feature = "schema")]
pub mod schema;
pub mod secret;
pub mod series;
pub mod service;
pub mod time;
pub mod ttl_cache;
pub mod verdict;

use std::time::Duration;

pub use callout::{Answer, Callout, CalloutError};
pub use chain::{Chain, Chained};
pub use config::{ConfigErrors, Configure, Loaded, Problems};
pub use cx::Cx;
pub use effects::{EditText, Effects, HeaderEdit, Level, Outcome};
pub use event::Event;
pub use fault::Fault;
pub use filter::Filter;
pub use guard::Guard;
pub use head::{Head, HeadBuilder};
pub use host::{Fact, Host};
pub use keeper::{Keeper, KeeperCx};
pub use metric::{Kind, Metric, NoMetric, Sample};
pub use phases::Phases;
pub use reply::Reply;
pub use secret::Secret;
pub use series::Series;
pub use service::Service;
pub use time::Time;
pub use verdict::Verdict;

/// One edge concern: a state machine that lives as long as one request.
///
/// A new value is made for each request with [`Policy::new`]; memory shared between requests is the
/// [`Keeper`]'s.
pub trait Policy: Sized + 'static {
    /// The name of the `.wasm` file, of the filter label on metrics and of log lines: `rate_limit`.
    const NAME: &'static str;
    /// Which callbacks of the gateway the policy needs. Each one costs every request a crossing.
    const PHASES: Phases;
    /// What the operator configured, parsed and checked.
    type Config: Configure;
    /// Memory per configuration and worker: caches, lists, leases; `()` if there is none.
    type Keeper: Keeper<Self::Config, Self::Metric>;
    /// What the policy counts beyond the [`Guard`]'s own counters; [`NoMetric`] if nothing.
    type Metric: Metric;
    /// The codes of its replies.
    const CODES: &'static [&'static str] = &[];
    /// Whether requests may wait for a service, their own call or another's: how long is then counted as
    /// `portcullis_wait_milliseconds`.
    const WAITS: bool = false;

    /// The state of a request that has not been looked at yet.
    fn new() -> Self;

    /// All that it counts but what is not [`Metric::known`] with the configuration. See [`Series`].
    fn series(_config: &Self::Config) -> Vec<Self::Metric> {
        Vec::new()
    }

    /// Decides. Called with [`Event::Headers`] first, then once for each thing that the last
    /// [`Verdict`] asked for, until the verdict is `Allow` or `Deny`.
    fn on_request(&mut self, event: Event<'_>, cx: &mut Cx<'_, Self>) -> Result<Verdict, Fault>;

    /// A question whose answer takes so long, or as long as the service allows, for gateways that can hold
    /// a request by nothing else; `None` if there is no such service. Answered with 200, it was slept; a
    /// sleep that is not over yet goes on with the next one. Needs [`Phases::CALLOUTS`].
    fn hold(_config: &Self::Config, _time: Duration) -> Option<Callout> {
        None
    }

    /// Whether this configuration makes the policy ask for bodies. Where it does, a chain holds a request
    /// ahead of it without its body being held back.
    fn reads_body(_config: &Self::Config) -> bool {
        Self::PHASES.has(Phases::REQUEST_BODY)
    }

    /// Whether the response of this request matters. Asked before anything of the response is read.
    fn watches_response(&self) -> bool {
        true
    }

    /// The response is about to leave. Only called when [`Phases::RESPONSE`] is set, with all of its
    /// headers, or [`Phases::RESPONSE_STATUS`], with `:status` alone; header edits made here go to the
    /// response. It may be replaced: [`Effects::replace_response`].
    fn on_response(&mut self, _response: &Head, _cx: &mut Cx<'_, Self>) {}

    /// The request is over, answered or abandoned by its client. Whatever the request holds in the
    /// keeper is released here.
    fn on_done(&mut self, _cx: &mut Cx<'_, Self>) {}
}
