//! Who is on the list is answered late, and later each time, and never reaches the upstream (T1–T5).
//!
//! A client on the list `tarpit` of redis-proxy waits 1, 2, 4, … 30 seconds and then hears that all is well. What
//! keeps it waiting is the gateway's timer, not a thread: a held request costs memory and a connection. See
//! `README.md` for the options and the limits of that.

#![cfg_attr(test, allow(clippy::arithmetic_side_effects, clippy::string_slice))]

mod config;
mod delay;
mod keeper;
mod metric;
mod reply;
mod visits;

use std::time::Duration;

use policy::{Callout, Cx, Event, Fault, Phases, Policy, Verdict};
use watchlist::Match;
use wire::lists::Kind;
use wire::sleep::{self, MAX_SLEEP};

pub use config::{Config, Raw};
pub use keeper::TarpitKeeper;
pub use metric::TarpitMetric;

use crate::config::OnMissingList;

/// A callout that holds a request is given up on so long after its time.
const SLACK: Duration = Duration::from_secs(2);
/// Longest answer to such a callout. Nobody reads it.
const MAX_ANSWER: usize = 1_024;

/// The filter: one value per request.
#[derive(Debug)]
pub struct Tarpit {
    held: bool,
}

impl Policy for Tarpit {
    const NAME: &'static str = "tarpit";
    const PHASES: Phases = Phases::CALLOUTS.with(Phases::TICK);
    type Config = Config;
    type Keeper = TarpitKeeper;
    type Metric = TarpitMetric;
    const CODES: &'static [&'static str] = reply::CODES;

    fn new() -> Self {
        Self { held: false }
    }

    fn series(_: &Config) -> Vec<TarpitMetric> {
        TarpitMetric::all()
    }

    fn on_request(&mut self, event: Event<'_>, cx: &mut Cx<'_, Self>) -> Result<Verdict, Fault> {
        match event {
            Event::Headers => self.decide(cx),
            Event::Woke if self.held => {
                self.release(cx);
                Ok(Verdict::Deny(reply::queued()))
            }
            // The gateway cannot hold it, or not any longer. It is on the list all the same.
            Event::Answer(Err(error)) if self.held => {
                self.release(cx);
                cx.effects.count(TarpitMetric::Unheld {
                    reason: error.as_str(),
                });
                Ok(Verdict::Deny(reply::denied()))
            }
            Event::Woke | Event::Answer(_) | Event::Body(_) => {
                Err(Fault::Unexpected("nothing was asked for"))
            }
        }
    }

    fn hold(config: &Config, time: Duration) -> Option<Callout> {
        let path = sleep::path(time);
        let mut callout = config.lists.callout("GET", path, Vec::new(), MAX_ANSWER);
        callout.timeout = time.min(MAX_SLEEP).saturating_add(SLACK);
        Some(callout)
    }

    fn on_done(&mut self, cx: &mut Cx<'_, Self>) {
        if self.held {
            self.release(cx);
            cx.effects.count(TarpitMetric::HungUp);
        }
    }
}

impl Tarpit {
    fn decide(&mut self, cx: &mut Cx<'_, Self>) -> Result<Verdict, Fault> {
        if !cx.keeper.has_list() {
            return Ok(match cx.config.on_missing_list {
                OnMissingList::Allow => Verdict::Allow,
                OnMissingList::Deny => Verdict::Deny(reply::no_list()),
            });
        }
        let Some((entry, address)) = find(cx)? else {
            return Ok(Verdict::Allow);
        };
        let kind = entry.kind();
        let visits = cx.keeper.visit(&entry, address, cx.now);
        if !cx.keeper.enter(cx.config.max_held) {
            cx.effects.count(TarpitMetric::Refused { kind });
            return Ok(Verdict::Deny(reply::denied()));
        }
        self.held = true;
        cx.effects.count(TarpitMetric::Held { kind });
        cx.effects.record(TarpitMetric::Active, cx.keeper.held());
        let delay = delay::after(visits, cx.config.longest_delay);
        Ok(Verdict::SleepUntil(cx.now.plus(delay)))
    }

    fn release(&mut self, cx: &mut Cx<'_, Self>) {
        self.held = false;
        cx.keeper.leave();
        cx.effects.record(TarpitMetric::Active, cx.keeper.held());
    }
}

/// The entry of the client, and its address. What no entry could be about is not asked of the gateway.
fn find(cx: &Cx<'_, Tarpit>) -> Result<Option<(Match, std::net::IpAddr)>, Fault> {
    let (list, now) = (cx.keeper.list(), cx.now);
    if list.is_empty() {
        return Ok(None);
    }
    let clients = &cx.config.clients;
    let client = clients.identify(cx.request, cx.host)?;
    let found = list
        .by_address(client.address, now)
        .or_else(|| {
            if !list.has(Kind::Ja4) {
                return None;
            }
            list.by_ja4(clients.ja4(&client, cx.request, cx.host)?, now)
        })
        .or_else(|| {
            if !list.has(Kind::Ja3) {
                return None;
            }
            list.by_ja3(clients.ja3(&client, cx.request, cx.host)?, now)
        });
    Ok(found.map(|entry| (entry, client.address)))
}

#[cfg(all(target_arch = "wasm32", target_os = "wasi", feature = "module"))]
host::main!(Tarpit, callouts, tick);
