//! The services behind the gateway, modelled once, without I/O. `Drive` asks them in this process;
//! real gateways reach the same model over HTTP.

use std::sync::Arc;
use std::time::Duration;

use policy::Time;

use crate::auth_service::AuthService;
use crate::limit_service::LimitService;
use crate::list_service::ListService;
use crate::upstream::Upstream;

/// A request to a service behind the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub at: Time,
    pub method: String,
    pub path: String,
    /// Headers in order, names in lower case, without pseudo-headers.
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
}

impl Asked {
    /// The first value of a header, if it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .and_then(|(_, value)| std::str::from_utf8(value).ok())
    }

    /// Whether these bytes are anywhere in the request.
    #[must_use]
    pub fn contains(&self, needle: &[u8]) -> bool {
        let within = |bytes: &[u8]| bytes.windows(needle.len().max(1)).any(|w| w == needle);
        within(self.path.as_bytes())
            || within(&self.body)
            || self.headers.iter().any(|(_, value)| within(value))
    }
}

/// What a service does with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// So long it takes.
    pub after: Duration,
    pub end: End,
}

/// How it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    Answer(Response),
    /// The connection is closed before the answer.
    Reset,
    /// The connection is closed in the middle of the answer.
    CutOff(Response),
    /// Never.
    Hang,
}

/// A service's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    #[must_use]
    pub fn new(status: u16, media_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: vec![("content-type".into(), media_type.into())],
            body: body.into(),
        }
    }

    #[must_use]
    pub fn json(status: u16, body: &serde_json::Value) -> Self {
        Self::new(status, "application/json", body.to_string())
    }
}

/// A service behind the gateway.
pub trait Service: Send + Sync {
    /// Takes a request.
    fn serve(&self, asked: Asked) -> Served;

    /// Whether nobody listens right now.
    fn refuses(&self) -> bool {
        false
    }

    /// How many requests it got for one of its endpoints; `None` if it has no such endpoint.
    fn calls(&self, endpoint: &str) -> Option<u64>;

    /// Every request it got, oldest first.
    fn asked(&self) -> Vec<Asked>;
}

/// Everything behind the gateway. Clones are the same world.
#[derive(Clone)]
pub struct World {
    /// Keys and API keys; `auth_service` in configurations.
    pub auth: AuthService,
    /// Counts of limits; `redis_proxy` in configurations.
    pub limits: LimitService,
    /// Lists and samples; `list_service` in configurations.
    pub lists: ListService,
    /// Where requests end that pass.
    pub upstream: Upstream,
    others: Vec<(String, Arc<dyn Service>)>,
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    #[must_use]
    pub fn new() -> Self {
        Self {
            auth: AuthService::new(),
            limits: LimitService::new(),
            lists: ListService::new(),
            upstream: Upstream::default(),
            others: Vec::new(),
        }
    }

    /// Adds a service under the name that configurations use.
    #[must_use]
    pub fn with(mut self, name: &str, service: impl Service + 'static) -> Self {
        self.others.push((name.to_owned(), Arc::new(service)));
        self
    }

    /// Every service by name.
    #[must_use]
    pub fn services(&self) -> Vec<(String, Arc<dyn Service>)> {
        let mut all: Vec<(String, Arc<dyn Service>)> = vec![
            ("auth_service".into(), Arc::new(self.auth.clone())),
            ("redis_proxy".into(), Arc::new(self.limits.clone())),
            ("list_service".into(), Arc::new(self.lists.clone())),
        ];
        all.extend(self.others.iter().cloned());
        all
    }

    /// The service of this name.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<Arc<dyn Service>> {
        self.services()
            .into_iter()
            .find(|(n, _)| n == name)
            .map(|(_, service)| service)
    }

    /// How many requests an endpoint got.
    ///
    /// # Panics
    /// When no service has such an endpoint.
    #[must_use]
    pub fn calls(&self, endpoint: &str) -> u64 {
        let counts: Vec<u64> = self
            .services()
            .iter()
            .filter_map(|(_, service)| service.calls(endpoint))
            .collect();
        assert!(
            !counts.is_empty(),
            "no service has an endpoint {endpoint:?}"
        );
        counts.iter().sum()
    }

    /// Every request to any service.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.services()
            .iter()
            .flat_map(|(_, service)| service.asked())
            .collect()
    }
}
