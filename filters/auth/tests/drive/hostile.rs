//! Requests that no honest client sends: each gets a clear refusal, and the gateway lives on.

use serde_json::{Value, json};
use testkit::mint::{Forge, b64};
use testkit::{Drive, Exchange, Flavour, Request};

use crate::stage::*;

type Gateway = Drive<auth::Auth>;

/// Tokens from everywhere, addresses looked at.
fn config_for_attack() -> Value {
    config_with([
        (
            "providers.staff.token_from",
            json!([
                { "header": "authorization", "scheme": "Bearer" },
                { "header": "x-token" },
                { "query": "access_token" },
                { "cookie": "session" },
            ]),
        ),
        ("failures", json!({ "limit": 1_000_000 })),
        ("trusted_proxies", json!(["127.0.0.0/8"])),
        ("identity_headers", json!(["x-admin"])),
    ])
}

const IDENTITY: [&str; 6] = [
    "x-account-id",
    "x-api-key-id",
    "x-tenant-id",
    "x-tier",
    "x-user-id",
    "x-admin",
];

/// What holds whatever is sent. `may_pass` says whether it has a right to.
fn attack(drive: &mut Gateway, request: &Request, may_pass: bool) -> Exchange {
    let exchange = drive.request(request.clone());
    let Some(seen) = &exchange.upstream else {
        assert_clear_refusal(request, &exchange);
        assert!(
            matches!(exchange.status, 400 | 401 | 403 | 431),
            "{}\n{}",
            request.show(),
            exchange.show()
        );
        return exchange;
    };
    assert!(may_pass, "passed: {}", request.show());
    for (name, value) in &seen.headers {
        let name = name.replace('_', "-");
        if IDENTITY.contains(&name.as_str()) {
            let value = value.bytes();
            assert!(
                !value.windows(5).any(|part| part == b"spoof"),
                "{name} in {}",
                request.show()
            );
        }
    }
    assert_eq!(seen.all("x-api-key").count(), 0);
    exchange
}

/// The places that a client fills, each filled with these bytes.
fn everywhere(value: &[u8]) -> Vec<(&'static str, Request)> {
    let join = |parts: &[&[u8]]| parts.concat();
    let v1 = || Request::get("/v1/orders");
    vec![
        ("authorization", v1().header("authorization", value)),
        (
            "bearer",
            v1().header("authorization", join(&[b"Bearer ", value])),
        ),
        ("x-token", v1().header("x-token", value)),
        (
            "cookie",
            v1().header("cookie", join(&[b"a=b; session=", value])),
        ),
        (
            "query",
            Request::get(join(&[b"/v1/orders?access_token=", value])),
        ),
        ("key", Request::get("/keys").header("x-api-key", value)),
    ]
}

/// Places beside the credential.
fn beside(value: &[u8]) -> Vec<Request> {
    let join = |parts: &[&[u8]]| parts.concat();
    let mut requests = Vec::new();
    for base in [
        with_token(&good()),
        with_key(&alice()),
        Request::get("/public"),
    ] {
        let path = base.path.clone();
        requests.push(Request {
            path: join(&[&path, b"/", value]),
            ..base.clone()
        });
        requests.push(Request {
            path: join(&[&path, b"?q=", value]),
            ..base.clone()
        });
        for name in [
            "host",
            "x-request-id",
            "x-forwarded-for",
            "traceparent",
            "cookie",
            "x-any",
        ] {
            requests.push(base.clone().header(name, value));
        }
        for name in IDENTITY {
            requests.push(base.clone().header(name, join(&[b"spoof", value])));
        }
        requests.push(base.clone().header(join(&[b"x-", value]), "spoof"));
        requests.push(
            base.clone()
                .header(join(&[b"x-account", value, b"id"]), "spoof"),
        );
        requests.push(
            base.clone()
                .header(join(&[b"x-account-id", value]), "spoof"),
        );
    }
    requests
}

