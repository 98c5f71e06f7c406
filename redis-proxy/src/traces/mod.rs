//! What this service did for a request, as spans of the trace that the request belongs to (O2). A gateway's callout
//! carries `traceparent`; if that says that its trace is sampled, the span goes to an OpenTelemetry collector. No
//! trace begins here: work in the background has no parent, and makes no span.

pub mod context;
mod exporter;
pub mod settings;

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use axum::{
    extract::{self, MatchedPath, Request},
    middleware::Next,
    response::Response,
};
use tokio::{
    sync::mpsc::{Receiver, Sender, channel},
    task::JoinHandle,
};

pub use settings::Settings;

use context::{Context, SpanId, TraceId};

use crate::metrics::{Metrics, SpanFate};

/// The header with the context of a trace.
pub const HEADER: &str = "traceparent";

/// A request that was served.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Span {
    trace: TraceId,
    parent: SpanId,
    id: SpanId,
    method: String,
    /// The route, never the path: that could hold anything.
    route: String,
    /// Nanoseconds since 1970.
    from_ns: u64,
    to_ns: u64,
    status: u16,
}

/// Where spans are put.
#[derive(Clone)]
pub struct Traces {
    spans: Sender<Span>,
    metrics: Arc<Metrics>,
}

/// The end of the spans: what was put is sent before it has ended.
pub struct Sending(JoinHandle<()>);

impl Traces {
    /// Sends spans in the background for as long as somebody may put some.
    #[must_use]
    pub fn start(settings: Settings, metrics: &Arc<Metrics>) -> (Self, Sending) {
        let (spans, waiting): (_, Receiver<Span>) = channel(settings.queue);
        let sending = tokio::spawn(exporter::run(settings, waiting, Arc::clone(metrics)));
        let metrics = Arc::clone(metrics);
        (Self { spans, metrics }, Sending(sending))
    }

    fn put(&self, span: Span) {
        if self.spans.try_send(span).is_err() {
            self.metrics.spans(SpanFate::dropped, 1);
        }
    }
}

impl Sending {
    /// Ends when everything is sent. Whoever may put spans has to be gone.
    pub async fn end(self) {
        let _ = self.0.await;
    }
}

/// Serves a request, and puts a span if it belongs to a trace that is sampled.
pub(crate) async fn follow(
    extract::State(traces): extract::State<Traces>,
    request: Request,
    next: Next,
) -> Response {
    let Some(parent) = Context::of(request.headers()).filter(|parent| parent.sampled) else {
        return next.run(request).await;
    };
    let Some(id) = SpanId::fresh() else {
        return next.run(request).await;
    };
    let method = request.method().as_str().to_owned();
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or_else(String::new, |route| route.as_str().to_owned());
    let (from_ns, began) = (now_ns(), Instant::now());
    let response = next.run(request).await;
    let took = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
    traces.put(Span {
        trace: parent.trace,
        parent: parent.span,
        id,
        method,
        route,
        from_ns,
        to_ns: from_ns.saturating_add(took),
        status: response.status().as_u16(),
    });
    response
}

fn now_ns() -> u64 {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}
