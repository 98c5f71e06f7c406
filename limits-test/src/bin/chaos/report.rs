//! One fault: steady load on every class before, while and after it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use limits_test::bound;
use limits_test::load::{self, Sample, Stream};

use crate::classes::{Class, LOCAL_SHARE, RATE};
use crate::faults::Fault;
use crate::site::{Site, workers};

/// Offered per class and method, well below the limit.
const OFFERED: f64 = 40.0;
const METHODS: [&str; 2] = ["GET", "POST"];
/// Until the fault strikes.
const BEFORE: Duration = Duration::from_secs(1);
/// Everything must be as before within so long of the mending.
const RECOVERY: Duration = Duration::from_secs(8);
/// The filter waits 60 ms for redis-proxy, which gives Redis 50; the rest is for a machine with two cores
/// on which a dozen processes run.
const BUDGET: Duration = Duration::from_millis(60 + 140);

/// What was seen.
pub struct Report {
    name: &'static str,
    cells: Vec<Cell>,
    slowest: Duration,
    unanswered: usize,
    /// From the mending until the last answer that was not as before; `None` if that never came.
    recovered: Option<Duration>,
    afterwards: Vec<String>,
    inside: Result<(), String>,
}

/// One class and method.
struct Cell {
    class: Class,
    method: &'static str,
    /// Before the fault.
    steady: Answers,
    /// While it lasted and everything had noticed.
    blind: Answers,
    blind_for: Duration,
    blinds: bool,
}

/// How often which status and code.
#[derive(Default)]
struct Answers(BTreeMap<(u16, String), usize>);

impl Answers {
    fn of<'a>(samples: impl Iterator<Item = &'a Sample>) -> Self {
        let mut answers = BTreeMap::new();
        for sample in samples {
            let code = sample.code.as_deref().unwrap_or_default().to_owned();
            *answers.entry((sample.status, code)).or_default() += 1;
        }
        Self(answers)
    }

    fn count(&self, status: u16, code: &str) -> usize {
        let found = self.0.get(&(status, code.to_owned()));
        found.copied().unwrap_or_default()
    }

    fn total(&self) -> usize {
        self.0.values().sum()
    }

    fn are_all(&self, status: u16, code: &str) -> bool {
        self.total() > 0 && self.count(status, code) == self.total()
    }

    /// Kinds of answers, most frequent first, with their share if there are several.
    fn text(&self) -> String {
        let mut kinds: Vec<_> = self.0.iter().collect();
        kinds.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let text = |((status, code), count): (&(u16, String), &usize)| {
            let share = if self.0.len() > 1 {
                format!("{:.0} % ", 100.0 * *count as f64 / self.total() as f64)
            } else {
                String::new()
            };
            format!("{share}{status} {code}").trim().to_owned()
        };
        kinds.into_iter().map(text).collect::<Vec<_>>().join(", ")
    }
}

impl Cell {
    /// What is not as promised.
    fn problem(&self) -> Option<String> {
        let expected = if !self.blinds {
            self.blind.are_all(200, "")
        } else {
            match (self.class, self.method) {
                (Class::Deny, _) | (Class::Unset, "POST") => {
                    self.blind.are_all(503, "limiter_unavailable")
                }
                (Class::Local, _) => self.is_local_share(),
                _ => self.blind.are_all(200, ""),
            }
        };
        let what = if !self.steady.are_all(200, "") {
            format!("before the fault: {}", self.steady.text())
        } else if !expected {
            format!("meanwhile: {}", self.blind.text())
        } else {
            return None;
        };
        Some(format!("{} {}: {what}", self.method, self.class.word()))
    }

    /// Whether some pass, no more than the workers' shares, and the others are told to slow down.
    fn is_local_share(&self) -> bool {
        let passed = self.blind.count(200, "") as f64;
        let share = (RATE * LOCAL_SHARE) as f64 / 100.0;
        let seconds = self.blind_for.as_secs_f64();
        // One worker may have all connections; each may begin and end with a token.
        let least = share * seconds * 0.8 - 2.0;
        let most = f64::from(workers()) * (share * seconds + 2.0);
        let others = self.blind.count(429, "rate_limited");
        (least..=most).contains(&passed) && passed as usize + others == self.blind.total()
    }
}

