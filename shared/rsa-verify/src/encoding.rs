//! EMSA-PKCS1-v1_5 with SHA-256 (RFC 8017 section 9.2).

/// DER of `SEQUENCE { SEQUENCE { OID id-sha256, NULL }, OCTET STRING (32) }` up to the digest (RFC 8017
/// section 9.2, note 1). The NULL is part of it: an encoding without is another.
const DIGEST_INFO: [u8; 19] = [
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05,
    0x00, 0x04, 0x20,
];

/// The one encoding of a digest in `length` bytes: 00 01 ff … ff 00 DigestInfo digest. `length` is far
/// above what these need.
pub(crate) fn encode(digest: &[u8; 32], length: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(length);
    out.extend([0, 1]);
    let end = DIGEST_INFO.len().saturating_add(digest.len());
    out.resize(length.saturating_sub(end).saturating_sub(1), 0xff);
    out.push(0);
    out.extend(DIGEST_INFO);
    out.extend(digest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn an_encoding_fills_the_modulus() {
        let encoded = encode(&[7; 32], 256);
        assert_eq!(encoded.len(), 256);
        assert_eq!(encoded[..2], [0, 1]);
        assert!(encoded[2..204].iter().all(|byte| *byte == 0xff));
        assert_eq!(encoded[204], 0);
        assert_eq!(encoded[205..224], DIGEST_INFO);
        assert_eq!(encoded[224..], [7; 32]);
    }
}
