//! The gateway's crypto, played by native libraries: what Envoy's `verify_signature` does.

use p256::ecdsa::signature::Verifier as _;
use policy::host::Signature;
use rsa::RsaPublicKey;
use rsa::pkcs1v15;
use rsa::pkcs8::DecodePublicKey as _;
use sha2::Sha256;

/// Whether the signature is good; `None` for an algorithm that the gateway does not lend.
#[must_use]
pub fn verify(signature: Signature<'_>) -> Option<bool> {
    match signature.algorithm {
        "RS256" => Some(rs256(signature).is_some()),
        "ES256" => Some(es256(signature).is_some()),
        _ => None,
    }
}

fn rs256(signature: Signature<'_>) -> Option<()> {
    let key = RsaPublicKey::from_public_key_der(signature.spki).ok()?;
    let given = pkcs1v15::Signature::try_from(signature.signature).ok()?;
    pkcs1v15::VerifyingKey::<Sha256>::new(key)
        .verify(signature.message, &given)
        .ok()
}

fn es256(signature: Signature<'_>) -> Option<()> {
    let key = p256::ecdsa::VerifyingKey::from_public_key_der(signature.spki).ok()?;
    let given = p256::ecdsa::Signature::from_der(signature.signature).ok()?;
    key.verify(signature.message, &given).ok()
}
