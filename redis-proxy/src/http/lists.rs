//! `GET /v1/lists/{list}` (D3): the lists for the workers, from a copy in this process.

use std::sync::Arc;

use axum::{
    extract::{self, Path, Query, rejection::QueryRejection},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use utoipa::IntoParams;
use wire::lists::{self, ListName, MEDIA_TYPE};

use super::{State, problem::Problem};
use crate::edge::Answer;

/// The route.
pub const PATH: &str = "/v1/lists/{list}";

/// What a worker has.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Seen {
    /// The `epoch` of the last page; none: the worker has nothing.
    #[param(required = false, max_length = 64)]
    epoch: String,
    /// The `to` of the last page.
    #[param(required = false, minimum = 0)]
    after: u64,
}

/// What changed on a list, or the list from its beginning. The form is in `shared/wire/src/lists.rs`.
#[utoipa::path(
    get, path = "/v1/lists/{list}", tag = "lists",
    params(("list" = ListName, Path, description = "The list"), Seen),
    responses(
        (status = 200, body = String, content_type = "text/vnd.portcullis.list", description = "Changes"),
        (status = 304, description = "Nothing changed"),
        (status = 400, body = Problem, content_type = "application/problem+json",
         description = "`bad_query`"),
        (status = 404, body = Problem, content_type = "application/problem+json",
         description = "`not_found`: no such list"),
        (status = 503, body = Problem, content_type = "application/problem+json",
         description = "`not_loaded`: the list has not been read from the store yet"),
    ))]
pub async fn page(
    extract::State(state): extract::State<Arc<State>>,
    Path(list): Path<String>,
    seen: Result<Query<Seen>, QueryRejection>,
) -> Result<Response, Problem> {
    let no_list = |_| Problem::new(StatusCode::NOT_FOUND, "not_found", "no such list");
    let list: ListName = list.parse().map_err(no_list)?;
    let bad = |why: String| Problem::new(StatusCode::BAD_REQUEST, "bad_query", why);
    let Query(seen) = seen.map_err(|rejection| bad(rejection.body_text()))?;
    if !seen.epoch.is_empty() && !lists::is_epoch(&seen.epoch) {
        return Err(bad("epoch: must be 1 to 64 of A-Z a-z 0-9 _ -".to_owned()));
    }
    match state.edge.answer(list, &seen.epoch, seen.after) {
        Answer::Same => Ok(StatusCode::NOT_MODIFIED.into_response()),
        Answer::Page(page) => {
            Ok(([(header::CONTENT_TYPE, MEDIA_TYPE)], page.encode()).into_response())
        }
        Answer::NotLoaded => {
            let detail = "the list has not been read from the store yet";
            Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "not_loaded",
                detail,
            ))
        }
    }
}
