//! `kill -9` of redis-proxy, Redis and NATS at random moments while entries are pushed and removed: nothing that was
//! acknowledged is lost, and every change has its event (C2, C6).

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::Ipv4Addr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use serde_json::Value;
use tokio::time::sleep;
use wire::lists::Change;

use crate::{
    control_client::{Client, Connection, Control},
    edge_service::{entry, on_redis, pull, to_nats},
    nats_server::NatsServer,
    redis_server::{Options, RedisServer, eventually},
};

const DENY: &str = "/v1/internal/edge/deny";
const FOR: Duration = Duration::from_secs(12);
const ENOUGH: usize = 100;

/// What was acknowledged: id → value, and the ids that were removed, or may have been.
#[derive(Default)]
struct Acknowledged {
    added: HashMap<String, String>,
    removed: HashSet<String>,
    maybe_removed: HashSet<String>,
    failed: usize,
}

/// Pushes, and removes every third, until told to stop.
async fn work(worker: u32, client: Client, stop: Arc<AtomicBool>, seen: Arc<Mutex<Acknowledged>>) {
    let mut connection: Option<Connection> = None;
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        let Some(open) = &mut connection else {
            connection = client.connect().await.ok();
            if connection.is_none() {
                sleep(Duration::from_millis(20)).await;
            }
            continue;
        };
        n += 1;
        let value = Ipv4Addr::from((10 << 24) + (worker << 20) + n).to_string();
        let body = entry(&value, 3_600).to_string();
        let id = match open.send("POST", DENY, &body).await {
            Ok(answer) if answer.status == 201 => answer.body["id"].as_str().unwrap().to_owned(),
            Ok(answer) => {
                assert_eq!(answer.status, 503, "{answer:?}");
                seen.lock().unwrap().failed += 1;
                sleep(Duration::from_millis(20)).await;
                continue;
            }
            Err(_) => {
                seen.lock().unwrap().failed += 1;
                connection = None;
                continue;
            }
        };
        seen.lock().unwrap().added.insert(id.clone(), value);
        if n.is_multiple_of(3) {
            seen.lock().unwrap().maybe_removed.insert(id.clone());
            match open.send("DELETE", &format!("{DENY}/{id}"), "").await {
                Ok(answer) if answer.status == 204 => {
                    seen.lock().unwrap().removed.insert(id);
                }
                Ok(answer) => assert_eq!(answer.status, 503, "{answer:?}"),
                Err(_) => connection = None,
            }
        }
        sleep(Duration::from_millis(2)).await;
    }
}

/// No event waits any more.
async fn drained(control: &Control) {
    let began = Instant::now();
    loop {
        let metrics = control.service.metrics().await;
        // It is told every half second: old news do not count.
        sleep(Duration::from_millis(700)).await;
        let now = control.service.metrics().await;
        let none = r#"redis_proxy_edge_events_waiting{list="deny"} 0"#;
        if metrics.contains(none) && now.contains(none) {
            return;
        }
        if began.elapsed() > Duration::from_secs(40) {
            let log = control.service.log.lock().unwrap();
            let tail: Vec<_> = log.lines().rev().take(30).collect();
            panic!("events wait: {now}\n{}", tail.join("\n"));
        }
    }
}

/// Everything there is, page by page.
async fn all(client: &Client, path: &str, field: &str) -> Vec<Value> {
    let mut found = Vec::new();
    let mut query = "?limit=500".to_owned();
    loop {
        let page = client.get(&format!("{path}{query}")).await;
        assert_eq!(page.status, 200, "{page:?}");
        found.extend(page.body[field].as_array().unwrap().iter().cloned());
        match page.body.get("next") {
            None => return found,
            Some(next) => query = format!("?limit=500&cursor={}", next.as_str().unwrap()),
        }
    }
}

