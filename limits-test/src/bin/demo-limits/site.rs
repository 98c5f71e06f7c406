//! Everything that runs.

use std::process::{Command, Stdio};

use limits_test::gateway::Gateway;
use limits_test::redis_server::{PASSWORD, RedisServer};
use limits_test::store_service::StoreService;

use crate::scenes;

const WORKERS: u32 = 2;

/// Where redis-proxy keeps the counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    Embedded,
    Redis,
}

impl Store {
    /// What `STORE` says.
    pub fn chosen() -> Result<Self, String> {
        match std::env::var("STORE").unwrap_or_default().as_str() {
            "" | "embedded" => Ok(Self::Embedded),
            "redis" => is_installed("redis-server")
                .and_then(|()| is_installed("redis-cli"))
                .map(|()| Self::Redis),
            other => Err(format!("STORE is embedded or redis, not {other}")),
        }
    }

    pub const fn words(self) -> &'static str {
        match self {
            Self::Embedded => "its memory",
            Self::Redis => "a real Redis",
        }
    }
}

fn is_installed(program: &str) -> Result<(), String> {
    let mut command = Command::new(program);
    command.arg("--version").stdout(Stdio::null());
    match command.status() {
        Ok(_) => Ok(()),
        Err(error) => Err(format!(
            "STORE=redis needs {program}, which does not start: {error}. Debian has it: apt-get install redis-server"
        )),
    }
}

/// One Envoy, one redis-proxy, perhaps one Redis. Fields end in this order.
pub struct Site {
    pub gateway: Gateway,
    pub proxy: StoreService,
    _redis: Option<RedisServer>,
}

impl Site {
    pub fn start(store: Store) -> Result<Self, String> {
        let redis = (store == Store::Redis).then(RedisServer::start);
        let mut config = "log = \"warn\"\n".to_owned();
        if let Some(redis) = &redis {
            config.push_str(&format!(
                "store = \"redis\"\n[redis]\naddresses = [\"{}\"]\npassword = \"{PASSWORD}\"\n",
                redis.address()
            ));
        }
        config.push_str(&scenes::tiers());
        let proxy = StoreService::start(&config);
        let gateway = Gateway::start(&scenes::rules(), proxy.address(), WORKERS)?;
        Ok(Self {
            gateway,
            proxy,
            _redis: redis,
        })
    }
}
