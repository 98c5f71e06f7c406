//! `POST /v1/upstream-failures` (U1, K036).

use std::sync::Arc;

use axum::{extract, http::StatusCode};
use wire::upstream_failures::{
    FailureBatch, MAX_EXPECTED, MAX_FAILURES, MAX_TEXT_BYTES, UpstreamFailure,
};

use super::{
    State,
    problem::{Body, Problem},
};

/// Longest batch, bytes: so many failures with every text at its longest.
pub const MAX_BODY: usize = 3_145_728;
/// Longest SPIFFE ID, bytes (SPIFFE-ID standard, section 2.3).
const MAX_ID_BYTES: usize = 2_048;

/// Report upstreams that did not prove who they are.
#[utoipa::path(
    post, path = "/v1/upstream-failures", tag = "upstream-failures",
    request_body = FailureBatch,
    responses(
        (status = 204, description = "Written to the log; where NATS is configured, JetStream has the events"),
        (status = 400, body = Problem, content_type = "application/problem+json",
         description = "`bad_body`, `bad_batch`: nothing is told"),
        (status = 408, body = Problem, content_type = "application/problem+json",
         description = "`request_timeout`: send the same batch again"),
        (status = 413, body = Problem, content_type = "application/problem+json",
         description = "`body_too_large`: more than 3 MiB"),
        (status = 415, body = Problem, content_type = "application/problem+json",
         description = "`not_json`"),
        (status = 503, body = Problem, content_type = "application/problem+json",
         description = "`events_unavailable`, `overloaded`: send the same batch again"),
    )
)]
pub async fn report(
    extract::State(state): extract::State<Arc<State>>,
    request: extract::Request,
) -> Result<StatusCode, Problem> {
    use axum::extract::FromRequest as _;
    // Before the body: so many of them may be in memory.
    let _permit = state.batches.try_acquire().map_err(|_| {
        let detail = "as many batches are being read as may";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail)
    })?;
    let Body(batch) = Body::<FailureBatch>::from_request(request, &state).await?;
    check(&batch)?;
    if let Err(why) = state.edge.tell(&batch.failures).await {
        tracing::warn!(%why, "events of upstream failures wait in the gateway");
        let detail = "JetStream did not take all of the events";
        let status = StatusCode::SERVICE_UNAVAILABLE;
        return Err(Problem::new(status, "events_unavailable", detail));
    }
    for failure in &batch.failures {
        log(failure, batch.dropped);
    }
    Ok(StatusCode::NO_CONTENT)
}

fn check(batch: &FailureBatch) -> Result<(), Problem> {
    let bad = |detail: String| Err(Problem::new(StatusCode::BAD_REQUEST, "bad_batch", detail));
    if !(1..=MAX_FAILURES).contains(&batch.failures.len()) {
        return bad(format!("failures: must be 1 to {MAX_FAILURES}"));
    }
    for (at, failure) in batch.failures.iter().enumerate() {
        let at = format!("failures[{at}]");
        let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        if !(8..=64).contains(&failure.id.len()) || !failure.id.bytes().all(legal) {
            return bad(format!("{at}.id: must be 8 to 64 letters, digits and -"));
        }
        if failure.count == 0 || failure.first_ms > failure.last_ms {
            return bad(format!("{at}: must count something, first to last"));
        }
        let long = |id: &String| id.len() > MAX_ID_BYTES;
        if failure.expected.len() > MAX_EXPECTED || failure.expected.iter().any(long) {
            let most = format!("must be at most {MAX_EXPECTED} of at most {MAX_ID_BYTES} bytes");
            return bad(format!("{at}.expected: {most}"));
        }
        let texts = [
            ("route", &failure.route),
            ("service", &failure.service),
            ("presented", &failure.presented),
            ("detail", &failure.detail),
        ];
        let long = |text: &Option<String>| text.as_ref().is_some_and(|t| t.len() > MAX_TEXT_BYTES);
        if let Some((field, _)) = texts.into_iter().find(|(_, text)| long(text)) {
            return bad(format!(
                "{at}.{field}: must be at most {MAX_TEXT_BYTES} bytes"
            ));
        }
    }
    Ok(())
}

/// One line for each, with all that is known of it.
fn log(failure: &UpstreamFailure, dropped: u64) {
    tracing::warn!(
        target: "upstream_identity",
        id = failure.id,
        reason = failure.reason.as_str(),
        count = failure.count,
        first_ms = failure.first_ms,
        last_ms = failure.last_ms,
        route = failure.route,
        service = failure.service,
        expected = failure.expected.join(" "),
        presented = failure.presented,
        detail = failure.detail,
        dropped,
    );
}
