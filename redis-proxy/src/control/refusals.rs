//! `GET /internal/edge/refusals`: what was refused, minute by minute.

use std::sync::Arc;

use axum::{Json, extract, http::Uri};

use super::{State, query::Query};
use crate::{fingerprints::refusals::Refusals, http::problem::Problem};

/// What was refused in the last hour.
#[utoipa::path(
    get, path = "/internal/edge/refusals", tag = "fingerprints",
    responses(
        (status = 200, body = Refusals, description = "Of each kind, minute by minute, estimated from samples"),
        (status = 400, body = Problem, content_type = "application/problem+json",
         description = "`bad_query`: `errors` names each parameter"),
        (status = 403, body = Problem, content_type = "application/problem+json",
         description = "`client_not_allowed`, `certificate_expired`"),
    )
)]
pub async fn minutes(
    extract::State(state): extract::State<Arc<State>>,
    uri: Uri,
) -> Result<Json<Refusals>, Problem> {
    Query::of(&uri).end()?;
    let now_ms = state.now_ms();
    Ok(Json(state.fingerprints.refusals(now_ms)))
}
