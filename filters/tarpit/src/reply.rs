//! What those hear who are on the list.

use policy::Reply;

/// The codes of all answers.
pub(crate) const CODES: &[&str] = &["queued", "EDGE_DENIED", "list_unavailable"];

/// After the delay: nothing tells it from success.
pub(crate) fn queued() -> Reply {
    Reply {
        body: Some(("application/json", r#"{"status":"queued"}"#.into())),
        ..Reply::problem(200, "queued", "Queued")
    }
}

/// At once, where no more can be held (T4). Says as little as the deny list does.
pub(crate) fn denied() -> Reply {
    Reply::problem(403, "EDGE_DENIED", "The request was refused at the edge")
}

/// There is no list yet, and the operator wants nobody to pass until then.
pub(crate) fn no_list() -> Reply {
    Reply::problem(
        503,
        "list_unavailable",
        "The gateway is not ready to decide on requests yet",
    )
    .header("retry-after", "1")
}
