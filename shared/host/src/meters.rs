//! Metrics and log lines on their way to the gateway.

use hashbrown::HashMap;
use policy::effects::Outcome;
use policy::metric::exported_name;
use policy::{Kind, Level, Metric, Sample};

use crate::abi::{self, MetricType};

/// More series than this of one filter are not defined. Policies bound their labels; this bounds
/// their mistakes.
const MAX_SERIES: usize = 4_096;

/// The metrics of one configuration, each defined at its first use.
pub struct Meters<M> {
    own: HashMap<M, u32, foldhash::fast::FixedState>,
    outcomes: HashMap<Outcome, u32, foldhash::fast::FixedState>,
}

impl<M: Metric> Meters<M> {
    pub fn new() -> Self {
        Self {
            own: HashMap::default(),
            outcomes: HashMap::default(),
        }
    }

    pub fn outcome(&mut self, filter: &'static str, outcome: Outcome) {
        let id = if let Some(id) = self.outcomes.get(&outcome) {
            *id
        } else {
            let name = outcome.exported_name(filter);
            let Ok(id) = abi::define_metric(MetricType::Counter, &name) else {
                return;
            };
            self.outcomes.insert(outcome, id);
            id
        };
        let _ = abi::increment_metric(id, 1);
    }

    pub fn sample(&mut self, sample: Sample<M>) {
        let kind = sample.metric.kind();
        let id = if let Some(id) = self.own.get(&sample.metric) {
            *id
        } else {
            if self.own.len() >= MAX_SERIES {
                return;
            }
            let name = exported_name(sample.metric.name(), &sample.metric.labels());
            let kind = match kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
            };
            let Ok(id) = abi::define_metric(kind, &name) else {
                return;
            };
            self.own.insert(sample.metric, id);
            id
        };
        // Kong traps on anything else than an increment above zero or a recorded gauge.
        match kind {
            Kind::Counter => {
                if let Ok(by) = i64::try_from(sample.value)
                    && by > 0
                {
                    let _ = abi::increment_metric(id, by);
                }
            }
            Kind::Gauge => {
                let _ = abi::record_metric(id, sample.value);
            }
        }
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
