//! Everything that runs: the services, the upstream, and one Envoy with one worker for each variant.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use kong_test::Source;
use limits_test::store_service::StoreService;
use serde_json::json;
use tempfile::TempDir;
use testkit::http_server::wall_clock;
use testkit::loopback::Loopback;
use testkit::mint::jwks;
use testkit::{Key, Token, World};
use wire::lists::ListName;
use wire::quota::Quota;

use crate::client::{Load, Requests, Served};
use crate::gateway::Gateway;
use crate::limiter::{self, Limiter};
use crate::process;
use crate::variant::{
    AUDIENCE, Asks, ENTRIES, End, Host, ISSUER, JWKS_PATH, LONG_TARPIT, New, QUOTAS, REDIS_PROXY,
    Variant,
};
use crate::workers;

/// What Kong's own plugin takes for a credential; every request carries it.
pub const API_KEY: &str = "bench-key";
/// Whose requests they are.
const TENANT: &str = "tenant-3";
/// Lists and keys are there by then.
const SETTLED: Duration = Duration::from_secs(4);
/// Sent before a round counts: what has lapsed since the round before is fetched again, and connections are open.
const LEAD_IN: Duration = Duration::from_millis(50);
/// Workers of the Envoy whose memory is compared with that of one.
const WORKERS: u32 = 5;

/// A variant that runs.
pub struct Running {
    pub variant: Variant,
    gateway: Gateway,
    address: SocketAddr,
    /// The process that it asks, if there is one whose CPU counts.
    service: Option<u32>,
}

/// The requests of one round.
pub struct Sends {
    same: Requests,
    tokens: Requests,
    clients: Requests,
}

impl Sends {
    fn to(&self, variant: &Variant) -> Requests {
        match variant.new {
            New::Nothing => &self.same,
            New::Token => &self.tokens,
            New::Client => &self.clients,
        }
        .clone()
    }
}

/// All of them, and what they need.
pub struct Site {
    pub running: Vec<Running>,
    clusters: BTreeMap<String, SocketAddr>,
    /// With the modules that are made here.
    _folder: TempDir,
    key: Key,
    /// Tokens and clients so far.
    made: usize,
    token: String,
    // These end after the gateways.
    _upstream: Option<Gateway>,
    _redis_proxy: Option<StoreService>,
    world: World,
    _services: [Loopback; 2],
}

impl Site {
    /// Starts the variants that `choose` makes of the keys and a folder for modules.
    ///
    /// # Errors
    /// When something did not start.
    pub fn start(
        limiter: Option<&Limiter>,
        choose: impl FnOnce(&str, &Path) -> Result<Vec<Variant>, String>,
    ) -> Result<Self, String> {
        let key = Key::rsa("bench", 0);
        let (world, long_tarpit) = (World::new(), World::new());
        world.auth.publish(JWKS_PATH, [&key]);
        let now = wall_clock();
        for n in 0..ENTRIES {
            let entry = format!("ip {} 24h", workers::entry(n));
            world.lists.add_text(ListName::Deny, &entry, now)?;
            long_tarpit.lists.add_text(ListName::Tarpit, &entry, now)?;
        }
        world.limits.set_quota(TENANT, Some(quota()));
        let mut services = [Loopback::new(), Loopback::new()];
        let [first, second] = &mut services;
        first.open(&world)?;
        second.open(&long_tarpit)?;
        let mut clusters = first.addresses().clone();
        let mut also = |name: &str, address: Option<&SocketAddr>| {
            let address = address.ok_or_else(|| format!("nobody serves {name}"))?;
            clusters.insert(name.to_owned(), *address);
            Ok::<_, String>(())
        };
        also(LONG_TARPIT, second.addresses().get("list_service"))?;
        also(QUOTAS, first.addresses().get(REDIS_PROXY))?;
        if let Some(limiter) = limiter {
            also(limiter::CLUSTER, Some(&limiter.address))?;
        }
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        let variants = choose(&jwks([&key]).to_string(), folder.path())?;
        let redis_proxy = (variants.iter())
            .any(|variant| variant.asks == Asks::RedisProxy)
            .then(|| StoreService::start("log = \"warn\"\n"));
        if let Some(redis_proxy) = &redis_proxy {
            clusters.insert(REDIS_PROXY.into(), redis_proxy.address());
        }
        // The upstream is an Envoy too: nothing faster is at hand, and its time is not counted.
        let upstream = if variants.iter().any(Variant::has_upstream) {
            let (gateway, address) = Gateway::envoy(&clusters, &[], End::Route, 1)?;
            clusters.insert("upstream".into(), address);
            Some(gateway)
        } else {
            None
        };
        let mut running = Vec::new();
        for variant in variants {
            eprintln!("  starting {}", variant.name);
            let service = match variant.asks {
                Asks::Nobody => None,
                Asks::RedisProxy => redis_proxy.as_ref().map(StoreService::pid),
                Asks::Limiter => limiter.and_then(|limiter| limiter.process),
            };
            running.push(Running::start(variant, service, &clusters, 1)?);
        }
        std::thread::sleep(SETTLED);
        let token = token(&key, 0)?;
        Ok(Self {
            running,
            clusters,
            _folder: folder,
            key,
            made: 0,
            token,
            _upstream: upstream,
            _redis_proxy: redis_proxy,
            world,
            _services: services,
        })
    }

