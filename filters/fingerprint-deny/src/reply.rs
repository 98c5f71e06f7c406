//! What a client is told that is not let in: nothing of the reason.

use policy::Reply;

/// The codes of all answers.
pub(crate) const CODES: &[&str] = &["EDGE_DENIED", "list_unavailable", "path_ambiguous"];

/// The one answer to whoever is listed or not admitted by a rule (D2).
pub(crate) fn denied() -> Reply {
    Reply::problem(403, "EDGE_DENIED", "The request was refused at the edge")
}

/// There is no list yet, and requests without one are to be refused (D4).
pub(crate) fn list_missing() -> Reply {
    Reply::problem(
        503,
        "list_unavailable",
        "The gateway is not ready to decide on requests yet",
    )
    .header("retry-after", "1")
}

/// Rules are about paths, and this one could be two.
pub(crate) fn ambiguous_path() -> Reply {
    Reply::problem(
        400,
        "path_ambiguous",
        "The path can be read in more than one way",
    )
}
