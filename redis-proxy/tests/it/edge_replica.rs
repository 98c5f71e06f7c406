//! Workers that follow a list through copies of it, against the list itself. Time is virtual.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use redis_proxy::edge::{
    Added, Answer, Bounds, LISTS,
    ledger::Ledger,
    replica::{Replica, Then},
};
use wire::lists::{Change, ListName, MAX_TTL_MS, Member, PAGE_CHANGES, Page};

use crate::edge_contract::{ip, wish};

const WIDE: Bounds = Bounds {
    entries: 1_000_000,
    gone: 1_000_000,
    audit: 1_000,
    pending: None,
};

/// The list, its clock and names.
struct World {
    ledger: Ledger,
    began: Instant,
    now_ms: u64,
    names: u64,
}

impl World {
    fn new(bounds: Bounds) -> Self {
        Self {
            ledger: Ledger::new(ListName::Deny, bounds, "e0".into()),
            began: Instant::now(),
            now_ms: 1_000_000,
            names: 0,
        }
    }

    fn name(&mut self) -> String {
        self.names += 1;
        format!("n{}", self.names)
    }

    fn at(&self) -> Instant {
        self.began + Duration::from_millis(self.now_ms)
    }

    fn add(&mut self, n: u64, ttl_ms: u64) {
        let ids = [self.name(), self.name(), self.name()];
        let added = self.ledger.add(&wish(ip(n), ttl_ms), "x", self.now_ms, ids);
        assert!(added.is_ok());
        self.ledger.written();
    }

    fn remove(&mut self, n: u64) -> bool {
        let page = self.ledger.entries(0, 1_000, self.now_ms);
        let Some(entry) = page.entries.iter().find(|entry| entry.member == ip(n)) else {
            return false;
        };
        let name = self.name();
        let removed = self.ledger.remove(&entry.id, "x", None, self.now_ms, name);
        removed.unwrap().is_some()
    }

    fn expire(&mut self) {
        let mut name = self.name();
        while self
            .ledger
            .expire(self.now_ms, || std::mem::take(&mut name))
            .is_some()
        {
            name = self.name();
        }
    }

    /// One question of a copy.
    fn step(&mut self, replica: &mut Replica, limit: usize) -> Then {
        let fresh = self.name();
        let log = self.ledger.log(&replica.seen(), limit, self.now_ms, fresh);
        replica.take(log, self.at())
    }

    fn follow(&mut self, replica: &mut Replica, limit: usize) {
        for _ in 0..10_000 {
            if self.step(replica, limit) == Then::Rest {
                return;
            }
        }
        panic!("it never ends");
    }

    /// Who is on the list, and until when.
    fn members(&self) -> BTreeMap<Member, u64> {
        let mut members = BTreeMap::new();
        let mut after = 0;
        loop {
            let page = self.ledger.entries(after, 1_000, self.now_ms);
            members.extend(page.entries.iter().map(|e| (e.member, e.expires_ms)));
            match page.next {
                Some(next) => after = next,
                None => return members,
            }
        }
    }
}

/// What a worker does, as the wire says.
#[derive(Default)]
struct Worker {
    epoch: String,
    version: u64,
    members: BTreeMap<Member, u64>,
    loading: Option<BTreeMap<Member, u64>>,
    pages: usize,
    from_0: usize,
}

impl Worker {
    /// One request; whether more follows.
    fn ask(&mut self, replica: &Replica, world: &World) -> bool {
        let page = match replica.answer(&self.epoch, self.version, world.at()) {
            Answer::Same => return false,
            Answer::NotLoaded => panic!("not loaded"),
            Answer::Page(page) => Page::decode(page.encode().as_bytes()).unwrap(),
        };
        self.pages += 1;
        if page.from == 0 {
            self.loading = Some(BTreeMap::new());
            self.from_0 += 1;
        } else {
            assert_eq!(page.from, self.version);
            assert_eq!(page.epoch, self.epoch);
        }
        let members = self.loading.as_mut().unwrap_or(&mut self.members);
        for change in page.changes {
            match change {
                Change::Add { member, ttl_ms } => {
                    members.insert(member, world.now_ms + ttl_ms);
                }
                Change::Remove(member) => {
                    members.remove(&member);
                }
            }
        }
        self.epoch = page.epoch;
        self.version = page.to;
        if page.to < page.last {
            return true;
        }
        if let Some(loaded) = self.loading.take() {
            self.members = loaded;
        }
        false
    }

    fn sync(&mut self, replica: &Replica, world: &World) {
        for _ in 0..1_000 {
            if !self.ask(replica, world) {
                return;
            }
        }
        panic!("it never ends");
    }

    /// Those whose time is not over.
    fn live(&mut self, now_ms: u64) -> BTreeMap<Member, u64> {
        self.members.retain(|_, end| *end > now_ms);
        self.members.clone()
    }
}

