//! Who comes by most: top fingerprints and addresses of what the filters have sampled (C3, D8).

pub mod country;
pub mod refusals;
pub mod summary;
pub mod window;

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use wire::{
    lists::{Kind, Member},
    samples::{Sample, SampleBatch},
};

use self::{
    country::Country,
    refusals::{Minutes, Refusals},
    summary::{Counted, Merged},
    window::{Span, Values, Window},
};

/// What there are counts of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Counts {
    /// JA3 hashes.
    Ja3,
    /// JA4 fingerprints.
    Ja4,
    /// Addresses of clients.
    Ip,
}

impl Counts {
    /// All of them.
    pub const ALL: [Self; window::KINDS] = [Self::Ja3, Self::Ja4, Self::Ip];

    const fn number(self) -> usize {
        match self {
            Self::Ja3 => 0,
            Self::Ja4 => 1,
            Self::Ip => 2,
        }
    }
}

/// The counts of this process. They are kept in memory only and begin with the process.
#[derive(Debug)]
pub struct Fingerprints {
    window: Mutex<Window>,
    refusals: Mutex<Minutes>,
    /// Addresses alone, of requests that were answered with 4xx.
    of_4xx: Mutex<Window>,
}

/// A client among the heaviest of its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heavy {
    /// `ja3`, `ja4`, `ip`, or `ip_4xx`: by what was answered with 400 to 499.
    pub kind: &'static str,
    /// The fingerprint or the address.
    pub value: String,
    /// Requests that samples stand for, at most.
    pub requests: u64,
}

/// How far back [`Fingerprints::heaviest`] looks, milliseconds.
const HEAVIEST_OF_MS: u64 = 3_600_000;

/// What became of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Samples that were counted.
    pub samples: u64,
    /// Values in them that are none of their kind, and are not counted.
    pub malformed: u64,
    /// Requests that they stand for, by country.
    pub countries: BTreeMap<Country, u64>,
}

impl Fingerprints {
    /// With `room` counters per kind and bucket of time.
    #[must_use]
    pub fn new(room: usize, now_ms: u64) -> Self {
        Self {
            window: Mutex::new(Window::new(room, now_ms)),
            refusals: Mutex::new(Minutes::new(now_ms)),
            of_4xx: Mutex::new(Window::new(room, now_ms)),
        }
    }

    /// Counts a batch as of now, by the clock of this process.
    pub fn take(&self, now_ms: u64, batch: &SampleBatch) -> Taken {
        let mut taken = Taken::default();
        let mut read = |kind, value: &str| {
            let member = Member::parse(kind, value).ok();
            if member.is_none() {
                taken.malformed = taken.malformed.saturating_add(1);
            }
            member
        };
        let values = |sample: &Sample| -> Values {
            let mut known =
                |kind, value: &Option<String>| value.as_deref().and_then(|v| read(kind, v));
            let ja3 = known(Kind::Ja3, &sample.ja3_hash);
            let ja4 = known(Kind::Ja4, &sample.ja4);
            [ja3, ja4, read(Kind::Ip, &sample.ip)]
        };
        let values: Vec<Values> = batch.samples.iter().map(values).collect();
        taken.samples = u64::try_from(values.len()).unwrap_or(u64::MAX);
        for country in batch.samples.iter().filter_map(|s| s.country.as_deref()) {
            match Country::parse(country) {
                Some(country) => {
                    let requests = taken.countries.entry(country).or_default();
                    *requests = requests.saturating_add(u64::from(batch.every));
                }
                None => taken.malformed = taken.malformed.saturating_add(1),
            }
        }
        self.take_4xx(now_ms, batch, &values);
        let mut window = self.window();
        if batch.dropped > 0 {
            window.dropped(now_ms, batch.dropped);
        }
        for values in values {
            window.add(now_ms, batch.every, values);
        }
        drop(window);
        let mut refusals = self.minutes();
        for sample in &batch.samples {
            refusals.add(now_ms, sample.status_code, batch.every);
        }
        taken
    }

