//! A value from a JSON body (R12).

use policy::json;
use serde_json::Value;

/// The string or number at the pointer (RFC 6901), trimmed and in ASCII lower case: accounts that
/// a login service takes for the same shall not be told apart here. `None` if the body is no JSON,
/// names a member twice, is longer than what was read, or has no such value.
pub(crate) fn value(body: &[u8], pointer: &str) -> Option<String> {
    let document = json::parse(body).ok()?;
    let text = match document.pointer(pointer)? {
        Value::String(text) => text.trim().to_ascii_lowercase(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn finds_strings_and_numbers() {
        let body = br#"{"account":" Alice@Example.com ","user":{"id":7},"a/b":"x"}"#;
        assert_eq!(
            value(body, "/account").as_deref(),
            Some("alice@example.com")
        );
        assert_eq!(value(body, "/user/id").as_deref(), Some("7"));
        assert_eq!(value(body, "/a~1b").as_deref(), Some("x"));
        assert_eq!(value(body, "/nobody"), None);
        assert_eq!(value(body, "/user"), None);
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_not_read() {
        for body in [
            &br#"{"account":"a","account":"b"}"#[..],
            br#"{"account":"a""#,
            br#"{"account":""}"#,
            br#"{"account":null}"#,
            b"account=a",
            b"",
            b"\xff",
        ] {
            assert_eq!(value(body, "/account"), None);
        }
    }
}
