//! `/v1/internal/edge/deny` and `/tarpit` (C1).

use std::sync::Arc;

use axum::{
    Extension, Json,
    body::Body,
    extract::{self, rejection::PathRejection},
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use wire::lists::{Kind, ListName};

use super::{
    State, body,
    gate::Who,
    query::{Query, plain},
};
use crate::{
    edge::{Added, EntryBody, EntryId, EntryView, MAX_PAGE, Note},
    http::problem::{self, Problem},
};

/// Where the lists are; the name of one follows.
pub const LISTS: &str = "/v1/internal/edge/";
/// Entries in an answer, unless asked otherwise.
const USUAL: usize = 100;
/// Entries that one request with `kind` looks at, at most.
const MAX_LOOKED_AT: usize = 20 * MAX_PAGE;

/// A list that people keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum List {
    /// Clients that are refused.
    Deny,
    /// Clients that are answered late.
    Tarpit,
}

impl From<List> for ListName {
    fn from(list: List) -> Self {
        match list {
            List::Deny => Self::Deny,
            List::Tarpit => Self::Tarpit,
        }
    }
}

/// Some entries of a list, oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct EntryPage {
    /// The entries. With `kind` there may be fewer than `limit`, or none, although more follow.
    #[schema(value_type = Vec<EntryView>)]
    entries: Vec<EntryView>,
    /// More follow: ask again with this as `cursor`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next: Option<String>,
}

/// Put a client on a list.
#[utoipa::path(
    post, path = "/v1/internal/edge/{list}", tag = "lists",
    params(("list" = List, Path, description = "Which list")),
    request_body = EntryBody,
    responses(
        (status = 201, body = EntryView, description = "It is on the list, stored with its audit record and event",
         headers(("Location" = String, description = "Where the entry is"))),
        (status = 400, body = Problem, content_type = "application/problem+json",
         description = "`bad_entry`: `errors` names each field; `bad_body`"),
        (status = 403, body = Problem, content_type = "application/problem+json",
         description = "`client_not_allowed`, `certificate_expired`"),
        (status = 404, body = Problem, content_type = "application/problem+json",
         description = "`not_found`: no such list"),
        (status = 408, body = Problem, content_type = "application/problem+json",
         description = "`request_timeout`"),
        (status = 409, body = Problem, content_type = "application/problem+json",
         description = "`duplicate`: `existingId` is the entry that is there"),
        (status = 413, body = Problem, content_type = "application/problem+json",
         description = "`body_too_large`: more than 32,768 bytes"),
        (status = 415, body = Problem, content_type = "application/problem+json",
         description = "`not_json`"),
        (status = 503, body = Problem, content_type = "application/problem+json",
         description = "`store_timeout`, `store_unavailable`: unknown whether it was done, ask again; \
                        `list_full`, `outbox_full`: it was not"),
    )
)]
pub async fn add(
    extract::State(state): extract::State<Arc<State>>,
    Extension(Who(who)): Extension<Who>,
    list: Result<extract::Path<List>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let list = known(list)?;
    let body = body::read(&headers, body).await?;
    let new = state
        .edge
        .read(list, &body)
        .map_err(|bad| Problem::fields("bad_entry", bad.0))?;
    match state.edge.add(list, &new, &who).await? {
        Added::Done(change) => {
            let location = format!("{LISTS}{list}/{}", change.entry.id);
            let entry = EntryView::from(change.entry);
            let answer = (
                StatusCode::CREATED,
                [(header::LOCATION, location)],
                Json(entry),
            );
            Ok(answer.into_response())
        }
        Added::Duplicate(id) => {
            let detail = format!(
                "the list has a live entry for this {}: {id}",
                new.member.kind()
            );
            let problem = Problem::new(StatusCode::CONFLICT, "duplicate", detail);
            Err(problem.existing(id))
        }
    }
}

/// Who is on a list.
#[utoipa::path(
    get, path = "/v1/internal/edge/{list}", tag = "lists",
    params(
        ("list" = List, Path, description = "Which list"),
        ("limit" = Option<usize>, Query, minimum = 1, maximum = 1_000, description = "Most entries; 100"),
        ("cursor" = Option<String>, Query, pattern = "^[0-9]{1,20}$", description = "`next` of the answer before"),
        ("kind" = Option<String>, Query, pattern = "^(ja3|ja4|ip|cidr)$", description = "Only these"),
    ),
    responses(
        (status = 200, body = EntryPage, description = "Oldest first"),
        (status = 400, body = Problem, content_type = "application/problem+json",
         description = "`bad_query`: `errors` names each parameter"),
        (status = 403, body = Problem, content_type = "application/problem+json",
         description = "`client_not_allowed`, `certificate_expired`"),
        (status = 404, body = Problem, content_type = "application/problem+json",
         description = "`not_found`: no such list"),
        (status = 503, body = Problem, content_type = "application/problem+json",
         description = "`store_timeout`, `store_unavailable`"),
    )
)]
pub async fn list(
    extract::State(state): extract::State<Arc<State>>,
    list: Result<extract::Path<List>, PathRejection>,
    uri: Uri,
) -> Result<Json<EntryPage>, Problem> {
    let list = known(list)?;
    let mut query = Query::of(&uri);
    let limit = query.count("limit", USUAL, MAX_PAGE);
    let cursor = query.take("cursor", "must be the next of an answer", plain::<u64>);
    let kind = query.take("kind", "must be ja3, ja4, ip or cidr", kind);
    query.end()?;

    let mut after = cursor.unwrap_or_default();
    let mut found: Vec<EntryView> = Vec::new();
    let mut looked_at = 0_usize;
    loop {
        let missing = limit.saturating_sub(found.len());
        // With a kind, most of a page may be others.
        let ask = if kind.is_some() { MAX_PAGE } else { missing };
        let page = state.edge.entries(list, after, ask).await?;
        looked_at = looked_at.saturating_add(page.entries.len().max(1));
        let mut wanted = page
            .entries
            .into_iter()
            .filter(|entry| kind.is_none_or(|kind| entry.member.kind() == kind))
            .map(EntryView::from)
            .peekable();
        found.extend(wanted.by_ref().take(missing));
        let next = match (wanted.peek(), found.last(), page.next) {
            // The page holds more than there is room for: go on after the last that was taken.
            (Some(_), Some(last), _) => Some(last.version),
            (_, _, next) => next,
        };
        match next {
            Some(version) if found.len() < limit && looked_at < MAX_LOOKED_AT => after = version,
            next => {
                return Ok(Json(EntryPage {
                    entries: found,
                    next: next.map(|version| version.to_string()),
                }));
            }
        }
    }
}

