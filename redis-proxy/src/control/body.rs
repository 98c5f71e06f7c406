//! Bodies of the control API.

use axum::{
    body::Body,
    http::{HeaderMap, StatusCode, header},
};
use futures_util::StreamExt as _;

use crate::http::problem::Problem;

/// Longest body, bytes: every field at its longest, each character escaped.
pub const MAX_BODY: usize = 32_768;
/// A longer one is read to here and forgotten, so that its sender hears why it was refused.
const MAX_HEARD: usize = 4_194_304;

/// The whole body; `application/json` only.
pub async fn read(headers: &HeaderMap, body: Body) -> Result<Vec<u8>, Problem> {
    let mut read = Vec::new();
    let mut heard = 0_usize;
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| {
            let detail = "the body was cut off";
            Problem::new(StatusCode::BAD_REQUEST, "bad_body", detail)
        })?;
        heard = heard.saturating_add(chunk.len());
        if heard > MAX_HEARD {
            break;
        }
        if heard <= MAX_BODY {
            read.extend_from_slice(&chunk);
        }
    }
    if heard > MAX_BODY {
        let detail = format!("a body has at most {MAX_BODY} bytes");
        return Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            detail,
        ));
    }
    if !is_json(headers) {
        let detail = "content-type must be application/json";
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "not_json",
            detail,
        ));
    }
    Ok(read)
}

fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .and_then(|kind| kind.split(';').next())
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}
