//! API keys: what the resolver is asked, how often, and what becomes of its answers (A2 to A4, A9 to
//! A11).

use std::collections::BTreeSet;

use policy::duration::Span;
use serde_json::{Value, json};
use testkit::mint::sha256_hex;
use testkit::{Drive, Endpoint, Fault, Flavour, Request};

use crate::stage::*;

type Gateway = Drive<auth::Auth>;

fn calls(drive: &Gateway) -> u64 {
    drive.calls("resolve")
}

fn word(drive: &mut Gateway, key: &testkit::ApiKey) -> String {
    drive.request(with_key(key)).word()
}

#[test]
fn the_resolver_learns_the_hash_and_nothing_else() {
    for flavour in FLAVOURS {
        let mut drive = start_like(flavour, &config());
        let request = with_key(&alice())
            .header("cookie", "session=very-secret-cookie")
            .header("x-note", alice().key);
        let exchange = drive.request(request);
        assert_eq!(exchange.word(), "200");
        let asked = drive.world().asked();
        let resolve: Vec<_> = asked
            .iter()
            .filter(|asked| asked.path == "/internal/api-keys/resolve")
            .collect();
        let [asked] = resolve.as_slice() else {
            panic!("{resolve:?}")
        };
        assert_eq!(asked.method, "POST");
        let body: Value = serde_json::from_slice(&asked.body).unwrap();
        assert_eq!(body, json!({ "key_sha256": sha256_hex(alice().key) }));
        let authorization = format!("Bearer {SERVICE_TOKEN}");
        assert_eq!(asked.header("authorization"), Some(authorization.as_str()));
        assert!(!asked.contains(alice().key.as_bytes()));
        assert!(!asked.contains(b"very-secret-cookie"));

        let seen = exchange.upstream.unwrap();
        assert_eq!(seen.all("x-api-key").count(), 0);
        assert!(!seen.contains(SERVICE_TOKEN.as_bytes()));
        assert!(!seen.contains(sha256_hex(alice().key).as_bytes()));
        assert_secrets_kept(
            &drive,
            &[&alice().key, SERVICE_TOKEN, &sha256_hex(alice().key)],
        );
    }
}

#[test]
fn an_answer_is_remembered_for_sixty_seconds_good_or_bad() {
    let nobody = unheard_of("nobody");
    let revoked = unheard_of("revoked");
    for (key, expected) in [
        (alice(), "200"),
        (nobody, "401 api_key_invalid"),
        (revoked, "401 api_key_invalid"),
    ] {
        let mut drive = start(&config());
        let mut old = unheard_of("revoked");
        old.active = false;
        drive.world().auth.add_api_key(old);
        assert_eq!(word(&mut drive, &key), expected);
        let answered = drive.now();
        assert_eq!(calls(&drive), 1);
        drive.advance(answered.plus(secs(60)).since(drive.now()) - NANO);
        assert_eq!(word(&mut drive, &key), expected);
        assert_eq!(calls(&drive), 1, "59.999999999 s");
        drive.advance(secs(1) + NANO);
        assert_eq!(word(&mut drive, &key), expected);
        assert_eq!(calls(&drive), 2, "61 s");
    }
}

#[test]
fn a_revocation_is_felt_within_sixty_seconds() {
    let mut drive = start(&config());
    assert_eq!(word(&mut drive, &alice()), "200");
    drive.world().auth.revoke(&alice().key);
    drive.advance(secs(60));
    assert_eq!(word(&mut drive, &alice()), "401 api_key_invalid");
}

#[test]
fn the_least_recently_used_key_makes_room() {
    let mut drive = start(&config_with([("api_keys.capacity", json!(3))]));
    let keys: Vec<_> = (0..4)
        .map(|n| testkit::ApiKey::new(&format!("k{n}"), "acc"))
        .collect();
    for key in &keys {
        drive.world().auth.add_api_key(key.clone());
    }
    // The calls that there have been after each request.
    for (index, total) in [
        (0, 1),
        (1, 2),
        (2, 3),
        (0, 3),
        (3, 4),
        (0, 4),
        (2, 4),
        (1, 5),
        (3, 6),
    ] {
        assert_eq!(word(&mut drive, &keys[index]), "200");
        assert_eq!(calls(&drive), total, "key {index}");
    }
}

