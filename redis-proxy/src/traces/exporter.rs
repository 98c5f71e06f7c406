//! Spans to a collector: OTLP over HTTP, as JSON (OpenTelemetry Protocol 1.x). A batch whose end is not known is not
//! sent again.

use std::{io, sync::Arc, time::Duration};

use axum::body::Body;
use hyper::{Request, StatusCode, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    sync::mpsc::Receiver,
    time::{sleep, timeout},
};

use super::{Settings, Span};
use crate::metrics::{Metrics, SpanFate};

/// Spans in a batch.
const BATCH: usize = 512;
/// A batch is filled for so long.
const EVERY: Duration = Duration::from_millis(500);
/// For a batch to be sent and acknowledged.
const PATIENCE: Duration = Duration::from_secs(2);
/// `SPAN_KIND_SERVER`, `STATUS_CODE_ERROR`.
const SERVER: u8 = 2;
const ERROR: u8 = 2;

/// Sends what is put, until nobody can put any more.
pub(super) async fn run(settings: Settings, mut waiting: Receiver<Span>, metrics: Arc<Metrics>) {
    let mut batch = Vec::new();
    let mut told = false;
    loop {
        batch.clear();
        if waiting.recv_many(&mut batch, BATCH).await == 0 {
            return;
        }
        if batch.len() < BATCH && !waiting.is_closed() {
            sleep(EVERY).await;
            let room = BATCH.saturating_sub(batch.len());
            batch.extend(std::iter::from_fn(|| waiting.try_recv().ok()).take(room));
        }
        let body = encode(&settings.service_name, &batch).to_string();
        let sent = timeout(PATIENCE, send(&settings, body)).await;
        let sent = sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        match &sent {
            Ok(()) => told = false,
            Err(error) if !told => {
                told = true;
                tracing::warn!(%error, "spans are lost: the collector did not take them");
            }
            Err(_) => {}
        }
        let fate = match sent {
            Ok(()) => SpanFate::sent,
            Err(_) => SpanFate::lost,
        };
        metrics.spans(fate, batch.len());
    }
}

async fn send(settings: &Settings, body: String) -> io::Result<()> {
    let stream = TcpStream::connect((settings.host.as_str(), settings.port)).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    let connection = tokio::spawn(connection);
    let request = Request::post(&settings.path)
        .header(header::HOST, format!("{}:{}", settings.host, settings.port))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body))
        .map_err(io::Error::other)?;
    let answer = sender.send_request(request).await;
    connection.abort();
    match answer.map_err(io::Error::other)?.status() {
        StatusCode::OK | StatusCode::ACCEPTED => Ok(()),
        status => Err(io::Error::other(format!("it answered {status}"))),
    }
}

fn text(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

/// `ExportTraceServiceRequest`, in which 64-bit numbers are texts and ids hexadecimal.
fn encode(service: &str, spans: &[Span]) -> Value {
    let span = |span: &Span| {
        let status = if span.status >= 500 {
            json!({"code": ERROR})
        } else {
            json!({})
        };
        json!({
            "traceId": span.trace.to_string(),
            "spanId": span.id.to_string(),
            "parentSpanId": span.parent.to_string(),
            "name": format!("{} {}", span.method, span.route),
            "kind": SERVER,
            "startTimeUnixNano": span.from_ns.to_string(),
            "endTimeUnixNano": span.to_ns.to_string(),
            "attributes": [
                text("http.request.method", &span.method),
                text("http.route", &span.route),
                {"key": "http.response.status_code", "value": {"intValue": span.status.to_string()}},
            ],
            "status": status,
        })
    };
    json!({"resourceSpans": [{
        "resource": {"attributes": [text("service.name", service), text("service.version", env!("CARGO_PKG_VERSION"))]},
        "scopeSpans": [{
            "scope": {"name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION")},
            "spans": spans.iter().map(span).collect::<Vec<_>>(),
        }],
    }]})
}
