//! Addresses that fail too often (A12).

use std::net::IpAddr;

use serde_json::{Value, json};
use testkit::mint::Forge;
use testkit::{Drive, Endpoint, Exchange, Fault, Request};

use crate::stage::*;

type Gateway = Drive<auth::Auth>;

/// At most so many failures in a minute.
const LIMIT: u32 = 5;

fn limited() -> Value {
    config_with([("failures", json!({ "limit": LIMIT, "window": "1m" }))])
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Nothing costs less to get wrong.
fn fail_from(drive: &mut Gateway, peer: &str) -> Exchange {
    let forged = token(|token| token.forge = Some(Forge::FlipSignature));
    drive.request(with_token(&forged).from(address(peer)))
}

#[test]
fn the_next_failure_after_the_last_allowed_is_429_until_the_window_ends() {
    for flavour in FLAVOURS {
        let mut drive = start_like(flavour, &limited());
        assert_eq!(outcome(&mut drive, &good()), "200");
        let first = drive.now();
        for _ in 0..LIMIT {
            assert_eq!(
                fail_from(&mut drive, "192.0.2.1").word(),
                "401 signature_invalid"
            );
            drive.advance(secs(2));
        }
        // 10 s have passed; the window began with the first failure.
        for (elapsed, retry_after) in [
            (10_000, "50"),
            (10_500, "50"),
            (11_000, "49"),
            (59_999, "1"),
        ] {
            drive.advance(first.plus(millis(elapsed)).since(drive.now()));
            let exchange = fail_from(&mut drive, "192.0.2.1");
            assert_eq!(exchange.word(), "429 too_many_failures");
            assert_eq!(
                exchange.header("retry-after"),
                Some(retry_after),
                "{elapsed} ms"
            );
            assert_clear_refusal(&with_token(""), &exchange);
            // Good credentials that have not been seen before are not looked at either.
            for request in [
                with_token(&token(|t| t.claims["sub"] = elapsed.into())),
                with_key(&alice()),
            ] {
                let exchange = drive.request(request.from(address("192.0.2.1")));
                assert_eq!(exchange.word(), "429 too_many_failures");
            }
        }
        assert_eq!(drive.calls("resolve"), 0);
        drive.advance(millis(1));
        let request = with_key(&alice()).from(address("192.0.2.1"));
        assert_eq!(drive.request(request).word(), "200");
        assert_eq!(
            fail_from(&mut drive, "192.0.2.1").word(),
            "401 signature_invalid"
        );
    }
}

#[test]
fn other_addresses_and_what_was_verified_before_still_pass() {
    let mut drive = start(&limited());
    let neighbour = address("192.0.2.2");
    let here = address("192.0.2.1");
    assert_eq!(drive.request(with_token(&good()).from(here)).word(), "200");
    assert_eq!(drive.request(with_key(&alice()).from(here)).word(), "200");
    for _ in 0..=LIMIT {
        fail_from(&mut drive, "192.0.2.1");
    }
    assert_eq!(fail_from(&mut drive, "192.0.2.1").status, 429);
    // From there, what is remembered passes; so does what needs no credential.
    assert_eq!(drive.request(with_token(&good()).from(here)).word(), "200");
    assert_eq!(drive.request(with_key(&alice()).from(here)).word(), "200");
    assert_eq!(
        drive.request(Request::get("/public").from(here)).word(),
        "200"
    );
    let without = Request::get("/v1/orders").from(here);
    assert_eq!(drive.request(without).word(), "401 credentials_missing");
    // From elsewhere everything is as ever.
    assert_eq!(
        fail_from(&mut drive, "192.0.2.2").word(),
        "401 signature_invalid"
    );
    assert_eq!(
        drive.request(with_key(&bob()).from(neighbour)).word(),
        "200"
    );
}

#[test]
fn every_kind_of_wrong_credential_counts() {
    let nobody = unheard_of("nobody");
    let wrong: Vec<(Request, &str)> = vec![
        (with_token("x"), "401 token_malformed"),
        (
            with_token(&token(|t| t.forge = Some(Forge::AlgNoneSigned))),
            "401 algorithm_not_allowed",
        ),
        (with_token(&ghost(1)), "401 key_unknown"),
        (
            with_token(&token(|t| t.forge = Some(Forge::FlipSignature))),
            "401 signature_invalid",
        ),
        (
            with_token(&token(|t| t.exp_in = Some("-1s".into()))),
            "401 token_expired",
        ),
        (
            with_token(&token(|t| t.claims["aud"] = "x".into())),
            "401 audience_mismatch",
        ),
        (
            with_token(&token(|t| t.claims["sub"] = json!({}))),
            "401 claim_not_injectable",
        ),
        (
            with_token(&good()).header("authorization", "Bearer other"),
            "401 credentials_conflict",
        ),
        (
            Request::get("/keys").header("x-api-key", "guess"),
            "401 api_key_malformed",
        ),
        (with_key(&nobody), "401 api_key_invalid"),
    ];
    for (request, expected) in wrong {
        let mut drive = start(&limited());
        for _ in 0..LIMIT {
            assert_eq!(drive.request(request.clone()).word(), expected);
        }
        assert_eq!(
            outcome(&mut drive, &good()),
            "429 too_many_failures",
            "{expected}"
        );
    }
}

#[test]
fn what_is_not_the_clients_fault_does_not_count() {
    let mut drive = start(&limited());
    assert_eq!(outcome(&mut drive, &good()), "200");
    for _ in 0..3 * LIMIT {
        let without = drive.request(Request::get("/v1/orders"));
        assert_eq!(without.word(), "401 credentials_missing");
        let nowhere = drive.request(Request::get("/nowhere"));
        assert_eq!(nowhere.word(), "401 no_rule");
        let admin = drive.request(Request::get("/admin").bearer(good()));
        assert_eq!(admin.word(), "403 claims_insufficient");
    }
    drive.world().auth.fail(Endpoint::All, Fault::Status(500));
    drive.advance(secs(301));
    for _ in 0..3 * LIMIT {
        assert_eq!(outcome(&mut drive, &good()), "503 jwks_unavailable");
        let key = drive.request(with_key(&alice()));
        assert_eq!(key.word(), "503 api_key_lookup_failed");
    }
    drive.world().auth.heal();
    drive.advance(secs(2));
    assert_eq!(outcome(&mut drive, &good()), "200");
    assert_eq!(drive.request(with_key(&bob())).word(), "200");
}

#[test]
fn a_forwarded_address_is_believed_from_trusted_proxies_only() {
    let forwarded = |addresses: &str| {
        let forged = token(|token| token.forge = Some(Forge::FlipSignature));
        with_token(&forged).header("x-forwarded-for", addresses)
    };
    // Nobody is trusted: whoever makes addresses up still fails under their own.
    let mut drive = start(&limited());
    for number in 0..LIMIT {
        let exchange = drive.request(forwarded(&format!("203.0.113.{number}")));
        assert_eq!(exchange.status, 401);
    }
    assert_eq!(drive.request(forwarded("203.0.113.99")).status, 429);

    let mut trusting = limited();
    trusting["trusted_proxies"] = json!(["127.0.0.0/8"]);
    let mut drive = start(&trusting);
    for number in 0..LIMIT {
        // The last address is the proxy's word; what is before it is the client's.
        let made_up = format!("203.0.113.{number}, 198.51.100.7");
        assert_eq!(drive.request(forwarded(&made_up)).status, 401);
    }
    assert_eq!(drive.request(forwarded("198.51.100.7")).status, 429);
    assert_eq!(drive.request(forwarded("198.51.100.8")).status, 401);
}

#[test]
fn an_ipv6_client_counts_as_its_network() {
    let mut drive = start(&limited());
    for host in 0..LIMIT {
        let exchange = fail_from(&mut drive, &format!("2001:db8::{host}"));
        assert_eq!(exchange.status, 401);
    }
    assert_eq!(fail_from(&mut drive, "2001:db8::ffff:1").status, 429);
    assert_eq!(fail_from(&mut drive, "2001:db8:0:1::1").status, 401);
}

#[test]
fn a_hundred_guesses_at_the_same_time_are_not_free() {
    let mut drive = start(&limited());
    let tickets: Vec<_> = (0..100)
        .map(|n| drive.start(with_key(&unheard_of(&n.to_string()))))
        .collect();
    let mut refused = 0;
    for ticket in tickets {
        let exchange = drive.finish(ticket);
        assert!(matches!(exchange.status, 401 | 429), "{}", exchange.show());
        refused += u32::from(exchange.status == 429);
    }
    assert_eq!(refused, 100 - LIMIT);
}
