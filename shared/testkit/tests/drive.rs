//! What the drive promises to those who test policies with it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod toy;

use std::time::Duration;

use policy::duration::Span;
use testkit::mint::b64;
use testkit::{Drive, Endpoint, Exchange, Fault, Flavour, Key, Request, World};
use toy::Toy;

const CONFIG: &str = r#"{"upstream":"auth_service"}"#;
const KEEPING: &str = r#"{"upstream":"auth_service","refresh":"1s"}"#;

fn world() -> World {
    let world = World::new();
    world.auth.publish_document("/jwks", "{}");
    world
}

fn drive(flavour: Flavour, config: &str) -> Drive<Toy> {
    Drive::like(flavour, config, world()).unwrap()
}

fn upstream(exchange: &Exchange, header: &str) -> String {
    let seen = exchange
        .upstream
        .as_ref()
        .expect("did not reach the upstream");
    seen.header(header).unwrap_or_default()
}

#[test]
fn a_refusal_is_a_problem_document() {
    let mut d = drive(Flavour::Envoy, CONFIG);
    let request = Request::get("/no").header("x-request-id", "r-1");
    let out = d.request(request.clone());
    assert_eq!(out.word(), "403 told_so");
    assert_eq!(out.header("x-no"), Some("1"));
    assert_eq!(out.header("x-greeting"), None, "own replies are not edited");
    assert_eq!(testkit::problem::faults(&request, &out, "told_so"), [""; 0]);
    assert!(out.upstream.is_none());
    assert_eq!(d.world().upstream.requests(), 0);
    let name = "portcullis_requests.filter=toy.outcome=denied.code=told_so";
    assert_eq!(d.metric(name), 1);
    assert!(
        d.logs()
            .iter()
            .any(|(_, line)| line.contains("request_id=r-1"))
    );
}

#[test]
fn edits_reach_the_upstream_and_the_client() {
    let mut d = drive(Flavour::Envoy, CONFIG);
    d.world()
        .upstream
        .answer(201, &[("Server".into(), "secret".into())]);
    let out = d.request(
        Request::post("/edit", "abc")
            .header("X-Account-Id", "spoof 1")
            .header("x-account-id", "spoof 2")
            .header("X-Api-Key", "k")
            .header("x-bytes", b"\xff"),
    );
    assert_eq!(out.status, 201);
    assert_eq!(out.header("server"), None);
    assert_eq!(out.header("x-greeting"), Some("hello"));
    let seen = out.upstream.unwrap();
    assert_eq!(seen.all("x-account-id").collect::<Vec<_>>(), [b"real"]);
    assert_eq!(seen.all("x-api-key").count(), 0);
    assert_eq!(seen.all("x-bytes").next().unwrap(), b"\xff");
    assert_eq!(seen.path.bytes(), b"/edited");
    assert_eq!(seen.body.bytes(), b"abc");
    assert_eq!(seen.header("host").as_deref(), Some("gateway.test"));
}

#[test]
fn callouts_take_their_time_and_fail_as_the_gateway_would() {
    let slow = |ms| Fault::Slow(Span::millis(ms));
    for (fault, envoy, kong, millis) in [
        (Fault::None, "200 2", "200 2", 1),
        (slow(1999), "200 2", "200 2", 1999),
        (slow(2000), "504 24", "timeout", 2000),
        (Fault::Hang, "504 24", "timeout", 2000),
        (Fault::Reset, "503 57", "broken", 1),
        (Fault::CutOff, "broken", "broken", 1),
        (Fault::Status(500), "500 20", "500 20", 1),
        (Fault::HalfBody, "200 1", "200 1", 1),
        (Fault::EmptyBody, "200 0", "200 0", 1),
        (Fault::Huge, "too_large", "too_large", 1),
        (Fault::ManyKeys, "too_large", "too_large", 1),
        (Fault::Body("abc".into()), "200 3", "200 3", 1),
    ] {
        for (flavour, expected) in [(Flavour::Envoy, envoy), (Flavour::Kong, kong)] {
            let mut d = drive(flavour, CONFIG);
            d.world().auth.fail(Endpoint::Jwks, fault.clone());
            let out = d.request(Request::get("/ask"));
            assert_eq!(
                upstream(&out, "x-answer"),
                expected,
                "{fault:?} {flavour:?}"
            );
            assert_eq!(out.took, Duration::from_millis(millis), "{fault:?}");
            assert_eq!(d.calls("jwks"), 1);
            assert_eq!(d.metric("toy_asked.filter=toy"), 1);
        }
    }
}

#[test]
fn a_closed_port_refuses_and_an_unknown_target_is_refused_at_once() {
    let mut d = drive(Flavour::Kong, CONFIG);
    d.world().auth.fail(Endpoint::All, Fault::Refused);
    let out = d.request(Request::get("/ask"));
    assert_eq!(upstream(&out, "x-answer"), "broken");
    assert_eq!(d.calls("jwks"), 0);
    d.world().auth.heal();
    let out = d.request(Request::get("/nowhere"));
    assert_eq!(upstream(&out, "x-answer"), "refused");
    assert_eq!(out.took, Duration::ZERO);
}

#[test]
fn sleepers_wake_in_time_where_the_gateway_can_hold_them() {
    let mut d = drive(Flavour::Envoy, CONFIG);
    let out = d.request(Request::get("/sleep"));
    assert_eq!(out.took, Duration::from_secs(3));
    assert_eq!(upstream(&out, "x-woke"), "false");
    let out = drive(Flavour::Kong, CONFIG).request(Request::get("/sleep"));
    assert_eq!(upstream(&out, "x-answer"), "refused");
}

