//! `GET /v1/internal/edge/audit` (C2): who changed what, newest first.

use std::sync::Arc;

use axum::{Json, extract, http::Uri};
use serde::Serialize;
use utoipa::ToSchema;
use wire::lists::ListName;

use super::{
    State,
    query::{Query, plain},
};
use crate::{
    edge::{Change, LISTS, MAX_PAGE},
    http::problem::Problem,
};

/// Changes in an answer, unless asked otherwise.
const USUAL: usize = 100;

/// Some changes, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditPage {
    /// The changes of all lists, or of one.
    changes: Vec<Change>,
    /// Older ones follow: ask again with this as `cursor`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next: Option<String>,
}

/// Where a reader stands in the logs of the lists: before a version of each, in the order of [`LISTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cursor([u64; LISTS.len()]);

impl Cursor {
    const NEWEST: Self = Self([u64::MAX; LISTS.len()]);

    fn read(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let mut before = [0; LISTS.len()];
        for version in &mut before {
            *version = plain(parts.next()?)?;
        }
        parts.next().is_none().then_some(Self(before))
    }

    fn write(self) -> String {
        self.0.map(|version| version.to_string()).join("-")
    }
}

/// Who changed what.
#[utoipa::path(
    get, path = "/v1/internal/edge/audit", tag = "lists",
    params(
        ("list" = Option<ListName>, Query, description = "Only changes of this list"),
        ("limit" = Option<usize>, Query, minimum = 1, maximum = 1_000, description = "Most changes; 100"),
        ("cursor" = Option<String>, Query, pattern = "^[0-9]{1,20}-[0-9]{1,20}-[0-9]{1,20}$",
         description = "`next` of the answer before"),
    ),
    responses(
        (status = 200, body = AuditPage, description = "Newest first, as far back as is kept"),
        (status = 400, body = Problem, content_type = "application/problem+json",
         description = "`bad_query`: `errors` names each parameter"),
        (status = 403, body = Problem, content_type = "application/problem+json",
         description = "`client_not_allowed`, `certificate_expired`"),
        (status = 503, body = Problem, content_type = "application/problem+json",
         description = "`store_timeout`, `store_unavailable`"),
    )
)]
pub async fn list(
    extract::State(state): extract::State<Arc<State>>,
    uri: Uri,
) -> Result<Json<AuditPage>, Problem> {
    let mut query = Query::of(&uri);
    let limit = query.count("limit", USUAL, MAX_PAGE);
    let cursor = query.take("cursor", "must be the next of an answer", Cursor::read);
    let only: Option<ListName> = query.take("list", "must be deny, tarpit or revoked", |name| {
        name.parse().ok()
    });
    query.end()?;

    let mut cursor = cursor.unwrap_or(Cursor::NEWEST);
    let mut logs = Vec::new();
    let mut more = false;
    for (list, before) in LISTS.into_iter().zip(&mut cursor.0) {
        if only.is_none_or(|only| only == list) {
            let page = state.edge.audit(list, *before, limit).await?;
            more |= page.next.is_some();
            logs.push((before, page.changes.into_iter().peekable()));
        }
    }
    let mut changes = Vec::new();
    while changes.len() < limit {
        let at_ms =
            |log: &mut std::iter::Peekable<_>| log.peek().map(|change: &Change| change.at_ms);
        let newest = logs
            .iter_mut()
            .filter_map(|(before, log)| Some((at_ms(log)?, before, log)))
            .max_by_key(|(at_ms, ..)| *at_ms);
        let Some((_, before, log)) = newest else {
            break;
        };
        if let Some(change) = log.next() {
            **before = change.version;
            changes.push(change);
        }
    }
    more |= logs.iter_mut().any(|(_, log)| log.peek().is_some());
    drop(logs);
    Ok(Json(AuditPage {
        changes,
        next: more.then(|| cursor.write()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let cursor = Cursor([1, u64::MAX, 0]);
        assert_eq!(Cursor::read(&cursor.write()), Some(cursor));
        for bad in ["", "1", "1-2", "1-2-3-4", "1-2-x", "1--3", "1-2-+3"] {
            assert_eq!(Cursor::read(bad), None, "{bad}");
        }
    }
}
