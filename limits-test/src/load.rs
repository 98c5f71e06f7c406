//! An open-loop load client: requests leave when they are due, whether or not others were answered.
//!
//! Each stream has so many connections, each with at most one request under way. A connection that is
//! more than one turn late lets the missed turns go: what is offered is even and never above
//! the rate, and what the machine could not offer is missing in the count.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

use crate::bound::Admitted;

/// No response takes longer; what does counts as none.
const PATIENCE: Duration = Duration::from_secs(5);
/// Connections are opened before the first request is due.
const AHEAD: Duration = Duration::from_millis(300);

/// What came of requests so far, for somebody who watches meanwhile.
#[derive(Debug, Default)]
pub struct Tally {
    admitted: AtomicU64,
    refused: AtomicU64,
    other: AtomicU64,
}

/// A [`Tally`] at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// 200.
    pub admitted: u64,
    /// 429.
    pub refused: u64,
    /// Anything else, also no answer.
    pub other: u64,
}

impl Tally {
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            admitted: self.admitted.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            other: self.other.load(Ordering::Relaxed),
        }
    }

    fn add(&self, status: u16) {
        let count = match status {
            200 => &self.admitted,
            429 => &self.refused,
            _ => &self.other,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

impl Counts {
    #[must_use]
    pub const fn offered(self) -> u64 {
        self.admitted + self.refused + self.other
    }

    #[must_use]
    pub const fn since(self, before: Self) -> Self {
        Self {
            admitted: self.admitted - before.admitted,
            refused: self.refused - before.refused,
            other: self.other - before.other,
        }
    }
}

/// Requests of one kind at an even pace.
#[derive(Clone, Debug)]
pub struct Stream {
    /// Connections go to these by turns.
    pub to: Vec<SocketAddr>,
    pub method: &'static str,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub per_second: f64,
    pub connections: u32,
    /// Begins so long after the others.
    pub after: Duration,
    pub lasts: Duration,
    /// Whether the `code` of refusals is of interest.
    pub codes: bool,
    /// Told of every answer as it comes.
    pub tally: Arc<Tally>,
}

impl Stream {
    #[must_use]
    pub fn new(to: &[SocketAddr], path: &str, per_second: f64, lasts: Duration) -> Self {
        Self {
            to: to.to_vec(),
            method: "GET",
            path: path.to_owned(),
            headers: Vec::new(),
            per_second,
            connections: 32,
            after: Duration::ZERO,
            lasts,
            codes: false,
            tally: Arc::default(),
        }
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut text = format!(
            "{} {} HTTP/1.1\r\nhost: limits.test\r\n",
            self.method, self.path
        );
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if self.method != "GET" {
            text.push_str("content-length: 0\r\n");
        }
        text.push_str("\r\n");
        text.into_bytes()
    }
}

/// One request and what came of it; nanoseconds since the beginning of the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    pub sent: u64,
    pub received: u64,
    /// 0 if there was no response.
    pub status: u16,
    pub code: Option<Box<str>>,
}

impl Sample {
    #[must_use]
    pub const fn took(&self) -> Duration {
        Duration::from_nanos(self.received.saturating_sub(self.sent))
    }
}

/// The samples with this status, for [`bound`](crate::bound).
#[must_use]
pub fn admitted(samples: &[Sample]) -> Vec<Admitted> {
    samples
        .iter()
        .filter(|sample| sample.status == 200)
        .map(|sample| Admitted {
            sent: sample.sent,
            received: sample.received,
        })
        .collect()
}

/// How many samples have this status.
#[must_use]
pub fn count(samples: &[Sample], status: u16) -> usize {
    samples.iter().filter(|s| s.status == status).count()
}

/// What 99 of 100 samples did not exceed.
#[must_use]
pub fn slowest_but_one_percent(samples: &[Sample]) -> Duration {
    let mut times: Vec<Duration> = samples.iter().map(Sample::took).collect();
    times.sort_unstable();
    times
        .get((times.len() * 99).div_ceil(100).saturating_sub(1))
        .copied()
        .unwrap_or_default()
}

/// The longest any sample took.
#[must_use]
pub fn slowest(samples: &[Sample]) -> Duration {
    samples.iter().map(Sample::took).max().unwrap_or_default()
}

/// Runs the streams to their ends; their samples in the same order.
#[must_use]
pub fn run(streams: &[Stream]) -> Vec<Vec<Sample>> {
    run_from(std::time::Instant::now() + AHEAD, streams)
}

/// The same, beginning at that time, which should be a little ahead.
///
/// # Panics
/// When there is no runtime to be had.
#[must_use]
pub fn run_from(start: std::time::Instant, streams: &[Stream]) -> Vec<Vec<Sample>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime for the load");
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let start = Instant::from_std(start);
        let streams: Vec<_> = streams
            .iter()
            .map(|stream| {
                let bytes: Rc<[u8]> = stream.bytes().into();
                (0..stream.connections)
                    .map(|index| {
                        let lane = Lane::new(stream, index, start, Rc::clone(&bytes));
                        tokio::task::spawn_local(lane.drive())
                    })
                    .collect::<Vec<_>>()
            })
            .collect();
        let mut all = Vec::with_capacity(streams.len());
        for lanes in streams {
            let mut samples = Vec::new();
            for lane in lanes {
                samples.append(&mut lane.await.expect("a lane ends"));
            }
            samples.sort_by_key(|sample: &Sample| sample.sent);
            all.push(samples);
        }
        all
    })
}

