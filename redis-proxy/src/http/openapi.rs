//! `/openapi.json`: made from the handlers and the wire types, never by hand.

use axum::Json;
use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "redis-proxy",
        description = "Limits, tiers and adaptive factors for the filters."
    ),
    paths(
        super::limits::acquire,
        super::load::report,
        super::tiers::table,
        super::lists::page,
        super::samples::report,
        super::sleep::serve,
        super::health::alive,
        super::health::ready,
        super::health::metrics,
    )
)]
struct Document;

/// The document.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

pub async fn serve() -> Json<utoipa::openapi::OpenApi> {
    Json(document())
}
