//! What a case needs of a gateway, so that the same cases run in this process, in Envoy and in Kong.

use std::collections::BTreeMap;
use std::time::Duration;

use policy::{Filter, Time};
use serde::Deserialize;

use crate::drive::{Drive, Flavour};
use crate::exchange::Exchange;
use crate::request::Request;
use crate::world::World;

/// Where cases run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostName {
    /// In this process.
    Drive,
    Envoy,
    Kong,
}

/// A filter in the gateway's chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterSetup {
    /// The name of the `.wasm` file: `rate_limit`.
    pub name: String,
    /// Its configuration, as text.
    pub config: String,
}

/// The gateway did not take a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why, line by line; a real gateway's log may hold more.
    pub lines: Vec<String>,
}

/// A gateway with filters, between a client and a [`World`].
pub trait Gateway {
    fn host(&self) -> HostName;

    /// What its transcripts are called.
    fn manner(&self) -> &'static str {
        match self.host() {
            HostName::Drive => "drive",
            HostName::Envoy => "envoy",
            HostName::Kong => "kong",
        }
    }

    /// Brings up what is behind the gateway. The result says how configurations name the services:
    /// a cluster in Envoy, `host:port` in Kong.
    ///
    /// # Errors
    /// When that failed.
    fn open(&mut self, world: &World) -> Result<BTreeMap<String, String>, String>;

    /// Loads the filters; starts the gateway the first time, reloads it afterwards.
    ///
    /// # Errors
    /// The outer one when the gateway is out of order, the inner one when it refused.
    fn configure(&mut self, filters: &[FilterSetup]) -> Result<Result<(), Refused>, String>;

    /// The world was changed: what real connections must know of it becomes true now.
    ///
    /// # Errors
    /// When that failed.
    fn world_changed(&mut self) -> Result<(), String> {
        Ok(())
    }

    /// The time that the filters see.
    fn now(&self) -> Time;

    /// Sends requests, all at once, and waits for all responses, in order.
    ///
    /// # Errors
    /// When a request could not be sent.
    fn send(&mut self, requests: Vec<Request>) -> Result<Vec<Exchange>, String>;

    /// Lets time pass.
    fn wait(&mut self, time: Duration);

    /// Metrics by exported name.
    ///
    /// # Errors
    /// When they cannot be read.
    fn metrics(&mut self) -> Result<BTreeMap<String, u64>, String>;

    /// The gateway's log so far.
    fn log(&mut self) -> String;

    /// Whether counters may still be on their way when a response is here.
    fn settles_late(&self) -> bool;

    /// Ends the gateway.
    ///
    /// # Errors
    /// What went wrong in it: errors in its log but for the `expected` ones, failures of its
    /// virtual machines.
    fn stop(&mut self, expected: &[String]) -> Result<(), String>;
}

/// [`Drive`] as a gateway.
pub struct DriveGateway<F: Filter> {
    flavour: Flavour,
    world: World,
    drive: Option<Drive<F>>,
}

impl<F: Filter> DriveGateway<F> {
    #[must_use]
    pub fn new(flavour: Flavour) -> Self {
        Self {
            flavour,
            world: World::new(),
            drive: None,
        }
    }

    fn drive(&mut self) -> Result<&mut Drive<F>, String> {
        self.drive
            .as_mut()
            .ok_or_else(|| "no configuration has been loaded".to_owned())
    }
}

impl<F: Filter> Gateway for DriveGateway<F> {
    fn host(&self) -> HostName {
        HostName::Drive
    }

    fn manner(&self) -> &'static str {
        match self.flavour {
            Flavour::Envoy => "like_envoy",
            Flavour::Kong => "like_kong",
        }
    }

    fn open(&mut self, world: &World) -> Result<BTreeMap<String, String>, String> {
        self.world = world.clone();
        Ok(world
            .services()
            .into_iter()
            .map(|(name, _)| (name.clone(), name))
            .collect())
    }

    fn configure(&mut self, filters: &[FilterSetup]) -> Result<Result<(), Refused>, String> {
        let [filter] = filters else {
            return Err("in this process filters run one at a time".into());
        };
        if filter.name != F::NAME {
            return Err(format!("this is {}, not {}", F::NAME, filter.name));
        }
        let loaded = match &mut self.drive {
            Some(drive) => drive.reload(&filter.config),
            None => Drive::like(self.flavour, &filter.config, self.world.clone())
                .map(|drive| self.drive = Some(drive)),
        };
        Ok(loaded.map_err(|errors| Refused {
            lines: errors.lines(F::NAME).collect(),
        }))
    }

    fn now(&self) -> Time {
        self.drive
            .as_ref()
            .map_or(crate::drive::BEGINNING, Drive::now)
    }

    fn send(&mut self, requests: Vec<Request>) -> Result<Vec<Exchange>, String> {
        let drive = self.drive()?;
        let tickets: Vec<_> = requests.into_iter().map(|r| drive.start(r)).collect();
        Ok(tickets.into_iter().map(|t| drive.finish(t)).collect())
    }

    fn wait(&mut self, time: Duration) {
        if let Some(drive) = &mut self.drive {
            drive.advance(time);
        }
    }

    fn metrics(&mut self) -> Result<BTreeMap<String, u64>, String> {
        Ok(self.drive()?.metrics().clone())
    }

    fn log(&mut self) -> String {
        let Ok(drive) = self.drive() else {
            return String::new();
        };
        drive
            .logs()
            .iter()
            .map(|(level, line)| format!("[{level:?}] {line}\n"))
            .collect()
    }

    fn settles_late(&self) -> bool {
        false
    }

    fn stop(&mut self, expected: &[String]) -> Result<(), String> {
        let errors: Vec<String> = self
            .drive
            .iter()
            .flat_map(Drive::logs)
            .filter(|(level, _)| *level == policy::Level::Error)
            .map(|(_, line)| line.clone())
            .filter(|line| !expected.iter().any(|e| line.contains(e.as_str())))
            .collect();
        if errors.is_empty() {
            Ok(())
        } else {
            Err(format!("errors in the log:\n{}", errors.join("\n")))
        }
    }
}