/// One connection's turns.
struct Lane {
    to: SocketAddr,
    bytes: Rc<[u8]>,
    start: Instant,
    first: Instant,
    every: Duration,
    end: Instant,
    codes: bool,
    tally: Arc<Tally>,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
}

impl Lane {
    fn new(stream: &Stream, index: u32, start: Instant, bytes: Rc<[u8]>) -> Self {
        let every = Duration::from_secs_f64(f64::from(stream.connections) / stream.per_second);
        let to = stream.to[index as usize % stream.to.len()];
        let first = start + stream.after + every * index / stream.connections;
        Self {
            to,
            bytes,
            start,
            first,
            every,
            end: start + stream.after + stream.lasts,
            codes: stream.codes,
            tally: Arc::clone(&stream.tally),
            stream: None,
            buffer: Vec::with_capacity(4_096),
        }
    }

    async fn drive(mut self) -> Vec<Sample> {
        let mut samples = Vec::new();
        let mut due = self.first;
        self.stream = TcpStream::connect(self.to).await.ok();
        while due < self.end {
            sleep_until(due).await;
            let sample = self.exchange().await;
            self.tally.add(sample.status);
            samples.push(sample);
            due += self.every;
            let now = Instant::now();
            while due + self.every < now {
                due += self.every;
            }
        }
        samples
    }

    async fn exchange(&mut self) -> Sample {
        let sent = self.now();
        let outcome = timeout(PATIENCE, self.attempt()).await;
        let (status, code) = match outcome {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => {
                self.stream = None;
                (0, None)
            }
        };
        Sample {
            sent,
            received: self.now(),
            status,
            code,
        }
    }

    async fn attempt(&mut self) -> io::Result<(u16, Option<Box<str>>)> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(self.to).await?;
                stream.set_nodelay(true)?;
                self.stream.insert(stream)
            }
        };
        stream.write_all(&self.bytes).await?;
        self.buffer.clear();
        loop {
            if stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(answer) = answer(&self.buffer)? {
                let code = if self.codes && answer.status >= 400 {
                    code(&self.buffer[answer.head..])
                } else {
                    None
                };
                if answer.closes {
                    self.stream = None;
                }
                return Ok((answer.status, code));
            }
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(Instant::now().duration_since(self.start).as_nanos()).unwrap_or(u64::MAX)
    }
}

struct Answer {
    status: u16,
    /// Bytes before the body.
    head: usize,
    closes: bool,
}

/// A response that is wholly there.
fn answer(bytes: &[u8]) -> io::Result<Option<Answer>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let head = match response.parse(bytes) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(e) => return Err(invalid(&e.to_string())),
    };
    let value = |name: &str| {
        let header = response
            .headers
            .iter()
            .find(|h| h.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(header.value).ok()
    };
    let length: usize = value("content-length")
        .ok_or_else(|| invalid("a response without length"))?
        .parse()
        .map_err(|_| invalid("a length that is no number"))?;
    let status = response.code.ok_or_else(|| invalid("no status"))?;
    let closes = value("connection").is_some_and(|v| v.eq_ignore_ascii_case("close"));
    Ok((bytes.len() >= head + length).then_some(Answer {
        status,
        head,
        closes,
    }))
}

