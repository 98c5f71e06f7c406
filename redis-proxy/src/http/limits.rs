//! `POST /v1/limits/acquire` (R17).

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use axum::{Json, extract, http::StatusCode};
use wire::limits::{AcquireReply, AcquireRequest, Failure, KeyReply, KeyRequest, MAX_KEYS};

use super::{
    State,
    problem::{Body, Problem},
};
use crate::{bucket::Rule, key, store::Ask};

/// Take tokens, give tokens back, for up to 64 keys.
#[utoipa::path(
    post, path = "/v1/limits/acquire", tag = "limits",
    request_body = AcquireRequest,
    responses(
        (status = 200, body = AcquireReply, description = "At least one key was decided"),
        (status = 400, body = Problem, content_type = "application/problem+json",
         description = "`bad_body`, `bad_key`, `bad_batch`"),
        (status = 408, body = Problem, content_type = "application/problem+json",
         description = "`request_timeout`"),
        (status = 413, body = Problem, content_type = "application/problem+json",
         description = "`body_too_large`"),
        (status = 415, body = Problem, content_type = "application/problem+json",
         description = "`not_json`"),
        (status = 503, body = Problem, content_type = "application/problem+json",
         description = "No key was decided: `store_timeout`, `store_unavailable`, `store_open`, \
                        `store_full`, `overloaded`"),
    )
)]
pub async fn acquire(
    extract::State(state): extract::State<Arc<State>>,
    Body(request): Body<AcquireRequest>,
) -> Result<Json<AcquireReply>, Problem> {
    let asks = asks(&state, &request)?;
    let started = Instant::now();
    let outcomes = match state.permits.try_acquire() {
        Ok(_permit) => state.store.acquire(&asks).await,
        Err(_) => vec![Err(Failure::Overloaded); asks.len()],
    };
    state.metrics.batch(started.elapsed());

    let reply = |(asked, outcome): (&KeyRequest, Result<crate::bucket::Decision, Failure>)| {
        let reply = outcome.map_or_else(KeyReply::failed, |decision| decision.reply(&asked.limit));
        state.metrics.key(asked, &reply);
        reply
    };
    let keys: Vec<KeyReply> = request.keys.iter().zip(outcomes).map(reply).collect();
    match keys.first().and_then(|key| key.failure) {
        Some(failure) if keys.iter().all(|key| key.failure.is_some()) => Err(failure.into()),
        _ => Ok(Json(AcquireReply {
            now_ms: now_ms(),
            keys,
        })),
    }
}

fn asks(state: &State, request: &AcquireRequest) -> Result<Vec<Ask>, Problem> {
    if request.keys.is_empty() || request.keys.len() > MAX_KEYS {
        let detail = "keys: must be 1 to 64";
        return Err(Problem::new(StatusCode::BAD_REQUEST, "bad_batch", detail));
    }
    let ask = |(index, asked): (usize, &KeyRequest)| {
        key::check(asked).map_err(|problem| {
            let detail = format!("keys[{index}].{problem}");
            Problem::new(StatusCode::BAD_REQUEST, "bad_key", detail)
        })?;
        Ok(Ask {
            name: state.prefix.name(&asked.dim, &asked.value, &asked.limit),
            rule: Rule::new(&asked.limit),
            want: asked.want,
            give_back: asked.give_back.unwrap_or_default(),
        })
    };
    request.keys.iter().enumerate().map(ask).collect()
}

fn now_ms() -> u64 {
    let since_1970 = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}
