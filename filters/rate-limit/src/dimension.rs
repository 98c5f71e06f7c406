//! Whom a limit counts: the dimensions (R1) and where their values come from.

use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;

use policy::Head;

/// Longest value that is told apart, bytes; longer ones count by their beginning. An e-mail address has at
/// most 254.
pub(crate) const MAX_VALUE: usize = 256;

/// Where a limit's value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Everybody together.
    Global,
    /// The client's address, IPv6 by prefix.
    Ip,
    /// The gateway's name of the route.
    Route,
    /// A request header, by its lower-case name.
    Header(Rc<str>),
    /// A value of the JSON body, by its pointer (RFC 6901) among the first so many bytes.
    Body { pointer: Rc<str>, max_bytes: usize },
}

/// One way of counting: a dimension, its scope, a period and a shape. Limits that share it share their
/// counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Space {
    /// The dimension in the store: `ip`, `ip-login`.
    pub dim: Rc<str>,
    /// The dimension in metrics and replies: `ip`.
    pub label: Rc<str>,
    pub source: Source,
}

/// Writes an address as one key: IPv6 addresses by their prefix of so many bits.
pub(crate) fn write_address(address: IpAddr, v6_prefix: u8, out: &mut Vec<u8>) {
    use std::io::Write as _;
    // Writing to memory does not fail.
    let _ = match address {
        IpAddr::V4(v4) => return write_v4(v4, out),
        IpAddr::V6(v6) => {
            let dropped = 128_u32.saturating_sub(u32::from(v6_prefix));
            let mask = u128::MAX.checked_shl(dropped).unwrap_or(0);
            let network = std::net::Ipv6Addr::from_bits(v6.to_bits() & mask);
            if v6_prefix < 128 {
                write!(out, "{network}/{v6_prefix}")
            } else {
                write!(out, "{network}")
            }
        }
    };
}

/// As `Display` does, which costs as much as all the rest of a limit.
fn write_v4(address: Ipv4Addr, out: &mut Vec<u8>) {
    let digit = |value: u8| b'0'.saturating_add(value);
    for (index, octet) in address.octets().into_iter().enumerate() {
        if index > 0 {
            out.push(b'.');
        }
        if octet >= 100 {
            out.push(digit(octet / 100));
        }
        if octet >= 10 {
            out.push(digit(octet / 10 % 10));
        }
        out.push(digit(octet % 10));
    }
}

/// Writes a value as the store takes it: UTF-8, not too long. Bytes that are no UTF-8 count as one
/// character. False if there is nothing to count by.
pub(crate) fn write_value(value: &[u8], out: &mut Vec<u8>) -> bool {
    let value = value.trim_ascii();
    if value.is_empty() {
        return false;
    }
    if value.len() <= MAX_VALUE && std::str::from_utf8(value).is_ok() {
        out.extend_from_slice(value);
        return true;
    }
    let mut room = MAX_VALUE;
    for chunk in value.utf8_chunks() {
        for c in chunk.valid().chars() {
            let Some(rest) = room.checked_sub(c.len_utf8()) else {
                return true;
            };
            room = rest;
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
        if !chunk.invalid().is_empty() {
            let Some(rest) = room.checked_sub(char::REPLACEMENT_CHARACTER.len_utf8()) else {
                return true;
            };
            room = rest;
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    true
}

/// Writes the value of a header; false if it is missing or empty.
pub(crate) fn write_header(request: &Head, name: &str, out: &mut Vec<u8>) -> bool {
    request
        .first(name)
        .is_some_and(|value| write_value(value, out))
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn address(text: &str, prefix: u8) -> String {
        let mut out = Vec::new();
        write_address(text.parse().unwrap(), prefix, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn who_has_one_address_of_a_network_has_them_all() {
        for v4 in ["192.0.2.7", "0.0.0.0", "255.255.255.255", "10.20.100.109"] {
            assert_eq!(address(v4, 64), v4);
        }
        assert_eq!(address("2001:db8::1", 64), "2001:db8::/64");
        assert_eq!(address("2001:db8::ffff:1", 64), "2001:db8::/64");
        assert_eq!(address("2001:db8:0:1::1", 56), "2001:db8::/56");
        assert_eq!(address("2001:db8::1", 128), "2001:db8::1");
        assert_eq!(address("2001:db8::1", 0), "::/0");
    }

    #[test]
    fn values_are_text_and_bounded() {
        let value = |bytes: &[u8]| {
            let mut out = Vec::new();
            write_value(bytes, &mut out).then(|| String::from_utf8(out).unwrap())
        };
        assert_eq!(value(b" acme ").as_deref(), Some("acme"));
        assert_eq!(value(b" ").as_deref(), None);
        assert_eq!(value(b"a\xffb").as_deref(), Some("a\u{fffd}b"));
        assert_eq!(value(&[b'a'; 1_000]).unwrap().len(), MAX_VALUE);
        let euros = "€".repeat(200);
        assert!(value(euros.as_bytes()).unwrap().len() <= MAX_VALUE);
        assert!(value(&[0xff; 1_000]).unwrap().len() <= MAX_VALUE);
    }
}
