//! What every store of quotas must do: one suite, over memory, file, Redis, Redis Cluster, with TLS and password.

use std::{sync::Arc, time::Duration};

use futures_util::future::{LocalBoxFuture, join_all};
use redis_proxy::{
    key::Prefix,
    quota::{
        Put, QuotaStore, Record, embedded::Embedded, record::Stamp, redis::RedisQuotas,
        settings::DEFAULT_PREFIX,
    },
    store::{embedded::steady_clock, redis::Settings},
};
use tokio::time::sleep;

use crate::redis_server::{Cluster, Options, Pki, RedisServer, eventually, settings};

const PATIENT: Duration = Duration::from_secs(30);
const DAY: Duration = Duration::from_secs(86_400);

fn at(text: &str) -> Stamp {
    Stamp::parse(text).unwrap()
}

/// A record of a far future reset, as of a second and its fraction.
pub fn record(tenant: &str, used: u64, last_updated: &str) -> Record {
    Record {
        tenant: tenant.to_owned(),
        limit: 10_000,
        used,
        period: "monthly".to_owned(),
        reset_at: at("2400-01-01T00:00:00Z"),
        last_updated: at(&format!("2025-10-27T20:00:{last_updated}Z")),
    }
}

async fn put(store: &dyn QuotaStore, record: &Record) -> Put {
    let puts = store.put(std::slice::from_ref(record)).await.unwrap();
    assert_eq!(puts.len(), 1);
    puts[0]
}

async fn get(store: &dyn QuotaStore, tenant: &str) -> Option<Record> {
    let found = store.get(&[tenant.to_owned()]).await.unwrap();
    assert_eq!(found.len(), 1);
    found[0].clone()
}

/// A new, empty store that keeps records so long after their reset.
type Make<'a> = dyn Fn(Duration) -> LocalBoxFuture<'a, Arc<dyn QuotaStore>> + 'a;

/// The whole contract.
async fn hold(make: &Make<'_>) {
    the_newest_is_kept(&*make(DAY).await).await;
    order_and_number_do_not_matter(make).await;
    times_are_told_apart_to_the_nanosecond(&*make(DAY).await).await;
    a_batch_is_put_in_order(&*make(DAY).await).await;
    names_are_just_names(&*make(DAY).await).await;
    many_at_once(make(DAY).await).await;
    what_has_long_been_over_is_forgotten(make).await;
}

async fn the_newest_is_kept(store: &dyn QuotaStore) {
    assert_eq!(get(store, "acme").await, None);
    let first = record("acme", 10, "10");
    assert_eq!(put(store, &first).await, Put::Applied);
    assert_eq!(get(store, "acme").await, Some(first.clone()));
    assert_eq!(put(store, &first).await, Put::Duplicate);
    assert_eq!(put(store, &record("acme", 9, "09")).await, Put::Stale);
    let other = record("acme", 11, "10");
    assert_eq!(put(store, &other).await, Put::Conflict);
    assert_eq!(get(store, "acme").await, Some(first));
    // More than the limit, and less than before: what is newer counts.
    let over = record("acme", 10_532, "11");
    assert_eq!(put(store, &over).await, Put::Applied);
    let fewer = Record {
        limit: 20_000,
        period: "weekly".to_owned(),
        reset_at: at("2399-01-01T00:00:00.25Z"),
        ..record("acme", 3, "12.5")
    };
    assert_eq!(put(store, &fewer).await, Put::Applied);
    assert_eq!(get(store, "acme").await, Some(fewer));
}

async fn order_and_number_do_not_matter(make: &Make<'_>) {
    let records: Vec<_> = (0..4)
        .map(|n| record("acme", n * 100, &format!("{n:02}")))
        .collect();
    // All orders of four, each with every record twice.
    for order in permutations(4) {
        let store = make(DAY).await;
        for &n in &order {
            put(&*store, &records[n]).await;
            put(&*store, &records[n]).await;
        }
        assert_eq!(
            get(&*store, "acme").await.as_ref(),
            records.last(),
            "{order:?}"
        );
    }
}

fn permutations(n: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![vec![]];
    }
    let shorter = permutations(n - 1);
    let with = |order: Vec<usize>| {
        (0..=order.len()).map(move |at| {
            let mut order = order.clone();
            order.insert(at, n - 1);
            order
        })
    };
    shorter.into_iter().flat_map(with).collect()
}

