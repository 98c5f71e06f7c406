//! Configurations that nobody should run.

use serde_json::{Value, json};
use testkit::{Drive, World};

use crate::stage::*;

fn errors(text: impl AsRef<[u8]>) -> Vec<String> {
    match Drive::<auth::Auth>::new(text, World::new()) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.lines("auth").collect(),
    }
}

#[test]
fn every_error_is_named_at_once_with_its_path() {
    let wrong = config_with([
        ("providers.staff.issuer", json!("")),
        (
            "providers.staff.algorithms",
            json!(["RS256", "HS256", "none"]),
        ),
        ("providers.staff.jwks.ttl", json!("25h")),
        ("providers.staff.jwks.refetch_cooldown", json!("1ms")),
        ("providers.staff.max_age", json!(86400)),
        ("api_keys.ttl", json!("6m")),
        ("api_keys.service_token", json!("two words")),
        ("api_keys.capacity", json!(0)),
        ("failures", json!({ "limit": 0, "window": "25h" })),
        ("trusted_proxies", json!(["10.0.0.0/8", "everybody"])),
        ("identity_headers", json!(["x-ok", "not ok"])),
        ("surprise", json!(1)),
        (
            "rules",
            json!([{ "any_of": [{ "jwt": "nobody" }] }, {}, { "public": true, "surprise": 2 }]),
        ),
    ]);
    let found = errors(wrong.to_string());
    let expected = [
        "providers.staff.issuer:",
        "providers.staff.algorithms[1]:",
        "providers.staff.algorithms[2]:",
        "providers.staff.jwks.ttl:",
        "providers.staff.jwks.refetch_cooldown:",
        "providers.staff.max_age:",
        "api_keys.ttl:",
        "api_keys.service_token:",
        "api_keys.capacity:",
        "failures.limit:",
        "failures.window:",
        "trusted_proxies[1]:",
        "identity_headers[1]:",
        "surprise:",
        "rules[0].any_of[0]:",
        "rules[1]:",
        "rules[2].surprise:",
    ];
    for path in expected {
        let count = found
            .iter()
            .filter(|line| line.starts_with(&format!("auth: {path}")))
            .count();
        assert_eq!(count, 1, "{path} in {found:#?}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    assert!(!found.iter().any(|line| line.contains("two words")));
}

#[test]
fn no_half_of_a_configuration_is_one() {
    let whole = config().to_string();
    for length in 0..whole.len() {
        let found = errors(&whole[..length]);
        assert!(!found.is_empty(), "{}", &whole[..length]);
        assert!(!found.iter().any(|line| line.contains(SERVICE_TOKEN)));
    }
    assert!(errors(&whole).is_empty());
}

#[test]
fn no_bytes_break_it() {
    let whole = config().to_string().into_bytes();
    for at in (0..whole.len()).step_by(3) {
        for byte in [0, b'"', b'{', b'\\', 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] = byte;
            for line in errors(&bytes) {
                assert!(!line.contains(SERVICE_TOKEN), "{line:?}");
            }
        }
    }
    for bytes in [
        b"".as_slice(),
        b"\xff\xfe",
        b"[]",
        b"null",
        b"0",
        &[b'['; 100_000],
        &[b' '; 100_000],
    ] {
        assert!(!errors(bytes).is_empty());
    }
}

/// Calls `visit` with a copy of the value for each of its members, with the member's place.
fn each_member(value: &Value, visit: &mut impl FnMut(&str)) {
    fn walk(value: &Value, at: &str, visit: &mut impl FnMut(&str)) {
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    let at = format!("{at}/{name}");
                    visit(&at);
                    walk(member, &at, visit);
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    let at = format!("{at}/{index}");
                    visit(&at);
                    walk(item, &at, visit);
                }
            }
            _ => {}
        }
    }
    walk(value, "", visit);
}

#[test]
fn a_member_of_the_wrong_type_is_refused_with_its_path() {
    let whole = config_with([
        ("failures", json!({ "limit": 5, "window": "1m" })),
        ("trusted_proxies", json!(["10.0.0.0/8"])),
        ("identity_headers", json!(["x-ok"])),
        ("token_cache", json!(5)),
        ("crypto", json!("pure")),
        ("providers.staff.clock_skew", json!("1s")),
        ("providers.staff.require_tid", json!(true)),
        (
            "providers.staff.token_from",
            json!([{ "header": "authorization", "scheme": "Bearer" }]),
        ),
        ("providers.staff.inject", json!({ "x-user-id": "sub" })),
    ]);
    assert!(errors(whole.to_string()).is_empty());
    let mut places = Vec::new();
    each_member(&whole, &mut |at| places.push(at.to_owned()));
    assert!(places.len() > 50);
    for place in places {
        for wrong in [json!(-1.5), json!([[[]]]), json!({ "not a name": "" })] {
            let mut broken = whole.clone();
            *broken.pointer_mut(&place).unwrap() = wrong.clone();
            let found = errors(broken.to_string());
            assert!(!found.is_empty(), "{place} = {wrong} was taken");
            // `/rules/0/match` is `rules[0].match`.
            let mut path = String::new();
            for part in place.split('/').skip(1) {
                match part.parse::<usize>() {
                    Ok(index) => path.push_str(&format!("[{index}]")),
                    Err(_) if path.is_empty() => path.push_str(part),
                    Err(_) => path.push_str(&format!(".{part}")),
                }
            }
            let named = found
                .iter()
                .any(|line| line.starts_with(&format!("auth: {path}")));
            assert!(named, "{path} is not named in {found:#?}");
            assert!(
                !found.iter().any(|line| line.contains(SERVICE_TOKEN)),
                "{found:#?}"
            );
        }
    }
}

#[test]
fn a_refused_update_changes_nothing() {
    let mut drive = start(&config());
    assert_eq!(outcome(&mut drive, &good()), "200");
    let fetched = fetches(&drive).len();
    assert!(drive.reload("{}").is_err());
    assert_eq!(outcome(&mut drive, &good()), "200");
    assert_eq!(outcome(&mut drive, &ghost(1)), "401 key_unknown");
    assert_eq!(fetches(&drive).len(), fetched, "not even the caches");
}
