//! Kong as the gateway of a case.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use policy::Time;
use testkit::gateway::{FilterSetup, Gateway, HostName, Refused};
use testkit::http_server::wall_clock;
use testkit::loopback::{self, Loopback, UPSTREAM};
use testkit::{Exchange, Request, World, workspace};

use crate::document::{Form, document};
use crate::metrics::Metrics;
use crate::process::Kong;
use crate::source::Source;
use crate::{log, pool};

/// Kong between a client and a world.
pub struct KongGateway {
    source: Source,
    workers: u32,
    /// Configurations are text, which only the filters judge.
    text: bool,
    /// Modules that are not among the built filters.
    modules: BTreeMap<String, PathBuf>,
    // Kong ends before the services that it calls.
    kong: Option<Kong>,
    world: Loopback,
    /// The names of the filters in the chain.
    chain: Vec<String>,
    /// What had been counted before.
    base: Metrics,
    refused: bool,
}

impl KongGateway {
    /// A gateway with so many worker processes. Nothing runs yet.
    #[must_use]
    pub fn new(source: Source, workers: u32) -> Self {
        Self {
            source,
            workers,
            text: false,
            modules: BTreeMap::new(),
            kong: None,
            world: Loopback::new(),
            chain: Vec::new(),
            base: Metrics::default(),
            refused: false,
        }
    }

    /// Runs this module under that name, beside the built filters, in a Kong of its own.
    #[must_use]
    pub fn module(mut self, name: &str, module: PathBuf) -> Self {
        self.modules.insert(name.to_owned(), module);
        self
    }

    /// Without the filters' `.meta.json`: Kong takes configurations as text alone, and leaves it to the filters to
    /// refuse them.
    #[must_use]
    pub const fn as_text(mut self) -> Self {
        self.text = true;
        self
    }

    /// The running Kong.
    ///
    /// # Errors
    /// When none runs.
    pub fn kong(&mut self) -> Result<&mut Kong, String> {
        self.kong
            .as_mut()
            .ok_or_else(|| "Kong has not been started".to_owned())
    }

    fn start(&mut self, filters: &[FilterSetup]) -> Result<(), String> {
        self.chain = filters.iter().map(|filter| filter.name.clone()).collect();
        let kong = if self.modules.is_empty() {
            pool::take(&self.source, self.workers, !self.text)?
        } else {
            let mut modules = self.modules.clone();
            for name in &self.chain {
                if !modules.contains_key(name) {
                    let built = workspace::artifact(pool::ARTIFACTS, name)?;
                    modules.insert(name.clone(), built);
                }
            }
            Kong::start(&self.source, self.workers, &modules, !self.text)?
        };
        self.kong = Some(kong);
        self.base = self.counted()?;
        Ok(())
    }

    fn counted(&mut self) -> Result<Metrics, String> {
        let chain = self.chain.clone();
        let names: Vec<&str> = chain.iter().map(String::as_str).collect();
        self.kong()?.metrics(&names)
    }
}

impl Gateway for KongGateway {
    fn host(&self) -> HostName {
        HostName::Kong
    }

    fn open(&mut self, world: &World) -> Result<BTreeMap<String, String>, String> {
        self.world.open(world)?;
        let places = self.world.addresses().iter();
        Ok(places
            .map(|(name, address)| (name.clone(), address.to_string()))
            .collect())
    }

    fn configure(&mut self, filters: &[FilterSetup]) -> Result<Result<(), Refused>, String> {
        if self.kong.is_none() {
            self.start(filters)?;
        }
        let upstream = self.world.addresses().get(UPSTREAM).copied();
        let upstream = upstream.ok_or("the world has not been opened")?;
        let form = if self.text { Form::Text } else { Form::Object };
        let document = document(upstream, filters, form)?;
        let loaded = self.kong()?.load(&document)?;
        Ok(loaded.map_err(|rejected| {
            self.refused = true;
            Refused {
                lines: rejected.lines,
            }
        }))
    }

    fn world_changed(&mut self) -> Result<(), String> {
        self.world.follow()
    }

    fn now(&self) -> Time {
        wall_clock()
    }

    fn send(&mut self, requests: Vec<Request>) -> Result<Vec<Exchange>, String> {
        let mut exchanges = loopback::send(self.kong()?.proxy(), requests)?;
        // A header that a filter removed arrives empty: Kong offers nothing better.
        for seen in exchanges.iter_mut().filter_map(|e| e.upstream.as_mut()) {
            seen.headers.retain(|(_, value)| !value.bytes().is_empty());
        }
        Ok(exchanges)
    }

    fn wait(&mut self, time: Duration) {
        std::thread::sleep(time);
    }

    fn metrics(&mut self) -> Result<BTreeMap<String, u64>, String> {
        Ok(self.counted()?.since(&self.base))
    }

    fn log(&mut self) -> String {
        let log = self.kong.as_ref().map(Kong::log).unwrap_or_default();
        log::without_context(&log)
    }

    fn settles_late(&self) -> bool {
        true
    }

    fn stop(&mut self, expected: &[String]) -> Result<(), String> {
        let Some(mut kong) = self.kong.take() else {
            return Ok(());
        };
        let mut faults = Vec::new();
        if !kong.is_running() {
            faults.push("Kong has ended by itself".to_owned());
        }
        let log = log::without_context(&kong.log());
        faults.extend(
            log::faults(&log, expected, self.refused)
                .into_iter()
                .map(|line| format!("in Kong's log: {line}")),
        );
        if !faults.is_empty() {
            return Err(faults.join("\n    "));
        }
        if self.modules.is_empty() {
            pool::give_back(kong)?;
        }
        Ok(())
    }
}