#[test]
fn any_byte_in_a_credential_is_a_clear_refusal() {
    for flavour in FLAVOURS {
        let mut drive = start_like(flavour, &config_for_attack());
        assert_eq!(outcome(&mut drive, &good()), "200");
        for byte in 0..=255_u8 {
            for value in [
                vec![byte],
                [b"abc", &[byte][..], b"def"].concat(),
                vec![byte; 300],
            ] {
                for (_, request) in everywhere(&value) {
                    attack(&mut drive, &request, false);
                }
            }
            // What ends a value where it stands leaves a good token.
            let ends = |place| match place {
                "cookie" => byte.is_ascii_whitespace() || byte == b';',
                "query" => matches!(byte, b'&' | b'#'),
                "key" => false,
                _ => byte.is_ascii_whitespace(),
            };
            for secret in [good(), alice().key] {
                let value = [secret.as_bytes(), &[byte]].concat();
                for (place, request) in everywhere(&value) {
                    attack(&mut drive, &request, ends(place));
                }
            }
        }
        assert_eq!(outcome(&mut drive, &good()), "200");
        assert_secrets_kept(&drive, &[&good(), &alice().key, SERVICE_TOKEN]);
    }
}

#[test]
fn any_byte_beside_a_credential_breaks_nothing() {
    for flavour in FLAVOURS {
        let mut drive = start_like(flavour, &config_for_attack());
        for byte in 0..=255_u8 {
            for value in [vec![byte], [b"a", &[byte][..], b"z"].concat()] {
                for request in beside(&value) {
                    attack(&mut drive, &request, true);
                }
            }
        }
        assert_secrets_kept(&drive, &[&good(), &alice().key, SERVICE_TOKEN]);
    }
}

#[test]
fn a_hundred_kilobytes_anywhere_are_a_clear_refusal() {
    for flavour in FLAVOURS {
        let mut drive = start_like(flavour, &config_for_attack());
        assert_eq!(outcome(&mut drive, &good()), "200");
        for piece in [
            "a",
            ".",
            "é",
            " a",
            "=",
            "%41",
            "eyJhbGciOiJSUzI1NiJ9.",
            "a=b;",
            "\0",
        ] {
            let huge = piece.repeat(100_000 / piece.len());
            for (place, request) in everywhere(huge.as_bytes()) {
                let exchange = attack(&mut drive, &request, false);
                assert!(matches!(exchange.status, 400 | 401), "{place}");
            }
            for request in beside(huge.as_bytes()) {
                attack(&mut drive, &request, true);
            }
        }
        assert_secrets_kept(&drive, &[&good(), &"a".repeat(100)]);
    }
}

#[test]
fn a_header_that_comes_twice_is_never_a_way_in() {
    for flavour in FLAVOURS {
        let mut drive = start_like(flavour, &config_for_attack());
        let bearer = format!("Bearer {}", good());
        for (path, name, first, second) in [
            (
                "/v1/orders",
                "authorization",
                bearer.as_str(),
                bearer.as_str(),
            ),
            ("/v1/orders", "authorization", &bearer, "Bearer x"),
            ("/v1/orders", "authorization", "Basic x", &bearer),
            ("/v1/orders", "x-token", &good(), &good()),
            ("/v1/orders", "x-token", "", &good()),
            ("/keys", "x-api-key", &alice().key, &alice().key),
            ("/keys", "x-api-key", &alice().key, &bob().key),
            ("/keys", "x-api-key", "", &alice().key),
        ] {
            for (one, other) in [(first, second), (second, first)] {
                let request = Request::get(path).header(name, one).header(name, other);
                let exchange = attack(&mut drive, &request, false);
                assert_eq!(exchange.word(), "401 credentials_conflict", "{name}");
            }
        }
        let mut many = with_token(&good());
        for name in IDENTITY {
            for spelling in [name.to_owned(), name.to_uppercase(), name.replace('-', "_")] {
                for _ in 0..3 {
                    many = many.header(&spelling, "spoof");
                }
            }
        }
        // Kong cannot change a header that comes twice.
        let changes = flavour == Flavour::Envoy;
        let exchange = attack(&mut drive, &many, changes);
        match exchange.upstream {
            Some(seen) => {
                assert_eq!(seen.all("x-account-id").collect::<Vec<_>>(), [b"acc-1"]);
                assert_eq!(seen.all("x-admin").count(), 0);
            }
            None => assert_eq!(exchange.word(), "400 header_repeated"),
        }
        assert_eq!(exchange.status == 200, changes);
        assert_eq!(drive.calls("resolve"), 0);
    }
}