    fn take_4xx(&self, now_ms: u64, batch: &SampleBatch, values: &[Values]) {
        let refused = |(sample, _): &(&Sample, _)| (400..=499).contains(&sample.status_code);
        let mut window = self.of_4xx.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, [.., ip]) in batch.samples.iter().zip(values).filter(refused) {
            window.add(now_ms, batch.every, [None, None, *ip]);
        }
    }

    /// The heaviest of the last hour, `top` of each kind, and as many addresses by what they were refused.
    #[must_use]
    pub fn heaviest(&self, now_ms: u64, top: usize) -> Vec<Heavy> {
        let span = self.window().since(now_ms, HEAVIEST_OF_MS);
        let refused = self
            .of_4xx
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .since(now_ms, HEAVIEST_OF_MS);
        let ip = Counts::Ip;
        let kinds = [
            ("ja3", Counts::Ja3, &span),
            ("ja4", Counts::Ja4, &span),
            ("ip", ip, &span),
            ("ip_4xx", ip, &refused),
        ];
        let heavy = |(kind, counts, span): (&'static str, Counts, &Span)| {
            let counted = span.merged(counts.number()).counted;
            counted.into_iter().take(top).map(move |counted| Heavy {
                kind,
                value: counted.member.to_string(),
                requests: counted.most,
            })
        };
        kinds.into_iter().flat_map(heavy).collect()
    }

    /// The heaviest of the last `since_ms`, `top` of each kind, or of one.
    #[must_use]
    pub fn top(&self, now_ms: u64, since_ms: u64, top: usize, kind: Option<Counts>) -> Top {
        let span = self.window().since(now_ms, since_ms);
        let kinds = Counts::ALL
            .into_iter()
            .filter(|counts| kind.is_none_or(|kind| kind == *counts));
        Top {
            from_ms: span.from_ms,
            to_ms: now_ms,
            samples: span.tally.samples,
            requests: span.tally.requests,
            dropped: span.tally.dropped,
            kinds: kinds.map(|counts| TopOf::new(counts, &span, top)).collect(),
        }
    }

    /// What was refused in the last hour, minute by minute.
    #[must_use]
    pub fn refusals(&self, now_ms: u64) -> Refusals {
        self.minutes().show(now_ms)
    }

    fn minutes(&self) -> MutexGuard<'_, Minutes> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who came by most, as far as it was sampled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Top {
    /// From when on samples are counted, milliseconds since 1970: up to a minute before what was asked for, up to
    /// 15 minutes above `since=1h`; not before this process started.
    pub from_ms: u64,
    /// Until when: now.
    pub to_ms: u64,
    /// Samples in that time.
    pub samples: u64,
    /// Requests that they stand for: each sample as many as its gateway says that it sampled one of.
    pub requests: u64,
    /// Samples that gateways had no room for; they are in no other count.
    pub dropped: u64,
    /// One for each kind that was asked for.
    pub kinds: Vec<TopOf>,
}

/// The heaviest values of a kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TopOf {
    /// Of which kind.
    pub kind: Counts,
    /// Samples that have a value of this kind.
    pub samples: u64,
    /// Requests that they stand for.
    pub requests: u64,
    /// No count below is further off than this many requests, and no value that is left out of the counting had
    /// more of them. 0: the counts are exact.
    pub error_bound: u64,
    /// Heaviest first.
    pub top: Vec<Counter>,
}

/// How often a value came by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Counter {
    /// The value.
    pub value: String,
    /// Samples that had it; with an `error`, at least so many.
    pub samples: u64,
    /// Requests that these stand for, at most; at least `requests` - `error`.
    pub requests: u64,
    /// By how many `requests` may be too many, because values shared counters.
    pub error: u64,
}

impl TopOf {
    fn new(kind: Counts, span: &Span, top: usize) -> Self {
        let Merged {
            counted,
            lost,
            total,
            additions,
        } = span.merged(kind.number());
        Self {
            kind,
            samples: additions,
            requests: total,
            error_bound: lost,
            top: counted.into_iter().take(top).map(Counter::from).collect(),
        }
    }
}

