//! What a trusted peer says of where a client is: its country and its autonomous system (D5).

use std::rc::Rc;

use policy::Head;
use watchlist::Client;

/// Which headers tell.
#[derive(Debug)]
pub(crate) struct HintHeaders {
    pub country: Rc<str>,
    pub asn: Rc<str>,
}

/// The hints of one request. Nothing where the peer is not trusted, a header occurs twice or says nonsense.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Hints {
    pub country: Option<Country>,
    pub asn: Option<u32>,
}

/// Two letters or digits in capitals: ISO 3166-1, or one of Cloudflare's own such as `T1` (Tor) and `XX` (unknown).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Country([u8; 2]);

impl Country {
    /// Reads a code in either case.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let code: [u8; 2] = text.to_ascii_uppercase().try_into().ok()?;
        code.iter()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
            .then_some(Self(code))
    }
}

impl std::fmt::Display for Country {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self([first, second]) = self;
        write!(f, "{}{}", char::from(*first), char::from(*second))
    }
}

impl Hints {
    pub fn new(client: &Client, headers: &HintHeaders, request: &Head) -> Self {
        if !client.is_vouched_for {
            return Self::default();
        }
        Self {
            country: only(request, &headers.country).and_then(Country::parse),
            asn: only(request, &headers.asn).and_then(parse_asn),
        }
    }
}

fn only<'a>(request: &'a Head, header: &'a str) -> Option<&'a [u8]> {
    let mut values = request.all(header);
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

/// `64496` or `AS64496`.
fn parse_asn(text: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(text).ok()?;
    let digits = text
        .strip_prefix("AS")
        .or_else(|| text.strip_prefix("as"))
        .unwrap_or(text);
    digits.bytes().all(|b| b.is_ascii_digit()).then_some(())?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn hints(is_vouched_for: bool, headers: &[(&str, &str)]) -> Hints {
        let client = Client {
            address: "192.0.2.1".parse().unwrap(),
            is_vouched_for,
        };
        let names = HintHeaders {
            country: "cf-ipcountry".into(),
            asn: "x-client-asn".into(),
        };
        Hints::new(&client, &names, &headers.iter().copied().collect())
    }

    #[test]
    fn only_a_trusted_peer_is_believed() {
        let told = [("cf-ipcountry", "af"), ("x-client-asn", "AS64496")];
        let expected = Hints {
            country: Country::parse(b"AF"),
            asn: Some(64_496),
        };
        assert_eq!(hints(true, &told), expected);
        assert_eq!(hints(false, &told), Hints::default());
    }

    #[test]
    fn what_is_said_twice_or_makes_no_sense_is_not_said() {
        for (header, value) in [
            ("cf-ipcountry", ""),
            ("cf-ipcountry", "AFG"),
            ("cf-ipcountry", "A-"),
            ("x-client-asn", ""),
            ("x-client-asn", "AS"),
            ("x-client-asn", "+1"),
            ("x-client-asn", "4294967296"),
            ("x-client-asn", "AS1 Example"),
        ] {
            assert_eq!(hints(true, &[(header, value)]), Hints::default(), "{value}");
        }
        let twice = [("cf-ipcountry", "AF"), ("cf-ipcountry", "DE")];
        assert_eq!(hints(true, &twice).country, None);
    }
}
