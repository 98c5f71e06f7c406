//! What a policy may ask of this gateway.

use std::cell::{Cell, OnceCell};
use std::net::IpAddr;

use policy::client_ip::parse_peer;
use policy::host::Signature;
use policy::{Fact, Host};

use crate::gateway::Gateway;
use crate::{abi, crypto};

/// The gateway, seen by a policy in the name of one request. Who the peer is, several ask in a chain: the gateway is
/// asked once.
#[derive(Default)]
pub struct Facts {
    gateway: Cell<Option<Gateway>>,
    peer: OnceCell<Option<IpAddr>>,
}

impl Facts {
    /// From now on this gateway is asked.
    pub fn ask(&self, gateway: Gateway) {
        self.gateway.set(Some(gateway));
    }
}

impl Host for Facts {
    fn fact(&self, fact: Fact) -> Option<Vec<u8>> {
        abi::property(self.gateway.get()?.property_of(fact)?)
            .ok()
            .flatten()
    }

    fn peer(&self) -> Option<IpAddr> {
        let ask = || parse_peer(&self.fact(Fact::PeerAddress)?);
        *self.peer.get_or_init(ask)
    }

    fn tells(&self, fact: Fact) -> bool {
        let property = |gateway: Gateway| gateway.property_of(fact);
        self.gateway.get().and_then(property).is_some()
    }

    fn verify(&self, signature: Signature<'_>) -> Option<bool> {
        if self.gateway.get().is_some_and(Gateway::has_crypto) {
            crypto::verify(signature)
        } else {
            None
        }
    }
}
