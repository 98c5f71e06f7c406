//! Dates of tokens, to the nanosecond (J4, J5, J6).

use serde_json::json;

use crate::stage::*;

const DAY: u64 = 86_400;

#[test]
fn a_token_passes_until_the_very_moment_of_its_exp() {
    let expiring = token(|token| token.exp_in = Some("100s".into()));
    for cache in [0, 100] {
        let mut drive = start(&config_with([("token_cache", json!(cache))]));
        assert_eq!(outcome(&mut drive, &expiring), "200");
        drive.advance(drive_time(&drive, 100) - NANO);
        assert_eq!(outcome(&mut drive, &expiring), "200", "cache {cache}");
        drive.advance(NANO);
        assert_eq!(outcome(&mut drive, &expiring), "401 token_expired");
    }
}

#[test]
fn a_token_passes_from_the_very_moment_of_its_nbf() {
    let mut drive = start(&config());
    let early = token(|token| token.nbf_in = Some("10s".into()));
    drive.advance(drive_time(&drive, 10) - NANO);
    assert_eq!(outcome(&mut drive, &early), "401 token_not_yet_valid");
    drive.advance(NANO);
    assert_eq!(outcome(&mut drive, &early), "200");
}

#[test]
fn a_token_may_be_a_day_old_and_no_second_more() {
    // Seen all along, only at the end, and with nothing remembered.
    for (cache, seen_before) in [(100, true), (100, false), (0, false)] {
        let mut drive = start(&config_with([("token_cache", json!(cache))]));
        let old = token(|token| {
            token.iat_in = Some(format!("-{}s", DAY - 100));
            token.exp_in = Some("48h".into());
        });
        if seen_before {
            assert_eq!(outcome(&mut drive, &old), "200");
        }
        drive.advance(drive_time(&drive, 99));
        assert_eq!(outcome(&mut drive, &old), "200", "23:59:59");
        drive.advance(secs(2));
        assert_eq!(outcome(&mut drive, &old), "401 token_too_old", "24:00:01");
    }
}

#[test]
fn no_age_is_too_great_where_none_is_configured() {
    let mut drive = start(&config_with([("providers.staff.max_age", json!(null))]));
    let ancient = token(|token| token.iat_in = Some("-9000h".into()));
    let undated = token(|token| token.without.push("iat".into()));
    assert_eq!(outcome(&mut drive, &ancient), "200");
    assert_eq!(outcome(&mut drive, &undated), "200");
}

#[test]
fn skew_moves_every_date_by_as_much() {
    let mut drive = start(&config_with([
        ("providers.staff.clock_skew", json!("30s")),
        ("providers.staff.max_age", json!("1h")),
    ]));
    // The first request waits a millisecond for the keys.
    assert_eq!(outcome(&mut drive, &good()), "200");
    for (field, offset, expected) in [
        ("exp", "-29s", "200"),
        ("exp", "-30s", "401 token_expired"),
        ("nbf", "30s", "200"),
        ("nbf", "31s", "401 token_not_yet_valid"),
        ("iat", "30s", "200"),
        ("iat", "31s", "401 token_not_yet_valid"),
        ("iat", "-3629s", "200"),
        ("iat", "-3631s", "401 token_too_old"),
    ] {
        let it = token(|token| {
            let date = match field {
                "exp" => &mut token.exp_in,
                "nbf" => &mut token.nbf_in,
                _ => &mut token.iat_in,
            };
            *date = Some(offset.into());
        });
        assert_eq!(outcome(&mut drive, &it), expected, "{field} {offset}");
    }
}

#[test]
fn a_clock_that_steps_back_revives_nothing_and_breaks_nothing() {
    let mut drive = start(&config());
    let late = token(|token| token.nbf_in = Some("-1s".into()));
    assert_eq!(outcome(&mut drive, &late), "200");
    drive.set_clock(drive.now().minus(secs(3600)));
    assert_eq!(outcome(&mut drive, &late), "401 token_not_yet_valid");
    drive.advance(secs(3601));
    assert_eq!(outcome(&mut drive, &late), "200");
}

/// How long it is until so many seconds after the beginning.
fn drive_time(drive: &testkit::Drive<auth::Auth>, seconds: u64) -> std::time::Duration {
    testkit::drive::BEGINNING
        .plus(secs(seconds))
        .since(drive.now())
}
