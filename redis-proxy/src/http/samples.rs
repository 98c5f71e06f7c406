//! `POST /v1/samples` (D8, C3).

use std::sync::Arc;

use axum::{
    extract::{self, FromRequest as _, Request},
    http::StatusCode,
};
use wire::samples::{MAX_SAMPLES, MAX_TEXT_BYTES, Sample, SampleBatch};

use super::{
    State,
    problem::{Body, Problem},
};

/// Longest batch, bytes: so many samples with every text at its longest.
pub const MAX_BODY: usize = 2_097_152;
/// Batches read at a time; one more is refused, not queued.
pub const MAX_AT_A_TIME: usize = 32;
/// Most requests that a sample may stand for.
const MAX_EVERY: u32 = 1_000_000;

/// Report who came by, sampled.
#[utoipa::path(
    post, path = "/v1/samples", tag = "samples",
    request_body = SampleBatch,
    responses(
        (status = 204, description = "Counted, and written to the log"),
        (status = 400, body = Problem, content_type = "application/problem+json",
         description = "`bad_body`, `bad_batch`: nothing is counted"),
        (status = 408, body = Problem, content_type = "application/problem+json",
         description = "`request_timeout`"),
        (status = 413, body = Problem, content_type = "application/problem+json",
         description = "`body_too_large`: more than 2 MiB"),
        (status = 415, body = Problem, content_type = "application/problem+json",
         description = "`not_json`"),
        (status = 503, body = Problem, content_type = "application/problem+json",
         description = "`overloaded`: nothing is counted"),
    )
)]
pub async fn report(
    extract::State(state): extract::State<Arc<State>>,
    request: Request,
) -> Result<StatusCode, Problem> {
    // Before the body: so many of them may be in memory.
    let _permit = state.batches.try_acquire().map_err(|_| {
        let detail = "as many batches are being read as may";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail)
    })?;
    let Body(batch) = Body::<SampleBatch>::from_request(request, &state).await?;
    check(&batch)?;
    let now_ms = (state.clock)().checked_div(1_000).unwrap_or_default();
    let taken = state.fingerprints.take(now_ms, &batch);
    state.metrics.samples(&taken, batch.dropped);
    if state.log_samples {
        for sample in &batch.samples {
            log(sample, batch.every);
        }
    }
    Ok(StatusCode::NO_CONTENT)
}

fn check(batch: &SampleBatch) -> Result<(), Problem> {
    let bad = |detail: String| Problem::new(StatusCode::BAD_REQUEST, "bad_batch", detail);
    if !(1..=MAX_EVERY).contains(&batch.every) {
        return Err(bad(format!("every: must be 1 to {MAX_EVERY}")));
    }
    if batch.samples.len() > MAX_SAMPLES {
        return Err(bad(format!("samples: must be at most {MAX_SAMPLES}")));
    }
    for (at, sample) in batch.samples.iter().enumerate() {
        let texts = [
            ("ip", Some(&sample.ip)),
            ("ja3_hash", sample.ja3_hash.as_ref()),
            ("ja4", sample.ja4.as_ref()),
            ("consumer_id", sample.consumer_id.as_ref()),
            ("tenant_id", sample.tenant_id.as_ref()),
            ("country", sample.country.as_ref()),
            ("route", sample.route.as_ref()),
        ];
        let long =
            |(_, text): &(_, Option<&String>)| text.is_some_and(|t| t.len() > MAX_TEXT_BYTES);
        if let Some((field, _)) = texts.into_iter().find(long) {
            let most = format!("must be at most {MAX_TEXT_BYTES} bytes");
            return Err(bad(format!("samples[{at}].{field}: {most}")));
        }
    }
    Ok(())
}

/// One line, with all that a sample says (D8).
fn log(sample: &Sample, every: u32) {
    tracing::info!(
        target: "sample",
        at_ms = sample.at_ms,
        every,
        ja3_hash = sample.ja3_hash,
        ja4 = sample.ja4,
        ip = sample.ip,
        consumer_id = sample.consumer_id,
        tenant_id = sample.tenant_id,
        country = sample.country,
        route = sample.route,
        status_code = sample.status_code,
        latency_ms = sample.latency_ms,
    );
}
