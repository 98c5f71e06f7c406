//! `/healthz`, `/readyz`, `/metrics` (C4).

use std::sync::Arc;

use axum::{
    extract,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

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
    let text = state.metrics.render(state.store.health(), &state.factors());
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}
