//! The lists through the binary itself: to the workers, and to NATS (D3, D4, C2).

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};
use testkit::ports::free_port;
use wire::lists::{Change, Page};

use crate::{
    control_client::{Client, Control},
    nats_server::NatsServer,
    redis_server::{Options, Pki, RedisServer, eventually},
    service::{Service, binary},
};

const DENY: &str = "/v1/internal/edge/deny";
const SOON: Duration = Duration::from_secs(60);
const DURABLE: Options = Options {
    password: false,
    tls: false,
    cluster: false,
    durable: true,
};

pub fn entry(value: &str, ttl_s: u64) -> Value {
    json!({"kind": "ip", "value": value, "ttlSeconds": ttl_s, "reason": "scans"})
}

pub fn on_redis(port: u16) -> String {
    format!("store = 'redis'\nredis.addresses = ['127.0.0.1:{port}']\nedge.timeout_ms = 5000\n")
}

pub fn to_nats(nats: &NatsServer) -> String {
    format!(
        "nats.urls = ['{}']\nnats.create_stream = true\n",
        nats.url()
    )
}

pub async fn push(client: &Client, value: &str) -> String {
    let added = client.post(DENY, &entry(value, 600)).await;
    assert_eq!(added.status, 201, "{added:?}");
    added.body["id"].as_str().unwrap().to_owned()
}

/// What a worker gets: a page, or a status.
pub async fn pull(service: &Service, query: &str) -> Result<Page, StatusCode> {
    let response = service
        .get(&format!("/v1/lists/deny{query}"))
        .await
        .unwrap();
    let status = response.status();
    if status != StatusCode::OK {
        return Err(status);
    }
    assert_eq!(
        response.headers()["content-type"],
        "text/vnd.portcullis.list"
    );
    Ok(Page::decode(&response.bytes().await.unwrap()).unwrap())
}

fn has(page: &Page) -> usize {
    page.changes.len()
}

#[tokio::test]
async fn a_worker_is_told_what_changed_and_304_otherwise() {
    let control = Control::start().await;
    let (service, soc) = (&control.service, control.soc());
    let mut empty = None;
    eventually("it is loaded", SOON, async || {
        empty = pull(service, "").await.ok();
        empty.is_some()
    })
    .await;
    let empty = empty.unwrap();
    assert_eq!((empty.from, empty.last, has(&empty)), (0, 0, 0));
    let since = |page: &Page| format!("?epoch={}&after={}", page.epoch, page.to);
    assert_eq!(
        pull(service, &since(&empty)).await,
        Err(StatusCode::NOT_MODIFIED)
    );

    let pushed = Instant::now();
    let id = push(&soc, "192.0.2.1").await;
    let mut page = None;
    eventually("it is told", SOON, async || {
        page = pull(service, &since(&empty)).await.ok();
        page.is_some()
    })
    .await;
    eprintln!("push to page: {:?}", pushed.elapsed());
    let page = page.unwrap();
    assert_eq!(
        (page.from, page.to, page.epoch.as_str()),
        (0, 1, &*empty.epoch)
    );
    assert!(matches!(page.changes[..], [Change::Add { member, ttl_ms }]
        if member.to_string() == "192.0.2.1" && (590_000..=600_000).contains(&ttl_ms)));
    soc.delete(&format!("{DENY}/{id}")).await;
    eventually("it is told", SOON, async || {
        pull(service, &since(&page))
            .await
            .is_ok_and(|page| matches!(page.changes[..], [Change::Remove(_)]) && page.from == 1)
    })
    .await;

    for (path, status, code) in [
        ("/v1/lists/guests", 404, "not_found"),
        ("/v1/lists/deny?after=x", 400, "bad_query"),
        ("/v1/lists/deny?after=-1", 400, "bad_query"),
        ("/v1/lists/deny?since=1", 400, "bad_query"),
        ("/v1/lists/deny?epoch=a%20b", 400, "bad_query"),
    ] {
        let response = service.get(path).await.unwrap();
        assert_eq!(response.status(), status, "{path}");
        let problem: Value = response.json().await.unwrap();
        assert_eq!(problem["code"], code);
    }
}

