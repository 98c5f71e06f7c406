//! Load with a line a second.

use std::sync::Arc;
use std::time::{Duration, Instant};

use limits_test::gateway::Gateway;
use limits_test::load::{self, Counts, Sample, Stream, Tally};

const SECOND: Duration = Duration::from_secs(1);
/// Connections are opened before the first request is due.
const AHEAD: Duration = Duration::from_millis(300);

/// What came of the load.
pub struct Watched {
    pub start: Instant,
    /// In the order of the streams.
    pub samples: Vec<Vec<Sample>>,
}

impl Watched {
    /// The samples of a stream sent and answered between these times.
    pub fn between(&self, stream: usize, from: Instant, to: Instant) -> Vec<Sample> {
        let at = |time: Instant| {
            let since = time.saturating_duration_since(self.start);
            u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
        };
        let (from, to) = (at(from), at(to));
        let inside = |sample: &&Sample| sample.sent >= from && sample.received <= to;
        self.samples[stream]
            .iter()
            .filter(inside)
            .cloned()
            .collect()
    }

    /// So many seconds after the beginning.
    pub fn after(&self, seconds: f64) -> Instant {
        self.start + Duration::from_secs_f64(seconds)
    }
}

/// Runs the streams and prints what becomes of them. At the beginning of each second, `at` may do
/// something and say what.
pub fn watch(
    gateway: &Gateway,
    streams: Vec<Stream>,
    mut at: impl FnMut(u64) -> Option<&'static str>,
) -> Result<Watched, String> {
    let lasts = streams.iter().map(|s| s.lasts).max().unwrap_or_default();
    let tallies: Vec<Arc<Tally>> = streams.iter().map(|s| Arc::clone(&s.tally)).collect();
    let mut counted = gateway.counted()?;
    let start = Instant::now() + AHEAD;
    let load = std::thread::spawn(move || load::run_from(start, &streams));
    println!("   second  offered  admitted  refused  undecided  waited");
    let mut before = vec![Counts::default(); tallies.len()];
    for second in 0..lasts.as_secs() {
        wait_until(start + SECOND * u32::try_from(second).unwrap());
        if let Some(done) = at(second) {
            println!("   — {done}");
        }
        wait_until(start + SECOND * u32::try_from(second + 1).unwrap());
        let mut sum = Counts::default();
        for (tally, before) in tallies.iter().zip(&mut before) {
            let now = tally.counts();
            let new = now.since(*before);
            *before = now;
            sum.admitted += new.admitted;
            sum.refused += new.refused;
            sum.other += new.other;
        }
        let now = gateway.counted()?;
        println!(
            "   {:>6}  {:>7}  {:>8}  {:>7}  {:>9}  {:>6}",
            second + 1,
            sum.offered(),
            sum.admitted,
            sum.refused,
            sum.other,
            now.since(counted).waited,
        );
        counted = now;
    }
    let samples = load.join().map_err(|_| "the load failed")?;
    Ok(Watched { start, samples })
}

fn wait_until(time: Instant) {
    std::thread::sleep(time.saturating_duration_since(Instant::now()));
}
