//! `DELETE /cache/ghasi:apikey:{sha256}` (A8): the filters forget whose API key this is.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{self, rejection::PathRejection},
    http::StatusCode,
};
use wire::lists::ListName;

use super::{State, gate::Who};
use crate::{
    edge::NewEntry,
    http::problem::{self, Problem},
};

/// Have the filters forget whose API key this is.
#[utoipa::path(
    delete, path = "/cache/{key}", tag = "cache",
    params(("key" = String, Path, pattern = "^ghasi:apikey:[0-9a-fA-F]{64}$",
            description = "`ghasi:apikey:` and the SHA-256 of the API key, 64 hexadecimal digits")),
    responses(
        (status = 202, description = "Stored; every worker forgets it within two seconds"),
        (status = 400, body = Problem, content_type = "application/problem+json",
         description = "`bad_key`"),
        (status = 403, body = Problem, content_type = "application/problem+json",
         description = "`client_not_allowed`, `certificate_expired`"),
        (status = 503, body = Problem, content_type = "application/problem+json",
         description = "`store_timeout`, `store_unavailable`: unknown whether it was done, ask again; \
                        `list_full`, `outbox_full`: it was not"),
    )
)]
pub async fn revoke(
    extract::State(state): extract::State<Arc<State>>,
    Extension(Who(who)): Extension<Who>,
    key: Result<extract::Path<String>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let extract::Path(key) = key.map_err(|_| problem::no_such_path())?;
    let revocation = NewEntry::revocation(&key).map_err(|bad| Problem::fields("bad_key", bad.0))?;
    state.edge.add(ListName::Revoked, &revocation, &who).await?;
    Ok(StatusCode::ACCEPTED)
}
