//! One Kong: started, configured, renewed and ended, whatever happens to the test.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;
use tempfile::TempDir;
use testkit::http_client::Connection;
use testkit::ports::free_port;
use testkit::{Exchange, Request, workspace};

use crate::document;
use crate::metrics::Metrics;
use crate::source::Source;

/// Starting takes four seconds, and each module that has changed another two; a busy machine may need more.
const STARTS_WITHIN: Duration = Duration::from_secs(180);
/// Where Kong keeps what it has compiled, so that it need not again; a link in its own folder leads there.
const COMPILED: &str = ".tools/kong-cache";
const POLL: Duration = Duration::from_millis(10);

/// A worker says this when it is ready.
const READY: &str = "is ready to accept events";
/// A worker says one of these about a new configuration.
const TAKEN: &str = "declarative reconfigure took";
const REFUSED: &str = "declarative reconfigure failed";

/// A running Kong.
pub struct Kong {
    source: Source,
    child: Child,
    /// Ends Kong when this process ends without doing so.
    guard: Child,
    directory: TempDir,
    workers: u32,
    meta: bool,
    proxy: SocketAddr,
    admin: SocketAddr,
    status: SocketAddr,
    /// Where the part of the log begins that is of interest.
    mark: u64,
}

/// Kong did not take the configuration.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// What it said.
    pub lines: Vec<String>,
}

impl Kong {
    /// Starts Kong with so many workers and these modules, and, if `meta`, with what lies beside each: only then it
    /// takes configurations as objects, and judges them itself. No request reaches anything yet.
    ///
    /// # Errors
    /// When Kong does not start.
    pub fn start(
        source: &Source,
        workers: u32,
        modules: &BTreeMap<String, PathBuf>,
        meta: bool,
    ) -> Result<Self, String> {
        let mut kong = Self::start_with(source, workers, modules, meta, None)?;
        kong.load(&document::nothing())?
            .map_err(|rejected| rejected.lines.join("\n"))?;
        Ok(kong)
    }

