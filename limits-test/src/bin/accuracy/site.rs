//! Everything that runs.

use std::net::SocketAddr;

use limits_test::gateway::{Counted, Gateway};
use limits_test::redis_server::{PASSWORD, RedisServer};
use limits_test::store_service::StoreService;
use serde_json::Value;

use crate::promises;
use crate::rows::Row;

const GATEWAYS: usize = 2;
const WORKERS: u32 = 2;

/// Two Envoys, a redis-proxy beside each, one Redis. Fields end in this order.
pub struct Site {
    gateways: Vec<Gateway>,
    _stores: Vec<StoreService>,
    _redis: RedisServer,
}

impl Site {
    pub fn start(rows: &[Row]) -> Result<Self, String> {
        let redis = RedisServer::start();
        let config = format!(
            "store = \"redis\"\nlog = \"warn\"\n\
             [redis]\naddresses = [\"{}\"]\npassword = \"{PASSWORD}\"\n\
             [tiers.tenants]\n{} = \"p3\"\n",
            redis.address(),
            promises::P3_TENANT,
        );
        let stores: Vec<StoreService> = (0..GATEWAYS)
            .map(|_| StoreService::start(&config))
            .collect();
        // A limit that is offered twice is one rule.
        let mut rules: Vec<Value> = Vec::new();
        for rule in rows.iter().map(Row::rule).chain(promises::rules()) {
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
        let rules = Value::Array(rules);
        let gateways = stores
            .iter()
            .map(|store| Gateway::start(&rules, store.address(), WORKERS))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            gateways,
            _stores: stores,
            _redis: redis,
        })
    }

    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.gateways.iter().map(Gateway::address).collect()
    }

    pub fn counted(&self) -> Result<Counted, String> {
        self.gateways
            .iter()
            .try_fold(Counted::default(), |sum, gateway| {
                Ok(sum.and(gateway.counted()?))
            })
    }

    /// What went wrong inside.
    pub fn check(&mut self) -> Result<(), String> {
        self.gateways.iter_mut().try_for_each(Gateway::check)
    }
}
