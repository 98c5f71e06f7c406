//! What a worker knows of tenants, and whom it has to ask about. Bounded, whatever names clients think of.

use std::collections::VecDeque;
use std::hash::RandomState;
use std::rc::Rc;
use std::time::Duration;

use lru::LruCache;
use policy::Time;
use wire::quota::Quota;

/// Tenants that wait to be asked about, of each kind. One more waits for its next request.
const MAX_DUE: usize = 4_096;

/// What an answer said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// `None`: there is no quota.
    pub quota: Option<Rc<Quota>>,
    /// When.
    pub at: Time,
}

/// What is known when a request comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The last answer. Perhaps a tick asks again.
    Told(Option<Rc<Quota>>),
    /// Somebody has asked; nobody waits longer than until then.
    Asked(Time),
    /// Nothing that is recent enough.
    Unknown,
}

#[derive(Debug, Default)]
struct Entry {
    told: Option<Told>,
    /// A question is under way; nobody waits for it longer than until then.
    flight: Option<Time>,
    /// It is among those that are due.
    due: bool,
}

impl Entry {
    fn flight(&self, now: Time) -> Option<Time> {
        self.flight.filter(|until| now < *until)
    }

    /// The answer, unless it is too old. One of the future is: the clock stepped back.
    fn told(&self, max_age: Duration, now: Time) -> Option<&Told> {
        let told = self.told.as_ref()?;
        (now >= told.at && now.since(told.at) < max_age).then_some(told)
    }
}

/// One kind of tenant.
#[derive(Debug)]
struct Kind {
    entries: LruCache<Rc<str>, Entry, RandomState>,
    due: VecDeque<Rc<str>>,
}

impl Kind {
    fn new() -> Self {
        Self {
            entries: LruCache::unbounded_with_hasher(RandomState::new()),
            due: VecDeque::new(),
        }
    }

    fn entry(&mut self, tenant: &Rc<str>, capacity: usize) -> &mut Entry {
        if !self.entries.contains(tenant) && self.entries.len() >= capacity {
            self.entries.pop_lru();
        }
        self.entries
            .get_or_insert_mut(Rc::clone(tenant), Entry::default)
    }
}

/// The tenants. Those with a quota are kept apart: who makes names up drives out none of them.
#[derive(Debug)]
pub(crate) struct Tenants {
    with_quota: Kind,
    others: Kind,
    capacity: usize,
}

impl Tenants {
    pub fn new(capacity: usize) -> Self {
        Self {
            with_quota: Kind::new(),
            others: Kind::new(),
            capacity,
        }
    }

    pub fn len(&self) -> usize {
        self.with_quota
            .entries
            .len()
            .saturating_add(self.others.entries.len())
    }

    /// What is known of a tenant that makes a request. It is due if the answer is not fresh.
    pub fn standing(
        &mut self,
        tenant: &str,
        freshness: Duration,
        max_age: Duration,
        now: Time,
    ) -> Standing {
        for kind in [&mut self.with_quota, &mut self.others] {
            let Some(entry) = kind.entries.get_mut(tenant) else {
                continue;
            };
            let flight = entry.flight(now);
            let told = entry.told(max_age, now);
            let fresh = told.is_some_and(|told| now.since(told.at) < freshness);
            let standing = match (told, flight) {
                (Some(told), _) => Standing::Told(told.quota.clone()),
                (None, Some(until)) => Standing::Asked(until),
                (None, None) => Standing::Unknown,
            };
            if !fresh && flight.is_none() && !entry.due && kind.due.len() < MAX_DUE {
                entry.due = true;
                kind.due.push_back(tenant.into());
            }
            return standing;
        }
        let tenant: Rc<str> = tenant.into();
        let wanted = self.others.due.len() < MAX_DUE;
        self.others.entry(&tenant, self.capacity).due = wanted;
        if wanted {
            self.others.due.push_back(tenant);
        }
        Standing::Unknown
    }

    /// Those to ask about next, at most so many, and at most so many of them without a quota.
    pub fn due(&mut self, most: usize, most_others: usize) -> Vec<Rc<str>> {
        let mut due = Vec::new();
        for (kind, most_of_kind) in [
            (&mut self.with_quota, most),
            (&mut self.others, most_others),
        ] {
            let room = most.saturating_sub(due.len()).min(most_of_kind);
            for tenant in kind.due.drain(..room.min(kind.due.len())) {
                if let Some(entry) = kind.entries.peek_mut(&*tenant) {
                    // Perhaps a request has asked meanwhile, or was told.
                    if std::mem::take(&mut entry.due) && entry.flight.is_none() {
                        due.push(tenant);
                    }
                }
            }
        }
        due
    }

    /// Somebody asks; nobody shall wait for it longer than until then.
    pub fn asked(&mut self, tenants: &[Rc<str>], until: Time) {
        for tenant in tenants {
            for kind in [&mut self.with_quota, &mut self.others] {
                if let Some(entry) = kind.entries.peek_mut(&**tenant) {
                    entry.flight = Some(until);
                }
            }
        }
    }

    /// There was no answer, or nobody is left to take it.
    pub fn unanswered(&mut self, tenants: &[Rc<str>]) {
        for tenant in tenants {
            for kind in [&mut self.with_quota, &mut self.others] {
                if let Some(entry) = kind.entries.peek_mut(&**tenant) {
                    entry.flight = None;
                }
            }
        }
    }

