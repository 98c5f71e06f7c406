//! What every store of the lists must do: one suite, over memory, file, Redis, Redis Cluster, with TLS and password.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::{LocalBoxFuture, join_all};
use redis_proxy::{
    edge::{
        Action, Added, Bounds, Change, Durability, EdgeFailure, EdgeStore, Entry, EntryId, Fate,
        LISTS, NewEntry, Note, Seen, embedded::Embedded, redis::RedisLists,
    },
    key::Prefix,
    store::{embedded::steady_clock, redis::Settings},
};
use tokio::time::sleep;
use wire::lists::{Kind, ListName, Member};

use crate::redis_server::{Cluster, Options, Pki, RedisServer, eventually, settings};

const PATIENT: Duration = Duration::from_secs(30);
const WIDE: Bounds = Bounds {
    entries: 10_000,
    gone: 10_000,
    audit: 10_000,
    pending: Some(10_000),
};
const BY: &str = "spiffe://example/soc";
const DENY: ListName = ListName::Deny;

pub fn ip(n: u64) -> Member {
    Member::parse(
        Kind::Ip,
        &format!("10.{}.{}.{}", n >> 16, n >> 8 & 255, n & 255),
    )
    .unwrap()
}

pub fn wish(member: Member, ttl_ms: u64) -> NewEntry {
    NewEntry {
        member,
        ttl_ms,
        reason: "scans".into(),
        ticket_url: Some("https://tickets.example/SEC-1".into()),
    }
}

pub fn done(added: Added) -> Change {
    match added {
        Added::Done(change) => change,
        Added::Duplicate(id) => panic!("duplicate of {id}"),
    }
}

async fn add(store: &dyn EdgeStore, n: u64) -> Change {
    let new = wish(ip(n), 600_000);
    done(store.add(DENY, &new, BY).await.unwrap())
}

async fn all(store: &dyn EdgeStore, list: ListName) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut after = 0;
    loop {
        let page = store.entries(list, after, 1_000).await.unwrap();
        entries.extend(page.entries);
        match page.next {
            Some(next) => after = next,
            None => return entries,
        }
    }
}

/// A new, empty store of some kind with these bounds.
type Make<'a> = dyn Fn(Bounds) -> LocalBoxFuture<'a, Arc<dyn EdgeStore>> + 'a;

/// The whole contract.
async fn hold(make: &Make<'_>) {
    an_entry_comes_and_goes(&*make(WIDE).await).await;
    a_member_is_listed_once(&*make(WIDE).await).await;
    a_revocation_is_renewed(&*make(WIDE).await).await;
    what_is_over_is_gone_at_once_and_told_once(make(WIDE).await).await;
    pages_are_stable(&*make(WIDE).await).await;
    the_log_tells_what_changed(&*make(WIDE).await).await;
    what_went_is_forgotten_in_the_end(make).await;
    lost_changes_make_a_new_epoch(&*make(WIDE).await).await;
    full_is_full(make).await;
    without_nats_no_event_is_kept(make).await;
    the_audit_log_is_bounded(make).await;
    texts_are_just_texts(&*make(WIDE).await).await;
    many_at_once(make(WIDE).await).await;
}

