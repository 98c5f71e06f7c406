//! The arithmetic below the decisions: hashes of a token, RS256 by this project's crate and by `rsa`.
#![allow(clippy::unwrap_used)]

use std::hash::{BuildHasher as _, RandomState};

use divan::{Bencher, black_box};
use rsa::signature::hazmat::PrehashVerifier as _;
use sha2::{Digest as _, Sha256};

fn main() {
    divan::main();
}

const LENGTHS: [usize; 2] = [600, 900];

#[divan::bench(args = LENGTHS)]
fn sha256_of_a_token(bencher: Bencher, length: usize) {
    let token = vec![b'a'; length];
    bencher.bench_local(|| Sha256::digest(black_box(&token)));
}

/// A hash with a secret key: cheaper, and safe only with the whole token compared.
#[divan::bench(args = LENGTHS)]
fn siphash_of_a_token_and_comparison(bencher: Bencher, length: usize) {
    let token = vec![b'a'; length];
    let other = token.clone();
    let keyed = RandomState::new();
    bencher.bench_local(|| {
        let hash = keyed.hash_one(black_box(token.as_slice()));
        (hash, black_box(&token) == black_box(&other))
    });
}

/// A number as long as the modulus that no key has signed: rejecting it takes as long as accepting.
const SIGNATURE: [u8; 256] = [0x5a; 256];

/// Odd, of 2048 bits: all that the arithmetic asks of it.
const MODULUS: [u8; 256] = [0xb5; 256];

#[divan::bench]
fn rs256_rsa_verify(bencher: Bencher) {
    let key = rsa_verify::PublicKey::new(&MODULUS, &[1, 0, 1]).unwrap();
    bencher.bench_local(|| key.verifies(&[7; 32], black_box(&SIGNATURE)));
}

#[divan::bench]
fn rs256_rsa_verify_new_key(bencher: Bencher) {
    bencher.bench_local(|| rsa_verify::PublicKey::new(black_box(&MODULUS), &[1, 0, 1]));
}

#[divan::bench]
fn rs256_rsa(bencher: Bencher) {
    let modulus = rsa::BoxedUint::from_be_slice(&MODULUS, 2048).unwrap();
    let key = rsa::RsaPublicKey::new(modulus, 65_537_u64.into()).unwrap();
    let key = rsa::pkcs1v15::VerifyingKey::<Sha256>::new(key);
    let signature = rsa::pkcs1v15::Signature::try_from(&SIGNATURE[..]).unwrap();
    bencher.bench_local(|| key.verify_prehash(&[7; 32], black_box(&signature)));
}
