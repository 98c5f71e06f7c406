//! `ops/envoy/upstream-mtls.yaml`: who may answer, and who may not (U1, K036, K037).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::SanType;
use testkit::http_server::Server;
use testkit::ports::free_port;
use testkit::world::{Asked, End, Response, Served, Service};
use wire::upstream_failures::{FailureBatch, FailureReason, UpstreamFailure};

use crate::client::{Client, Got, trusting};
use crate::pki::{Authority, Identity, Valid, put};
use crate::tls_upstream::{SECRET, TlsUpstream};
use envoy_test::shipped::{Running, Shipped};

pub const ENGINE: &str = "spiffe://prod.example/ns/compliance/sa/engine";
pub const GATEWAY: &str = "spiffe://prod.example/ns/edge/sa/gateway";
const PATH: &str = "/v1/compliance/check";

/// redis-proxy as far as failures go. A batch whose answer comes too late comes again: by id, as JetStream keeps them.
#[derive(Clone, Default)]
struct Events(Arc<Mutex<BTreeMap<String, UpstreamFailure>>>);

impl Service for Events {
    fn serve(&self, asked: Asked) -> Served {
        let status = match serde_json::from_slice::<FailureBatch>(&asked.body) {
            Ok(batch) if asked.path == "/v1/upstream-failures" => {
                let failures = batch.failures.into_iter();
                let by_id = failures.map(|failure| (failure.id.clone(), failure));
                self.0.lock().unwrap().extend(by_id);
                204
            }
            _ => 400,
        };
        Served {
            after: Duration::ZERO,
            end: End::Answer(Response::new(status, "text/plain", "")),
        }
    }

    fn calls(&self, _: &str) -> Option<u64> {
        None
    }

    fn asked(&self) -> Vec<Asked> {
        Vec::new()
    }
}

/// The shipped gateway, an authority, and an upstream.
pub struct Stage {
    pub envoy: Running,
    pub authority: Authority,
    pub edge: Authority,
    pub upstream: TlsUpstream,
    events: Events,
    _redis_proxy: Server,
}

impl Stage {
    pub async fn start(change: impl FnOnce(&mut Shipped)) -> Self {
        Self::start_at(None, change).await
    }

    /// With the upstream looked for at another address.
    async fn start_at(at: Option<SocketAddr>, change: impl FnOnce(&mut Shipped)) -> Self {
        let authority = Authority::new("prod.example");
        let edge = Authority::new("edge");
        let upstream = TlsUpstream::start().await;
        let events = Events::default();
        let handle = tokio::runtime::Handle::current();
        let redis_proxy = Server::service(&handle, Arc::new(events.clone())).unwrap();
        let mut shipped = Shipped::new("envoy/upstream-mtls.yaml");
        shipped.place("compliance.internal", 8443, at.unwrap_or(upstream.address));
        shipped.place("redis-proxy.internal", 8970, redis_proxy.address());
        let outside = "address: 0.0.0.0, port_value: 8443";
        shipped.put(outside, "address: 127.0.0.1, port_value: 0");
        change(&mut shipped);
        shipped.secrets();
        let folder = shipped.folder.path().to_owned();
        edge.named("gateway.test").put(&folder.join("edge"));
        authority.svid(GATEWAY).put(&folder.join("svid"));
        let files = [
            ("ca.crt", &*authority.pem),
            ("crl.pem", &authority.crl(&[])),
        ];
        put(&folder.join("bundle"), &files);
        let envoy = tokio::task::spawn_blocking(|| shipped.start());
        Self {
            envoy: envoy.await.unwrap(),
            authority,
            edge,
            upstream,
            events,
            _redis_proxy: redis_proxy,
        }
    }

    async fn get(&self) -> Got {
        let config = trusting(self.edge.roots());
        let mut client = Client::tls(self.envoy.listener("https"), config).await;
        let client = client.as_mut().unwrap();
        client.get("gateway.test", PATH).await.unwrap()
    }

    fn counted(&self, reason: &str) -> u64 {
        let name = format!("wasmcustom.portcullis_upstream_identity_failures.reason={reason}");
        self.envoy.stat(&name)
    }

