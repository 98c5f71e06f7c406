//! A real Prometheus, with the rules and the scrape configuration of `ops/prometheus`.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use testkit::Request;
use testkit::http_client::Connection;

use crate::process::Process;
use crate::scrape::{self, JOBS};
use crate::{alerts, recording};

const STARTS_WITHIN: Duration = Duration::from_secs(60);

/// A running Prometheus. Ends when dropped.
pub struct Prometheus {
    _process: Process,
    address: SocketAddr,
    folder: TempDir,
}

/// A series, and its points: seconds since 1970, value.
#[derive(Clone, Debug)]
pub struct Series {
    pub labels: Vec<(String, String)>,
    pub points: Vec<(f64, f64)>,
}

impl Series {
    /// The value of a label.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels
            .iter()
            .find(|(label, _)| label == name)
            .map(|(_, value)| value.as_str())
    }

    /// The newest value.
    #[must_use]
    pub fn last(&self) -> f64 {
        self.points.last().map_or(f64::NAN, |(_, value)| *value)
    }

    /// What a legend makes of it: `{{label}}` is replaced.
    #[must_use]
    pub fn called(&self, legend: &str) -> String {
        let fill = |text: String, (name, value): &(String, String)| {
            text.replace(&format!("{{{{{name}}}}}"), value)
        };
        self.labels.iter().fold(legend.to_owned(), fill)
    }
}

impl Prometheus {
    /// Starts one that scrapes these jobs, each second.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(targets: &[(&str, SocketAddr)]) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        let path = |name: &str| folder.path().join(name);
        let write = |name: &str, text: String| fs::write(path(name), text).unwrap();
        write("recording.yml", recording::file());
        write("alerts.yml", alerts::file());
        write("prometheus.yml", config(targets));
        let address = SocketAddr::from(([127, 0, 0, 1], testkit::ports::free_port()));
        let mut command = Command::new("prometheus");
        command
            .arg(format!(
                "--config.file={}",
                path("prometheus.yml").display()
            ))
            .arg(format!("--storage.tsdb.path={}", path("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(path("log")).unwrap());
        let process = Process::start(&mut command)
            .map_err(|e| format!("prometheus: {e}: `make setup` installs it"))?;
        let prometheus = Self {
            _process: process,
            address,
            folder,
        };
        let began = Instant::now();
        while prometheus
            .get("/-/ready")
            .is_none_or(|(status, _)| status != 200)
        {
            if began.elapsed() > STARTS_WITHIN {
                return Err(format!("Prometheus is not ready: {}", prometheus.log()));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(prometheus)
    }

    /// What it had to say, of level warn and above.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The series of now.
    ///
    /// # Errors
    /// When it does not understand the question.
    pub fn query(&self, expr: &str) -> Result<Vec<Series>, String> {
        self.ask("query", &[("query", expr)])
    }

    /// The series from `from` to `to`, seconds since 1970, a point every `step` seconds.
    ///
    /// # Errors
    /// When it does not understand the question.
    pub fn query_range(
        &self,
        expr: &str,
        from: f64,
        to: f64,
        step: f64,
    ) -> Result<Vec<Series>, String> {
        let number = |n: f64| format!("{n:.3}");
        let (from, to, step) = (number(from), number(to), number(step));
        self.ask(
            "query_range",
            &[
                ("query", expr),
                ("start", &from),
                ("end", &to),
                ("step", &step),
            ],
        )
    }

    fn ask(&self, endpoint: &str, parameters: &[(&str, &str)]) -> Result<Vec<Series>, String> {
        let query: String = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(parameters)
            .finish();
        let path = format!("/api/v1/{endpoint}?{query}");
        let (status, body) = self.get(&path).ok_or("Prometheus does not answer")?;
        let answer: Value = serde_json::from_str(&body).map_err(|e| format!("{e}: {body}"))?;
        if status != 200 {
            return Err(answer["error"].as_str().unwrap_or(&body).to_owned());
        }
        let result = answer["data"]["result"].as_array().ok_or("no result")?;
        result.iter().map(series).collect()
    }

    fn get(&self, path: &str) -> Option<(u16, String)> {
        let exchange = Connection::open(self.address, None)
            .and_then(|mut connection| connection.exchange(&Request::get(path)))
            .ok()?;
        let body = String::from_utf8_lossy(&exchange.body).into_owned();
        Some((exchange.status, body))
    }
}

/// The shipped configuration, with these targets and no others, and every second.
fn config(targets: &[(&str, SocketAddr)]) -> String {
    let mut text = scrape::file().replace("_interval: 15s", "_interval: 1s");
    for job in JOBS {
        let target = format!("[ \"{}\" ]", job.target);
        assert!(text.contains(&target), "{target}");
        let here = targets
            .iter()
            .find(|(name, _)| *name == job.name)
            .map_or_else(|| "[]".to_owned(), |(_, at)| format!("[ \"{at}\" ]"));
        text = text.replace(&target, &here);
    }
    // Probes have tests of their own.
    for public in [
        "https://api.example.com/health",
        "https://api.example.com/v1/orders",
    ] {
        text = text.replace(&format!("[ \"{public}\" ]"), "[]");
    }
    text
}

fn series(result: &Value) -> Result<Series, String> {
    let labels = result["metric"].as_object().ok_or("no labels")?;
    let labels = labels
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect();
    let points = match (&result["value"], &result["values"]) {
        (_, Value::Array(values)) => values.iter().filter_map(point).collect(),
        (value, _) => point(value).into_iter().collect(),
    };
    Ok(Series { labels, points })
}

fn point(pair: &Value) -> Option<(f64, f64)> {
    Some((pair[0].as_f64()?, pair[1].as_str()?.parse().ok()?))
}

/// Runs promtool, in the folder of the rules.
///
/// # Errors
/// What it says.
pub fn promtool(folder: &Path, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("promtool")
        .args(arguments)
        .current_dir(folder)
        .output()
        .map_err(|e| format!("promtool: {e}: `make setup` installs it"))?;
    let said = [output.stdout, output.stderr].map(|it| String::from_utf8_lossy(&it).into_owned());
    if output.status.success() {
        Ok(())
    } else {
        Err(said.concat())
    }
}
