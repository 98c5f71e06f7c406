//! What can happen to a request.

use crate::callout::{Answer, CalloutError};

/// Why the policy is called.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// The request headers are here: [`Cx::request`](crate::Cx::request).
    Headers,
    /// The body that [`Verdict::ReadBody`](crate::Verdict::ReadBody) asked for: at most as many
    /// bytes as were asked for, from its start.
    Body(&'a [u8]),
    /// The callout of the last verdict ended. A dispatch that the gateway refused ends here too:
    /// there is one failure path.
    Answer(Result<Answer<'a>, CalloutError>),
    /// The time of [`Verdict::SleepUntil`](crate::Verdict::SleepUntil) has come, or the keeper
    /// woke those who [`Await`](crate::Verdict::Await).
    Woke,
}
