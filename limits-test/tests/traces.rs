//! One trace through the gateway, its callouts and the upstream (O2): `ops/envoy/envoy.yaml` as it stands but for ports
//! and paths, in a real Envoy, with the built filters and the built redis-proxy. No registry that these tests may use has
//! an OpenTelemetry collector: the receiver reads what it gets with the official protocol definitions, protobuf from
//! Envoy and JSON from redis-proxy.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that cannot go on fails"
)]

use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use envoy_test::shipped::{Running, Shipped};
use limits_test::store_service::StoreService;
use limits_test::until::until;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value as Any};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message as _;
use serde_json::Value;
use testkit::World;
use testkit::auth_service::ApiKey;
use testkit::http_server::Server;
use testkit::world::{Asked, End, Response, Served, Service};

const LONG: Duration = Duration::from_secs(60);
const CANARY: &str = "canary-4711-canary";

/// A span, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Span {
    service: String,
    trace: String,
    id: String,
    parent: String,
    name: String,
    kind: SpanKind,
    attributes: Vec<(String, String)>,
}

/// Takes spans, OTLP over HTTP.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Span>>>);

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn texts(attributes: &[KeyValue]) -> Vec<(String, String)> {
    let text = |pair: &KeyValue| match pair.value.as_ref()?.value.as_ref()? {
        Any::StringValue(text) => Some((pair.key.clone(), text.clone())),
        Any::IntValue(number) => Some((pair.key.clone(), number.to_string())),
        _ => None,
    };
    attributes.iter().filter_map(text).collect()
}

impl Collector {
    fn take(&self, request: ExportTraceServiceRequest) {
        for of in request.resource_spans {
            let resource = texts(&of.resource.unwrap_or_default().attributes);
            let service = resource.iter().find(|(key, _)| key == "service.name");
            let service = service.expect("a service's name").1.clone();
            let spans = of.scope_spans.into_iter().flat_map(|scope| scope.spans);
            let spans = spans.map(|span| {
                assert_eq!((span.trace_id.len(), span.span_id.len()), (16, 8));
                assert!(span.start_time_unix_nano > 1_700_000_000_000_000_000);
                assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
                Span {
                    service: service.clone(),
                    trace: hex(&span.trace_id),
                    id: hex(&span.span_id),
                    parent: hex(&span.parent_span_id),
                    kind: span.kind(),
                    attributes: texts(&span.attributes),
                    name: span.name,
                }
            });
            self.spans().extend(spans);
        }
    }

    fn spans(&self) -> std::sync::MutexGuard<'_, Vec<Span>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The spans that fit, once there are so many.
    fn await_spans(&self, what: &str, count: usize, fits: impl Fn(&Span) -> bool) -> Vec<Span> {
        let found = || {
            self.spans()
                .iter()
                .filter(|span| fits(span))
                .cloned()
                .collect::<Vec<_>>()
        };
        until(what, LONG, || found().len() >= count);
        found()
    }
}

impl Service for Collector {
    fn serve(&self, asked: Asked) -> Served {
        let request = match asked.header("content-type") {
            Some("application/x-protobuf") => {
                ExportTraceServiceRequest::decode(asked.body.as_slice()).map_err(|e| e.to_string())
            }
            Some("application/json") => {
                serde_json::from_slice(&asked.body).map_err(|e| e.to_string())
            }
            other => Err(format!("what is {other:?}?")),
        };
        let status = match request {
            Ok(request) if asked.path == "/v1/traces" => {
                self.take(request);
                200
            }
            Ok(_) => 404,
            Err(error) => {
                eprintln!("{error}: {}", String::from_utf8_lossy(&asked.body));
                400
            }
        };
        Served {
            after: Duration::ZERO,
            end: End::Answer(Response::new(status, "application/x-protobuf", Vec::new())),
        }
    }

    fn calls(&self, _: &str) -> Option<u64> {
        None
    }

    fn asked(&self) -> Vec<Asked> {
        Vec::new()
    }
}