/// The `code` of a problem+json.
fn code(body: &[u8]) -> Option<Box<str>> {
    let problem: serde_json::Value = serde_json::from_slice(body).ok()?;
    Some(problem["code"].as_str()?.into())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Answers every request with the same bytes, after a while.
    fn server(answer: &'static str, after: Duration) -> SocketAddr {
        use std::io::{Read as _, Write as _};
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    let mut bytes = [0; 4_096];
                    while let Ok(1..) = client.read(&mut bytes) {
                        std::thread::sleep(after);
                        if client.write_all(answer.as_bytes()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        address
    }

    const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    const PROBLEM: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 25\r\n\r\n{\"code\":\"limits_are_off\"}";

    #[test]
    fn it_offers_what_it_is_told_at_an_even_pace() {
        let to = server(OK, Duration::ZERO);
        once_of(10, || {
            let mut stream = Stream::new(&[to], "/", 200.0, Duration::from_secs(2));
            stream.connections = 8;
            let tally = Arc::clone(&stream.tally);
            let samples = run(&[stream]).remove(0);
            let halves = samples.iter().filter(|s| s.sent < 1_000_000_000).count();
            assert!(
                samples.len() <= 400 && halves <= 200,
                "more than it is told"
            );
            assert_eq!(tally.counts().admitted, samples.len() as u64);
            assert_eq!(tally.counts().offered(), samples.len() as u64);
            assert_eq!(count(&samples, 200), samples.len());
            (samples.len() >= 360 && halves >= 160)
                .then_some(())
                .ok_or_else(|| format!("{} offered, {halves} in the first half", samples.len()))
        });
    }

    /// What a machine that stands still for a moment does not offer is missing: of so many runs one must be whole.
    fn once_of(runs: usize, run: impl Fn() -> Result<(), String>) {
        let results = std::iter::repeat_with(run).take(runs);
        let mut faults = Vec::new();
        for result in results {
            match result {
                Ok(()) => return,
                Err(fault) => faults.push(fault),
            }
        }
        panic!("{faults:?}");
    }

    #[test]
    fn it_does_not_wait_for_answers_and_never_makes_up_for_lost_turns() {
        // Four connections, each answered after 100 ms: at most 40 a second.
        let to = server(OK, Duration::from_millis(100));
        once_of(10, || {
            let mut stream = Stream::new(&[to], "/", 400.0, Duration::from_secs(1));
            stream.connections = 4;
            let samples = run(&[stream]).remove(0);
            assert!(samples.len() <= 44, "{}", samples.len());
            assert!(slowest(&samples) >= Duration::from_millis(100));
            let concurrent = samples.iter().filter(|s| s.sent < 50_000_000).count();
            (samples.len() >= 20 && concurrent >= 3)
                .then_some(())
                .ok_or_else(|| format!("{} sent, {concurrent} at first", samples.len()))
        });
    }

    #[test]
    fn it_tells_statuses_codes_and_no_answer_apart() {
        let stream = |to| Stream {
            connections: 1,
            codes: true,
            ..Stream::new(&[to], "/", 20.0, Duration::from_millis(200))
        };
        let nobody = SocketAddr::from(([127, 0, 0, 1], testkit::ports::free_port()));
        let all = run(&[stream(server(PROBLEM, Duration::ZERO)), stream(nobody)]);
        assert_eq!(count(&all[0], 503), all[0].len());
        assert_eq!(all[0][0].code.as_deref(), Some("limits_are_off"));
        assert_eq!(count(&all[1], 0), all[1].len());
        assert!(!all[1].is_empty());
    }

    #[test]
    fn half_a_response_is_none_yet() {
        for cut in 0..OK.len() {
            assert!(answer(&OK.as_bytes()[..cut]).unwrap().is_none(), "{cut}");
        }
        assert!(answer(OK.as_bytes()).unwrap().is_some());
        assert!(answer(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(answer(b"no HTTP\r\n\r\n").is_err());
    }

    #[test]
    fn the_slowest_percent_is_left_out() {
        let sample = |took| Sample {
            sent: 0,
            received: took,
            status: 200,
            code: None,
        };
        let samples: Vec<Sample> = (1..=100).map(sample).collect();
        assert_eq!(slowest_but_one_percent(&samples), Duration::from_nanos(99));
        assert_eq!(slowest(&samples), Duration::from_nanos(100));
        assert_eq!(slowest_but_one_percent(&[]), Duration::ZERO);
    }
}
