//! Answers that refused something, minute by minute, as far as they were sampled.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Minutes that are kept, besides the one that is being filled.
pub const MINUTES: u64 = 60;
const MINUTE_MS: u64 = 60_000;
const KINDS: usize = Refused::ALL.len();

/// What an answer refused, told by its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Refused {
    /// 401: no valid credential.
    Unauthenticated,
    /// 403: may not.
    Denied,
    /// 429: too much.
    Limited,
    /// Any other status from 400 to 499.
    Invalid,
    /// 500 and above: could not be decided or served.
    Failed,
}

impl Refused {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Unauthenticated,
        Self::Denied,
        Self::Limited,
        Self::Invalid,
        Self::Failed,
    ];

    /// The statuses, for people.
    #[must_use]
    pub const fn statuses(self) -> &'static str {
        match self {
            Self::Unauthenticated => "401",
            Self::Denied => "403",
            Self::Limited => "429",
            Self::Invalid => "other 4xx",
            Self::Failed => "5xx",
        }
    }

    const fn of(status: u16) -> Option<Self> {
        Some(match status {
            401 => Self::Unauthenticated,
            403 => Self::Denied,
            429 => Self::Limited,
            400..=499 => Self::Invalid,
            500.. => Self::Failed,
            _ => return None,
        })
    }

    const fn number(self) -> usize {
        match self {
            Self::Unauthenticated => 0,
            Self::Denied => 1,
            Self::Limited => 2,
            Self::Invalid => 3,
            Self::Failed => 4,
        }
    }
}

/// Requests of each kind in one minute.
type Minute = [u64; KINDS];

/// The minutes of the last hour.
#[derive(Debug)]
pub struct Minutes {
    started_ms: u64,
    /// Minutes since 1970, upwards, those with a refusal only.
    kept: VecDeque<(u64, Minute)>,
}

impl Minutes {
    /// Nothing counted yet.
    #[must_use]
    pub const fn new(now_ms: u64) -> Self {
        Self {
            started_ms: now_ms,
            kept: VecDeque::new(),
        }
    }

    /// Counts a sample that stands for `every` requests.
    pub fn add(&mut self, now_ms: u64, status: u16, every: u32) {
        let Some(kind) = Refused::of(status) else {
            return;
        };
        let newest = self.kept.back().map(|(minute, _)| *minute);
        // A clock that went back counts on in the newest minute.
        let minute = minute(now_ms).max(newest.unwrap_or_default());
        if newest != Some(minute) {
            self.kept.push_back((minute, Minute::default()));
            let oldest = minute.saturating_sub(MINUTES);
            while self.kept.front().is_some_and(|(at, _)| *at < oldest) {
                self.kept.pop_front();
            }
        }
        if let Some((_, counts)) = self.kept.back_mut()
            && let Some(count) = counts.get_mut(kind.number())
        {
            *count = count.saturating_add(u64::from(every));
        }
    }

    /// The whole minutes of the last hour, and the one that is being filled.
    #[must_use]
    pub fn show(&self, now_ms: u64) -> Refusals {
        let now = minute(now_ms);
        let first = now.saturating_sub(MINUTES);
        let of = |kind: Refused| {
            let count = |at: u64| {
                let found = self.kept.iter().find(|(minute, _)| *minute == at);
                let count = found.and_then(|(_, counts)| counts.get(kind.number()));
                count.copied().unwrap_or_default()
            };
            RefusalsOf {
                kind,
                statuses: kind.statuses().to_owned(),
                per_minute: (first..now).map(count).collect(),
                this_minute: count(now),
            }
        };
        Refusals {
            from_ms: first.saturating_mul(MINUTE_MS).max(self.started_ms),
            to_ms: now_ms,
            kinds: Refused::ALL.map(of).into(),
        }
    }
}

const fn minute(ms: u64) -> u64 {
    match ms.checked_div(MINUTE_MS) {
        Some(minute) => minute,
        None => 0,
    }
}

/// Requests that were refused, by whichever filter or upstream, estimated from samples. What is refused before the filter that
/// samples has seen it is not in here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Refusals {
    /// From when on they are counted, milliseconds since 1970; not before this process started.
    pub from_ms: u64,
    /// Until when: now.
    pub to_ms: u64,
    /// Each kind.
    pub kinds: Vec<RefusalsOf>,
}

/// The refusals of a kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RefusalsOf {
    /// Which kind.
    pub kind: Refused,
    /// The statuses that belong to it, for people.
    pub statuses: String,
    /// Requests in each of the last 60 whole minutes, the oldest first: as many as the samples stand for.
    pub per_minute: Vec<u64>,
    /// Requests in the minute that is not over yet.
    pub this_minute: u64,
}

impl RefusalsOf {
    /// Requests in the last so many whole minutes.
    #[must_use]
    pub fn last(&self, minutes: usize) -> u64 {
        let last = self.per_minute.iter().rev().take(minutes);
        last.fold(0, |sum, count| sum.saturating_add(*count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_790_000_040_000;

    fn of(refusals: &Refusals, kind: Refused) -> &RefusalsOf {
        refusals.kinds.iter().find(|of| of.kind == kind).unwrap()
    }

    #[test]
    fn statuses_are_told_apart_and_weighed() {
        let mut minutes = Minutes::new(NOW);
        for (status, every) in [
            (200, 9),
            (0, 9),
            (401, 10),
            (403, 1),
            (403, 2),
            (429, 5),
            (404, 3),
            (503, 7),
        ] {
            minutes.add(NOW, status, every);
        }
        let shown = minutes.show(NOW + MINUTE_MS);
        let last: Vec<_> = Refused::ALL.map(|kind| of(&shown, kind).last(1)).into();
        assert_eq!(last, [10, 3, 5, 3, 7]);
        assert!(
            shown
                .kinds
                .iter()
                .all(|of| of.per_minute.len() == 60 && of.this_minute == 0)
        );
        assert_eq!(of(&minutes.show(NOW), Refused::Denied).this_minute, 3);
    }

    #[test]
    fn an_hour_is_kept_and_no_more() {
        let mut minutes = Minutes::new(NOW);
        for n in 0..200 {
            minutes.add(NOW + n * MINUTE_MS, 403, 1);
        }
        assert_eq!(minutes.kept.len(), 61);
        let shown = minutes.show(NOW + 199 * MINUTE_MS);
        assert_eq!(of(&shown, Refused::Denied).per_minute, vec![1; 60]);
        assert_eq!(
            of(&minutes.show(NOW + 500 * MINUTE_MS), Refused::Denied).last(60),
            0
        );
        minutes.add(NOW, 403, 1);
        assert_eq!(
            of(&minutes.show(NOW + 199 * MINUTE_MS), Refused::Denied).this_minute,
            2
        );
    }

    #[test]
    fn nothing_is_claimed_for_the_time_before_the_start() {
        assert_eq!(Minutes::new(NOW).show(NOW + 1).from_ms, NOW);
    }
}
