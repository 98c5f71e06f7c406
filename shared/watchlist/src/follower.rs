//! Follows one list: asks on a tick, takes pages whole or not at all, and keeps what it has when the service is
//! down or talks nonsense (D3, D4).

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use policy::{Answer, Callout, CalloutError, Service, Time};
use wire::lists::{LISTS_PATH, ListName, MAX_PAGE_BYTES, POLL_MS, Page};

use crate::sink::Sink;

/// Between two questions, before jitter.
const POLL: Duration = Duration::from_millis(POLL_MS);
/// A question comes up to a fifth of [`POLL`] earlier or later, so that workers spread.
const JITTER_PERMILLE: u64 = 200;
/// The longest pause after failures. Each failure doubles the pause until then.
const LONGEST_PAUSE: Duration = Duration::from_secs(6);
/// An answer is given up on a little later than the gateway does.
const SLACK: Duration = Duration::from_secs(1);
/// Ticks that are further apart than this, or in the wrong order, mean that the clock was set. What is left of each
/// entry's time is then not known any more, and the list is asked for from its beginning.
const CLOCK_STEP: Duration = Duration::from_secs(60);

/// What a worker knows of the state of one list at the service.
#[derive(Debug)]
pub struct Follower {
    list: ListName,
    /// Where it stands: the epoch and version of what was taken last.
    at: Option<(String, u64)>,
    /// A snapshot has begun and its last page is not here.
    snapshot: bool,
    /// A whole list was here.
    complete: bool,
    /// The version that serves.
    version: u64,
    /// When it was last known that nothing newer exists.
    current: Option<Time>,
    next: Next,
    last_poll: Option<Time>,
    failures: u32,
    random: RandomState,
    asked: u64,
}

/// What comes next.
#[derive(Clone, Copy, Debug)]
enum Next {
    /// A question at this time.
    Ask(Time),
    /// An answer, given up on at this time.
    Answer(Time),
}

/// What a usable answer did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Followed {
    /// Nothing has changed.
    Unchanged,
    /// The sink was told of so many changes.
    Changed(usize),
    /// The last page of a snapshot: a whole list serves.
    Complete(usize),
}

/// Why an answer changed nothing. The list that serves stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// Nobody answered as agreed; a word for logs and labels.
    Silent(&'static str),
    /// A page that cannot be used: one of [`wire::lists::BadPage`], or `other_list`, `older` (than what serves),
    /// `gap` (changes between it and what is here are missing), `stuck` (it promises more but has nothing).
    BadPage(&'static str),
}

impl Unusable {
    /// Every word of [`Unusable::Silent`].
    pub const SILENT: [&'static str; 7] = [
        "refused",
        "timeout",
        "broken",
        "too_large",
        "not_modified",
        "unavailable",
        "bad_status",
    ];
    /// Every word of [`Unusable::BadPage`].
    pub const BAD_PAGE: [&'static str; 9] = [
        "format",
        "head",
        "change",
        "cut_off",
        "too_long",
        "other_list",
        "older",
        "gap",
        "stuck",
    ];

    /// The word for labels.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Silent(reason) | Self::BadPage(reason) => reason,
        }
    }
}

impl Follower {
    #[must_use]
    pub fn new(list: ListName) -> Self {
        Self {
            list,
            at: None,
            snapshot: false,
            complete: false,
            version: 0,
            current: None,
            next: Next::Ask(Time::EPOCH),
            last_poll: None,
            failures: 0,
            random: RandomState::new(),
            asked: 0,
        }
    }

