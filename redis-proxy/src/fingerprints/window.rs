//! Heavy hitters of the last minutes and hours: one summary per bucket of time.

use std::{collections::VecDeque, sync::Arc};

use wire::lists::Member;

use super::summary::{Merged, Sealed, Summary};

/// What there are counts of.
pub const KINDS: usize = 3;

/// What one request adds: up to one value of each kind.
pub type Values = [Option<Member>; KINDS];

/// Buckets of one width, the newest being filled.
#[derive(Debug)]
struct Series {
    width_ms: u64,
    keep: usize,
    room: usize,
    /// Number of the newest bucket: time divided by the width.
    current: u64,
    newest: [Summary; KINDS],
    tally: Tally,
    /// Ended ones, oldest first.
    ended: VecDeque<Bucket>,
}

#[derive(Clone, Debug)]
struct Bucket {
    number: u64,
    summaries: [Arc<Sealed>; KINDS],
    tally: Tally,
}

/// What is counted besides the values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Samples that came.
    pub samples: u64,
    /// Requests that they stand for.
    pub requests: u64,
    /// Samples that a gateway had no room for.
    pub dropped: u64,
}

impl Tally {
    fn plus(self, other: Self) -> Self {
        Self {
            samples: self.samples.saturating_add(other.samples),
            requests: self.requests.saturating_add(other.requests),
            dropped: self.dropped.saturating_add(other.dropped),
        }
    }
}

impl Series {
    fn new(width_ms: u64, keep: usize, room: usize, now_ms: u64) -> Self {
        Self {
            width_ms,
            keep,
            room,
            current: now_ms.checked_div(width_ms).unwrap_or_default(),
            newest: fresh(room),
            tally: Tally::default(),
            ended: VecDeque::new(),
        }
    }

    /// Ends the newest bucket when its time is over. A clock that went back ends nothing.
    fn advance(&mut self, now_ms: u64) {
        let number = now_ms.checked_div(self.width_ms).unwrap_or_default();
        if number <= self.current {
            return;
        }
        if self.tally != Tally::default() {
            self.ended.push_back(self.bucket());
        }
        self.newest = fresh(self.room);
        self.tally = Tally::default();
        self.current = number;
        let keep = u64::try_from(self.keep).unwrap_or(u64::MAX);
        let oldest = number.saturating_sub(keep);
        while self
            .ended
            .front()
            .is_some_and(|bucket| bucket.number < oldest)
        {
            self.ended.pop_front();
        }
    }

    fn bucket(&self) -> Bucket {
        Bucket {
            number: self.current,
            summaries: self.newest.each_ref().map(|s| Arc::new(s.seal())),
            tally: self.tally,
        }
    }

    fn since(&self, first: u64) -> Vec<Bucket> {
        let ended = self.ended.iter().filter(|bucket| bucket.number >= first);
        ended.cloned().chain([self.bucket()]).collect()
    }
}

fn fresh(room: usize) -> [Summary; KINDS] {
    std::array::from_fn(|_| Summary::new(room))
}

const MINUTE_MS: u64 = 60_000;
const QUARTER_MS: u64 = 15 * MINUTE_MS;
const HOUR_MS: u64 = 60 * MINUTE_MS;
/// How far back counts go, milliseconds.
pub const LONGEST_MS: u64 = 24 * HOUR_MS;
/// Shortest time that can be asked for, milliseconds.
pub const SHORTEST_MS: u64 = MINUTE_MS;

/// The last hour by the minute and the last 24 hours by the quarter of an hour: 60 + 96 ended buckets and two
/// being filled, of `room` counters for each of the three kinds. An ended counter takes 64 bytes: 30 MB at
/// 1,000 counters, when every bucket is full.
#[derive(Debug)]
pub struct Window {
    started_ms: u64,
    minutes: Series,
    quarters: Series,
}

/// The buckets that were asked for. To merge them takes time; the window need not be locked for it.
#[derive(Clone, Debug)]
pub struct Span {
    /// From when on everything is counted, milliseconds since 1970.
    pub from_ms: u64,
    /// The sums.
    pub tally: Tally,
    buckets: Vec<Bucket>,
}

impl Span {
    /// The values of the kind with this number, heaviest first.
    #[must_use]
    pub fn merged(&self, kind: usize) -> Merged {
        Merged::of(
            self.buckets
                .iter()
                .filter_map(|bucket| bucket.summaries.get(kind))
                .map(Arc::as_ref),
        )
    }
}

impl Window {
    /// Nothing counted yet.
    #[must_use]
    pub fn new(room: usize, now_ms: u64) -> Self {
        Self {
            started_ms: now_ms,
            minutes: Series::new(MINUTE_MS, 60, room, now_ms),
            quarters: Series::new(QUARTER_MS, 96, room, now_ms),
        }
    }