#[test]
fn guessing_keys_fills_no_more_memory_than_allowed() {
    let mut drive = start(&config_with([("api_keys.capacity", json!(100))]));
    assert_eq!(word(&mut drive, &alice()), "200");
    for number in 0..1000 {
        let guess = unheard_of(&number.to_string());
        assert_eq!(word(&mut drive, &guess), "401 api_key_invalid");
        if number % 50 == 0 {
            assert_eq!(word(&mut drive, &alice()), "200");
        }
    }
    assert_eq!(
        calls(&drive),
        1001,
        "alice, used often, was never forgotten"
    );
}

/// Every way in which a resolver can fail to answer.
fn failures() -> Vec<Fault> {
    let mut faults = vec![
        Fault::Slow(Span::millis(2000)),
        Fault::Status(500),
        Fault::Status(503),
        Fault::Status(401),
        Fault::Status(403),
        Fault::Status(429),
        Fault::Status(302),
        Fault::Status(204),
        Fault::Status(201),
        Fault::Html,
        Fault::NotJson,
        Fault::HalfBody,
        Fault::EmptyBody,
        Fault::Huge,
        Fault::Reset,
        Fault::CutOff,
        Fault::Hang,
        Fault::Refused,
    ];
    for body in [
        "null",
        "true",
        "[]",
        "{}",
        r#"{"active":true}"#,
        r#"{"active":"true","account_id":"a","key_id":"k"}"#,
        r#"{"active":1,"account_id":"a","key_id":"k"}"#,
        r#"{"account_id":"a","key_id":"k"}"#,
        r#"{"active":true,"account_id":"a"}"#,
        r#"{"active":true,"key_id":"k"}"#,
        r#"{"active":true,"account_id":null,"key_id":"k"}"#,
        r#"{"active":true,"account_id":"","key_id":"k"}"#,
        r#"{"active":true,"account_id":7,"key_id":"k"}"#,
        r#"{"active":true,"account_id":"a\nx-admin: 1","key_id":"k"}"#,
        r#"{"active":true,"account_id":"a\u0000","key_id":"k"}"#,
        r#"{"active":true,"account_id":"a","key_id":"k"}{}"#,
        r#"{"active":true,"active":true,"account_id":"a","key_id":"k"}"#,
        r#"{"active":false,"active":true,"account_id":"a","key_id":"k"}"#,
    ] {
        faults.push(Fault::Body(body.into()));
    }
    faults
}

#[test]
fn whatever_the_resolver_does_wrong_nobody_passes() {
    for fault in failures() {
        for flavour in FLAVOURS {
            let shown = format!("{fault:?} {flavour:?}");
            let mut drive = start_like(flavour, &config());
            let endpoint = match fault {
                Fault::Refused => Endpoint::All,
                _ => Endpoint::Resolve,
            };
            drive.world().auth.fail(endpoint, fault.clone());
            let request = with_key(&alice());
            let exchange = drive.request(request.clone());
            assert_eq!(exchange.word(), "503 api_key_lookup_failed", "{shown}");
            assert_eq!(exchange.header("retry-after"), Some("1"));
            assert!(exchange.took <= secs(2), "{shown}");
            assert_clear_refusal(&request, &exchange);
            assert_secrets_kept(&drive, &[&alice().key, SERVICE_TOKEN]);

            drive.world().auth.heal();
            drive.advance(secs(1));
            assert_eq!(word(&mut drive, &alice()), "200", "{shown}");
        }
    }
}

#[test]
fn an_answer_that_has_run_out_does_not_serve_when_the_resolver_is_down() {
    let mut drive = start(&config());
    assert_eq!(word(&mut drive, &alice()), "200");
    drive.world().auth.fail(Endpoint::Resolve, Fault::Hang);
    drive.advance(secs(59));
    assert_eq!(word(&mut drive, &alice()), "200");
    drive.advance(secs(1));
    assert_eq!(word(&mut drive, &alice()), "503 api_key_lookup_failed");
}