    /// Whether a whole list has been here; an empty one counts.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.complete
    }

    /// The version that serves; 0 while there is none.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// How long ago it was known that nothing newer exists; `None` if that was never so.
    #[must_use]
    pub fn age(&self, now: Time) -> Option<Duration> {
        self.current.map(|current| now.since(current))
    }

    /// The question, if it is time for one. To be called with each tick; the answer goes to [`Follower::take`].
    #[must_use]
    pub fn poll(&mut self, service: &Service, now: Time) -> Option<Callout> {
        if let Some(last) = self.last_poll
            && (now < last || now.since(last) > CLOCK_STEP)
        {
            self.at = None;
            self.next = Next::Ask(now);
        }
        self.last_poll = Some(now);
        let (Next::Ask(due) | Next::Answer(due)) = self.next;
        if now < due {
            return None;
        }
        self.asked = self.asked.wrapping_add(1);
        self.next = Next::Answer(now.plus(service.timeout()).plus(SLACK));
        let path = match &self.at {
            Some((epoch, version)) => {
                format!("{LISTS_PATH}{}?epoch={epoch}&after={version}", self.list)
            }
            None => format!("{LISTS_PATH}{}", self.list),
        };
        Some(service.callout("GET", path, Vec::new(), MAX_PAGE_BYTES))
    }

    /// Takes the end of a question and tells the sink what changes. If there is more, the next [`Follower::poll`] asks for
    /// it: keepers ask from ticks alone.
    ///
    /// # Errors
    /// Why the answer changed nothing.
    pub fn take(
        &mut self,
        answer: Result<Answer<'_>, CalloutError>,
        now: Time,
        sink: &mut impl Sink,
    ) -> Result<Followed, Unusable> {
        let result = self.read(answer, now, sink);
        self.failures = match result {
            Ok(_) => 0,
            Err(_) => self.failures.saturating_add(1),
        };
        let pause = match result {
            Ok((_, true)) => Duration::ZERO,
            _ => self.pause(),
        };
        self.next = Next::Ask(now.plus(pause));
        result.map(|(followed, _)| followed)
    }

    /// The changes of an answer go to the sink; whether there is more to ask for.
    fn read(
        &mut self,
        answer: Result<Answer<'_>, CalloutError>,
        now: Time,
        sink: &mut impl Sink,
    ) -> Result<(Followed, bool), Unusable> {
        let answer = answer.map_err(|error| Unusable::Silent(error.as_str()))?;
        let page = match answer.status {
            200 => Page::decode(answer.body).map_err(|bad| Unusable::BadPage(bad.as_str()))?,
            304 if self.at.is_some() && !self.snapshot => {
                self.current = Some(now);
                return Ok((Followed::Unchanged, false));
            }
            304 => return Err(Unusable::Silent("not_modified")),
            503 => return Err(Unusable::Silent("unavailable")),
            504 => return Err(Unusable::Silent("timeout")),
            _ => return Err(Unusable::Silent("bad_status")),
        };
        self.judge(&page)?;
        let whole = page.from == 0;
        if whole {
            sink.begin();
            self.snapshot = true;
        }
        for change in &page.changes {
            sink.apply(change, now);
        }
        let more = page.to < page.last;
        self.at = Some((page.epoch, page.to));
        let completes = self.snapshot && !more;
        if completes {
            sink.commit();
            self.snapshot = false;
            self.complete = true;
        }
        if !self.snapshot {
            self.version = page.to;
        }
        if !more {
            self.current = Some(now);
        }
        let changes = page.changes.len();
        let followed = match (completes, changes) {
            (true, _) => Followed::Complete(changes),
            (false, 0) => Followed::Unchanged,
            (false, _) => Followed::Changed(changes),
        };
        Ok((followed, more))
    }

    /// Whether the page follows what is here.
    fn judge(&self, page: &Page) -> Result<(), Unusable> {
        if page.list != self.list {
            return Err(Unusable::BadPage("other_list"));
        }
        if page.to < page.last && page.to == page.from {
            return Err(Unusable::BadPage("stuck"));
        }
        let same = self.at.as_ref().filter(|(epoch, _)| *epoch == page.epoch);
        match same {
            Some((_, version)) if page.last < *version => Err(Unusable::BadPage("older")),
            _ if page.from == 0 => Ok(()),
            Some((_, version)) if page.from == *version => Ok(()),
            Some((_, version)) if page.to <= *version => Err(Unusable::BadPage("older")),
            _ => Err(Unusable::BadPage("gap")),
        }
    }

    /// Until the next question: a little more or less than [`POLL`], longer after failures.
    fn pause(&self) -> Duration {
        let doubled = POLL.saturating_mul(1_u32.checked_shl(self.failures.min(8)).unwrap_or(1));
        let base = match self.failures {
            0 => POLL,
            _ => doubled.min(LONGEST_PAUSE),
        };
        let spread = JITTER_PERMILLE.saturating_mul(2).saturating_add(1);
        let jitter = self
            .random
            .hash_one(self.asked)
            .checked_rem(spread)
            .unwrap_or_default();
        let permille = 1_000_u64
            .saturating_sub(JITTER_PERMILLE)
            .saturating_add(jitter);
        let millis = u64::try_from(base.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(
            millis
                .saturating_mul(permille)
                .checked_div(1_000)
                .unwrap_or(millis),
        )
    }
}

#[cfg(test)]
mod tests {
    use policy::{Head, Problems};
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;
    use wire::lists::{Change, Kind, Member};

    use super::*;
    use crate::service::RawListService;

    const NOW: Time = Time::from_secs(1_800_000_000);

    /// What a list would hold, by text.
    #[derive(Default)]
    struct Shown {
        serving: Vec<String>,
        coming: Option<Vec<String>>,
    }

    impl Sink for Shown {
        fn begin(&mut self) {
            self.coming = Some(Vec::new());
        }

        fn apply(&mut self, change: &Change, _: Time) {
            let entries = self.coming.as_mut().unwrap_or(&mut self.serving);
            match change {
                Change::Add { member, .. } => entries.push(member.to_string()),
                Change::Remove(member) => entries.retain(|entry| *entry != member.to_string()),
            }
        }