#[test]
fn more_headers_than_a_gateway_hands_over_are_refused() {
    let mut request = with_token(&good());
    for number in 0..100 {
        request = request.header(format!("x-{number}"), "v");
    }
    request = request.header("x-account-id", "spoof");
    let mut drive = start_like(Flavour::Kong, &config());
    let exchange = attack(&mut drive, &request, false);
    assert_eq!(exchange.word(), "431 too_many_headers");
    // Where all of them are seen, all of them are judged.
    let mut drive = start_like(Flavour::Envoy, &config());
    let exchange = attack(&mut drive, &request, true);
    let seen = exchange.upstream.unwrap();
    assert_eq!(seen.all("x-account-id").collect::<Vec<_>>(), [b"acc-1"]);
}

#[test]
fn a_good_token_with_any_change_is_a_bad_one() {
    let mut drive = start(&config_for_attack());
    let good = good();
    assert_eq!(outcome(&mut drive, &good), "200");
    let mut bad: Vec<Vec<u8>> = Vec::new();
    for at in 0..good.len() {
        bad.push(good.as_bytes()[..at].to_vec());
        for byte in [b'A', b'z', b'_', b'.', b'=', b'+', 0, 0xff] {
            let mut changed = good.clone().into_bytes();
            changed[at] = byte;
            bad.push(changed.clone());
            changed[at] = good.as_bytes()[at];
            changed.insert(at, byte);
            bad.push(changed);
        }
    }
    let parts: Vec<&str> = good.split('.').collect();
    let [header, claims, signature] = parts.as_slice() else {
        panic!("{good}")
    };
    for other in [
        format!("{claims}.{header}.{signature}"),
        format!("{header}.{signature}.{claims}"),
        format!("{header}.{claims}.{signature}.{signature}"),
        format!("{header}.{claims}.{signature}\n"),
        format!("{header}.{claims}"),
        format!("{header}.{claims}."),
        format!("{header}..{signature}"),
        format!(".{claims}.{signature}"),
        format!("{header}.{header}.{signature}"),
        good.replace('.', "%2e"),
        good.to_uppercase(),
    ] {
        bad.push(other.into_bytes());
    }
    bad.retain(|token| token.trim_ascii() != good.as_bytes());
    assert!(bad.len() > 9_000);
    for token in bad {
        let request =
            Request::get("/v1/orders").header("authorization", [b"Bearer ", &token[..]].concat());
        let exchange = attack(&mut drive, &request, false);
        assert_eq!(exchange.status, 401, "{}", request.show());
    }
    assert_eq!(outcome(&mut drive, &good), "200");
    assert_secrets_kept(&drive, &[&good, signature]);
}

#[test]
fn no_forgery_passes() {
    use Forge::{
        AlgNone, AlgNoneSigned, ArrayClaims, ClaimsNotJson, EmptySignature, FlipSignature,
        FourParts, HalfSignature, HeaderNotJson, Hs256Der, Hs256Modulus, Hs256Pem, Hs256PemTrimmed,
        Huge, Nested, NonCanonical, Nul, OnlyDots, OtherClaims, Padded, TrailingBytes, TwoParts,
        ZeroSignature,
    };
    let mut drive = start(&config_for_attack());
    for (forge, code) in [
        (AlgNone, "token_malformed"),
        (AlgNoneSigned, "algorithm_not_allowed"),
        (Hs256Pem, "algorithm_not_allowed"),
        (Hs256PemTrimmed, "algorithm_not_allowed"),
        (Hs256Der, "algorithm_not_allowed"),
        (Hs256Modulus, "algorithm_not_allowed"),
        (FlipSignature, "signature_invalid"),
        (HalfSignature, "signature_invalid"),
        (ZeroSignature, "signature_invalid"),
        (OtherClaims, "signature_invalid"),
        (EmptySignature, "token_malformed"),
        (TwoParts, "token_malformed"),
        (FourParts, "token_malformed"),
        (OnlyDots, "token_malformed"),
        (Padded, "token_malformed"),
        (NonCanonical, "token_malformed"),
        (TrailingBytes, "token_malformed"),
        (Nul, "token_malformed"),
        (ArrayClaims, "token_malformed"),
        (HeaderNotJson, "token_malformed"),
        (ClaimsNotJson, "token_malformed"),
        (Nested, "token_malformed"),
        (Huge, "token_malformed"),
    ] {
        let forged = token(|token| token.forge = Some(forge));
        for (place, request) in everywhere(forged.as_bytes()) {
            if matches!(place, "bearer" | "x-token" | "cookie" | "query") {
                let exchange = attack(&mut drive, &request, false);
                assert_eq!(
                    exchange.word(),
                    format!("401 {code}"),
                    "{forge:?} in {place}"
                );
            }
        }
        assert_secrets_kept(&drive, &[&forged]);
    }
}

