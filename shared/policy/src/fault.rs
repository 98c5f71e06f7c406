//! What went wrong inside a policy through nobody's fault but ours or the gateway's.

use std::fmt;

/// A condition that a policy has no answer for. Never the client's doing: bad input is a `Deny`.
/// The [`Guard`](crate::Guard) turns it into a refusal or lets the request pass, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The gateway refused to tell something that every gateway tells.
    Gateway(&'static str),
    /// An event came that the state machine did not ask for.
    Unexpected(&'static str),
    /// A step would have overflowed or left its bounds.
    Arithmetic(&'static str),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway(what) => write!(f, "the gateway did not provide {what}"),
            Self::Unexpected(what) => write!(f, "unexpected event: {what}"),
            Self::Arithmetic(what) => write!(f, "out of bounds: {what}"),
        }
    }
}

impl std::error::Error for Fault {}
