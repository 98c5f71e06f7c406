//! `portcullis config`: one tree of sources, the configurations of both gateways.
//!
//! A source file describes one thing: a service, a route, a plugin, a chain of filters. What is generated from them is
//! committed beside them, and never edited (L4).

mod build;
mod chain;
mod document;
mod entry;
mod envoy;
mod generated;
mod kong;
mod model;
mod plugin;
mod problems;
mod registry;
mod route;
mod rules;
mod service;
mod settings;
mod tree;

use clap::{Args, Subcommand};

use crate::outcome::{Failure, Outcome};

/// Build the configurations of Kong and Envoy from one tree of sources
#[derive(Debug, Args)]
pub struct Config {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Build(build::Build),
}

impl Config {
    pub fn run(self) -> Result<Outcome, Failure> {
        match self.command {
            Command::Build(command) => command.run(),
        }
    }
}