#[tokio::test]
async fn lists_go_on_when_redis_is_down_and_follow_what_others_change() {
    let mut redis = RedisServer::start(DURABLE, None);
    redis.kill();
    let config = on_redis(redis.port);
    let one = Control::start_with(&config, "").await;
    assert_eq!(
        pull(&one.service, "").await,
        Err(StatusCode::SERVICE_UNAVAILABLE),
        "a list that is not known is none"
    );
    let ready = one.soc().post(DENY, &entry("192.0.2.1", 600)).await;
    assert_eq!(ready.status, 503);
    redis.restart();
    let two = Control::start_with(&config, "").await;
    for control in [&one, &two] {
        eventually("it is loaded", SOON, async || {
            pull(&control.service, "").await.is_ok()
        })
        .await;
    }
    let pushed = Instant::now();
    push(&one.soc(), "192.0.2.1").await;
    eventually("the other one follows", SOON, async || {
        pull(&two.service, "")
            .await
            .is_ok_and(|page| has(&page) == 1)
    })
    .await;
    eprintln!("push to the other process: {:?}", pushed.elapsed());

    redis.kill();
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(
        pull(&two.service, "")
            .await
            .is_ok_and(|page| has(&page) == 1)
    );
    let metrics = two.service.metrics().await;
    let age = metrics
        .lines()
        .find_map(|line| line.strip_prefix(r#"redis_proxy_edge_age_seconds{list="deny"} "#))
        .unwrap();
    assert!(age.parse::<f64>().unwrap() > 3.0, "{age}");
    redis.restart();
    eventually("it is followed again", SOON, async || {
        let ready = two.service.get("/readyz").await.unwrap();
        ready.text().await.unwrap() == "ready\n"
    })
    .await;
    push(&two.soc(), "192.0.2.2").await;
    let listed = two.soc().get(DENY).await;
    assert_eq!(listed.body["entries"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn events_wait_for_nats_and_an_end_is_told_once() {
    let redis = RedisServer::start(DURABLE, None);
    let mut nats = NatsServer::new(None);
    let config = format!("{}{}", on_redis(redis.port), to_nats(&nats));
    let one = Control::start_with(&config, "").await;
    let two = Control::start_with(&config, "").await;
    let (soc, other) = (one.soc(), two.soc());
    let id = push(&soc, "192.0.2.1").await;
    let short = other.post(DENY, &entry("192.0.2.2", 1)).await;
    assert_eq!(short.status, 201);
    soc.delete(&format!("{DENY}/{id}")).await;
    let tarpit = json!({"kind": "ip", "value": "192.0.2.3", "reason": "slow"});
    let path = "/v1/internal/edge/tarpit";
    assert_eq!(soc.post(path, &tarpit).await.status, 201);
    let key = format!("/cache/ghasi:apikey:{}", "ab".repeat(32));
    for _ in 0..2 {
        let revoked = soc.delete(&key).await;
        assert!(revoked.status < 300, "{revoked:?}");
    }
    eventually("the end waits, too", SOON, async || {
        let metrics = one.service.metrics().await;
        metrics.contains(r#"redis_proxy_edge_events_waiting{list="deny"} 4"#)
    })
    .await;
    nats.restart();
    drained(&redis).await;
    let events = nats.events("EDGE").await;
    let mut told: Vec<_> = events
        .values()
        .map(|event| {
            let data = &event["data"];
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            (
                text(&event["type"]),
                text(&data["cause"]),
                text(&data["value"]),
            )
        })
        .collect();
    told.sort();
    let key = "ab".repeat(32);
    let expected = [
        ("edge.apikey.revoked.v1", "added", key.as_str()),
        ("edge.apikey.revoked.v1", "renewed", &key),
        ("edge.deny.added.v1", "added", "192.0.2.1"),
        ("edge.deny.added.v1", "added", "192.0.2.2"),
        ("edge.deny.removed.v1", "expired", "192.0.2.2"),
        ("edge.deny.removed.v1", "removed", "192.0.2.1"),
        ("edge.tarpit.added.v1", "added", "192.0.2.3"),
    ];
    let expected = expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned()));
    assert_eq!(told, expected);
}

/// No event waits.
pub async fn drained(redis: &RedisServer) {
    eventually("no event waits", SOON, async || {
        ["deny", "tarpit", "revoked"]
            .iter()
            .all(|list| redis.cli(&["ZCARD", &format!("kong:edge:{{{list}}}:outbox")]) == "0")
    })
    .await;
}

#[tokio::test]
async fn events_on_their_way_when_nats_dies_are_told_again() {
    let mut nats = NatsServer::start();
    let control = Control::start_with(&to_nats(&nats), "").await;
    let soc = control.soc();
    push(&soc, "192.0.2.0").await;
    let published = async |count: &str| {
        let line = format!(r#"published_total{{type="edge.deny.added.v1"}} {count}"#);
        control.service.metrics().await.contains(&line)
    };
    eventually("it is told", SOON, async || published("1").await).await;
    nats.freeze();
    for n in 1..=40 {
        push(&soc, &format!("192.0.2.{n}")).await;
    }
    // they are on their way, and go with it
    tokio::time::sleep(Duration::from_millis(300)).await;
    nats.restart();
    eventually("all are told", SOON, async || {
        nats.events("EDGE").await.len() == 41
    })
    .await;
}

#[tokio::test]
async fn a_full_outbox_refuses_changes_until_nats_is_there() {
    let mut nats = NatsServer::new(None);
    let config = format!("{}nats.max_pending = 2\n", to_nats(&nats));
    let control = Control::start_with(&config, "").await;
    let soc = control.soc();
    for n in 1..=2 {
        push(&soc, &format!("192.0.2.{n}")).await;
    }
    let full = soc.post(DENY, &entry("192.0.2.3", 600)).await;
    assert_eq!((full.status, full.problem()), (503, "outbox_full"));
    let ready = control.service.get("/readyz").await.unwrap();
    assert_eq!(ready.status(), 200, "limits are decided as before");
    assert!(ready.text().await.unwrap().contains("note: outbox is full"));
    nats.restart();
    eventually("there is room", SOON, async || {
        soc.post(DENY, &entry("192.0.2.3", 600)).await.status == 201
    })
    .await;
    eventually("all is well", SOON, async || {
        let ready = control.service.get("/readyz").await.unwrap();
        ready.text().await.unwrap() == "ready\n"
    })
    .await;
}

#[tokio::test]
async fn events_wait_for_a_stream_that_takes_them() {
    let nats = NatsServer::start();
    let config = format!(
        "nats.urls = ['{}']\nnats.stream = 'OURS'\nnats.subject_prefix = 'prod.'\n",
        nats.url()
    );
    let control = Control::start_with(&config, "").await;
    push(&control.soc(), "192.0.2.1").await;
    control.service.log_with("stream").await;
    let context = nats.context().await;
    let mut stream = async_nats::jetstream::stream::Config {
        name: "OURS".into(),
        subjects: vec!["prod.edge.deny.*.v1".into()],
        ..Default::default()
    };
    context.create_stream(stream.clone()).await.unwrap();
    control
        .service
        .log_with("does not take prod.edge.tarpit.added.v1")
        .await;
    stream.subjects = vec!["prod.edge.>".into()];
    context.update_stream(&stream).await.unwrap();
    eventually("it is told", SOON, async || {
        nats.events("OURS").await.len() == 1
    })
    .await;
}

#[tokio::test]
async fn nats_over_tls() {
    let pki = Pki::new();
    let mut nats = NatsServer::new(Some(&pki));
    nats.restart();
    let ca = pki.dir.path().join("ca.pem");
    let config = format!(
        "nats.urls = ['tls://127.0.0.1:{}']\nnats.ca_file = '{}'\nnats.create_stream = true\n",
        nats.port,
        ca.display()
    );
    let control = Control::start_with(&config, "").await;
    push(&control.soc(), "192.0.2.1").await;
    eventually("it is told", SOON, async || {
        let metrics = control.service.metrics().await;
        metrics.contains(r#"redis_proxy_edge_events_published_total{type="edge.deny.added.v1"} 1"#)
    })
    .await;
    // an authority that nobody trusts
    let other = Pki::new();
    let config = config.replace(
        &ca.display().to_string(),
        &other.dir.path().join("ca.pem").display().to_string(),
    );
    let control = Control::start_with(&config, "").await;
    push(&control.soc(), "192.0.2.1").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let metrics = control.service.metrics().await;
    assert!(
        metrics.contains("redis_proxy_edge_nats_connected 0"),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_redis_that_forgets_is_told_of_loudly() {
    let redis = RedisServer::start(Options::default(), None);
    let service = Service::start(&on_redis(redis.port)).await;
    eventually("it is told", SOON, async || {
        let ready = service.get("/readyz").await.unwrap();
        let ready = ready.text().await.unwrap();
        ready.starts_with("ready\n") && ready.contains("note: store of the lists: volatile")
    })
    .await;
    eventually("it is counted", SOON, async || {
        let metrics = service.metrics().await;
        metrics.contains("redis_proxy_edge_store_durable 0")
    })
    .await;
    service.log_with("THE LISTS CAN BE LOST").await;
}

#[test]
fn every_problem_of_the_configuration_is_named_and_no_secret_shown() {
    let dir = tempfile::tempdir().unwrap();
    let creds = dir.path().join("bad.creds");
    std::fs::write(&creds, "hunter2").unwrap();
    let config = format!(
        "store = 'redis'\n[edge]\npath = 'x'\nprefix = 'a{{b}}:'\ntimeout_ms = 1\npoll_ms = 5000\n\
         max_entries = 0\nmax_gone = 1\nmax_audit = 1\nmin_prefix_v4 = 33\nmin_prefix_v6 = 129\n\
         [nats]\nurls = ['nats://me:hunter2@localhost:4222', 'http://localhost']\nstream = 'a b'\n\
         subject_prefix = 'a..'\nmax_pending = 0\nca_file = 'gone'\ncreds_file = '{}'\n",
        creds.display()
    );
    let file = dir.path().join("config.toml");
    std::fs::write(&file, config).unwrap();
    let output = binary()
        .args(["--check", "--listen"])
        .arg(format!("127.0.0.1:{}", free_port()))
        .arg("--config")
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    for field in [
        "edge.path: ",
        "edge.prefix: ",
        "edge.timeout_ms: must be 10 to 60000",
        "edge.poll_ms: must be 10 to 1000",
        "edge.max_entries: ",
        "edge.max_gone: ",
        "edge.max_audit: ",
        "edge.min_prefix_v4: must be 0 to 32",
        "edge.min_prefix_v6: must be 0 to 128",
        "nats.urls: must be nats://",
        "nats.stream: ",
        "nats.subject_prefix: ",
        "nats.max_pending: ",
        "nats.ca_file: needs a tls:// url",
        "nats.ca_file: No such file",
        "nats.creds_file: must hold",
    ] {
        assert!(said.contains(field), "{field} in\n{said}");
    }
    assert!(!said.contains("hunter2"), "{said}");
}