#[test]
fn a_failing_resolver_is_not_asked_by_everyone_who_waited() {
    let mut drive = start(&config());
    drive.world().auth.fail(Endpoint::Resolve, Fault::Hang);
    let tickets: Vec<_> = (0..100).map(|_| drive.start(with_key(&alice()))).collect();
    for ticket in tickets {
        let exchange = drive.finish(ticket);
        assert_eq!(exchange.word(), "503 api_key_lookup_failed");
        assert_eq!(exchange.took, secs(2));
    }
    assert_eq!(calls(&drive), 1);
}

#[test]
fn a_hundred_misses_of_one_key_are_one_callout() {
    let mut drive = start(&config());
    let slow = Fault::Slow(Span::millis(500));
    drive.world().auth.fail(Endpoint::Resolve, slow);
    let nobody = unheard_of("nobody");
    let mut tickets = Vec::new();
    for n in 0..100 {
        for key in [alice(), bob(), nobody.clone()] {
            let request = with_key(&key).header("x-number", n.to_string());
            tickets.push((drive.start(request), key.account));
        }
        drive.advance(millis(4));
    }
    assert_eq!(calls(&drive), 3);
    for (ticket, account) in tickets {
        let exchange = drive.finish(ticket);
        assert!(exchange.took <= millis(500));
        if account == "nobody" {
            assert_eq!(exchange.word(), "401 api_key_invalid");
        } else {
            let seen = exchange.upstream.unwrap();
            assert_eq!(seen.header("x-account-id"), Some(account));
        }
    }
    assert_eq!(calls(&drive), 3);
    let looked = |result| drive.metric(&format!("portcullis_auth_key_cache.result={result}"));
    assert_eq!((looked("miss"), looked("hit")), (3, 297));
}

#[test]
fn a_client_that_hangs_up_leaves_its_question_to_those_who_wait() {
    let mut drive = start(&config());
    let slow = Fault::Slow(Span::millis(500));
    drive.world().auth.fail(Endpoint::Resolve, slow);
    let first = drive.start(with_key(&alice()));
    let others: Vec<_> = (0..20).map(|_| drive.start(with_key(&alice()))).collect();
    drive.advance(millis(100));
    drive.disconnect(first);
    assert_eq!(calls(&drive), 1);
    for other in others {
        let exchange = drive.finish(other);
        assert_eq!(exchange.word(), "200");
        assert_eq!(exchange.took, millis(600));
    }
    // One of those who waited asked for all of them.
    assert_eq!(calls(&drive), 2);
}

#[test]
fn when_all_hang_up_the_next_one_asks_anew() {
    let mut drive = start(&config());
    drive.world().auth.fail(Endpoint::Resolve, Fault::Hang);
    let tickets: Vec<_> = (0..5).map(|_| drive.start(with_key(&alice()))).collect();
    for ticket in tickets {
        drive.disconnect(ticket);
    }
    drive.world().auth.heal();
    let exchange = drive.request(with_key(&alice()));
    assert_eq!(exchange.word(), "200");
    assert!(exchange.took < millis(10), "{:?}", exchange.took);
}

#[test]
fn a_gateway_that_cannot_hold_requests_asks_for_each() {
    let mut drive = start_like(Flavour::Kong, &config());
    let slow = Fault::Slow(Span::millis(500));
    drive.world().auth.fail(Endpoint::Resolve, slow);
    let tickets: Vec<_> = (0..100).map(|_| drive.start(with_key(&alice()))).collect();
    for ticket in tickets {
        assert_eq!(drive.finish(ticket).word(), "200");
    }
    assert_eq!(calls(&drive), 100);
    assert_eq!(word(&mut drive, &alice()), "200");
    assert_eq!(calls(&drive), 100);
}

const SECOND_TOKEN: &str = "service-token-number-two";

