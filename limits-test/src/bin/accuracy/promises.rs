//! Rows R7, R8 and R9 under load.

use std::time::Duration;

use limits_test::bound;
use limits_test::load::{self, Sample, Stream};
use serde_json::{Value, json};
use wire::limits::Limit;

use crate::site::Site;

/// The tenant of the tier without burst.
pub const P3_TENANT: &str = "small-bank";

const TIERS: &str = "/tiers";
const GUARDED: &str = "/guarded";
const OPERATORS: &str = "/operators";

const GUARDRAIL: u64 = 5_000;
const OPERATOR: u64 = 300;

/// A promise, and how it is checked.
pub struct Promise {
    pub name: &'static str,
    check: fn(&Site) -> (bool, String),
}

impl Promise {
    /// What was measured; an error if it is not as promised.
    pub fn check(&self, site: &Site) -> Result<String, String> {
        match (self.check)(site) {
            (true, measured) => Ok(measured),
            (false, measured) => Err(measured),
        }
    }
}

pub const ALL: [Promise; 3] = [
    Promise {
        name: "R7 tier P3 at 1,500/s: ≥ 30 % refused in 5 s; default burst: none",
        check: tiers,
    },
    Promise {
        name: "R8 global guardrail of 5,000/s over five tenants",
        check: guardrail,
    },
    Promise {
        name: "R9 one operator at three times its limit, another at 0.8 of its own",
        check: operators,
    },
];

pub fn rules() -> Vec<Value> {
    let rule = |path: &str, limit: Value| json!({"match": {"path": path}, "limits": [limit], "on_failure": "deny"});
    let text = |tokens: u64| format!("{tokens}/s");
    vec![
        rule(TIERS, json!({"dimension": "tenant", "tiers": true})),
        rule(
            GUARDED,
            json!({"dimension": "global", "limit": text(GUARDRAIL), "burst": "none"}),
        ),
        rule(
            OPERATORS,
            json!({"dimension": "operator", "limit": text(OPERATOR), "burst": "none"}),
        ),
    ]
}

fn tiers(site: &Site) -> (bool, String) {
    let lasts = Duration::from_secs(5);
    let stream = |tenant: &str| {
        Stream::new(&site.addresses(), TIERS, 1_500.0, lasts).header("x-tenant-id", tenant)
    };
    let samples = load::run(&[stream(P3_TENANT), stream("large-bank")]);
    let refused = share(&samples[0], 429);
    let others = load::count(&samples[1], 429);
    let answered = samples
        .iter()
        .flatten()
        .all(|s| matches!(s.status, 200 | 429));
    let held = bound::holds(
        &Limit::without_burst(1_000, 1_000),
        &load::admitted(&samples[0]),
    );
    let undecided =
        |samples: &[Sample]| samples.len() - load::count(samples, 200) - load::count(samples, 429);
    let measured = format!(
        "P3: {:.0}/s offered, {:.1} % refused, {} undecided; default: {:.0}/s offered, {others} refused{}, {} undecided",
        rate(&samples[0], lasts),
        100.0 * refused,
        undecided(&samples[0]),
        rate(&samples[1], lasts),
        when(&samples[1], 429),
        undecided(&samples[1]),
    );
    (answered && held && refused >= 0.3 && others == 0, measured)
}

fn guardrail(site: &Site) -> (bool, String) {
    let lasts = Duration::from_secs(10);
    let tenants = ["a", "b", "c", "d", "e"];
    let streams = tenants.map(|tenant| Stream {
        connections: 16,
        ..Stream::new(&site.addresses(), GUARDED, 1_600.0, lasts).header("x-tenant-id", tenant)
    });
    let samples = load::run(&streams).concat();
    let limit = Limit::without_burst(GUARDRAIL, 1_000);
    let admitted = load::admitted(&samples);
    let used = admitted.len() as f64 / bound::allowed(&limit, nanoseconds(lasts));
    let measured = format!(
        "{:.0}/s offered, {:.0}/s admitted, least room {:.1}",
        rate(&samples, lasts),
        admitted.len() as f64 / lasts.as_secs_f64(),
        bound::least_room(&limit, &admitted).unwrap_or_default(),
    );
    (bound::holds(&limit, &admitted) && used >= 0.95, measured)
}

fn operators(site: &Site) -> (bool, String) {
    let lasts = Duration::from_secs(10);
    let stream = |operator: &str, factor: f64| {
        Stream::new(
            &site.addresses(),
            OPERATORS,
            OPERATOR as f64 * factor,
            lasts,
        )
        .header("x-operator-id", operator)
    };
    let samples = load::run(&[stream("north", 3.0), stream("south", 0.8)]);
    let limit = Limit::without_burst(OPERATOR, 1_000);
    let north = load::admitted(&samples[0]);
    let used = north.len() as f64 / bound::allowed(&limit, nanoseconds(lasts));
    let south = 1.0 - share(&samples[1], 200);
    let measured = format!(
        "{:.0}/s offered, {:.0}/s admitted; the other {:.0}/s offered, {:.2} % refused",
        rate(&samples[0], lasts),
        north.len() as f64 / lasts.as_secs_f64(),
        rate(&samples[1], lasts),
        100.0 * south,
    );
    let holds = bound::holds(&limit, &north) && used >= 0.95 && south < 0.001;
    (holds, measured)
}

/// From when to when there were answers of this status; nothing if there were none.
fn when(samples: &[Sample], status: u16) -> String {
    let mut times = samples
        .iter()
        .filter(|s| s.status == status)
        .map(|s| s.sent / 1_000_000);
    match (times.next(), times.next_back()) {
        (Some(first), Some(last)) => format!(", from {first} to {last} ms"),
        (Some(only), None) => format!(", at {only} ms"),
        (None, _) => String::new(),
    }
}

fn share(samples: &[Sample], status: u16) -> f64 {
    load::count(samples, status) as f64 / samples.len().max(1) as f64
}

fn rate(samples: &[Sample], lasts: Duration) -> f64 {
    samples.len() as f64 / lasts.as_secs_f64()
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