#[test]
fn nothing_is_known_before_the_first_load() {
    let mut world = World::new(WIDE);
    let mut replica = Replica::new(ListName::Deny);
    assert_eq!(replica.answer("", 0, world.at()), Answer::NotLoaded);
    world.add(1, 1_000);
    world.add(2, 1_000);
    assert_eq!(world.step(&mut replica, 1), Then::More);
    assert_eq!(
        replica.answer("", 0, world.at()),
        Answer::NotLoaded,
        "half a list is none"
    );
    world.follow(&mut replica, 1);
    assert!(matches!(replica.answer("", 0, world.at()), Answer::Page(_)));
}

#[test]
fn an_empty_list_is_told_once() {
    let mut world = World::new(WIDE);
    let mut replica = Replica::new(ListName::Deny);
    world.follow(&mut replica, 10);
    let mut worker = Worker::default();
    worker.sync(&replica, &world);
    assert_eq!((worker.pages, worker.version), (1, 0));
    worker.sync(&replica, &world);
    assert_eq!(worker.pages, 1, "304");
}

#[test]
fn a_worker_has_what_the_list_has_whatever_happens() {
    for seed in 1..40_u64 {
        let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut below = |n: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % n
        };
        let gone = usize::try_from(below(6)).unwrap();
        let mut world = World::new(Bounds { gone, ..WIDE });
        // two processes, of which one is asked rarely
        let mut replicas = [0, 1].map(|_| Replica::new(ListName::Deny));
        let mut workers: Vec<Worker> = (0..4).map(|_| Worker::default()).collect();
        for replica in &mut replicas {
            world.follow(replica, 3);
        }
        for _ in 0..400 {
            match below(12) {
                0..=3 => world.add(below(30), 1 + below(5_000)),
                4..=5 => drop(world.remove(below(30))),
                6 => world.now_ms += below(1_000),
                7 => world.expire(),
                8 => drop(world.step(&mut replicas[usize::from(below(4) == 0)], 3)),
                9 if below(20) == 0 => replicas[0] = Replica::new(ListName::Deny),
                _ => {
                    let replica = &replicas[usize::try_from(below(2)).unwrap()];
                    let worker = &mut workers[usize::try_from(below(4)).unwrap()];
                    if replica.is_loaded() {
                        worker.ask(replica, &world);
                    }
                }
            }
        }
        for replica in &mut replicas {
            world.follow(replica, 3);
        }
        let expected = world.members();
        for (at, worker) in workers.iter_mut().enumerate() {
            worker.sync(&replicas[at % 2], &world);
            worker.sync(&replicas[(at + 1) % 2], &world);
            assert_eq!(worker.live(world.now_ms), expected, "seed {seed}");
            let pages = worker.pages;
            worker.sync(&replicas[0], &world);
            assert_eq!(worker.pages, pages, "304 when nothing changed");
        }
    }
}

#[test]
fn a_long_list_with_many_removals_can_be_loaded_while_it_changes() {
    let mut world = World::new(Bounds { gone: 100, ..WIDE });
    let long = 3 * u64::try_from(PAGE_CHANGES).unwrap();
    for n in 0..long {
        world.add(n, MAX_TTL_MS);
    }
    // more come and go than are remembered: the whole list is older than what is forgotten
    for n in 0..300 {
        world.add(1_000_000 + n, 10);
    }
    world.now_ms += 20;
    world.expire();
    let mut replica = Replica::new(ListName::Deny);
    world.follow(&mut replica, 5_000);
    assert_eq!(replica.members(), usize::try_from(long).unwrap());

    let mut worker = Worker::default();
    let mut turn = 0;
    while worker.ask(&replica, &world) {
        // between two pages one of the first goes, and one comes
        assert!(world.remove(turn));
        world.add(2_000_000 + turn, MAX_TTL_MS);
        turn += 1;
        world.follow(&mut replica, 5_000);
        assert!(turn < 10, "it never ends");
    }
    assert_eq!(worker.from_0, 1, "begun once");
    worker.sync(&replica, &world);
    assert_eq!(worker.live(world.now_ms), world.members());
    assert_eq!(worker.members.len(), usize::try_from(long).unwrap());
}

#[test]
fn a_list_that_forgot_too_much_is_told_anew() {
    let mut world = World::new(Bounds { gone: 2, ..WIDE });
    let mut replica = Replica::new(ListName::Deny);
    for n in 0..10 {
        world.add(n, MAX_TTL_MS);
    }
    world.follow(&mut replica, 100);
    let mut worker = Worker::default();
    worker.sync(&replica, &world);
    world.remove(0);
    world.follow(&mut replica, 100);
    worker.sync(&replica, &world);
    assert_eq!(worker.from_0, 1, "a delta");
    for n in 1..6 {
        world.remove(n);
    }
    world.follow(&mut replica, 100);
    worker.sync(&replica, &world);
    assert_eq!(worker.from_0, 2);
    assert_eq!(worker.live(world.now_ms), world.members());
}

