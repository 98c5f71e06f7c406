//! `/healthz`, `/readyz`, `/metrics` (C4).

use std::sync::Arc;

use axum::{
    extract,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

use tokio::task::spawn_blocking;

use super::{State, problem::Problem};

/// Whether the process serves at all.
#[utoipa::path(get, path = "/healthz", tag = "health",
    responses((status = 200, body = String, description = "It does")))]
pub async fn alive() -> &'static str {
    "ok\n"
}

/// Whether the store can decide keys; then notes, one line each, of what is not well with the lists and the quotas.
#[utoipa::path(get, path = "/readyz", tag = "health",
    responses(
        (status = 200, body = String, description = "It can"),
        (status = 503, body = Problem, content_type = "application/problem+json",
         description = "`store_open`"),
    ))]
pub async fn ready(extract::State(state): extract::State<Arc<State>>) -> Response {
    if state.store.health().ready {
        let mut notes = state.edge.notes();
        notes.extend(state.quotas.notes());
        let notes = notes.iter().map(|note| format!("note: {note}\n"));
        return format!("ready\n{}", notes.collect::<String>()).into_response();
    }
    let detail = "the store cannot decide any key";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "store_open", detail).into_response()
}

/// Metrics in the OpenMetrics text format.
#[utoipa::path(get, path = "/metrics", tag = "health",
    responses((status = 200, body = String, description = "OpenMetrics text",
               content_type = "application/openmetrics-text")))]
pub async fn metrics(extract::State(state): extract::State<Arc<State>>) -> Response {
    let mut clients = Vec::new();
    if state.metrics_top > 0 {
        let now_ms = (state.clock)().checked_div(1_000).unwrap_or_default();
        let (fingerprints, top) = (Arc::clone(&state.fingerprints), state.metrics_top);
        // Up to 61 minutes are merged: that may take longer than a worker should be held.
        let merged = spawn_blocking(move || fingerprints.heaviest(now_ms, top));
        clients = merged.await.unwrap_or_default();
    }
    let text = state
        .metrics
        .render(state.store.health(), &state.factors(), &clients);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}
