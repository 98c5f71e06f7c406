//! The rows of the table: a limit, what is offered, what came of it.

use std::net::SocketAddr;
use std::time::Duration;

use limits_test::bound;
use limits_test::gateway::Counted;
use limits_test::load::{self, Sample, Stream};
use serde_json::{Value, json};
use wire::limits::Limit;

/// Most that one client on this machine can hope to offer, requests a second.
const MOST: f64 = 16_000.0;
/// Limits of so many requests a second and more must hardly ever make a request wait (R17).
const HARDLY_WAITS_FROM: u64 = 1_000;

/// How much is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// Ten times the limit, as far as the machine can offer it.
    TenTimes,
    /// Nine tenths.
    Below,
}

/// A limit and what is offered.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    tokens: u64,
    unit: &'static str,
    burst: bool,
    offer: Offer,
    lasts: Duration,
}

/// Limits per second.
pub fn fast() -> Vec<Row> {
    let mut rows = Vec::new();
    for tokens in [50, 1_000, 5_000] {
        for (burst, offer, seconds) in [
            // Twice the rate for ten seconds, then once.
            (true, Offer::TenTimes, 25),
            (true, Offer::Below, 12),
            (false, Offer::TenTimes, 12),
            (false, Offer::Below, 12),
        ] {
            rows.push(Row {
                tokens,
                unit: "s",
                burst,
                offer,
                lasts: Duration::from_secs(seconds),
            });
        }
    }
    rows
}

/// Limits per minute.
pub fn slow() -> Vec<Row> {
    [Offer::TenTimes, Offer::Below]
        .map(|offer| Row {
            tokens: 5,
            unit: "min",
            burst: false,
            offer,
            lasts: Duration::from_secs(190),
        })
        .to_vec()
}

impl Row {
    pub fn name(&self) -> String {
        format!("{} {} {}", self.text(), self.burst(), self.offer())
    }

    pub const fn lasts(&self) -> Duration {
        self.lasts
    }

    /// The rule of the limit. Each has a count of its own.
    pub fn rule(&self) -> Value {
        let mut limit = json!({"dimension": "tenant", "limit": self.text(), "scope": self.scope()});
        if self.unit == "s" {
            limit["burst"] = json!(if self.burst { "default" } else { "none" });
        }
        json!({
            "match": {"path": self.path()},
            "limits": [limit],
            // What cannot be decided must not count as admitted.
            "on_failure": "deny",
        })
    }

    pub fn stream(&self, to: &[SocketAddr]) -> Stream {
        let per_second = self.tokens as f64 * 1_000.0 / self.period_ms() as f64;
        let offered = match self.offer {
            Offer::TenTimes => (10.0 * per_second).min(MOST),
            Offer::Below => 0.9 * per_second,
        };
        let connections = if offered < 10.0 { 8 } else { 64 };
        let who = match self.offer {
            Offer::TenTimes => "greedy",
            Offer::Below => "modest",
        };
        Stream {
            connections,
            ..Stream::new(to, &self.path(), offered, self.lasts).header("x-tenant-id", who)
        }
    }

    fn limit(&self) -> Limit {
        let period_ms = self.period_ms();
        match (self.unit, self.burst) {
            ("s", false) => Limit::without_burst(self.tokens, period_ms),
            _ => Limit::usual(self.tokens, period_ms),
        }
    }

    fn period_ms(&self) -> u64 {
        if self.unit == "s" { 1_000 } else { 60_000 }
    }

    fn text(&self) -> String {
        format!("{}/{}", self.tokens, self.unit)
    }

    fn burst(&self) -> &'static str {
        match (self.unit, self.burst) {
            ("s", true) => "default",
            ("s", false) => "none",
            _ => "count",
        }
    }

    const fn offer(&self) -> &'static str {
        match self.offer {
            Offer::TenTimes => "10×",
            Offer::Below => "0.9×",
        }
    }

    fn scope(&self) -> String {
        format!("{}-{}-{}", self.tokens, self.unit, self.burst())
    }

    fn path(&self) -> String {
        format!("/{}", self.scope())
    }
}

/// What came of a row.
#[derive(Clone, Debug)]
pub struct Outcome {
    row: Row,
    offered: usize,
    admitted: usize,
    refused: usize,
    /// Of what a fresh key may admit in that time, leases left out.
    used: f64,
    room: Option<f64>,
    bound_holds: bool,
    waited: Option<f64>,
    slowest: Duration,
}

impl Outcome {
    pub fn new(row: &Row, samples: &[Sample], counted: Option<Counted>) -> Self {
        let limit = row.limit();
        let admitted = load::admitted(samples);
        let span = samples.iter().map(|s| s.received).max().unwrap_or(0);
        Self {
            row: *row,
            offered: samples.len(),
            admitted: admitted.len(),
            refused: load::count(samples, 429),
            used: admitted.len() as f64 / bound::allowed(&limit, span),
            room: bound::least_room(&limit, &admitted),
            bound_holds: bound::holds(&limit, &admitted),
            waited: counted.map(|c| c.waited as f64 / samples.len().max(1) as f64),
            slowest: load::slowest_but_one_percent(samples),
        }
    }

    fn undecided(&self) -> usize {
        self.offered - self.admitted - self.refused
    }

    /// What of the promise was broken.
    fn broken(&self) -> Vec<&'static str> {
        let offered = self.offered.max(1) as f64;
        let mut broken = Vec::new();
        let mut must = |holds: bool, what| {
            if !holds {
                broken.push(what);
            }
        };
        must(self.bound_holds, "above the bound");
        match self.row.offer {
            // Undecided requests count as not admitted; on a machine that is offered more than it can
            // serve there may be some.
            Offer::TenTimes => must(self.used >= 0.95, "used < 95 %"),
            Offer::Below => must(
                (self.offered - self.admitted) as f64 / offered < 0.001,
                "refused or undecided ≥ 0.1 %",
            ),
        }
        if self.row.unit == "s" && self.row.tokens >= HARDLY_WAITS_FROM {
            must(self.waited.is_none_or(|w| w <= 0.05), "waited > 5 %");
        }
        broken
    }

    pub fn holds(&self) -> bool {
        self.broken().is_empty()
    }

    pub fn cells(&self) -> [String; 12] {
        let offered = self.offered.max(1) as f64;
        let broken = self.broken();
        [
            self.row.text(),
            self.row.burst().to_owned(),
            self.row.offer().to_owned(),
            format!("{:.1}", offered / self.row.lasts.as_secs_f64()),
            self.admitted.to_string(),
            format!("{:.1} %", 100.0 * self.used),
            format!("{:.2} %", 100.0 * self.refused as f64 / offered),
            self.undecided().to_string(),
            self.room
                .map_or_else(String::new, |room| format!("{room:.1}")),
            self.waited
                .map_or_else(|| "–".to_owned(), |w| format!("{:.2} %", 100.0 * w)),
            format!("{:.1} ms", self.slowest.as_secs_f64() * 1e3),
            if broken.is_empty() {
                mark(true)
            } else {
                broken.join(", ")
            },
        ]
    }
}

/// How a promise that holds looks, and one that does not.
pub fn mark(holds: bool) -> String {
    if holds { "holds" } else { "BROKEN" }.to_owned()
}