#[test]
fn those_who_await_the_keeper_are_woken_by_it_or_by_their_deadline() {
    let mut d = drive(Flavour::Envoy, KEEPING);
    let tickets: Vec<_> = (0..100).map(|_| d.start(Request::get("/await"))).collect();
    assert!(d.is_waiting(tickets[0]));
    for ticket in tickets {
        let out = d.finish(ticket);
        assert_eq!(out.took, Duration::from_millis(1001));
        assert_eq!(upstream(&out, "x-woke"), "true");
    }
    assert_eq!(d.calls("jwks"), 1);

    let mut d = drive(Flavour::Envoy, KEEPING);
    d.world().auth.fail(Endpoint::Jwks, Fault::Status(500));
    let out = d.request(Request::get("/await"));
    assert_eq!(out.took, Duration::from_secs(5));
    assert_eq!(upstream(&out, "x-woke"), "false");
}

#[test]
fn keepers_tick_while_time_passes() {
    let mut d = drive(Flavour::Envoy, KEEPING);
    assert_eq!(d.calls("jwks"), 0);
    d.advance(Duration::from_millis(999));
    assert_eq!(d.calls("jwks"), 0);
    d.advance(Duration::from_millis(1));
    assert_eq!(d.calls("jwks"), 1);
    assert!(d.with_keeper(|keeper| keeper.document.is_none()));
    d.advance(Duration::from_secs(9));
    assert_eq!(d.calls("jwks"), 10);
    assert!(d.with_keeper(|keeper| keeper.document.is_some()));
}

#[test]
fn a_client_that_hangs_up_is_done_with() {
    let mut d = drive(Flavour::Envoy, CONFIG);
    let ticket = d.start(Request::get("/ask"));
    assert_eq!(d.metric("toy_open.filter=toy"), 1);
    d.disconnect(ticket);
    assert_eq!(d.metric("toy_open.filter=toy"), 0);
    assert!(!d.is_waiting(ticket));
    d.advance(Duration::from_secs(10));
    assert_eq!(d.world().upstream.requests(), 0);
}

#[test]
fn a_new_configuration_starts_afresh_and_a_bad_one_changes_nothing() {
    let mut d = drive(Flavour::Envoy, KEEPING);
    d.advance(Duration::from_millis(1500));
    assert!(d.with_keeper(|keeper| keeper.document.is_some()));
    let errors = d.reload(r#"{"upstream":"","greeting":""}"#).unwrap_err();
    assert_eq!(errors.iter().count(), 2);
    assert!(d.with_keeper(|keeper| keeper.document.is_some()));
    let ticket = d.start(Request::get("/ask"));
    d.reload(r#"{"upstream":"auth_service","greeting":"bye"}"#)
        .unwrap();
    assert!(d.with_keeper(|keeper| keeper.document.is_none()));
    let out = d.finish(ticket);
    assert_eq!(
        out.header("x-greeting"),
        Some("hello"),
        "in flight it keeps the old one"
    );
    assert_eq!(
        d.request(Request::get("/")).header("x-greeting"),
        Some("bye")
    );
    let calls = d.calls("jwks");
    d.advance(Duration::from_secs(10));
    assert_eq!(d.calls("jwks"), calls, "the old keeper has stopped");
}

#[test]
fn bodies_are_cut_to_what_was_asked_for() {
    let mut d = drive(Flavour::Envoy, CONFIG);
    let out = d.request(Request::post("/body", "abcdefgh"));
    assert_eq!(upstream(&out, "x-body"), "abcd");
}

#[test]
fn kong_shows_a_hundred_headers_and_no_more() {
    let mut request = Request::get("/edit");
    for n in 0..100 {
        request = request.header(format!("x-{n}"), "1");
    }
    assert_eq!(
        drive(Flavour::Kong, CONFIG).request(request.clone()).word(),
        "431 too_many_headers"
    );
    assert_eq!(drive(Flavour::Envoy, CONFIG).request(request).status, 200);
}

#[test]
fn peers_and_faults() {
    for flavour in [Flavour::Envoy, Flavour::Kong] {
        let mut d = drive(flavour, CONFIG);
        let out = d.request(Request::get("/peer").from([127, 0, 0, 9].into()));
        assert_eq!(upstream(&out, "x-peer"), "127.0.0.9");
        assert_eq!(d.request(Request::get("/fault")).word(), "503 filter_fault");
    }
}

#[test]
fn the_crypto_of_envoy_tells_good_signatures_from_bad_ones() {
    for key in [
        Key::rsa("a", 0),
        Key::p256("a", "seed"),
        Key::ed25519("a", "seed"),
    ] {
        let alg = key.alg().as_str();
        let raw = key.sign(b"message");
        let signature = if alg == "ES256" {
            let signature = p256::ecdsa::Signature::from_slice(&raw).unwrap();
            signature.to_der().as_bytes().to_vec()
        } else {
            raw
        };
        let mut bad = signature.clone();
        *bad.last_mut().unwrap() ^= 1;
        for (signature, good) in [(&signature, "Some(true)"), (&bad, "Some(false)")] {
            let request = Request::get("/signature")
                .header("x-alg", alg)
                .header("x-spki", b64(key.spki_der()))
                .header("x-signature", b64(signature));
            let good = if alg == "EdDSA" { "None" } else { good };
            let mut d = drive(Flavour::Envoy, CONFIG);
            assert_eq!(
                upstream(&d.request(request.clone()), "x-good"),
                good,
                "{alg}"
            );
            let mut d = drive(Flavour::Kong, CONFIG);
            assert_eq!(upstream(&d.request(request), "x-good"), "None");
        }
    }
}
