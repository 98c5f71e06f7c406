//! What a refusal must look like (RFC 9457, row J12).

use serde_json::Value;

use crate::exchange::Exchange;
use crate::request::Request;

pub const MEDIA_TYPE: &str = "application/problem+json";

/// Everything that is wrong with a refusal with this code.
#[must_use]
pub fn faults(request: &Request, exchange: &Exchange, code: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut must = |holds: bool, what: String| {
        if !holds {
            faults.push(what);
        }
    };
    let media_type = exchange.header("content-type");
    must(
        media_type == Some(MEDIA_TYPE),
        format!("content-type is {media_type:?}, not {MEDIA_TYPE:?}"),
    );
    if exchange.status == 401 {
        must(
            exchange
                .header("www-authenticate")
                .is_some_and(|challenge| !challenge.trim().is_empty()),
            "a 401 without WWW-Authenticate".into(),
        );
    }
    if exchange.status == 429 {
        must(
            exchange
                .header("retry-after")
                .and_then(|seconds| seconds.parse::<u32>().ok())
                .is_some_and(|seconds| seconds >= 1),
            "a 429 without Retry-After in whole seconds".into(),
        );
    }
    let Ok(Value::Object(body)) = serde_json::from_slice(&exchange.body) else {
        faults.push("the body is no JSON object".into());
        return faults;
    };
    must(
        body.get("type").and_then(Value::as_str)
            == Some(format!("urn:portcullis:problem:{code}").as_str()),
        format!("type is {:?}", body.get("type")),
    );
    must(
        body.get("title")
            .and_then(Value::as_str)
            .is_some_and(|title| !title.trim().is_empty()),
        format!("title is {:?}", body.get("title")),
    );
    must(
        body.get("status").and_then(Value::as_u64) == Some(exchange.status.into()),
        format!(
            "status is {:?} in the body and {} on the wire",
            body.get("status"),
            exchange.status
        ),
    );
    must(
        body.get("code").and_then(Value::as_str) == Some(code),
        format!("code is {:?}, not {code:?}", body.get("code")),
    );
    let id = body.get("request_id").and_then(Value::as_str);
    must(
        id.is_some_and(|id| policy::reply::well_formed_id(id.as_bytes()).is_some()),
        format!("request_id is {:?}", body.get("request_id")),
    );
    if let Some(sent) = request
        .first("x-request-id")
        .and_then(policy::reply::well_formed_id)
    {
        must(
            id == Some(sent),
            format!("request_id is {id:?}, but {sent:?} was sent"),
        );
    }
    let known = ["type", "title", "status", "code", "request_id"];
    for member in body.keys() {
        must(
            known.contains(&member.as_str()),
            format!("the body has a member {member:?} that nobody promised"),
        );
    }
    faults
}
