//! Requests while the tarpit holds them, in workers that know nothing of each other (T3, T4).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::net::IpAddr;
use std::time::{Duration, Instant};

use envoy_test::EnvoyGateway;
use serde_json::json;
use testkit::gateway::{FilterSetup, Gateway};
use testkit::http_client::{Connection, encode};
use testkit::{Request, World};
use wire::lists::ListName;

const GAUGE: &str = "kong_tarpit_active_connections";
const HUNG_UP: &str = "portcullis_tarpit_hung_up";
const WORKERS: u32 = 4;
const LISTED: &str = "127.0.0.66";
/// A busy machine is slow, and does not hang.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a client is held that has come often.
const LONG: Duration = Duration::from_secs(8);

fn start(max_held: usize) -> EnvoyGateway {
    let world = World::new();
    let mut gateway = EnvoyGateway::new(WORKERS);
    let entry = format!("ip {LISTED} 24h");
    let now = gateway.now();
    world.lists.add_text(ListName::Tarpit, &entry, now).unwrap();
    gateway.open(&world).unwrap();
    configure(&mut gateway, max_held);
    gateway
}

fn configure(gateway: &mut EnvoyGateway, max_held: usize) {
    let config = json!({
        "lists": {"upstream": "list_service", "authority": "lists"},
        "max_held": max_held,
        "longest_delay": format!("{LONG:?}"),
    });
    let filter = FilterSetup {
        name: "tarpit".into(),
        config: config.to_string(),
    };
    gateway.configure(&[filter]).unwrap().unwrap();
}

/// Sends a request and does not wait for its answer.
fn come(gateway: &EnvoyGateway, from: &str) -> Connection {
    let from: IpAddr = from.parse().unwrap();
    let mut connection = Connection::open(gateway.address().unwrap(), Some(from)).unwrap();
    connection.send(&encode(&Request::get("/"))).unwrap();
    connection
}

fn status(connection: &mut Connection) -> u16 {
    connection.response(false).unwrap().unwrap().status
}

