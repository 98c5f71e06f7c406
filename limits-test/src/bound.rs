//! What a limit may admit, and whether it did, over every window there is.
//!
//! When exactly a gateway admitted a request cannot be seen from outside, only that it was between
//! sending and receiving. So a request counts for a window if both lie in it: what is found to be too
//! much was too much.

use wire::limits::{LEASE_LIFE_MS, Limit, Shape, TOLERANCE_MS};

/// An admitted request, nanoseconds since the beginning of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admitted {
    pub sent: u64,
    pub received: u64,
}

/// `tokens_per_ns * T + capacity`: one bucket.
#[derive(Clone, Copy, Debug)]
struct Line {
    per_ns: f64,
    capacity: f64,
}

impl Line {
    fn at(self, ns: f64) -> f64 {
        self.per_ns * ns + self.capacity
    }
}

/// The sustained and the peak bucket, without the life of leases.
fn lines(limit: &Limit, burst: u64, peak: u64) -> [Line; 2] {
    let per_ns = |tokens: u64| tokens as f64 / (limit.period_ms as f64 * 1e6);
    let peak_capacity = per_ns(peak) * TOLERANCE_MS as f64 * 1e6;
    [
        Line {
            per_ns: per_ns(limit.tokens),
            capacity: (burst as f64).max(1.0),
        },
        Line {
            per_ns: per_ns(peak),
            capacity: peak_capacity.max(1.0),
        },
    ]
}

/// By how many requests the fullest window of all stayed below the bound, each bucket by itself;
/// -1 and less is a broken promise (the bound is rounded up to a whole request). `None` without requests.
#[must_use]
pub fn least_room(limit: &Limit, admitted: &[Admitted]) -> Option<f64> {
    if admitted.is_empty() {
        return None;
    }
    let life = LEASE_LIFE_MS as f64 * 1e6;
    Some(match limit.shape {
        Shape::Paced { burst, peak } => lines(limit, burst, peak)
            .map(|line| line.at(life) - most_above(line.per_ns, admitted))
            .into_iter()
            .fold(f64::INFINITY, f64::min),
        Shape::Window {} => {
            limit.tokens as f64 - most_within(limit.period_ms * 1_000_000, admitted) as f64
        }
    })
}

/// Whether no window broke the promise.
#[must_use]
pub fn holds(limit: &Limit, admitted: &[Admitted]) -> bool {
    // A thousandth of a request is what adding up numbers may lose.
    let broken = match limit.shape {
        Shape::Paced { .. } => -1.0 + 1e-3,
        Shape::Window {} => -1.0,
    };
    least_room(limit, admitted).is_none_or(|room| room > broken)
}

/// What a key that was never used may admit within so long, leases left out.
#[must_use]
pub fn allowed(limit: &Limit, ns: u64) -> f64 {
    match limit.shape {
        Shape::Paced { burst, peak } => lines(limit, burst, peak)
            .map(|line| line.at(ns as f64))
            .into_iter()
            .fold(f64::INFINITY, f64::min),
        Shape::Window {} => {
            let back_after = (limit.period_ms + LEASE_LIFE_MS) * 1_000_000;
            (limit.tokens * (ns / back_after + 1)) as f64
        }
    }
}

/// The largest of `requests in the window - per_ns * its length` over all windows.
///
/// Requests enter in order of receipt. Over their order of sending stands a tree that knows the best
/// beginning for a window that ends now.
fn most_above(per_ns: f64, admitted: &[Admitted]) -> f64 {
    let mut by_sent: Vec<usize> = (0..admitted.len()).collect();
    by_sent.sort_by_key(|&i| admitted[i].sent);
    let mut place = vec![0; admitted.len()];
    for (at, &i) in by_sent.iter().enumerate() {
        place[i] = at;
    }
    let mut by_received: Vec<usize> = (0..admitted.len()).collect();
    by_received.sort_by_key(|&i| admitted[i].received);

    let leaves = admitted.len().next_power_of_two();
    let mut tree = vec![Node::EMPTY; 2 * leaves];
    let mut most = f64::NEG_INFINITY;
    for i in by_received {
        let mut at = leaves + place[i];
        tree[at] = Node {
            requests: 1.0,
            best: per_ns * admitted[i].sent as f64 + 1.0,
        };
        while at > 1 {
            at /= 2;
            tree[at] = Node::of(tree[2 * at], tree[2 * at + 1]);
        }
        most = most.max(tree[1].best - per_ns * admitted[i].received as f64);
    }
    most
}

/// Neighbours in the order of sending.
#[derive(Clone, Copy)]
struct Node {
    requests: f64,
    /// The largest of `per_ns * sent of i + requests of this node from i on`.
    best: f64,
}

impl Node {
    const EMPTY: Self = Self {
        requests: 0.0,
        best: f64::NEG_INFINITY,
    };

    fn of(earlier: Self, later: Self) -> Self {
        Self {
            requests: earlier.requests + later.requests,
            best: later.best.max(earlier.best + later.requests),
        }
    }
}

