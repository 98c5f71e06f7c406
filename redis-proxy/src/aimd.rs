//! Adaptive factors (R19): when an upstream suffers, its tiers shrink, lowest rank first; when it is
//! well again they grow back, highest rank first. Multiplicative decrease, additive increase.
//! Pure: reports and ticks in, factors out.
//!
//! Factors belong to one redis-proxy: with several behind a balancer each sees a sample of the reports.

use std::collections::BTreeMap;

use wire::load::{FULL, LoadReport, TierFactor, UpstreamFactors};

/// When to shrink, by how much, how far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Lowest factor, thousandths, 1 to 1,000.
    pub floor_permille: u32,
    /// What a factor is multiplied by in a bad interval, thousandths, below 1,000.
    pub decrease_permille: u32,
    /// What a factor gains in a good interval, thousandths, 1 to 1,000.
    pub increase_permille: u32,
    /// An interval is bad above this share of failures, percent.
    pub failure_percent: u32,
    /// An interval is bad above this mean latency, milliseconds.
    pub latency_ms: u64,
    /// An interval with fewer requests is not bad, whatever they say.
    pub min_requests: u64,
}

/// Most upstreams told apart; further ones stay at full rate.
pub const MAX_UPSTREAMS: usize = 1_024;
/// A healthy upstream is forgotten after so many intervals without requests.
const FORGET_AFTER: u32 = 30;

#[derive(Clone, Debug, Default)]
struct Upstream {
    requests: u64,
    failures: u64,
    latency_ms_sum: u64,
    idle: u32,
    /// By rank; a rank that is not listed is at [`FULL`].
    permille: BTreeMap<u8, u32>,
}

/// The factors of all upstreams.
#[derive(Clone, Debug)]
pub struct Adaptive {
    settings: Settings,
    /// (rank, name), lowest first.
    tiers: Vec<(u8, String)>,
    upstreams: BTreeMap<String, Upstream>,
}

impl Adaptive {
    /// `tiers` with their ranks, in any order.
    #[must_use]
    pub fn new(settings: Settings, tiers: impl IntoIterator<Item = (u8, String)>) -> Self {
        let mut adaptive = Self {
            settings,
            tiers: Vec::new(),
            upstreams: BTreeMap::new(),
        };
        adaptive.configure(settings, tiers);
        adaptive
    }

    /// New settings or tiers; factors stay, within the new floor.
    pub fn configure(&mut self, settings: Settings, tiers: impl IntoIterator<Item = (u8, String)>) {
        self.settings = settings;
        self.tiers = tiers.into_iter().collect();
        self.tiers.sort();
        for permille in self
            .upstreams
            .values_mut()
            .flat_map(|u| u.permille.values_mut())
        {
            *permille = (*permille).clamp(settings.floor_permille.min(FULL), FULL);
        }
    }

    /// What a worker saw. Counts that contradict themselves are cut to what is possible.
    pub fn report(&mut self, report: &LoadReport) {
        for load in &report.upstreams {
            if self.upstreams.len() >= MAX_UPSTREAMS && !self.upstreams.contains_key(&load.upstream)
            {
                continue;
            }
            let upstream = self.upstreams.entry(load.upstream.clone()).or_default();
            upstream.requests = upstream.requests.saturating_add(load.requests);
            upstream.failures = upstream
                .failures
                .saturating_add(load.failures.min(load.requests));
            upstream.latency_ms_sum = upstream.latency_ms_sum.saturating_add(load.latency_ms_sum);
        }
    }

    /// The end of an interval.
    pub fn tick(&mut self) {
        let (settings, tiers) = (self.settings, &self.tiers);
        self.upstreams.retain(|_, upstream| {
            upstream.judge(&settings, tiers);
            !upstream.permille.is_empty() || upstream.idle < FORGET_AFTER
        });
    }

    /// Upstreams that are not at full rate.
    #[must_use]
    pub fn factors(&self) -> Vec<UpstreamFactors> {
        self.upstreams
            .iter()
            .filter(|(_, upstream)| !upstream.permille.is_empty())
            .map(|(name, upstream)| UpstreamFactors {
                upstream: name.clone(),
                tiers: self
                    .tiers
                    .iter()
                    .map(|(rank, tier)| TierFactor {
                        tier: tier.clone(),
                        permille: upstream.permille.get(rank).copied().unwrap_or(FULL),
                    })
                    .collect(),
            })
            .collect()
    }
}

impl Upstream {
    fn judge(&mut self, settings: &Settings, tiers: &[(u8, String)]) {
        let bad = self.is_bad(settings);
        self.idle = if self.requests == 0 {
            self.idle.saturating_add(1)
        } else {
            0
        };
        (self.requests, self.failures, self.latency_ms_sum) = (0, 0, 0);

        let floor = settings.floor_permille.clamp(1, FULL);
        let factor = |rank: &u8| self.permille.get(rank).copied().unwrap_or(FULL);
        let mut ranks = tiers.iter().map(|(rank, _)| *rank);
        if bad {
            if let Some(rank) = ranks.find(|rank| factor(rank) > floor) {
                let shrunk = factor(&rank).saturating_mul(settings.decrease_permille);
                let shrunk = shrunk.checked_div(FULL).unwrap_or(0).clamp(floor, FULL);
                self.permille.insert(rank, shrunk);
            }
        } else if let Some(rank) = ranks.rev().find(|rank| factor(rank) < FULL) {
            let grown = factor(&rank)
                .saturating_add(settings.increase_permille.max(1))
                .min(FULL);
            self.permille.insert(rank, grown);
        }
        let ranks: Vec<u8> = tiers.iter().map(|(rank, _)| *rank).collect();
        self.permille
            .retain(|rank, permille| *permille < FULL && ranks.contains(rank));
    }

