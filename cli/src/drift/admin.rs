//! The admin port of a gateway: where it is, who is believed to be it, and by what it knows us.

use std::path::PathBuf;

use clap::Args;
use policy::duration::Span;

use crate::http::{Client, Request, Target, Trust};
use crate::outcome::Failure;
use crate::release::files;

#[derive(Debug, Args)]
pub struct Admin {
    /// The admin port: http://127.0.0.1:8001 of Kong, http://127.0.0.1:9901 of Envoy
    #[arg(long = "admin", value_name = "URL")]
    url: Target,
    /// A file with headers for it, `name: value` in each line: a token is in no command line
    #[arg(long, value_name = "FILE")]
    header_file: Option<PathBuf>,
    /// An environment variable with such a header
    #[arg(long, value_name = "NAME")]
    header_env: Option<String>,
    /// The certificates, PEM, that are believed of it [default: those that the system believes]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Longest wait for each answer
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = span)]
    timeout: Span,
}

/// Who asks it.
pub struct Asking {
    pub client: Client,
    headers: Vec<(String, String)>,
}

/// A duration of 1 ms to 10 minutes.
pub fn span(text: &str) -> Result<Span, String> {
    let span: Span = text.parse().map_err(str::to_owned)?;
    let millis = span.0.as_millis();
    if (1..=600_000).contains(&millis) {
        Ok(span)
    } else {
        Err("must be 1ms to 10m".to_owned())
    }
}

impl Admin {
    pub fn client(&self) -> Result<Asking, Failure> {
        self.url.without_user()?;
        let mut headers = Vec::new();
        if let Some(path) = &self.header_file {
            let text = files::read_text(path)?;
            let lines = text.lines().filter(|line| !line.trim().is_empty());
            for line in lines {
                let header = header(line)
                    .ok_or_else(|| Failure::of_file(path, "has a line that is no `name: value`"))?;
                headers.push(header);
            }
        }
        if let Some(name) = &self.header_env {
            let text = std::env::var(name).map_err(|_| {
                Failure::new(format!("the environment has no {name}, or no text in it"))
            })?;
            let header = header(&text)
                .ok_or_else(|| Failure::new(format!("what {name} holds is no `name: value`")))?;
            headers.push(header);
        }
        let trust = Trust::for_target(self.url.tls, self.ca.as_deref())?;
        Ok(Asking {
            client: Client::new(self.url.clone(), trust, self.timeout.0),
            headers,
        })
    }
}

fn header(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once(':')?;
    let (name, value) = (name.trim(), value.trim());
    let is_token = !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    (is_token && !value.is_empty()).then(|| (name.to_owned(), value.to_owned()))
}

impl Asking {
    /// What it answers to a `GET`: the status and the body.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn get(&self, path: &str) -> Result<(u16, Vec<u8>), Failure> {
        let request = Request::get(path);
        let request = self.headers.iter().fold(request, |request, (name, value)| {
            request.header(name, value)
        });
        let answer = self
            .client
            .send(&request)
            .map_err(|fault| Failure::new(format!("{}{path}: {fault}", self.client.target)))?;
        Ok((answer.status, answer.body))
    }

    /// The same, of which only a 200 with JSON is an answer.
    ///
    /// # Errors
    /// When there is none.
    pub fn json(&self, path: &str) -> Result<serde_json::Value, Failure> {
        let (status, body) = self.get(path)?;
        let at = || format!("{}{path}", self.client.target);
        match status {
            200 => serde_json::from_slice(&body)
                .map_err(|e| Failure::new(format!("{}: the answer is no JSON: {e}", at()))),
            401 | 403 => Err(Failure::new(format!(
                "{}: status {status}: it wants a token, --header-file or --header-env",
                at()
            ))),
            _ => Err(Failure::new(format!("{}: status {status}", at()))),
        }
    }
}
