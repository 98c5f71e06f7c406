//! What takes a clock and arithmetic to show: how soon a change is in force in several workers, what is sampled, and a
//! long list.
#![cfg(not(target_arch = "wasm32"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::time::Duration;

use fingerprint_deny::FingerprintDeny;
use policy::Level;
use serde_json::Value;
use testkit::auth_service::Endpoint;
use testkit::{Drive, Fault, Request, World};
use wire::lists::{Kind, ListName, Member};
use wire::samples::Sample;

const JA3: &str = "e7d705a3286e19ea42f587b344ee6865";
const JA4: &str = "t13d1516h2_8daaf6152771_e5627efa2ab1";

fn config(more: &str) -> String {
    format!(
        r#"{{"lists":{{"upstream":"list_service","authority":"p"}},"client":{{"trusted_proxies":["127.0.0.1/32"]}}{more}}}"#
    )
}

fn drive(more: &str, world: &World) -> Drive<FingerprintDeny> {
    Drive::new(config(more), world.clone()).unwrap()
}

fn of(address: &str) -> Request {
    Request::get("/").header("x-forwarded-for", address)
}

fn member(address: &str) -> Member {
    Member::parse(Kind::Ip, address).unwrap()
}

/// The time from a change until each of four workers shows the status.
fn times_to(status: u16, workers: &mut [Drive<FingerprintDeny>], address: &str) -> Vec<Duration> {
    let mut times = vec![None; workers.len()];
    for step in 0..400 {
        for (worker, time) in workers.iter_mut().zip(&mut times) {
            if time.is_none() && worker.request(of(address)).status == status {
                *time = Some(Duration::from_millis(10 * step));
            }
            worker.advance(Duration::from_millis(10));
        }
    }
    times
        .into_iter()
        .map(|time| time.expect("in force"))
        .collect()
}

#[test]
fn changes_are_in_force_in_four_workers_within_two_seconds_both_ways() {
    let world = World::new();
    let sampling = r#","sampling":{"every":0}"#;
    let mut workers: Vec<_> = (0..4).map(|_| drive(sampling, &world)).collect();
    for worker in &mut workers {
        worker.advance(Duration::from_secs(2));
    }
    let (mut pushed, mut deleted, mut expired) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..40 {
        let address = format!("192.0.2.{n}");
        let now = workers[0].now();
        let ttl = Duration::from_secs(3_600);
        world.lists.add(ListName::Deny, member(&address), ttl, now);
        pushed.extend(times_to(403, &mut workers, &address));
        world.lists.remove(ListName::Deny, member(&address));
        deleted.extend(times_to(200, &mut workers, &address));
        // It ends by itself, also when the service is gone meanwhile.
        let now = workers[0].now();
        let ttl = Duration::from_secs(6);
        world.lists.add(ListName::Deny, member(&address), ttl, now);
        times_to(403, &mut workers, &address);
        world.lists.fail(Endpoint::ListService, Fault::Refused);
        expired.extend(times_to(200, &mut workers, &address));
        world.lists.heal();
        for worker in &mut workers {
            worker.advance(Duration::from_secs(8));
        }
    }
    for (what, times) in [("pushed", &pushed), ("deleted", &deleted)] {
        let worst = times.iter().max().unwrap();
        println!("{what}: at most {worst:?}");
        assert!(*worst <= Duration::from_secs(2), "{what}: {worst:?}");
        // The workers do not all ask at once.
        assert!(times.iter().min().unwrap() < &Duration::from_millis(500));
    }
    // Four seconds of the six had passed.
    let worst = expired.iter().max().unwrap();
    assert!(*worst <= Duration::from_secs(4), "{worst:?}");
    assert!(expired.iter().min().unwrap() >= &Duration::from_millis(1_000));
}

fn sampled_request(n: u32) -> Request {
    Request::get("/v1/orders")
        .header("x-forwarded-for", format!("192.0.2.{}", n % 250))
        .header("cf-ja3-hash", JA3)
        .header("cf-ja4", JA4)
        .header("x-account-id", format!("acc-{n}"))
        .header("x-tenant-id", "acme")
        .header("cf-ipcountry", "NL")
}

