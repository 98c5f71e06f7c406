//! Verification of RSA signatures, and nothing else: RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017 section
//! 8.2.2), which JOSE calls RS256.
//!
//! Everything here is public: the key, the signature, the digest. So nothing takes the same time for
//! all inputs, and nothing of this may be used with a private key. Written for WebAssembly, which
//! multiplies 64 × 64 → 64 bits and has no carry.
//!
//! # Speed
//! Numbers are limbs of 30 bits in 64-bit words. Four rows of a product are added in one pass, so that
//! a column costs four multiplications, two loads, one store and one carry. Squares take half of
//! a product. What depends on the key alone is computed once, in [`PublicKey::new`].
//!
//! ```
//! # fn check(n: &[u8], e: &[u8], digest: &[u8; 32], signature: &[u8]) -> Option<bool> {
//! let key = rsa_verify::PublicKey::new(n, e).ok()?;
//! let valid = key.verifies(digest, signature);
//! # Some(valid) }
//! ```
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::arithmetic_side_effects, clippy::string_slice))]

mod encoding;
mod key;
mod limbs;
mod montgomery;

pub use key::{BadKey, PublicKey};
