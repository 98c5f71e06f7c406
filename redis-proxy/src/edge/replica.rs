//! A copy of one list in this process, from which the workers are answered (D3): `GET /v1/lists/{list}` costs
//! no call of the store, and goes on when the store is down (D4).
//!
//! The epoch that workers see is that of the store, a `-`, and the version at which their copy was begun.
//! A worker in the middle of a first load stands at an old version, but has not missed what went before it
//! began: the second part says so. Without it a long list with many removals could never be loaded.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant},
};

use wire::lists::{self, Change, ListName, Member, PAGE_CHANGES, Page};

use super::store::{Fate, Log, Seen};

/// One list, as far as it is known here.
#[derive(Debug)]
pub struct Replica {
    list: ListName,
    now: Option<Copy>,
    /// Being loaded, while `now` goes on to serve.
    next: Option<Loading>,
}

#[derive(Debug)]
struct Loading {
    copy: Copy,
    /// The version at which the loading was begun.
    begun: u64,
}

/// The newest change of each member.
#[derive(Debug, Default)]
struct Copy {
    seen: Seen,
    floor: u64,
    fates: BTreeMap<u64, (Member, Fate)>,
    /// Those of `fates` that are [`Fate::Gone`].
    gone: BTreeSet<u64>,
    versions: HashMap<Member, u64>,
    /// Those of `fates` that are [`Fate::Until`].
    members: usize,
    /// The store's clock and ours at the same moment.
    clock: Option<(u64, Instant)>,
}

/// What a worker gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It has everything.
    Same,
    /// Changes.
    Page(Page),
    /// Nothing is known yet.
    NotLoaded,
}

/// What is to be asked of the store next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// More of the same, at once.
    More,
    /// Nothing, for now.
    Rest,
}

impl Replica {
    /// Knows nothing.
    #[must_use]
    pub const fn new(list: ListName) -> Self {
        Self {
            list,
            now: None,
            next: None,
        }
    }

    /// What to ask the store for.
    #[must_use]
    pub fn seen(&self) -> Seen {
        match (&self.next, &self.now) {
            (Some(loading), _) => loading.copy.seen.clone(),
            (None, Some(copy)) => copy.seen.clone(),
            (None, None) => Seen::default(),
        }
    }

    /// Takes over what the store answered to [`Replica::seen`], at a moment of our clock.
    pub fn take(&mut self, log: Log, at: Instant) -> Then {
        let seen = self.seen();
        let same = log.epoch == seen.epoch;
        if let Some(loading) = &mut self.next {
            let forgot = log.floor > loading.begun.max(seen.after);
            if !same || forgot {
                self.next = None;
                // An answer to another question: that one is asked anew.
                return self.begin(log, same && seen.after != 0, at);
            }
            loading.copy.apply(log, at);
            return self.settle();
        }
        match &mut self.now {
            Some(copy) if same && log.floor <= seen.after => {
                copy.apply(log, at);
                if copy.seen.after < copy.seen.newest {
                    Then::More
                } else {
                    Then::Rest
                }
            }
            _ => self.begin(log, same && seen.after != 0, at),
        }
    }

    /// Begins a new copy; with this answer, unless it is the middle of a list.
    fn begin(&mut self, log: Log, middle: bool, at: Instant) -> Then {
        let mut loading = Loading {
            begun: log.last,
            copy: Copy::default(),
        };
        if middle {
            self.next = Some(loading);
            return Then::More;
        }
        loading.copy.apply(log, at);
        self.next = Some(loading);
        self.settle()
    }

    fn settle(&mut self) -> Then {
        match self.next.take() {
            Some(loading) if loading.copy.seen.after >= loading.copy.seen.newest => {
                self.now = Some(loading.copy);
                Then::Rest
            }
            loading => {
                self.next = loading;
                Then::More
            }
        }
    }