async fn an_entry_comes_and_goes(store: &dyn EdgeStore) {
    assert_eq!(all(store, DENY).await, []);
    let first = add(store, 1).await;
    let second = add(store, 2).await;
    assert_eq!((first.version, second.version), (1, 2));
    assert_eq!((first.action, first.by.as_str()), (Action::Added, BY));
    let entry = &first.entry;
    assert_eq!((entry.list, entry.member), (DENY, ip(1)));
    assert_eq!((entry.version, entry.who.as_str()), (1, BY));
    assert_eq!(entry.created_ms, first.at_ms);
    assert_eq!(entry.expires_ms, entry.created_ms + 600_000);
    assert_eq!(
        (entry.reason.as_str(), entry.ticket_url.as_deref()),
        ("scans", Some("https://tickets.example/SEC-1"))
    );
    assert_ne!(first.entry.id, second.entry.id);
    assert_eq!(
        store.get(DENY, &entry.id).await.unwrap().as_ref(),
        Some(entry)
    );
    assert_eq!(
        all(store, DENY).await,
        [first.entry.clone(), second.entry.clone()]
    );

    assert_eq!(
        store.remove(ListName::Tarpit, &entry.id, BY, None).await,
        Ok(None)
    );
    let note = Note {
        reason: "a \"mistake\"".into(),
        ticket_url: Some("https://tickets.example/SEC-2".into()),
    };
    let removed = store.remove(DENY, &entry.id, "other", Some(&note)).await;
    let removed = removed.unwrap().unwrap();
    assert_eq!(removed.note, Some(note));
    assert_eq!(
        (removed.version, removed.action, removed.by.as_str()),
        (3, Action::Removed, "other")
    );
    assert_eq!(removed.entry, first.entry, "as it was");
    assert_eq!(store.get(DENY, &entry.id).await, Ok(None));
    assert_eq!(store.remove(DENY, &entry.id, BY, None).await, Ok(None));
    let unknown: EntryId = "unknown".parse().unwrap();
    assert_eq!(store.remove(DENY, &unknown, BY, None).await, Ok(None));
    assert_eq!(all(store, DENY).await, std::slice::from_ref(&second.entry));

    let again = add(store, 1).await;
    assert_eq!(again.version, 4);
    assert_ne!(again.entry.id, first.entry.id);

    // audit log and outbox have the same changes
    let told = [first, second, removed, again];
    let pending = store.pending(DENY, 1_000).await.unwrap();
    assert_eq!(pending, told);
    assert_eq!(store.waiting(DENY).await, Ok(4));
    let page = store.audit(DENY, u64::MAX, 3).await.unwrap();
    let newest: Vec<_> = told.iter().rev().cloned().collect();
    assert_eq!(page.changes, newest[..3]);
    let rest = store.audit(DENY, page.next.unwrap(), 3).await.unwrap();
    assert_eq!((rest.changes.as_slice(), rest.next), (&newest[3..], None));

    let ids = [told[0].id.clone(), told[2].id.clone(), "unknown".into()];
    store.delivered(DENY, &ids).await.unwrap();
    let pending = store.pending(DENY, 1_000).await.unwrap();
    assert_eq!(pending, [told[1].clone(), told[3].clone()]);
    assert_eq!(store.waiting(DENY).await, Ok(2));
    assert_eq!(store.pending(DENY, 1).await.unwrap().len(), 1);
    for list in [ListName::Tarpit, ListName::Revoked] {
        assert_eq!(all(store, list).await, [], "lists are apart");
        assert_eq!(store.waiting(list).await, Ok(0));
    }
}

async fn a_member_is_listed_once(store: &dyn EdgeStore) {
    let first = add(store, 1).await;
    for member in [ip(1), Member::parse(Kind::Ip, "::ffff:10.0.0.1").unwrap()] {
        let again = store.add(DENY, &wish(member, 1_000), BY).await;
        assert_eq!(again, Ok(Added::Duplicate(first.entry.id.clone())));
    }
    assert_eq!(store.waiting(DENY).await, Ok(1), "nothing was changed");
    let tarpit = store
        .add(ListName::Tarpit, &wish(ip(1), 1_000), BY)
        .await
        .unwrap();
    assert_eq!(done(tarpit).version, 1, "another list");
}

async fn a_revocation_is_renewed(store: &dyn EdgeStore) {
    let key = Member::parse(Kind::ApiKey, &"ab".repeat(32)).unwrap();
    let list = ListName::Revoked;
    let first = done(store.add(list, &wish(key, 60_000), BY).await.unwrap());
    sleep(Duration::from_millis(20)).await;
    let again = done(store.add(list, &wish(key, 120_000), "x").await.unwrap());
    assert_eq!((again.version, again.action), (2, Action::Renewed));
    assert_eq!(again.entry.id, first.entry.id);
    assert_eq!(again.entry.created_ms, first.entry.created_ms);
    assert_eq!(again.entry.expires_ms, again.at_ms + 120_000);
    assert_eq!(again.entry.version, 2);
    assert_eq!(all(store, list).await, [again.entry]);
    let log = store.log(list, &Seen::default(), 100).await.unwrap();
    assert_eq!(log.fates.len(), 1, "{log:?}");
    let seen = Seen {
        epoch: log.epoch,
        after: 1,
        newest: 1,
        mark: first.id,
    };
    let log = store.log(list, &seen, 100).await.unwrap();
    assert_eq!(log.fates.len(), 1, "who saw the first sees the second");
}