    /// The same with a declarative configuration from the start.
    ///
    /// # Errors
    /// When Kong does not start, and why.
    pub fn start_with(
        source: &Source,
        workers: u32,
        modules: &BTreeMap<String, PathBuf>,
        meta: bool,
        document: Option<&Value>,
    ) -> Result<Self, String> {
        let fault = |e: std::io::Error| format!("no directory for Kong: {e}");
        let directory = tempfile::Builder::new()
            .prefix("portcullis-kong-")
            .tempdir()
            .map_err(fault)?;
        let path = |name: &str| directory.path().join(name);
        fs::create_dir(path("filters")).map_err(fault)?;
        for (name, module) in modules {
            fs::copy(module, path(&format!("filters/{name}.wasm"))).map_err(fault)?;
            if meta {
                let from = module.with_extension("meta.json");
                let said = |e| format!("{}: {e}: run `make wasm`", from.display());
                fs::copy(&from, path(&format!("filters/{name}.meta.json"))).map_err(said)?;
            }
        }
        let compiled = workspace::root().join(COMPILED);
        fs::create_dir_all(&compiled).map_err(fault)?;
        symlink(compiled, path(".wasmtime_cache")).map_err(fault)?;
        let output = File::create(path("output")).map_err(fault)?;
        let port = || SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let (proxy, admin, status) = (port(), port(), port());
        let mut command = match source {
            Source::Local(kong) => {
                let mut command = Command::new(kong);
                command.args(["start", "--prefix"]).arg(directory.path());
                command
            }
            Source::Docker => compose(directory.path(), &["up", "--no-log-prefix"]),
        };
        for (name, value) in environment(directory.path(), workers, [proxy, admin, status]) {
            command.env(name, value);
        }
        if let Some(document) = document {
            command.env("KONG_DECLARATIVE_CONFIG_STRING", document.to_string());
        }
        let child = command
            // Kong looks for Lua modules in the working directory first.
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(output.try_clone().map_err(fault)?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .map_err(|e| format!("{source:?}: {e}"))?;
        let guard = guard(source, child.id(), directory.path());
        let mut kong = Self {
            source: source.clone(),
            child,
            guard: guard?,
            directory,
            workers,
            meta,
            proxy,
            admin,
            status,
            mark: 0,
        };
        kong.await_workers()?;
        Ok(kong)
    }

    /// The id of its first process. The workers are children of it, or of its children.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where requests go.
    #[must_use]
    pub const fn proxy(&self) -> SocketAddr {
        self.proxy
    }

    /// Where its admin port is.
    #[must_use]
    pub const fn admin(&self) -> SocketAddr {
        self.admin
    }

    #[must_use]
    pub const fn workers(&self) -> u32 {
        self.workers
    }

    /// Whether it has the filters' `.meta.json`.
    #[must_use]
    pub const fn meta(&self) -> bool {
        self.meta
    }

    /// Loads a declarative configuration in place of the one before.
    ///
    /// # Errors
    /// The outer one when Kong is out of order, the inner one when it refuses.
    pub fn load(&mut self, document: &Value) -> Result<Result<(), Rejected>, String> {
        let before = self.log();
        let so_far = |what: &str| before.matches(what).count();
        let (taken, refused) = (so_far(TAKEN), so_far(REFUSED));
        let answer = self.ask(
            self.admin,
            &Request::post("/config", document.to_string())
                .header("content-type", "application/json"),
        )?;
        if answer.status == 400 {
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            return Ok(Err(Rejected { lines: vec![text] }));
        }
        if answer.status != 201 {
            return Err(format!("Kong's admin port: {}", answer.show()));
        }
        let expected = usize::try_from(self.workers).unwrap();
        let (taken, log) = self.wait_for("a new configuration", |kong| {
            let log = kong.log();
            let taken = log.matches(TAKEN).count() - taken;
            let refused = log.matches(REFUSED).count() - refused;
            (taken + refused >= expected).then_some((taken, log))
        })?;
        if taken >= expected {
            return Ok(Ok(()));
        }
        let new = log.get(before.len()..).unwrap_or_default();
        Ok(Err(Rejected {
            lines: new.lines().map(str::to_owned).collect(),
        }))
    }

    /// Makes it as if Kong had just been started, but for counters: new workers, nothing behind
    /// them, an empty log. False where that cannot be done.
    ///
    /// # Errors
    /// When Kong is out of order.
    pub fn renew(&mut self) -> Result<bool, String> {
        if self.source == Source::Docker {
            return Ok(false);
        }
        self.load(&document::nothing())?
            .map_err(|rejected| rejected.lines.join("\n"))?;
        let log = self.log_from(0);
        let started: Vec<Pid> = log
            .lines()
            .filter_map(|line| line.split_once("start worker process "))
            .filter_map(|(_, pid)| Pid::from_raw(pid.trim().parse().ok()?))
            .collect();
        let running = started.len() - usize::try_from(self.workers).unwrap();
        self.mark = u64::try_from(log.len()).unwrap();
        for worker in &started[running..] {
            kill_process(*worker, Signal::TERM).map_err(|e| format!("a worker of Kong: {e}"))?;
        }
        self.await_workers()?;
        self.mark = u64::try_from(self.log_from(0).len()).unwrap();
        Ok(true)
    }

    fn await_workers(&mut self) -> Result<(), String> {
        let expected = usize::try_from(self.workers).unwrap();
        self.wait_for("its workers", |kong| {
            (kong.log().matches(READY).count() >= expected).then_some(())
        })?;
        // `/status/ready` wants a configuration first.
        self.wait_for("readiness", |kong| {
            let answer = kong.ask(kong.status, &Request::get("/status"));
            answer.is_ok_and(|a| a.status == 200).then_some(())
        })
    }

    /// What these filters have counted since Kong was started.
    ///
    /// # Errors
    /// When Kong does not tell.
    pub fn metrics(&self, filters: &[&str]) -> Result<Metrics, String> {
        let text = self.prometheus()?;
        Ok(Metrics::parse(&text, filters))
    }

    /// What the Prometheus plugin shows.
    ///
    /// # Errors
    /// When Kong does not tell.
    pub fn prometheus(&self) -> Result<String, String> {
        let answer = self.ask(self.status, &Request::get("/metrics"))?;
        match answer.status {
            200 => Ok(String::from_utf8_lossy(&answer.body).into_owned()),
            _ => Err(format!("Kong's status port: {}", answer.show())),
        }
    }

    fn ask(&self, port: SocketAddr, request: &Request) -> Result<Exchange, String> {
        Connection::open(port, None)
            .and_then(|mut connection| connection.exchange(request))
            .map_err(|e| format!("Kong at {port}: {e}"))
    }

    /// What Kong has logged since it was started or renewed.
    #[must_use]
    pub fn log(&self) -> String {
        self.log_from(self.mark)
    }

    fn log_from(&self, mark: u64) -> String {
        let name = match self.source {
            Source::Local(_) => "logs/error.log",
            Source::Docker => "output",
        };
        let mut bytes = Vec::new();
        if let Ok(mut file) = File::open(self.directory.path().join(name)) {
            let _ = file.seek(SeekFrom::Start(mark));
            let _ = file.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
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
                let output = fs::read_to_string(self.directory.path().join("output"));
                return Err(format!(
                    "Kong {how} {what}:\n{}\n{}",
                    output.unwrap_or_default(),
                    self.log()
                ));
            }
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Kong {
    fn drop(&mut self) {
        if self.source == Source::Docker {
            let down = compose(self.directory.path(), &["down", "--timeout", "0"])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            let _ = down;
        }
        for child in [&mut self.child, &mut self.guard] {
            if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                let _ = kill_process_group(group, Signal::KILL);
            }
            let _ = child.wait();
        }
    }
}

/// What Kong is told. The compose file says the same, and takes the ports and the number of workers from
/// here.
fn environment(
    prefix: &Path,
    workers: u32,
    [proxy, admin, status]: [SocketAddr; 3],
) -> Vec<(&'static str, String)> {
    let path = |name: &str| prefix.join(name).display().to_string();
    let fixed = [
        ("KONG_DATABASE", "off"),
        ("KONG_WASM", "on"),
        ("KONG_NGINX_WASM_SHM_KV", "16m"),
        ("KONG_ADMIN_GUI_LISTEN", "off"),
        ("KONG_STREAM_LISTEN", "off"),
        ("KONG_PROXY_ACCESS_LOG", "off"),
        ("KONG_ANONYMOUS_REPORTS", "off"),
        ("KONG_LOG_LEVEL", "info"),
        ("KONG_NGINX_DAEMON", "off"),
        // Who is not root has no say in it.
        ("KONG_NGINX_USER", "root root"),
        // As much as fits into nginx, so that the filters see what clients can do.
        ("KONG_NGINX_PROXY_LARGE_CLIENT_HEADER_BUFFERS", "8 256k"),
    ];
    let mut all: Vec<(&str, String)> = fixed
        .into_iter()
        .map(|(name, value)| (name, value.to_owned()))
        .collect();
    all.extend([
        ("KONG_WASM_FILTERS_PATH", path("filters")),
        ("KONG_PROXY_LISTEN", proxy.to_string()),
        ("KONG_ADMIN_LISTEN", admin.to_string()),
        ("KONG_STATUS_LISTEN", status.to_string()),
        ("KONG_NGINX_WORKER_PROCESSES", workers.to_string()),
    ]);
    all
}

/// `docker compose` for the Kong of this folder.
fn compose(directory: &Path, arguments: &[&str]) -> Command {
    let project = directory.file_name().unwrap_or_default();
    let mut command = Command::new("docker");
    command
        .args(["compose", "--file"])
        .arg(workspace::root().join("kong-test/compose.yaml"))
        .arg("--project-name")
        .arg(project.to_ascii_lowercase())
        .args(arguments)
        .env("KONG_TEST_FOLDER", directory)
        .env("KONG_TEST_FILTERS", "filters");
    command
}

/// A process that waits until this one ends, and then ends Kong.
fn guard(source: &Source, group: u32, directory: &Path) -> Result<Child, String> {
    let end = match source {
        Source::Local(_) => format!("kill -s KILL -- -{group}"),
        Source::Docker => {
            let project = directory.file_name().unwrap_or_default();
            let project = project.to_string_lossy().to_ascii_lowercase();
            format!("docker compose --project-name {project} down --timeout 0")
        }
    };
    Command::new("sh")
        .arg("-c")
        .arg(format!("read -r _; {end}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|e| format!("sh: {e}"))
}
