//! Names of keys in the store (R2): `{prefix}{dim}:{value}:{window}`, `kong:rl:tenant:acme:1s`.
//!
//! The value is percent-encoded but for `A-Z a-z 0-9 . _ - @`, so it holds no `:`, brace, space or line
//! end, and two values never share a name. Encoded values above 128 bytes become `~` and
//! their SHA-256 in hexadecimal (`~` is never in an encoded value). A name is at most
//! prefix + 179 bytes. No name has a `{tag}`, so keys spread over the slots of a Redis Cluster.
//!
//! The window is the period, `1s`, `60s`, `1500ms`; with `-window` or `-paced` when the shape is not
//! the usual one of that period ([`Limit::usual`]), since state of one shape means nothing to the other.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};
use wire::limits::{KeyRequest, Limit, MAX_DIM_BYTES, MAX_TOKENS, MAX_VALUE_BYTES, Shape};

/// The prefix unless the operator says otherwise.
pub const DEFAULT_PREFIX: &str = "kong:rl:";
const LONGEST_PLAIN: usize = 128;

/// What every key name starts with: 1 to 64 of `A-Z a-z 0-9 . _ - :`, ending in `:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(String);

impl Prefix {
    /// # Errors
    /// What is wrong with it.
    pub fn new(prefix: &str) -> Result<Self, &'static str> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"._-:".contains(&b);
        if prefix.is_empty() || prefix.len() > 64 || !prefix.ends_with(':') {
            return Err("must be 1 to 64 bytes and end in ':'");
        }
        if !prefix.bytes().all(legal) {
            return Err("may hold letters, digits, '.', '_', '-' and ':' only");
        }
        Ok(Self(prefix.to_owned()))
    }

    /// The prefix as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of a key.
    #[must_use]
    pub fn name(&self, dim: &str, value: &str, limit: &Limit) -> String {
        let mut name = String::with_capacity(self.0.len().saturating_add(96));
        name.push_str(&self.0);
        name.push_str(dim);
        name.push(':');
        push_value(&mut name, value);
        name.push(':');
        push_window(&mut name, limit);
        name
    }
}

fn push_value(name: &mut String, value: &str) {
    let start = name.len();
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"._-@".contains(&byte) {
            name.push(char::from(byte));
        } else {
            let _ = write!(name, "%{byte:02X}");
        }
        if name.len().saturating_sub(start) > LONGEST_PLAIN {
            name.truncate(start);
            name.push('~');
            for byte in Sha256::digest(value.as_bytes()) {
                let _ = write!(name, "{byte:02x}");
            }
            return;
        }
    }
}

fn push_window(name: &mut String, limit: &Limit) {
    let ms = limit.period_ms;
    let _ = if ms.is_multiple_of(1_000) {
        write!(name, "{}s", ms.checked_div(1_000).unwrap_or(ms))
    } else {
        write!(name, "{ms}ms")
    };
    match (limit.shape, Limit::usual(1, ms).shape) {
        (Shape::Window {}, Shape::Paced { .. }) => name.push_str("-window"),
        (Shape::Paced { .. }, Shape::Window {}) => name.push_str("-paced"),
        _ => {}
    }
}

/// Whether a key may be asked for at all.
///
/// # Errors
/// Field and problem, for a 400.
pub fn check(key: &KeyRequest) -> Result<(), String> {
    let mut dim = key.dim.bytes();
    let rest = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
    if key.dim.len() > MAX_DIM_BYTES
        || !dim.next().is_some_and(|b| b.is_ascii_lowercase())
        || !dim.all(rest)
    {
        return Err("dim: must be 1 to 32 of a-z 0-9 _ -, beginning with a letter".into());
    }
    if key.value.is_empty() || key.value.len() > MAX_VALUE_BYTES {
        return Err("value: must be 1 to 1024 bytes".into());
    }
    if key.want > MAX_TOKENS {
        return Err("want: must be at most 10000000".into());
    }
    if key.give_back.is_some_and(|back| back.tokens > MAX_TOKENS) {
        return Err("give_back.tokens: must be at most 10000000".into());
    }
    key.limit
        .check()
        .map_err(|problem| format!("limit.{problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(value: &str) -> String {
        Prefix::new(DEFAULT_PREFIX)
            .unwrap()
            .name("ip", value, &Limit::window(5, 60_000))
    }

    #[test]
    fn names_read_as_documented() {
        let prefix = Prefix::new(DEFAULT_PREFIX).unwrap();
        let tenant = prefix.name("tenant", "acme", &Limit::paced(1_000, 1_000));
        assert_eq!(tenant, "kong:rl:tenant:acme:1s");
        assert_eq!(name("2001:db8::1"), "kong:rl:ip:2001%3Adb8%3A%3A1:60s");
        let odd = prefix.name("ip", "a", &Limit::window(5, 1_000));
        assert_eq!(odd, "kong:rl:ip:a:1s-window");
        let odd = prefix.name("ip", "a", &Limit::paced(5, 1_500));
        assert_eq!(odd, "kong:rl:ip:a:1500ms-paced");
    }

    #[test]
    fn hostile_values_cannot_break_a_name() {
        assert_eq!(
            name("{x}\r\nDEL *"),
            "kong:rl:ip:%7Bx%7D%0D%0ADEL%20%2A:60s"
        );
        assert_eq!(name(&"a".repeat(128)).len(), "kong:rl:ip::60s".len() + 128);
        assert!(name(&"a".repeat(129)).starts_with("kong:rl:ip:~"));
    }

    #[test]
    fn prefixes_that_could_break_names_or_slots_are_refused() {
        for bad in [
            "",
            "kong",
            "kong{a}:",
            "a b:",
            "a\n:",
            &format!("{}:", "x".repeat(64)),
        ] {
            assert!(Prefix::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn keys_out_of_bounds_are_refused() {
        let good = KeyRequest {
            dim: "ip".into(),
            value: "1".into(),
            limit: Limit::window(5, 60_000),
            want: 1,
            give_back: None,
        };
        assert_eq!(check(&good), Ok(()));
        for (bad, field) in [
            (
                KeyRequest {
                    dim: String::new(),
                    ..good.clone()
                },
                "dim",
            ),
            (
                KeyRequest {
                    dim: "a:b".into(),
                    ..good.clone()
                },
                "dim",
            ),
            (
                KeyRequest {
                    dim: "a".repeat(33),
                    ..good.clone()
                },
                "dim",
            ),
            (
                KeyRequest {
                    value: String::new(),
                    ..good.clone()
                },
                "value",
            ),
            (
                KeyRequest {
                    value: "a".repeat(1_025),
                    ..good.clone()
                },
                "value",
            ),
            (
                KeyRequest {
                    want: MAX_TOKENS + 1,
                    ..good.clone()
                },
                "want",
            ),
            (
                KeyRequest {
                    limit: Limit::window(0, 1),
                    ..good.clone()
                },
                "limit.tokens",
            ),
        ] {
            assert!(check(&bad).is_err_and(|e| e.starts_with(field)), "{bad:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn names_are_bounded_plain_and_one_to_one(a in ".{1,60}", b in ".{1,60}") {
            let (first, second) = (name(&a), name(&b));
            prop_assert_eq!(a == b, first == second);
            prop_assert!(first.len() <= 8 + 3 + 128 + 4);
            let plain = |c: u8| c.is_ascii_graphic() && !b"{}*?[]".contains(&c);
            prop_assert!(first.bytes().all(plain), "{}", first);
            prop_assert_eq!(first.matches(':').count(), 4);
        }
    }
}
