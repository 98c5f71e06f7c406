//! The Lua scripts on a real Redis against the Rust arithmetic: same calls, same time, same answers.

use std::cell::{Cell, RefCell};

use proptest::{prelude::*, test_runner::TestRunner};
use redis_proxy::{
    bucket::{Bucket, Decision, Rule},
    script::Script,
};
use wire::limits::{GiveBack, Limit, MAX_TOKENS, Shape};

use crate::redis_server::{Options, RedisServer};

#[derive(Clone, Debug)]
struct Call {
    /// Which of the two limits of the key.
    second: bool,
    by_us: i64,
    want: u64,
    back: GiveBack,
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let clock = prop_oneof![
        8 => 0..60_000i64,
        4 => 0..700_000i64,
        2 => 0..30_000_000i64,
        1 => -1_500_000..0i64,
        1 => -10_000_000_000..10_000_000_000i64,
    ];
    let want = prop_oneof![Just(0u64), 1..5u64, 1..2_000u64, Just(MAX_TOKENS)];
    let back = prop_oneof![
        3 => Just(GiveBack::default()),
        2 => (0..50u64, 0..600u64).prop_map(|(tokens, age_ms)| GiveBack { tokens, age_ms }),
        1 => (0..=MAX_TOKENS, 0..600u64).prop_map(|(tokens, age_ms)| GiveBack { tokens, age_ms }),
    ];
    let call =
        (prop::bool::weighted(0.1), clock, want, back).prop_map(|(second, by_us, want, back)| {
            Call {
                second,
                by_us,
                want,
                back,
            }
        });
    prop::collection::vec(call, 1..40)
}

fn tokens() -> impl Strategy<Value = u64> {
    prop_oneof![
        1..40u64,
        1..20_000u64,
        1..=MAX_TOKENS,
        Just(MAX_TOKENS),
        Just(999_983)
    ]
}

fn paced(period_ms: u64) -> impl Strategy<Value = Limit> {
    let factor = prop_oneof![Just(2u64), 1..10u64, Just(10_000)];
    (tokens(), 0..=MAX_TOKENS, factor).prop_filter_map("in bounds", move |(n, burst, m)| {
        let most = (u128::from(n) * 3_600_000 / u128::from(period_ms)).min(MAX_TOKENS.into());
        let burst = burst.min(u64::try_from(most).unwrap());
        let fastest = MAX_TOKENS * period_ms / 1_000;
        let n = n.min(fastest.max(1));
        let peak = n.saturating_mul(m).min(MAX_TOKENS).min(fastest).max(n);
        let limit = Limit {
            tokens: n,
            period_ms,
            shape: Shape::Paced { burst, peak },
        };
        limit.check().is_ok().then_some(limit)
    })
}

fn two_limits() -> impl Strategy<Value = [Limit; 2]> {
    let period = prop_oneof![
        Just(1_000u64),
        1..5_000u64,
        Just(3_600_000),
        1..=3_600_000u64
    ];
    let paced = period.prop_flat_map(|ms| [paced(ms), paced(ms)]);
    let period = prop_oneof![Just(60_000u64), 1..2_000u64, Just(2_678_400_000)];
    let windowed = period.prop_flat_map(|ms| {
        [tokens(), tokens()].prop_map(move |[a, b]| [Limit::window(a, ms), Limit::window(b, ms)])
    });
    prop_oneof![2 => paced, 1 => windowed]
}

fn arguments(rule: &Rule, call: &Call, now: u64) -> Vec<i64> {
    let number = |n: u64| i64::try_from(n).unwrap();
    let age_us = if call.back.age_ms <= 500 {
        number(call.back.age_ms) * 1_000
    } else {
        -1
    };
    let mut list = vec![number(call.want), number(call.back.tokens), age_us];
    match rule {
        Rule::Paced(limit) => list.extend([
            number(limit.sustained.tokens),
            number(limit.peak.tokens),
            number(limit.sustained.period_ns),
            limit.sustained.tolerance_ns,
            limit.peak.tolerance_ns,
        ]),
        Rule::Window(limit) => {
            list.extend([
                number(limit.tokens),
                number(limit.hold_us),
                number(limit.slot_us),
            ]);
        }
    }
    list.push(number(now));
    list
}

#[test]
fn redis_and_rust_give_equal_answers() {
    let server = RedisServer::start(Options::default(), None);
    let client = redis::Client::open(format!("redis://127.0.0.1:{}", server.port)).unwrap();
    let connection = RefCell::new(client.get_connection().unwrap());
    let (paced, window) = (Script::paced_at(), Script::window_at());
    let runs = Cell::new(0);
    let config = ProptestConfig {
        cases: 250,
        ..ProptestConfig::default()
    };
    let grants = Cell::new(0);
    TestRunner::new(config)
        .run(&(two_limits(), calls()), |(limits, calls)| {
            runs.set(runs.get() + 1);
            let key = format!("kong:rl:test:{}:1s", runs.get());
            let connection = &mut *connection.borrow_mut();
            let rules = limits.map(|limit| Rule::new(&limit));
            let mut now = 1_700_000_000_000_000u64;
            let mut bucket = None;
            for call in &calls {
                now = now.saturating_add_signed(call.by_us);
                let rule = &rules[usize::from(call.second)];
                let script = if matches!(rule, Rule::Paced(_)) {
                    &paced
                } else {
                    &window
                };
                let mut eval = redis::cmd("EVAL");
                eval.arg(script.text())
                    .arg(1)
                    .arg(&key)
                    .arg(arguments(rule, call, now));
                let answer: [u64; 4] = eval.query(connection).unwrap();
                // the time is given, so it must not be Redis that forgets
                let _: i64 = redis::cmd("PERSIST").arg(&key).query(connection).unwrap();
                let known = bucket.get_or_insert_with(|| Bucket::new(rule, now));
                let decision = known.acquire(rule, now, call.want, call.back);
                if decision.keep_ms == 0 {
                    // nothing to remember, and so it is forgotten
                    bucket = None;
                }
                let Decision {
                    granted,
                    retry_after_ms,
                    remaining,
                    reset_ms,
                    ..
                } = decision;
                grants.set(grants.get() + granted.min(1));
                prop_assert_eq!(answer, [granted, retry_after_ms, remaining, reset_ms]);
            }
            Ok(())
        })
        .unwrap();
    assert!(
        grants.get() > 500,
        "{}: the sequences exercise grants",
        grants.get()
    );
}

#[test]
fn state_is_forgotten_when_it_no_longer_matters() {
    let server = RedisServer::start(Options::default(), None);
    let rule = Rule::new(&Limit::window(5, 60_000));
    let call = Call {
        second: false,
        by_us: 0,
        want: 1,
        back: GiveBack::default(),
    };
    let run = |key: &str, script: &Script, rule: &Rule| {
        let mut list = ["EVAL", script.text(), "1", key].join("\u{1}");
        for argument in arguments(rule, &call, 0) {
            list.push_str(&format!("\u{1}{argument}"));
        }
        server.cli(&list.split('\u{1}').collect::<Vec<_>>());
        server.cli(&["PTTL", key]).parse::<i64>().unwrap()
    };
    let left = run("w", &Script::window(), &rule);
    assert!((55_000..=60_200).contains(&left), "{left}");
    let rule = Rule::new(&Limit::paced(1_000, 1_000));
    let left = run("p", &Script::paced(), &rule);
    assert!((1..=1_010).contains(&left), "{left}");
}
