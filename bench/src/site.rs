//! Everything that runs: the services, the upstream, and one Envoy with one worker for each variant.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use kong_test::Source;
use serde_json::json;
use tempfile::TempDir;
use testkit::http_server::wall_clock;
use testkit::loopback::Loopback;
use testkit::mint::jwks;
use testkit::{Key, Token, World};
use wire::lists::ListName;
use wire::quota::Quota;

use crate::client::{Load, Requests};
use crate::gateway::Gateway;
use crate::process;
use crate::variant::{AUDIENCE, ENTRIES, Host, ISSUER, JWKS_PATH, Tokens, Variant};

/// What Kong's own plugin takes for a credential; every request carries it.
pub const API_KEY: &str = "bench-key";
/// Whose requests they are.
const TENANT: &str = "tenant-3";
/// Lists and keys are there by then.
const SETTLED: Duration = Duration::from_secs(4);
/// Workers of the Envoy whose memory is compared with that of one.
const WORKERS: u32 = 5;

/// A variant that runs.
pub struct Running {
    pub variant: Variant,
    gateway: Gateway,
    address: SocketAddr,
}

/// All of them, and what they need.
pub struct Site {
    pub running: Vec<Running>,
    clusters: BTreeMap<String, SocketAddr>,
    /// With the modules that are made here.
    _folder: TempDir,
    key: Key,
    minted: usize,
    // Ends after the gateways.
    _upstream: Option<Gateway>,
    _world: Loopback,
}

impl Site {
    /// Starts the variants that `choose` makes of the keys and a folder for modules.
    ///
    /// # Errors
    /// When something did not start.
    pub fn start(
        choose: impl FnOnce(&str, &Path) -> Result<Vec<Variant>, String>,
    ) -> Result<Self, String> {
        let key = Key::rsa("bench", 0);
        let world = World::new();
        world.auth.publish(JWKS_PATH, [&key]);
        let now = wall_clock();
        for n in 0..ENTRIES {
            let entry = format!("ip 10.{}.{}.{} 24h", n >> 16, (n >> 8) & 255, n & 255);
            world.lists.add_text(ListName::Deny, &entry, now)?;
        }
        world.limits.set_quota(TENANT, Some(quota()));
        let mut services = Loopback::new();
        services.open(&world)?;
        let mut clusters = services.addresses().clone();
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        let variants = choose(&jwks([&key]).to_string(), folder.path())?;
        // The upstream is an Envoy too: nothing faster is at hand, and its time is not counted.
        let upstream = if variants.iter().any(Variant::has_upstream) {
            let (gateway, address) = Gateway::envoy(&clusters, &[], false, 1)?;
            clusters.insert("upstream".into(), address);
            Some(gateway)
        } else {
            None
        };
        let mut running = Vec::new();
        for variant in variants {
            eprintln!("  starting {}", variant.name);
            running.push(Running::start(variant, &clusters, 1)?);
        }
        std::thread::sleep(SETTLED);
        Ok(Self {
            running,
            clusters,
            _folder: folder,
            key,
            minted: 0,
            _upstream: upstream,
            _world: services,
        })
    }

    /// A request with a token that was never seen.
    fn fresh(&mut self) -> Result<Vec<u8>, String> {
        self.minted += 1;
        request(&self.key, self.minted)
    }

    /// The requests of one round, for those who see tokens again and for those who do not.
    ///
    /// # Errors
    /// When no token could be made.
    pub fn requests(&mut self, fresh: usize) -> Result<[Requests; 2], String> {
        let same = request(&self.key, 0)?;
        let each: Vec<Vec<u8>> = (0..fresh).map(|_| self.fresh()).collect::<Result<_, _>>()?;
        Ok([Requests::Same(same.into()), Requests::Each(each.into())])
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
            let running = Running::start(running.variant.clone(), &self.clusters, workers)?;
            std::thread::sleep(SETTLED);
            running.round(
                &requests,
                connections * usize::try_from(workers).unwrap_or(1),
                lasts,
            )?;
            resident.push(running.resident()? as f64);
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
    pub per_second: f64,
    /// Microseconds.
    pub p50: f64,
    pub p99: f64,
}

impl Running {
    /// Starts its gateway. Kong has one worker, whatever is asked for.
    fn start(
        variant: Variant,
        clusters: &BTreeMap<String, SocketAddr>,
        workers: u32,
    ) -> Result<Self, String> {
        let (gateway, address) = match &variant.host {
            Host::Envoy { filters, upstream } => {
                Gateway::envoy(clusters, filters, *upstream, workers)?
            }
            Host::Kong(chain) => {
                let source = Source::find().map_err(|missing| format!("{missing:?}"))?;
                Gateway::kong(&source, clusters, chain)?
            }
        };
        Ok(Self {
            variant,
            gateway,
            address,
        })
    }

    /// One round.
    ///
    /// # Errors
    /// When a request was not let through.
    pub fn round(
        &self,
        requests: &[Requests; 2],
        connections: usize,
        lasts: Duration,
    ) -> Result<Round, String> {
        let [same, each] = requests;
        let requests = match self.variant.tokens {
            Tokens::Seen => same.clone(),
            Tokens::New => each.clone(),
        };
        let processes = self.gateway.processes()?;
        let cpu =
            || -> Result<Duration, String> { processes.iter().copied().map(process::cpu).sum() };
        let before = cpu()?;
        let load = Load {
            to: self.address,
            connections,
            lasts,
            requests,
        };
        let served = load
            .run()
            .map_err(|e| format!("{}: {e}", self.variant.name))?;
        let spent = cpu()?.saturating_sub(before);
        let mut micros: Vec<f64> = (served.latencies.iter())
            .map(|latency| latency.as_secs_f64() * 1e6)
            .collect();
        micros.sort_by(f64::total_cmp);
        let count = micros.len().max(1) as f64;
        Ok(Round {
            cpu: spent.as_secs_f64() * 1e6 / count,
            per_second: count / served.took.as_secs_f64(),
            p50: crate::sample::quantile(&micros, 0.5),
            p99: crate::sample::quantile(&micros, 0.99),
        })
    }

    /// Resident memory of its processes, KiB.
    ///
    /// # Errors
    /// When it has ended.
    pub fn resident(&self) -> Result<u64, String> {
        let processes = self.gateway.processes()?;
        processes.into_iter().map(process::resident).sum()
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

/// What an API's client sends: a token of some size, a few headers.
fn request(key: &Key, number: usize) -> Result<Vec<u8>, String> {
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
    let token = token.mint(wall_clock(), |_| Some(key.clone()), |text| Ok(text.into()))?;
    Ok(format!(
        "GET /v1/orders/4711?expand=lines HTTP/1.1\r\nhost: api.example.com\r\n\
         user-agent: orders-app/4.2 (linux; x86_64)\r\naccept: application/json\r\n\
         accept-encoding: gzip, br\r\naccept-language: en-GB,en;q=0.8\r\n\
         x-forwarded-for: 198.51.100.7\r\nx-request-id: 0d1c5a6e-9f4b-4a52-8a4e-1f6b1c2d3e4f\r\n\
         x-account-id: acc-1\r\nx-tenant-id: {TENANT}\r\nx-plan: gold\r\nx-region: eu-west\r\n\
         apikey: {API_KEY}\r\nauthorization: Bearer {token}\r\n\r\n"
    )
    .into_bytes())
}
