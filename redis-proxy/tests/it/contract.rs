//! What every store must do: one suite, over memory, file, Redis, Redis Cluster, with TLS and password.

use std::{sync::Arc, time::Duration};

use redis_proxy::{
    bucket::{Decision, Rule},
    store::{
        Ask, Outcome, Store,
        embedded::{Embedded, steady_clock},
    },
};
use tokio::time::sleep;
use wire::limits::{GiveBack, Limit};

use crate::redis_server::{Cluster, Options, Pki, RedisServer, connect, prefix, settings};

pub fn ask(value: &str, limit: Limit, want: u64) -> Ask {
    let name = prefix().name("test", value, &limit);
    Ask {
        name,
        rule: Rule::new(&limit),
        want,
        give_back: GiveBack::default(),
    }
}

pub async fn one(store: &dyn Store, ask: Ask) -> Outcome {
    let outcomes = store.acquire(std::slice::from_ref(&ask)).await;
    assert_eq!(outcomes.len(), 1);
    outcomes[0]
}

/// A busy machine may hold up one call; a store that is well answers the next.
async fn decided(store: &dyn Store, ask: Ask) -> Decision {
    one(store, ask)
        .await
        .unwrap_or_else(|failure| panic!("{failure:?}"))
}

/// The whole contract. Budgets are long here: it is about answers, not about time.
pub async fn hold(store: Arc<dyn Store>) {
    counts_are_exact(&*store).await;
    rates_have_two_buckets(&*store).await;
    windows_slide(&*store).await;
    tokens_come_back(&*store).await;
    keys_of_a_batch_are_independent(&*store).await;
    hostile_values_are_just_values(&*store).await;
    asking_for_nothing_takes_nothing(&*store).await;
    many_workers_share_one_limit(store).await;
}

async fn counts_are_exact(store: &dyn Store) {
    let limit = Limit::window(5, 60_000);
    for left in (0..5).rev() {
        let decision = decided(store, ask("count", limit, 1)).await;
        assert_eq!((decision.granted, decision.remaining), (1, left));
    }
    let sixth = decided(store, ask("count", limit, 1)).await;
    assert_eq!(sixth.granted, 0);
    assert!(
        (50_000..=60_200).contains(&sixth.retry_after_ms),
        "{sixth:?}"
    );
    assert!(
        (sixth.retry_after_ms..=60_200).contains(&sixth.reset_ms),
        "{sixth:?}"
    );
    let more = decided(store, ask("count of three", Limit::window(3, 60_000), 9)).await;
    assert_eq!(
        (more.granted, more.remaining),
        (3, 0),
        "min(want, available)"
    );
}

async fn rates_have_two_buckets(store: &dyn Store) {
    // 20 s to refill, so time does not matter; the peak bucket holds 100 ms of 200/s
    let limit = Limit::paced(100, 1_000);
    let first = decided(store, ask("rate", limit, 1_000)).await;
    assert_eq!(first.granted, 20, "the peak bucket is the smaller one");
    assert!((1..=5).contains(&first.retry_after_ms), "{first:?}");
    // one each second: none comes back between two calls
    let limit = Limit::without_burst(3_600, 3_600_000);
    let granted = decided(store, ask("slow rate", limit, 10)).await.granted;
    assert_eq!(granted, 1, "a bucket holds one token at least");
    let refused = decided(store, ask("slow rate", limit, 1)).await;
    assert_eq!(refused.granted, 0);
    assert!((1..=1_000).contains(&refused.retry_after_ms), "{refused:?}");
    sleep(Duration::from_millis(refused.retry_after_ms + 1)).await;
    assert_eq!(
        decided(store, ask("slow rate", limit, 1)).await.granted,
        1,
        "as it said"
    );
}

async fn windows_slide(store: &dyn Store) {
    let limit = Limit::window(2, 1_000);
    assert_eq!(decided(store, ask("slide", limit, 2)).await.granted, 2);
    let refused = decided(store, ask("slide", limit, 1)).await;
    assert_eq!(refused.granted, 0);
    assert!((1..=1_200).contains(&refused.retry_after_ms), "{refused:?}");
    sleep(Duration::from_millis(refused.retry_after_ms + 1)).await;
    assert_eq!(decided(store, ask("slide", limit, 9)).await.granted, 2);
}

async fn tokens_come_back(store: &dyn Store) {
    for limit in [
        Limit::window(5, 60_000),
        Limit::paced(50, 3_600_000).scaled(1_000),
    ] {
        let value = format!("back {}", limit.period_ms);
        let taken = decided(store, ask(&value, limit, 5)).await.granted;
        assert!(taken >= 1);
        let back = |tokens, age_ms, want| Ask {
            give_back: GiveBack { tokens, age_ms },
            ..ask(&value, limit, want)
        };
        assert_eq!(
            decided(store, back(taken, 501, 9)).await.granted,
            0,
            "too late"
        );
        assert_eq!(decided(store, back(taken, 500, 9)).await.granted, taken);
        assert_eq!(
            decided(store, back(1_000, 500, 9)).await.granted,
            taken,
            "not more than taken"
        );
    }
}

