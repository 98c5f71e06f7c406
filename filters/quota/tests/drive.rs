//! What takes a clock, many tenants or a broken service to show.
#![cfg(not(target_arch = "wasm32"))]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::time::Duration;

use quota::Quota;
use serde_json::{Value, json};
use testkit::world::Service as _;
use testkit::{Drive, Endpoint, Exchange, Fault, Flavour, Request, World};
use wire::quota::Quota as Record;

const BOTH: [Flavour; 2] = [Flavour::Envoy, Flavour::Kong];
const MS: Duration = Duration::from_millis(1);

fn start(flavour: Flavour, options: &Value) -> Drive<Quota> {
    let mut config = json!({
        "proxy": {"upstream": "redis_proxy", "authority": "redis-proxy"},
        "rules": [{"mode": "enforce", "on_failure": "deny"}],
    });
    for (name, value) in options.as_object().unwrap() {
        config[name] = value.clone();
    }
    let drive = Drive::like(flavour, config.to_string(), World::new()).unwrap();
    set(&drive, "acme", 40);
    drive
}

/// So much of 100.
fn set(drive: &Drive<Quota>, tenant: &str, used: u64) {
    let quota = Record {
        limit: 100,
        used,
        period: "monthly".into(),
        reset_at: "2100-01-01T00:00:00Z".into(),
        reset_at_ms: 4_102_444_800_000,
        last_updated_ms: 0,
    };
    drive.world().limits.set_quota(tenant, Some(quota));
}

fn of(tenant: &str) -> Request {
    Request::get("/").header("x-tenant-id", tenant)
}

fn ask(drive: &mut Drive<Quota>, tenant: &str) -> Exchange {
    drive.request(of(tenant))
}

#[test]
fn a_redis_proxy_that_comes_back_is_noticed_without_a_request() {
    for flavour in BOTH {
        let mut drive = start(flavour, &json!({}));
        drive
            .world()
            .limits
            .fail(Endpoint::Quota, Fault::Status(500));
        assert_eq!(ask(&mut drive, "acme").status, 503);
        drive.advance(30_000 * MS);
        let asked = drive.calls("quota");
        // At once, after 100 ms, and then ever more rarely until it is every 2 s.
        assert!((16..=22).contains(&asked), "{asked}");
        drive.world().limits.heal();
        drive.advance(2_500 * MS);
        let asked = drive.calls("quota");
        let answer = ask(&mut drive, "acme");
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("x-quota-used"), Some("40"));
        assert_eq!(drive.calls("quota"), asked, "a tick had been told");
    }
}

#[test]
fn a_redis_proxy_that_hangs_costs_one_timeout() {
    for flavour in BOTH {
        let mut drive = start(flavour, &json!({}));
        drive.world().limits.fail(Endpoint::Quota, Fault::Hang);
        let first = ask(&mut drive, "acme");
        assert_eq!(first.status, 503);
        assert!((60..200).contains(&first.took.as_millis()), "{first:?}");
        for n in 0..100 {
            let next = ask(&mut drive, &format!("tenant-{n}"));
            assert_eq!((next.status, next.took), (503, Duration::ZERO));
        }
        assert_eq!(drive.metric("portcullis_quota_hops"), 1);
    }
}

#[test]
fn a_client_that_hangs_up_leaves_the_question_to_those_who_wait() {
    for flavour in BOTH {
        let timeout = json!({"upstream": "redis_proxy", "authority": "p", "timeout": "2s"});
        let mut drive = start(flavour, &json!({ "proxy": timeout }));
        let slow = Fault::Slow("500ms".parse().unwrap());
        drive.world().limits.fail(Endpoint::Quota, slow);
        let first = drive.start(of("acme"));
        let second = drive.start(of("acme"));
        drive.advance(100 * MS);
        drive.disconnect(first);
        let answer = drive.finish(second);
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("x-quota-used"), Some("40"));
        assert!(answer.took <= 1_200 * MS, "{answer:?}");
    }
}

