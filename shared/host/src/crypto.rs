//! Envoy's own crypto: the foreign function `verify_signature`, a protocol buffer in and one out.

use policy::host::Signature;

use crate::abi;

/// Whether the signature is good, or `None` if the gateway could not tell.
pub fn verify(signature: Signature<'_>) -> Option<bool> {
    let hash = match signature.algorithm {
        "RS256" | "ES256" => "sha256",
        _ => return None,
    };
    let mut arguments = Vec::new();
    field(&mut arguments, 1, hash.as_bytes())?;
    field(&mut arguments, 2, signature.spki)?;
    field(&mut arguments, 3, signature.signature)?;
    field(&mut arguments, 4, signature.message)?;
    let result = abi::call_foreign_function("verify_signature", &arguments).ok()?;
    // Message { bool result = 1; string error = 2; }: a good signature is field 1, varint, true.
    // A bad one leaves the field out.
    Some(result.starts_with(&[0x08, 0x01]))
}

/// Appends a length-delimited field.
fn field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) -> Option<()> {
    const LENGTH_DELIMITED: u8 = 2;
    out.push(number.checked_shl(3)? | LENGTH_DELIMITED);
    let mut length = bytes.len();
    loop {
        let low = u8::try_from(length & 0x7f).ok()?;
        length >>= 7;
        if length == 0 {
            out.push(low);
            break;
        }
        out.push(low | 0x80);
    }
    out.extend_from_slice(bytes);
    Some(())
}
