//! Spans of requests that belong to a trace (O2). What a whole trace looks like is in `limits-test`.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use rustix::process::Signal;
use serde_json::Value;
use testkit::ports::free_port;
use tokio::net::TcpListener;

use crate::{redis_server::eventually, service::Service};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

type Batches = Arc<Mutex<Vec<Value>>>;

/// Takes batches, or refuses them.
async fn collector(status: StatusCode) -> (SocketAddr, Batches) {
    let batches = Batches::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let take = move |State(batches): State<Batches>, Json(batch): Json<Value>| async move {
        batches.lock().unwrap().push(batch);
        status
    };
    let routes = Router::new().route("/v1/traces", post(take));
    let routes = routes.with_state(Arc::clone(&batches));
    tokio::spawn(async { axum::serve(listener, routes).await });
    (address, batches)
}

fn config(endpoint: &str) -> String {
    format!("[traces]\nendpoint = 'http://{endpoint}'\nservice_name = 'limits'")
}

async fn asked(service: &Service, path: &str, flags: &str) -> u16 {
    let parent = format!("00-{TRACE}-{PARENT}-{flags}");
    let request = service
        .client
        .get(service.url(path))
        .header("traceparent", parent);
    request.send().await.unwrap().status().as_u16()
}

// `exit` blocks a thread while the collector has to answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_sampled_request_is_a_span_and_the_last_ones_are_sent_before_the_end() {
    let (address, batches) = collector(StatusCode::OK).await;
    let mut service = Service::start(&config(&address.to_string())).await;
    assert_eq!(asked(&service, "/v1/tiers", "01").await, 200);
    assert_eq!(
        asked(&service, "/v1/lists/nothing?secret=1", "01").await,
        404
    );
    assert_eq!(asked(&service, "/v1/tiers", "00").await, 200, "not sampled");
    assert_eq!(
        service.get("/v1/tiers").await.unwrap().status(),
        200,
        "no trace"
    );
    service.signal(Signal::TERM);
    assert!(service.exit(Duration::from_secs(60)).success());

    let batches = batches.lock().unwrap();
    let spans = batches.iter().flat_map(|batch| {
        let resource = &batch["resourceSpans"][0];
        let service = &resource["resource"]["attributes"][0]["value"]["stringValue"];
        assert_eq!(service, "limits");
        resource["scopeSpans"][0]["spans"]
            .as_array()
            .unwrap()
            .clone()
    });
    let spans: Vec<Value> = spans.collect();
    let names: Vec<_> = spans
        .iter()
        .map(|span| span["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["GET /v1/tiers", "GET /v1/lists/{list}"]);
    for span in &spans {
        assert_eq!(
            (&span["traceId"], &span["parentSpanId"]),
            (&TRACE.into(), &PARENT.into())
        );
        assert_eq!(span["spanId"].as_str().unwrap().len(), 16);
        assert_eq!(span["kind"], 2);
        let ns = |field: &str| span[field].as_str().unwrap().parse::<u64>().unwrap();
        assert!(ns("endTimeUnixNano") >= ns("startTimeUnixNano"));
    }
    assert_ne!(spans[0]["spanId"], spans[1]["spanId"]);
    assert_eq!(spans[1]["attributes"][2]["value"]["intValue"], "404");
    assert!(!format!("{spans:?}").contains("secret"), "no query");
}

#[tokio::test]
async fn nothing_waits_for_a_collector_that_is_gone_or_refuses() {
    let (refuses, batches) = collector(StatusCode::SERVICE_UNAVAILABLE).await;
    for endpoint in [format!("127.0.0.1:{}", free_port()), refuses.to_string()] {
        let service = Service::start(&config(&endpoint)).await;
        for _ in 0..3 {
            assert_eq!(asked(&service, "/v1/tiers", "01").await, 200);
        }
        eventually("spans are lost", Duration::from_secs(60), async || {
            let metrics = service.metrics().await;
            metrics.contains("redis_proxy_spans_total{result=\"lost\"} 3")
        })
        .await;
        let log = service.log_with("spans are lost").await;
        assert_eq!(log.matches("spans are lost").count(), 1, "{log}");
    }
    assert!(!batches.lock().unwrap().is_empty());
}
