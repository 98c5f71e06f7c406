//! Keys that are revoked while their owners are remembered or asked for (A8).

use policy::duration::Span;
use serde_json::{Value, json};
use testkit::{ApiKey, Drive, Endpoint, Fault, Flavour};
use wire::lists::{Kind, ListName, Member};

use crate::stage::*;

fn followed() -> Value {
    let mut config = config();
    let service = json!({"upstream": "list_service", "authority": "redis-proxy.internal"});
    config["api_keys"]["revocations"] = service;
    config
}

fn word(drive: &mut Drive<auth::Auth>, key: &ApiKey) -> String {
    drive.request(with_key(key)).word()
}

/// Revokes a key at its resolver and on the list.
fn revoke(drive: &Drive<auth::Auth>, key: &ApiKey) {
    drive.world().auth.revoke(&key.key);
    push(drive, key);
}

fn push(drive: &Drive<auth::Auth>, key: &ApiKey) {
    let hash = testkit::mint::sha256_hex(&key.key);
    let member = Member::parse(Kind::ApiKey, &hash).unwrap();
    let lists = &drive.world().lists;
    lists.add(ListName::Revoked, member, secs(3_600), drive.now());
}

#[test]
fn a_pushed_revocation_is_in_effect_within_two_seconds() {
    for flavour in [Flavour::Envoy, Flavour::Kong] {
        let mut drive = start_like(flavour, &followed());
        drive.advance(secs(2));
        assert_eq!(word(&mut drive, &alice()), "200");
        assert_eq!(word(&mut drive, &bob()), "200");
        revoke(&drive, &alice());
        drive.advance(secs(2));
        assert_eq!(word(&mut drive, &alice()), "401 api_key_invalid");
        assert_eq!(word(&mut drive, &bob()), "200");
        assert_eq!(drive.calls("resolve"), 3, "bob is still remembered");
        assert_eq!(drive.metric("portcullis_auth_keys_revoked"), 1);
    }
}

#[test]
fn an_answer_that_is_older_than_the_revocation_is_asked_for_again() {
    for flavour in [Flavour::Envoy, Flavour::Kong] {
        let mut drive = start_like(flavour, &followed());
        drive.advance(secs(2));
        let slow = Fault::Slow(Span::millis(1_800));
        drive.world().auth.fail(Endpoint::Resolve, slow);
        // The resolver looks at its store when it is asked, and says so late.
        let tickets: Vec<_> = (0..3).map(|_| drive.start(with_key(&alice()))).collect();
        drive.advance(millis(100));
        revoke(&drive, &alice());
        for ticket in tickets {
            assert_eq!(drive.finish(ticket).word(), "401 api_key_invalid");
        }
        assert!(drive.metric("portcullis_auth_key_lookups.result=stale") > 0);
        assert_eq!(word(&mut drive, &alice()), "401 api_key_invalid");
    }
}

#[test]
fn a_question_that_comes_after_the_revocation_is_believed() {
    let mut drive = start(&followed());
    push(&drive, &alice());
    drive.advance(secs(2));
    assert_eq!(word(&mut drive, &alice()), "200");
    assert_eq!(word(&mut drive, &alice()), "200");
    assert_eq!(drive.calls("resolve"), 1);
    drive.advance(secs(10));
    assert_eq!(word(&mut drive, &alice()), "200");
    assert_eq!(drive.calls("resolve"), 1, "an old revocation is told once");
}

#[test]
fn a_key_that_is_revoked_again_and_again_ends_in_a_refusal() {
    let mut drive = start(&followed());
    drive.advance(secs(2));
    let slow = Fault::Slow(Span::millis(1_800));
    drive.world().auth.fail(Endpoint::Resolve, slow);
    let ticket = drive.start(with_key(&alice()));
    while drive.is_waiting(ticket) {
        push(&drive, &alice());
        drive.advance(millis(500));
    }
    assert_eq!(drive.finish(ticket).word(), "503 api_key_lookup_failed");
    assert_eq!(drive.calls("resolve"), 2);
}

#[test]
fn without_the_list_a_revocation_takes_as_long_as_answers_are_remembered() {
    let mut drive = start(&followed());
    drive.advance(secs(2));
    drive
        .world()
        .lists
        .fail(Endpoint::ListService, Fault::Refused);
    assert_eq!(word(&mut drive, &alice()), "200");
    revoke(&drive, &alice());
    drive.advance(secs(58));
    assert_eq!(word(&mut drive, &alice()), "200");
    drive.advance(secs(2));
    assert_eq!(word(&mut drive, &alice()), "401 api_key_invalid");
}