    fn is_bad(&self, settings: &Settings) -> bool {
        let allowed = self
            .requests
            .saturating_mul(u64::from(settings.failure_percent));
        self.requests >= settings.min_requests.max(1)
            && (self.failures.saturating_mul(100) > allowed
                || self.latency_ms_sum > self.requests.saturating_mul(settings.latency_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::load::UpstreamLoad;

    const SETTINGS: Settings = Settings {
        floor_permille: 100,
        decrease_permille: 500,
        increase_permille: 100,
        failure_percent: 5,
        latency_ms: 500,
        min_requests: 20,
    };

    fn adaptive() -> Adaptive {
        Adaptive::new(
            SETTINGS,
            [(2, "p1".into()), (0, "p3".into()), (1, "p2".into())],
        )
    }

    fn after(adaptive: &mut Adaptive, requests: u64, failures: u64, latency_ms: u64) -> [u32; 3] {
        adaptive.report(&LoadReport {
            upstreams: vec![UpstreamLoad {
                upstream: "api".into(),
                requests,
                failures,
                latency_ms_sum: requests * latency_ms,
            }],
        });
        adaptive.tick();
        now(adaptive)
    }

    fn now(adaptive: &Adaptive) -> [u32; 3] {
        let factors = adaptive.factors();
        ["p3", "p2", "p1"].map(|tier| factors.first().map_or(FULL, |f| f.permille(tier)))
    }

    #[test]
    fn the_lowest_tier_shrinks_to_the_floor_before_the_next_begins() {
        let mut adaptive = adaptive();
        let seen: Vec<_> = (0..6).map(|_| after(&mut adaptive, 100, 50, 1)).collect();
        let expected = [
            [500, 1_000, 1_000],
            [250, 1_000, 1_000],
            [125, 1_000, 1_000],
            [100, 1_000, 1_000],
            [100, 500, 1_000],
            [100, 250, 1_000],
        ];
        assert_eq!(seen, expected);
        for _ in 0..20 {
            after(&mut adaptive, 100, 100, 1);
        }
        assert_eq!(now(&adaptive), [100; 3], "never below the floor");
    }

    #[test]
    fn recovery_is_additive_and_the_highest_tier_comes_first() {
        let mut adaptive = adaptive();
        for _ in 0..6 {
            after(&mut adaptive, 100, 50, 1);
        }
        assert_eq!(after(&mut adaptive, 100, 0, 1), [100, 350, 1_000]);
        for _ in 0..8 {
            after(&mut adaptive, 100, 0, 1);
        }
        assert_eq!(now(&adaptive), [200, 1_000, 1_000]);
        for _ in 0..8 {
            adaptive.tick();
        }
        assert_eq!(now(&adaptive), [1_000; 3], "also without traffic");
        assert!(adaptive.factors().is_empty());
    }

    #[test]
    fn latency_alone_is_enough_and_few_requests_are_not() {
        assert_eq!(after(&mut adaptive(), 100, 0, 501), [500, 1_000, 1_000]);
        assert_eq!(after(&mut adaptive(), 100, 0, 500), [1_000; 3]);
        assert_eq!(
            after(&mut adaptive(), 100, 5, 1),
            [1_000; 3],
            "5 % is allowed"
        );
        assert_eq!(after(&mut adaptive(), 100, 6, 1), [500, 1_000, 1_000]);
        assert_eq!(after(&mut adaptive(), 19, 19, 9_000), [1_000; 3]);
    }

    #[test]
    fn upstreams_are_bounded_and_forgotten() {
        let mut adaptive = adaptive();
        for i in 0..MAX_UPSTREAMS * 2 {
            let upstream = format!("u{i}");
            let load = UpstreamLoad {
                upstream,
                requests: 1,
                failures: 2,
                latency_ms_sum: u64::MAX,
            };
            adaptive.report(&LoadReport {
                upstreams: vec![load],
            });
        }
        assert_eq!(adaptive.upstreams.len(), MAX_UPSTREAMS);
        for _ in 0..=FORGET_AFTER {
            adaptive.tick();
        }
        assert_eq!(adaptive.upstreams.len(), 0);
    }

    #[test]
    fn a_raised_floor_and_a_removed_tier_apply_at_once() {
        let mut adaptive = adaptive();
        for _ in 0..6 {
            after(&mut adaptive, 100, 50, 1);
        }
        adaptive.configure(
            Settings {
                floor_permille: 300,
                ..SETTINGS
            },
            [(1, "p2".into())],
        );
        assert_eq!(now(&adaptive), [1_000, 300, 1_000]);
    }
}