#[test]
fn the_service_token_is_swapped_without_a_gap() {
    let mut drive = start(&config());
    let second = config_with([("api_keys.service_token", json!(SECOND_TOKEN))]);
    // While it is swapped the resolver takes both.
    drive
        .world()
        .auth
        .accept_service_tokens([SERVICE_TOKEN, SECOND_TOKEN]);
    assert_eq!(word(&mut drive, &alice()), "200");
    let slow = Fault::Slow(Span::millis(500));
    drive.world().auth.fail(Endpoint::Resolve, slow);
    let under_way = drive.start(with_key(&bob()));
    drive.reload(second.to_string()).unwrap();
    let after = drive.start(with_key(&bob()));
    assert_eq!(drive.finish(under_way).word(), "200");
    assert_eq!(drive.finish(after).word(), "200");
    drive.world().auth.heal();
    drive.world().auth.accept_service_tokens([SECOND_TOKEN]);
    assert_eq!(word(&mut drive, &alice()), "200");

    let used: Vec<String> = drive
        .world()
        .asked()
        .iter()
        .filter_map(|asked| asked.header("authorization").map(str::to_owned))
        .collect();
    let [first, second] = [SERVICE_TOKEN, SECOND_TOKEN].map(|token| format!("Bearer {token}"));
    assert_eq!(used, [first.clone(), first, second.clone(), second]);

    // The old one has had its day.
    drive.reload(config().to_string()).unwrap();
    assert_eq!(word(&mut drive, &alice()), "503 api_key_lookup_failed");
    assert_secrets_kept(&drive, &[SERVICE_TOKEN, SECOND_TOKEN]);
}

#[test]
fn malformed_keys_are_refused_without_a_question() {
    let long = "Q".repeat(43);
    let hexadecimal = "0123456789abcdef".repeat(4);
    let mut malformed: BTreeSet<Vec<u8>> = [
        String::new(),
        "gk_live_".into(),
        "gk_test_".into(),
        long.clone(),
        format!("gk_{long}"),
        format!("gk_prod_{long}"),
        format!("GK_LIVE_{long}"),
        format!("sk_live_{long}"),
        format!("gk_live_{}", &long[1..]),
        // Hexadecimal digits hold half as much.
        format!("gk_live_{}", &hexadecimal[1..]),
        format!("gk_live_{}", "0".repeat(43)),
        format!("gk_live_{long}="),
        format!("gk_live_{long}é"),
        format!("gk_live_{}", "Q".repeat(249)),
        format!("gk_live_{}", "Q".repeat(100_000)),
        format!("{},{}", alice().key, bob().key),
        format!("{} {}", alice().key, bob().key),
        format!("Bearer {}", alice().key),
    ]
    .into_iter()
    .map(String::into_bytes)
    .collect();
    // Any byte that no key has, anywhere.
    let good = alice().key.into_bytes();
    for byte in 0..=255_u8 {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
            continue;
        }
        for at in [0, 7, 20, good.len()] {
            let mut bad = good.clone();
            bad.insert(at, byte);
            malformed.insert(bad);
        }
    }
    for flavour in FLAVOURS {
        let mut drive = start_like(flavour, &config());
        for key in &malformed {
            let request = Request::get("/keys").header("x-api-key", key);
            let exchange = drive.request(request.clone());
            let shown = request.show();
            assert_eq!(exchange.word(), "401 api_key_malformed", "{shown}");
            assert_clear_refusal(&request, &exchange);
        }
        assert_eq!(calls(&drive), 0);
        // The shortest and the longest that there may be.
        for length in [43, 248] {
            let key = format!("gk_live_{}", "Q".repeat(length));
            let request = Request::get("/keys").header("x-api-key", key);
            assert_eq!(drive.request(request).word(), "401 api_key_invalid");
        }
        assert_eq!(calls(&drive), 2);
        assert_secrets_kept(&drive, &[&alice().key, &long]);
    }
}

#[test]
fn both_keys_of_an_account_pass_during_a_rotation() {
    let mut drive = start(&config());
    let old = testkit::ApiKey::new("old", "acc-1");
    let new = testkit::ApiKey::new("new", "acc-1");
    drive.world().auth.add_api_key(old.clone());
    drive.world().auth.add_api_key(new.clone());
    for key in [&old, &new, &old, &new] {
        let seen = drive.request(with_key(key)).upstream.unwrap();
        assert_eq!(seen.header("x-account-id").as_deref(), Some("acc-1"));
        assert_eq!(seen.header("x-api-key-id"), Some(key.id.clone()));
    }
    drive.world().auth.revoke(&old.key);
    drive.advance(secs(61));
    assert_eq!(word(&mut drive, &old), "401 api_key_invalid");
    assert_eq!(word(&mut drive, &new), "200");
}
