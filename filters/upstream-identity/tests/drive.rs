//! What takes a clock, or a connection that these tests can only imitate here: which failure is which, and events that
//! wait for redis-proxy. In a real Envoy: `envoy-test/tests/upstream_mtls.rs`.
#![cfg(not(target_arch = "wasm32"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use testkit::upstream::Connection;
use testkit::world::{Asked, End, Response, Served, Service};
use testkit::{Drive, Request, World};
use upstream_identity::UpstreamIdentity;
use wire::upstream_failures::{FailureBatch, FailureReason, MAX_FAILURES};

const ENGINE: &str = "spiffe://test.example/ns/compliance/sa/engine";
const CONFIG: &str = r#"{"routes": [{"spiffe_ids": ["spiffe://test.example/ns/compliance/sa/engine"]}],
                         "events": {"upstream": "events", "authority": "p"}}"#;

/// redis-proxy as far as failures go.
#[derive(Clone, Default)]
struct Events(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// What it answers; 204 unless set.
    status: u16,
    batches: Vec<FailureBatch>,
}

impl Events {
    fn answers(&self, status: u16) {
        self.0.lock().unwrap().status = status;
    }

    fn batches(&self) -> Vec<FailureBatch> {
        self.0.lock().unwrap().batches.clone()
    }
}

impl Service for Events {
    fn serve(&self, asked: Asked) -> Served {
        let mut state = self.0.lock().unwrap();
        assert_eq!(asked.path, "/v1/upstream-failures");
        let batch = serde_json::from_slice(&asked.body).unwrap();
        state.batches.push(batch);
        let status = if state.status == 0 { 204 } else { state.status };
        Served {
            after: Duration::from_millis(1),
            end: End::Answer(Response::new(status, "text/plain", "")),
        }
    }

    fn calls(&self, _: &str) -> Option<u64> {
        None
    }

    fn asked(&self) -> Vec<Asked> {
        Vec::new()
    }
}

fn start() -> (Drive<UpstreamIdentity>, World, Events) {
    let events = Events::default();
    let world = World::new().with("events", events.clone());
    let drive = Drive::new(CONFIG, world.clone()).unwrap();
    (drive, world, events)
}

fn metric(drive: &Drive<UpstreamIdentity>, labels: &str) -> u64 {
    drive.metric(&format!("portcullis_upstream_identity_{labels}"))
}

#[test]
fn every_connection_is_judged_by_what_the_gateway_tells_of_it() {
    let fails = |why: &str| Connection::Fails(why.to_owned());
    let verify = "TLS_error:|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED";
    for (connection, status, reason) in [
        (Connection::Tls(Some(ENGINE.to_owned())), 200, None),
        (
            Connection::Tls(Some(format!("{ENGINE}/x"))),
            502,
            Some(FailureReason::Identity),
        ),
        (
            Connection::Tls(Some(String::new())),
            502,
            Some(FailureReason::Anonymous),
        ),
        (Connection::Tls(None), 502, Some(FailureReason::Anonymous)),
        (Connection::Plain, 502, Some(FailureReason::Anonymous)),
        (fails(verify), 502, Some(FailureReason::Certificate)),
        (
            fails("delayed connect error: Connection refused"),
            503,
            None,
        ),
    ] {
        let (mut drive, world, _) = start();
        world.upstream.connects(connection.clone());
        let out = drive.request(Request::get("/v1/x"));
        assert_eq!(out.status, status, "{connection:?}");
        for each in FailureReason::ALL {
            let counted = metric(&drive, &format!("failures.reason={}", each.as_str()));
            assert_eq!(counted, u64::from(reason == Some(each)), "{connection:?}");
        }
    }
}

#[test]
fn failures_that_are_alike_are_one_event_and_wait_until_it_is_taken() {
    let (mut drive, world, events) = start();
    events.answers(503);
    world
        .upstream
        .connects(Connection::Tls(Some("spiffe://test.example/other".into())));
    for _ in 0..5 {
        drive.request(Request::get("/v1/x"));
    }
    drive.advance(Duration::from_secs(2));
    let first = events.batches();
    assert_eq!(first.len(), 1, "it rests after a refusal");
    assert_eq!(
        (first[0].failures.len(), first[0].failures[0].count),
        (1, 5)
    );
    assert_eq!(first[0].failures[0].expected, [ENGINE]);
    let presented = first[0].failures[0].presented.as_deref();
    assert_eq!(presented, Some("spiffe://test.example/other"));
    // Another one meanwhile does not change what is under way.
    drive.request(Request::get("/v1/x"));
    events.answers(204);
    drive.advance(Duration::from_secs(10));
    let all = events.batches();
    assert_eq!(all.len(), 3);
    assert_eq!(all[1], first[0], "sent again as it was");
    assert_eq!(all[2].failures[0].count, 1);
    assert_ne!(all[2].failures[0].id, first[0].failures[0].id);
    assert_eq!(metric(&drive, "events.result=sent"), 2);
    drive.advance(Duration::from_secs(60));
    assert_eq!(events.batches().len(), 3, "nothing is left");
}

#[test]
fn a_batch_that_is_wrong_in_itself_is_given_up() {
    let (mut drive, _, events) = start();
    events.answers(400);
    drive.request(Request::get("/v1/x"));
    drive.advance(Duration::from_secs(60));
    assert_eq!(events.batches().len(), 1);
    assert_eq!(metric(&drive, "events.result=lost"), 1);
}

#[test]
fn what_finds_no_room_is_counted_and_told() {
    let (mut drive, world, events) = start();
    for n in 0..MAX_FAILURES + 3 {
        let other = format!("spiffe://test.example/{n}");
        world.upstream.connects(Connection::Tls(Some(other)));
        assert_eq!(drive.request(Request::get("/v1/x")).status, 502);
    }
    drive.advance(Duration::from_secs(2));
    let batches = events.batches();
    assert_eq!(batches[0].failures.len(), MAX_FAILURES);
    assert_eq!(batches[0].dropped, 3);
    let ids: HashSet<&str> = batches[0].failures.iter().map(|f| f.id.as_str()).collect();
    assert_eq!(ids.len(), MAX_FAILURES);
    assert_eq!(metric(&drive, "events.result=dropped"), 3);
}
