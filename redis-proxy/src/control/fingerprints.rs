//! `GET /internal/edge/fingerprints?top=50&since=1h` (C3).

use std::{sync::Arc, time::Duration};

use axum::{
    Json, extract,
    http::{StatusCode, Uri},
};
use tokio::task::spawn_blocking;

use super::{
    State,
    query::{Query, plain},
};
use crate::{
    fingerprints::{
        Counts, Top,
        window::{LONGEST_MS, SHORTEST_MS},
    },
    http::problem::Problem,
};

/// Values in an answer, unless asked otherwise.
const USUAL: usize = 50;
/// Most values in an answer.
pub const MAX_TOP: usize = 1_000;
const USUAL_SINCE: Duration = Duration::from_secs(3_600);

/// Who came by most.
#[utoipa::path(
    get, path = "/internal/edge/fingerprints", tag = "fingerprints",
    params(
        ("top" = Option<usize>, Query, minimum = 1, maximum = 1_000, description = "Most values of a kind; 50"),
        ("since" = Option<String>, Query, pattern = "^[1-9][0-9]{0,4}[smh]$",
         description = "How far back: seconds, minutes or hours, `60s` to `24h`; `1h`"),
        ("kind" = Option<Counts>, Query, description = "Only this kind; all three"),
    ),
    responses(
        (status = 200, body = Top, description = "Heaviest first, of each kind"),
        (status = 400, body = Problem, content_type = "application/problem+json",
         description = "`bad_query`: `errors` names each parameter"),
        (status = 403, body = Problem, content_type = "application/problem+json",
         description = "`client_not_allowed`, `certificate_expired`"),
        (status = 503, body = Problem, content_type = "application/problem+json",
         description = "`overloaded`"),
    )
)]
pub async fn top(
    extract::State(state): extract::State<Arc<State>>,
    uri: Uri,
) -> Result<Json<Top>, Problem> {
    let mut query = Query::of(&uri);
    let top = query.count("top", USUAL, MAX_TOP);
    let since = query.take("since", "must be 60s to 24h, in s, m or h", since_ms);
    let kind = query.take("kind", "must be ja3, ja4 or ip", kind);
    query.end()?;
    let now_ms = state.now_ms();
    let usual = u64::try_from(USUAL_SINCE.as_millis()).unwrap_or(u64::MAX);
    let since_ms = since.unwrap_or(usual);
    let fingerprints = Arc::clone(&state.fingerprints);
    // Up to 97 buckets are merged: that may take longer than a worker should be held.
    let merged = spawn_blocking(move || fingerprints.top(now_ms, since_ms, top, kind));
    let top = merged.await.map_err(|_| {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Problem::new(status, "overloaded", "the counts could not be merged")
    })?;
    Ok(Json(top))
}

/// `90s`, `15m`, `24h`; `None` when it is none of these or out of bounds.
fn since_ms(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit_ms = match unit {
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    plain::<u64>(number)?
        .checked_mul(unit_ms)
        .filter(|since| (SHORTEST_MS..=LONGEST_MS).contains(since))
}

fn kind(text: &str) -> Option<Counts> {
    match text {
        "ja3" => Some(Counts::Ja3),
        "ja4" => Some(Counts::Ja4),
        "ip" => Some(Counts::Ip),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_and_its_unit() {
        for (text, expected) in [
            ("60s", Some(60_000)),
            ("1m", Some(60_000)),
            ("1h", Some(3_600_000)),
            ("24h", Some(86_400_000)),
            ("1440m", Some(86_400_000)),
            ("59s", None),
            ("25h", None),
            ("86401s", None),
            ("1d", None),
            ("1", None),
            ("h", None),
            ("", None),
            ("-1h", None),
            ("1hé", None),
            ("99999999999999999999h", None),
        ] {
            assert_eq!(since_ms(text), expected, "{text}");
        }
    }
}
