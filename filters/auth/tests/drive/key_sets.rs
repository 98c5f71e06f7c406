//! The public keys: when they are fetched, how long they serve, and what of them is believed (J7, J9,
//! J10, J11, J18, J21).

use serde_json::{Value, json};
use testkit::mint::{jwk, jwks};
use testkit::{Drive, Endpoint, Fault, Flavour, Key, Request};

use crate::stage::*;

const TTL: u64 = 300;

#[test]
fn keys_are_fetched_once_for_each_ttl_and_nobody_waits_for_it() {
    let mut drive = start(&config());
    let token = token(|token| token.exp_in = Some("2h".into()));
    drive.advance(secs(1));
    for _ in 0..3600 {
        let exchange = drive.request(with_token(&token));
        assert_eq!(exchange.word(), "200");
        assert!(exchange.took.is_zero(), "{:?}", exchange.took);
        drive.advance(secs(1));
    }
    let fetches = fetches(&drive);
    // One in every 270 s: a tenth before the last ones expire.
    assert_eq!(fetches.len(), 14);
    for pair in fetches.windows(2) {
        let apart = pair[1].since(pair[0]);
        assert!(apart >= secs(TTL - 30) && apart <= secs(TTL), "{apart:?}");
    }
}

#[test]
fn keys_are_kept_ready_when_nobody_comes() {
    let mut drive = start(&config());
    drive.advance(secs(3600));
    assert_eq!(fetches(&drive).len(), 14);
    let exchange = drive.request(with_token(&token(|t| t.exp_in = Some("2h".into()))));
    assert_eq!(exchange.word(), "200");
    assert!(exchange.took.is_zero());
}

#[test]
fn a_thousand_unknown_kids_cause_one_fetch_per_cooldown() {
    for flavour in FLAVOURS {
        let mut drive = start_like(flavour, &config());
        assert_eq!(outcome(&mut drive, &good()), "200");
        for cooldown in 1..=3 {
            drive.advance(secs(10));
            for number in 0..1000 {
                let unknown = ghost(number * cooldown);
                assert_eq!(outcome(&mut drive, &unknown), "401 key_unknown");
                if number % 200 == 0 {
                    drive.advance(secs(1));
                }
            }
            assert_eq!(fetches(&drive).len(), 1 + cooldown, "{flavour:?}");
        }
        // Known keys have served all along.
        assert_eq!(outcome(&mut drive, &good()), "200");
    }
}

#[test]
fn a_thousand_unknown_kids_at_the_same_time_wait_for_one_fetch() {
    let mut drive = start(&config());
    assert_eq!(outcome(&mut drive, &good()), "200");
    drive.advance(secs(11));
    let slow = Fault::Slow(policy::duration::Span::millis(300));
    drive.world().auth.fail(Endpoint::Jwks, slow);
    let tickets: Vec<_> = (0..1000)
        .map(|number| drive.start(with_token(&ghost(number))))
        .collect();
    assert!(tickets.iter().all(|ticket| drive.is_waiting(*ticket)));
    for ticket in tickets {
        let exchange = drive.finish(ticket);
        assert_eq!(exchange.word(), "401 key_unknown");
        assert_eq!(exchange.took, millis(300));
    }
    assert_eq!(fetches(&drive).len(), 2);
}

#[test]
fn a_new_key_is_found_by_everyone_who_waits_for_it() {
    let mut drive = start(&config());
    assert_eq!(outcome(&mut drive, &good()), "200");
    drive.advance(secs(11));
    drive.world().auth.publish(KEYS, [&staff(), &stranger()]);
    let new = token_by(&stranger(), |_| {});
    let tickets: Vec<_> = (0..50).map(|_| drive.start(with_token(&new))).collect();
    for ticket in tickets {
        assert_eq!(drive.finish(ticket).word(), "200");
    }
    assert_eq!(fetches(&drive).len(), 2);
    assert_eq!(outcome(&mut drive, &good()), "200");
}