async fn what_is_over_is_gone_at_once_and_told_once(store: Arc<dyn EdgeStore>) {
    const LIVE: Duration = Duration::from_secs(3);
    let began = Instant::now();
    let wishes: Vec<_> = (0..30).map(|n| wish(ip(n), 3_000)).collect();
    let added = join_all(wishes.iter().map(|new| store.add(DENY, new, BY))).await;
    let over: Vec<_> = added
        .into_iter()
        .map(|added| done(added.unwrap()).entry)
        .collect();
    let stays = add(&*store, 100).await.entry;
    let listed = all(&*store, DENY).await.len();
    // Where the disk is slow the first are over before the last are there.
    assert!(listed == 31 || began.elapsed() >= LIVE, "{listed}");
    sleep(LIVE + Duration::from_millis(20)).await;
    assert_eq!(all(&*store, DENY).await, std::slice::from_ref(&stays));
    assert_eq!(store.get(DENY, &over[0].id).await, Ok(None));
    assert_eq!(store.remove(DENY, &over[0].id, BY, None).await, Ok(None));
    assert_eq!(store.waiting(DENY).await, Ok(31));

    // who adds it anew need not wait for the sweep
    let again = add(&*store, 0).await;
    assert_eq!(again.version, 33, "an end and an addition");
    assert_ne!(again.entry.id, over[0].id);

    let sweepers = (0..4).map(|_| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.expire(DENY).await.unwrap() })
    });
    let swept: Vec<Change> = join_all(sweepers)
        .await
        .into_iter()
        .flat_map(|changes| changes.unwrap())
        .collect();
    assert_eq!(swept.len(), 29, "each once");
    assert!(
        swept
            .iter()
            .all(|c| c.action == Action::Expired && c.by.is_empty())
    );
    assert_eq!(store.expire(DENY).await, Ok(vec![]));
    let pending = store.pending(DENY, 1_000).await.unwrap();
    let ends = pending.iter().filter(|c| c.action == Action::Expired);
    let ended: HashSet<_> = ends.map(|change| change.entry.id.clone()).collect();
    assert_eq!(ended, over.iter().map(|entry| entry.id.clone()).collect());
    let versions: Vec<_> = pending.iter().map(|change| change.version).collect();
    assert_eq!(versions, (1..=62).collect::<Vec<u64>>());
    let names: HashSet<_> = pending.iter().map(|change| &change.id).collect();
    assert_eq!(names.len(), 62);
    assert_eq!(all(&*store, DENY).await, [stays, again.entry]);
}

async fn pages_are_stable(store: &dyn EdgeStore) {
    for n in 0..25 {
        add(store, n).await;
    }
    let mut seen = Vec::new();
    let mut after = 0;
    let mut turn = 100;
    loop {
        let page = store.entries(DENY, after, 10).await.unwrap();
        assert!(page.entries.len() <= 10);
        seen.extend(page.entries.iter().map(|entry| entry.member));
        // one that was seen goes, another one comes
        if let Some(first) = page.entries.first() {
            store
                .remove(DENY, &first.id, BY, None)
                .await
                .unwrap()
                .unwrap();
            if turn < 103 {
                add(store, turn).await;
                turn += 1;
            }
        }
        let Some(next) = page.next else { break };
        after = next;
    }
    let expected: Vec<_> = (0..25).chain(100..102).map(ip).collect();
    assert_eq!(seen, expected, "each once");
}