/// One entry.
#[utoipa::path(
    get, path = "/v1/internal/edge/{list}/{id}", tag = "lists",
    params(
        ("list" = List, Path, description = "Which list"),
        ("id" = EntryId, Path, description = "Which entry"),
    ),
    responses(
        (status = 200, body = EntryView, description = "It is live"),
        (status = 403, body = Problem, content_type = "application/problem+json",
         description = "`client_not_allowed`, `certificate_expired`"),
        (status = 404, body = Problem, content_type = "application/problem+json",
         description = "`not_found`: no such list; `no_such_entry`: there is none, or its time is over"),
        (status = 503, body = Problem, content_type = "application/problem+json",
         description = "`store_timeout`, `store_unavailable`"),
    )
)]
pub async fn get(
    extract::State(state): extract::State<Arc<State>>,
    path: Result<extract::Path<(List, String)>, PathRejection>,
) -> Result<Json<EntryView>, Problem> {
    let (list, id) = named(path)?;
    let entry = state.edge.get(list, &id).await?.ok_or_else(no_such_entry)?;
    Ok(Json(entry.into()))
}

/// Take a client off a list.
#[utoipa::path(
    delete, path = "/v1/internal/edge/{list}/{id}", tag = "lists",
    params(
        ("list" = List, Path, description = "Which list"),
        ("id" = EntryId, Path, description = "Which entry"),
        ("reason" = Option<String>, Query, min_length = 1, max_length = 1_024, description = "Why, for people"),
        ("ticketUrl" = Option<String>, Query, max_length = 2_048,
         description = "Where to read on, `http` or `https`; with a reason only"),
    ),
    responses(
        (status = 204, description = "It is off the list"),
        (status = 400, body = Problem, content_type = "application/problem+json",
         description = "`bad_query`: `errors` names each parameter"),
        (status = 403, body = Problem, content_type = "application/problem+json",
         description = "`client_not_allowed`, `certificate_expired`"),
        (status = 404, body = Problem, content_type = "application/problem+json",
         description = "`not_found`: no such list; `no_such_entry`: there is none, or its time is over"),
        (status = 503, body = Problem, content_type = "application/problem+json",
         description = "`store_timeout`, `store_unavailable`: unknown whether it was done, ask again; \
                        `outbox_full`: it was not"),
    )
)]
pub async fn remove(
    extract::State(state): extract::State<Arc<State>>,
    Extension(Who(who)): Extension<Who>,
    path: Result<extract::Path<(List, String)>, PathRejection>,
    uri: Uri,
) -> Result<StatusCode, Problem> {
    let (list, id) = named(path)?;
    let mut query = Query::of(&uri);
    let mut text = |name| query.take(name, "", |text| Some(text.to_owned()));
    let (reason, ticket) = (text("reason"), text("ticketUrl"));
    query.end()?;
    let note = Note::read(reason.as_deref(), ticket.as_deref())
        .map_err(|bad| Problem::fields("bad_query", bad.0))?;
    let removed = state.edge.remove(list, &id, &who, note).await?;
    removed
        .map(|_| StatusCode::NO_CONTENT)
        .ok_or_else(no_such_entry)
}

fn known(list: Result<extract::Path<List>, PathRejection>) -> Result<ListName, Problem> {
    list.map(|extract::Path(list)| list.into())
        .map_err(|_| problem::no_such_path())
}

fn named(
    path: Result<extract::Path<(List, String)>, PathRejection>,
) -> Result<(ListName, EntryId), Problem> {
    let extract::Path((list, id)) = path.map_err(|_| problem::no_such_path())?;
    let id = id.parse().map_err(|_| no_such_entry())?;
    Ok((list.into(), id))
}

fn no_such_entry() -> Problem {
    let detail = "the list has no live entry of this id";
    Problem::new(StatusCode::NOT_FOUND, "no_such_entry", detail)
}

fn kind(text: &str) -> Option<Kind> {
    [Kind::Ja3, Kind::Ja4, Kind::Ip, Kind::Cidr]
        .into_iter()
        .find(|kind| kind.as_str() == text)
}