#[test]
fn an_unknown_kid_asks_again_only_after_the_cooldown() {
    let mut drive = start(&config());
    assert_eq!(outcome(&mut drive, &good()), "200");
    drive.advance(secs(11));
    assert_eq!(outcome(&mut drive, &ghost(0)), "401 key_unknown");
    assert_eq!(fetches(&drive).len(), 2);
    drive.world().auth.publish(KEYS, [&staff(), &stranger()]);
    let new = token_by(&stranger(), |_| {});
    drive.advance(secs(10) - millis(2));
    assert_eq!(outcome(&mut drive, &new), "401 key_unknown");
    assert_eq!(fetches(&drive).len(), 2);
    drive.advance(millis(3));
    assert_eq!(outcome(&mut drive, &new), "200");
    assert_eq!(fetches(&drive).len(), 3);
}

/// Every way in which a source can fail to give keys.
fn failures() -> Vec<Fault> {
    let mut faults = vec![
        Fault::Slow(policy::duration::Span::millis(2500)),
        Fault::Status(500),
        Fault::Status(404),
        Fault::Status(302),
        Fault::Status(204),
        Fault::Html,
        Fault::NotJson,
        Fault::HalfBody,
        Fault::EmptyBody,
        Fault::Huge,
        Fault::ManyKeys,
        Fault::Reset,
        Fault::CutOff,
        Fault::Hang,
    ];
    let good = jwk(&staff());
    let text = good.to_string();
    let twice = text.replacen('{', "{\"kty\":\"EC\",", 1);
    for body in [
        "null".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        "\"keys\"".to_owned(),
        format!("[{text}]"),
        "{\"keys\":null}".to_owned(),
        "{\"keys\":[]}".to_owned(),
        format!("{{\"keys\":{text}}}"),
        format!("{{\"keys\":[{text}]}}x"),
        format!("\u{feff}{{\"keys\":[{text}]}}"),
        format!("{{\"keys\":[{text}],\"keys\":[]}}"),
        format!("{{\"keys\":[{twice}]}}"),
        format!("{{\"keys\":[{}1{}]}}", "[".repeat(5000), "]".repeat(5000)),
        json!({ "keys": vec![good; 101] }).to_string(),
    ] {
        faults.push(Fault::Body(body));
    }
    faults
}

#[test]
fn the_last_keys_serve_until_they_expire_and_then_it_is_503() {
    let mut all: Vec<(Fault, u64)> = failures().into_iter().map(|fault| (fault, 20)).collect();
    // For as long as keys serve unless configured otherwise.
    all.push((Fault::Refused, TTL));
    all.push((Fault::Hang, TTL));
    let fresh = token(|token| token.claims["sub"] = "user-8".into());
    let expired = token(|token| token.exp_in = Some("-1s".into()));
    let unsigned = token(|token| token.forge = Some(testkit::mint::Forge::AlgNoneSigned));
    let unknown = ghost(1);
    for (fault, ttl) in all {
        let config = config_with([("providers.staff.jwks.ttl", json!(format!("{ttl}s")))]);
        for flavour in FLAVOURS {
            let mut drive = start_like(flavour, &config);
            assert_eq!(outcome(&mut drive, &good()), "200");
            let fetched = drive.now();
            let endpoint = match fault {
                Fault::Refused => Endpoint::All,
                _ => Endpoint::Jwks,
            };
            drive.world().auth.fail(endpoint, fault.clone());
            drive.advance(secs(ttl) - drive.now().since(fetched) - NANO);
            let shown = || short(&format!("{fault:?} {flavour:?}"));
            assert_eq!(outcome(&mut drive, &good()), "200", "{}", shown());
            assert_eq!(outcome(&mut drive, &fresh), "200", "{}", shown());
            // From its expiry on, not even a token that was verified before passes.
            drive.advance(NANO);
            for token in [&good(), &fresh, &unknown, &expired] {
                let request = with_token(token);
                let exchange = drive.request(request.clone());
                assert_eq!(exchange.word(), "503 jwks_unavailable", "{}", shown());
                assert_eq!(exchange.header("retry-after"), Some("1"));
                assert_clear_refusal(&request, &exchange);
            }
            // What is wrong whatever the keys are is still the client's fault.
            assert_eq!(outcome(&mut drive, &unsigned), "401 algorithm_not_allowed");
            assert_eq!(outcome(&mut drive, "x.y"), "401 token_malformed");
            let asked = fetches(&drive).len();
            drive.advance(secs(10));
            assert!(fetches(&drive).len() - asked <= 10, "{}", shown());

            drive.world().auth.heal();
            drive.advance(secs(4));
            assert_eq!(outcome(&mut drive, &good()), "200", "{}", shown());
            assert_secrets_kept(&drive, &[&good()]);
        }
    }
}

