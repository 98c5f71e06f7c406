//! Metrics and log lines on their way to the gateway.

use std::time::Duration;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use policy::effects::Outcome;
use policy::metric::exported_name;
use policy::series::exported_wait;
use policy::{Kind, Level, Metric, Sample, Series};

use crate::abi::{self, MetricType};
use crate::gateway::Gateway;

/// More series than this of one filter are not defined. Policies bound their labels; this bounds
/// their mistakes.
const MAX_SERIES: usize = 4_096;

/// The metrics of one configuration, defined with it where that is possible, else at their first use: see
/// [`Series`].
pub struct Meters<M> {
    own: HashMap<M, u32, foldhash::fast::FixedState>,
    sums: HashMap<M, Part, foldhash::fast::FixedState>,
    outcomes: HashMap<(&'static str, Outcome), u32, foldhash::fast::FixedState>,
    /// Histograms of how long requests waited.
    waits: Vec<(&'static str, u32)>,
}

impl<M: Metric> Meters<M> {
    pub fn new() -> Self {
        Self {
            own: HashMap::default(),
            sums: HashMap::default(),
            outcomes: HashMap::default(),
            waits: Vec::new(),
        }
    }

    /// Defines what is known from the start.
    pub fn define(&mut self, series: Series<M>) {
        for (filter, outcome) in series.outcomes {
            let _ = self.id_of_outcome(filter, outcome);
        }
        for filter in series.waits {
            if let Ok(id) = abi::define_metric(MetricType::Histogram, &exported_wait(filter)) {
                self.waits.push((filter, id));
            }
        }
        for metric in series.metrics {
            match metric.kind() {
                Kind::Counter => drop(self.id_of(metric, MetricType::Counter)),
                Kind::Sum if M::SUMS => drop(self.part(metric)),
                Kind::Gauge | Kind::Sum => drop(self.id_of(metric, MetricType::Gauge)),
            }
        }
    }

    pub fn outcome(&mut self, filter: &'static str, outcome: Outcome) {
        if let Some(id) = self.id_of_outcome(filter, outcome) {
            let _ = abi::increment_metric(id, 1);
        }
    }

    /// A request has waited for a service.
    pub fn waited(&mut self, filter: &'static str, time: Duration) {
        let own = self.waits.iter().find(|(name, _)| *name == filter);
        if let Some((_, id)) = own {
            let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            let _ = abi::record_metric(*id, millis);
        }
    }

    fn id_of_outcome(&mut self, filter: &'static str, outcome: Outcome) -> Option<u32> {
        if let Some(id) = self.outcomes.get(&(filter, outcome)) {
            return Some(*id);
        }
        let name = outcome.exported_name(filter);
        let id = abi::define_metric(MetricType::Counter, &name).ok()?;
        self.outcomes.insert((filter, outcome), id);
        Some(id)
    }

    /// Moves a metric. `gateway` is known once there was a request.
    pub fn sample(&mut self, sample: Sample<M>, gateway: Option<Gateway>) {
        // Kong traps on anything else than an increment above zero or a recorded gauge.
        match sample.metric.kind() {
            Kind::Counter => {
                if let Ok(by) = i64::try_from(sample.value)
                    && by > 0
                    && let Some(id) = self.id_of(sample.metric, MetricType::Counter)
                {
                    let _ = abi::increment_metric(id, by);
                }
            }
            Kind::Sum if M::SUMS => self.add_up(sample, gateway),
            Kind::Gauge | Kind::Sum => {
                if let Some(id) = self.id_of(sample.metric, MetricType::Gauge) {
                    let _ = abi::record_metric(id, sample.value);
                }
            }
        }
    }

    /// Sets this worker's part of a sum.
    fn add_up(&mut self, sample: Sample<M>, gateway: Option<Gateway>) {
        if let Some(part) = self.part(sample.metric) {
            part.wanted = sample.value;
            part.settle(gateway);
        }
    }

    fn part(&mut self, metric: M) -> Option<&mut Part> {
        let room = self.sums.len() < MAX_SERIES;
        match self.sums.entry(metric) {
            Entry::Occupied(entry) => Some(entry.into_mut()),
            Entry::Vacant(entry) if room => {
                let part = Part::new(&exported(entry.key()))?;
                Some(entry.insert(part))
            }
            Entry::Vacant(_) => None,
        }
    }

    /// Shows sums again: where a gauge shows what was recorded last, that of another worker may be old.
    pub fn show_sums(&mut self, gateway: Option<Gateway>) {
        if !M::SUMS {
            return;
        }
        for part in self.sums.values_mut() {
            part.settle(gateway);
        }
    }

    /// Takes this worker's parts out of all sums.
    pub fn take_back(&mut self, gateway: Option<Gateway>) {
        if !M::SUMS {
            return;
        }
        for part in self.sums.values_mut() {
            part.wanted = 0;
            part.settle(gateway);
        }
    }

    fn id_of(&mut self, metric: M, kind: MetricType) -> Option<u32> {
        if let Some(id) = self.own.get(&metric) {
            return Some(*id);
        }
        if self.own.len() >= MAX_SERIES {
            return None;
        }
        let id = abi::define_metric(kind, &exported(&metric)).ok()?;
        self.own.insert(metric, id);
        Some(id)
    }
}

fn exported<M: Metric>(metric: &M) -> String {
    exported_name(metric.name(), &metric.labels())
}

/// What this worker adds to a sum.
struct Part {
    name: String,
    gauge: u32,
    /// Where gauges cannot be moved by a difference: counters of what was ever added and taken away,
    /// which such a gateway adds up over its workers.
    counters: Option<(u32, u32)>,
    added: u64,
    wanted: u64,
}

impl Part {
    fn new(name: &str) -> Option<Self> {
        Some(Self {
            name: name.to_owned(),
            gauge: abi::define_metric(MetricType::Gauge, name).ok()?,
            counters: None,
            added: 0,
            wanted: 0,
        })
    }

    /// Makes the sum hold what is wanted of this worker.
    fn settle(&mut self, gateway: Option<Gateway>) {
        let Some(gateway) = gateway else { return };
        let up = self.wanted.saturating_sub(self.added);
        let down = self.added.saturating_sub(self.wanted);
        self.added = self.wanted;
        let (up, down) = (
            i64::try_from(up).unwrap_or_default(),
            i64::try_from(down).unwrap_or_default(),
        );
        if gateway.moves_gauges() {
            if up > 0 || down > 0 {
                let _ = abi::increment_metric(self.gauge, up.saturating_sub(down));
            }
            return;
        }
        let Some((added, taken)) = self.counters() else {
            return;
        };
        if up > 0 {
            let _ = abi::increment_metric(added, up);
        }
        if down > 0 {
            let _ = abi::increment_metric(taken, down);
        }
        // What was taken away is read first: what is added meanwhile makes no sum negative.
        if let (Ok(taken), Ok(added)) = (abi::metric(taken), abi::metric(added)) {
            let _ = abi::record_metric(self.gauge, added.saturating_sub(taken));
        }
    }

    fn counters(&mut self) -> Option<(u32, u32)> {
        if self.counters.is_none() {
            let define = |suffix: &str| {
                abi::define_metric(MetricType::Counter, &format!("{}_{suffix}", self.name)).ok()
            };
            self.counters = define("added").zip(define("taken"));
        }
        self.counters
    }
}

/// The ABI's number for a level.
pub const fn abi_level(level: Level) -> u32 {
    match level {
        Level::Debug => 1,
        Level::Info => 2,
        Level::Warn => 3,
        Level::Error => 4,
    }
}

pub fn log(level: Level, line: &str) {
    abi::log(abi_level(level), line);
}
