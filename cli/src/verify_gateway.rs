//! `portcullis verify-gateway`: what a client outside can see of a running gateway, held against the requirements.

mod credentials;
mod headers;
mod identity;
mod limits;
mod old_tls;
mod requests;
mod transport;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use policy::duration::Span;
use serde::Serialize;

use crate::drift::span;
use crate::http::{Answer, Client, Fault, Request, Target, Trust};
use crate::outcome::{Failure, Outcome};

use self::credentials::Credentials;

/// Check what a client outside can see of a running gateway: an assertion for each requirement
///
/// Only requests that change nothing, and few; --load adds those that provoke a 429. What cannot be asked is skipped, with
/// the reason, and counts neither way. Credentials come from a folder or from the environment, are sent to this gateway
/// alone, and are shown nowhere. Exit code 1 if an assertion fails, 3 if the gateway cannot be reached.
#[derive(Debug, Args)]
pub struct VerifyGateway {
    /// Where the gateway is: https://api.example.com
    url: Target,
    /// A path that wants a credential, and that GET reads
    #[arg(long, value_name = "PATH", default_value = "/v1/orders", value_parser = path)]
    path: String,
    /// A path that wants none
    #[arg(long, value_name = "PATH", default_value = "/health", value_parser = path)]
    public_path: String,
    /// A path that wants none, and whose service answers with the headers that it got [default: --public-path, if it does]
    #[arg(long, value_name = "PATH", value_parser = path)]
    echo_path: Option<String>,
    /// A folder with credentials, each in a file: token, expired-token, wrong-issuer-token, wrong-audience-token, api-key
    /// [default: the environment's PORTCULLIS_TOKEN, PORTCULLIS_EXPIRED_TOKEN, …, PORTCULLIS_API_KEY]
    #[arg(long, value_name = "DIR")]
    credentials: Option<PathBuf>,
    /// Also send requests until one is refused with 429
    #[arg(long)]
    load: bool,
    /// Where to, with the token if there is one [default: --path]
    #[arg(long, value_name = "PATH", requires = "load", value_parser = path)]
    load_path: Option<String>,
    /// How many at most
    #[arg(long, value_name = "COUNT", requires = "load", default_value_t = 2000)]
    load_requests: u32,
    /// The certificates, PEM, that are believed [default: those that the system believes]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Longest wait for each answer
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = span)]
    timeout: Span,
}

fn path(text: &str) -> Result<String, &'static str> {
    let plain = text.starts_with('/') && text.bytes().all(|b| b.is_ascii_graphic());
    if plain && !text.contains(['?', '#']) {
        Ok(text.to_owned())
    } else {
        Err("must be a path without a query")
    }
}

/// The gateway, and what is known of it.
struct Gateway {
    client: Client,
    options: VerifyGateway,
    credentials: Credentials,
}

/// A promise that can be seen from outside.
struct Assertion {
    name: &'static str,
    /// The row of the requirements that it holds the gateway to; `ours` where nobody asked for it.
    requirement: &'static str,
    says: &'static str,
    check: fn(&Gateway) -> Verdict,
}

/// What came of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Pass,
    Fail(String),
    /// It could not be asked: this is no pass.
    Skipped(String),
}

impl Verdict {
    fn fail(why: impl Into<String>) -> Self {
        Self::Fail(why.into())
    }

    fn skipped(why: impl Into<String>) -> Self {
        Self::Skipped(why.into())
    }

    /// Pass if it holds, else fail with the reason.
    fn of(holds: bool, why: impl FnOnce() -> String) -> Self {
        if holds { Self::Pass } else { Self::Fail(why()) }
    }
}

/// A check that ends early, with `?`.
type Checked = Result<(), Verdict>;

impl From<Checked> for Verdict {
    fn from(checked: Checked) -> Self {
        match checked {
            Ok(()) => Self::Pass,
            Err(verdict) => verdict,
        }
    }
}

impl From<Fault> for Verdict {
    fn from(fault: Fault) -> Self {
        match fault {
            // That is one failure, of `certificate`; nothing else could be asked.
            Fault::Tls(_) => {
                Self::Skipped("there is no TLS to ask it over: see certificate".to_owned())
            }
            fault => Self::Fail(fault.to_string()),
        }
    }
}

#[derive(Serialize)]
struct Report {
    gateway: String,
    passed: usize,
    failed: usize,
    skipped: usize,
    assertions: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    name: &'static str,
    requirement: &'static str,
    says: &'static str,
    verdict: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    why: String,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.assertions {
            write!(
                f,
                "{:<7}  {:<6}  {:<22}  {}",
                line.verdict, line.requirement, line.name, line.says
            )?;
            if line.why.is_empty() {
                writeln!(f)?;
            } else {
                writeln!(f, "\n{:>41}{}", "-- ", line.why)?;
            }
        }
        write!(
            f,
            "{}: {} passed, {} failed, {} skipped",
            self.gateway, self.passed, self.failed, self.skipped
        )
    }
}

