//! `/openapi.json`: made from the handlers and the wire types, never by hand.

use axum::Json;
use utoipa::OpenApi;
use wire::lists::ListName;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "redis-proxy",
        description = "Limits, tiers, adaptive factors, quotas, lists and samples: what the filters ask for and tell."
    ),
    paths(
        super::limits::acquire,
        super::load::report,
        super::tiers::table,
        super::lists::page,
        super::quota::look_up,
        super::samples::report,
        super::upstream_failures::report,
        super::sleep::serve,
        super::health::alive,
        super::health::ready,
        super::health::metrics,
    ),
    components(schemas(ListName))
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
