//! Everything that runs: one Envoy, one redis-proxy, and a Redis or a cluster of them.

use limits_test::gateway::Gateway;
use limits_test::redis_server::{Cluster, PASSWORD, RedisServer};
use limits_test::slow_link::SlowLink;
use limits_test::store_service::StoreService;
use serde_json::Value;

use crate::classes::{self, Class};

const WORKERS: u32 = 2;
/// A key of the primary that the fault will concern.
const VICTIMS: &str = "any";

/// What can be broken and mended.
pub trait Site {
    fn gateway(&mut self) -> &mut Gateway;
    fn proxy(&mut self) -> &mut StoreService;
    /// A tenant whose counts the fault will concern; no two calls name the same one.
    fn tenant(&mut self, class: Class) -> String;
    fn single(&mut self) -> Option<&mut Single>;
    fn cluster(&mut self) -> Option<&mut Clustered>;
}

/// One Redis, over a link that can be slow. Fields end in this order.
pub struct Single {
    gateway: Gateway,
    pub proxy: StoreService,
    pub link: SlowLink,
    pub redis: RedisServer,
    tenants: u32,
}

impl Single {
    pub fn start() -> Result<Box<dyn Site>, String> {
        Self::with(RedisServer::start(), &classes::rules())
    }

    /// Redis speaks TLS.
    pub fn start_tls() -> Result<Box<dyn Site>, String> {
        Self::with(RedisServer::start_tls(), &classes::rules())
    }

    /// The rules only say what they would do.
    pub fn start_unlimited() -> Result<Box<dyn Site>, String> {
        Self::with(RedisServer::start(), &classes::rules_in_shadow())
    }

    fn with(redis: RedisServer, rules: &Value) -> Result<Box<dyn Site>, String> {
        let link = SlowLink::to(redis.port());
        let tls = redis.trusted().map_or_else(String::new, |trusted| {
            format!("tls = true\nca_file = {trusted:?}\n")
        });
        let (gateway, proxy) = front("redis", &[link.address()], &tls, rules)?;
        Ok(Box::new(Self {
            gateway,
            proxy,
            link,
            redis,
            tenants: 0,
        }))
    }
}

impl Site for Single {
    fn gateway(&mut self) -> &mut Gateway {
        &mut self.gateway
    }

    fn proxy(&mut self) -> &mut StoreService {
        &mut self.proxy
    }

    fn tenant(&mut self, _: Class) -> String {
        self.tenants += 1;
        format!("tenant-{}", self.tenants)
    }

    fn single(&mut self) -> Option<&mut Single> {
        Some(self)
    }

    fn cluster(&mut self) -> Option<&mut Clustered> {
        None
    }
}

/// Three primaries with a replica each. Fields end in this order.
pub struct Clustered {
    gateway: Gateway,
    proxy: StoreService,
    pub cluster: Cluster,
    /// The primary that the fault will concern.
    pub victim: usize,
    tenants: u32,
}

impl Clustered {
    pub fn start() -> Result<Box<dyn Site>, String> {
        let cluster = Cluster::start();
        let (gateway, proxy) = front("cluster", &cluster.addresses(), "", &classes::rules())?;
        let victim = cluster.primary_of(VICTIMS);
        Ok(Box::new(Self {
            gateway,
            proxy,
            cluster,
            victim,
            tenants: 0,
        }))
    }
}

impl Site for Clustered {
    fn gateway(&mut self) -> &mut Gateway {
        &mut self.gateway
    }

    fn proxy(&mut self) -> &mut StoreService {
        &mut self.proxy
    }

    fn tenant(&mut self, class: Class) -> String {
        loop {
            self.tenants += 1;
            let tenant = format!("tenant-{}", self.tenants);
            let key = format!("kong:rl:{}:{tenant}:{}", class.dim(), class.window());
            // Whoever has the victim's keys now.
            if self.cluster.primary_of(&key) == self.cluster.primary_of(VICTIMS) {
                return tenant;
            }
        }
    }

    fn single(&mut self) -> Option<&mut Single> {
        None
    }

    fn cluster(&mut self) -> Option<&mut Clustered> {
        Some(self)
    }
}

fn front(
    store: &str,
    addresses: &[String],
    tls: &str,
    rules: &Value,
) -> Result<(Gateway, StoreService), String> {
    let config = format!(
        "store = \"{store}\"\nlog = \"warn\"\n[redis]\naddresses = {addresses:?}\npassword = \"{PASSWORD}\"\n{tls}"
    );
    let proxy = StoreService::start(&config);
    let gateway = Gateway::start(rules, proxy.address(), WORKERS)?;
    Ok((gateway, proxy))
}

/// Worker threads of the gateway: each has a local share of its own.
pub const fn workers() -> u32 {
    WORKERS
}