async fn the_log_tells_what_changed(store: &dyn EdgeStore) {
    let empty = store.log(DENY, &Seen::default(), 100).await.unwrap();
    assert_eq!((empty.last, empty.to, empty.fates.len()), (0, 0, 0));
    assert!(wire::lists::is_epoch(&empty.epoch));
    let again = store.log(DENY, &Seen::default(), 100).await.unwrap();
    assert_eq!(again.epoch, empty.epoch, "made once");

    let mut changes = Vec::new();
    for n in 0..20 {
        changes.push(add(store, n).await);
    }
    for change in &changes[..5] {
        store
            .remove(DENY, &change.entry.id, BY, None)
            .await
            .unwrap()
            .unwrap();
    }
    add(store, 0).await;
    let mut seen = Seen {
        epoch: empty.epoch.clone(),
        ..Seen::default()
    };
    let mut fates = Vec::new();
    loop {
        let log = store.log(DENY, &seen, 7).await.unwrap();
        assert_eq!((log.last, log.floor, &log.epoch), (26, 0, &empty.epoch));
        let versions: Vec<_> = log.fates.iter().map(|(version, ..)| *version).collect();
        assert!(versions.is_sorted() && versions.iter().all(|v| *v > seen.after && *v <= log.to));
        fates.extend(log.fates);
        seen.after = log.to;
        (seen.newest, seen.mark) = (log.last, log.mark);
        if log.to == log.last {
            break;
        }
    }
    let listed = fates
        .iter()
        .filter(|(_, _, fate)| matches!(fate, Fate::Until(_)))
        .count();
    assert_eq!((fates.len(), listed), (20, 16), "{fates:?}");
    assert_eq!(fates[19].1, ip(0), "the newest of each member");
    assert!(matches!(fates[19].2, Fate::Until(end) if end > 0));
    let same = store.log(DENY, &seen, 7).await.unwrap();
    assert_eq!((same.fates.len(), same.to), (0, 26));
    assert_eq!(same.epoch, empty.epoch);
    let other = Seen {
        epoch: "other".into(),
        ..seen
    };
    let anew = store.log(DENY, &other, 100).await.unwrap();
    assert_eq!((anew.fates.len(), anew.epoch), (20, empty.epoch));
}

async fn what_went_is_forgotten_in_the_end(make: &Make<'_>) {
    let store = make(Bounds { gone: 3, ..WIDE }).await;
    let mut ids = Vec::new();
    for n in 0..6 {
        ids.push(add(&*store, n).await.entry.id);
    }
    for id in &ids[..5] {
        store.remove(DENY, id, BY, None).await.unwrap().unwrap();
    }
    let log = store.log(DENY, &Seen::default(), 100).await.unwrap();
    assert_eq!((log.floor, log.last), (8, 11));
    let versions: Vec<_> = log.fates.iter().map(|(version, ..)| *version).collect();
    assert_eq!(versions, [6, 9, 10, 11]);
}

async fn lost_changes_make_a_new_epoch(store: &dyn EdgeStore) {
    let first = add(store, 1).await;
    let second = add(store, 2).await;
    let epoch = store.log(DENY, &Seen::default(), 9).await.unwrap().epoch;
    let seen = |newest, mark: &str| Seen {
        epoch: epoch.clone(),
        after: newest,
        newest,
        mark: mark.to_owned(),
    };
    for known in [seen(1, &first.id), seen(2, &second.id)] {
        let log = store.log(DENY, &known, 9).await.unwrap();
        assert_eq!(log.epoch, epoch);
        assert_eq!(log.mark, second.id);
    }
    let mut epochs = HashSet::from([epoch.clone()]);
    for (newest, mark) in [(1, "other"), (2, "other"), (3, &second.id)] {
        let epoch = store.log(DENY, &Seen::default(), 9).await.unwrap().epoch;
        let known = Seen {
            epoch,
            ..seen(newest, mark)
        };
        let log = store.log(DENY, &known, 9).await.unwrap();
        assert!(epochs.insert(log.epoch.clone()), "{newest} {mark}");
        assert_eq!(log.fates.len(), 2, "from the beginning");
        let stays = store.log(DENY, &Seen::default(), 9).await.unwrap();
        assert_eq!(stays.epoch, log.epoch);
    }
}

