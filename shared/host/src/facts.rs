//! What a policy may ask of this gateway.

use policy::host::Signature;
use policy::{Fact, Host};

use crate::gateway::Gateway;
use crate::{abi, crypto};

/// The gateway, seen by a policy.
pub struct Facts(pub Gateway);

impl Host for Facts {
    fn fact(&self, fact: Fact) -> Option<Vec<u8>> {
        abi::property(self.0.property_of(fact)?).ok().flatten()
    }

    fn verify(&self, signature: Signature<'_>) -> Option<bool> {
        if self.0.has_crypto() {
            crypto::verify(signature)
        } else {
            None
        }
    }
}
