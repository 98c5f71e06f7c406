//! A long deny list, in any gateway: it comes whole and its requests are decided meanwhile.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use serde_json::json;
use wire::lists::{ListName, Member};

use crate::gateway::{FilterSetup, Gateway};
use crate::{Request, World};

const ENTRIES: &str = "portcullis_fingerprint_deny_list_entries";
const DAY: Duration = Duration::from_secs(86_400);
const PATIENCE: Duration = Duration::from_secs(120);
/// D3 says two seconds, and has tests of its own; this is for busy machines.
const RELEASED_WITHIN: Duration = Duration::from_secs(10);

/// How it came.
#[derive(Clone, Copy, Debug)]
pub struct Came {
    /// From the first entry at the service to the last one in the worker.
    pub whole_after: Duration,
    /// The longest that a request took meanwhile.
    pub longest_request: Duration,
}

/// A gateway that follows the deny list of a world.
pub struct LongList<'a, G> {
    gateway: &'a mut G,
    world: World,
    entries: u32,
}

impl<'a, G: Gateway> LongList<'a, G> {
    /// Configures the gateway; the list is empty.
    ///
    /// # Errors
    /// When the gateway refuses that, or does not let requests pass.
    pub fn new(gateway: &'a mut G, entries: u32) -> Result<Self, String> {
        let world = World::new();
        let places = gateway.open(&world)?;
        let service = places.get("list_service").ok_or("no list service")?;
        let config = json!({
            "lists": {"upstream": service, "authority": "redis-proxy.internal"},
            "on_missing_list": "allow",
            "client": {"trusted_proxies": ["127.0.0.0/8"]},
            "sampling": {"every": 0},
        });
        let filter = FilterSetup {
            name: "fingerprint_deny".into(),
            config: config.to_string(),
        };
        gateway
            .configure(&[filter])?
            .map_err(|refused| refused.lines.join("\n"))?;
        let mut list = Self {
            gateway,
            world,
            entries,
        };
        for _ in 0..20 {
            list.expect(0, 200)?;
        }
        Ok(list)
    }

    /// The gateway.
    pub const fn gateway(&mut self) -> &mut G {
        self.gateway
    }

    /// Fills the list, waits until the worker holds all of it, and tries some of its entries.
    ///
    /// The gauge alone does not tell: Envoy's main thread follows the list too, and who is first sets it. The worker
    /// holds all of it once it refuses the last entry.
    ///
    /// # Errors
    /// When it does not come whole or a request is decided wrongly.
    pub fn fill(&mut self) -> Result<Came, String> {
        let now = self.gateway.now();
        for n in 0..self.entries {
            let member = Member::Ip(address(n).into());
            self.world.lists.add(ListName::Deny, member, DAY, now);
        }
        let last = self.entries.saturating_sub(1);
        let started = Instant::now();
        let mut longest_request = Duration::ZERO;
        loop {
            let (status, took) = self.ask(address(last))?;
            longest_request = longest_request.max(took);
            let here = self.gateway.metrics()?.get(ENTRIES).copied();
            if status == 403 && here == Some(u64::from(self.entries)) {
                break;
            }
            if started.elapsed() > PATIENCE {
                return Err(format!(
                    "{here:?} of {} entries came, the last one got {status}\n{}",
                    self.entries,
                    self.gateway.log()
                ));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let whole_after = started.elapsed();
        for n in [0, last / 2, last] {
            self.expect(n, 403)?;
        }
        self.expect(self.entries, 200)?;
        Ok(Came {
            whole_after,
            longest_request,
        })
    }

    /// Takes one entry off the full list: a small page again.
    ///
    /// # Errors
    /// When its client is still refused long after, or another one is not.
    pub fn release_one(&mut self) -> Result<(), String> {
        let member = Member::Ip(address(7).into());
        self.world.lists.remove(ListName::Deny, member);
        let started = Instant::now();
        while self.ask(address(7))?.0 != 200 && started.elapsed() < RELEASED_WITHIN {
            self.gateway.wait(Duration::from_millis(100));
        }
        self.expect(7, 200)?;
        self.expect(8, 403)
    }

    fn expect(&mut self, n: u32, status: u16) -> Result<(), String> {
        match self.ask(address(n))? {
            (got, _) if got == status => Ok(()),
            (got, _) => Err(format!("{}: {got} instead of {status}", address(n))),
        }
    }

    fn ask(&mut self, address: Ipv4Addr) -> Result<(u16, Duration), String> {
        let request = Request::get("/").header("x-forwarded-for", address.to_string());
        let exchange = self.gateway.send(vec![request])?.pop();
        let exchange = exchange.ok_or("no answer")?;
        Ok((exchange.status, exchange.took))
    }
}

fn address(n: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a00_0000_u32.saturating_add(n))
}
