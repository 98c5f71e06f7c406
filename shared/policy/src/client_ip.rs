//! Whose address it is. `X-Forwarded-For` is a list that every hop appends to, so only its right end
//! can be trusted, and only as far as the hops are ours (RFC 7239 section 7.4 warns of the same).

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::head::Head;

/// The address of the client: the peer's, unless the peer is a trusted proxy; then the rightmost
/// entry of `X-Forwarded-For` that is not a trusted proxy. An entry that is no address ends the
/// walk, and the last address before it counts. IPv4-mapped IPv6 addresses are IPv4 addresses.
#[must_use]
pub fn client_ip(peer: IpAddr, request: &Head, trusted: &[IpNet]) -> IpAddr {
    let mut client = peer.to_canonical();
    if !is_trusted(client, trusted) {
        return client;
    }
    let lists = request.all("x-forwarded-for").rev();
    for entry in lists.flat_map(|list| list.rsplit(|b| *b == b',')) {
        let Some(address) = parse(entry) else { break };
        client = address;
        if !is_trusted(client, trusted) {
            break;
        }
    }
    client
}

/// The peer's address from what the gateway tells: with or without a port.
#[must_use]
pub fn parse_peer(text: &[u8]) -> Option<IpAddr> {
    parse(text)
}

/// Whether the address is in one of these networks. An IPv4-mapped IPv6 address is the IPv4 address.
#[must_use]
pub fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    let address = address.to_canonical();
    trusted.iter().any(|net| net.contains(&address))
}

fn parse(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim();
    if !text.contains(':') {
        return Some(IpAddr::V4(text.parse().ok()?));
    }
    let with_port = text.parse::<SocketAddr>().ok().map(|socket| socket.ip());
    let address = with_port
        .or_else(|| text.parse().ok())
        .or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok())?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn client(peer: &str, forwarded: &[&str], trusted: &[&str]) -> String {
        let head: Head = forwarded.iter().map(|v| ("X-Forwarded-For", *v)).collect();
        let trusted: Vec<IpNet> = trusted.iter().map(|t| t.parse().unwrap()).collect();
        client_ip(parse_peer(peer.as_bytes()).unwrap(), &head, &trusted).to_string()
    }

    #[test]
    fn an_untrusted_peer_is_the_client_whatever_it_says() {
        assert_eq!(
            client("198.51.100.7:4711", &["1.2.3.4"], &["10.0.0.0/8"]),
            "198.51.100.7"
        );
        assert_eq!(client("198.51.100.7", &["1.2.3.4"], &[]), "198.51.100.7");
    }

    #[test]
    fn walks_from_the_right_over_trusted_hops_only() {
        let trusted = ["10.0.0.0/8"];
        assert_eq!(
            client("10.0.0.1", &["6.6.6.6, 203.0.113.9, 10.0.0.2"], &trusted),
            "203.0.113.9"
        );
        assert_eq!(
            client("10.0.0.1", &["6.6.6.6", "203.0.113.9"], &trusted),
            "203.0.113.9"
        );
        assert_eq!(
            client("10.0.0.1", &["10.0.0.3, 10.0.0.2"], &trusted),
            "10.0.0.3"
        );
        assert_eq!(client("10.0.0.1", &[], &trusted), "10.0.0.1");
    }

    #[test]
    fn garbage_ends_the_walk() {
        let trusted = ["10.0.0.0/8"];
        assert_eq!(
            client("10.0.0.1", &["203.0.113.9, unknown, 10.0.0.2"], &trusted),
            "10.0.0.2"
        );
        assert_eq!(client("10.0.0.1", &["\u{ff}"], &trusted), "10.0.0.1");
    }

    #[test]
    fn reads_ports_brackets_and_mapped_addresses() {
        let trusted = ["10.0.0.0/8"];
        for (entry, expected) in [
            ("203.0.113.9:1234", "203.0.113.9"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("::ffff:203.0.113.9", "203.0.113.9"),
        ] {
            assert_eq!(client("::ffff:10.0.0.1", &[entry], &trusted), expected);
        }
    }
}