async fn full_is_full(make: &Make<'_>) {
    let store = make(Bounds { entries: 2, ..WIDE }).await;
    let first = add(&*store, 1).await;
    add(&*store, 2).await;
    let third = wish(ip(3), 600_000);
    assert_eq!(
        store.add(DENY, &third, BY).await,
        Err(EdgeFailure::ListFull)
    );
    let first = store.remove(DENY, &first.entry.id, BY, None).await.unwrap();
    assert_eq!(first.unwrap().version, 3, "nothing was changed");
    done(store.add(DENY, &third, BY).await.unwrap());

    let store = make(Bounds {
        pending: Some(2),
        ..WIDE
    })
    .await;
    let short = wish(ip(1), 50);
    done(store.add(DENY, &short, BY).await.unwrap());
    let second = add(&*store, 2).await;
    let full = Err(EdgeFailure::OutboxFull);
    assert_eq!(
        store.add(DENY, &third, BY).await,
        full.clone().map(Added::Done)
    );
    assert_eq!(
        store.remove(DENY, &second.entry.id, BY, None).await,
        full.map(Some)
    );
    sleep(Duration::from_millis(70)).await;
    assert_eq!(store.expire(DENY).await, Ok(vec![]), "no end is lost");
    assert_eq!(all(&*store, DENY).await, [second.entry], "but it ended");
    let ids: Vec<_> = store.pending(DENY, 9).await.unwrap();
    let ids: Vec<_> = ids.into_iter().map(|change| change.id).collect();
    store.delivered(DENY, &ids[..1]).await.unwrap();
    // an end and an addition have no room
    assert!(store.add(DENY, &wish(ip(1), 9_000), BY).await.is_err());
    let ended = store.expire(DENY).await.unwrap();
    assert_eq!((ended.len(), ended[0].version), (1, 3));
}

async fn without_nats_no_event_is_kept(make: &Make<'_>) {
    let store = make(Bounds {
        pending: None,
        ..WIDE
    })
    .await;
    let change = add(&*store, 1).await;
    assert_eq!(store.waiting(DENY).await, Ok(0));
    assert_eq!(store.pending(DENY, 9).await, Ok(vec![]));
    let audit = store.audit(DENY, u64::MAX, 9).await.unwrap();
    assert_eq!(audit.changes, [change]);
}

async fn the_audit_log_is_bounded(make: &Make<'_>) {
    let store = make(Bounds { audit: 3, ..WIDE }).await;
    for n in 0..5 {
        add(&*store, n).await;
    }
    let audit = store.audit(DENY, u64::MAX, 9).await.unwrap();
    let versions: Vec<_> = audit.changes.iter().map(|change| change.version).collect();
    assert_eq!(versions, [5, 4, 3]);
    assert_eq!(store.waiting(DENY).await, Ok(5), "events stay");
}

async fn texts_are_just_texts(store: &dyn EdgeStore) {
    let texts = [
        "a b",
        "a\nb\r\n+ c 1 2",
        "\"quoted\" \\ {deny}",
        "ünï\u{1F600}\0",
        "",
        " ",
    ];
    let members = [
        (Kind::Ja3, "e7d705a3286e19ea42f587b344ee6865"),
        (Kind::Ja4, "t13d1516h2_8daaf6152771_e5627efa2ab1"),
        (Kind::Ip, "2001:db8::1"),
        (Kind::Cidr, "2001:db8::/32"),
        (Kind::Cidr, "10.0.0.0/8"),
        (Kind::Ip, "192.0.2.1"),
    ];
    for (text, (kind, value)) in texts.into_iter().zip(members) {
        let new = NewEntry {
            reason: text.to_owned(),
            ticket_url: Some(text.to_owned()),
            ..wish(Member::parse(kind, value).unwrap(), 600_000)
        };
        let added = done(store.add(DENY, &new, text).await.unwrap());
        assert_eq!(
            (&added.entry.reason, &added.by, added.entry.member),
            (&new.reason, &text.to_owned(), new.member)
        );
        let found = store.get(DENY, &added.entry.id).await.unwrap();
        assert_eq!(found, Some(added.entry.clone()));
        let removed = store
            .remove(DENY, &added.entry.id, text, None)
            .await
            .unwrap();
        assert_eq!(removed.unwrap().by, text);
    }
    assert_eq!(store.pending(DENY, 99).await.unwrap().len(), 12);
}