    /// The requests of one round, so many of them for those who never see the same again.
    ///
    /// # Errors
    /// When no token could be made.
    pub fn requests(&mut self, fresh: usize) -> Result<Sends, String> {
        let first = self.made;
        self.made += fresh;
        let numbers = first + 1..=self.made;
        let tokens: Vec<Vec<u8>> = (numbers.clone())
            .map(|number| Ok(request(&token(&self.key, number)?, &Client::known())))
            .collect::<Result<_, String>>()?;
        let clients: Vec<Vec<u8>> = numbers
            .map(|number| {
                let client = Client::new(number);
                let limits = &self.world.limits;
                limits.set_quota(&client.tenant, Some(quota()));
                request(&self.token, &client)
            })
            .collect();
        Ok(Sends {
            same: Requests::Same(request(&self.token, &Client::known()).into()),
            tokens: Requests::Each(tokens.into()),
            clients: Requests::Each(clients.into()),
        })
    }

    /// What each worker of a variant needs, KiB: the difference between an Envoy with one and one with
    /// [`WORKERS`], after so long a load.
    ///
    /// # Errors
    /// When one does not start or refuses a request.
    pub fn memory_per_worker(
        &mut self,
        name: &str,
        connections: usize,
        lasts: Duration,
    ) -> Result<Option<f64>, String> {
        let requests = self.requests(0)?;
        let Some(running) = self
            .running
            .iter()
            .find(|running| running.variant.name == name)
        else {
            return Ok(None);
        };
        let mut resident = Vec::new();
        for workers in [1, WORKERS] {
            let running = Running::start(running.variant.clone(), None, &self.clusters, workers)?;
            std::thread::sleep(SETTLED);
            if let (true, Gateway::Envoy(envoy)) = (running.variant.denies, &running.gateway) {
                workers::all_deny(envoy, running.address, workers)
                    .map_err(|error| format!("{name}, {workers} workers: {error}"))?;
            }
            running.round(
                &requests,
                connections * usize::try_from(workers).unwrap_or(1),
                lasts,
            )?;
            resident.push(running.memory(process::anonymous)? as f64);
        }
        Ok(resident
            .last()
            .zip(resident.first())
            .map(|(many, one)| (many - one) / f64::from(WORKERS - 1)))
    }

    /// Ends all gateways.
    ///
    /// # Errors
    /// When one has logged an error.
    pub fn stop(self) -> Result<(), String> {
        for running in self.running {
            let errors = running.gateway.errors();
            if !errors.is_empty() {
                return Err(format!("{}: {errors:?}", running.variant.name));
            }
        }
        Ok(())
    }
}

/// What one round of one variant was like.
#[derive(Clone, Debug)]
pub struct Round {
    /// CPU microseconds of the gateway per request.
    pub cpu: f64,
    /// CPU microseconds per request of the service that is asked.
    pub service: f64,
    pub per_second: f64,
    /// Microseconds.
    pub p50: f64,
    pub p99: f64,
}

impl Running {
    /// Starts its gateway. Kong has one worker, whatever is asked for.
    fn start(
        variant: Variant,
        service: Option<u32>,
        clusters: &BTreeMap<String, SocketAddr>,
        workers: u32,
    ) -> Result<Self, String> {
        let (gateway, address) = match &variant.host {
            Host::Envoy { filters, end } => Gateway::envoy(clusters, filters, *end, workers)?,
            Host::Kong(chain) => {
                let source = Source::find().map_err(|missing| format!("{missing:?}"))?;
                Gateway::kong(&source, clusters, chain)?
            }
        };
        Ok(Self {
            variant,
            gateway,
            address,
            service,
        })
    }

    /// One round.
    ///
    /// # Errors
    /// When a request was not let through.
    pub fn round(
        &self,
        requests: &Sends,
        connections: usize,
        lasts: Duration,
    ) -> Result<Round, String> {
        let load = |lasts, requests| Load {
            to: self.address,
            connections,
            lasts,
            requests,
        };
        self.send(load(LEAD_IN, requests.same.clone()))?;
        let processes = self.gateway.processes()?;
        let cpu =
            || -> Result<Duration, String> { processes.iter().copied().map(process::cpu).sum() };
        let asked = || self.service.map_or(Ok(Duration::ZERO), process::cpu);
        let (before, asked_before) = (cpu()?, asked()?);
        let served = self.send(load(lasts, requests.to(&self.variant)))?;
        let spent = cpu()?.saturating_sub(before);
        let service = asked()?.saturating_sub(asked_before);
        let mut micros: Vec<f64> = (served.latencies.iter())
            .map(|latency| latency.as_secs_f64() * 1e6)
            .collect();
        micros.sort_by(f64::total_cmp);
        let count = micros.len().max(1) as f64;
        Ok(Round {
            cpu: spent.as_secs_f64() * 1e6 / count,
            service: service.as_secs_f64() * 1e6 / count,
            per_second: count / served.took.as_secs_f64(),
            p50: crate::sample::quantile(&micros, 0.5),
            p99: crate::sample::quantile(&micros, 0.99),
        })
    }

