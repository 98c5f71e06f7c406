//! redis-proxy as filters see it: its arithmetic, its tier table, its adaptive factors and its quotas, on the clock
//! of those who ask, without a store behind it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use policy::Time;
use serde_json::{Value, json};
use wire::limits::{ACQUIRE_PATH, AcquireReply, AcquireRequest, Failure, KeyReply, Limit};
use wire::load::{LOAD_PATH, LoadReply, LoadReport};
use wire::quota::{MAX_TENANTS, QUOTA_PATH, Quota, QuotaReply, QuotaRequest, is_tenant};
use wire::tiers::{TENANT_DEFAULT, TIERS_PATH, Tier, TierTable};

use crate::auth_service::{Endpoint, serve_with};
use crate::fault::Fault;
use crate::world::{Asked, Response, Served, Service};

// The very code that redis-proxy runs, so that the model cannot drift from it. All of it is pure; the
// rest of redis-proxy (a server, its stores) would be a heavy thing to build for every filter's tests.
#[allow(dead_code)]
#[path = "../../../redis-proxy/src/aimd.rs"]
mod aimd;
#[allow(dead_code)]
#[path = "../../../redis-proxy/src/bucket/mod.rs"]
mod bucket;

use aimd::{Adaptive, Settings};
use bucket::{Bucket, Rule};

/// Factors change at most this often: a little less than a second apart, as reports come, whatever their jitter.
const INTERVAL: Duration = Duration::from_millis(900);

const SETTINGS: Settings = Settings {
    floor_permille: 100,
    decrease_permille: 500,
    increase_permille: 100,
    failure_percent: 5,
    latency_ms: 500,
    min_requests: 5,
};

/// The service. Clones are the same service.
#[derive(Clone)]
pub struct LimitService(Arc<Mutex<State>>);

struct State {
    buckets: BTreeMap<(String, String, u64, bool), Bucket>,
    table: TierTable,
    adaptive: Adaptive,
    judged: Option<Time>,
    /// Keys of these dimensions cannot be decided.
    undecided: BTreeMap<String, Failure>,
    faults: BTreeMap<Endpoint, Fault>,
    asked: Vec<Asked>,
    /// Tokens granted, by dimension.
    granted: BTreeMap<String, u64>,
    /// By tenant.
    quotas: BTreeMap<String, Quota>,
}

impl Default for LimitService {
    fn default() -> Self {
        Self::new()
    }
}

impl LimitService {
    /// With the tiers that redis-proxy has unless told otherwise: `standard` and `p3`.
    #[must_use]
    pub fn new() -> Self {
        let tier = |rank, limit| Tier {
            rank,
            limits: BTreeMap::from([("tenant".to_owned(), limit)]),
        };
        let tiers = BTreeMap::from([
            ("p3".to_owned(), tier(1, Limit::without_burst(1_000, 1_000))),
            ("standard".to_owned(), tier(2, TENANT_DEFAULT)),
        ]);
        let ranks: Vec<(u8, String)> = tiers
            .iter()
            .map(|(name, tier)| (tier.rank, name.clone()))
            .collect();
        Self(Arc::new(Mutex::new(State {
            buckets: BTreeMap::new(),
            table: TierTable {
                revision: "1".to_owned(),
                default_tier: "standard".to_owned(),
                tiers,
                tenants: BTreeMap::new(),
                factors: Vec::new(),
            },
            adaptive: Adaptive::new(SETTINGS, ranks),
            judged: None,
            undecided: BTreeMap::new(),
            faults: BTreeMap::new(),
            asked: Vec::new(),
            granted: BTreeMap::new(),
            quotas: BTreeMap::new(),
        })))
    }

    /// Puts a tenant into a tier.
    ///
    /// # Panics
    /// When there is no such tier.
    pub fn set_tier_of(&self, tenant: &str, tier: &str) {
        let mut state = self.state();
        assert!(
            state.table.tiers.contains_key(tier),
            "there is no tier {tier:?}"
        );
        state
            .table
            .tenants
            .insert(tenant.to_owned(), tier.to_owned());
        state.revise();
    }

