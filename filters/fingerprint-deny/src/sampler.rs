//! Every Nth request, to the log and in batches to the control API (D8). No request waits for it.

use std::collections::VecDeque;
use std::time::Duration;

use policy::{
    Answer, Callout, CalloutError, Cx, Effects, Head, Level, Sample as Movement, Service, Time,
};
use wire::samples::{MAX_SAMPLES, MAX_TEXT_BYTES, SAMPLES_PATH, Sample, SampleBatch};

use crate::FingerprintDeny;
use crate::metric::DenyMetric;

const SEND_EVERY: Duration = Duration::from_secs(1);
/// After a batch that nobody took.
const AFTER_FAILURE: Duration = Duration::from_secs(5);
/// Longest answer that is read.
const MAX_ANSWER: usize = 64 * 1_024;

/// What was sampled and not sent yet.
#[derive(Debug)]
pub(crate) struct Sampler {
    /// Requests since the last one that was sampled.
    passed: u32,
    waiting: VecDeque<Sample>,
    capacity: usize,
    /// Samples that found no room since the last batch.
    dropped: u64,
    /// A batch of so many is on its way.
    under_way: Option<usize>,
    rests: Option<(Time, Time)>,
}

impl Sampler {
    pub const fn new(capacity: usize) -> Self {
        Self {
            passed: 0,
            waiting: VecDeque::new(),
            capacity,
            dropped: 0,
            under_way: None,
            rests: None,
        }
    }

    /// Whether this request is to be sampled: the `every`th, then each `every`th; none if that is 0.
    pub const fn is_next(&mut self, every: u32) -> bool {
        self.passed = self.passed.saturating_add(1);
        let next = every != 0 && self.passed >= every;
        if next {
            self.passed = 0;
        }
        next
    }

    /// The batch to send, if it is time for one.
    pub fn send(&mut self, every: u32, service: &Service, now: Time) -> Option<Callout> {
        let rests = self
            .rests
            .is_some_and(|(from, until)| from <= now && now < until);
        if rests || self.under_way.is_some() || self.waiting.is_empty() {
            return None;
        }
        self.rests = Some((now, now.plus(SEND_EVERY)));
        let count = self.waiting.len().min(MAX_SAMPLES);
        let batch = SampleBatch {
            every: every.max(1),
            dropped: std::mem::take(&mut self.dropped),
            samples: self.waiting.drain(..count).collect(),
        };
        let body = serde_json::to_vec(&batch).ok()?;
        self.under_way = Some(count);
        Some(service.callout("POST", SAMPLES_PATH, body, MAX_ANSWER))
    }

    /// Takes the end of a batch. One whose end is not known is not sent again, so that nothing is counted twice.
    pub fn sent(
        &mut self,
        answer: Result<Answer<'_>, CalloutError>,
        now: Time,
        effects: &mut Effects<DenyMetric>,
    ) {
        let Some(count) = self.under_way.take() else {
            return;
        };
        let taken = answer.is_ok_and(|answer| (200..=299).contains(&answer.status));
        if !taken {
            self.rests = Some((now, now.plus(AFTER_FAILURE)));
        }
        effects.samples.push(Movement {
            metric: DenyMetric::Samples {
                result: if taken { "sent" } else { "lost" },
            },
            value: u64::try_from(count).unwrap_or(u64::MAX),
        });
    }

    fn add(&mut self, sample: Sample) -> bool {
        let room = self.waiting.len() < self.capacity;
        if room {
            self.waiting.push_back(sample);
        } else {
            self.dropped = self.dropped.saturating_add(1);
        }
        room
    }
}

/// Notes a sample that is complete.
pub(crate) fn take(mut sample: Sample, cx: &mut Cx<'_, FingerprintDeny>) {
    sample.at_ms = cx.now.as_nanos() / 1_000_000;
    cx.effects.count(DenyMetric::Samples { result: "taken" });
    if cx.config.sampling.access_log
        && let Ok(line) = serde_json::to_string(&sample)
    {
        cx.effects
            .log(Level::Info, format!("fingerprint_deny: sample {line}"));
    }
    if cx.config.lists.is_some() && cx.config.sampling.send && !cx.keeper.sampler.add(sample) {
        cx.effects.count(DenyMetric::Samples { result: "dropped" });
    }
}

/// The first value of a header as text, cut to what a sample may hold.
pub(crate) fn text(head: &Head, header: &str) -> Option<String> {
    head.first(header).and_then(cut)
}

/// Text, cut to what a sample may hold; `None` if there is none.
pub(crate) fn cut(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let end = text.floor_char_boundary(MAX_TEXT_BYTES);
    let text = text.get(..end)?;
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn every_nth_request_is_next() {
        for (every, of_a_thousand) in [(0, 0), (1, 1_000), (3, 333), (10, 100), (2_000, 0)] {
            let mut sampler = Sampler::new(10);
            let sampled = (0..1_000).filter(|_| sampler.is_next(every)).count();
            assert_eq!(sampled, of_a_thousand, "{every}");
        }
    }

    #[test]
    fn what_finds_no_room_is_counted_and_the_oldest_stay() {
        let mut sampler = Sampler::new(2);
        for ip in ["a", "b", "c"] {
            let sample = Sample {
                ip: ip.into(),
                ..Sample::default()
            };
            assert_eq!(sampler.add(sample), ip != "c");
        }
        assert_eq!((sampler.waiting.len(), sampler.dropped), (2, 1));
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(cut(b""), None);
        assert_eq!(cut(&[b'a'; 300]).map(|text| text.len()), Some(256));
        let umlauts = "ü".repeat(200);
        assert_eq!(cut(umlauts.as_bytes()).map(|text| text.len()), Some(256));
        assert_eq!(cut(&[0xff; 300]).map(|text| text.len()), Some(255));
    }
}
