//! `/openapi.json` of the control listener: made from the handlers, never by hand.

use axum::Json;
use utoipa::OpenApi;
use wire::lists::ListName;

use super::entries::List;
use crate::{edge::EntryId, fingerprints::Counts};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "redis-proxy, control API",
        description = "Who is denied or slowed down, on whose word, and who comes by. Mutual TLS; the client must be listed in `control.allow`."
    ),
    paths(
        super::entries::add,
        super::entries::list,
        super::entries::get,
        super::entries::remove,
        super::audit::list,
        super::cache::revoke,
        super::fingerprints::top,
        super::refusals::minutes,
    ),
    components(schemas(List, Counts, EntryId, ListName))
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