#[test]
fn a_thousand_requests_make_a_hundred_true_records() {
    let world = World::new();
    let more = r#","sampling":{"identity":"request"}"#;
    let mut worker = drive(more, &world);
    worker.set_route("orders");
    worker.advance(Duration::from_secs(2));
    let listed = member("192.0.2.19");
    let ttl = Duration::from_secs(3_600);
    world.lists.add(ListName::Deny, listed, ttl, worker.now());
    worker.advance(Duration::from_secs(2));
    let begun = worker.now().as_nanos() / 1_000_000;
    for n in 0..1_000 {
        let expected = if n % 250 == 19 { 403 } else { 200 };
        assert_eq!(worker.request(sampled_request(n)).status, expected);
        worker.advance(Duration::from_millis(5));
    }
    worker.advance(Duration::from_secs(3));
    let samples = world.lists.samples();
    assert_eq!(samples.len(), 100);
    for (index, sample) in samples.iter().enumerate() {
        let n = u32::try_from(index).unwrap() * 10 + 9;
        assert_eq!(
            *sample,
            Sample {
                at_ms: begun + u64::from(n) * 5,
                ja3_hash: Some(JA3.into()),
                ja4: Some(JA4.into()),
                ip: format!("192.0.2.{}", n % 250),
                consumer_id: Some(format!("acc-{n}")),
                tenant_id: Some("acme".into()),
                country: Some("NL".into()),
                route: Some("orders".into()),
                status_code: if n % 250 == 19 { 403 } else { 200 },
                latency_ms: 0,
            }
        );
    }
    let lines: Vec<Sample> = worker
        .logs()
        .iter()
        .filter_map(|(_, line)| line.strip_prefix("fingerprint_deny: sample "))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines, samples);
    let batches = world.lists.batches();
    assert!(
        batches
            .iter()
            .all(|batch| (batch.every, batch.dropped) == (10, 0))
    );
    assert!(batches.len() <= 8, "{} batches", batches.len());
}

