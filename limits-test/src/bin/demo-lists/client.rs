//! A client that comes by four times a second, each time on a new connection.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_millis(250);
const PATIENCE: Duration = Duration::from_secs(15);

/// An answer.
#[derive(Clone, Debug)]
pub struct Seen {
    pub began: Instant,
    pub ended: Instant,
    /// 0: none.
    pub status: u16,
    /// From the request to its answer, without the TLS handshake.
    pub took: Duration,
}

/// Ends when it is dropped.
pub struct Client {
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Client {
    /// A curl with these options.
    pub fn start(name: &'static str, at: SocketAddr, options: &'static [&'static str]) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (log, end) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                let answer = ask(name, at, options);
                let rest = EVERY.saturating_sub(answer.ended - answer.began);
                log.lock().unwrap().push(answer);
                std::thread::sleep(rest);
            }
        });
        Self {
            seen,
            stop,
            thread: Some(thread),
        }
    }

    /// Its requests that began after this moment.
    pub fn seen(&self, since: Instant) -> Vec<Seen> {
        let seen = self.seen.lock().unwrap();
        seen.iter()
            .filter(|seen| seen.began >= since)
            .cloned()
            .collect()
    }

    /// The first request after this moment with an answer like that.
    pub fn until(&self, since: Instant, fits: impl Fn(&Seen) -> bool) -> Option<Seen> {
        while since.elapsed() < PATIENCE {
            if let Some(found) = self.seen(since).into_iter().find(&fits) {
                return Some(found);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        None
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn ask(name: &str, at: SocketAddr, options: &[&str]) -> Seen {
    let began = Instant::now();
    let output = Command::new("curl")
        .args([
            "--silent",
            "--insecure",
            "--max-time",
            "10",
            "--output",
            "/dev/null",
        ])
        .args([
            "--write-out",
            "%{http_code} %{time_appconnect} %{time_total}",
        ])
        .args(["--user-agent", name])
        .args(options)
        .arg(format!("https://{at}/"))
        .stderr(Stdio::null())
        .output()
        .expect("curl runs");
    let ended = Instant::now();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut words = said.split(' ');
    let status = words
        .next()
        .and_then(|word| word.parse().ok())
        .unwrap_or_default();
    let mut seconds = || {
        words
            .next()
            .and_then(|word| word.parse().ok())
            .unwrap_or(0.0_f64)
    };
    let (connected, total) = (seconds(), seconds());
    Seen {
        began,
        ended,
        status,
        took: Duration::from_secs_f64((total - connected).max(0.0)),
    }
}
