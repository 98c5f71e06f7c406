//! How every subcommand ends: with an outcome, good or bad, or with a failure to do anything.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::ValueEnum;
use serde::Serialize;
use serde_json::{Value, json};

/// How an outcome is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON document, for programs.
    Json,
}

/// What a subcommand found.
#[derive(Debug)]
pub struct Outcome {
    good: bool,
    text: String,
    json: Value,
}

impl Outcome {
    /// The outcome of a report: its `Display` is the text, its `Serialize` the JSON. Exit code 0 if it is good, 1 if
    /// something is wrong with what was looked at.
    ///
    /// # Errors
    /// When the report cannot be written as JSON.
    pub fn new<R: Display + Serialize>(report: &R, good: bool) -> Result<Self, Failure> {
        let json = serde_json::to_value(report)
            .map_err(|e| Failure::new(format!("the outcome cannot be written as JSON: {e}")))?;
        Ok(Self {
            good,
            text: report.to_string(),
            json,
        })
    }

    /// Writes it, with a newline at its end.
    ///
    /// # Errors
    /// When the output takes no more.
    pub fn write(&self, format: Format, out: &mut impl Write) -> io::Result<()> {
        match format {
            Format::Text => writeln!(out, "{}", self.text.trim_end_matches('\n')),
            Format::Json => writeln!(out, "{:#}", self.json),
        }
    }

    /// 0 or 1.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(u8::from(!self.good))
    }
}

/// Why nothing could be done. Exit code 3, unless the subcommand has another for it. Never holds a secret.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    why: String,
    code: u8,
}

impl Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.why)
    }
}

impl Failure {
    #[must_use]
    pub fn new(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            code: 3,
        }
    }

    /// Something about a file: `kong.yml: No such file or directory`.
    #[must_use]
    pub fn of_file(path: &Path, why: impl Display) -> Self {
        Self::new(format!("{}: {why}", path.display()))
    }

    /// The same with another exit code.
    #[must_use]
    pub fn with_exit_code(self, code: u8) -> Self {
        Self { code, ..self }
    }

    /// Says so on standard error.
    #[must_use]
    pub fn exit(&self, format: Format) -> ExitCode {
        match format {
            Format::Text => eprintln!("error: {}", self.why),
            Format::Json => eprintln!("{:#}", json!({ "error": self.why })),
        }
        ExitCode::from(self.code)
    }
}