#[test]
fn what_a_header_says_of_keys_is_never_believed() {
    let own = stranger();
    let jwk = testkit::mint::jwk(&own);
    for (name, value) in [
        ("jwk", jwk.clone()),
        ("jku", json!("http://auth_service/staff.json")),
        ("x5u", json!("http://auth_service/cert.pem")),
        ("x5c", json!(["AQAB"])),
    ] {
        let mut drive = start(&config());
        let forged = token_by(&own, |token| {
            token.header.insert("kid".into(), "staff".into());
            token.header.insert(name.into(), value.clone());
        });
        assert_eq!(
            outcome(&mut drive, &forged),
            "401 signature_invalid",
            "{name}"
        );
        let asked = drive.world().asked();
        assert!(asked.iter().all(|asked| asked.path == KEYS), "{asked:?}");
    }
    let mut drive = start(&config());
    for (name, value) in [
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
        ("enc", json!("A128GCM")),
        ("typ", json!("logout+jwt")),
        ("kid", json!(["staff"])),
        ("kid", json!("k".repeat(257))),
        ("alg", json!(["RS256"])),
        ("alg", json!(null)),
    ] {
        let odd = token(|token| {
            token.header.insert(name.into(), value.clone());
        });
        assert_eq!(
            outcome(&mut drive, &odd),
            "401 token_malformed",
            "{name}: {value}"
        );
    }
}

#[test]
fn doubled_members_are_refused_wherever_they_are() {
    let mut drive = start(&config());
    let claims =
        r#""iss":"https://auth.example.com","aud":"orders","tid":"t","iat":@(-1m),"exp":@(1h)"#;
    for (header, claims) in [
        (
            r#"{"alg":"RS256","kid":"staff","alg":"none"}"#,
            format!("{{{claims}}}"),
        ),
        (
            r#"{"alg":"none","kid":"staff","alg":"RS256"}"#,
            format!("{{{claims}}}"),
        ),
        (
            r#"{"alg":"RS256","kid":"staff","kid":"staff"}"#,
            format!("{{{claims}}}"),
        ),
        (
            r#"{"alg":"RS256","kid":"staff"}"#,
            format!("{{{claims},\"exp\":@(2h)}}"),
        ),
        (
            r#"{"alg":"RS256","kid":"staff"}"#,
            format!("{{{claims},\"x\":{{\"y\":1,\"y\":2}}}}"),
        ),
        (
            r#"{"alg":"RS256","kid":"staff"}"#,
            format!("{{{claims},\"\\u0065xp\":@(2h)}}"),
        ),
    ] {
        let doubled = token(|token| {
            token.raw_header = Some(header.into());
            token.raw_claims = Some(claims.clone());
        });
        assert_eq!(
            outcome(&mut drive, &doubled),
            "401 token_malformed",
            "{header} {claims}"
        );
    }
    let single = token(|token| token.raw_claims = Some(format!("{{{claims}}}")));
    assert_eq!(outcome(&mut drive, &single), "200");
}

