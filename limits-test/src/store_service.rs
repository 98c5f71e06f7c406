//! The built `redis-proxy`, as a process.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;
use testkit::Request;
use testkit::http_client::Connection;
use testkit::ports::free_port;

use crate::child;

const READY_WITHIN: Duration = Duration::from_secs(60);

/// A running `redis-proxy`.
pub struct StoreService {
    address: SocketAddr,
    child: Child,
    directory: TempDir,
}

impl StoreService {
    /// Starts one with this configuration, and waits until it can decide.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(config: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("config.toml"), config).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let child = spawn(directory.path(), address);
        let service = Self {
            address,
            child,
            directory,
        };
        service.wait();
        service
    }

    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The id of the process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Changes its configuration; of some parts it takes notice by itself.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn configure(&self, config: &str) {
        let path = |name: &str| self.directory.path().join(name);
        std::fs::write(path("config.next"), config).unwrap();
        std::fs::rename(path("config.next"), path("config.toml")).unwrap();
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts again on the same port.
    pub fn restart(&mut self) {
        self.kill();
        self.child = spawn(self.directory.path(), self.address);
        self.wait();
    }

    /// SIGSTOP: the port still accepts, nothing answers.
    pub fn freeze(&self) {
        child::signal(&self.child, Signal::STOP);
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        child::signal(&self.child, Signal::CONT);
    }

    /// What `path` answers, if it does.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        let exchange = Connection::open(self.address, None)
            .and_then(|mut connection| connection.exchange(&Request::new("GET", path)))
            .ok()?;
        let body = String::from_utf8_lossy(&exchange.body).into_owned();
        Some((exchange.status, body))
    }

    fn wait(&self) {
        let started = Instant::now();
        while !matches!(self.get("/readyz"), Some((200, _))) {
            if started.elapsed() > READY_WITHIN {
                let log = std::fs::read_to_string(self.directory.path().join("log"));
                panic!("redis-proxy cannot decide: {}", log.unwrap_or_default());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for StoreService {
    fn drop(&mut self) {
        self.kill();
    }
}

/// `STORE_BIN`, or the one that was built beside this program; tests are one folder further down.
fn binary() -> PathBuf {
    let path = std::env::var_os("STORE_BIN").map_or_else(
        || {
            let own = std::env::current_exe().expect("this program has a path");
            match own.parent() {
                Some(deps) if deps.ends_with("deps") => deps.with_file_name("redis-proxy"),
                _ => own.with_file_name("redis-proxy"),
            }
        },
        PathBuf::from,
    );
    assert!(
        path.is_file(),
        "there is no {}: cargo build --package redis-proxy makes it, with the profile of this program",
        path.display()
    );
    path
}

fn spawn(directory: &Path, address: SocketAddr) -> Child {
    let log = File::create(directory.join("log")).expect("a file for the log");
    let mut command = Command::new(binary());
    command
        .arg("--config")
        .arg(directory.join("config.toml"))
        .args(["--listen", &address.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    child::spawn(&mut command).expect("redis-proxy starts")
}
