//! `GET /v1/sleep` (T1).

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{RawQuery, State},
    http::StatusCode,
    routing::get,
};
use tokio::{sync::Semaphore, time::sleep};
use wire::sleep::{MAX_SLEEP, SLEEP_PATH};

use super::problem::Problem;

/// The route, with room for so many sleepers.
pub fn route(sleepers: usize) -> Router {
    let room = Arc::new(Semaphore::new(sleepers.min(Semaphore::MAX_PERMITS)));
    Router::new().route(SLEEP_PATH, get(serve)).with_state(room)
}

/// Answer late: for gateways that can hold a request by nothing but a callout.
#[utoipa::path(
    get, path = "/v1/sleep", tag = "sleep",
    params(("ms" = u64, Query, description = "Milliseconds, 0 to 60000")),
    responses(
        (status = 200, description = "So much time has passed"),
        (status = 400, body = Problem, content_type = "application/problem+json",
         description = "`bad_time`"),
        (status = 503, body = Problem, content_type = "application/problem+json",
         description = "`too_many_sleepers`: half of `max_connections` sleep"),
    )
)]
pub async fn serve(
    State(room): State<Arc<Semaphore>>,
    RawQuery(query): RawQuery,
) -> Result<StatusCode, Problem> {
    let time = query
        .as_deref()
        .and_then(|query| query.strip_prefix("ms=")?.parse().ok())
        .map(Duration::from_millis)
        .filter(|time| *time <= MAX_SLEEP)
        .ok_or_else(|| {
            let detail = "ms must be a number of milliseconds between 0 and 60000";
            Problem::new(StatusCode::BAD_REQUEST, "bad_time", detail)
        })?;
    // Dropped with the request when its client goes away.
    let _permit = room.try_acquire().map_err(|_| {
        let detail = "so many requests sleep that others need the connections that are left";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_sleepers", detail)
    })?;
    sleep(time).await;
    Ok(StatusCode::OK)
}

#[cfg(test)]
mod tests {
    use axum::{
        body::Body,
        http::{Request, StatusCode},
    };
    use tokio::time::{Duration, Instant, sleep};
    use tower_service::Service as _;

    use super::route;

    async fn ask(routes: axum::Router, query: &str) -> (StatusCode, Duration) {
        let request = Request::get(format!("/v1/sleep{query}"))
            .body(Body::empty())
            .unwrap();
        let began = Instant::now();
        let status = routes.clone().call(request).await.unwrap().status();
        (status, began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn answers_when_the_time_has_passed() {
        let (status, took) = ask(route(1), "?ms=60000").await;
        assert_eq!(status, StatusCode::OK);
        assert!(took >= Duration::from_secs(60) && took < Duration::from_secs(61));
        for bad in ["", "?ms=", "?ms=60001", "?ms=-1", "?ms=1.5", "?ms=1&x=2"] {
            let (status, took) = ask(route(1), bad).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{bad}");
            assert_eq!(took, Duration::ZERO);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn there_is_room_for_so_many_and_who_hangs_up_makes_room() {
        let routes = route(2);
        let first = tokio::spawn(ask(routes.clone(), "?ms=1000"));
        let second = tokio::spawn(ask(routes.clone(), "?ms=1000"));
        sleep(Duration::from_millis(1)).await;
        let (status, took) = ask(routes.clone(), "?ms=1000").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(took, Duration::ZERO);
        first.abort();
        sleep(Duration::from_millis(1)).await;
        assert_eq!(ask(routes, "?ms=1").await.0, StatusCode::OK);
        assert_eq!(second.await.unwrap().0, StatusCode::OK);
    }
}
