//! One request through one filter, warm, on the virtual clock: reading the headers, the decision, the edits. The
//! model of the gateway around it is measured too: `bare` is a filter that has nothing to do.
#![allow(clippy::unwrap_used, clippy::panic, clippy::arithmetic_side_effects)]

use std::cell::RefCell;
use std::time::Duration;

use auth::Auth;
use divan::Bencher;
use edge_headers::EdgeHeaders;
use rate_limit::RateLimit;
use serde_json::{Value, json};
use testkit::drive::BEGINNING;
use testkit::{Drive, Key, Request, Token, World};

fn main() {
    divan::main();
}

const KEYS: &str = "/staff.json";
const ALGORITHMS: [&str; 3] = ["RS256", "ES256", "EdDSA"];

fn key(algorithm: &str) -> Key {
    match algorithm {
        "RS256" => Key::rsa("it", 0),
        "ES256" => Key::p256("it", "it"),
        _ => Key::ed25519("it", "it"),
    }
}

/// The filter and a request with a good token of this algorithm, which has been seen before.
fn auth(algorithm: &str, token_cache: usize) -> (Drive<Auth>, Request) {
    let key = key(algorithm);
    let world = World::new();
    world.auth.publish(KEYS, [&key]);
    let config = json!({
        "providers": { "staff": {
            "issuer": "https://auth.example.com",
            "audiences": ["orders"],
            "algorithms": ALGORITHMS,
            "jwks": { "upstream": "auth_service", "authority": "auth.internal", "path": KEYS },
        }},
        "rules": [{ "any_of": [{ "jwt": "staff" }] }],
        "token_cache": token_cache,
        "crypto": "pure",
    });
    let token = Token::new("it")
        .claim("iss", "https://auth.example.com")
        .claim("aud", "orders")
        .claim("tid", "tenant-3")
        .claim("sub", "user-7")
        .claim("account_id", "acc-1");
    let same = |text: &str| Ok(text.to_owned());
    let token = token.mint(BEGINNING, |_| Some(key.clone()), same).unwrap();
    let mut drive = Drive::new(config.to_string(), world).unwrap();
    let request = Request::get("/v1/orders").bearer(token);
    assert_eq!(drive.request(request.clone()).word(), "200");
    (drive, request)
}

#[divan::bench(args = ALGORITHMS)]
fn token_seen_before(bencher: Bencher, algorithm: &str) {
    let (mut drive, request) = auth(algorithm, 4_096);
    bencher.bench_local(|| drive.request(request.clone()));
}

#[divan::bench(args = ALGORITHMS)]
fn token_never_seen(bencher: Bencher, algorithm: &str) {
    let (mut drive, request) = auth(algorithm, 0);
    bencher.bench_local(|| drive.request(request.clone()));
}

/// Six limits, one of each of six dimensions, all leased. Between requests the clock runs on, untimed, and leases are renewed.
#[divan::bench]
fn six_leases(bencher: Bencher) {
    let dimension = |dimension: &str| json!({ "dimension": dimension, "limit": "100000/s" });
    let config = json!({
        "proxy": { "upstream": "redis_proxy", "authority": "p" },
        "rules": [{ "limits": [
            dimension("consumer"), dimension("tenant"), dimension("api_key"), dimension("ip"),
            dimension("global"), { "dimension": "header", "header": "x-device", "limit": "100000/s" },
        ]}],
    });
    let mut drive = Drive::<RateLimit>::new(config.to_string(), World::new()).unwrap();
    let request = Request::get("/v1/orders")
        .header("x-account-id", "acc-1")
        .header("x-tenant-id", "tenant-3")
        .header("x-api-key-id", "key-9")
        .header("x-device", "device-4");
    for _ in 0..200 {
        assert_eq!(drive.request(request.clone()).word(), "200");
        drive.advance(Duration::from_millis(1));
    }
    let drive = RefCell::new(drive);
    bencher
        .with_inputs(|| drive.borrow_mut().advance(Duration::from_millis(1)))
        .bench_local_values(|()| drive.borrow_mut().request(request.clone()));
    assert_eq!(drive.borrow_mut().request(request).word(), "200");
}

fn edge_headers(bencher: Bencher, config: &Value) {
    let mut drive = Drive::<EdgeHeaders>::new(config.to_string(), World::new()).unwrap();
    let request = Request::get("/v1/orders")
        .header("x-forwarded-host", "spoofed")
        .header("x-gateway-source", "spoofed")
        .header("x-request-id", "r-1")
        .header(
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        );
    assert_eq!(drive.request(request.clone()).word(), "200");
    bencher.bench_local(|| drive.request(request.clone()));
}

#[divan::bench]
fn header_edits(bencher: Bencher) {
    edge_headers(bencher, &json!({}));
}

/// A filter without options or requests to think about: what the model costs.
#[divan::bench]
fn bare(bencher: Bencher) {
    let config = json!({ "rules": [{ "public": true }] });
    let mut drive = Drive::<Auth>::new(config.to_string(), World::new()).unwrap();
    let request = Request::get("/v1/orders");
    bencher.bench_local(|| drive.request(request.clone()));
}
