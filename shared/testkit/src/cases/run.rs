//! Runs one case in any gateway.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::cast::{Cast, bytes};
use super::expectation::Count;
use super::file::{Case, CaseFile, Step, merge, take_out};
use super::transcript::{self, Shown, Transcript};
use crate::exchange::Exchange;
use crate::gateway::{FilterSetup, Gateway, Refused};
use crate::request::Request;
use crate::world::World;

/// Counters and lines of the log of a real gateway may arrive this much later.
const SETTLES_WITHIN: Duration = Duration::from_secs(10);
/// Lines of the log that a failure shows.
const LOG_LINES: usize = 30;

/// Runs a case of the filter of this name.
///
/// # Errors
/// What was not as expected, in words.
pub fn run_case(
    file: &CaseFile,
    case: &Case,
    filter: &str,
    gateway: &mut dyn Gateway,
) -> Result<(), String> {
    let result = Run::start(file, case, filter, gateway).and_then(|mut run| {
        let result = run.all(gateway);
        run.write_down(gateway).and(result)
    });
    let mut expected = case.expected_errors.clone();
    let refusals = case.steps.iter().filter_map(|step| step.refused.as_ref());
    let refusals = case.refused.iter().chain(refusals).flatten();
    expected.extend(refusals.map(|part| file.error_in_section(part, filter)));
    let log = gateway.log();
    let stopped = gateway.stop(&expected);
    result.and(stopped).map_err(|failure| {
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n    ");
        format!("{}: {failure}\n  log:\n    {tail}", case.name)
    })
}

struct Run<'a> {
    file: &'a CaseFile,
    case: &'a Case,
    filter: &'a str,
    cast: Cast<'a>,
    world: World,
    /// The case's configuration with its placeholders.
    config: Value,
    /// Requests that the client knows to have reached the upstream.
    passed: u64,
    /// The gateway has taken a configuration.
    running: bool,
    default_path: &'a str,
    /// What there was to see.
    transcript: Transcript,
}

impl<'a> Run<'a> {
    fn start(
        file: &'a CaseFile,
        case: &'a Case,
        filter: &'a str,
        gateway: &mut dyn Gateway,
    ) -> Result<Self, String> {
        let mut cast = Cast::new(file)?;
        let world = World::new();
        cast.introduce(&world);
        cast.change(&world, &file.defaults.world, gateway.now())?;
        cast.change(&world, &case.world, gateway.now())?;
        cast.set_places(gateway.open(&world)?);
        let mut config = file.defaults.config.clone();
        merge(&mut config, &case.config);
        for path in &case.without {
            take_out(&mut config, path)?;
        }
        Ok(Self {
            file,
            case,
            filter,
            cast,
            world,
            config,
            passed: 0,
            running: false,
            default_path: file.defaults.path.as_deref().unwrap_or("/"),
            transcript: Transcript {
                filter: filter.to_owned(),
                case: file.name_of(case),
                manner: gateway.manner().to_owned(),
                ..Transcript::default()
            },
        })
    }

    fn all(&mut self, gateway: &mut dyn Gateway) -> Result<(), String> {
        let text = match &self.case.config_text {
            Some(text) => self.cast.expand(text, 0, gateway.now())?,
            None => self
                .cast
                .expand_json(&self.config, gateway.now())?
                .to_string(),
        };
        self.configure(gateway, text, self.case.refused.as_deref())
            .map_err(|e| format!("the configuration: {e}"))?;
        for (index, step) in self.case.steps.iter().enumerate() {
            self.step(gateway, step)
                .map_err(|e| format!("step {}: {e}", index + 1))?;
        }
        let nothing = Snapshot::default();
        self.counts(gateway, &nothing, &self.case.calls, &self.case.metrics)
            .map_err(|e| format!("in the whole case: {e}"))?;
        self.invariants(gateway)
    }

    fn configure(
        &mut self,
        gateway: &mut dyn Gateway,
        config: String,
        refused: Option<&[String]>,
    ) -> Result<(), String> {
        let filters = [FilterSetup {
            name: self.filter.to_owned(),
            config: self.file.in_section(config),
        }];
        match (gateway.configure(&filters)?, refused) {
            (Ok(()), None) => {
                self.running = true;
                Ok(())
            }
            (Ok(()), Some(_)) => Err("was taken, but must be refused".into()),
            (Err(Refused { lines }), None) => {
                Err(format!("was refused:\n    {}", lines.join("\n    ")))
            }
            (Err(Refused { lines }), Some(expected)) => {
                let here = gateway.host() == crate::gateway::HostName::Drive;
                let expected: Vec<String> = expected
                    .iter()
                    .map(|part| self.file.error_in_section(part, self.filter))
                    .collect();
                refusal(&lines, &expected, here)
            }
        }
    }

