//! What the gateway answers by itself: `application/problem+json` (RFC 9457), and the few replies
//! that are no problem.

use std::borrow::Cow;

use crate::time::Time;

/// A local reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    /// The stable, documented word for what happened: `token_expired`. Also a metric label.
    pub code: &'static str,
    /// One sentence for people. Never contains anything from the request or a secret.
    pub title: Cow<'static, str>,
    /// Further response headers.
    pub headers: Vec<(&'static str, Cow<'static, str>)>,
    /// A body other than the problem document, with its media type.
    pub body: Option<(&'static str, Cow<'static, str>)>,
}

impl Reply {
    /// A problem document.
    #[must_use]
    pub fn problem(status: u16, code: &'static str, title: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            code,
            title: title.into(),
            headers: Vec::new(),
            body: None,
        }
    }

    /// The same with one more header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The media type and the bytes of the body.
    #[must_use]
    pub fn body(&self, request_id: &str) -> (&'static str, Vec<u8>) {
        if let Some((media_type, body)) = &self.body {
            return (media_type, body.as_bytes().to_vec());
        }
        let problem = serde_json::json!({
            "type": format!("urn:portcullis:problem:{}", self.code),
            "title": self.title,
            "status": self.status,
            "code": self.code,
            "request_id": request_id,
        });
        ("application/problem+json", problem.to_string().into_bytes())
    }
}

/// Longest request id that is taken over from a client.
pub const MAX_REQUEST_ID: usize = 128;

/// The request's own id if it is well-formed (1 to 128 letters, digits, `-`, `_`, `.`), or else one
/// made of the time and the stream's number. It identifies; it is not a secret.
#[must_use]
pub fn request_id(sent: Option<&[u8]>, now: Time, stream: u32) -> String {
    sent.and_then(well_formed_id).map_or_else(
        || format!("{:016x}-{stream:08x}", now.as_nanos()),
        str::to_owned,
    )
}

/// The id as text, if it is well-formed.
#[must_use]
pub fn well_formed_id(id: &[u8]) -> Option<&str> {
    let fits = (1..=MAX_REQUEST_ID).contains(&id.len())
        && id
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    std::str::from_utf8(id).ok().filter(|_| fits)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn is_a_problem_document() {
        let (media_type, body) =
            Reply::problem(401, "token_expired", "The token has expired").body("r-1");
        assert_eq!(media_type, "application/problem+json");
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(problem["type"], "urn:portcullis:problem:token_expired");
        assert_eq!(problem["status"], 401);
        assert_eq!(problem["code"], "token_expired");
        assert_eq!(problem["request_id"], "r-1");
        assert!(problem["title"].is_string());
    }

    #[test]
    fn takes_over_only_a_well_formed_request_id() {
        let now = Time::from_secs(1);
        assert_eq!(request_id(Some(b"abc-1"), now, 7), "abc-1");
        for bad in [&b""[..], b"a b", b"a\"b", b"\xff", &[b'a'; 129]] {
            assert_eq!(request_id(Some(bad), now, 7), "000000003b9aca00-00000007");
        }
    }
}