    /// Makes a tier, or changes its limit for tenants.
    pub fn set_tier(&self, name: &str, limit: Limit) {
        let mut state = self.state();
        let tier = Tier {
            rank: 1,
            limits: BTreeMap::from([("tenant".to_owned(), limit)]),
        };
        state.table.tiers.insert(name.to_owned(), tier);
        state.revise();
    }

    /// Makes the quota of a tenant known, or forgets it.
    pub fn set_quota(&self, tenant: &str, quota: Option<Quota>) {
        let quotas = &mut self.state().quotas;
        match quota {
            Some(quota) => quotas.insert(tenant.to_owned(), quota),
            None => quotas.remove(tenant),
        };
    }

    /// Makes an endpoint fail, or work again with [`Fault::None`].
    ///
    /// # Panics
    /// When a single endpoint is told to refuse connections: an address refuses, not a path.
    pub fn fail(&self, endpoint: Endpoint, fault: Fault) {
        assert!(
            fault != Fault::Refused || endpoint == Endpoint::RedisProxy,
            "only the whole service can refuse connections: say `redis_proxy`"
        );
        self.state().faults.insert(endpoint, fault);
    }

    /// The store cannot decide keys of this dimension.
    pub fn lose(&self, dim: &str, failure: Failure) {
        self.state().undecided.insert(dim.to_owned(), failure);
    }

    /// Everything works again.
    pub fn heal(&self) {
        let mut state = self.state();
        state.faults.clear();
        state.undecided.clear();
    }