impl From<Counted> for Counter {
    fn from(counted: Counted) -> Self {
        Self {
            value: counted.member.to_string(),
            samples: counted.seen,
            requests: counted.most,
            error: counted.error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_790_000_000_000;

    fn sample(ip: &str, ja4: Option<&str>) -> Sample {
        Sample {
            ip: ip.to_owned(),
            ja4: ja4.map(str::to_owned),
            ..Sample::default()
        }
    }

    #[test]
    fn batches_of_different_rates_are_scaled() {
        let fingerprints = Fingerprints::new(16, NOW);
        let batch = |every, samples| SampleBatch {
            every,
            dropped: 1,
            samples,
        };
        let chrome = Some("t13d1516h2_8daaf6152771_e5627efa2ab1");
        let one = batch(
            10,
            vec![
                sample("192.0.2.1", chrome),
                sample("::ffff:192.0.2.1", None),
            ],
        );
        let taken = fingerprints.take(NOW, &one);
        assert_eq!((taken.samples, taken.malformed), (2, 0));
        let other = batch(
            1,
            vec![sample("192.0.2.2", Some("junk")), sample("?", None)],
        );
        assert_eq!(fingerprints.take(NOW, &other).malformed, 2);

        let top = fingerprints.top(NOW + 1, 60_000, 50, None);
        assert_eq!((top.samples, top.requests, top.dropped), (4, 22, 2));
        let [ja3, ja4, ip] = top.kinds.as_slice() else {
            panic!("three kinds")
        };
        assert_eq!((ja3.samples, ja3.top.len()), (0, 0));
        assert_eq!((ja4.samples, ja4.requests), (1, 10));
        let expected =
            [("192.0.2.1", 2, 20), ("192.0.2.2", 1, 1)].map(|(value, samples, requests)| Counter {
                value: value.to_owned(),
                samples,
                requests,
                error: 0,
            });
        assert_eq!(ip.top, expected);
        assert_eq!(ip.error_bound, 0);

        let heavy = fingerprints.heaviest(NOW + 1, 1);
        let heavy: Vec<(&str, &str, u64)> = heavy
            .iter()
            .map(|heavy| (heavy.kind, heavy.value.as_str(), heavy.requests))
            .collect();
        let expected = [
            ("ja4", "t13d1516h2_8daaf6152771_e5627efa2ab1", 10),
            ("ip", "192.0.2.1", 20),
        ];
        assert_eq!(heavy, expected);

        let one = fingerprints.top(NOW + 1, 60_000, 1, Some(Counts::Ip));
        assert_eq!(one.kinds.len(), 1);
        assert_eq!(one.kinds[0].top.len(), 1);
    }

    #[test]
    fn refusals_and_countries_are_counted_apart() {
        let fingerprints = Fingerprints::new(16, NOW);
        let of = |ip: &str, status_code, country: &str| Sample {
            status_code,
            country: Some(country.to_owned()),
            ..sample(ip, None)
        };
        let batch = SampleBatch {
            every: 10,
            dropped: 0,
            samples: vec![
                of("192.0.2.1", 200, "DE"),
                of("192.0.2.1", 500, "DE"),
                of("192.0.2.2", 403, "AF"),
                of("192.0.2.2", 429, "x"),
                of("192.0.2.3", 400, "DEU"),
            ],
        };
        let taken = fingerprints.take(NOW, &batch);
        let countries: Vec<(String, u64)> = taken
            .countries
            .iter()
            .map(|(country, requests)| (country.to_string(), *requests))
            .collect();
        assert_eq!(countries, [("AF".to_owned(), 10), ("DE".to_owned(), 20)]);
        assert_eq!(taken.malformed, 2);
        let heavy = fingerprints.heaviest(NOW + 1, 20);
        let refused: Vec<(&str, u64)> = heavy
            .iter()
            .filter(|heavy| heavy.kind == "ip_4xx")
            .map(|heavy| (heavy.value.as_str(), heavy.requests))
            .collect();
        assert_eq!(refused, [("192.0.2.2", 20), ("192.0.2.3", 10)]);
    }
}
