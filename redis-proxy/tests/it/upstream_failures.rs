//! Failures of upstream identities: from a gateway's worker to JetStream.

use std::time::Duration;

use serde_json::{Value, json};
use wire::upstream_failures::UPSTREAM_FAILURES_PATH;

use crate::{control_client::Control, edge_service::to_nats, nats_server::NatsServer};

const KIND: &str = "kong.mtls.upstream.failed.v1";

fn failure(id: &str) -> Value {
    json!({
        "id": id, "first_ms": 1_790_000_000_000_u64, "last_ms": 1_790_000_000_123_u64, "count": 7,
        "reason": "identity", "route": "rt-compliance-v1-internal", "service": "compliance",
        "expected": ["spiffe://prod.example/ns/compliance/sa/engine"],
        "presented": "spiffe://prod.example/ns/other/sa/engine",
    })
}

fn batch(ids: &[&str]) -> Value {
    json!({"failures": ids.iter().map(|id| failure(id)).collect::<Vec<_>>()})
}

#[tokio::test]
async fn a_failure_is_one_event_however_often_it_is_told() {
    let mut nats = NatsServer::new(None);
    let control = Control::start_with(&to_nats(&nats), "").await;
    let tell = async |batch: Value| {
        let answer = control.service.post(UPSTREAM_FAILURES_PATH, &batch).await;
        answer.status().as_u16()
    };
    // Not acknowledged while JetStream does not have it: the gateway keeps it and tells it again.
    assert_eq!(tell(batch(&["failure-1"])).await, 503);
    nats.restart();
    let began = std::time::Instant::now();
    while tell(batch(&["failure-1", "failure-2"])).await != 204 {
        assert!(began.elapsed() < Duration::from_secs(60));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(tell(batch(&["failure-2"])).await, 204);
    let events = nats.events("EDGE").await;
    assert_eq!(events.len(), 2, "{events:?}");
    let expected = json!({
        "specversion": "1.0", "id": "failure-1", "source": "/portcullis/redis-proxy", "type": KIND,
        "subject": "compliance", "time": "2026-09-21T14:13:20.123Z", "datacontenttype": "application/json",
        "data": {
            "reason": "identity", "count": 7, "firstMs": 1_790_000_000_000_u64, "lastMs": 1_790_000_000_123_u64,
            "route": "rt-compliance-v1-internal", "service": "compliance",
            "expected": ["spiffe://prod.example/ns/compliance/sa/engine"],
            "presented": "spiffe://prod.example/ns/other/sa/engine",
        },
    });
    assert_eq!(events["failure-1"], expected);
    let metrics = control.service.metrics().await;
    let published = format!(r#"published_total{{type="{KIND}"}}"#);
    assert!(metrics.contains(&published), "{metrics}");
}

#[tokio::test]
async fn without_nats_failures_are_logged_and_nonsense_is_refused() {
    let control = Control::start().await;
    let mut bad = Vec::new();
    for (field, value) in [
        ("id", json!("a b c d e")),
        ("id", json!("short")),
        ("count", json!(0)),
        ("first_ms", json!(1_790_000_000_124_u64)),
        ("reason", json!("other")),
        ("route", json!("x".repeat(513))),
        ("expected", json!(vec!["x"; 17])),
        ("unknown", json!(1)),
    ] {
        let mut one = failure("failure-1");
        one[field] = value;
        bad.push(json!({"failures": [one]}));
    }
    bad.push(json!({"failures": []}));
    bad.push(json!({"failures": vec![failure("failure-1"); 65]}));
    for batch in bad {
        let answer = control.service.post(UPSTREAM_FAILURES_PATH, &batch).await;
        assert_eq!(answer.status(), 400, "{batch}");
    }
    let good = control
        .service
        .post(UPSTREAM_FAILURES_PATH, &batch(&["failure-1"]))
        .await;
    assert_eq!(good.status(), 204);
}
