//! `quota.updated` from a real NATS through the binary itself to a real Redis, whatever dies in between (Q1).

use std::time::Duration;

use async_nats::jetstream::{self, consumer::pull, stream};
use futures_util::StreamExt as _;
use redis_proxy::quota::record::Stamp;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::time::sleep;
use wire::quota::{Quota, QuotaReply};

use crate::{
    edge_service::on_redis,
    nats_server::NatsServer,
    redis_server::{Options, RedisServer, eventually},
    service::Service,
};

const SOON: Duration = Duration::from_secs(60);
const DURABLE: Options = Options {
    password: false,
    tls: false,
    cluster: false,
    durable: true,
};

fn config(store: &str, nats: &NatsServer) -> String {
    format!(
        "{store}log = 'info'\nnats.urls = ['{}']\nnats.create_stream = true\n\
         quota.consume = true\nquota.create_stream = true\nquota.timeout_ms = 500\n\
         quota.ack_wait_ms = 5000\n",
        nats.url()
    )
}

/// An event as of a second.
fn event(tenant: &str, used: u64, second: u64) -> Value {
    let (minute, second) = (second / 60, second % 60);
    json!({
        "tenant_id": tenant,
        "limit": 10_000,
        "used": used,
        "period": "monthly",
        "reset_at": "2400-01-01T00:00:00Z",
        "last_updated": format!("2025-10-27T20:{minute:02}:{second:02}Z"),
    })
}

async fn publish(context: &jetstream::Context, payload: impl Into<Vec<u8>>) {
    let sent = context.publish("quota.updated", payload.into().into());
    sent.await.unwrap().await.unwrap();
}

async fn tell(context: &jetstream::Context, event: &Value) {
    publish(context, event.to_string()).await;
}

async fn look_up(service: &Service, tenant: &str) -> Result<Option<Quota>, StatusCode> {
    let response = service
        .post("/v1/quota/lookup", &json!({ "tenants": [tenant] }))
        .await;
    if response.status() != StatusCode::OK {
        return Err(response.status());
    }
    let reply: QuotaReply = response.json().await.unwrap();
    Ok(reply.quotas.into_iter().next().unwrap())
}

async fn is_told(service: &Service, tenant: &str, used: u64) {
    eventually(
        "the quota is told",
        SOON,
        async || matches!(look_up(service, tenant).await, Ok(Some(quota)) if quota.used == used),
    )
    .await;
}

