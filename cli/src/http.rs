//! HTTP/1.1 as far as this command needs it: what is sent is what the caller wrote, byte by byte, so that a gateway can
//! be sent what no client would; what is read is bounded in size and time.

mod connection;
mod request;
mod target;
mod trust;

pub use connection::{Answer, Fault};
pub use request::Request;
pub use target::Target;
pub use trust::Trust;

use std::time::Duration;

/// Who to ask, and how.
#[derive(Clone)]
pub struct Client {
    pub target: Target,
    trust: Trust,
    timeout: Duration,
}

impl Client {
    pub fn new(target: Target, trust: Trust, timeout: Duration) -> Self {
        Self {
            target,
            trust,
            timeout,
        }
    }

    /// Sends a request over a connection of its own, and reads the answer.
    ///
    /// # Errors
    /// When there is none, or none in time.
    pub fn send(&self, request: &Request) -> Result<Answer, Fault> {
        let bytes = request.encode(&self.target);
        self.send_bytes(&bytes, request.is_head())
    }

    /// Sends these bytes.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub fn send_bytes(&self, bytes: &[u8], is_head: bool) -> Result<Answer, Fault> {
        connection::exchange(&self.target, &self.trust, self.timeout, bytes, is_head)
    }

    /// The same, but of this target: another port, or without TLS.
    pub fn of(&self, target: Target) -> Self {
        Self {
            target,
            ..self.clone()
        }
    }

    pub const fn timeout(&self) -> Duration {
        self.timeout
    }
}
