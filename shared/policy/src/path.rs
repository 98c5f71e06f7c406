//! The request path that rules are matched on.
//!
//! A gateway and an upstream that read the same path differently are a way around every rule, so a
//! path with two readings is refused instead of guessed at.

use std::borrow::Cow;

/// Why a path has no single reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ambiguous;

/// The path without query, with percent-encoded unreserved characters decoded
/// (RFC 3986 section 6.2.2.2). Refused: what does not start with `/` (but for `*`), empty segments
/// (`//`), dot segments, fragments, encoded or bare backslashes, encoded slashes and percent signs, control
/// characters, broken percent-encodings.
pub fn canonical(path_and_query: &str) -> Result<Cow<'_, str>, Ambiguous> {
    let path = path_and_query.split('?').next().unwrap_or_default();
    if path == "*" || is_plain(path) {
        return Ok(Cow::Borrowed(path));
    }
    careful(path).map(Cow::Owned)
}

/// Any other path.
fn careful(path: &str) -> Result<String, Ambiguous> {
    if !path.starts_with('/') {
        return Err(Ambiguous);
    }
    let decoded = decode(path)?;
    let mut segments = decoded.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        // Some servers cut a segment at `;`, so `/..;x/` climbs too.
        let name = segment.split(';').next().unwrap_or_default();
        if matches!(name, "." | "..") || (segment.is_empty() && !is_last) {
            return Err(Ambiguous);
        }
    }
    Ok(decoded)
}

/// Whether a path has one reading at first sight, as nearly all have: segments of characters that nobody encodes, none
/// of which is empty, but the last, or starts with a dot.
fn is_plain(path: &str) -> bool {
    let Some(rest) = path.as_bytes().strip_prefix(b"/") else {
        return false;
    };
    let mut at_start = true;
    rest.iter().all(|byte| {
        let fits = match byte {
            b'/' | b'.' => !at_start,
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => true,
            _ => false,
        };
        at_start = *byte == b'/';
        fits
    })
}

fn decode(path: &str) -> Result<String, Ambiguous> {
    let mut out = String::with_capacity(path.len());
    let mut chars = path.chars();
    while let Some(c) = chars.next() {
        match c {
            '%' => {
                let (high, low) = chars.next().zip(chars.next()).ok_or(Ambiguous)?;
                let byte = hex(high)
                    .zip(hex(low))
                    .map(|(high, low)| (high << 4) | low)
                    .ok_or(Ambiguous)?;
                match byte {
                    b'/' | b'\\' | b'%' | 0..=0x1f | 0x7f => return Err(Ambiguous),
                    b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                        out.push(char::from(byte));
                    }
                    _ => {
                        out.push('%');
                        out.push(high.to_ascii_uppercase());
                        out.push(low.to_ascii_uppercase());
                    }
                }
            }
            '#' | '\\' | '\0'..='\x1f' | '\x7f' => return Err(Ambiguous),
            c => out.push(c),
        }
    }
    Ok(out)
}

fn hex(c: char) -> Option<u8> {
    c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Whether the path is `prefix` or lies under it: `/v1/sms` covers `/v1/sms/send`, not `/v1/smses`.
#[must_use]
pub fn is_under(path: &str, prefix: &str) -> bool {
    match path.strip_prefix(prefix) {
        Some(rest) => rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/'),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn one_reading_passes() {
        for (path, expected) in [
            ("/", "/"),
            ("/v1/sms/send?x=/../", "/v1/sms/send"),
            ("/v1/%61dmin", "/v1/admin"),
            ("/v1/a%20b", "/v1/a%20b"),
            ("/v1/caf%c3%a9", "/v1/caf%C3%A9"),
            ("/v1/", "/v1/"),
            ("/v1/..a/.b", "/v1/..a/.b"),
            ("*", "*"),
        ] {
            assert_eq!(canonical(path).as_deref(), Ok(expected), "{path}");
        }
    }

    #[test]
    fn what_is_plain_reads_the_same_with_care() {
        const LETTERS: &[u8] = b"/.aA-~%2;#\\\x01\x7f";
        let mut paths = vec![String::new()];
        for _ in 0..4 {
            paths = (paths.iter())
                .flat_map(|path| {
                    LETTERS
                        .iter()
                        .map(move |letter| format!("{path}{}", char::from(*letter)))
                })
                .collect();
            for path in &paths {
                let path = format!("/{path}");
                if is_plain(&path) {
                    assert_eq!(careful(&path).as_ref(), Ok(&path));
                }
            }
        }
        assert!(is_plain("/v1/orders/4711") && is_plain("/") && is_plain("/v1/"));
    }

    #[test]
    fn two_readings_are_refused() {
        for path in [
            "",
            "v1",
            "http://x/v1",
            "/v1/../admin",
            "/v1/..",
            "/./v1",
            "/v1/%2e%2e/admin",
            "/v1/.%2E",
            "//admin",
            "/v1//admin",
            "/v1%2fadmin",
            "/v1%5cadmin",
            "/v1\\admin",
            "/v1/%00",
            "/v1/%",
            "/v1/%2",
            "/v1/%zz",
            "/v1/..;x/admin",
            "/v1/%252e",
            "/a\u{1}",
            "/v1#/../admin",
        ] {
            assert_eq!(canonical(path), Err(Ambiguous), "{path}");
        }
    }

    #[test]
    fn prefixes_end_at_segments() {
        assert!(is_under("/v1/sms", "/v1/sms"));
        assert!(is_under("/v1/sms/send", "/v1/sms"));
        assert!(is_under("/v1/sms/send", "/v1/sms/"));
        assert!(is_under("/anything", "/"));
        assert!(!is_under("/v1/smses", "/v1/sms"));
        assert!(!is_under("/v1/sms", "/v1/sms/"));
    }
}
