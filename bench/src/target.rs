//! What was promised, beside what was measured.

use crate::report::Measured;
use crate::sample::Spread;
use crate::variant::{
    ALL_ONE, ALL_SEPARATE, BARE, BARE_NEW, BARE_UPSTREAM, LEASED, LEASED_UPSTREAM,
    LIMITER_UPSTREAM, ONE, SEPARATE,
};

/// A promise and how it stands.
pub struct Target {
    pub what: &'static str,
    pub wanted: String,
    pub measured: String,
    pub verdict: Verdict,
}

/// How a promise stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Holds,
    Missed,
    NotMeasured,
    /// Nobody promised this; it is what a promise is measured beside.
    Beside,
}

impl Verdict {
    fn of(holds: Option<bool>) -> Self {
        match holds {
            Some(true) => Self::Holds,
            Some(false) => Self::Missed,
            None => Self::NotMeasured,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Missed => "**missed**",
            Self::NotMeasured => "not measured",
            Self::Beside => "for comparison",
        }
    }
}

/// All promises about gateways.
pub fn all(measured: &Measured) -> Vec<Target> {
    let mut targets = Vec::new();
    let mut at_most = |what, got: Option<f64>, most: f64, unit: &str| {
        let digits = if unit == "×" { 2 } else { 1 };
        targets.push(Target {
            what,
            wanted: format!("≤ {most:.digits$} {unit}"),
            measured: got.map_or_else(|| "—".into(), |got| format!("{got:.digits$} {unit}")),
            verdict: Verdict::of(got.map(|got| got <= most)),
        });
    };
    let over = |name, base| measured.over(name, base).map(|spread| spread.median);
    at_most("auth, token seen before", over("auth", BARE), 4.0, "µs");
    let native = over("jwt_authn, new tokens", BARE_NEW);
    let new = over("auth, new tokens", BARE_NEW);
    at_most(
        "auth, every token new, over native",
        new.zip(native).map(|(new, native)| new / native),
        1.4,
        "×",
    );
    at_most(
        "rate_limit, leased, 6 dimensions",
        over(LEASED, BARE),
        5.0,
        "µs",
    );
    at_most(
        "fingerprint_deny, 100,000 entries",
        over("fingerprint_deny", BARE),
        3.0,
        "µs",
    );
    let (five, one) = (over(SEPARATE, BARE), over(ONE, BARE));
    at_most("five filters, separate VMs", five, 20.0, "µs");
    at_most("five concerns, one VM", one, 10.0, "µs");
    at_most(
        "one VM, as a share of separate VMs",
        one.zip(five).map(|(one, five)| one / five),
        0.5,
        "×",
    );
    at_most(
        "memory of the chain in one VM over an empty filter, per worker",
        (!measured.per_worker.is_empty())
            .then(|| Spread::of(measured.per_worker.clone()).median / 1024.0),
        8.0,
        "MiB",
    );
    at_most(
        "FR-303: p99 of the whole chain, six VMs, over none, one connection",
        measured.p99_over(ALL_SEPARATE),
        5.0,
        "ms",
    );
    at_most(
        "FR-303: p99 of the whole chain, one VM, over none, one connection",
        measured.p99_over(ALL_ONE),
        5.0,
        "ms",
    );
    let share = |name| measured.throughput_share(name, BARE_UPSTREAM);
    let times =
        |share: Option<f64>| share.map_or_else(|| "—".into(), |share| format!("{share:.2} ×"));
    let ours = share(LEASED_UPSTREAM);
    targets.push(Target {
        what: "rate_limit with an upstream, throughput of none",
        wanted: "≥ 0.9 ×".into(),
        measured: times(ours),
        verdict: Verdict::of(ours.map(|share| share >= 0.9)),
    });
    let external = share(LIMITER_UPSTREAM);
    if external.is_some() {
        targets.push(Target {
            what: "Envoy's ratelimit and a gRPC limiter with an upstream, throughput of none",
            wanted: "—".into(),
            measured: times(external),
            verdict: Verdict::Beside,
        });
    }
    targets
}
