//! `GET /v1/tiers` (R3).

use std::sync::Arc;

use axum::{
    Json, extract,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use wire::tiers::TierTable;

use super::State;

/// The tier table. With adaptive factors at work, `ETag` is left out: they change by the second.
#[utoipa::path(
    get, path = "/v1/tiers", tag = "tiers",
    params(("If-None-Match" = Option<String>, Header, description = "An `ETag` seen before")),
    responses(
        (status = 200, body = TierTable, description = "The table of now"),
        (status = 304, description = "It is the one of `If-None-Match`"),
    )
)]
pub async fn table(
    extract::State(state): extract::State<Arc<State>>,
    headers: HeaderMap,
) -> Response {
    let table = state.tiers.load();
    let factors = state.factors();
    if !factors.is_empty() {
        return Json(TierTable {
            factors,
            ..TierTable::clone(&table)
        })
        .into_response();
    }
    let tag = format!("\"{}\"", table.revision);
    if headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|seen| seen.as_bytes() == tag.as_bytes())
    {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response();
    }
    ([(header::ETAG, tag)], Json(TierTable::clone(&table))).into_response()
}
