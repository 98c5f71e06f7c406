//! How a service behind the gateway can fail.

use policy::duration::Span;
use serde::Deserialize;

/// What a service does instead of its work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// It works.
    #[default]
    None,
    /// It works, but only after so long.
    Slow(Span),
    /// It answers with this status and a text.
    Status(u16),
    /// It answers 200 with a web page.
    Html,
    /// It answers 200 with bytes that are no JSON and no text either.
    NotJson,
    /// It answers 200 with the first half of the right body.
    HalfBody,
    /// It answers 200 with an empty body.
    EmptyBody,
    /// It answers 200 with 10 MB of JSON.
    Huge,
    /// It answers 200 with a set of 10,000 keys, none of them the right one.
    ManyKeys,
    /// It answers 200 with this body.
    Body(String),
    /// Nobody listens. Only a whole service can refuse.
    Refused,
    /// It takes the request and closes the connection.
    Reset,
    /// It closes the connection in the middle of the answer.
    CutOff,
    /// It never answers.
    Hang,
}
