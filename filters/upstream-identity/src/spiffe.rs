//! SPIFFE IDs (the SPIFFE-ID standard, section 2).

/// Longest ID, bytes (section 2.3).
const MAX_BYTES: usize = 2_048;
/// Longest trust domain, bytes.
const MAX_TRUST_DOMAIN: usize = 255;

/// A workload's name: `spiffe://trust-domain/path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SpiffeId(Box<str>);

impl SpiffeId {
    /// Reads an ID of a workload. What is no ID could be equal to no certificate's either.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.len() > MAX_BYTES {
            return Err("must be at most 2048 bytes");
        }
        let rest = text
            .strip_prefix("spiffe://")
            .ok_or("must start with spiffe://")?;
        let (domain, path) = rest
            .split_once('/')
            .ok_or("must have a path: the trust domain alone is nobody's name")?;
        let of_domain =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
        if !(1..=MAX_TRUST_DOMAIN).contains(&domain.len()) || !domain.bytes().all(of_domain) {
            return Err("must have a trust domain of a-z 0-9 . - _, without port and user");
        }
        let of_path = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        let legal = |segment: &str| {
            !segment.is_empty() && segment != "." && segment != ".." && segment.bytes().all(of_path)
        };
        if !path.split('/').all(legal) {
            return Err(
                "must have a path of segments of a-z A-Z 0-9 . - _, none of them empty, . or ..",
            );
        }
        Ok(Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn ids_are_as_the_standard_says() {
        for good in [
            "spiffe://prod.example/ns/compliance/sa/engine",
            "spiffe://a_b-1/X.y",
            "spiffe://a/...",
        ] {
            assert_eq!(
                SpiffeId::parse(good).map(|id| id.as_str() == good),
                Ok(true)
            );
        }
        let long = format!("spiffe://a/{}", "b".repeat(MAX_BYTES));
        for bad in [
            "",
            "spiffe://",
            "spiffe://a",
            "spiffe://a/",
            "spiffe:///b",
            "SPIFFE://a/b",
            "spiffe://A/b",
            "spiffe://a:1/b",
            "spiffe://u@a/b",
            "spiffe://a/b/",
            "spiffe://a//b",
            "spiffe://a/../b",
            "spiffe://a/%41",
            "spiffe://a/b?c",
            "spiffe://a/b#c",
            " spiffe://a/b",
            long.as_str(),
        ] {
            assert!(SpiffeId::parse(bad).is_err(), "{bad}");
        }
    }
}