    /// An answer; the quota that was there before.
    pub fn told(&mut self, tenant: &Rc<str>, quota: Option<Quota>, now: Time) -> Option<Rc<Quota>> {
        let (kind, other) = match quota {
            Some(_) => (&mut self.with_quota, &mut self.others),
            None => (&mut self.others, &mut self.with_quota),
        };
        let before = other.entries.pop(tenant);
        let entry = kind.entry(tenant, self.capacity);
        entry.flight = None;
        entry.due = false;
        let told = Told {
            quota: quota.map(Rc::new),
            at: now,
        };
        let before = entry
            .told
            .replace(told)
            .or_else(|| before.and_then(|entry| entry.told));
        before.and_then(|told| told.quota)
    }
}

#[cfg(test)]
mod tests {
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    const FRESH: Duration = Duration::from_secs(2);
    const OLD: Duration = Duration::from_secs(60);
    const NOW: Time = Time::from_secs(1_800_000_000);

    fn quota(used: u64) -> Quota {
        Quota {
            limit: 10,
            used,
            period: "monthly".into(),
            reset_at: String::new(),
            reset_at_ms: u64::MAX,
            last_updated_ms: 0,
        }
    }

    fn look(tenants: &mut Tenants, name: &str, now: Time) -> Standing {
        tenants.standing(name, FRESH, OLD, now)
    }

    fn names(due: &[Rc<str>]) -> Vec<&str> {
        due.iter().map(|name| &**name).collect()
    }

    #[test]
    fn a_tenant_is_asked_about_once_and_again_when_it_is_not_fresh() {
        let mut tenants = Tenants::new(100);
        for _ in 0..3 {
            assert_eq!(look(&mut tenants, "acme", NOW), Standing::Unknown);
        }
        let due = tenants.due(256, 256);
        assert_eq!(names(&due), ["acme"]);
        let until = NOW.plus(Duration::from_secs(1));
        tenants.asked(&due, until);
        assert_eq!(look(&mut tenants, "acme", NOW), Standing::Asked(until));
        assert!(tenants.due(256, 256).is_empty());
        assert_eq!(tenants.told(&due[0], Some(quota(4)), NOW), None);
        let told = Standing::Told(Some(Rc::new(quota(4))));
        assert_eq!(look(&mut tenants, "acme", NOW), told);
        assert!(tenants.due(256, 256).is_empty(), "it is fresh");
        // Not fresh any more: it serves, and a tick asks.
        let later = NOW.plus(FRESH);
        assert_eq!(look(&mut tenants, "acme", later), told);
        assert_eq!(names(&tenants.due(256, 256)), ["acme"]);
        // Nobody answered for too long.
        assert_eq!(look(&mut tenants, "acme", NOW.plus(OLD)), Standing::Unknown);
    }

    #[test]
    fn a_clock_that_steps_back_makes_an_answer_none() {
        let mut tenants = Tenants::new(100);
        tenants.told(&"acme".into(), Some(quota(4)), NOW);
        let before = NOW.minus(Duration::from_secs(1));
        assert_eq!(look(&mut tenants, "acme", before), Standing::Unknown);
        assert_eq!(names(&tenants.due(256, 256)), ["acme"]);
    }

    #[test]
    fn made_up_names_take_no_room_from_tenants_with_a_quota() {
        let mut tenants = Tenants::new(100);
        for n in 0..100 {
            tenants.told(&format!("real-{n}").into(), Some(quota(n)), NOW);
        }
        for n in 0..10_000 {
            look(&mut tenants, &format!("made-up-{n}"), NOW);
        }
        assert_eq!(tenants.len(), 200);
        assert!(tenants.others.due.len() <= MAX_DUE);
        for n in 0..100 {
            let name = format!("real-{n}");
            let known = look(&mut tenants, &name, NOW.plus(FRESH));
            assert_eq!(known, Standing::Told(Some(Rc::new(quota(n)))));
        }
        // Those with a quota are asked about first, and all of them.
        let due = tenants.due(256, 64);
        assert!(due.iter().take(100).all(|name| name.starts_with("real-")));
        assert!(due.len() <= 164, "{}", due.len());
    }

    #[test]
    fn a_question_without_an_answer_can_be_asked_again() {
        let mut tenants = Tenants::new(100);
        look(&mut tenants, "acme", NOW);
        let due = tenants.due(256, 256);
        tenants.asked(&due, NOW.plus(OLD));
        tenants.unanswered(&due);
        assert_eq!(look(&mut tenants, "acme", NOW), Standing::Unknown);
        assert_eq!(names(&tenants.due(256, 256)), ["acme"]);
    }

    #[test]
    fn a_quota_that_goes_is_gone_and_one_that_comes_is_there() {
        let mut tenants = Tenants::new(100);
        let name: Rc<str> = "acme".into();
        assert_eq!(tenants.told(&name, None, NOW), None);
        assert_eq!(look(&mut tenants, "acme", NOW), Standing::Told(None));
        assert_eq!(tenants.told(&name, Some(quota(1)), NOW), None);
        assert_eq!(tenants.told(&name, None, NOW), Some(Rc::new(quota(1))));
        assert_eq!(look(&mut tenants, "acme", NOW), Standing::Told(None));
        assert_eq!(tenants.len(), 1);
    }
}
