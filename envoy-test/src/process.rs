//! One Envoy: started, asked how it is, and ended, whatever happens to the test.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group, set_parent_process_death_signal};
use serde_json::Value;
use tempfile::TempDir;
use testkit::Request;
use testkit::http_client::Connection;

use crate::bootstrap::{self, Listener};
use crate::stats::Stats;
use crate::{artifacts, log};

/// Starting takes a second; a busy machine may need more.
const STARTS_WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);

/// A running Envoy.
pub struct Envoy {
    child: Child,
    directory: TempDir,
    admin: SocketAddr,
    workers: u64,
    version: u32,
    /// Updates of listeners that Envoy has taken or refused.
    updates: (u64, u64),
}

/// Envoy did not take the listeners; its log says why.
#[derive(Clone, Debug)]
pub struct Rejected {
    pub log: String,
}

impl Envoy {
    /// Starts Envoy with these clusters and listeners and so many worker threads.
    ///
    /// # Errors
    /// The outer one when Envoy does not start, the inner one when it refuses the listeners; it
    /// runs then all the same.
    pub fn start(
        clusters: &BTreeMap<String, SocketAddr>,
        listeners: &[Listener],
        workers: u32,
    ) -> Result<(Self, Result<(), Rejected>), String> {
        Self::start_with(clusters, &bootstrap::listeners(1, listeners), workers)
    }

    /// The same with a document of listeners that the caller made, with routes of its own.
    ///
    /// # Errors
    /// As [`Envoy::start`].
    pub fn start_with(
        clusters: &BTreeMap<String, SocketAddr>,
        listeners: &Value,
        workers: u32,
    ) -> Result<(Self, Result<(), Rejected>), String> {
        Self::start_adjusted(clusters, listeners, workers, |_| {})
    }

    /// The same, after `adjust` has changed what never changes while Envoy runs: clusters that speak HTTP/2, for one.
    ///
    /// # Errors
    /// As [`Envoy::start`].
    pub fn start_adjusted(
        clusters: &BTreeMap<String, SocketAddr>,
        listeners: &Value,
        workers: u32,
        adjust: impl FnOnce(&mut Value),
    ) -> Result<(Self, Result<(), Rejected>), String> {
        let binary = artifacts::envoy()?;
        let directory = tempfile::Builder::new()
            .prefix("portcullis-envoy-")
            .tempdir()
            .map_err(|e| format!("no directory for Envoy: {e}"))?;
        let path = |name: &str| directory.path().join(name);
        let write = |name: &str, value: &Value| {
            fs::write(path(name), value.to_string()).map_err(|e| format!("{name}: {e}"))
        };
        write("listeners.json", listeners)?;
        let mut document = bootstrap::bootstrap(clusters, &path("listeners.json"));
        adjust(&mut document);
        write("bootstrap.json", &document)?;
        let output = File::create(path("envoy.log")).map_err(|e| format!("envoy.log: {e}"))?;
        let mut command = Command::new(&binary);
        command
            .arg("--config-path")
            .arg(path("bootstrap.json"))
            .arg("--admin-address-path")
            .arg(path("admin"))
            .args(["--concurrency", &workers.to_string()])
            .args(["--log-level", "warning", "--log-format", log::FORMAT])
            .args(["--component-log-level", "wasm:info"])
            .args(["--drain-time-s", "1"])
            // Tests wait for lines of access logs, which Envoy keeps to itself for ten seconds.
            .args(["--file-flush-interval-msec", "50"])
            .arg("--disable-hot-restart")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            // A group of its own, so that whatever it starts ends with it.
            .process_group(0);
        // SAFETY: between fork and exec only one system call is made, which is safe there.
        unsafe {
            command.pre_exec(|| {
                set_parent_process_death_signal(Some(Signal::KILL)).map_err(Into::into)
            });
        }
        let child = command
            .spawn()
            .map_err(|e| format!("{}: {e}", binary.display()))?;
        let mut envoy = Self {
            child,
            directory,
            admin: SocketAddr::from(([127, 0, 0, 1], 0)),
            workers: u64::from(workers),
            version: 1,
            updates: (0, 0),
        };
        envoy.admin = envoy.wait_for("its admin address", |envoy| {
            let text = fs::read_to_string(envoy.path("admin")).ok()?;
            text.trim().parse().ok()
        })?;
        envoy.wait_for("readiness", |envoy| {
            (envoy.admin("GET", "/ready").ok()?.trim() == "LIVE").then_some(())
        })?;
        let result = envoy.await_update()?;
        Ok((envoy, result))
    }

