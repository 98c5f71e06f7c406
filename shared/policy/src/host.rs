//! What a policy may ask of the gateway that it runs in, synchronously and only when it needs it.

use std::net::IpAddr;

use crate::client_ip::parse_peer;

/// A fact about the connection or the route. Gateways name and format these differently; the crate
/// `host` hides that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fact {
    /// The address of the peer that connected to the gateway, without its port.
    PeerAddress,
    /// The gateway's name of the matched route.
    Route,
    /// The gateway's name of the upstream service.
    Service,
    /// The JA3 hash of the peer's TLS client hello, where the gateway itself ended TLS and computes it.
    Ja3,
    /// The JA4 fingerprint of the same.
    Ja4,
    /// The first URI in the subject alternative name of the certificate that the upstream showed, once there is a
    /// response.
    UpstreamIdentity,
    /// Why the last connection to the upstream could not be made or broke, as the gateway words it.
    UpstreamFailure,
    /// What the gateway calls the reason of the response; [`VIA_UPSTREAM`] if the upstream sent it.
    ResponseDetails,
}

/// The value of [`Fact::ResponseDetails`] for a response that the upstream sent.
pub const VIA_UPSTREAM: &[u8] = b"via_upstream";

/// A signature to check.
#[derive(Clone, Copy, Debug)]
pub struct Signature<'a> {
    /// `RS256` or `ES256`.
    pub algorithm: &'a str,
    /// The public key as DER SubjectPublicKeyInfo (RFC 5280).
    pub spki: &'a [u8],
    /// The signature; for ECDSA in DER.
    pub signature: &'a [u8],
    pub message: &'a [u8],
}

/// The gateway, as far as a policy may talk to it.
pub trait Host {
    /// Tells a fact, or `None` if this gateway does not know it for this request.
    fn fact(&self, fact: Fact) -> Option<Vec<u8>>;

    /// The address of the peer that connected to the gateway: [`Fact::PeerAddress`], read. An IPv4-mapped IPv6 address
    /// is the IPv4 address.
    fn peer(&self) -> Option<IpAddr> {
        parse_peer(&self.fact(Fact::PeerAddress)?)
    }

    /// Whether this gateway tells such a fact at all, though maybe not of this request.
    fn tells(&self, _fact: Fact) -> bool {
        true
    }

    /// Checks a signature with the gateway's own crypto, or `None` where there is none.
    fn verify(&self, signature: Signature<'_>) -> Option<bool>;
}