impl VerifyGateway {
    pub fn run(self) -> Result<Outcome, Failure> {
        self.url.without_user()?;
        let credentials = Credentials::read(self.credentials.as_deref())?;
        let trust = Trust::for_target(self.url.tls, self.ca.as_deref())?;
        let client = Client::new(self.url.clone(), trust, self.timeout.0);
        let gateway = Gateway {
            client,
            options: self,
            credentials,
        };
        gateway.is_there()?;
        let all = [
            transport::ASSERTIONS,
            headers::ASSERTIONS,
            identity::ASSERTIONS,
            requests::ASSERTIONS,
            limits::ASSERTIONS,
        ];
        let assertions: Vec<Line> = all
            .into_iter()
            .flatten()
            .map(|assertion| {
                let (verdict, why) = match (assertion.check)(&gateway) {
                    Verdict::Pass => ("pass", String::new()),
                    Verdict::Fail(why) => ("FAIL", why),
                    Verdict::Skipped(why) => ("skipped", why),
                };
                Line {
                    name: assertion.name,
                    requirement: assertion.requirement,
                    says: assertion.says,
                    verdict,
                    why,
                }
            })
            .collect();
        let count = |verdict| assertions.iter().filter(|it| it.verdict == verdict).count();
        let report = Report {
            gateway: gateway.client.target.to_string(),
            passed: count("pass"),
            failed: count("FAIL"),
            skipped: count("skipped"),
            assertions,
        };
        let good = report.failed == 0 && report.passed > 0;
        Outcome::new(&report, good)
    }
}

impl Gateway {
    /// Nothing can be said of a gateway that nobody can connect to, or that does not answer.
    fn is_there(&self) -> Result<(), Failure> {
        match self.get(&self.options.public_path) {
            Err(fault @ (Fault::Connect(_) | Fault::Timeout)) => {
                Err(Failure::new(format!("{}: {fault}", self.client.target)))
            }
            _ => Ok(()),
        }
    }

    fn get(&self, path: &str) -> Result<Answer, Fault> {
        self.client.send(&Request::get(path))
    }

    fn public(&self) -> Result<Answer, Fault> {
        self.get(&self.options.public_path)
    }

    /// A request for what wants a credential.
    fn protected(&self) -> Request {
        Request::get(&self.options.path)
    }

    fn send(&self, request: &Request) -> Result<Answer, Fault> {
        self.client.send(request)
    }

    /// A request that a service answers with the headers that it got, and its answer; a skipped verdict if none does.
    fn echo(&self, edit: impl FnOnce(Request) -> Request) -> Result<Answer, Verdict> {
        let path = self
            .options
            .echo_path
            .as_deref()
            .unwrap_or(&self.options.public_path);
        let marker = format!("echo-{:x}", std::process::id());
        let request = Request::get(path).header("x-portcullis-verify", &marker);
        let answer = self.send(&edit(request))?;
        if answer.mentions(&marker) {
            return Ok(answer);
        }
        Err(Verdict::skipped(format!(
            "the service at {path} does not tell the headers that it got (status {}): name one with --echo-path",
            answer.status
        )))
    }

    /// The credential of that name, or why there is none.
    fn credential(&self, name: &str) -> Result<&str, Verdict> {
        self.credentials.get(name).ok_or_else(|| {
            Verdict::skipped(format!(
                "there is no {name}: --credentials, or {}",
                credentials::variable(name)
            ))
        })
    }

    const fn timeout(&self) -> Duration {
        self.client.timeout()
    }
}

/// A refusal for want of a credential, and nothing else.
fn unauthorized(answer: &Answer) -> Checked {
    let code = code_of(answer);
    match (answer.status, code.as_deref()) {
        (401, _) => Ok(()),
        (429, Some("too_many_failures")) => {
            let after = answer.header("retry-after").unwrap_or("some");
            Err(Verdict::skipped(format!(
                "the gateway has seen too many failures from here: try again in {after} s"
            )))
        }
        (status, Some(code)) => Err(Verdict::fail(format!("status {status}, {code}, not 401"))),
        (status, None) => Err(Verdict::fail(format!("status {status}, not 401"))),
    }
}

/// The `code` of a problem document.
fn code_of(answer: &Answer) -> Option<String> {
    let problem: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
    problem.get("code")?.as_str().map(str::to_owned)
}

/// Whether it was passed on, or at least not refused.
const fn is_success(answer: &Answer) -> bool {
    answer.status >= 200 && answer.status < 400
}
