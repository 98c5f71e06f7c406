//! The gateway's clock.

use policy::Time;

use crate::abi;

/// Now. A gateway that does not tell the time has no time: everything that depends on it fails
/// closed, because at the epoch no token has been issued yet.
pub fn now() -> Time {
    abi::now_nanos().map_or(Time::EPOCH, Time::from_nanos)
}
