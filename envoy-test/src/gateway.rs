//! Envoy as the gateway of a case.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use policy::Time;
use testkit::gateway::{FilterSetup, Gateway, HostName, Refused};
use testkit::http_server::wall_clock;
use testkit::loopback::{self, Loopback};
use testkit::{Exchange, Request, World};

use crate::bootstrap::{Fingerprints, Listener, OnTrap, Tls};
use crate::process::Envoy;
use crate::{artifacts, log};

/// The listener with the filters.
pub const GUARDED: &str = "guarded";
/// The listener without any, for comparison.
pub const BARE: &str = "bare";

/// The listener with the filters that ends TLS, if there is to be one.
pub const SECURED: &str = "secured";

/// Envoy between a client and a world.
pub struct EnvoyGateway {
    workers: u32,
    on_trap: OnTrap,
    /// Modules that are not among the built filters.
    modules: BTreeMap<String, PathBuf>,
    tls: Option<Tls>,
    // Envoy ends before the services that it calls.
    envoy: Option<Envoy>,
    world: Loopback,
    address: Option<SocketAddr>,
    refused: bool,
}

impl EnvoyGateway {
    /// A gateway with so many worker threads. Nothing runs yet.
    ///
    /// # Panics
    /// When the machine has no more threads.
    #[must_use]
    pub fn new(workers: u32) -> Self {
        Self {
            workers,
            on_trap: OnTrap::FailClosed,
            modules: BTreeMap::new(),
            tls: None,
            envoy: None,
            world: Loopback::new(),
            address: None,
            refused: false,
        }
    }

    /// What Envoy does with a virtual machine that trapped.
    #[must_use]
    pub const fn on_trap(mut self, on_trap: OnTrap) -> Self {
        self.on_trap = on_trap;
        self
    }

    /// Runs this module under that name, instead of a built filter.
    #[must_use]
    pub fn module(mut self, name: &str, module: PathBuf) -> Self {
        self.modules.insert(name.to_owned(), module);
        self
    }

    /// With a listener that ends TLS too.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Where TLS clients go.
    ///
    /// # Errors
    /// When Envoy does not listen, or not for them.
    pub fn secured_address(&mut self) -> Result<SocketAddr, String> {
        self.envoy()?.listener(SECURED)
    }

    /// The running Envoy.
    ///
    /// # Errors
    /// When none runs.
    pub fn envoy(&mut self) -> Result<&mut Envoy, String> {
        self.envoy
            .as_mut()
            .ok_or_else(|| "Envoy has not been started".to_owned())
    }

    /// Where requests go that the filters look at.
    ///
    /// # Errors
    /// When Envoy does not listen.
    pub fn address(&self) -> Result<SocketAddr, String> {
        self.address
            .ok_or_else(|| "Envoy does not listen yet".to_owned())
    }

    /// Where requests go that no filter looks at.
    ///
    /// # Errors
    /// When Envoy does not listen.
    pub fn bare_address(&mut self) -> Result<SocketAddr, String> {
        self.envoy()?.listener(BARE)
    }
}

impl Gateway for EnvoyGateway {
    fn host(&self) -> HostName {
        HostName::Envoy
    }

    fn open(&mut self, world: &World) -> Result<BTreeMap<String, String>, String> {
        self.world.open(world)?;
        let names = world.services().into_iter().map(|(name, _)| name);
        Ok(names.map(|name| (name.clone(), name)).collect())
    }

    fn configure(&mut self, filters: &[FilterSetup]) -> Result<Result<(), Refused>, String> {
        let filters = filters
            .iter()
            .map(|filter| {
                let module = match self.modules.get(&filter.name) {
                    Some(module) => module.clone(),
                    None => artifacts::wasm(&filter.name)?,
                };
                Ok((filter.clone(), module))
            })
            .collect::<Result<Vec<_>, String>>()?;
        let mut listeners = vec![
            Listener {
                name: GUARDED.into(),
                on_trap: self.on_trap,
                filters: filters.clone(),
                fingerprints: Fingerprints::Headers,
            },
            Listener {
                name: BARE.into(),
                on_trap: self.on_trap,
                filters: Vec::new(),
                fingerprints: Fingerprints::None,
            },
        ];
        if let Some(tls) = &self.tls {
            listeners.push(Listener {
                name: SECURED.into(),
                on_trap: self.on_trap,
                filters,
                fingerprints: Fingerprints::Tls(tls.clone()),
            });
        }
        let result = match &mut self.envoy {
            Some(envoy) => envoy.reload(&listeners)?,
            None => {
                let (envoy, result) =
                    Envoy::start(self.world.addresses(), &listeners, self.workers)?;
                self.envoy = Some(envoy);
                result
            }
        };
        match result {
            Ok(()) => {
                self.address = Some(self.envoy()?.listener(GUARDED)?);
                Ok(Ok(()))
            }
            Err(rejected) => {
                self.refused = true;
                Ok(Err(Refused {
                    lines: rejected.log.lines().map(str::to_owned).collect(),
                }))
            }
        }
    }

    fn world_changed(&mut self) -> Result<(), String> {
        self.world.follow()
    }

    fn now(&self) -> Time {
        wall_clock()
    }

    fn send(&mut self, requests: Vec<Request>) -> Result<Vec<Exchange>, String> {
        loopback::send(self.address()?, requests)
    }

    fn wait(&mut self, time: Duration) {
        std::thread::sleep(time);
    }

    fn metrics(&mut self) -> Result<BTreeMap<String, u64>, String> {
        Ok(self.envoy()?.stats()?.custom())
    }

    fn log(&mut self) -> String {
        self.envoy.as_ref().map(Envoy::log).unwrap_or_default()
    }

    fn settles_late(&self) -> bool {
        true
    }

    fn stop(&mut self, expected: &[String]) -> Result<(), String> {
        let Some(mut envoy) = self.envoy.take() else {
            return Ok(());
        };
        let mut faults = Vec::new();
        if envoy.is_running() {
            faults.extend(envoy.stats()?.vm_failures());
        } else {
            faults.push("Envoy has ended by itself".to_owned());
        }
        let mut expected = expected.to_vec();
        if self.refused {
            expected.extend(AFTER_A_REFUSAL.map(str::to_owned));
        }
        let log = envoy.log();
        faults.extend(
            log::errors(&log, &expected)
                .into_iter()
                .map(|line| format!("an error in Envoy's log: {line}")),
        );
        if faults.is_empty() {
            Ok(())
        } else {
            Err(faults.join("\n    "))
        }
    }
}

/// What Envoy itself says when a filter refuses its configuration.
const AFTER_A_REFUSAL: [&str; 2] = [
    "Wasm VM failed Failed to configure base Wasm plugin",
    "failed to load",
];
