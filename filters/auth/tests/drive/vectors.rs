//! The corpus of tokens through the whole filter, with the gateway's crypto and with our own (J22).

use policy::guard::Lent;
use policy::host::Signature;
use policy::{Answer, Effects, Event, Fact, Guard, Head, Host, Keeper as _, Loaded, Verdict};
use serde_json::{Value, json};
use testkit::drive::BEGINNING;
use testkit::mint::Forge;
use testkit::{Drive, Request};

use crate::stage::*;

#[test]
fn every_vector_gets_its_verdict_by_either_crypto_in_either_gateway() {
    let corpus: Value = serde_json::from_str(include_str!("../vectors.json")).unwrap();
    let vectors = corpus["vectors"].as_array().unwrap();
    assert_eq!(vectors.len(), 300);
    let mut config = config_with([
        ("providers.staff.issuer", corpus["expected"]["iss"].clone()),
        (
            "providers.staff.audiences",
            json!([corpus["expected"]["aud"]]),
        ),
        (
            "providers.staff.algorithms",
            json!(["RS256", "ES256", "EdDSA"]),
        ),
        // The tokens are older than the gateway's clock allows.
        ("providers.staff.max_age", json!(null)),
        // Each is checked each time.
        ("token_cache", json!(0)),
    ]);
    for crypto in ["auto", "pure"] {
        config["crypto"] = crypto.into();
        for flavour in FLAVOURS {
            let world = world();
            let keys = corpus["jwks"].to_string();
            world.auth.publish_document(KEYS, keys);
            let mut drive = Drive::<auth::Auth>::like(flavour, config.to_string(), world).unwrap();
            drive.advance(secs(1));
            let mut passed = 0;
            for vector in vectors {
                // Those of the RFCs name no key, so that nobody can tell whose they are.
                let complete = vector["complete"] == true;
                let expected = match vector["code"].as_str() {
                    _ if !complete => "401 key_unknown".to_owned(),
                    Some(code) => format!("401 {code}"),
                    None => "200".to_owned(),
                };
                let token = vector["token"].as_str().unwrap();
                let request = Request::get("/v1/orders").bearer(token);
                let exchange = drive.request(request.clone());
                let name = &vector["name"];
                assert_eq!(exchange.word(), expected, "{name} {crypto} {flavour:?}");
                if exchange.status == 200 {
                    passed += 1;
                } else {
                    assert_clear_refusal(&request, &exchange);
                }
            }
            assert_eq!(passed, 16);
            assert_secrets_kept(&drive, &[]);
        }
    }
}

/// A gateway that always says the same of a signature.
struct Oracle(Option<bool>);

impl Host for Oracle {
    fn fact(&self, _: Fact) -> Option<Vec<u8>> {
        None
    }

    fn verify(&self, _: Signature<'_>) -> Option<bool> {
        self.0
    }
}

/// Whether a token passes in a gateway with this crypto.
fn passes(crypto: &str, host: &Oracle, token: &str) -> bool {
    let config = config_with([("crypto", json!(crypto))]).to_string();
    let config = Loaded::<auth::Config>::parse(config.as_bytes()).unwrap();
    let mut keeper = auth::AuthKeeper::new(&config.policy, BEGINNING);
    let bearer = format!("Bearer {token}");
    let request: Head = [
        (":method", "GET"),
        (":path", "/v1/orders"),
        (":authority", "gateway.test"),
        ("authorization", &bearer),
    ]
    .into_iter()
    .collect();
    let mut effects = Effects::default();
    let mut guard = Guard::<auth::Auth>::new(1);
    let mut ask = |event: Event<'_>| {
        let lent = Lent {
            config: &config,
            keeper: &mut keeper,
            request: &request,
            now: BEGINNING,
            host,
            effects: &mut effects,
        };
        guard.on_request(event, lent)
    };
    let Verdict::Call(_) = ask(Event::Headers) else {
        panic!("the keys are not here yet")
    };
    let body = testkit::mint::jwks([&staff()]).to_string().into_bytes();
    let answer = Answer {
        status: 200,
        headers: &Head::default(),
        body: &body,
    };
    match ask(Event::Answer(Ok(answer))) {
        Verdict::Allow => true,
        Verdict::Deny(reply) => {
            assert_eq!(reply.code, "signature_invalid");
            false
        }
        _ => panic!("neither passes nor is refused"),
    }
}

#[test]
fn the_gateways_crypto_decides_where_there_is_one_and_it_may() {
    let flipped = token(|token| token.forge = Some(Forge::FlipSignature));
    for (crypto, says, good_passes, flipped_passes) in [
        ("auto", Some(true), true, true),
        ("auto", Some(false), false, false),
        ("auto", None, true, false),
        ("pure", Some(true), true, false),
        ("pure", Some(false), true, false),
    ] {
        let host = Oracle(says);
        assert_eq!(
            passes(crypto, &host, &good()),
            good_passes,
            "{crypto} {says:?}"
        );
        assert_eq!(
            passes(crypto, &host, &flipped),
            flipped_passes,
            "{crypto} {says:?}"
        );
    }
}