    /// Tokens of a dimension that were granted so far and not given back.
    #[must_use]
    pub fn granted(&self, dim: &str) -> u64 {
        self.state().granted.get(dim).copied().unwrap_or_default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn revise(&mut self) {
        let revision: u64 = self.table.revision.parse().unwrap_or_default();
        self.table.revision = (revision + 1).to_string();
    }

    fn fault(&self, endpoint: Option<Endpoint>) -> Fault {
        let of = |endpoint| self.faults.get(&endpoint).filter(|f| **f != Fault::None);
        of(Endpoint::RedisProxy)
            .or_else(|| endpoint.and_then(of))
            .cloned()
            .unwrap_or_default()
    }

    fn answer(&mut self, asked: &Asked) -> Response {
        match (endpoint(&asked.path), asked.method.as_str()) {
            (Some(Endpoint::Acquire), "POST") => self.acquire(asked),
            (Some(Endpoint::Tiers), "GET") => self.tiers(asked),
            (Some(Endpoint::Load), "POST") => self.load(asked),
            (Some(Endpoint::Quota), "POST") => self.quota(asked),
            (Some(_), _) => Response::new(405, "text/plain", "method not allowed"),
            (None, _) => Response::new(404, "text/plain", "not found"),
        }
    }

    fn acquire(&mut self, asked: &Asked) -> Response {
        let Ok(request) = serde_json::from_slice::<AcquireRequest>(&asked.body) else {
            return problem(400, "bad_body");
        };
        let now_us = asked.at.as_nanos() / 1_000;
        let mut keys = Vec::new();
        for key in &request.keys {
            if key.limit.check().is_err() || key.value.is_empty() {
                return problem(400, "bad_key");
            }
            if let Some(failure) = self.undecided.get(&key.dim) {
                keys.push(KeyReply::failed(*failure));
                continue;
            }
            let rule = Rule::new(&key.limit);
            let paced = matches!(rule, Rule::Paced(_));
            let name = (
                key.dim.clone(),
                key.value.clone(),
                key.limit.period_ms,
                paced,
            );
            let bucket = self
                .buckets
                .entry(name)
                .or_insert_with(|| Bucket::new(&rule, now_us));
            let give_back = key.give_back.unwrap_or_default();
            let decision = bucket.acquire(&rule, now_us, key.want, give_back);
            let granted = self.granted.entry(key.dim.clone()).or_default();
            *granted = (*granted + decision.granted).saturating_sub(give_back.tokens);
            keys.push(decision.reply(&key.limit));
        }
        if let Some(failure) = keys.first().and_then(|key| key.failure)
            && keys.iter().all(|key| key.failure.is_some())
        {
            return problem(503, failure.code());
        }
        let reply = AcquireReply {
            now_ms: now_us / 1_000,
            keys,
        };
        Response::json(200, &serde_json::to_value(reply).unwrap_or(Value::Null))
    }

    fn tiers(&self, asked: &Asked) -> Response {
        let tag = format!("\"{}\"", self.table.revision);
        if asked.header("if-none-match") == Some(tag.as_str()) {
            return Response {
                headers: vec![("etag".into(), tag)],
                ..Response::new(304, "application/json", "")
            };
        }
        let table = serde_json::to_value(&self.table).unwrap_or(Value::Null);
        let mut response = Response::json(200, &table);
        response.headers.push(("etag".into(), tag));
        response
    }

    fn load(&mut self, asked: &Asked) -> Response {
        let Ok(report) = serde_json::from_slice::<LoadReport>(&asked.body) else {
            return problem(400, "bad_report");
        };
        self.adaptive.report(&report);
        if self
            .judged
            .is_none_or(|last| asked.at.since(last) >= INTERVAL)
        {
            self.judged = Some(asked.at);
            self.adaptive.tick();
        }
        let reply = LoadReply {
            factors: self.adaptive.factors(),
        };
        Response::json(200, &serde_json::to_value(reply).unwrap_or(Value::Null))
    }
}

impl State {
    fn quota(&self, asked: &Asked) -> Response {
        let Ok(request) = serde_json::from_slice::<QuotaRequest>(&asked.body) else {
            return problem(400, "bad_body");
        };
        let tenants = request.tenants;
        let count = 1..=MAX_TENANTS;
        if !count.contains(&tenants.len()) || !tenants.iter().all(|name| is_tenant(name)) {
            return problem(400, "bad_tenants");
        }
        let of = |tenant: &String| self.quotas.get(tenant).cloned();
        let reply = QuotaReply {
            quotas: tenants.iter().map(of).collect(),
        };
        Response::json(200, &serde_json::to_value(reply).unwrap_or(Value::Null))
    }
}

fn problem(status: u16, code: &str) -> Response {
    let body = json!({"type": "about:blank", "status": status, "code": code}).to_string();
    Response::new(status, "application/problem+json", body)
}

fn endpoint(path: &str) -> Option<Endpoint> {
    match path {
        ACQUIRE_PATH => Some(Endpoint::Acquire),
        TIERS_PATH => Some(Endpoint::Tiers),
        LOAD_PATH => Some(Endpoint::Load),
        QUOTA_PATH => Some(Endpoint::Quota),
        _ => None,
    }
}

impl Service for LimitService {
    fn serve(&self, asked: Asked) -> Served {
        let mut state = self.state();
        let fault = state.fault(endpoint(&asked.path));
        let right = state.answer(&asked);
        state.asked.push(asked);
        drop(state);
        serve_with(&fault, right)
    }

    fn refuses(&self) -> bool {
        self.state().fault(Some(Endpoint::RedisProxy)) == Fault::Refused
    }

    /// `acquire`, `tiers`, `load`, `quota`.
    fn calls(&self, endpoint: &str) -> Option<u64> {
        let path = match endpoint {
            "acquire" => ACQUIRE_PATH,
            "tiers" => TIERS_PATH,
            "load" => LOAD_PATH,
            "quota" => QUOTA_PATH,
            _ => return None,
        };
        let state = self.state();
        let count = state
            .asked
            .iter()
            .filter(|asked| asked.path == path)
            .count();
        u64::try_from(count).ok()
    }

    fn asked(&self) -> Vec<Asked> {
        self.state().asked.clone()
    }
}
