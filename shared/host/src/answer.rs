//! The end of a callout, as far as the gateways agree on it.

use policy::{Answer, CalloutError, Head};

use crate::abi::{self, Buffer, Map};

/// What came back, owned while a policy looks at it.
pub struct Ended {
    result: Result<(Head, Vec<u8>), CalloutError>,
    /// Not a byte of a body came.
    pub empty: bool,
}

impl Ended {
    /// Reads the answer of the callout that is current.
    pub fn read(headers: usize, body_size: usize, max_answer: usize) -> Self {
        let result = if headers == 0 {
            // There is no answer. Kong has a word for why; elsewhere there is no such header.
            let timed_out = abi::header(Map::Callout, ":dispatch_status")
                .is_ok_and(|word| word.as_deref() == Some(b"timeout"));
            Err(if timed_out {
                CalloutError::Timeout
            } else {
                CalloutError::Broken
            })
        } else if body_size > max_answer {
            Err(CalloutError::TooLarge)
        } else {
            abi::header_map(Map::Callout)
                .ok()
                .and_then(Head::from_wire)
                .zip(abi::buffer(Buffer::CalloutBody, body_size).ok())
                .ok_or(CalloutError::Broken)
        };
        Self {
            result,
            empty: headers == 0 || body_size == 0,
        }
    }

    pub fn answer(&self) -> Result<Answer<'_>, CalloutError> {
        match &self.result {
            Ok((headers, body)) => Ok(Answer {
                status: headers.status().ok_or(CalloutError::Broken)?,
                headers,
                body,
            }),
            Err(error) => Err(*error),
        }
    }
}