    /// Whether Envoy has asked the limiter about every request: it passes over some without a word.
    ///
    /// # Errors
    /// When it has not.
    pub fn asked_about_all(&self) -> Result<(), String> {
        let (Asks::Limiter, Gateway::Envoy(envoy)) = (self.variant.asks, &self.gateway) else {
            return Ok(());
        };
        let stats = envoy.stats()?;
        let asked = stats.get(&format!("cluster.{}.upstream_rq_total", limiter::CLUSTER));
        let came = stats.get("http.bench.downstream_rq_2xx");
        if came > 0 && asked >= came {
            return Ok(());
        }
        Err(format!(
            "{}: of {came} requests {asked} were asked about",
            self.variant.name
        ))
    }

    fn send(&self, load: Load) -> Result<Served, String> {
        load.run().map_err(|e| {
            let error = format!("{}: {e}", self.variant.name);
            match self.variant.asks {
                Asks::Limiter => limiter::explain(&error),
                Asks::Nobody | Asks::RedisProxy => error,
            }
        })
    }

    /// Resident memory of its processes, KiB.
    ///
    /// # Errors
    /// When it has ended.
    pub fn resident(&self) -> Result<u64, String> {
        self.memory(process::resident)
    }

    fn memory(&self, of: fn(u32) -> Result<u64, String>) -> Result<u64, String> {
        self.gateway.processes()?.into_iter().map(of).sum()
    }
}

/// One that is not used up.
fn quota() -> Quota {
    Quota {
        limit: 1_000_000,
        used: 1_000,
        period: "yearly".into(),
        reset_at: "2099-01-01T00:00:00Z".into(),
        reset_at_ms: 4_070_908_800_000,
        last_updated_ms: 1,
    }
}

/// Who a request comes from: everything that limits count by, and lists look at.
struct Client {
    address: String,
    account: String,
    tenant: String,
    plan: String,
    region: String,
}

impl Client {
    /// The one that comes again and again.
    fn known() -> Self {
        Self {
            address: "198.51.100.7".into(),
            account: "acc-1".into(),
            tenant: TENANT.into(),
            plan: "gold".into(),
            region: "eu-west".into(),
        }
    }

    /// One that never came before.
    fn new(n: usize) -> Self {
        Self {
            address: format!("11.{}.{}.{}", (n >> 16) & 255, (n >> 8) & 255, n & 255),
            account: format!("acc-new-{n}"),
            tenant: format!("tenant-new-{n}"),
            plan: format!("plan-{n}"),
            region: format!("region-{n}"),
        }
    }
}

/// A token of some size.
fn token(key: &Key, number: usize) -> Result<String, String> {
    let mut token = Token::new("bench")
        .claim("iss", ISSUER)
        .claim("aud", AUDIENCE)
        .claim("sub", "user-7")
        .claim("tid", TENANT)
        .claim("account_id", "acc-1")
        .claim("tier", "gold")
        .claim("role", json!(["orders.read", "orders.write"]))
        .claim("jti", format!("{number:016x}"));
    token.exp_in = Some("12h".into());
    token.iat_in = Some("-1m".into());
    token.mint(wall_clock(), |_| Some(key.clone()), |text| Ok(text.into()))
}

/// What an API's client sends: a token, a few headers.
fn request(token: &str, client: &Client) -> Vec<u8> {
    let Client {
        address,
        account,
        tenant,
        plan,
        region,
    } = client;
    format!(
        "GET /v1/orders/4711?expand=lines HTTP/1.1\r\nhost: api.example.com\r\n\
         user-agent: orders-app/4.2 (linux; x86_64)\r\naccept: application/json\r\n\
         accept-encoding: gzip, br\r\naccept-language: en-GB,en;q=0.8\r\n\
         x-forwarded-for: {address}\r\nx-request-id: 0d1c5a6e-9f4b-4a52-8a4e-1f6b1c2d3e4f\r\n\
         x-account-id: {account}\r\nx-tenant-id: {tenant}\r\nx-plan: {plan}\r\nx-region: {region}\r\n\
         apikey: {API_KEY}\r\nauthorization: Bearer {token}\r\n\r\n"
    )
    .into_bytes()
}