#[test]
fn only_visible_text_is_injected() {
    let mut drive = start(&config());
    for code in (0..0x180_u32).chain([0x2028, 0xfeff, 0x1f600]) {
        let Some(c) = char::from_u32(code) else {
            continue;
        };
        for (sub, inner) in [(format!("a{c}b"), true), (format!("{c}ab"), false)] {
            let token = token(|token| token.claims["sub"] = sub.clone().into());
            let exchange = drive.request(with_token(&token));
            let visible = c.is_ascii_graphic() || (inner && matches!(c, ' ' | '\t'));
            if visible {
                let seen = exchange.upstream.unwrap();
                assert_eq!(seen.header("x-user-id"), Some(sub), "{code:#x}");
            } else {
                assert_eq!(exchange.word(), "401 claim_not_injectable", "{code:#x}");
            }
        }
    }
    for odd in [
        json!({}),
        json!([[]]),
        json!(["a", 1]),
        json!(["a,b"]),
        json!(1.5),
    ] {
        let token = token(|token| token.claims["sub"] = odd.clone());
        assert_eq!(
            outcome(&mut drive, &token),
            "401 claim_not_injectable",
            "{odd}"
        );
    }
}

/// Numbers that are random enough and always the same.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(bound).unwrap()).unwrap()
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    fn bytes(&mut self) -> Vec<u8> {
        let length = self.below(40);
        (0..length)
            .map(|_| u8::try_from(self.below(256)).unwrap())
            .collect()
    }
}

#[test]
fn ten_thousand_mixed_requests_get_what_they_deserve() {
    let tokens = [
        good(),
        token(|t| t.claims["sub"] = "user-8".into()),
        token(|t| t.exp_in = Some("-1s".into())),
        token(|t| t.forge = Some(Forge::FlipSignature)),
        token(|t| t.forge = Some(Forge::Hs256Pem)),
        token(|t| t.claims["iss"] = "https://evil.example.com".into()),
        token_by(&stranger(), |_| {}),
        ghost(7),
        "x.y.z".into(),
        b64("{}"),
    ];
    let keys = [
        alice().key,
        bob().key,
        unheard_of("a").key,
        "gk_test_x".into(),
    ];
    let paths = [
        "/v1/orders",
        "/keys",
        "/public",
        "/admin",
        "/v1",
        "/",
        "/v1/../public",
        "//keys",
    ];
    for flavour in FLAVOURS {
        let mut drive = start_like(flavour, &config_for_attack());
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        let mut passed = 0;
        for _ in 0..5_000 {
            let path = *dice.pick(&paths);
            let mut request = Request::get(path);
            let mut good_token = false;
            let mut good_key = false;
            for _ in 0..dice.below(5) {
                let token = dice.below(tokens.len());
                let key = dice.below(keys.len());
                request = match dice.below(9) {
                    0 | 1 => {
                        good_token |= token < 2;
                        request.bearer(&tokens[token])
                    }
                    2 => {
                        good_token |= token < 2;
                        request.header("cookie", format!("session={}", tokens[token]))
                    }
                    3 | 4 => {
                        good_key |= key < 2;
                        request.header("x-api-key", &keys[key])
                    }
                    5 => request.header(dice.pick(&IDENTITY), "spoof"),
                    6 => request.header(dice.bytes(), dice.bytes()),
                    7 => request.header("authorization", dice.bytes()),
                    _ => request.header("x-forwarded-for", dice.bytes()),
                };
            }
            let may_pass = match path {
                "/public" => true,
                "/keys" => good_key,
                "/v1/orders" | "/v1" => good_token,
                _ => false,
            };
            let exchange = attack(&mut drive, &request, may_pass);
            passed += u32::from(exchange.status == 200);
            drive.advance(millis(u64::try_from(dice.below(50)).unwrap()));
        }
        assert!((500..4_500).contains(&passed), "{passed} of 5,000");
        let faulted = "portcullis_requests.filter=auth.outcome=faulted.code=fault";
        assert_eq!(drive.metric(faulted), 0);
        let secrets: Vec<&str> = tokens[..8]
            .iter()
            .chain(&keys[..3])
            .map(String::as_str)
            .collect();
        assert_secrets_kept(&drive, &secrets);
        assert_secrets_kept(&drive, &[SERVICE_TOKEN]);
        assert!(drive.world().asked().iter().all(|asked| {
            keys.iter().all(|key| !asked.contains(key.as_bytes()))
                && tokens.iter().all(|token| !asked.contains(token.as_bytes()))
        }));
    }
}