    /// Counts a sample that stands for `every` requests.
    pub fn add(&mut self, now_ms: u64, every: u32, values: Values) {
        let one = Tally {
            samples: 1,
            requests: u64::from(every),
            dropped: 0,
        };
        for series in [&mut self.minutes, &mut self.quarters] {
            series.advance(now_ms);
            series.tally = series.tally.plus(one);
            for (summary, value) in series.newest.iter_mut().zip(values) {
                if let Some(member) = value {
                    summary.add(member, u64::from(every));
                }
            }
        }
    }

    /// Counts samples that a gateway had no room for.
    pub fn dropped(&mut self, now_ms: u64, dropped: u64) {
        let tally = Tally {
            dropped,
            ..Tally::default()
        };
        for series in [&mut self.minutes, &mut self.quarters] {
            series.advance(now_ms);
            series.tally = series.tally.plus(tally);
        }
    }

    /// The buckets of the last `since_ms`, the oldest as a whole: up to a minute more than was asked for, or
    /// a quarter of an hour above one hour.
    pub fn since(&mut self, now_ms: u64, since_ms: u64) -> Span {
        let series = if since_ms <= HOUR_MS {
            &mut self.minutes
        } else {
            &mut self.quarters
        };
        series.advance(now_ms);
        let since_ms = since_ms.clamp(SHORTEST_MS, LONGEST_MS);
        let first = now_ms
            .saturating_sub(since_ms)
            .checked_div(series.width_ms)
            .unwrap_or_default();
        let buckets = series.since(first);
        let tally = buckets
            .iter()
            .fold(Tally::default(), |sum, bucket| sum.plus(bucket.tally));
        Span {
            from_ms: first
                .saturating_mul(series.width_ms)
                .max(self.started_ms)
                .min(now_ms),
            tally,
            buckets,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    const START: u64 = 1_790_000_000_000;

    fn values(n: u8) -> Values {
        [
            None,
            None,
            Some(Member::Ip(IpAddr::V4(Ipv4Addr::new(192, 0, 2, n)))),
        ]
    }

    /// Requests counted for `n` since then.
    fn count(window: &mut Window, now_ms: u64, since_ms: u64, n: u8) -> u64 {
        let [.., member] = values(n);
        let merged = window.since(now_ms, since_ms).merged(2);
        let found = merged
            .counted
            .iter()
            .find(|counted| Some(counted.member) == member);
        found.map_or(0, |counted| counted.most)
    }

    #[test]
    fn counts_go_back_as_far_as_asked_and_a_bucket_more_at_most() {
        // one sample a minute, for 30 hours
        let mut window = Window::new(16, START);
        let mut now = START;
        for _ in 0..30 * 60 {
            window.add(now, 10, values(1));
            now += MINUTE_MS;
        }
        now -= MINUTE_MS;
        for (since_min, wide_min) in [
            (1, 1),
            (2, 1),
            (59, 1),
            (60, 1),
            (61, 15),
            (120, 15),
            (1_440, 15),
        ] {
            let minutes = count(&mut window, now, since_min * MINUTE_MS, 1) / 10;
            assert!(
                (since_min..=since_min + wide_min).contains(&minutes),
                "{minutes} of {since_min}"
            );
            let span = window.since(now, since_min * MINUTE_MS);
            assert_eq!(span.tally.samples, minutes);
            assert!(now - span.from_ms >= since_min * MINUTE_MS);
            assert!(now - span.from_ms <= (since_min + wide_min) * MINUTE_MS);
        }
        assert!(window.minutes.ended.len() <= 60 && window.quarters.ended.len() <= 96);
    }

    #[test]
    fn what_is_older_is_forgotten_also_when_nobody_came_by() {
        let mut window = Window::new(16, START);
        window.add(START, 1, values(1));
        assert_eq!(count(&mut window, START + 59_000, MINUTE_MS, 1), 1);
        assert_eq!(count(&mut window, START + 3 * MINUTE_MS, MINUTE_MS, 1), 0);
        assert_eq!(count(&mut window, START + HOUR_MS, LONGEST_MS, 1), 1);
        let later = START + LONGEST_MS + 2 * QUARTER_MS;
        assert_eq!(count(&mut window, later, LONGEST_MS, 1), 0);
        window.add(later, 1, values(2));
        window.add(later + 16 * MINUTE_MS, 1, values(2));
        assert!(window.quarters.ended.len() <= 1);
    }

    #[test]
    fn a_clock_that_goes_back_loses_nothing() {
        let mut window = Window::new(16, START);
        window.add(START, 1, values(1));
        window.add(START - HOUR_MS, 1, values(1));
        assert_eq!(count(&mut window, START, MINUTE_MS, 1), 2);
        assert_eq!(count(&mut window, START - HOUR_MS, MINUTE_MS, 1), 2);
    }

    #[test]
    fn dropped_samples_are_told_and_counts_begin_with_the_process() {
        let mut window = Window::new(16, START);
        window.dropped(START, 7);
        window.add(START, 3, values(1));
        let span = window.since(START + 1_000, LONGEST_MS);
        assert_eq!(
            span.tally,
            Tally {
                samples: 1,
                requests: 3,
                dropped: 7
            }
        );
        assert_eq!(span.from_ms, START);
    }
}
