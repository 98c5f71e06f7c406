//! One trace through Kong, its callouts and the upstream (O2): `ops/kong` as it stands but for ports, paths and how many
//! requests are sampled. `limits-test` has the same with Envoy, and reads what redis-proxy sends.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kong_test::Source;
use serde_json::Value;
use testkit::world::{Asked, End, Response, Served, Service};
use testkit::{ApiKey, World};

use crate::shipped::{Place, Shipped};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CLIENT: &str = "b7ad6b7169203331";
const UNWANTED: &str = "1af7651916cd43dd8448eb211c80319c";

/// Takes what Kong sends, OTLP over HTTP: protobuf, in which ids are bytes as they are.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Asked>>>);

impl Collector {
    /// Whether one export has all of these ids, in hexadecimal.
    fn has(&self, ids: &[&str]) -> bool {
        let exports = self.asked();
        exports.iter().any(|export| {
            let mut ids = ids.iter().map(|id| bytes(id));
            ids.all(|id| export.contains(&id))
        })
    }
}

impl Service for Collector {
    fn serve(&self, asked: Asked) -> Served {
        let known = asked.path == "/v1/traces"
            && asked.header("content-type") == Some("application/x-protobuf");
        let status = if known { 200 } else { 400 };
        if known {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.push(asked);
        }
        Served {
            after: Duration::ZERO,
            end: End::Answer(Response::new(status, "application/x-protobuf", "")),
        }
    }

    fn calls(&self, _: &str) -> Option<u64> {
        None
    }

    fn asked(&self) -> Vec<Asked> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.clone()
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(hex.get(at..at + 2).unwrap(), 16).unwrap())
        .collect()
}

/// The `traceparent` in what the upstream says that it saw: its trace, its span and its flags.
fn seen(body: &str) -> [String; 3] {
    let upstream: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{body}"));
    let text = upstream.to_string();
    let (_, rest) = text.split_once("\"traceparent\"").expect("a traceparent");
    let value = rest.split('"').find(|part| part.starts_with("00-"));
    let value = value.expect("its value");
    parts(value)
}

fn parts(traceparent: &str) -> [String; 3] {
    let parts: Vec<&str> = traceparent.split('-').skip(1).collect();
    let [trace, span, flags] = parts.as_slice() else {
        panic!("{traceparent}")
    };
    [trace, span, flags].map(|part| (*part).to_owned())
}

/// For `Source::Local` only: what is shipped is for an installed Kong.
pub fn one_trace_goes_through_kong_callouts_and_upstream(source: Source) -> Result<(), String> {
    let Source::Local(kong) = source else {
        return Err("only where Kong is installed".into());
    };
    let collector = Collector::default();
    let world = World::new().with("collector", collector.clone());
    // As the shipped configuration has it.
    world.auth.accept_service_tokens(["change-me"]);
    let key = |name: &str| {
        let key = ApiKey {
            tenant: Some(format!("tenant-{name}")),
            ..ApiKey::new(name, name)
        };
        world.auth.add_api_key(key.clone());
        format!("x-api-key: {}", key.key)
    };
    let (one, two) = (key("one"), key("two"));
    let places: [Place; 4] = [
        ("10.0.0.7:8080", "auth_service"),
        ("proxy: { upstream: \"10.0.0.9:8970", "redis_proxy"),
        ("10.0.0.9:8970", "list_service"),
        ("10.0.0.6:4318", "collector"),
    ];
    let every = ("tracing_sampling_rate = 0.1", "tracing_sampling_rate = 1");
    let mut kong = Shipped::start_in(&kong, "kong.yml", &places, &[every], world.clone());
    kong.until("a list", |it| {
        it.curl("/health", &[]).head.starts_with("HTTP/2 200")
    });
    // The parent of the newest question about an API key.
    let resolved = || {
        let asked = world.service("auth_service").expect("the model").asked();
        let newest = asked.iter().rfind(|asked| asked.path.contains("resolve"));
        let traceparent = newest
            .expect("a call of the resolver")
            .header("traceparent");
        parts(traceparent.expect("a traceparent"))
    };

    // The client has begun a trace: Kong is in it, and so are its callout and the upstream.
    let parent = format!("traceparent: 00-{TRACE}-{CLIENT}-01");
    let got = kong.curl("/v1/orders", &["--header", &one, "--header", &parent]);
    assert!(got.head.starts_with("HTTP/2 200"), "{}", got.head);
    let [trace, span, flags] = seen(&got.body);
    assert_eq!((trace.as_str(), flags.as_str()), (TRACE, "01"));
    assert_ne!(span, CLIENT, "Kong's own span");
    assert_eq!(resolved(), [trace, span.clone(), flags], "auth's callout");
    kong.until("Kong's span", |_| collector.has(&[TRACE, CLIENT, &span]));

    // The client wants none: nobody makes a span, and everybody is told so.
    let parent = format!("traceparent: 00-{UNWANTED}-{CLIENT}-00");
    let got = kong.curl("/v1/orders", &["--header", &two, "--header", &parent]);
    assert!(got.head.starts_with("HTTP/2 200"), "{}", got.head);
    let [trace, span, flags] = seen(&got.body);
    assert_eq!((trace.as_str(), flags.as_str()), (UNWANTED, "00"));
    assert_eq!(resolved(), [trace, span, flags]);
    // Nobody has begun one: Kong does. What came before it has been sent by then.
    let own = seen(&kong.curl("/health", &[]).body);
    assert_eq!(own[2], "01");
    kong.until("a trace of Kong's own", |_| {
        collector.has(&[&own[0], &own[1]])
    });
    assert!(!collector.has(&[UNWANTED]), "a span that nobody wants");
    Ok(())
}
