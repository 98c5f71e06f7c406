//! What happens next to a request.

use crate::callout::Callout;
use crate::reply::Reply;
use crate::time::Time;

/// The one thing that happens next. Header edits, counters and log lines are
/// [`Effects`](crate::Effects) and may be any number.
#[must_use]
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// On to the next filter, and to the upstream in the end.
    Allow,
    /// The gateway answers; the upstream sees nothing.
    Deny(Reply),
    /// The request waits for this callout; [`Event::Answer`](crate::Event::Answer) follows.
    Call(Callout),
    /// The request waits until then; [`Event::Woke`](crate::Event::Woke) follows. Where the gateway can
    /// hold a request by a callout alone and [`Policy::hold`](crate::Policy::hold) makes none, or it ends
    /// badly before the time, [`Event::Answer`](crate::Event::Answer) with an error follows. In shadow
    /// mode nobody waits.
    SleepUntil(Time),
    /// The request waits for another one's callout to change the keeper, at most until then;
    /// `Woke` follows. Where the gateway cannot hold a request without a callout of its own,
    /// [`Event::Answer`](crate::Event::Answer) with
    /// [`CalloutError::Refused`](crate::CalloutError::Refused) follows at once.
    Await {
        /// The latest time to be woken.
        until: Time,
    },
    /// The request waits for its body; [`Event::Body`](crate::Event::Body) follows with at most
    /// this many bytes. Needs [`Phases::REQUEST_BODY`](crate::Phases::REQUEST_BODY).
    ReadBody {
        /// Bytes to read at most.
        at_most: usize,
    },
}
