//! `portcullis`: what an operator and a pipeline ask before anything reaches a gateway, and of one that runs.
//!
//! Each subcommand is a module of its own: a struct of arguments with one method, `run`, which returns an
//! [`Outcome`] or a [`Failure`]. What is printed, in which form and with which exit code, is decided here alone.

mod canary;
mod check_config;
mod completions;
mod config;
mod drift;
mod filters;
mod finding;
mod http;
mod keygen;
mod kong;
mod lint;
mod outcome;
mod package;
mod promote;
mod provenance;
mod release;
mod schema;
mod secret;
mod sign;
mod verify;
mod verify_gateway;
mod yaml;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::outcome::{Failure, Format, Outcome};

const EXIT_CODES: &str = "\
Exit codes:
  0  done, and nothing is wrong
  1  something is wrong with what was looked at; the output says what
  2  the command line is wrong
  3  it could not be done: a file cannot be read, a service does not answer";

/// Checks configurations and modules of Portcullis before they reach a gateway.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, after_help = EXIT_CODES, max_term_width = 100)]
struct Cli {
    /// How to print the outcome.
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    CheckConfig(check_config::CheckConfig),
    Lint(lint::Lint),
    Config(config::Config),
    Drift(drift::Drift),
    VerifyGateway(verify_gateway::VerifyGateway),
    Schema(schema::Schema),
    Completions(completions::Completions),
    Keygen(keygen::Keygen),
    Sign(sign::Sign),
    Promote(promote::Promote),
    Verify(verify::Verify),
    Provenance(provenance::Provenance),
    Package(package::Package),
    Canary(canary::Canary),
}

impl Command {
    fn run(self) -> Result<Outcome, Failure> {
        match self {
            Self::CheckConfig(command) => command.run(),
            Self::Lint(command) => command.run(),
            Self::Config(command) => command.run(),
            Self::Drift(command) => command.run(),
            Self::VerifyGateway(command) => command.run(),
            Self::Schema(command) => command.run(),
            Self::Completions(command) => command.run(),
            Self::Keygen(command) => command.run(),
            Self::Sign(command) => command.run(),
            Self::Promote(command) => command.run(),
            Self::Verify(command) => command.run(),
            Self::Provenance(command) => command.run(),
            Self::Package(command) => command.run(),
            Self::Canary(command) => command.run(),
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let format = cli.format;
    match cli.command.run() {
        Ok(outcome) => {
            let mut stdout = std::io::stdout().lock();
            let written = outcome.write(format, &mut stdout);
            // Who has closed the pipe has read enough.
            match written.and_then(|()| stdout.flush()) {
                Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                    Failure::new(format!("the outcome cannot be written: {error}")).exit(format)
                }
                _ => outcome.exit_code(),
            }
        }
        Err(failure) => failure.exit(format),
    }
}