struct Traced {
    _envoy: Running,
    at: SocketAddr,
    world: World,
    collector: Collector,
    _store: StoreService,
    _servers: Vec<Server>,
    _runtime: tokio::runtime::Runtime,
}

impl Traced {
    fn start(keys: &[&ApiKey]) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let world = World::new();
        // As the shipped configuration has it.
        world.auth.accept_service_tokens(["change-me"]);
        for key in keys {
            world.auth.add_api_key((*key).clone());
        }
        let collector = Collector::default();
        let serve = |service| Server::service(runtime.handle(), service).unwrap();
        let receiver = serve(Arc::new(collector.clone()) as Arc<dyn Service>);
        let auth = serve(world.service("auth_service").unwrap());
        let upstream = Server::upstream(runtime.handle(), world.upstream.clone()).unwrap();
        let store = StoreService::start(&format!(
            "log = \"warn\"\n[traces]\nendpoint = \"http://{}\"\n",
            receiver.address()
        ));

        let mut shipped = Shipped::new("envoy/envoy.yaml");
        shipped.place("orders.internal", 8080, upstream.address());
        shipped.place("auth.internal", 8080, auth.address());
        shipped.place("redis-proxy.internal", 8970, store.address());
        shipped.place("otel-collector.internal", 4318, receiver.address());
        shipped.listen();
        shipped.put(
            "random_sampling: { value: 10 }",
            "random_sampling: { value: 100 }",
        );
        // Envoy waits five seconds for more spans.
        shipped.append(
            "layered_runtime:\n  layers:\n  - { name: test, static_layer: { tracing.opentelemetry.flush_interval_ms: 100 } }\n",
        );
        let envoy = shipped.start_with(&["--concurrency", "1", "--log-level", "info"]);
        let traced = Self {
            at: envoy.listener("https"),
            _envoy: envoy,
            world,
            collector,
            _store: store,
            _servers: vec![receiver, auth, upstream],
            _runtime: runtime,
        };
        // Its lists and keys are here by then. No trace of these.
        until("a list", LONG, || {
            let unsampled = "traceparent: 00-00000000000000000000000000000001-0000000000000001-00";
            traced.curl("/health", &[unsampled]).0 == 200
        });
        traced
    }

    /// Status and body.
    fn curl(&self, path: &str, headers: &[&str]) -> (u16, String) {
        let headers = headers.iter().flat_map(|header| ["--header", header]);
        let output = Command::new("curl")
            .args([
                "--silent",
                "--insecure",
                "--max-time",
                "10",
                "--write-out",
                "\n%{http_code}",
            ])
            .args(headers)
            .arg(format!("https://{}{path}", self.at))
            .output()
            .expect("curl runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = text.rsplit_once('\n').unwrap_or_default();
        (status.parse().unwrap_or_default(), body.to_owned())
    }

    /// The `traceparent` of the newest request of a path that the auth-service got.
    fn resolved(&self) -> String {
        let asked = self.world.service("auth_service").unwrap().asked();
        let newest = asked
            .iter()
            .rev()
            .find(|asked| asked.path.contains("resolve"));
        let newest = newest.expect("a call of the resolver");
        newest
            .header("traceparent")
            .expect("a traceparent")
            .to_owned()
    }
}

/// What the upstream says that it saw.
fn seen(body: &str) -> String {
    let upstream: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{body}"));
    let text = upstream.to_string();
    let (_, rest) = text.split_once("\"traceparent\"").expect("a traceparent");
    let start = rest.find("00-").expect("its value");
    rest.chars().skip(start).take(55).collect()
}

