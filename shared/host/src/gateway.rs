//! In what the gateways differ. Found out once, when the filter is configured; everything that
//! depends on it is here.

use policy::Fact;

use crate::abi::{self, Map};

/// The gateway that the filter runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gateway {
    Envoy,
    Kong,
}

impl Gateway {
    /// Kong's worker has a number that the filter can read; Envoy has no such property.
    pub fn detect() -> Self {
        match abi::property("worker_id") {
            Ok(Some(_)) => Self::Kong,
            _ => Self::Envoy,
        }
    }

    /// A full read of the headers ends at this many.
    pub const fn max_headers_read(self) -> usize {
        match self {
            Self::Envoy => usize::MAX,
            Self::Kong => 100,
        }
    }

    /// Whether one request's callback, or a tick, may wake another request. In Kong that is a
    /// segmentation fault of the worker.
    pub const fn wakes_others(self) -> bool {
        match self {
            Self::Envoy => true,
            Self::Kong => false,
        }
    }

    /// Whether the gateway lends its crypto through `verify_signature`. Asking Kong for a foreign
    /// function that it does not have is a trap.
    pub const fn has_crypto(self) -> bool {
        match self {
            Self::Envoy => true,
            Self::Kong => false,
        }
    }

    /// The property that tells a fact, its parts separated by NUL.
    pub const fn property_of(self, fact: Fact) -> Option<&'static str> {
        match (self, fact) {
            (_, Fact::PeerAddress) => Some("source\0address"),
            (Self::Envoy, Fact::Route) => Some("xds\0route_name"),
            (Self::Kong, Fact::Route) => Some("kong\0route_name"),
            (Self::Envoy, Fact::Service) => Some("xds\0cluster_name"),
            (Self::Kong, Fact::Service) => Some("kong\0service_name"),
            _ => None,
        }
    }

    /// Why a callout without any answer headers ended; Kong has a word for it.
    pub fn dispatch_status(self) -> Option<Vec<u8>> {
        match self {
            Self::Envoy => None,
            Self::Kong => abi::header(Map::Callout, ":dispatch_status").ok().flatten(),
        }
    }
}
