//! What this filter is for, in one sentence.

mod config;

use policy::{Cx, Event, Fault, NoMetric, Phases, Policy, Reply, Verdict};

pub use config::{Config, Raw};

/// The state of one request.
#[derive(Debug)]
pub struct NewFilter;

impl Policy for NewFilter {
    const NAME: &'static str = "new_filter";
    const PHASES: Phases = Phases::NONE;
    type Config = Config;
    type Keeper = ();
    type Metric = NoMetric;
    const CODES: &'static [&'static str] = &["closed"];

    fn new() -> Self {
        Self
    }

    fn on_request(&mut self, event: Event<'_>, cx: &mut Cx<'_, Self>) -> Result<Verdict, Fault> {
        match event {
            Event::Headers if cx.config.closed() => Ok(Verdict::Deny(Reply::problem(
                403,
                "closed",
                "Nothing passes here",
            ))),
            Event::Headers => Ok(Verdict::Allow),
            Event::Body(_) | Event::Answer(_) | Event::Woke => {
                Err(Fault::Unexpected("nothing was asked for"))
            }
        }
    }
}

#[cfg(all(target_arch = "wasm32", target_os = "wasi", feature = "module"))]
host::main!(NewFilter);
