//! What outlives a request: the list, who came how often, how many are held.

use std::net::IpAddr;
use std::time::Duration;

use policy::{Answer, CalloutError, Keeper, KeeperCx, Level, Time};
use watchlist::{Followed, Follower, Match, Sink, Watchlist};
use wire::lists::{Change, ListName};

use crate::config::Config;
use crate::metric::TarpitMetric;
use crate::visits::Visits;

/// Who waits is answered within this time after the delay; 32 with each tick.
const TICK: Duration = Duration::from_millis(20);
/// Entries that ended leave memory piece by piece, one piece each time.
const SWEEP_EVERY: Duration = Duration::from_millis(500);
/// The only callouts are for the list.
const LIST: u32 = 0;

/// The memory of one configuration in one worker.
#[derive(Debug)]
pub struct TarpitKeeper {
    follower: Follower,
    pit: Pit,
    held: usize,
    swept: Time,
    /// Why there was no list the last time, so that it is said once.
    trouble: Option<&'static str>,
    shown: bool,
}

/// Who is on the list, and how often each one came.
#[derive(Debug)]
struct Pit {
    list: Watchlist,
    visits: Visits,
}

impl Sink for Pit {
    fn begin(&mut self) {
        self.list.begin();
        self.visits.begin();
    }

    fn apply(&mut self, change: &Change, now: Time) {
        self.list.apply(change, now);
        self.visits.apply(change, now);
    }

    fn commit(&mut self) {
        self.list.commit();
        self.visits.commit();
    }
}

impl TarpitKeeper {
    pub(crate) const fn has_list(&self) -> bool {
        self.pit.list.is_complete()
    }

    pub(crate) const fn list(&self) -> &Watchlist {
        &self.pit.list
    }

    pub(crate) fn visit(&mut self, entry: &Match, address: IpAddr, now: Time) -> u32 {
        self.pit.visits.visit(entry, address, now)
    }

    /// Takes one more in, unless there are as many as may be.
    pub(crate) const fn enter(&mut self, most: usize) -> bool {
        if self.held >= most {
            return false;
        }
        self.held = self.held.saturating_add(1);
        true
    }

    pub(crate) const fn leave(&mut self) {
        self.held = self.held.saturating_sub(1);
    }

    /// How many are held now.
    pub(crate) fn held(&self) -> u64 {
        u64::try_from(self.held).unwrap_or(u64::MAX)
    }
}

impl Keeper<Config, TarpitMetric> for TarpitKeeper {
    fn new(config: &Config, now: Time) -> Self {
        Self {
            follower: Follower::new(ListName::Tarpit),
            pit: Pit {
                list: Watchlist::new(config.list_capacity, now),
                visits: Visits::new(config.max_clients),
            },
            held: 0,
            swept: now,
            trouble: None,
            shown: false,
        }
    }

    fn tick_every(_: &Config) -> Option<Duration> {
        Some(TICK)
    }

    fn on_tick(&mut self, cx: &mut KeeperCx<'_, Config, TarpitMetric>) {
        if let Some(callout) = self.follower.poll(&cx.config.lists, cx.now) {
            cx.calls.push((LIST, callout));
        }
        if cx.now < self.swept || cx.now.since(self.swept) >= SWEEP_EVERY {
            self.swept = cx.now;
            self.pit.list.sweep(cx.now);
        }
        if !self.shown {
            self.shown = true;
            cx.effects.record(TarpitMetric::Active, self.held());
        }
    }

    fn on_answer(
        &mut self,
        _: u32,
        answer: Result<Answer<'_>, CalloutError>,
        cx: &mut KeeperCx<'_, Config, TarpitMetric>,
    ) {
        let result = match self.follower.take(answer, cx.now, &mut self.pit) {
            Ok(followed) => {
                if followed != Followed::Unchanged {
                    let entries = u64::try_from(self.pit.list.len()).unwrap_or(u64::MAX);
                    cx.effects.record(TarpitMetric::ListEntries, entries);
                }
                if self.trouble.take().is_some() {
                    cx.effects
                        .log(Level::Info, "tarpit: the list can be had again");
                }
                "ok"
            }
            Err(unusable) => {
                let reason = unusable.reason();
                if self.trouble.replace(reason) != Some(reason) {
                    let line = format!("tarpit: the list cannot be had ({reason})");
                    cx.effects.log(Level::Warn, line);
                }
                reason
            }
        };
        cx.effects.count(TarpitMetric::ListPolls { result });
    }
}