    fn step(&mut self, gateway: &mut dyn Gateway, step: &Step) -> Result<(), String> {
        let before = self.snapshot(gateway, step)?;
        if let Some(change) = &step.change {
            self.cast.change(&self.world, change, gateway.now())?;
            gateway.world_changed()?;
        }
        if let Some(patch) = &step.config {
            let mut config = self.config.clone();
            merge(&mut config, patch);
            let text = self.cast.expand_json(&config, gateway.now())?.to_string();
            self.configure(gateway, text, step.refused.as_deref())
                .map_err(|e| format!("the new configuration: {e}"))?;
        }
        if let Some(wait) = step.wait {
            gateway.wait(wait.0);
        }
        if step.sends() {
            if !self.running {
                return Err("there is no gateway to send a request to".into());
            }
            self.send(gateway, step)?;
        }
        match &step.expect {
            Some(expect) => self.counts(gateway, &before, &expect.calls, &expect.metrics),
            None => Ok(()),
        }
    }

    fn send(&mut self, gateway: &mut dyn Gateway, step: &Step) -> Result<(), String> {
        let times = step.repeat.or(step.concurrent).unwrap_or(1);
        let requests = (0..times)
            .map(|n| self.request(gateway, step, n))
            .collect::<Result<Vec<_>, _>>()?;
        self.transcript.steps.push(Vec::new());
        if step.concurrent.is_some() {
            let exchanges = gateway.send(requests.clone())?;
            for (n, (request, exchange)) in requests.iter().zip(&exchanges).enumerate() {
                self.judge(step, n, times, request, exchange)?;
            }
            if let Some(shown) = self.transcript.steps.last_mut() {
                shown.sort();
            }
        } else {
            for (n, request) in requests.iter().enumerate() {
                for exchange in gateway.send(vec![request.clone()])? {
                    self.judge(step, n, times, request, &exchange)?;
                }
            }
        }
        Ok(())
    }

    fn judge(
        &mut self,
        step: &Step,
        n: usize,
        times: usize,
        request: &Request,
        exchange: &Exchange,
    ) -> Result<(), String> {
        let replaced = (step.expect.as_ref()).is_some_and(|expect| expect.upstream.replaced);
        if exchange.upstream.is_some() || replaced {
            self.passed += 1;
        }
        if let Some(shown) = self.transcript.steps.last_mut() {
            shown.push(Shown::from(exchange));
        }
        let mut faults = match &step.expect {
            Some(expect) => expect.faults(request, exchange),
            None => Vec::new(),
        };
        if exchange.upstream.is_none() && repeats_a_credential(request, exchange) {
            faults.push("the refusal repeats a credential".into());
        }
        if faults.is_empty() {
            return Ok(());
        }
        let mut message = String::new();
        if times > 1 {
            let _ = write!(message, "request {} of {times}: ", n + 1);
        }
        let _ = write!(
            message,
            "{}\n    request:\n      {}\n    response:\n      {}",
            faults.join("\n    "),
            request.show(),
            exchange.show()
        );
        if let Some(seen) = &exchange.upstream {
            let _ = write!(
                message,
                "\n    upstream saw {} {:?}",
                seen.method, seen.path
            );
        }
        Err(message)
    }

    fn request(&self, gateway: &dyn Gateway, step: &Step, n: usize) -> Result<Request, String> {
        let now = gateway.now();
        let expand = |text: &str| bytes(&self.cast.expand(text, n, now)?);
        let (method, path) = match (&step.get, &step.post, &step.path) {
            (Some(path), _, _) => ("GET", path.as_str()),
            (_, Some(path), _) => ("POST", path.as_str()),
            (_, _, path) => (
                step.method.as_deref().unwrap_or("GET"),
                path.as_deref().unwrap_or(self.default_path),
            ),
        };
        let mut request = Request::new(method, expand(path)?);
        if let Some(token) = &step.token {
            request = request.bearer(self.cast.token(token, n, now)?);
        }
        if let Some(key) = &step.key {
            request = request.header("x-api-key", &self.cast.api_key(key)?.key);
        }
        for (name, value) in &step.headers {
            request = request.header(expand(name)?, expand(value)?);
        }
        if let Some(body) = &step.body {
            request.body = expand(body)?;
        }
        request.peer = step.peer;
        request.tls = step.tls.clone();
        Ok(request)
    }

    fn snapshot(&self, gateway: &mut dyn Gateway, step: &Step) -> Result<Snapshot, String> {
        let mut snapshot = Snapshot::default();
        let Some(expect) = &step.expect else {
            return Ok(snapshot);
        };
        for endpoint in expect.calls.keys() {
            let calls = self.world.calls(endpoint);
            snapshot.calls.insert(endpoint.clone(), calls);
        }
        if !expect.metrics.is_empty() && self.running {
            snapshot.metrics = gateway.metrics()?;
        }
        Ok(snapshot)
    }