/// The most requests within a window of this length.
fn most_within(length: u64, admitted: &[Admitted]) -> usize {
    let mut latest_first = admitted.to_vec();
    latest_first.sort_by_key(|request| std::cmp::Reverse(request.sent));
    let mut received = Vec::new();
    let mut most = 0;
    for request in latest_first {
        let at = received.partition_point(|&r| r < request.received);
        received.insert(at, request.received);
        let end = request.sent + length;
        most = most.max(received.partition_point(|&r| r <= end));
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const MS: u64 = 1_000_000;

    /// Requests one after the other, each answered a millisecond after it was sent.
    fn stream(from: u64, apart: u64, count: u64) -> Vec<Admitted> {
        (0..count)
            .map(|n| from + n * apart)
            .map(|sent| Admitted {
                sent,
                received: sent + MS,
            })
            .collect()
    }

    /// The same by trying every pair.
    fn slow_most_above(per_ns: f64, admitted: &[Admitted]) -> f64 {
        let mut most = f64::NEG_INFINITY;
        for a in admitted {
            for b in admitted.iter().filter(|b| b.received >= a.sent) {
                let inside = admitted
                    .iter()
                    .filter(|x| x.sent >= a.sent && x.received <= b.received)
                    .count();
                if inside > 0 {
                    let length = (b.received - a.sent) as f64;
                    most = most.max(inside as f64 - per_ns * length);
                }
            }
        }
        most
    }

    /// Numbers that look like chance and are the same every time.
    fn chance(seed: &mut u64) -> u64 {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        *seed
    }

    #[test]
    fn the_tree_finds_what_trying_every_pair_finds() {
        let mut seed = 42;
        for round in 0..60 {
            let admitted: Vec<Admitted> = (0..40)
                .map(|_| {
                    let sent = chance(&mut seed) % (200 * MS);
                    Admitted {
                        sent,
                        received: sent + chance(&mut seed) % (30 * MS),
                    }
                })
                .collect();
            let per_ns = (round + 1) as f64 * 20.0 / SECOND as f64;
            let (fast, slow) = (
                most_above(per_ns, &admitted),
                slow_most_above(per_ns, &admitted),
            );
            assert!((fast - slow).abs() < 1e-6, "round {round}: {fast} {slow}");
        }
    }

    #[test]
    fn an_even_stream_at_the_limit_holds_and_a_faster_one_does_not() {
        let limit = Limit::without_burst(1_000, 1_000);
        assert!(holds(&limit, &stream(0, MS, 20_000)));
        // 1 % above the rate is 100 ms of it after ten seconds, and 200 ms more for leases after thirty.
        let fast = stream(0, MS * 100 / 101, 40_000);
        assert!(holds(&limit, &fast[..20_000]));
        assert!(!holds(&limit, &fast));
    }

    #[test]
    fn a_burst_anywhere_is_found() {
        let limit = Limit::without_burst(1_000, 1_000);
        let mut admitted = stream(0, 2 * MS, 5_000);
        assert!(holds(&limit, &admitted));
        // 300 tokens at once are what bucket and leases explain; 320 on top of half the rate are not.
        admitted.extend(stream(5 * SECOND, 1_000, 320));
        assert!(!holds(&limit, &admitted));
        assert!(least_room(&limit, &admitted).unwrap() < -15.0);
    }

    #[test]
    fn twice_the_rate_holds_for_ten_seconds_with_the_default_burst_and_not_longer() {
        let limit = Limit::paced(100, 1_000);
        let twice = stream(0, 5 * MS, 3_000);
        assert!(holds(&limit, &twice[..2_000]));
        assert!(!holds(&limit, &twice));
        assert!(!holds(&limit, &stream(0, MS, 100)), "above the peak");
    }

    #[test]
    fn what_may_have_been_admitted_outside_does_not_count() {
        let limit = Limit::without_burst(10, 1_000);
        let slow: Vec<Admitted> = (0..30)
            .map(|n| Admitted {
                sent: 0,
                received: 2_900 * MS + n,
            })
            .collect();
        assert!(holds(&limit, &slow), "30 within 2.9 s");
        let quick: Vec<Admitted> = slow
            .iter()
            .map(|a| Admitted {
                sent: a.received - 1_000 * MS,
                ..*a
            })
            .collect();
        assert!(!holds(&limit, &quick), "30 within 1 s");
    }

    #[test]
    fn a_count_is_exact() {
        let limit = Limit::window(5, 60_000);
        assert!(holds(&limit, &stream(0, 100 * MS, 5)));
        assert!(!holds(&limit, &stream(0, 100 * MS, 6)));
        let mut admitted = stream(0, 100 * MS, 5);
        admitted.extend(stream(60 * SECOND + 500 * MS, 100 * MS, 5));
        assert!(holds(&limit, &admitted));
        admitted.push(Admitted {
            sent: 59 * SECOND,
            received: 59 * SECOND + MS,
        });
        assert!(!holds(&limit, &admitted));
    }

    #[test]
    fn nothing_holds_always() {
        assert!(holds(&Limit::window(5, 60_000), &[]));
        assert_eq!(least_room(&Limit::paced(5, 1_000), &[]), None);
    }

    #[test]
    fn what_is_allowed_is_the_lower_bucket() {
        let limit = Limit::paced(100, 1_000);
        assert!((allowed(&limit, SECOND) - 220.0).abs() < 1e-6);
        assert!((allowed(&limit, 20 * SECOND) - 3_000.0).abs() < 1e-6);
        let login = Limit::window(5, 60_000);
        assert!((allowed(&login, 60 * SECOND) - 5.0).abs() < 1e-6);
        assert!((allowed(&login, 61 * SECOND) - 10.0).abs() < 1e-6);
    }
}
