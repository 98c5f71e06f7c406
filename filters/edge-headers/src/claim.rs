//! What a bearer token claims, unverified.
//!
//! Good for one thing: to compare with a header, when the token itself is verified further on. A request passes both
//! only if its token is good *and* says what the header says.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use policy::{Head, json};

/// Longest payload that is read, characters.
const MAX_PAYLOAD: usize = 16 * 1024;

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// There is no single bearer token, or it cannot be read: nothing to compare with.
    NoToken,
    /// The token does not say it, or not as text.
    Absent,
    Says(String),
}

impl Claim {
    /// The claim of this name in the request's bearer token (RFC 6750 section 2.1).
    pub fn of(request: &Head, name: &str) -> Self {
        let mut credentials = request.all("authorization");
        let (Some(credential), None) = (credentials.next(), credentials.next()) else {
            return Self::NoToken;
        };
        let Some(claims) = bearer(credential).and_then(payload) else {
            return Self::NoToken;
        };
        match claims.get(name).and_then(serde_json::Value::as_str) {
            Some(value) => Self::Says(value.to_owned()),
            None => Self::Absent,
        }
    }
}

fn bearer(credential: &[u8]) -> Option<&str> {
    let (scheme, token) = std::str::from_utf8(credential)
        .ok()?
        .trim()
        .split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim_start())
}

fn payload(token: &str) -> Option<serde_json::Value> {
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || payload.len() > MAX_PAYLOAD {
        return None;
    }
    json::parse(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn claim(credentials: &[&str]) -> Claim {
        let head: Head = credentials.iter().map(|c| ("Authorization", *c)).collect();
        Claim::of(&head, "tid")
    }

    fn token(claims: &str) -> String {
        format!("bearer e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn reads_a_claim_that_is_text() {
        assert_eq!(
            claim(&[&token(r#"{"tid":"acme"}"#)]),
            Claim::Says("acme".into())
        );
        for absent in ["{}", r#"{"tid":7}"#, r#"{"tid":null}"#] {
            assert_eq!(claim(&[&token(absent)]), Claim::Absent, "{absent}");
        }
    }

    #[test]
    fn what_is_no_token_claims_nothing() {
        let twice = token(r#"{"tid":"a","tid":"b"}"#);
        let long = token(&format!(
            r#"{{"tid":"a","x":"{}"}}"#,
            "x".repeat(MAX_PAYLOAD)
        ));
        for credential in [
            "",
            "Bearer",
            "Bearer x",
            "Basic a.b.c",
            "Bearer a.b",
            "Bearer a.%.c",
            &twice,
            &long,
        ] {
            assert_eq!(claim(&[credential]), Claim::NoToken, "{credential}");
        }
        let good = token(r#"{"tid":"acme"}"#);
        assert_eq!(claim(&[&good, &good]), Claim::NoToken);
        assert_eq!(claim(&[]), Claim::NoToken);
    }
}