/// The sum of all metrics whose names begin like this.
fn metric(gateway: &mut EnvoyGateway, name: &str) -> u64 {
    let metrics = gateway.metrics().unwrap();
    let own = metrics.iter().filter(|(full, _)| full.starts_with(name));
    own.map(|(_, value)| value).sum()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(
            began.elapsed() < PATIENCE,
            "not within {PATIENCE:?}: {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until the gauge shows this, and makes sure that it stays so.
fn shows(gateway: &mut EnvoyGateway, expected: u64) {
    until(&format!("the gauge shows {expected}"), || {
        metric(gateway, GAUGE) == expected
    });
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(metric(gateway, GAUGE), expected);
}

/// A client comes a hundred times and hangs up each time, until nobody lets it pass: every worker has the list then, for
/// each gets some of a hundred. Each counts these visits by itself: after them the client waits for the longest delay.
fn visit_often(gateway: &mut EnvoyGateway, from: &str) {
    const PASSED: &str = "portcullis_requests.filter=tarpit.outcome=allowed";
    const JUDGED: [&str; 3] = [
        PASSED,
        "portcullis_tarpit_held",
        "portcullis_tarpit_refused",
    ];
    until("every worker has the list", || {
        let before = JUDGED.map(|name| metric(gateway, name));
        let visits: Vec<_> = (0..100).map(|_| come(gateway, from)).collect();
        until("all visits are judged", || {
            let sum = JUDGED.map(|name| metric(gateway, name)).iter().sum::<u64>();
            sum == before.iter().sum::<u64>() + 100
        });
        drop(visits);
        shows(gateway, 0);
        metric(gateway, PASSED) == before[0]
    });
}

#[test]
fn the_gauge_is_the_sum_over_all_workers_and_falls_when_clients_hang_up() {
    let mut gateway = start(1_000);
    visit_often(&mut gateway, LISTED);
    let before = metric(&mut gateway, HUNG_UP);
    let mut held: Vec<_> = (0..60).map(|_| come(&gateway, LISTED)).collect();
    shows(&mut gateway, 60);
    held.truncate(25);
    shows(&mut gateway, 25);
    until("35 have hung up", || {
        metric(&mut gateway, HUNG_UP) == before + 35
    });
    // A new configuration drains the old listener, here within a second; none of its requests stays in the sum.
    configure(&mut gateway, 2_000);
    shows(&mut gateway, 0);
    visit_often(&mut gateway, LISTED);
    gateway.stop(&[]).unwrap();
}

#[test]
fn the_gauge_falls_when_clients_are_answered() {
    let mut gateway = start(1_000);
    visit_often(&mut gateway, LISTED);
    let before = metric(&mut gateway, HUNG_UP);
    let mut held: Vec<_> = (0..4).map(|_| come(&gateway, LISTED)).collect();
    shows(&mut gateway, 4);
    for connection in &mut held {
        assert_eq!(status(connection), 200);
    }
    shows(&mut gateway, 0);
    assert_eq!(metric(&mut gateway, HUNG_UP), before);
    gateway.stop(&[]).unwrap();
}

#[test]
fn each_worker_holds_no_more_than_it_may() {
    const MAX_HELD: usize = 3;
    const REFUSED: &str = "portcullis_tarpit_refused.match=ip";
    let mut gateway = start(MAX_HELD);
    let all = usize::try_from(WORKERS).unwrap() * MAX_HELD;
    visit_often(&mut gateway, LISTED);
    let before = metric(&mut gateway, REFUSED);
    // So many that no worker gets less than it may hold.
    let mut connections: Vec<_> = (0..120).map(|_| come(&gateway, LISTED)).collect();
    shows(&mut gateway, u64::try_from(all).unwrap());
    let refused = u64::try_from(120 - all).unwrap();
    until("all others are refused", || {
        metric(&mut gateway, REFUSED) == before + refused
    });
    // Others pass meanwhile.
    let exchange = gateway.send(vec![Request::get("/")]).unwrap().remove(0);
    assert_eq!(exchange.word(), "200");
    assert!(exchange.upstream.is_some());
    let statuses: Vec<u16> = connections.iter_mut().map(status).collect();
    let count = |status| statuses.iter().filter(|s| **s == status).count();
    assert_eq!((count(403), count(200)), (120 - all, all));
    gateway.stop(&[]).unwrap();
}

/// Requests of every kind, whole and half, listed and not, some of which hang up at any moment.
#[test]
fn nothing_that_clients_send_leaves_a_trace() {
    const CLIENTS: usize = 8;
    const REQUESTS: usize = 250;
    let world = World::new();
    let mut gateway = EnvoyGateway::new(2);
    let now = gateway.now();
    for entry in [
        "cidr 127.0.66.0/24",
        "ip 192.0.2.7",
        "cidr 2001:db8::/32",
        "ja4 t13d1516h2_8daaf6152771_e5627efa2ab1",
        "ja3 e7d705a3286e19ea42f587b344ee6865",
    ] {
        world.lists.add_text(ListName::Tarpit, entry, now).unwrap();
    }
    gateway.open(&world).unwrap();
    let config = json!({
        "lists": {"upstream": "list_service", "authority": "lists"},
        "client": {"trusted_proxies": ["127.0.9.0/24"]},
        "max_held": 40,
        "max_clients": 16,
    });
    let filter = FilterSetup {
        name: "tarpit".into(),
        config: config.to_string(),
    };
    gateway.configure(&[filter]).unwrap().unwrap();
    visit_often(&mut gateway, "127.0.66.254");
    let before = metric(&mut gateway, HUNG_UP);
    let address = gateway.address().unwrap();
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            scope.spawn(move || {
                for n in 0..REQUESTS {
                    let seed = client * REQUESTS + n;
                    let from = [
                        format!("127.0.66.{}", seed % 200 + 1),
                        format!("127.0.9.{}", seed % 7 + 1),
                        "127.0.0.1".to_owned(),
                    ];
                    let from: IpAddr = from[seed % 3].parse().unwrap();
                    let Ok(mut connection) = Connection::open(address, Some(from)) else {
                        continue;
                    };
                    let mut bytes = encode(&hostile(seed));
                    if seed.is_multiple_of(11) {
                        bytes.truncate(seed % bytes.len());
                    }
                    let _ = connection.send(&bytes);
                    std::thread::sleep(Duration::from_millis((seed % 23) as u64));
                }
            });
        }
    });
    shows(&mut gateway, 0);
    let exchange = gateway.send(vec![Request::get("/")]).unwrap().remove(0);
    assert_eq!(exchange.word(), "200");
    assert!(metric(&mut gateway, HUNG_UP) > before + 100);
    gateway.stop(&[]).unwrap();
}

fn hostile(seed: usize) -> Request {
    let forwarded: [&[u8]; 8] = [
        b"192.0.2.7",
        b"2001:db8::7",
        b"::ffff:192.0.2.7, 127.0.9.3",
        b"",
        b"\xff\xfe",
        b",,,,,,,,,,,,",
        b"999.999.999.999",
        b"[2001:db8::1]:443, unknown",
    ];
    let fingerprints: [&[u8]; 6] = [
        b"t13d1516h2_8daaf6152771_e5627efa2ab1",
        b"e7d705a3286e19ea42f587b344ee6865",
        b"t13d1516h2_8daaf6152771_e5627efa2ab\xff",
        b"",
        b"t13d1516h2",
        &[b'a'; 5_000],
    ];
    let mut request = Request::get("/")
        .header("x-forwarded-for", forwarded[seed % forwarded.len()])
        .header("cf-ja4", fingerprints[seed % fingerprints.len()])
        .header("cf-ja3-hash", fingerprints[seed / 3 % fingerprints.len()]);
    for n in 0..seed % 5 * 20 {
        request = request.header(format!("x-{n}"), "y".repeat(seed % 50));
    }
    if seed.is_multiple_of(5) {
        request = request.header("cf-ja4", fingerprints[0]);
    }
    if seed.is_multiple_of(4) {
        request.method = "POST".into();
        request.body = vec![b'x'; seed % 3_000];
    }
    request
}