async fn times_are_told_apart_to_the_nanosecond(store: &dyn QuotaStore) {
    let mut used = 0;
    for second in [
        "09.999999999",
        "10",
        "10.000000001",
        "10.00000001",
        "10.1",
        "10.100000001",
        "10.11",
        "11",
    ] {
        used += 1;
        let newer = record("acme", used, second);
        assert_eq!(put(store, &newer).await, Put::Applied, "{second}");
        for older in ["09", "09.999999998"] {
            assert_eq!(put(store, &record("acme", 0, older)).await, Put::Stale);
        }
    }
    assert_eq!(
        put(store, &record("acme", 0, "10.999999999")).await,
        Put::Stale
    );
}

async fn a_batch_is_put_in_order(store: &dyn QuotaStore) {
    let batch = [
        record("one", 1, "10"),
        record("two", 1, "10"),
        record("one", 2, "11"),
        record("one", 1, "10"),
        record("two", 1, "10"),
    ];
    assert_eq!(
        store.put(&batch).await.unwrap(),
        [
            Put::Applied,
            Put::Applied,
            Put::Applied,
            Put::Stale,
            Put::Duplicate
        ]
    );
    assert_eq!(store.put(&[]).await.unwrap(), []);
    let tenants = ["two", "nobody", "one", "two"].map(str::to_owned);
    let found = store.get(&tenants).await.unwrap();
    let used: Vec<_> = found
        .iter()
        .map(|found| found.as_ref().map(|record| record.used))
        .collect();
    assert_eq!(used, [Some(1), None, Some(2), Some(1)]);
}

async fn names_are_just_names(store: &dyn QuotaStore) {
    let names = ["a", "A", "{a}", "{a}b", "a:b", "*", "a\\b\"'", "..", "%00"];
    for (used, name) in (1..).zip(names) {
        assert_eq!(put(store, &record(name, used, "10")).await, Put::Applied);
    }
    for (used, name) in (1..).zip(names) {
        assert_eq!(get(store, name).await.unwrap().used, used, "{name}");
    }
}

async fn many_at_once(store: Arc<dyn QuotaStore>) {
    let put = |n: u64| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            // A hundred puts of fifty records that race, in a shuffled order.
            let second = n * 37 % 50;
            put(&*store, &record("busy", second, &format!("{second:02}"))).await
        })
    };
    let puts = join_all((0..100).map(put)).await;
    let applied = puts
        .into_iter()
        .filter(|put| matches!(put, Ok(Put::Applied)))
        .count();
    assert!((1..=50).contains(&applied), "{applied}");
    assert_eq!(get(&*store, "busy").await.unwrap().used, 49);
}

async fn what_has_long_been_over_is_forgotten(make: &Make<'_>) {
    let keep = Duration::from_secs(4);
    let store = make(keep).await;
    let now_ms = steady_clock()() / 1_000;
    let over = Record {
        reset_at: Stamp::from_ms(now_ms).unwrap(),
        ..record("over", 1, "10")
    };
    assert_eq!(put(&*store, &over).await, Put::Applied);
    assert_eq!(
        put(&*store, &record("lasting", 1, "10")).await,
        Put::Applied
    );
    assert_eq!(get(&*store, "over").await, Some(over.clone()));
    eventually("it is forgotten", PATIENT, async || {
        get(&*store, "over").await.is_none()
    })
    .await;
    // What is over when it comes is taken and forgotten at once.
    let ancient = Record {
        reset_at: at("2025-10-28T00:00:00Z"),
        ..over
    };
    assert_eq!(put(&*store, &ancient).await, Put::Applied);
    assert_eq!(get(&*store, "over").await, None);
    assert!(get(&*store, "lasting").await.is_some());
}

async fn on_redis(settings: &Settings, prefix: &str, keep: Duration) -> Arc<dyn QuotaStore> {
    let prefix = Prefix::new(prefix).unwrap();
    let store = RedisQuotas::start(settings, &prefix, keep, PATIENT).unwrap();
    eventually("redis answers", PATIENT * 4, async || {
        store.get(&["nobody".to_owned()]).await.is_ok()
    })
    .await;
    Arc::new(store)
}