    /// Replaces the listeners. Connections opened afterwards meet the new ones.
    ///
    /// # Errors
    /// The outer one when Envoy is out of order, the inner one when it refuses them.
    pub fn reload(&mut self, listeners: &[Listener]) -> Result<Result<(), Rejected>, String> {
        self.version += 1;
        let next = self.path("listeners.next");
        let document = bootstrap::listeners(self.version, listeners);
        fs::write(&next, document.to_string()).map_err(|e| format!("listeners: {e}"))?;
        // Envoy watches for a file that is moved into place.
        fs::rename(&next, self.path("listeners.json")).map_err(|e| format!("listeners: {e}"))?;
        self.await_update()
    }

    /// Waits until Envoy has taken or refused its listeners, and every worker has those that it has taken.
    fn await_update(&mut self) -> Result<Result<(), Rejected>, String> {
        let (taken, refused) = self.updates;
        let updates = self.wait_for("its listeners", |envoy| {
            let stats = envoy.stats_of("listener_manager").ok()?;
            let of = |name: &str| stats.get(&format!("listener_manager.{name}"));
            let now = (of("lds.update_success"), of("lds.update_rejected"));
            let handed_out = (of("listener_added") + of("listener_modified")) * envoy.workers;
            let settled = of("total_listeners_warming") == 0
                && of("workers_started") == 1
                && of("listener_create_success") >= handed_out;
            (now != (taken, refused) && settled).then_some(now)
        })?;
        self.updates = updates;
        if updates.1 > refused {
            return Ok(Err(Rejected { log: self.log() }));
        }
        Ok(Ok(()))
    }

    /// Where a listener listens.
    ///
    /// # Errors
    /// When Envoy does not tell.
    pub fn listener(&mut self, name: &str) -> Result<SocketAddr, String> {
        self.wait_for("the address of its listener", |envoy| {
            let text = envoy.admin("GET", "/listeners?format=json").ok()?;
            let all: Value = serde_json::from_str(&text).ok()?;
            let found = all["listener_statuses"]
                .as_array()?
                .iter()
                .find(|status| status["name"] == name)?;
            let socket = &found["local_address"]["socket_address"];
            let ip = socket["address"].as_str()?.parse().ok()?;
            let port = u16::try_from(socket["port_value"].as_u64()?).ok()?;
            Some(SocketAddr::new(ip, port))
        })
    }

    /// Every counter and gauge.
    ///
    /// # Errors
    /// When Envoy does not tell.
    pub fn stats(&self) -> Result<Stats, String> {
        Ok(Stats::parse(&self.admin("GET", "/stats")?))
    }

    fn stats_of(&self, part: &str) -> Result<Stats, String> {
        Ok(Stats::parse(
            &self.admin("GET", &format!("/stats?filter={part}"))?,
        ))
    }

    /// Asks the admin endpoint.
    ///
    /// # Errors
    /// When it does not answer with 200.
    pub fn admin(&self, method: &str, path: &str) -> Result<String, String> {
        let exchange = Connection::open(self.admin, None)
            .and_then(|mut connection| connection.exchange(&Request::new(method, path)))
            .map_err(|e| format!("Envoy's admin endpoint: {path}: {e}"))?;
        match exchange.status {
            200 => Ok(String::from_utf8_lossy(&exchange.body).into_owned()),
            status => Err(format!("Envoy's admin endpoint: {path}: status {status}")),
        }
    }

    #[must_use]
    pub const fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// Everything that Envoy has logged.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = fs::read(self.path("envoy.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The id of the process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn wait_for<T>(&mut self, what: &str, look: impl Fn(&Self) -> Option<T>) -> Result<T, String> {
        let deadline = Instant::now() + STARTS_WITHIN;
        loop {
            if let Some(found) = look(self) {
                return Ok(found);
            }
            let running = self.is_running();
            if !running || Instant::now() > deadline {
                let how = if running {
                    "shows no sign of"
                } else {
                    "ended before"
                };
                return Err(format!(
                    "Envoy {how} {what}:\n{}",
                    log::tail(&self.log(), 30)
                ));
            }
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}
