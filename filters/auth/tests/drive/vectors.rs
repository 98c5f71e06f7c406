//! The corpus of tokens through the whole filter, with the gateway's crypto and with our own (J22).

use serde_json::{Value, json};
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