async fn chaos(mut redis: Option<RedisServer>) {
    let mut nats = NatsServer::start();
    let store = match &redis {
        Some(redis) => on_redis(redis.port),
        None => "edge.path = '$DIR/lists.redb'\n".to_owned(),
    };
    let config = format!("{store}{}log = 'warn'\n", to_nats(&nats));
    let mut control = Control::start_with(&config, "").await;
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::new(Mutex::new(Acknowledged::default()));
    let workers: Vec<_> = (0..4)
        .map(|worker| {
            let work = work(worker, control.soc(), Arc::clone(&stop), Arc::clone(&seen));
            tokio::spawn(work)
        })
        .collect();

    let seed = SystemTime::UNIX_EPOCH.elapsed().unwrap().subsec_nanos();
    let mut random = u64::from(seed) | 1;
    let mut below = |n: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % n
    };
    let began = Instant::now();
    let mut kills = BTreeMap::new();
    // However slow the machine and its disk are: enough to lose some of.
    let added = || seen.lock().unwrap().added.len();
    while began.elapsed() < FOR || (added() <= ENOUGH && began.elapsed() < 4 * FOR) {
        sleep(Duration::from_millis(200 + below(700))).await;
        let victim = below(if redis.is_some() { 3 } else { 2 });
        *kills.entry(victim).or_insert(0) += 1;
        let down = Duration::from_millis(below(400));
        match (victim, &mut redis) {
            (0, _) => {
                control.service.child.kill().unwrap();
                sleep(down).await;
                control.service.restart().await;
            }
            (1, _) => {
                nats.kill();
                sleep(down).await;
                nats.restart();
            }
            (_, Some(redis)) => {
                redis.kill();
                sleep(down).await;
                redis.restart();
            }
            _ => {}
        }
    }
    stop.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.await.unwrap();
    }

    let soc = control.soc();
    drained(&control).await;
    let entries = all(&soc, DENY, "entries").await;
    let listed: HashSet<&str> = entries.iter().map(|e| e["id"].as_str().unwrap()).collect();
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    let lost: Vec<_> = seen
        .added
        .keys()
        .filter(|id| !seen.maybe_removed.contains(*id) && !listed.contains(id.as_str()))
        .collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    let back: Vec<_> = seen
        .removed
        .iter()
        .filter(|id| listed.contains(id.as_str()))
        .collect();
    assert!(back.is_empty(), "removed and back: {back:?}");

    // every version has its event, with no gap
    let events = nats.events("EDGE").await;
    let versions: HashSet<u64> = events
        .values()
        .map(|event| event["data"]["version"].as_u64().unwrap())
        .collect();
    let last = *versions.iter().max().unwrap();
    let missing: Vec<_> = (1..=last).filter(|v| !versions.contains(v)).collect();
    assert!(missing.is_empty(), "changes without an event: {missing:?}");
    assert_eq!(events.len(), versions.len(), "one event per version");
    let told = |kind: &str| -> HashSet<&str> {
        let of_kind = events.values().filter(|event| event["type"] == kind);
        of_kind
            .map(|event| event["data"]["id"].as_str().unwrap())
            .collect()
    };
    let (added, removed) = (told("edge.deny.added.v1"), told("edge.deny.removed.v1"));
    assert!(seen.added.keys().all(|id| added.contains(id.as_str())));
    assert!(seen.removed.iter().all(|id| removed.contains(id.as_str())));
    // audit log and events are the same changes
    let audit = all(&soc, "/v1/internal/edge/audit", "changes").await;
    let audited: HashSet<&str> = audit.iter().map(|c| c["id"].as_str().unwrap()).collect();
    assert_eq!(audited, events.keys().map(String::as_str).collect());

    // and the workers are told
    let mut page = None;
    eventually("workers are told", Duration::from_secs(60), async || {
        page = pull(&control.service, "").await.ok();
        page.as_ref().is_some_and(|page| page.last >= last)
    })
    .await;
    let members: HashSet<String> = page
        .unwrap()
        .changes
        .iter()
        .map(|change| match change {
            Change::Add { member, .. } | Change::Remove(member) => member.to_string(),
        })
        .collect();
    let expected: HashSet<String> = entries
        .iter()
        .map(|entry| entry["value"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(members, expected);
    assert!(seen.added.len() > ENOUGH, "{}", seen.added.len());
    eprintln!(
        "kills of redis-proxy, NATS, Redis {kills:?}; acknowledged {} added, {} removed; {} failed; {} events",
        seen.added.len(),
        seen.removed.len(),
        seen.failed,
        events.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_on_redis() {
    let durable = Options {
        durable: true,
        ..Options::default()
    };
    chaos(Some(RedisServer::start(durable, None))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_in_a_file() {
    chaos(None).await;
}
