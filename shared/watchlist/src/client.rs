//! Whose request it is: the address and the TLS fingerprints of a client (D1).

use std::net::IpAddr;
use std::rc::Rc;

use ipnet::IpNet;
use policy::client_ip::{client_ip, is_trusted};
use policy::head::is_header_name;
use policy::{Fact, Fault, Head, Host, Problems};
use serde::Deserialize;
use wire::lists::{Ja4, Kind, Member};

/// How clients are told apart.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
pub struct RawClients {
    /// Peers whose headers about the client are believed, as CIDRs: `X-Forwarded-For` and those below. Give the
    /// networks of the CDN or load balancer that ends TLS, and nobody else's.
    #[cfg_attr(feature = "schema", schemars(with = "Vec<String>"))]
    pub trusted_proxies: Vec<IpNet>,
    /// The header in which a trusted peer tells the JA3 hash.
    pub ja3_header: String,
    /// The header in which a trusted peer tells the JA4 fingerprint.
    pub ja4_header: String,
}

impl Default for RawClients {
    fn default() -> Self {
        Self {
            trusted_proxies: Vec::new(),
            ja3_header: "cf-ja3-hash".to_owned(),
            ja4_header: "cf-ja4".to_owned(),
        }
    }
}

/// A checked [`RawClients`].
#[derive(Clone, Debug)]
pub struct Clients {
    trusted_proxies: Vec<IpNet>,
    ja3_header: Rc<str>,
    ja4_header: Rc<str>,
}

/// Who sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    pub address: IpAddr,
    /// Whether headers of this request about the client may be believed.
    pub is_vouched_for: bool,
}

impl Clients {
    /// Checks the parts; `at` is the path of the object in the configuration.
    pub fn check(raw: RawClients, at: &str, problems: &mut Problems) -> Self {
        for (name, header) in [
            ("ja3_header", &raw.ja3_header),
            ("ja4_header", &raw.ja4_header),
        ] {
            if !is_header_name(header) {
                problems.say(format_args!("{at}.{name}"), "is no header name");
            }
        }
        Self {
            trusted_proxies: raw.trusted_proxies,
            ja3_header: raw.ja3_header.into(),
            ja4_header: raw.ja4_header.into(),
        }
    }

    /// The address of the client, and whether its peer is trusted.
    ///
    /// # Errors
    /// When the gateway does not tell who connected.
    pub fn identify(&self, request: &Head, host: &dyn Host) -> Result<Client, Fault> {
        let peer = host
            .peer()
            .ok_or(Fault::Gateway("the address of the peer"))?;
        Ok(Client {
            address: client_ip(peer, request, &self.trusted_proxies),
            is_vouched_for: is_trusted(peer, &self.trusted_proxies),
        })
    }

    /// The JA3 hash: of a trusted peer the one in its header, for then the gateway has only seen that peer's own TLS;
    /// of any other the gateway's. `None` if there is none, or nothing that is one.
    #[must_use]
    pub fn ja3(&self, client: &Client, request: &Head, host: &dyn Host) -> Option<[u8; 16]> {
        let text = told(client, &self.ja3_header, Fact::Ja3, request, host)?;
        match Member::parse(Kind::Ja3, std::str::from_utf8(&text).ok()?) {
            Ok(Member::Ja3(hash)) => Some(hash),
            _ => None,
        }
    }

    /// The JA4 fingerprint, from where [`Clients::ja3`] has the JA3 hash.
    #[must_use]
    pub fn ja4(&self, client: &Client, request: &Head, host: &dyn Host) -> Option<Ja4> {
        let text = told(client, &self.ja4_header, Fact::Ja4, request, host)?;
        std::str::from_utf8(&text).ok()?.parse().ok()
    }
}

/// A header that occurs twice tells nothing: one of the two may be the client's own.
fn told(
    client: &Client,
    header: &str,
    fact: Fact,
    request: &Head,
    host: &dyn Host,
) -> Option<Vec<u8>> {
    if !client.is_vouched_for {
        return host.fact(fact);
    }
    let mut values = request.all(header);
    let value = values.next()?;
    values.next().is_none().then(|| value.to_vec())
}

#[cfg(test)]
mod tests {
    use policy::host::Signature;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    const JA3: &str = "e7d705a3286e19ea42f587b344ee6865";
    const JA4: &str = "t13d1516h2_8daaf6152771_e5627efa2ab1";
    const OTHER_JA4: &str = "t13d1516h2_000000000000_e5627efa2ab1";

    /// A gateway that ends TLS itself.
    struct Gateway {
        peer: &'static str,
        ja4: &'static str,
    }

    impl Host for Gateway {
        fn fact(&self, fact: Fact) -> Option<Vec<u8>> {
            match fact {
                Fact::PeerAddress => Some(self.peer.into()),
                Fact::Ja3 => Some(JA3.into()),
                Fact::Ja4 => Some(self.ja4.into()),
                _ => None,
            }
        }

        fn verify(&self, _: Signature<'_>) -> Option<bool> {
            None
        }
    }

    fn clients() -> Clients {
        let raw = RawClients {
            trusted_proxies: vec!["192.0.2.0/24".parse().unwrap()],
            ..RawClients::default()
        };
        Clients::check(raw, "client", &mut Problems::default())
    }

    fn seen(peer: &'static str, headers: &[(&str, &str)]) -> (String, Option<String>) {
        let request: Head = headers.iter().copied().collect();
        let host = Gateway { peer, ja4: JA4 };
        let client = clients().identify(&request, &host).unwrap();
        let ja4 = clients().ja4(&client, &request, &host);
        (
            client.address.to_string(),
            ja4.map(|ja4| ja4.as_str().to_owned()),
        )
    }

    #[test]
    fn a_trusted_peer_tells_of_its_client_and_nobody_else_is_believed() {
        let told = [("x-forwarded-for", "203.0.113.7"), ("cf-ja4", OTHER_JA4)];
        assert_eq!(
            seen("192.0.2.1:4711", &told),
            ("203.0.113.7".into(), Some(OTHER_JA4.into()))
        );
        assert_eq!(
            seen("198.51.100.1:4711", &told),
            ("198.51.100.1".into(), Some(JA4.into()))
        );
        assert_eq!(seen("[::ffff:192.0.2.1]:4711", &told).0, "203.0.113.7");
    }

    #[test]
    fn the_tls_of_a_trusted_peer_is_not_its_clients() {
        assert_eq!(seen("192.0.2.1", &[]).1, None);
        let twice = [("cf-ja4", OTHER_JA4), ("cf-ja4", JA4)];
        assert_eq!(seen("192.0.2.1", &twice).1, None);
        assert_eq!(seen("192.0.2.1", &[("cf-ja4", "nonsense")]).1, None);
    }

    #[test]
    fn ja3_is_read_in_either_case() {
        let upper = JA3.to_ascii_uppercase();
        let request: Head = [("cf-ja3-hash", upper.as_str())].into_iter().collect();
        let host = Gateway {
            peer: "192.0.2.1",
            ja4: "-",
        };
        let client = clients().identify(&request, &host).unwrap();
        let hash = clients().ja3(&client, &request, &host).unwrap();
        assert_eq!(Member::Ja3(hash).to_string(), JA3);
        let host = Gateway {
            peer: "198.51.100.1",
            ja4: "-",
        };
        let client = clients().identify(&request, &host).unwrap();
        assert_eq!(clients().ja4(&client, &request, &host), None);
    }

    #[test]
    fn who_connected_must_be_known() {
        let host = Gateway {
            peer: "nobody",
            ja4: JA4,
        };
        assert!(clients().identify(&Head::default(), &host).is_err());
    }
}
