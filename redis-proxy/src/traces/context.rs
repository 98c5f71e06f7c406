//! `traceparent`, as W3C Trace Context says (Recommendation, level 1).

use std::fmt;

use axum::http::HeaderMap;
use rustls::crypto::ring;

use super::HEADER;

/// Which trace: 16 bytes, not all zero, in small hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceId(String);

/// Which span: 8 bytes, not all zero, in small hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpanId(String);

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl SpanId {
    /// A random one; `None`: the system has no randomness.
    #[must_use]
    pub fn fresh() -> Option<Self> {
        let mut bytes = [0; 8];
        let random = ring::default_provider().secure_random;
        random.fill(&mut bytes).ok()?;
        let id = u64::from_be_bytes(bytes).max(1);
        Some(Self(format!("{id:016x}")))
    }
}

/// What a request belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// The trace.
    pub trace: TraceId,
    /// The span that has caused the request.
    pub span: SpanId,
    /// Whether spans of the trace are wanted.
    pub sampled: bool,
}

impl Context {
    /// Of these headers; `None` without exactly one `traceparent` that is well-formed.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut all = headers.get_all(HEADER).iter();
        let (Some(one), None) = (all.next(), all.next()) else {
            return None;
        };
        Self::read(one.to_str().ok()?)
    }

    fn read(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let mut part = |len| parts.next().filter(|part| is_hex(part, len));
        let (version, trace, span, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
        let flags = u8::from_str_radix(flags, 16).ok()?;
        // Later versions may say more; the first one may not, and ff is none.
        let whole = match version {
            "ff" => false,
            "00" => parts.next().is_none(),
            _ => true,
        };
        let zero = |id: &str| id.bytes().all(|digit| digit == b'0');
        (whole && !zero(trace) && !zero(span)).then(|| Self {
            trace: TraceId(trace.to_owned()),
            span: SpanId(span.to_owned()),
            sampled: flags & 1 == 1,
        })
    }
}

fn is_hex(text: &str, len: usize) -> bool {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == len && text.bytes().all(digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    #[test]
    fn a_context_is_read_as_the_standard_says() {
        for (flags, more, sampled) in [
            ("01", "", true),
            ("00", "", false),
            ("03", "", true),
            ("fe", "", false),
        ] {
            let context = Context::read(&format!("00-{TRACE}-{SPAN}-{flags}{more}")).unwrap();
            assert_eq!(context.sampled, sampled, "{flags}");
            assert_eq!(
                (context.trace.to_string(), context.span.to_string()),
                (TRACE.into(), SPAN.into())
            );
        }
        assert!(Context::read(&format!("cc-{TRACE}-{SPAN}-01-what-the-future-says")).is_some());
        for bad in [
            String::new(),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-1"),
            format!("00-{TRACE}-{SPAN}-01-"),
            format!("00-{TRACE}-{SPAN}-0x"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{}-{SPAN}-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("0-{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}ü-{SPAN}-01"),
        ] {
            assert_eq!(Context::read(&bad), None, "{bad}");
        }
    }

    #[test]
    fn two_contexts_are_none() {
        let mut headers = HeaderMap::new();
        for _ in 0..2 {
            headers.append(HEADER, format!("00-{TRACE}-{SPAN}-01").parse().unwrap());
        }
        assert_eq!(Context::of(&headers), None);
        assert_eq!(Context::of(&HeaderMap::new()), None);
    }

    #[test]
    fn span_ids_differ_and_are_well_formed() {
        let ids: Vec<_> = (0..100)
            .map(|_| SpanId::fresh().unwrap().to_string())
            .collect();
        let different: std::collections::HashSet<_> = ids.iter().collect();
        assert_eq!(different.len(), 100);
        assert!(ids.iter().all(|id| is_hex(id, 16)), "{ids:?}");
    }
}