    /// What a worker gets that has `after` of `epoch`.
    #[must_use]
    pub fn answer(&self, epoch: &str, after: u64, at: Instant) -> Answer {
        let Some(copy) = &self.now else {
            return Answer::NotLoaded;
        };
        let begun = epoch
            .rsplit_once('-')
            .filter(|(store, _)| *store == copy.seen.epoch)
            .and_then(|(_, begun)| begun.parse::<u64>().ok());
        let (epoch, from) = match begun {
            // A worker that knows more was told so by another redis-proxy: this one will know soon.
            Some(begun) if after >= copy.seen.after || begun > copy.seen.after => {
                return Answer::Same;
            }
            Some(begun) if after.max(begun) >= copy.floor => (epoch.to_owned(), after),
            _ => (format!("{}-{}", copy.seen.epoch, copy.seen.after), 0),
        };
        Answer::Page(copy.page(self.list, epoch, from, at))
    }

    /// Members whose time is not over, as far as it was looked at.
    #[must_use]
    pub fn members(&self) -> usize {
        self.now.as_ref().map_or(0, |copy| copy.members)
    }

    /// The version that workers are served; 0 until the first load.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.now.as_ref().map_or(0, |copy| copy.seen.after)
    }

    /// Whether there is anything to serve.
    #[must_use]
    pub const fn is_loaded(&self) -> bool {
        self.now.is_some()
    }

    /// How long ago the store was heard of.
    #[must_use]
    pub fn age(&self, at: Instant) -> Option<Duration> {
        let (_, heard) = self.now.as_ref()?.clock?;
        Some(at.saturating_duration_since(heard))
    }
}

impl Copy {
    fn apply(&mut self, log: Log, at: Instant) {
        for (version, member, fate) in log.fates {
            self.forget(&member);
            self.versions.insert(member, version);
            self.fates.insert(version, (member, fate));
            match fate {
                Fate::Until(_) => self.members = self.members.saturating_add(1),
                Fate::Gone => drop(self.gone.insert(version)),
            }
        }
        self.floor = log.floor;
        // Members that went at or before the floor: nobody is told of them any more.
        while let Some(version) = self.gone.first().copied().filter(|at| *at <= log.floor) {
            self.gone.remove(&version);
            if let Some((member, _)) = self.fates.remove(&version) {
                self.versions.remove(&member);
            }
        }
        self.seen = Seen {
            epoch: log.epoch,
            after: log.to,
            newest: log.last,
            mark: log.mark,
        };
        self.clock = Some((log.now_ms, at));
    }

    fn forget(&mut self, member: &Member) {
        let Some(version) = self.versions.remove(member) else {
            return;
        };
        match self.fates.remove(&version) {
            Some((_, Fate::Until(_))) => self.members = self.members.saturating_sub(1),
            _ => drop(self.gone.remove(&version)),
        }
    }

    fn page(&self, list: ListName, epoch: String, from: u64, at: Instant) -> Page {
        let now_ms = self.now_ms(at);
        let mut to = self.seen.after;
        let mut changes = Vec::new();
        for (version, (member, fate)) in self.fates.range(from.saturating_add(1)..) {
            if changes.len() >= PAGE_CHANGES {
                to = version.saturating_sub(1);
                break;
            }
            changes.extend(match fate {
                Fate::Until(end) => {
                    let ttl_ms = end.saturating_sub(now_ms).min(lists::MAX_TTL_MS);
                    (ttl_ms > 0).then_some(Change::Add {
                        member: *member,
                        ttl_ms,
                    })
                }
                // A list from its beginning has no need to say who is not on it.
                Fate::Gone => (from > 0).then_some(Change::Remove(*member)),
            });
        }
        Page {
            list,
            epoch,
            from,
            to,
            last: self.seen.after,
            changes,
        }
    }

    /// The store's clock at a moment of ours.
    fn now_ms(&self, at: Instant) -> u64 {
        let Some((now_ms, heard)) = self.clock else {
            return 0;
        };
        let since = at.saturating_duration_since(heard).as_millis();
        now_ms.saturating_add(u64::try_from(since).unwrap_or(u64::MAX))
    }
}
