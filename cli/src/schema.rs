//! `portcullis schema`: the options of a filter, for editors and other tools.

use std::fmt;

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use crate::filters::{self, Filter};
use crate::outcome::{Failure, Outcome};

/// Print the JSON Schema (draft 4) of a filter's configuration
#[derive(Debug, Args)]
pub struct Schema {
    /// The filter's name: auth, edge_headers, fingerprint_deny, quota, rate_limit, tarpit, …
    #[arg(value_parser = filter)]
    filter: &'static Filter,
}

/// The filter of that name, or what could have been meant.
///
/// # Errors
/// Where there is none.
pub fn filter(name: &str) -> Result<&'static Filter, String> {
    filters::find(name).ok_or_else(|| match filters::meant(name) {
        Some(meant) => format!("there is no such filter; did you mean {}?", meant.name),
        None => format!("there is no such filter; there are {}", filters::names()),
    })
}

#[derive(Serialize)]
#[serde(transparent)]
struct Printed(Value);

impl fmt::Display for Printed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl Schema {
    pub fn run(self) -> Result<Outcome, Failure> {
        Outcome::new(&Printed((self.filter.schema)()), true)
    }
}
