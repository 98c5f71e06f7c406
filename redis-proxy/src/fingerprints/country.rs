//! Countries, as gateways tell them.

use std::fmt;

/// Two capital letters or digits: ISO 3166-1, or one of Cloudflare's own such as `T1` (Tor). There are 1,296 at most, so
/// that each may be a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Country([u8; 2]);

impl Country {
    /// Reads a code.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let code: [u8; 2] = text.as_bytes().try_into().ok()?;
        code.iter()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
            .then_some(Self(code))
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self([first, second]) = self;
        write!(f, "{}{}", char::from(*first), char::from(*second))
    }
}