impl Report {
    pub fn of(fault: &Fault, site: &mut dyn Site) -> Result<Self, String> {
        let pairs: Vec<(Class, &'static str)> = Class::PROBED
            .into_iter()
            .flat_map(|class| METHODS.map(|method| (class, method)))
            .collect();
        let to = [site.gateway().address()];
        let lasts = BEFORE + fault.lasts + RECOVERY;
        let streams: Vec<Stream> = pairs
            .iter()
            .map(|&(class, method)| Stream {
                method,
                connections: 4,
                codes: true,
                ..Stream::new(&to, &class.path(), OFFERED, lasts)
                    .header("x-tenant-id", &site.tenant(class))
            })
            .collect();

        let start = Instant::now() + Duration::from_millis(300);
        let load = std::thread::spawn(move || load::run_from(start, &streams));
        let wait_until = |time: Instant| {
            std::thread::sleep(time.saturating_duration_since(Instant::now()));
        };
        wait_until(start + BEFORE);
        let struck = Instant::now();
        (fault.strike)(site);
        let effective = Instant::now();
        wait_until(effective + fault.lasts);
        let over = Instant::now();
        (fault.mend)(site);
        let mended = Instant::now();
        let samples = load.join().map_err(|_| "the load failed")?;

        let at = |time: Instant| nanoseconds(time.saturating_duration_since(start));
        let between = |from: Instant, to: Instant| {
            let (from, to) = (at(from), at(to));
            move |s: &&Sample| s.sent >= from && s.received <= to
        };
        let noticed = effective + fault.noticed;
        let cells = pairs
            .iter()
            .zip(&samples)
            .map(|(&(class, method), samples)| Cell {
                class,
                method,
                steady: Answers::of(samples.iter().filter(between(start, struck))),
                blind: Answers::of(samples.iter().filter(between(noticed, over))),
                blind_for: over.saturating_duration_since(noticed),
                blinds: fault.blinds,
            })
            .collect();
        let all = || samples.iter().flatten();
        let odd = all().filter(|s| s.status != 200).map(|s| s.received).max();
        let last = all().map(|s| s.sent).max().unwrap_or_default();
        // The last second must be as before, else it never was.
        let recovered = match odd {
            Some(odd) if odd + 1_000_000_000 > last => None,
            Some(odd) => Some(Duration::from_nanos(odd.saturating_sub(at(mended)))),
            None => Some(Duration::ZERO),
        };
        let unanswered = all().filter(|s| s.status == 0).count();
        let slowest = samples.iter().map(|s| load::slowest(s)).max();
        Ok(Self {
            name: fault.name,
            cells,
            slowest: slowest.unwrap_or_default(),
            unanswered,
            recovered,
            afterwards: afterwards(site),
            inside: site.gateway().check(),
        })
    }

    pub fn broken(&self, name: &str) -> Vec<String> {
        let mut broken: Vec<String> = self.cells.iter().filter_map(Cell::problem).collect();
        if self.slowest > BUDGET {
            broken.push(format!("an answer took {:?}", self.slowest));
        }
        if self.unanswered > 0 {
            broken.push(format!("{} requests got no answer", self.unanswered));
        }
        if self.recovered.is_none() {
            broken.push(format!("not as before {RECOVERY:?} after it was mended"));
        }
        broken.extend(
            self.afterwards
                .iter()
                .map(|what| format!("afterwards: {what}")),
        );
        if let Err(what) = &self.inside {
            broken.push(format!("inside: {what}"));
        }
        broken
            .iter()
            .map(|what| format!("{name}: {what}"))
            .collect()
    }

    pub fn cells(&self) -> [String; 9] {
        let answers = |class: Class, method: &str| {
            let cell = self
                .cells
                .iter()
                .find(|c| (c.class, c.method) == (class, method));
            cell.map(|cell| cell.blind.text()).unwrap_or_default()
        };
        let both = |class| {
            let [get, post] = METHODS.map(|method| answers(class, method));
            if get == post {
                get
            } else {
                format!("GET {get}; POST {post}")
            }
        };
        [
            self.name.to_owned(),
            both(Class::Deny),
            both(Class::Allow),
            both(Class::Local),
            answers(Class::Unset, "GET"),
            answers(Class::Unset, "POST"),
            format!("{:.0} ms", self.slowest.as_secs_f64() * 1e3),
            self.recovered.map_or_else(
                || "never".to_owned(),
                |time| format!("{:.1} s", time.as_secs_f64()),
            ),
            if self.afterwards.is_empty() {
                "hold"
            } else {
                "BROKEN"
            }
            .to_owned(),
        ]
    }
}

/// Whether limits hold: three times one of a rate, twice a count.
fn afterwards(site: &mut dyn Site) -> Vec<String> {
    let to = [site.gateway().address()];
    let lasts = Duration::from_secs(3);
    let mut stream = |class: Class, per_second: f64| {
        Stream::new(&to, &class.path(), per_second, lasts)
            .header("x-tenant-id", &site.tenant(class))
    };
    let streams = [
        stream(Class::Deny, 3.0 * RATE as f64),
        stream(Class::Login, 4.0),
    ];
    let samples = load::run(&streams);
    let mut broken = Vec::new();
    let rate = load::admitted(&samples[0]);
    let limit = Class::Deny.limit();
    if !bound::holds(&limit, &rate) {
        broken.push(format!(
            "above the bound of {RATE}/s by {:.1}",
            -bound::least_room(&limit, &rate).unwrap_or_default()
        ));
    }
    let allowed = bound::allowed(&limit, nanoseconds(lasts));
    if (rate.len() as f64) < 0.9 * allowed {
        broken.push(format!("only {} of {allowed:.0} passed", rate.len()));
    }
    let logins = load::count(&samples[1], 200);
    if logins != 5 {
        broken.push(format!("{logins} passed of 5/min"));
    }
    broken
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