/// The sum over the labels of a counter of quotas, and of one label if it is named.
async fn counted(service: &Service, name: &str) -> u64 {
    let metrics = service.metrics().await;
    let of = |line: &&str| line.starts_with(&format!("redis_proxy_quota_{name}"));
    let values = metrics.lines().filter(of);
    values
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

async fn counts(service: &Service, name: &str, wanted: u64) {
    let mut last = 0;
    eventually(name, SOON, async || {
        last = counted(service, name).await;
        last == wanted
    })
    .await;
}

/// Nothing in the stream is left to be done.
async fn settled(context: &jetstream::Context) {
    eventually("every event is acknowledged", SOON, async || {
        let stream = context.get_stream("QUOTA").await.unwrap();
        let consumer = stream.get_consumer::<pull::Config>("redis-proxy-quota");
        let Ok(mut consumer) = consumer.await else {
            return false;
        };
        let info = consumer.info().await.unwrap();
        info.num_pending == 0 && info.num_ack_pending == 0
    })
    .await;
}

/// The dead letters, oldest first: reason, subject and payload.
async fn dead(context: &jetstream::Context, expected: usize) -> Vec<(String, String, Vec<u8>)> {
    let stream = context.get_stream("QUOTA").await.unwrap();
    let config = pull::OrderedConfig {
        filter_subject: "quota.updated.dead".to_owned(),
        ..pull::OrderedConfig::default()
    };
    let consumer = stream.create_consumer(config).await.unwrap();
    let mut messages = consumer.messages().await.unwrap();
    let mut letters = Vec::new();
    while letters.len() < expected {
        let next = tokio::time::timeout(SOON, messages.next()).await;
        let message = next.unwrap().unwrap().unwrap();
        let headers = message.headers.as_ref().unwrap();
        let header = |name| headers.get(name).unwrap().to_string();
        assert!(!header("Portcullis-Detail").is_empty());
        assert!(header("Portcullis-Sequence").parse::<u64>().is_ok());
        letters.push((
            header("Portcullis-Reason"),
            header("Portcullis-Subject"),
            message.payload.to_vec(),
        ));
    }
    letters
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_end_in_the_hash_in_any_order_and_the_bad_ones_in_the_dead_letters() {
    let nats = NatsServer::start();
    let redis = RedisServer::start(DURABLE, None);
    let service = Service::start(&config(&on_redis(redis.port), &nats)).await;
    let context = nats.context().await;
    eventually("the stream is made", SOON, async || {
        context.get_stream("QUOTA").await.is_ok()
    })
    .await;
    eventually("there is no quota", SOON, async || {
        look_up(&service, "acme").await == Ok(None)
    })
    .await;

    tell(&context, &event("acme", 4_532, 10)).await;
    is_told(&service, "acme", 4_532).await;
    let mut quota = None;
    eventually("all of it is told", SOON, async || {
        quota = look_up(&service, "acme").await.ok().flatten();
        quota.is_some()
    })
    .await;
    let quota = quota.unwrap();
    assert_eq!((quota.limit, quota.remaining()), (10_000, 5_468));
    assert_eq!(quota.reset_at, "2400-01-01T00:00:00Z");
    let reset = Stamp::parse("2400-01-01T00:00:00Z").unwrap();
    assert_eq!(quota.reset_at_ms, reset.as_ms());
    let hash = redis.cli(&["HGETALL", "quota:tenant:acme"]);
    assert!(hash.contains("2025-10-27T20:00:10Z"), "{hash}");

    // Newer, older, the same again, another of the same time.
    tell(&context, &event("acme", 10_532, 30)).await;
    tell(&context, &event("acme", 5_000, 20)).await;
    tell(&context, &event("acme", 10_532, 30)).await;
    tell(&context, &event("acme", 1, 30)).await;
    for (result, wanted) in [
        ("applied", 2),
        ("stale", 1),
        ("duplicate", 1),
        ("conflict", 1),
    ] {
        counts(
            &service,
            &format!("events_total{{result=\"{result}\"}}"),
            wanted,
        )
        .await;
    }
    is_told(&service, "acme", 10_532).await;

    // What makes no sense.
    let ahead = json!({ "last_updated": "2499-01-01T00:00:00Z" });
    let mut future = event("acme", 1, 40);
    future["last_updated"] = ahead["last_updated"].clone();
    let mut contradicts = event("acme", 1, 41);
    contradicts["remaining"] = json!(17);
    redis.cli(&["SET", "quota:tenant:mine", "x"]);
    let bad = [
        ("not_json", b"\xff{".to_vec()),
        ("bad_tenant", br#"{"limit":1}"#.to_vec()),
        ("ahead_of_time", future.to_string().into_bytes()),
        ("bad_remaining", contradicts.to_string().into_bytes()),
        (
            "key_occupied",
            event("mine", 1, 10).to_string().into_bytes(),
        ),
    ];
    for (_, payload) in &bad {
        publish(&context, payload.clone()).await;
    }
    tell(&context, &event("after", 1, 10)).await;
    is_told(&service, "after", 1).await;
    let letters = dead(&context, bad.len()).await;
    for (reason, payload) in bad {
        let subject = "quota.updated".to_owned();
        assert!(
            letters.contains(&(reason.to_owned(), subject, payload)),
            "{reason}"
        );
        counts(
            &service,
            &format!("dead_events_total{{reason=\"{reason}\"}}"),
            1,
        )
        .await;
    }
    settled(&context).await;
    is_told(&service, "acme", 10_532).await;
    for line in [
        "redis_proxy_quota_nats_connected 1",
        "redis_proxy_quota_events_waiting 0",
        "redis_proxy_quota_lag_seconds ",
    ] {
        eventually(line, SOON, async || service.metrics().await.contains(line)).await;
    }
    eventually("nothing is told of quotas", SOON, async || {
        let ready = service.get("/readyz").await.unwrap().text().await.unwrap();
        !ready.contains("quota")
    })
    .await;
    // Payloads are in no log line.
    let log = service.log.lock().unwrap().clone();
    assert!(!log.contains("10532") && !log.contains("10_532"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_redis_proxy_redis_or_nats_are_killed() {
    let mut nats = NatsServer::start();
    let mut redis = RedisServer::start(DURABLE, None);
    let mut service = Service::start(&config(&on_redis(redis.port), &nats)).await;
    let context = nats.context().await;
    eventually("the stream is made", SOON, async || {
        context.get_stream("QUOTA").await.is_ok()
    })
    .await;
    tell(&context, &event("t0", 1, 0)).await;
    is_told(&service, "t0", 1).await;

    // Redis is away: events wait, are told of, and nothing is acknowledged.
    redis.kill();
    for n in 0..50 {
        tell(&context, &event(&format!("t{}", n % 10), n + 2, n + 1)).await;
    }
    eventually("it says so", SOON, async || {
        let ready = service.get("/readyz").await.unwrap().text().await.unwrap();
        ready.contains("quota events wait since")
    })
    .await;
    // And is killed while it holds them.
    service.restart().await;
    sleep(Duration::from_millis(500)).await;
    redis.restart();
    for n in 40..50 {
        // What was in the hands of the one that was killed comes after the time for acknowledgements.
        let tenant = format!("t{}", n % 10);
        eventually("it comes again", Duration::from_secs(60), async || {
            matches!(look_up(&service, &tenant).await, Ok(Some(quota)) if quota.used == n + 2)
        })
        .await;
    }
    // NATS is away, and back.
    nats.kill();
    eventually("it says so", SOON, async || {
        let ready = service.get("/readyz").await.unwrap().text().await.unwrap();
        ready.contains("quota events: NATS is not there")
    })
    .await;
    eventually("Redis is asked all the same", SOON, async || {
        matches!(look_up(&service, "t1").await, Ok(Some(_)))
    })
    .await;
    nats.restart();
    let context = nats.context().await;
    tell(&context, &event("t1", 9_999, 300)).await;
    is_told(&service, "t1", 9_999).await;
    settled(&context).await;
    // Every event once more, oldest last: nothing changes.
    for n in (0..50).rev() {
        tell(&context, &event(&format!("t{}", n % 10), n + 2, n + 1)).await;
    }
    settled(&context).await;
    is_told(&service, "t1", 9_999).await;
    is_told(&service, "t9", 51).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_event_waits_for_a_dead_letter_subject_that_takes_it() {
    let nats = NatsServer::start();
    let context = nats.context().await;
    let wanted = stream::Config {
        name: "QUOTA".to_owned(),
        subjects: vec!["quota.updated".to_owned()],
        ..stream::Config::default()
    };
    context.create_stream(wanted.clone()).await.unwrap();
    // The embedded store does as well.
    let service = Service::start(&config("quota.path = '$DIR/quota.redb'\n", &nats)).await;
    publish(&context, "nonsense").await;
    tell(&context, &event("acme", 7, 1)).await;
    is_told(&service, "acme", 7).await;
    eventually("it is not ended", SOON, async || {
        counted(&service, "dead_failures_total").await > 0
    })
    .await;
    assert_eq!(counted(&service, "dead_events_total").await, 0);
    let subjects = vec!["quota.updated".to_owned(), "quota.updated.dead".to_owned()];
    let wider = stream::Config { subjects, ..wanted };
    context.update_stream(wider).await.unwrap();
    let letters = dead(&context, 1).await;
    assert_eq!(letters[0].0, "not_json");
    assert_eq!(letters[0].2, b"nonsense");
    settled(&context).await;
}

#[tokio::test]
async fn a_question_that_makes_no_sense_is_refused() {
    let service = Service::start("").await;
    let many = vec!["a"; 257];
    for tenants in [
        json!([]),
        json!(many),
        json!([""]),
        json!(["a b"]),
        json!(["a".repeat(129)]),
    ] {
        let response = service
            .post("/v1/quota/lookup", &json!({ "tenants": tenants }))
            .await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        let problem: Value = response.json().await.unwrap();
        assert_eq!(problem["code"], "bad_tenants");
    }
    assert_eq!(look_up(&service, "acme").await, Ok(None));
}

#[tokio::test]
async fn a_lookup_fails_in_time_while_redis_is_away() {
    let mut redis = RedisServer::start(Options::default(), None);
    let settings = "quota.timeout_ms = 300\n";
    let service = Service::start(&format!("{}{settings}", on_redis(redis.port))).await;
    eventually("there is no quota", SOON, async || {
        look_up(&service, "acme").await == Ok(None)
    })
    .await;
    redis.kill();
    let began = std::time::Instant::now();
    let failed = look_up(&service, "acme").await;
    assert_eq!(failed, Err(StatusCode::SERVICE_UNAVAILABLE));
    assert!(began.elapsed() < Duration::from_secs(6));
}