#[test]
fn made_up_tenants_cost_bounded_memory_and_few_questions() {
    let mut drive = start(
        Flavour::Envoy,
        &json!({"capacity": 100, "rules": [{"mode": "alert"}]}),
    );
    ask(&mut drive, "acme");
    drive.advance(200 * MS);
    for n in 0..20_000 {
        ask(&mut drive, &format!("made-up-{n}"));
        if n % 200 == 0 {
            drive.advance(100 * MS);
        }
    }
    drive.advance(2_000 * MS);
    // One question with each tick at most.
    let asked = drive.metric("portcullis_quota_lookups.by=tick");
    assert!(asked <= 125, "{asked}");
    let tenants = drive.metric("portcullis_quota_tenants");
    assert!(tenants <= 101, "{tenants}");
    let answer = ask(&mut drive, "acme");
    assert_eq!(answer.header("x-quota-used"), Some("40"));
}

#[test]
fn many_tenants_are_asked_about_together_and_each_stays_fresh() {
    let mut drive = start(Flavour::Envoy, &json!({"rules": [{"mode": "alert"}]}));
    for n in 0..1_000 {
        set(&drive, &format!("t{n}"), n);
    }
    let round = |drive: &mut Drive<Quota>| {
        for n in 0..1_000 {
            ask(drive, &format!("t{n}"));
        }
        drive.advance(1_000 * MS);
    };
    round(&mut drive);
    let told = drive.calls("quota");
    assert!(told <= 4, "{told} questions about a thousand tenants");
    for n in 0..1_000 {
        set(&drive, &format!("t{n}"), n + 1);
    }
    for _ in 0..3 {
        round(&mut drive);
    }
    for n in 0..1_000 {
        let used = (n + 1).to_string();
        let answer = ask(&mut drive, &format!("t{n}"));
        assert_eq!(answer.header("x-quota-used"), Some(&*used));
    }
    assert_eq!(drive.metric("portcullis_quota_hops"), 0);
}

#[test]
fn the_token_goes_with_the_question_and_nowhere_else() {
    let token = "a-token-for-redis-proxy";
    let proxy = json!({"upstream": "redis_proxy", "authority": "redis-proxy.internal", "service_token": token});
    let mut drive = start(Flavour::Envoy, &json!({ "proxy": proxy }));
    let answer = ask(&mut drive, "acme");
    let asked = drive.world().limits.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(
        asked[0].header("authorization"),
        Some(&*format!("Bearer {token}"))
    );
    assert!(!answer.show().contains(token));
    drive.world().limits.fail(Endpoint::Quota, Fault::Reset);
    drive.advance(10_000 * MS);
    ask(&mut drive, "other");
    drive.advance(10_000 * MS);
    assert!(!drive.logs().is_empty());
    assert!(drive.logs().iter().all(|(_, line)| !line.contains(token)));
}

#[test]
fn who_has_run_out_is_said_once() {
    let mut drive = start(Flavour::Envoy, &json!({}));
    ask(&mut drive, "acme");
    let said = |drive: &Drive<Quota>| {
        let logs = drive.logs().iter();
        logs.filter(|(_, line)| line.contains("quota: tenant"))
            .count()
    };
    assert_eq!(said(&drive), 0);
    for (used, lines) in [(100, 1), (120, 1), (10, 1), (101, 2)] {
        set(&drive, "acme", used);
        for _ in 0..3 {
            drive.advance(2_500 * MS);
            ask(&mut drive, "acme");
        }
        assert_eq!(said(&drive), lines, "{used}");
    }
    let mut lines = drive.logs().iter().map(|(_, line)| line);
    let last = lines.rfind(|line| line.contains("tenant"));
    assert_eq!(
        last.unwrap(),
        "quota: tenant acme has used 101 of 100 until 2100-01-01T00:00:00Z"
    );
}