async fn many_at_once(store: Arc<dyn EdgeStore>) {
    let workers = (0..8_u64).map(|worker| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let mut done = 0;
            for n in 0..25 {
                // half of the members are wanted by all
                let n = if n % 2 == 0 {
                    n
                } else {
                    n + 100 * (worker + 1)
                };
                let new = wish(ip(n), 600_000);
                if let Added::Done(_) = store.add(DENY, &new, BY).await.unwrap() {
                    done += 1;
                }
            }
            done
        })
    });
    let done: usize = join_all(workers)
        .await
        .into_iter()
        .map(|n| n.unwrap())
        .sum();
    assert_eq!(done, 13 + 8 * 12);
    let entries = all(&*store, DENY).await;
    let versions: Vec<_> = entries.iter().map(|entry| entry.version).collect();
    assert_eq!(versions, (1..=109).collect::<Vec<u64>>());
    let members: HashSet<_> = entries.iter().map(|entry| entry.member).collect();
    assert_eq!(members.len(), 109);
    assert_eq!(store.waiting(DENY).await, Ok(109));
}

#[tokio::test]
async fn memory() {
    hold(&|bounds| {
        Box::pin(async move {
            let store = Embedded::in_memory(bounds, PATIENT, steady_clock()).unwrap();
            assert_eq!(store.durability(), Durability::Volatile);
            Arc::new(store) as Arc<dyn EdgeStore>
        })
    })
    .await;
}

#[tokio::test]
async fn file() {
    let dir = tempfile::tempdir().unwrap();
    let next = AtomicU64::new(0);
    hold(&|bounds| {
        let n = next.fetch_add(1, Ordering::Relaxed);
        let path = dir.path().join(format!("{n}.redb"));
        Box::pin(async move {
            let store = Embedded::open(&path, bounds, PATIENT, steady_clock()).unwrap();
            assert_eq!(store.durability(), Durability::Durable);
            Arc::new(store) as Arc<dyn EdgeStore>
        })
    })
    .await;
}

#[tokio::test]
async fn a_file_opened_again_has_all_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lists.redb");
    let bounds = Bounds { gone: 1, ..WIDE };
    let open = || Embedded::open(&path, bounds, PATIENT, steady_clock());
    let store = open().unwrap();
    let changes = [
        add(&store, 1).await,
        add(&store, 2).await,
        add(&store, 3).await,
    ];
    for change in &changes[..2] {
        store
            .remove(DENY, &change.entry.id, BY, None)
            .await
            .unwrap();
    }
    let before = (
        store.log(DENY, &Seen::default(), 99).await.unwrap(),
        all(&store, DENY).await,
        store.audit(DENY, u64::MAX, 99).await.unwrap(),
        store.pending(DENY, 99).await.unwrap(),
    );
    assert!(open().is_err(), "it is locked");
    drop(store);
    let mut reopened = None;
    eventually("the file is let go of", PATIENT, async || {
        reopened = open().ok();
        reopened.is_some()
    })
    .await;
    let store = reopened.unwrap();
    let mut log = store.log(DENY, &Seen::default(), 99).await.unwrap();
    log.now_ms = before.0.now_ms;
    assert_eq!(log, before.0);
    assert_eq!(all(&store, DENY).await, before.1);
    assert_eq!(store.audit(DENY, u64::MAX, 99).await.unwrap(), before.2);
    assert_eq!(store.pending(DENY, 99).await.unwrap(), before.3);
    let again = store.add(DENY, &wish(ip(3), 1_000), BY).await;
    assert!(matches!(again, Ok(Added::Duplicate(_))));
    assert_eq!(add(&store, 4).await.version, 6);
}

async fn redis_of(settings: &Settings) {
    let next = AtomicU64::new(0);
    hold(&|bounds| {
        let n = next.fetch_add(1, Ordering::Relaxed);
        let prefix = Prefix::new(&format!("kong:edge:{n}:")).unwrap();
        Box::pin(async move {
            let store = RedisLists::start(settings, &prefix, bounds, PATIENT).unwrap();
            eventually("redis tells", PATIENT, async || {
                store.durability() == Durability::Durable
            })
            .await;
            Arc::new(store) as Arc<dyn EdgeStore>
        })
    })
    .await;
}