/// Each store has a prefix of its own.
fn fresh() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("quota-{}:tenant:", NEXT.fetch_add(1, Ordering::Relaxed))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_memory() {
    hold(&|keep| {
        Box::pin(async move {
            Arc::new(Embedded::in_memory(1_000, keep, steady_clock())) as Arc<dyn QuotaStore>
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_file() {
    let dir = tempfile::tempdir().unwrap();
    hold(&|keep| {
        let path = dir.path().join(fresh().replace(':', "_"));
        Box::pin(async move {
            Arc::new(Embedded::open(&path, 1_000, keep, steady_clock()).unwrap())
                as Arc<dyn QuotaStore>
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_redis_with_tls_and_a_password() {
    let pki = Pki::new();
    let options = Options {
        password: true,
        tls: true,
        ..Options::default()
    };
    let redis = RedisServer::start(options, Some(&pki));
    let settings = settings(vec![redis.port], options, Some(pki.tls()));
    hold(&|keep| {
        let settings = settings.clone();
        Box::pin(async move { on_redis(&settings, &fresh(), keep).await })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_cluster() {
    let cluster = Cluster::start(Options::default(), None);
    let settings = cluster.settings();
    hold(&|keep| {
        let settings = settings.clone();
        Box::pin(async move { on_redis(&settings, &fresh(), keep).await })
    })
    .await;
}

#[tokio::test]
async fn the_hash_reads_as_documented_and_foreign_keys_are_left_alone() {
    let redis = RedisServer::start(Options::default(), None);
    let store = on_redis(&redis.settings(), DEFAULT_PREFIX, DAY).await;
    let newest = Record {
        reset_at: at("2399-11-01T00:00:00Z"),
        ..record("tenant-123", 4_532, "00")
    };
    assert_eq!(put(&*store, &newest).await, Put::Applied);
    let hash = redis.cli(&["HGETALL", "quota:tenant:tenant-123"]);
    let lines: Vec<_> = hash.lines().collect();
    let expected = [
        "limit",
        "10000",
        "used",
        "4532",
        "remaining",
        "5468",
        "period",
        "monthly",
        "reset_at",
        "2399-11-01T00:00:00Z",
        "last_updated",
        "2025-10-27T20:00:00Z",
    ];
    assert_eq!(lines, expected);
    let ends: u64 = redis
        .cli(&["PEXPIRETIME", "quota:tenant:tenant-123"])
        .trim()
        .parse()
        .unwrap();
    assert_eq!(ends, newest.ends_ms(DAY));
    assert_eq!(redis.cli(&["DBSIZE"]).trim(), "1");

    // A key that is no hash is left alone.
    redis.cli(&["SET", "quota:tenant:list", "mine"]);
    assert_eq!(put(&*store, &record("list", 1, "10")).await, Put::Occupied);
    assert_eq!(redis.cli(&["GET", "quota:tenant:list"]).trim(), "mine");
    // A hash that somebody else has begun, in another form of time: the next event replaces it.
    redis.cli(&[
        "HSET",
        "quota:tenant:old",
        "limit",
        "5",
        "last_updated",
        "2399-10-27 20:00:00",
    ]);
    assert_eq!(get(&*store, "old").await, None);
    let newer = record("old", 1, "10");
    assert_eq!(put(&*store, &newer).await, Put::Applied);
    assert_eq!(get(&*store, "old").await, Some(newer));
    // One that makes no sense is no quota.
    redis.cli(&["HSET", "quota:tenant:old", "used", "many"]);
    assert_eq!(get(&*store, "old").await, None);
}

#[tokio::test]
async fn a_full_store_takes_those_it_knows_and_makes_room_from_what_is_over() {
    let keep = Duration::from_secs(1);
    let store = Embedded::in_memory(2, keep, steady_clock());
    let now_ms = steady_clock()() / 1_000;
    let brief = Record {
        reset_at: Stamp::from_ms(now_ms).unwrap(),
        ..record("brief", 1, "10")
    };
    let batch = [brief, record("lasting", 1, "10"), record("third", 1, "10")];
    let puts = store.put(&batch).await.unwrap();
    assert_eq!(puts, [Put::Applied, Put::Applied, Put::Full]);
    assert_eq!(put(&store, &record("lasting", 2, "11")).await, Put::Applied);
    sleep(Duration::from_millis(1_100)).await;
    assert_eq!(put(&store, &record("third", 1, "10")).await, Put::Applied);
    assert_eq!(put(&store, &record("fourth", 1, "10")).await, Put::Full);
}

#[tokio::test]
async fn a_file_keeps_what_it_took() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("quotas.redb");
    let open = || Embedded::open(&path, 10, DAY, steady_clock());
    let store = open().unwrap();
    put(&store, &record("acme", 1, "10")).await;
    assert!(open().is_err(), "it is locked");
    drop(store);
    let store = open().unwrap();
    assert_eq!(get(&store, "acme").await.unwrap().used, 1);
    assert_eq!(put(&store, &record("acme", 0, "09")).await, Put::Stale);
}