fn short(text: &str) -> String {
    text.chars().take(200).collect()
}

#[test]
fn a_gateway_that_never_had_keys_says_503_and_asks_once_a_second() {
    let mut drive = start(&config());
    drive.world().auth.fail(Endpoint::All, Fault::Refused);
    for _ in 0..100 {
        assert_eq!(outcome(&mut drive, &good()), "503 jwks_unavailable");
        drive.advance(millis(100));
    }
    drive.world().auth.heal();
    drive.advance(secs(2));
    assert_eq!(outcome(&mut drive, &good()), "200");

    let mut drive = start(&config());
    drive.world().auth.fail(Endpoint::Jwks, Fault::Status(503));
    for _ in 0..100 {
        assert_eq!(outcome(&mut drive, &good()), "503 jwks_unavailable");
        drive.advance(millis(100));
    }
    let asked = fetches(&drive).len();
    assert!((9..=11).contains(&asked), "{asked} fetches in 10 s");
}

#[test]
fn an_unknown_kid_is_503_while_the_source_cannot_tell() {
    let mut drive = start(&config());
    assert_eq!(outcome(&mut drive, &good()), "200");
    drive.world().auth.fail(Endpoint::Jwks, Fault::Status(500));
    drive.advance(secs(11));
    assert_eq!(outcome(&mut drive, &ghost(1)), "503 jwks_unavailable");
    assert_eq!(outcome(&mut drive, &ghost(2)), "503 jwks_unavailable");
    assert_eq!(fetches(&drive).len(), 2, "the cooldown holds all the same");
    assert_eq!(outcome(&mut drive, &good()), "200");
}

#[test]
fn a_bad_key_spoils_no_good_one_and_no_log_line() {
    let mut wrong_use = jwk(&Key::rsa("wrong-use", 2));
    wrong_use["use"] = "enc".into();
    let mut private = jwk(&Key::rsa("private", 3));
    private["d"] = "c2VjcmV0LWV4cG9uZW50".into();
    let mut newline = jwk(&Key::rsa("x", 4));
    newline["kid"] = "a\r\n[error] forged \u{1b}[31m".into();
    newline["use"] = "enc".into();
    let mut other_alg = jwk(&Key::rsa("other-alg", 5));
    other_alg["alg"] = "PS256".into();
    let mut other_curve = jwk(&Key::p256("other-curve", "seed"));
    other_curve["crv"] = "P-521".into();
    let weak = jwk(&Key::weak_rsa("weak"));
    let bad = [
        wrong_use,
        private,
        newline,
        other_alg,
        other_curve,
        weak,
        json!({ "kty": "oct", "kid": "shared", "k": "c2hhcmVkLXNlY3JldA" }),
        json!({ "kty": "quantum", "kid": "future" }),
        json!(null),
        json!("text"),
        json!({}),
    ];
    let mut entries = bad.to_vec();
    entries.insert(5, jwk(&staff()));
    let mut drive = start(&config());
    drive
        .world()
        .auth
        .publish_document(KEYS, json!({ "keys": entries }).to_string());
    assert_eq!(outcome(&mut drive, &good()), "200");
    assert_eq!(
        drive.metric("portcullis_auth_jwks_keys.provider=staff"),
        1,
        "{:?}",
        drive.metrics()
    );
    let warnings = drive
        .logs()
        .iter()
        .filter(|(level, line)| *level == policy::Level::Warn && line.contains("ignored"));
    assert_eq!(warnings.count(), bad.len());
    assert_secrets_kept(&drive, &["c2VjcmV0LWV4cG9uZW50", "c2hhcmVkLXNlY3JldA"]);
    for (name, number) in [("wrong-use", 2), ("private", 3), ("other-alg", 5)] {
        let token = token_by(&Key::rsa(name, number), |_| {});
        assert_eq!(outcome(&mut drive, &token), "401 key_unknown", "{name}");
    }
    let weakling = token_by(&Key::weak_rsa("weak"), |_| {});
    assert_eq!(outcome(&mut drive, &weakling), "401 key_unknown");
}

