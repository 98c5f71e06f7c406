//! `POST /v1/load` (R19).

use std::sync::Arc;

use axum::{Json, extract, http::StatusCode};
use wire::load::{LoadReply, LoadReport, MAX_REPORTS, MAX_UPSTREAM_BYTES};

use super::{
    State,
    problem::{Body, Problem},
};

/// Report how upstreams fare; learn by how much to shrink.
#[utoipa::path(
    post, path = "/v1/load", tag = "load",
    request_body = LoadReport,
    responses(
        (status = 200, body = LoadReply, description = "The factors of now; empty when off"),
        (status = 400, body = Problem, content_type = "application/problem+json",
         description = "`bad_body`, `bad_report`"),
        (status = 408, body = Problem, content_type = "application/problem+json",
         description = "`request_timeout`"),
        (status = 413, body = Problem, content_type = "application/problem+json",
         description = "`body_too_large`"),
        (status = 415, body = Problem, content_type = "application/problem+json",
         description = "`not_json`"),
    )
)]
pub async fn report(
    extract::State(state): extract::State<Arc<State>>,
    Body(report): Body<LoadReport>,
) -> Result<Json<LoadReply>, Problem> {
    let named = |name: &str| (1..=MAX_UPSTREAM_BYTES).contains(&name.len());
    if report.upstreams.len() > MAX_REPORTS
        || !report.upstreams.iter().all(|load| named(&load.upstream))
    {
        let detail = "upstreams: at most 256, each named with 1 to 128 bytes";
        return Err(Problem::new(StatusCode::BAD_REQUEST, "bad_report", detail));
    }
    if let Some(adaptive) = state.adaptive().as_mut() {
        adaptive.report(&report);
    }
    Ok(Json(LoadReply {
        factors: state.factors(),
    }))
}