async fn keys_of_a_batch_are_independent(store: &dyn Store) {
    let limit = Limit::window(3, 60_000);
    let batch: Vec<Ask> = (0..64)
        .map(|i| ask(&format!("batch {}", i % 32), limit, 2))
        .collect();
    let outcomes = store.acquire(&batch).await;
    let granted: Vec<u64> = outcomes
        .iter()
        .map(|outcome| outcome.unwrap().granted)
        .collect();
    assert_eq!(granted.len(), 64);
    // each key was asked twice for two of three
    for key in 0..32 {
        assert_eq!(granted[key] + granted[key + 32], 3, "{granted:?}");
    }
}

async fn hostile_values_are_just_values(store: &dyn Store) {
    let limit = Limit::window(1, 60_000);
    let long = "x".repeat(1_024);
    for value in [
        "{a}b",
        "{a}c",
        "\r\nFLUSHALL\r\n",
        "a b",
        "\0",
        "ü",
        "::",
        &long,
    ] {
        assert_eq!(
            decided(store, ask(value, limit, 1)).await.granted,
            1,
            "{value:?}"
        );
        assert_eq!(
            decided(store, ask(value, limit, 1)).await.granted,
            0,
            "{value:?}"
        );
    }
}

async fn asking_for_nothing_takes_nothing(store: &dyn Store) {
    for limit in [Limit::window(4, 60_000), Limit::without_burst(40, 1_000)] {
        let look = decided(store, ask("look", limit, 0)).await;
        let expected = Decision {
            remaining: 4,
            keep_ms: look.keep_ms,
            ..Decision::default()
        };
        assert_eq!(look, expected);
        assert_eq!(decided(store, ask("look", limit, 9)).await.granted, 4);
    }
}

async fn many_workers_share_one_limit(store: Arc<dyn Store>) {
    let limit = Limit::window(100, 60_000);
    let workers = (0..8).map(|_| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let mut granted = 0;
            for _ in 0..50 {
                // a call that fails may have taken tokens: they are lost, never spent twice
                granted += one(&*store, ask("shared", limit, 1))
                    .await
                    .map_or(0, |d| d.granted);
            }
            granted
        })
    });
    let granted: u64 = futures_util::future::join_all(workers)
        .await
        .into_iter()
        .map(|granted| granted.unwrap())
        .sum();
    assert!(granted <= 100, "{granted}");
    assert!(granted >= 95, "{granted}");
}

const PATIENT: Duration = Duration::from_secs(10);

#[tokio::test]
async fn memory() {
    hold(Arc::new(Embedded::in_memory(
        10_000,
        PATIENT,
        steady_clock(),
    )))
    .await;
}

#[tokio::test]
async fn file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    hold(Arc::new(
        Embedded::open(&path, 10_000, PATIENT, steady_clock()).unwrap(),
    ))
    .await;
}

async fn redis(options: Options) {
    let pki = options.tls.then(Pki::new);
    let server = RedisServer::start(options, pki.as_ref());
    let mut settings = settings(vec![server.port], options, pki.as_ref().map(Pki::tls));
    settings.budget = PATIENT;
    hold(Arc::new(connect(&settings).await)).await;
    only_our_keys(&server.cli(&["--scan"]));
}

fn only_our_keys(scan: &str) {
    assert!(scan.lines().count() > 40, "{scan}");
    for name in scan.lines() {
        assert!(name.starts_with("kong:rl:test:"), "{name}");
    }
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

async fn redis_cluster(options: Options) {
    let pki = options.tls.then(Pki::new);
    let cluster = Cluster::start(options, pki.as_ref());
    let mut settings = cluster.settings();
    settings.tls = pki.as_ref().map(Pki::tls);
    settings.budget = PATIENT;
    hold(Arc::new(connect(&settings).await)).await;
    let scans: Vec<_> = cluster
        .primaries()
        .into_iter()
        .map(|i| cluster.nodes[i].cli(&["--scan"]))
        .collect();
    assert!(
        scans.iter().all(|scan| !scan.is_empty()),
        "keys spread over all primaries"
    );
    only_our_keys(&scans.join("\n"));
}

#[tokio::test]
async fn redis_cluster_plain() {
    redis_cluster(Options::default()).await;
}

#[tokio::test]
async fn redis_cluster_with_tls_and_password() {
    redis_cluster(Options {
        tls: true,
        password: true,
        ..Options::default()
    })
    .await;
}