        fn commit(&mut self) {
            self.serving = self.coming.take().unwrap();
        }
    }

    fn service() -> Service {
        let raw = RawListService {
            upstream: "redis_proxy".into(),
            authority: "redis-proxy.internal".into(),
            timeout: policy::duration::Span::secs(2),
            service_token: Some(policy::Secret::new("token".into())),
        };
        let mut problems = Problems::default();
        let service = raw.check("lists", &mut problems);
        assert!(problems.is_empty());
        service
    }

    struct Worker {
        follower: Follower,
        list: Shown,
        now: Time,
    }

    impl Worker {
        fn new() -> Self {
            Self {
                follower: Follower::new(ListName::Deny),
                list: Shown::default(),
                now: NOW,
            }
        }

        /// Lets tenths of a second pass until the next question; how many, and its path.
        fn asks(&mut self) -> (u64, String) {
            for tenths in 0..200 {
                if let Some(callout) = self.follower.poll(&service(), self.now) {
                    return (tenths, callout.path.to_string());
                }
                self.now = self.now.plus(Duration::from_millis(100));
            }
            panic!("never asks");
        }

        fn take(&mut self, status: u16, body: &[u8]) -> Result<Followed, Unusable> {
            let headers = Head::default();
            let answer = Answer {
                status,
                headers: &headers,
                body,
            };
            self.follower.take(Ok(answer), self.now, &mut self.list)
        }

        fn page(&mut self, page: &Page) -> Result<Followed, Unusable> {
            self.take(200, page.encode().as_bytes())
        }
    }

    /// A page that adds these addresses of 192.0.2.0/24.
    fn page(from: u64, to: u64, last: u64, adds: &[u8]) -> Page {
        Page {
            list: ListName::Deny,
            epoch: "e1".into(),
            from,
            to,
            last,
            changes: adds
                .iter()
                .map(|n| Change::Add {
                    member: Member::parse(Kind::Ip, &format!("192.0.2.{n}")).unwrap(),
                    ttl_ms: 60_000,
                })
                .collect(),
        }
    }

    #[test]
    fn asks_at_once_and_then_with_what_it_has() {
        let mut worker = Worker::new();
        assert_eq!(worker.asks(), (0, "/v1/lists/deny".into()));
        assert!(worker.follower.poll(&service(), worker.now).is_none());
        assert!(!worker.follower.is_complete());
        assert_eq!(
            worker.page(&page(0, 3, 3, &[1, 2])),
            Ok(Followed::Complete(2))
        );
        assert!(worker.follower.is_complete());
        let (tenths, path) = worker.asks();
        assert!((6..=9).contains(&tenths), "{tenths}");
        assert_eq!(path, "/v1/lists/deny?epoch=e1&after=3");
        assert_eq!(worker.take(304, b""), Ok(Followed::Unchanged));
        worker.asks();
        let mut delta = page(3, 5, 5, &[3]);
        let gone = Member::parse(Kind::Ip, "192.0.2.1").unwrap();
        delta.changes.push(Change::Remove(gone));
        assert_eq!(worker.page(&delta), Ok(Followed::Changed(2)));
        assert_eq!(worker.list.serving, ["192.0.2.2", "192.0.2.3"]);
        assert_eq!(worker.follower.version(), 5);
    }

    #[test]
    fn an_empty_list_is_a_list_and_grows() {
        let mut worker = Worker::new();
        worker.asks();
        assert_eq!(worker.page(&page(0, 0, 0, &[])), Ok(Followed::Complete(0)));
        assert!(worker.follower.is_complete());
        assert_eq!(worker.asks().1, "/v1/lists/deny?epoch=e1&after=0");
        assert_eq!(worker.page(&page(0, 1, 1, &[1])), Ok(Followed::Complete(1)));
        assert_eq!(worker.list.serving, ["192.0.2.1"]);
    }

    #[test]
    fn the_old_list_serves_until_the_last_page_of_a_new_one() {
        let mut worker = Worker::new();
        worker.asks();
        worker.page(&page(0, 9, 9, &[1])).unwrap();
        worker.asks();
        // The service has lost its store.
        let of = |from, to, adds: &[u8]| Page {
            epoch: "e2".into(),
            ..page(from, to, 4, adds)
        };
        assert_eq!(worker.page(&of(0, 2, &[7, 8])), Ok(Followed::Changed(2)));
        // The next tick asks for the rest.
        assert_eq!(worker.asks(), (0, "/v1/lists/deny?epoch=e2&after=2".into()));
        assert_eq!(worker.list.serving, ["192.0.2.1"]);
        assert_eq!(worker.follower.version(), 9);
        // It goes away in between; a 304 makes no list whole.
        assert!(worker.take(304, b"").is_err());
        assert_eq!(worker.list.serving, ["192.0.2.1"]);
        assert_eq!(worker.asks().1, "/v1/lists/deny?epoch=e2&after=2");
        assert_eq!(worker.page(&of(2, 4, &[9])), Ok(Followed::Complete(1)));
        assert_eq!(worker.list.serving, ["192.0.2.7", "192.0.2.8", "192.0.2.9"]);
        assert_eq!(worker.follower.version(), 4);
    }

