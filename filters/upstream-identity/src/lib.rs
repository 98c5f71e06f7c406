//! Is the upstream who the route expects? Its certificate must name one of the route's SPIFFE IDs (U1, K036, K037).
//!
//! The gateway itself does the guarding: its TLS context refuses every other certificate, before a request is sent. This
//! filter says so to clients, counters and events, and is a second lock: of an upstream that answers all the same, and is
//! not who it should be, no byte reaches the client. See `README.md` for the options.

#![cfg_attr(test, allow(clippy::arithmetic_side_effects, clippy::string_slice))]

mod config;
mod finding;
mod keeper;
mod metric;
mod spiffe;

use policy::path::canonical;
use policy::{Cx, Event, Fact, Fault, Head, Phases, Policy, Reply, Time, Verdict};

pub use config::{Config, Raw};
pub use keeper::Failures;
pub use metric::IdentityMetric;

use crate::finding::cut;
use crate::keeper::Kind;

/// The filter: one value per request.
#[derive(Debug)]
pub struct UpstreamIdentity {
    /// The number of the route whose upstream has to prove who it is.
    route: Option<usize>,
}

impl Policy for UpstreamIdentity {
    const NAME: &'static str = "upstream_identity";
    const PHASES: Phases = Phases::CALLOUTS
        .with(Phases::TICK)
        .with(Phases::RESPONSE_STATUS);
    type Config = Config;
    type Keeper = Failures;
    type Metric = IdentityMetric;
    const CODES: &'static [&'static str] = &["UPSTREAM_MTLS_FAIL", "path_ambiguous"];

    fn new() -> Self {
        Self { route: None }
    }

    fn series(_: &Config) -> Vec<IdentityMetric> {
        IdentityMetric::all()
    }

    fn on_request(&mut self, event: Event<'_>, cx: &mut Cx<'_, Self>) -> Result<Verdict, Fault> {
        if !matches!(event, Event::Headers) {
            return Err(Fault::Unexpected("nothing was asked for"));
        }
        let Some(Ok(path)) = cx.request.path_and_query().map(canonical) else {
            return Ok(Verdict::Deny(ambiguous_path()));
        };
        let (request, host) = (cx.request, cx.host);
        self.route =
            cx.config.routes.iter().position(|route| {
                (route.matches).matches(&path, request, || host.fact(Fact::Route))
            });
        // Where the gateway cannot tell who answered, nobody is asked.
        if self.route.is_some() && !host.tells(Fact::UpstreamIdentity) {
            self.route = None;
            return Err(Fault::Gateway("the certificate of its upstreams"));
        }
        Ok(Verdict::Allow)
    }

    fn watches_response(&self) -> bool {
        self.route.is_some()
    }

    fn on_response(&mut self, _: &Head, cx: &mut Cx<'_, Self>) {
        let Some((index, route)) = self
            .route
            .and_then(|index| Some((index, cx.config.routes.get(index)?)))
        else {
            return;
        };
        let Some(finding) = finding::examine(route, cx.host) else {
            return;
        };
        let reason = finding.reason;
        cx.effects.count(IdentityMetric::Failures { reason });
        if cx.config.events.is_some() && cx.now != Time::EPOCH {
            let name = |fact| cx.host.fact(fact).and_then(|name| cut(&name));
            let kind = Kind {
                index,
                route: name(Fact::Route),
                service: name(Fact::Service),
                finding,
            };
            cx.keeper.note(kind, route, cx.now, cx.effects);
        }
        cx.effects.replace_response(mtls_fail());
    }
}

/// The one answer for every upstream that did not prove who it is. Why not is nothing for clients.
fn mtls_fail() -> Reply {
    Reply::problem(
        502,
        "UPSTREAM_MTLS_FAIL",
        "The upstream did not prove who it is",
    )
}

/// Routes are about paths, and this one could be two.
fn ambiguous_path() -> Reply {
    Reply::problem(
        400,
        "path_ambiguous",
        "The path can be read in more than one way",
    )
}

#[cfg(all(target_arch = "wasm32", target_os = "wasi", feature = "module"))]
host::main!(UpstreamIdentity, callouts, tick, response_status);