#[test]
fn another_epoch_is_told_anew_and_a_worker_ahead_waits() {
    let mut world = World::new(WIDE);
    let mut replica = Replica::new(ListName::Deny);
    world.add(1, MAX_TTL_MS);
    world.follow(&mut replica, 100);
    let mut worker = Worker::default();
    worker.sync(&replica, &world);
    assert_eq!(
        replica.answer(&worker.epoch, worker.version + 5, world.at()),
        Answer::Same,
        "another process knows more"
    );
    // the store lost a change and made another one
    let mut other = World::new(WIDE);
    other.now_ms = world.now_ms;
    other.names = 100;
    other.began = world.began;
    other.add(2, MAX_TTL_MS);
    other.follow(&mut replica, 100);
    worker.sync(&replica, &other);
    assert_eq!(
        (worker.from_0, worker.live(other.now_ms)),
        (2, other.members())
    );
    for nonsense in ["", "e0", "e0-", "e0-x", "-", "e1-0"] {
        assert!(
            matches!(replica.answer(nonsense, 1, other.at()), Answer::Page(page) if page.from == 0),
            "{nonsense}"
        );
    }
}

#[test]
fn a_load_that_began_elsewhere_goes_on_where_as_much_is_known() {
    let mut world = World::new(Bounds { gone: 1, ..WIDE });
    let long = 2 * u64::try_from(PAGE_CHANGES).unwrap();
    for n in 0..long {
        world.add(n, MAX_TTL_MS);
    }
    let mut behind = Replica::new(ListName::Deny);
    world.follow(&mut behind, 5_000);
    // of what the one behind still serves, some goes, and is forgotten
    for n in [0, long - 1, 1] {
        let entries = world.ledger.entries(n, 1, world.now_ms).entries;
        let name = world.name();
        let id = &entries[0].id;
        assert!(
            world
                .ledger
                .remove(id, "x", None, world.now_ms, name)
                .is_ok_and(|c| c.is_some())
        );
    }
    let mut ahead = Replica::new(ListName::Deny);
    world.follow(&mut ahead, 5_000);
    let mut worker = Worker::default();
    assert!(worker.ask(&ahead, &world), "more follows");
    let pages = worker.pages;
    assert!(!worker.ask(&behind, &world), "304");
    assert_eq!(worker.pages, pages);
    world.follow(&mut behind, 5_000);
    worker.sync(&behind, &world);
    assert_eq!(worker.live(world.now_ms), world.members());
}

#[test]
fn members_are_served_with_what_they_have_left() {
    let mut world = World::new(WIDE);
    let mut replica = Replica::new(ListName::Deny);
    world.add(1, 1_000);
    world.follow(&mut replica, 100);
    // nobody hears of the store any more
    let ttl = |replica: &Replica, world: &World| match replica.answer("", 0, world.at()) {
        Answer::Page(page) => page.changes.first().map(|change| match change {
            Change::Add { ttl_ms, .. } => *ttl_ms,
            Change::Remove(_) => 0,
        }),
        other => panic!("{other:?}"),
    };
    assert_eq!(ttl(&replica, &world), Some(1_000));
    world.now_ms += 400;
    assert_eq!(ttl(&replica, &world), Some(600));
    assert_eq!(replica.age(world.at()), Some(Duration::from_millis(400)));
    world.now_ms += 600;
    assert_eq!(ttl(&replica, &world), None, "over, though nobody says so");
}

#[test]
fn what_is_forgotten_is_not_kept() {
    let mut world = World::new(Bounds { gone: 5, ..WIDE });
    let mut replica = Replica::new(LISTS[0]);
    // an old entry, behind which everything else comes and goes
    world.add(1, MAX_TTL_MS);
    for n in 0..200 {
        world.add(10 + n, 10);
        world.now_ms += 20;
        world.expire();
        world.follow(&mut replica, 100);
    }
    assert_eq!(replica.members(), 1);
    let shown = format!("{replica:?}");
    let gone = shown.matches("Gone").count();
    assert!(gone <= 5, "{gone}");
}

#[test]
fn a_duplicate_changes_nothing() {
    let mut world = World::new(WIDE);
    world.add(1, 1_000);
    let ids = [world.name(), world.name(), world.name()];
    let again = world
        .ledger
        .add(&wish(ip(1), 1_000), "x", world.now_ms, ids);
    assert!(matches!(again, Ok(Added::Duplicate(_))));
    assert_eq!(world.ledger.written(), []);
}