    /// Compares what moved since the snapshot with what should have.
    fn counts(
        &self,
        gateway: &mut dyn Gateway,
        before: &Snapshot,
        calls: &BTreeMap<String, Count>,
        metrics: &BTreeMap<String, Count>,
    ) -> Result<(), String> {
        let deadline = Instant::now() + SETTLES_WITHIN;
        loop {
            let mut faults = Vec::new();
            for (endpoint, expected) in calls {
                let base = before.calls.get(endpoint).copied().unwrap_or_default();
                let got = self.world.calls(endpoint) - base;
                if !expected.fits(got) {
                    faults.push(format!("{got} calls of {endpoint}, not {expected}"));
                }
            }
            if !metrics.is_empty() {
                let now = gateway.metrics()?;
                for (name, expected) in metrics {
                    let of =
                        |all: &BTreeMap<String, u64>| all.get(name).copied().unwrap_or_default();
                    let got = of(&now).saturating_sub(of(&before.metrics));
                    if !expected.fits(got) {
                        let known: Vec<String> = now
                            .iter()
                            .map(|(name, value)| format!("{name} = {value}"))
                            .collect();
                        faults.push(format!(
                            "{name} moved by {got}, not {expected}; metrics are\n      {}",
                            known.join("\n      ")
                        ));
                    }
                }
            }
            if faults.is_empty() {
                return Ok(());
            }
            if !gateway.settles_late() || Instant::now() > deadline {
                return Err(faults.join("\n    "));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Leaves the transcript where somebody asked for it.
    fn write_down(&mut self, gateway: &mut dyn Gateway) -> Result<(), String> {
        /// Counters may still be on their way.
        const SETTLED_AFTER: Duration = Duration::from_millis(300);
        let Some(folder) = std::env::var_os(transcript::FOLDER) else {
            return Ok(());
        };
        if self.running {
            if gateway.settles_late() {
                std::thread::sleep(SETTLED_AFTER);
            }
            self.transcript.metrics = gateway.metrics()?;
        }
        self.transcript.write(std::path::Path::new(&folder))
    }

    /// What holds after every case.
    fn invariants(&self, gateway: &mut dyn Gateway) -> Result<(), String> {
        let reached = self.world.upstream.requests();
        if reached != self.passed {
            return Err(format!(
                "{reached} requests reached the upstream, but clients know of {}",
                self.passed
            ));
        }
        let log = gateway.log();
        for secret in self.cast.credentials() {
            if log.contains(&secret) {
                return Err("the log holds a credential".into());
            }
        }
        for key in self.cast.raw_api_keys() {
            if self
                .world
                .asked()
                .iter()
                .any(|asked| asked.contains(key.as_bytes()))
            {
                return Err("a service was sent a raw API key".into());
            }
        }
        let deadline = Instant::now() + SETTLES_WITHIN;
        for part in &self.case.log {
            while !gateway.log().contains(part.as_str()) {
                if !gateway.settles_late() || Instant::now() > deadline {
                    return Err(format!("the log does not say {part:?}"));
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }
}

#[derive(Default)]
struct Snapshot {
    calls: BTreeMap<String, u64>,
    metrics: BTreeMap<String, u64>,
}

/// Whether a refusal holds anything long that the request said, but for its id.
fn repeats_a_credential(request: &Request, exchange: &Exchange) -> bool {
    const WORTH_HIDING: usize = 16;
    let said = request
        .headers
        .iter()
        .filter(|(name, _)| !name.eq_ignore_ascii_case(b"x-request-id"))
        .map(|(_, value)| value)
        .chain([&request.path])
        .flat_map(|value| value.split(|byte| b" =;,&".contains(byte)))
        .filter(|part| part.len() >= WORTH_HIDING);
    let answered: Vec<&[u8]> = exchange
        .headers
        .iter()
        .map(|(_, value)| value.as_slice())
        .chain([exchange.body.as_slice()])
        .collect();
    said.into_iter().any(|part| {
        answered
            .iter()
            .any(|bytes| bytes.windows(part.len()).any(|window| window == part))
    })
}

/// Every expected part is in a line. In this process there are no other lines.
fn refusal(lines: &[String], expected: &[String], exact: bool) -> Result<(), String> {
    let shown = lines.join("\n    ");
    for part in expected {
        if !lines.iter().any(|line| line.contains(part.as_str())) {
            return Err(format!("no line says {part:?}:\n    {shown}"));
        }
    }
    if exact {
        let unexpected: Vec<&String> = lines
            .iter()
            .filter(|line| !expected.iter().any(|part| line.contains(part.as_str())))
            .collect();
        if !unexpected.is_empty() {
            return Err(format!("nobody expected {unexpected:?}"));
        }
    }
    Ok(())
}
