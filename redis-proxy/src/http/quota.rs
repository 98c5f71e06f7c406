//! `POST /v1/quota/lookup` (Q1).

use std::sync::Arc;

use axum::{Json, extract, http::StatusCode};
use wire::quota::{MAX_TENANTS, QuotaReply, QuotaRequest, is_tenant};

use super::{
    State,
    problem::{Body, Problem},
};

/// How much of its quota each of up to 256 tenants has used.
#[utoipa::path(
    post, path = "/v1/quota/lookup", tag = "quota",
    request_body = QuotaRequest,
    responses(
        (status = 200, body = QuotaReply, description = "One for each tenant, in order; `null`: none is known"),
        (status = 400, body = Problem, content_type = "application/problem+json",
         description = "`bad_body`, `bad_tenants`"),
        (status = 408, body = Problem, content_type = "application/problem+json",
         description = "`request_timeout`"),
        (status = 413, body = Problem, content_type = "application/problem+json",
         description = "`body_too_large`"),
        (status = 415, body = Problem, content_type = "application/problem+json",
         description = "`not_json`"),
        (status = 503, body = Problem, content_type = "application/problem+json",
         description = "`store_timeout`, `store_unavailable`, `overloaded`"),
    )
)]
pub async fn look_up(
    extract::State(state): extract::State<Arc<State>>,
    Body(request): Body<QuotaRequest>,
) -> Result<Json<QuotaReply>, Problem> {
    let tenants = request.tenants;
    if tenants.is_empty() || tenants.len() > MAX_TENANTS || !tenants.iter().all(|t| is_tenant(t)) {
        let detail = "tenants: must be 1 to 256 names of 1 to 128 bytes of visible ASCII";
        return Err(Problem::new(StatusCode::BAD_REQUEST, "bad_tenants", detail));
    }
    let Ok(_permit) = state.permits.try_acquire() else {
        return Err(wire::limits::Failure::Overloaded.into());
    };
    let quotas = state.quotas.look_up(&tenants).await?;
    Ok(Json(QuotaReply { quotas }))
}