    #[test]
    fn a_page_that_cannot_be_used_changes_nothing() {
        let good = page(3, 5, 5, &[2]);
        let cut_off = &good.encode().into_bytes()[..60];
        let other_format = good
            .encode()
            .replace("portcullis-list 1", "portcullis-list 2");
        for (body, why) in [
            (cut_off, "cut_off"),
            (other_format.as_bytes(), "format"),
            (b"<html></html>\n".as_slice(), "format"),
            (b"".as_slice(), "cut_off"),
            (
                Page {
                    list: ListName::Tarpit,
                    ..good.clone()
                }
                .encode()
                .as_bytes(),
                "other_list",
            ),
            (page(0, 2, 2, &[2]).encode().as_bytes(), "older"),
            (page(0, 1, 2, &[2]).encode().as_bytes(), "older"),
            (page(1, 3, 3, &[2]).encode().as_bytes(), "older"),
            (page(4, 5, 5, &[2]).encode().as_bytes(), "gap"),
            (
                Page {
                    epoch: "e2".into(),
                    ..good.clone()
                }
                .encode()
                .as_bytes(),
                "gap",
            ),
            (page(3, 3, 4, &[]).encode().as_bytes(), "stuck"),
        ] {
            let mut worker = Worker::new();
            worker.asks();
            worker.page(&page(0, 3, 3, &[1])).unwrap();
            worker.asks();
            assert_eq!(worker.take(200, body), Err(Unusable::BadPage(why)), "{why}");
            assert_eq!(worker.list.serving, ["192.0.2.1"], "{why}");
            assert!(worker.list.coming.is_none(), "{why}");
            assert_eq!(worker.asks().1, "/v1/lists/deny?epoch=e1&after=3");
            assert_eq!(worker.page(&good), Ok(Followed::Changed(1)), "{why}");
        }
    }

    #[test]
    fn asks_ever_more_rarely_while_nobody_answers_and_soon_again_after() {
        let mut worker = Worker::new();
        worker.asks();
        worker.page(&page(0, 1, 1, &[1])).unwrap();
        let mut pauses = Vec::new();
        for _ in 0..6 {
            pauses.push(worker.asks().0);
            let end = Err(CalloutError::Broken);
            let taken = worker.follower.take(end, worker.now, &mut worker.list);
            assert_eq!(taken, Err(Unusable::Silent("broken")));
        }
        let first = pauses.first().unwrap();
        let last = pauses.last().unwrap();
        assert!((6..=9).contains(first), "{pauses:?}");
        assert!((48..=73).contains(last), "{pauses:?}");
        assert_eq!(worker.list.serving, ["192.0.2.1"]);
        worker.asks();
        worker.take(304, b"").unwrap();
        assert!(worker.asks().0 <= 9);
    }

    #[test]
    fn an_answer_that_never_comes_is_not_waited_for_for_ever() {
        let mut worker = Worker::new();
        worker.asks();
        assert!((29..=31).contains(&worker.asks().0));
    }

    #[test]
    fn workers_do_not_ask_at_the_same_time() {
        let pauses: std::collections::BTreeSet<Duration> = (0..50)
            .map(|_| Follower::new(ListName::Deny).pause())
            .collect();
        assert!(pauses.len() > 25, "{pauses:?}");
        let (least, most) = (pauses.first().unwrap(), pauses.last().unwrap());
        assert!(*least >= Duration::from_millis(600) && *most <= Duration::from_millis(900));
    }

    #[test]
    fn a_clock_that_was_set_brings_the_whole_list() {
        let mut worker = Worker::new();
        worker.asks();
        worker.page(&page(0, 1, 1, &[1])).unwrap();
        for now in [Time::from_secs(1_000), Time::from_secs(9_000)] {
            worker.now = now;
            assert_eq!(worker.asks(), (0, "/v1/lists/deny".into()));
            worker.page(&page(0, 1, 1, &[1])).unwrap();
        }
        assert!(worker.follower.is_complete());
    }

    #[test]
    fn the_token_goes_with_the_question() {
        let callout = Follower::new(ListName::Revoked)
            .poll(&service(), NOW)
            .unwrap();
        assert_eq!(&*callout.path, "/v1/lists/revoked");
        assert_eq!(
            callout.headers,
            [("authorization".into(), "Bearer token".to_owned())]
        );
        assert_eq!(callout.max_answer, MAX_PAGE_BYTES);
    }
}