#[test]
fn one_trace_goes_through_gateway_callouts_and_upstream() {
    let tenant = |name: &str| ApiKey {
        tenant: Some(format!("tenant-{name}")),
        ..ApiKey::new(name, name)
    };
    let (one, two, three) = (tenant("one"), tenant("two"), tenant("three"));
    let traced = Traced::start(&[&one, &two, &three]);
    let key = |key: &ApiKey| format!("x-api-key: {}", key.key);

    // Nobody has begun a trace: the gateway does.
    let (status, body) = traced.curl(&format!("/v1/orders?token={CANARY}"), &[&key(&one)]);
    assert_eq!(status, 200, "{body}");
    let upstream = seen(&body);
    let parts: Vec<&str> = upstream.split('-').collect();
    let (trace, sent_by) = (parts[1], parts[2]);
    let of_trace = |service: &'static str| {
        let trace = trace.to_owned();
        move |span: &Span| span.trace == trace && span.service == service
    };
    let gateway = traced
        .collector
        .await_spans("the gateway's spans", 2, of_trace("gateway"));
    let root = gateway
        .iter()
        .find(|span| span.kind == SpanKind::Server)
        .expect("a root");
    assert_eq!(root.parent, "", "{gateway:?}");
    let call = gateway
        .iter()
        .find(|span| span.kind == SpanKind::Client)
        .expect("a child");
    assert_eq!(
        (&call.parent, call.id.as_str()),
        (&root.id, sent_by),
        "the upstream's parent"
    );
    for (attribute, value) in [
        ("url.path", "/v1/orders"),
        ("http.route", "rt-orders-v1-public"),
    ] {
        let expected = (attribute.to_owned(), value.to_owned());
        assert!(root.attributes.contains(&expected), "{root:?}");
    }
    assert_eq!(
        traced.resolved(),
        format!("00-{trace}-{}-01", root.id),
        "auth's callout"
    );
    let in_trace = of_trace("redis-proxy");
    let acquire = |span: &Span| in_trace(span) && span.name == "POST /v1/limits/acquire";
    traced
        .collector
        .await_spans("redis-proxy's span", 1, acquire);
    let store = traced.collector.await_spans("all of its", 1, &in_trace);
    for span in &store {
        assert_eq!(
            (&span.parent, span.kind),
            (&root.id, SpanKind::Server),
            "{span:?}"
        );
    }

    // The client has: the gateway is in its trace.
    let mine = "0af7651916cd43dd8448eb211c80319c";
    let parent = format!("traceparent: 00-{mine}-b7ad6b7169203331-01");
    assert_eq!(traced.curl("/v1/orders", &[&key(&two), &parent]).0, 200);
    let in_mine =
        |service: &'static str| move |span: &Span| span.trace == mine && span.service == service;
    let gateway =
        traced
            .collector
            .await_spans("spans of the client's trace", 2, in_mine("gateway"));
    let root = gateway
        .iter()
        .find(|span| span.kind == SpanKind::Server)
        .unwrap();
    assert_eq!(root.parent, "b7ad6b7169203331");
    assert_eq!(traced.resolved(), format!("00-{mine}-{}-01", root.id));
    let store = traced
        .collector
        .await_spans("its callout", 1, in_mine("redis-proxy"));
    assert_eq!(store[0].parent, root.id);

    // The client wants none: nobody makes a span, and everybody is told so.
    let unwanted = "1af7651916cd43dd8448eb211c80319c";
    let parent = format!("traceparent: 00-{unwanted}-b7ad6b7169203331-00");
    let (status, body) = traced.curl("/v1/orders", &[&key(&three), &parent]);
    assert_eq!(status, 200, "{body}");
    assert!(seen(&body).starts_with(&format!("00-{unwanted}-")) && seen(&body).ends_with("-00"));
    let resolved = traced.resolved();
    assert!(
        resolved.starts_with(&format!("00-{unwanted}-")) && resolved.ends_with("-00"),
        "{resolved}"
    );
    std::thread::sleep(Duration::from_millis(1_500));
    let spans = traced.collector.spans().clone();
    assert!(spans.iter().all(|span| span.trace != unwanted), "{spans:?}");
    // What happens in the background belongs to no trace; and no span has a credential.
    let known = [trace, mine];
    let foreign = |span: &&Span| !known.contains(&span.trace.as_str());
    assert_eq!(spans.iter().find(foreign), None);
    let text = format!("{spans:?}");
    assert!(!text.contains(CANARY) && !text.contains(&one.key), "{text}");
}