/// Every key is within the prefix and in the slot of its list.
fn only_our_keys(scan: &str) {
    assert!(scan.lines().count() > 20, "{scan}");
    let tag = |name: &str| {
        LISTS
            .iter()
            .any(|list| name.contains(&format!(":{{{list}}}:")))
    };
    for name in scan.lines() {
        assert!(name.starts_with("kong:edge:") && tag(name), "{name}");
    }
}

async fn redis(options: Options) {
    let options = Options {
        durable: true,
        ..options
    };
    let pki = options.tls.then(Pki::new);
    let server = RedisServer::start(options, pki.as_ref());
    redis_of(&settings(
        vec![server.port],
        options,
        pki.as_ref().map(Pki::tls),
    ))
    .await;
    only_our_keys(&server.cli(&["--scan"]));
}

#[tokio::test]
async fn redis_plain() {
    redis(Options::default()).await;
}

#[tokio::test]
async fn redis_with_tls_and_password() {
    redis(Options {
        tls: true,
        password: true,
        ..Options::default()
    })
    .await;
}

#[tokio::test]
async fn redis_cluster() {
    let options = Options {
        durable: true,
        ..Options::default()
    };
    let cluster = Cluster::start(options, None);
    redis_of(&cluster.settings()).await;
    let scans: Vec<_> = cluster
        .primaries()
        .into_iter()
        .map(|i| cluster.nodes[i].cli(&["--scan"]))
        .collect();
    only_our_keys(&scans.join("\n"));
}

#[tokio::test]
async fn whether_redis_is_durable_is_known() {
    let start = |server: &RedisServer| {
        let prefix = Prefix::new("kong:edge:").unwrap();
        RedisLists::start(&server.settings(), &prefix, WIDE, PATIENT).unwrap()
    };
    let server = RedisServer::start(Options::default(), None);
    let store = start(&server);
    assert_eq!(store.durability(), Durability::Unknown, "not asked yet");
    eventually("redis tells", PATIENT, async || {
        store.durability() == Durability::Volatile
    })
    .await;
    server.cli(&["CONFIG", "SET", "appendonly", "yes"]);
    let store = start(&server);
    eventually("everysec is not enough", PATIENT, async || {
        store.durability() == Durability::Volatile
    })
    .await;
    // it may not be asked
    server.cli(&["ACL", "SETUSER", "default", "-config"]);
    let store = start(&server);
    sleep(Duration::from_millis(500)).await;
    assert_eq!(store.durability(), Durability::Unknown);
}

#[tokio::test]
async fn a_redis_that_went_is_found_again() {
    let options = Options {
        durable: true,
        ..Options::default()
    };
    let mut server = RedisServer::start(options, None);
    let prefix = Prefix::new("kong:edge:").unwrap();
    let budget = Duration::from_secs(2);
    let store = RedisLists::start(&server.settings(), &prefix, WIDE, budget).unwrap();
    let first = add(&store, 1).await;
    server.kill();
    let new = wish(ip(2), 600_000);
    assert!(store.add(DENY, &new, BY).await.is_err());
    server.restart();
    eventually("it is found", PATIENT, async || {
        store.add(DENY, &new, BY).await.is_ok()
    })
    .await;
    assert_eq!(all(&store, DENY).await[0], first.entry, "nothing was lost");
    server.freeze();
    assert_eq!(
        store.add(DENY, &wish(ip(3), 1_000), BY).await,
        Err(EdgeFailure::Timeout)
    );
    server.thaw();
    assert_eq!(server.cli(&["SCRIPT", "FLUSH"]), "OK");
    eventually("it is found", PATIENT, async || {
        store.entries(DENY, 0, 9).await.is_ok()
    })
    .await;
    // what it holds that makes no sense is an error, not a panic
    server.cli(&[
        "HSET",
        "kong:edge:{deny}:entries",
        first.entry.id.as_str(),
        "x",
    ]);
    assert!(store.get(DENY, &first.entry.id).await.is_err());
}
