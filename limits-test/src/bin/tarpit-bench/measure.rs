//! How other clients fare, and what Envoy spends.

use std::time::{Duration, Instant};

use limits_test::load::{self, Stream};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::site::Site;

/// Other clients' requests.
const PER_SECOND: f64 = 400.0;
const LASTS: Duration = Duration::from_secs(8);
/// Nobody asks for so long before that.
const IDLE: Duration = Duration::from_secs(3);
/// Linux counts a process's CPU in these.
const TICKS_PER_SECOND: f64 = 100.0;

/// One phase.
pub struct Phase {
    /// Of requests that passed, sorted.
    pub times: Vec<Duration>,
    pub failed: usize,
    busy: Duration,
    idle: Duration,
    idled: Duration,
}

impl Phase {
    /// Measures as things are.
    pub fn measure(site: &Site) -> Self {
        let (began, before) = (Instant::now(), cpu(site.pid()));
        std::thread::sleep(IDLE);
        let (idled, between) = (began.elapsed(), cpu(site.pid()));
        let stream = Stream::new(&[site.address()], "/", PER_SECOND, LASTS);
        let samples = load::run(&[stream]).remove(0);
        let after = cpu(site.pid());
        let failed = samples.len() - load::count(&samples, 200);
        let mut times: Vec<Duration> = samples
            .iter()
            .filter(|sample| sample.status == 200)
            .map(load::Sample::took)
            .collect();
        times.sort_unstable();
        Self {
            times,
            failed,
            busy: after - between,
            idle: between - before,
            idled,
        }
    }

    /// All phases as one.
    pub fn sum(phases: &[Self]) -> Self {
        let mut times: Vec<Duration> = phases.iter().flat_map(|p| p.times.clone()).collect();
        times.sort_unstable();
        Self {
            times,
            failed: phases.iter().map(|p| p.failed).sum(),
            busy: phases.iter().map(|p| p.busy).sum(),
            idle: phases.iter().map(|p| p.idle).sum(),
            idled: phases.iter().map(|p| p.idled).sum(),
        }
    }

    pub fn cpu_micros_per_request(&self) -> f64 {
        self.busy.as_secs_f64() * 1e6 / self.times.len().max(1) as f64
    }

    pub fn idle_percent(&self) -> f64 {
        100.0 * self.idle.as_secs_f64() / self.idled.as_secs_f64()
    }
}

/// What so many of 1,000 did not exceed.
pub fn percentile(sorted: &[Duration], permille: usize) -> Duration {
    let rank = (sorted.len() * permille).div_ceil(1_000).saturating_sub(1);
    sorted.get(rank).copied().unwrap_or_default()
}

/// What a process has spent, in user and kernel mode.
fn cpu(pid: u32) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, after_name) = text.rsplit_once(") ").unwrap();
    let fields: Vec<&str> = after_name.split(' ').collect();
    let ticks = |index: usize| fields[index].parse::<f64>().unwrap();
    Duration::from_secs_f64((ticks(11) + ticks(12)) / TICKS_PER_SECOND)
}

/// The memory of a process, bytes.
pub fn resident(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kib * 1_024
}

/// Lets this process, and those it starts, have so many open files.
pub fn raise_descriptors(wanted: u64) {
    let limits = getrlimit(Resource::Nofile);
    let most = limits.maximum.unwrap_or(u64::MAX);
    let raised = Rlimit {
        current: Some(most.min(wanted.max(limits.current.unwrap_or(0)))),
        maximum: limits.maximum,
    };
    setrlimit(Resource::Nofile, raised).unwrap();
    assert!(
        most >= wanted,
        "this needs {wanted} open files, and the system allows {most}: raise `ulimit -Hn`"
    );
}