    /// The upstream is refused, and the client hears no word of it.
    async fn refuses(&self, what: &str, reason: &str) {
        let before = self.counted(reason);
        let got = self.get().await;
        assert_eq!(got.status, 502, "{what}: {got:?}\n{}", self.envoy.log());
        assert_eq!(got.code(), "UPSTREAM_MTLS_FAIL", "{what}: {got:?}");
        assert!(got.headers.contains("application/problem+json"), "{got:?}");
        let said = format!("{}{}", got.headers, got.body);
        assert!(!said.contains(SECRET), "{what}: {got:?}");
        assert!(!said.contains("TLS_error"), "{what}: {got:?}");
        assert_eq!(self.counted(reason), before + 1, "{what}: {reason}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_workload_that_the_route_names_may_answer() {
    let stage = Stage::start(|_| {}).await;
    let (authority, upstream) = (&stage.authority, &stage.upstream);
    let ours = || Some(authority.roots());
    let other = Authority::new("other.example");
    let right = authority.svid(ENGINE);
    let uri = |id: &str| SanType::URI(id.try_into().unwrap());

    upstream.is(&right, ours());
    let got = stage.get().await;
    assert_eq!((got.status, got.body.as_str()), (200, SECRET), "{got:?}");
    assert!(
        got.headers.contains(GATEWAY),
        "its client is the gateway: {got:?}"
    );
    let reached = upstream.requests();

    // Refused before a request is sent.
    let wrong: [(&str, Identity); 8] = [
        (
            "another workload",
            authority.svid("spiffe://prod.example/ns/other/sa/engine"),
        ),
        ("one below it", authority.svid(&format!("{ENGINE}/x"))),
        (
            "another trust domain of the same authority",
            authority.svid("spiffe://other.example/ns/compliance/sa/engine"),
        ),
        ("the same name of another authority", other.svid(ENGINE)),
        (
            "another trust domain of another authority",
            other.svid("spiffe://other.example/ns/compliance/sa/engine"),
        ),
        ("expired", authority.issue(&[uri(ENGINE)], Valid::Past)),
        (
            "not valid yet",
            authority.issue(&[uri(ENGINE)], Valid::Future),
        ),
        (
            "a name that is no SPIFFE ID",
            authority.named("compliance.internal"),
        ),
    ];
    for (what, identity) in &wrong {
        upstream.is(identity, ours());
        stage.refuses(what, "certificate").await;
    }
    upstream.is_nobody();
    stage
        .refuses("no certificate: plain HTTP", "handshake")
        .await;
    assert_eq!(
        upstream.requests(),
        reached,
        "nobody else was sent a request"
    );

    // The other way round: the upstream does not know the gateway.
    upstream.is(&right, Some(other.roots()));
    stage
        .refuses("an upstream that wants other clients", "refused")
        .await;
    assert_eq!(upstream.requests(), reached);

    // Many at once, over HTTP/1.1 and HTTP/2, with bodies that are still on their way.
    upstream.is(&wrong[0].1, ours());
    let before = stage.counted("certificate");
    let config = trusting(stage.edge.roots());
    let address = stage.envoy.listener("https");
    let mut clients = Vec::new();
    for _ in 0..50 {
        let config = Arc::clone(&config);
        clients.push(tokio::spawn(async move {
            let mut client = Client::tls(address, config).await.unwrap();
            for _ in 0..4 {
                let got = client.get("gateway.test", PATH).await.unwrap();
                assert_eq!(got.code(), "UPSTREAM_MTLS_FAIL", "{got:?}");
            }
        }));
    }
    for client in clients {
        client.await.unwrap();
    }
    let body = stage.envoy.path("body");
    std::fs::write(&body, vec![b'x'; 4 << 20]).unwrap();
    let body = format!("@{}", body.display());
    let codes = tokio::task::spawn_blocking(move || {
        // Over HTTP/2 this curl takes the reset that follows an early answer for a failure.
        let uploads = statuses(address, &["--http1.1", "--data-binary", &body]);
        [statuses(address, &["--http2"]), uploads]
    });
    assert_eq!(codes.await.unwrap(), [["502"; 20], ["502"; 20]]);
    assert_eq!(stage.counted("certificate"), before + 240);
    assert_eq!(upstream.requests(), reached);

    // Revoked: refused as soon as the list says so.
    upstream.is(&right, ours());
    assert_eq!(stage.get().await.status, 200, "it was not its fault");
    let crl = authority.crl(&[right.serial]);
    let files = [("ca.crt", &*authority.pem), ("crl.pem", &crl)];
    put(&stage.envoy.path("bundle"), &files);
    let published = std::time::Instant::now();
    while stage.get().await.status == 200 {
        assert!(
            published.elapsed() < Duration::from_secs(20),
            "it is believed on"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stage.refuses("revoked", "certificate").await;
    upstream.is(&authority.svid(ENGINE), ours());
    assert_eq!(stage.get().await.status, 200, "its next certificate");

    // What has nothing to do with TLS stays what it was.
    let denied = "wasmcustom.portcullis_requests.filter=upstream_identity.outcome=denied.code=UPSTREAM_MTLS_FAIL";
    assert!(stage.envoy.stat(denied) >= 251);
    let told = stage.envoy.until("events", || {
        let told = stage.events.0.lock().unwrap().clone();
        let count: u64 = told.values().map(|failure| failure.count).sum();
        (count == stage.envoy.stat(denied)).then_some(told)
    });
    for failure in told.values() {
        assert_eq!(failure.expected, [ENGINE]);
        assert_eq!(failure.route.as_deref(), Some("rt-compliance-v1-internal"));
        assert_eq!(failure.service.as_deref(), Some("compliance"));
        let detail = failure.detail.as_deref().unwrap_or_default();
        assert!(detail.contains("TLS_error"), "{failure:?}");
    }
    let log = stage.envoy.log();
    let errors: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("][error]"))
        .collect();
    assert!(errors.is_empty(), "{errors:?}");
}

/// With a TLS context that believes any workload, as if somebody had forgotten the name: of the wrong one no byte gets out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_filter_is_a_second_lock() {
    let stage = Stage::start(|shipped| {
        let exact = format!("exact: \"{ENGINE}\"");
        shipped.put(&exact, "prefix: \"spiffe://\"");
    })
    .await;
    let (authority, upstream) = (&stage.authority, &stage.upstream);
    upstream.is(&authority.svid(ENGINE), Some(authority.roots()));
    assert_eq!(stage.get().await.status, 200);
    let wrong = "spiffe://prod.example/ns/other/sa/engine";
    upstream.is(&authority.svid(wrong), Some(authority.roots()));
    for body in [SECRET.to_owned(), SECRET.repeat(100_000), String::new()] {
        for closes in [true, false] {
            upstream.answers(Duration::ZERO, &body, closes);
            stage.refuses("the wrong workload", "identity").await;
        }
    }
    assert_eq!(
        upstream.requests(),
        7,
        "it was asked, for who it is was not known before"
    );
    let presented = stage.envoy.until("events", || {
        let told = stage.events.0.lock().unwrap();
        told.values().next()?.presented.clone()
    });
    assert_eq!(presented, wrong);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_is_not_there_is_another_matter() {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let stage = Stage::start_at(Some(address), |_| {}).await;
    let got = stage.get().await;
    assert_eq!(got.status, 503, "{got:?}");
    assert_eq!(got.code(), "", "{got:?}");
    let sum: u64 = FailureReason::ALL
        .iter()
        .map(|reason| stage.counted(reason.as_str()))
        .sum();
    assert_eq!(sum, 0);
}

/// The statuses of twenty requests at a time.
fn statuses(address: SocketAddr, options: &[&str]) -> Vec<String> {
    let output = Command::new("curl")
        .args(["--silent", "--insecure", "--parallel", "--max-time", "30"])
        .args(["--output", "/dev/null", "--write-out", "%{http_code}\n"])
        .args(options)
        .arg(format!("https://{address}{PATH}?[1-20]"))
        .output()
        .expect("curl runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.lines().map(str::to_owned).collect()
}