#[test]
fn identity_is_believed_only_from_where_it_is_said_to_come() {
    for (identity, expected) in [("none", None), ("response", Some("from-upstream"))] {
        let world = World::new();
        let answer = [("x-account-id".to_owned(), "from-upstream".to_owned())];
        world.upstream.answer(200, &answer);
        let more = format!(r#","sampling":{{"every":1,"identity":"{identity}"}}"#);
        let mut worker = drive(&more, &world);
        worker.advance(Duration::from_secs(2));
        worker.request(sampled_request(1));
        worker.advance(Duration::from_secs(3));
        let samples = world.lists.samples();
        assert_eq!(samples[0].consumer_id.as_deref(), expected, "{identity}");
        assert_eq!(samples[0].tenant_id, None, "{identity}");
    }
}

#[test]
fn a_batch_is_bounded_and_what_finds_no_room_is_told() {
    let world = World::new();
    let more = r#","sampling":{"every":1,"access_log":false,"buffer":2500}"#;
    let mut worker = drive(more, &world);
    worker.advance(Duration::from_secs(2));
    for n in 0..3_000 {
        worker.request(sampled_request(n));
    }
    worker.advance(Duration::from_secs(10));
    let batches = world.lists.batches();
    let sizes: Vec<usize> = batches.iter().map(|batch| batch.samples.len()).collect();
    assert_eq!(sizes, [1_000, 1_000, 500]);
    let dropped: u64 = batches.iter().map(|batch| batch.dropped).sum();
    assert_eq!(dropped, 500);
    assert_eq!(
        worker.metric("portcullis_fingerprint_deny_samples.result=dropped"),
        500
    );
    assert!(
        !worker
            .logs()
            .iter()
            .any(|(_, line)| line.contains("sample {"))
    );
}

#[test]
fn a_batch_whose_end_is_not_known_is_not_sent_again() {
    let world = World::new();
    world.lists.fail(Endpoint::Samples, Fault::Hang);
    let mut worker = drive(r#","sampling":{"every":1}"#, &world);
    worker.advance(Duration::from_secs(2));
    worker.request(sampled_request(1));
    worker.advance(Duration::from_secs(4));
    assert_eq!(worker.calls("samples"), 1);
    assert_eq!(
        worker.metric("portcullis_fingerprint_deny_samples.result=lost"),
        1
    );
    world.lists.heal();
    worker.request(sampled_request(2));
    worker.advance(Duration::from_secs(10));
    let samples = world.lists.samples();
    assert_eq!(samples.len(), 1);
    assert_eq!(samples[0].ip, "192.0.2.2");
}

#[test]
fn a_long_list_comes_in_pages_and_the_old_one_serves_meanwhile() {
    let world = World::new();
    let mut worker = drive(r#","sampling":{"every":0}"#, &world);
    let ttl = Duration::from_secs(3_600);
    world
        .lists
        .add(ListName::Deny, member("203.0.113.1"), ttl, worker.now());
    worker.advance(Duration::from_secs(2));
    assert_eq!(worker.request(of("203.0.113.1")).status, 403);
    world.lists.lose();
    for n in 0..25_000_u32 {
        let address = std::net::Ipv4Addr::from_bits(0x0a00_0000 + n).to_string();
        world
            .lists
            .add(ListName::Deny, member(&address), ttl, worker.now());
    }
    // The second of three pages does not come.
    let mut half = None;
    for _ in 0..3_000 {
        worker.advance(Duration::from_millis(1));
        let asked = world.asked();
        let pages = asked
            .iter()
            .filter(|asked| asked.path.contains("after=10000"));
        if pages.count() == 1 && half.is_none() {
            world.lists.fail(Endpoint::Lists, Fault::Status(500));
            half = Some(worker.now());
        }
        if half.is_some_and(|half| worker.now().since(half) > Duration::from_millis(500)) {
            break;
        }
    }
    assert!(half.is_some());
    assert_eq!(worker.request(of("203.0.113.1")).status, 403);
    world.lists.heal();
    worker.advance(Duration::from_secs(8));
    assert_eq!(worker.request(of("203.0.113.1")).status, 200);
    for (address, status) in [
        ("10.0.0.0", 403),
        ("10.0.97.167", 403),
        ("10.0.97.168", 200),
    ] {
        assert_eq!(worker.request(of(address)).status, status, "{address}");
    }
    assert_eq!(
        worker.metric("portcullis_fingerprint_deny_list_entries"),
        25_000
    );
}

#[test]
fn trouble_is_said_once_and_its_end_too() {
    let world = World::new();
    let mut worker = drive("", &world);
    worker.advance(Duration::from_secs(2));
    world.lists.fail(Endpoint::Lists, Fault::HalfBody);
    world.lists.add(
        ListName::Deny,
        member("192.0.2.1"),
        Duration::from_secs(3_600),
        worker.now(),
    );
    worker.advance(Duration::from_secs(30));
    world.lists.heal();
    worker.advance(Duration::from_secs(10));
    let lines: Vec<&(Level, String)> = worker.logs().iter().collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].1.contains("cannot be followed (cut_off)"));
    assert!(lines[1].1.contains("followed again"));
    assert!(worker.metric("portcullis_fingerprint_deny_list_bad_pages.reason=cut_off") > 3);
}

#[test]
fn a_refusal_says_nothing_of_the_reason() {
    let world = World::new();
    let more = r#","rules":[{"deny_countries":["KP"]},{"deny_bots":true}]"#;
    let mut worker = drive(more, &world);
    let ttl = Duration::from_secs(3_600);
    world
        .lists
        .add(ListName::Deny, member("192.0.2.1"), ttl, worker.now());
    worker.advance(Duration::from_secs(2));
    let answers: Vec<Value> = [
        of("192.0.2.1"),
        Request::get("/").header("cf-ipcountry", "KP"),
        Request::get("/").header("user-agent", "sqlmap"),
    ]
    .into_iter()
    .map(|request| {
        let exchange = worker.request(request.header("x-request-id", "the-same"));
        assert_eq!(exchange.status, 403);
        serde_json::from_slice(&exchange.body).unwrap()
    })
    .collect();
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0], answers[2]);
}