#[test]
fn a_bad_set_leaves_the_good_one_in_place() {
    for document in [
        "{\"keys\":[]}",
        "<html>",
        "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AA\"}]}",
    ] {
        let mut drive = start(&config());
        assert_eq!(outcome(&mut drive, &good()), "200");
        drive.world().auth.publish_document(KEYS, document);
        drive.advance(secs(TTL - 1));
        assert!(fetches(&drive).len() > 10, "it was asked again and again");
        let fresh = token(|token| token.claims["sub"] = "user-8".into());
        assert_eq!(outcome(&mut drive, &fresh), "200", "{document}");
    }
}

const CHECKED: &str = "portcullis_auth_signature_checks.provider=staff.result=valid";
const HIT: &str = "portcullis_auth_token_cache.result=hit";

#[test]
fn a_token_is_checked_once_while_its_key_stays() {
    let mut drive = start(&config());
    let token = token(|token| token.exp_in = Some("2h".into()));
    for _ in 0..100 {
        assert_eq!(outcome(&mut drive, &token), "200");
        drive.advance(secs(30));
    }
    // The keys were fetched eleven times meanwhile, and were always the same.
    assert_eq!(drive.metric(CHECKED), 1);
    assert_eq!(drive.metric(HIT), 99);
    assert!(fetches(&drive).len() > 10);
}

#[test]
fn a_remembered_token_falls_with_its_key() {
    for (published, expected) in [
        (jwks([&stranger()]), "401 key_unknown"),
        // Other material under the same name.
        (jwks([&Key::rsa("staff", 1)]), "401 signature_invalid"),
    ] {
        let mut drive = start(&config());
        assert_eq!(outcome(&mut drive, &good()), "200");
        drive
            .world()
            .auth
            .publish_document(KEYS, published.to_string());
        drive.advance(secs(269));
        assert_eq!(outcome(&mut drive, &good()), "200", "not fetched yet");
        drive.advance(secs(2));
        assert_eq!(fetches(&drive).len(), 2);
        assert_eq!(outcome(&mut drive, &good()), expected);
        // Even when the key comes back, the signature is checked again.
        drive.world().auth.publish(KEYS, [&staff()]);
        drive.advance(secs(271));
        let checked = drive.metric(CHECKED);
        assert_eq!(outcome(&mut drive, &good()), "200");
        assert_eq!(drive.metric(CHECKED), checked + 1);
    }
}

#[test]
fn a_token_of_one_configuration_says_nothing_in_another() {
    let mut drive = start(&config());
    assert_eq!(outcome(&mut drive, &good()), "200");
    drive
        .reload(config_with([("providers.staff.audiences", json!(["billing"]))]).to_string())
        .unwrap();
    assert_eq!(outcome(&mut drive, &good()), "401 audience_mismatch");
}

#[test]
fn no_more_tokens_are_remembered_than_allowed() {
    let mut drive = start(&config_with([("token_cache", json!(2))]));
    let tokens: Vec<String> = ["a", "b", "c"]
        .into_iter()
        .map(|sub| token(|token| token.claims["sub"] = sub.into()))
        .collect();
    for index in [0, 1, 0, 2, 0, 1] {
        assert_eq!(outcome(&mut drive, &tokens[index]), "200");
    }
    // a, b, c, and b again: the least recently used has made room.
    assert_eq!(drive.metric(CHECKED), 4);
    assert_eq!(drive.metric(HIT), 2);
}

#[test]
fn a_client_that_hangs_up_leaves_its_fetch_to_those_who_wait() {
    let mut drive = start(&config());
    let slow = Fault::Slow(policy::duration::Span::millis(500));
    drive.world().auth.fail(Endpoint::Jwks, slow);
    // Before the first tick: the fetch is this request's own.
    let first = drive.start(with_token(&good()));
    let others: Vec<_> = (0..20).map(|_| drive.start(with_token(&good()))).collect();
    drive.advance(millis(10));
    assert_eq!(fetches(&drive).len(), 1);
    drive.disconnect(first);
    for other in others {
        let exchange = drive.finish(other);
        assert_eq!(exchange.word(), "200");
        assert_eq!(exchange.took, millis(510));
    }
    assert_eq!(fetches(&drive).len(), 2);
}

