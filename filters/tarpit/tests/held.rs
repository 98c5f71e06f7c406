//! Requests while they are held: how many, and what ends it (T3, T4).

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::time::Duration;

use serde_json::{Value, json};
use tarpit::Tarpit;
use testkit::{Drive, Endpoint, Fault, Flavour, Request, Ticket, World};
use wire::lists::ListName;

const GAUGE: &str = "kong_tarpit_active_connections";
const BOTH: [Flavour; 2] = [Flavour::Envoy, Flavour::Kong];

fn start(flavour: Flavour, options: &Value) -> Drive<Tarpit> {
    let mut config = json!({"lists": {"upstream": "list_service", "authority": "lists"}});
    for (name, value) in options.as_object().unwrap() {
        config[name] = value.clone();
    }
    let world = World::new();
    let mut drive = Drive::like(flavour, config.to_string(), world).unwrap();
    let entry = "ip 192.0.2.66 24h";
    let now = drive.now();
    drive
        .world()
        .lists
        .add_text(ListName::Tarpit, entry, now)
        .unwrap();
    drive.advance(secs(2));
    drive
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn come(drive: &mut Drive<Tarpit>) -> Ticket {
    let mut request = Request::get("/");
    request.peer = Some("192.0.2.66".parse().unwrap());
    drive.start(request)
}

#[test]
fn the_gauge_rises_and_falls() {
    for flavour in BOTH {
        let mut drive = start(flavour, &json!({}));
        let first = come(&mut drive);
        let second = come(&mut drive);
        assert_eq!(drive.metric(GAUGE), 2);
        assert_eq!(drive.finish(first).status, 200);
        assert_eq!(drive.metric(GAUGE), 1);
        assert_eq!(drive.finish(second).status, 200);
        assert_eq!(drive.metric(GAUGE), 0);
        assert_eq!(drive.metric("portcullis_tarpit_hung_up"), 0);
    }
}

#[test]
fn the_gauge_falls_when_a_client_hangs_up() {
    for flavour in BOTH {
        let mut drive = start(flavour, &json!({}));
        let tickets: Vec<_> = (0..10).map(|_| come(&mut drive)).collect();
        assert_eq!(drive.metric(GAUGE), 10);
        for ticket in tickets {
            drive.disconnect(ticket);
        }
        assert_eq!(drive.metric(GAUGE), 0);
        assert_eq!(drive.metric("portcullis_tarpit_hung_up"), 10);
        drive.advance(secs(40));
        assert_eq!(drive.metric(GAUGE), 0, "nobody is counted twice");
    }
}

#[test]
fn one_more_than_may_be_held_is_refused_and_the_next_one_fits_again() {
    for flavour in BOTH {
        let mut drive = start(flavour, &json!({"max_held": 3}));
        let held: Vec<_> = (0..3).map(|_| come(&mut drive)).collect();
        let one_more = come(&mut drive);
        assert!(!drive.is_waiting(one_more));
        assert_eq!(drive.finish(one_more).word(), "403 EDGE_DENIED");
        assert_eq!(drive.metric(GAUGE), 3);
        drive.disconnect(held[0]);
        let next = come(&mut drive);
        assert!(drive.is_waiting(next));
        assert_eq!(drive.metric(GAUGE), 3);
    }
}

#[test]
fn everybody_else_passes_while_all_places_are_taken() {
    let mut drive = start(Flavour::Envoy, &json!({"max_held": 1}));
    let _held = come(&mut drive);
    let exchange = drive.request(Request::get("/"));
    assert_eq!(exchange.word(), "200");
    assert!(exchange.upstream.is_some());
    assert_eq!(exchange.took, Duration::ZERO);
}

#[test]
fn a_delay_longer_than_one_sleep_of_the_service_is_made_of_several() {
    let mut drive = start(Flavour::Kong, &json!({"longest_delay": "5m"}));
    // 1, 2, 4, … 128 seconds.
    let mut last = secs(0);
    for _ in 0..8 {
        let ticket = come(&mut drive);
        last = drive.finish(ticket).took;
    }
    assert_eq!(last.as_secs(), 128);
    // One each up to 32 seconds, then two, then three.
    assert_eq!(drive.calls("sleep"), 6 + 2 + 3);
}

#[test]
fn who_cannot_be_held_is_refused() {
    let mut drive = start(Flavour::Kong, &json!({}));
    drive
        .world()
        .lists
        .fail(Endpoint::ListService, Fault::Refused);
    let ticket = come(&mut drive);
    assert_eq!(drive.finish(ticket).word(), "403 EDGE_DENIED");
    assert_eq!(drive.metric("portcullis_tarpit_unheld.reason=broken"), 1);
    assert_eq!(drive.metric(GAUGE), 0);
    drive
        .world()
        .lists
        .fail(Endpoint::ListService, Fault::Status(503));
    let ticket = come(&mut drive);
    assert_eq!(drive.finish(ticket).word(), "403 EDGE_DENIED");
    assert_eq!(drive.metric("portcullis_tarpit_unheld.reason=refused"), 1);
}

#[test]
fn entries_come_and_go_within_two_seconds() {
    for flavour in BOTH {
        let mut drive = start(flavour, &json!({}));
        let request = || {
            let mut request = Request::get("/");
            request.peer = Some("192.0.2.7".parse().unwrap());
            request
        };
        assert!(drive.request(request()).upstream.is_some());
        let now = drive.now();
        let lists = drive.world().lists.clone();
        lists
            .add_text(ListName::Tarpit, "ip 192.0.2.7", now)
            .unwrap();
        drive.advance(secs(2));
        assert!(drive.request(request()).upstream.is_none());
        lists.remove_text(ListName::Tarpit, "ip 192.0.2.7").unwrap();
        drive.advance(secs(2));
        assert!(drive.request(request()).upstream.is_some());
    }
}

#[test]
fn a_new_configuration_keeps_those_who_are_held() {
    let mut drive = start(Flavour::Envoy, &json!({}));
    let ticket = come(&mut drive);
    drive
        .reload(r#"{"lists": {"upstream": "list_service", "authority": "lists"}}"#)
        .unwrap();
    let exchange = drive.finish(ticket);
    assert_eq!((exchange.status, exchange.took), (200, secs(1)));
}