#[test]
fn a_client_that_hangs_up_while_it_waits_disturbs_nobody() {
    let mut drive = start(&config());
    let slow = Fault::Slow(policy::duration::Span::millis(500));
    drive.world().auth.fail(Endpoint::Jwks, slow);
    let first = drive.start(with_token(&good()));
    let second = drive.start(with_token(&good()));
    let third = drive.start(with_token(&good()));
    drive.disconnect(second);
    assert_eq!(drive.finish(first).word(), "200");
    assert_eq!(drive.finish(third).word(), "200");
    assert_eq!(fetches(&drive).len(), 1);
}

#[test]
fn a_gateway_that_cannot_hold_requests_asks_for_each() {
    let mut drive: Drive<auth::Auth> = start_like(Flavour::Kong, &config());
    let tickets: Vec<_> = (0..20).map(|_| drive.start(with_token(&good()))).collect();
    for ticket in tickets {
        assert_eq!(drive.finish(ticket).word(), "200");
    }
    assert!(fetches(&drive).len() <= 20);
    let asked = fetches(&drive).len();
    for _ in 0..20 {
        assert_eq!(outcome(&mut drive, &good()), "200");
    }
    assert_eq!(fetches(&drive).len(), asked);
}

#[test]
fn the_source_is_asked_for_no_more_than_its_keys() {
    let mut drive = start(&config());
    let request = with_token(&good())
        .header("cookie", "session=very-secret-cookie")
        .header("x-request-id", "id-1");
    assert_eq!(drive.request(request).word(), "200");
    let asked = drive.world().asked();
    let [asked] = asked.as_slice() else {
        panic!("{asked:?}")
    };
    assert_eq!((asked.method.as_str(), asked.path.as_str()), ("GET", KEYS));
    assert!(asked.body.is_empty());
    assert_eq!(asked.header("accept"), Some("application/json"));
    assert_eq!(asked.header("authorization"), None);
    for secret in [good().as_str(), "very-secret-cookie", SERVICE_TOKEN] {
        assert!(!asked.contains(secret.as_bytes()), "{asked:?}");
    }
}

#[test]
fn each_provider_has_its_own_keys_and_its_own_troubles() {
    let mut config = config();
    let mut other = config["providers"]["staff"].clone();
    other["issuer"] = "https://customers.example.com".into();
    other["jwks"]["path"] = "/customers.json".into();
    config["providers"]["customers"] = other;
    config["rules"].as_array_mut().unwrap().insert(
        0,
        json!({ "match": { "prefix": "/v1/customers" }, "any_of": [{ "jwt": "customers" }] }),
    );
    let mut drive = start(&config);
    // Nobody has published the customers' keys.
    let to_customers = Request::get("/v1/customers").bearer(good());
    let answer = drive.request(to_customers.clone()).word();
    assert_eq!(answer, "503 jwks_unavailable");
    assert_eq!(outcome(&mut drive, &good()), "200");
    drive.world().auth.publish("/customers.json", [&stranger()]);
    drive.advance(secs(2));
    // A cached verdict of one provider is none of the other.
    assert_eq!(drive.request(to_customers).word(), "401 key_unknown");
    let customer = token_by(&stranger(), |token| {
        token.claims["iss"] = Value::from("https://customers.example.com");
    });
    let request = Request::get("/v1/customers").bearer(&customer);
    assert_eq!(drive.request(request).word(), "200");
    assert_eq!(outcome(&mut drive, &customer), "401 key_unknown");
}

#[test]
fn a_clock_that_steps_back_hides_no_new_key() {
    let mut drive = start(&config());
    drive.advance(secs(3600));
    drive.set_clock(drive.now().minus(secs(3600)));
    drive.world().auth.publish(KEYS, [&staff(), &stranger()]);
    let new = token_by(&stranger(), |_| {});
    assert_eq!(outcome(&mut drive, &new), "200");
    assert_eq!(outcome(&mut drive, &good()), "200");
}
