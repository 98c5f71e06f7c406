//! The same verdicts as the crate `rsa`, for keys, numbers and encodings that are made to hurt.
//!
//! `PROPTEST_CASES` says how many of each; `make fuzz` runs many in a release build. The inputs are
//! random, not guided by coverage, which only a nightly compiler measures.

#![cfg(not(target_arch = "wasm32"))]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::string_slice
)]

use std::sync::LazyLock;

use proptest::collection::vec;
use proptest::prelude::*;
use rsa::hazmat::rsa_encrypt;
use rsa::pkcs1v15::{Signature, VerifyingKey};
use rsa::signature::hazmat::PrehashVerifier as _;
use rsa::{BoxedUint, RsaPublicKey};
use rsa_verify::PublicKey;
use sha2::Sha256;

// The key of RFC 7515 appendix A.2, where its private half is published, with the exponent 65537; and one with
// the exponent 3, made for tests.
const RSA_N: &str = "\
    a1f8160ae2e3c9b465ce8d2d656263362b927dbe29e1f02477fc1625cc90a136e38bd93497c5b6ea63dd7711e67c7429\
    f956b0fb8a8f089adc4b69893cc1333f53edd019b87784252fec914fe4857769594bea4280d32c0f55bf62944f130396\
    bc6e9bdf6ebdd2bda3678eeca0c668f701b38dbffb38c8342ce2fe6d27fade4a5a4874979dd4b9cf9adec4c75b05852c\
    2c0f5ef8a5c1750392f944e8ed64c110c6b647609aa4783aeb9c6c9ad755313050638b83665c6f6f7a82a396702a1f64\
    1b82d3ebf2392219491fb686872c5716f50af8358d9a8b9d17c340728f7f87d89a18d8fcab67ad84590c2ecf75933936\
    3c07034d6f606f9e21e05456cae5e9a1\
    ";
const RSA_D: &str = "\
    12ae71a469cd0a2bc37e526c4500571f1d61751d64e949707b62590f9d0ba57c963c401e3fcf2f2cd3bdec88e503bfc6\
    439b0b28c82f7d3797671f5213eed8c15a25d8d5cea0025ee3ab2e8b7f79216fc63bea562753b40644c6a15127d9b295\
    4540a0bbe1a30556982d4e9fde5f6425f14d4b713441b55dc73b9b4aedcc92ace3927e37f57d0cfd5e7581fa512c8f49\
    61a9eb0b80f8a80746728a55ff46471f3425063b9d53642f5ede1e84d613081afa5c22d051285bd63b943b565d898a05\
    685413e53c3c6c6525ff1fe34e3ddc70f0d56450fda48ba12e104e9deb9fb81881e1c4bdf25d9247f450c865927968e7\
    7334f4414f75a750e139546e3a8a739d\
    ";
const E3_N: &str = "\
    c0558479bc067a23dbff651cd2974406e6d59bd4cd9e4d9e5d1b2d3e2d206e2316bcebc06afbae04f33873fa70613054\
    61dff46edbdc31008bc8467f2aed14fcc5a0c8da252d70f5a4c803ab93bd411fd8c659db1b8f4e8d60357f12031a34b1\
    c7ce893d01aae97917d552300bdb82cc2b3503aa9e5e146481f5eb27f3eadb3e22f8c93d9b2832ea1d8e3ab8dbe0a0d7\
    f0af947b9214e271bfaed6ea9b607919f899aced5c363e8755abe5491b1e76398f5023f413c743e7b29430ec219e104e\
    4282d85cba1489b81c790eebb277c17cce8057f4399cf74edb96b7b675a4d76d7c24001567c535ba5707bff116bbc3c9\
    76e8828ffe040f12d891b0a254b1c36b\
    ";
const E3_D: &str = "\
    803902fbd2aefc17e7ff98bde1ba2d59ef39128dde6989143e121e29736af417647df280475274034cd04d51a040cae2\
    ebeaa2f49292cb55b2858454c748b8a883c085e6c373a0a3c3300272627e2b6a90843be767b4df08eace54b6acbc2321\
    2fdf0628abc74650ba8e36cab2925732c778ad1c69940d9856a3f21aa29c922844573cea773716fe2c0ecac0982423ea\
    70eb276ed4a648e3d215cb27f671065bb143a4ec068ca8aff160f097f207156fd3971cc0431c064cf70a4793f350997a\
    9e6d59cea345fe362f225ea51526082bbb393d55888c3a6912f499504dbbdb018609fc2daf11a6a1ca8a711b338de731\
    722f0f4fc03ff1ee1b4202cab472a34b\
    ";

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

fn number(bytes: &[u8]) -> BoxedUint {
    let bits = u32::try_from(bytes.len() * 8).unwrap();
    BoxedUint::from_be_slice(bytes, bits.next_multiple_of(64)).unwrap()
}

fn padded(number: &BoxedUint, length: usize) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    let excess = bytes.len().saturating_sub(length);
    assert!(bytes[..excess].iter().all(|byte| *byte == 0));
    [
        vec![0; length.saturating_sub(bytes.len())],
        bytes[excess..].to_vec(),
    ]
    .concat()
}

/// A key pair, and the public half as this crate has it.
struct Pair {
    public: RsaPublicKey,
    /// The private half: signing is opening with the other exponent.
    private: RsaPublicKey,
    ours: PublicKey,
    n: Vec<u8>,
}

impl Pair {
    fn new(n: &str, d: &str, e: u64) -> Self {
        let (n, d) = (bytes(n), bytes(d));
        Self {
            public: RsaPublicKey::new(number(&n), e.into()).unwrap(),
            private: RsaPublicKey::new_unchecked(number(&n), number(&d)),
            ours: PublicKey::new(&n, &e.to_be_bytes()).unwrap(),
            n,
        }
    }

    /// The signature that this encoded message opens to, whatever it is.
    fn sign_raw(&self, encoded: &[u8]) -> Vec<u8> {
        let signature = rsa_encrypt(&self.private, &number(encoded)).unwrap();
        padded(&signature, self.n.len())
    }
}

static PAIRS: LazyLock<[Pair; 2]> =
    LazyLock::new(|| [Pair::new(RSA_N, RSA_D, 65_537), Pair::new(E3_N, E3_D, 3)]);

const DIGEST_INFO: [u8; 19] = [
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05,
    0x00, 0x04, 0x20,
];

fn encoded(digest: &[u8; 32]) -> Vec<u8> {
    [&[0, 1][..], &[0xff; 202], &[0], &DIGEST_INFO, digest].concat()
}

fn theirs(pair: &Pair, digest: &[u8; 32], signature: &[u8]) -> bool {
    let verifier = VerifyingKey::<Sha256>::new(pair.public.clone());
    Signature::try_from(signature)
        .is_ok_and(|signature| verifier.verify_prehash(digest, &signature).is_ok())
}

/// Long runs of zeros and ones, where carries travel far, among random bytes.
fn runs(length: usize) -> impl Strategy<Value = Vec<u8>> {
    let run = (
        prop_oneof![Just(0_u8), Just(0xff), any::<u8>()],
        any::<bool>(),
        1..64_usize,
    );
    (vec(run, 1..40), vec(any::<u8>(), length)).prop_map(move |(runs, random)| {
        let mut out = Vec::with_capacity(length);
        for (byte, same, count) in runs.into_iter().cycle() {
            let rest = length - out.len();
            if rest == 0 {
                break;
            }
            for _ in 0..count.min(rest) {
                out.push(if same { byte } else { random[out.len()] });
            }
        }
        out
    })
}

/// A modulus: odd, its highest bit set.
fn modulus() -> impl Strategy<Value = Vec<u8>> {
    let length = prop_oneof![4 => Just(256_usize), 1 => 256..=512_usize, 1 => 513..=1024_usize];
    (length, 0..8_u32)
        .prop_flat_map(|(length, unused)| (runs(length), Just(unused)))
        .prop_map(|(mut n, unused)| {
            let unused = if n.len() == 256 { 0 } else { unused };
            n[0] = (n[0] | 0x80) >> unused;
            *n.last_mut().unwrap() |= 1;
            n
        })
}

fn exponent() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => Just(65_537_u64),
        1 => Just(3),
        1 => Just(17),
        1 => Just((1 << 33) - 1),
        2 => (1..1_u64 << 32).prop_map(|half| 2 * half + 1),
    ]
}

/// One way to spoil bytes.
#[derive(Clone, Debug)]
enum Spoil {
    Nothing,
    Bit(prop::sample::Index, u8),
    Byte(prop::sample::Index, u8),
    Remove(prop::sample::Index),
    Insert(prop::sample::Index, u8),
    Zeros(prop::sample::Index),
    Swap(prop::sample::Index, prop::sample::Index),
}

impl Spoil {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let length = bytes.len();
        match self {
            Self::Nothing => {}
            Self::Bit(at, bit) => bytes[at.index(length)] ^= 1 << bit,
            Self::Byte(at, byte) => bytes[at.index(length)] = *byte,
            Self::Remove(at) => drop(bytes.remove(at.index(length))),
            Self::Insert(at, byte) => bytes.insert(at.index(length + 1), *byte),
            Self::Zeros(at) => bytes[at.index(length)..].fill(0),
            Self::Swap(a, b) => bytes.swap(a.index(length), b.index(length)),
        }
    }
}

fn spoil() -> impl Strategy<Value = Spoil> {
    prop_oneof![
        1 => Just(Spoil::Nothing),
        2 => (any::<prop::sample::Index>(), 0..8_u8).prop_map(|(at, bit)| Spoil::Bit(at, bit)),
        1 => any::<(prop::sample::Index, u8)>().prop_map(|(at, byte)| Spoil::Byte(at, byte)),
        1 => any::<prop::sample::Index>().prop_map(Spoil::Remove),
        1 => any::<(prop::sample::Index, u8)>().prop_map(|(at, byte)| Spoil::Insert(at, byte)),
        1 => any::<prop::sample::Index>().prop_map(Spoil::Zeros),
        1 => any::<(prop::sample::Index, prop::sample::Index)>().prop_map(|(a, b)| Spoil::Swap(a, b)),
    ]
}

fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|text| text.parse().ok());
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases.unwrap_or(40))
    }
}

proptest! {
    #![proptest_config(config())]

    /// Powers of arbitrary numbers modulo arbitrary odd numbers are right.
    #[test]
    fn powers_are_those_of_rsa(n in modulus(), e in exponent(), base in runs(1024)) {
        let ours = PublicKey::new(&n, &e.to_be_bytes()).unwrap();
        let mut base = base[..n.len()].to_vec();
        if base >= n {
            base[0] = 0;
        }
        let theirs = RsaPublicKey::new(number(&n), e.into()).unwrap();
        let expected = rsa_encrypt(&theirs, &number(&base)).unwrap();
        prop_assert_eq!(ours.open(&base), Some(padded(&expected, n.len())));
    }

    /// Signatures are right or, spoiled, wrong.
    #[test]
    fn spoiled_signatures_do_not_verify(digest: [u8; 32], which in 0..2_usize, how in spoil()) {
        let pair = &PAIRS[which];
        let good = pair.sign_raw(&encoded(&digest));
        prop_assert!(pair.ours.verifies(&digest, &good));
        let mut signature = good.clone();
        how.apply(&mut signature);
        let verdict = pair.ours.verifies(&digest, &signature);
        prop_assert_eq!(verdict, signature == good);
        // Theirs also takes signatures without leading zeros, which RFC 8017 does not.
        if signature.len() == pair.n.len() {
            prop_assert_eq!(verdict, theirs(pair, &digest, &signature));
        }
    }

    /// What a private key makes of any other encoding is worth nothing.
    #[test]
    fn other_encodings_do_not_verify(digest: [u8; 32], which in 0..2_usize, hows in vec(spoil(), 1..4)) {
        let pair = &PAIRS[which];
        let right = encoded(&digest);
        let mut forged = right.clone();
        for how in &hows {
            how.apply(&mut forged);
        }
        forged.resize(right.len(), 0);
        forged[0] = 0;
        let signature = pair.sign_raw(&forged);
        let verdict = pair.ours.verifies(&digest, &signature);
        prop_assert_eq!(verdict, forged == right);
        prop_assert_eq!(verdict, theirs(pair, &digest, &signature));
    }
}

fn refuses(pair: &Pair, digest: &[u8; 32], forged: &[u8]) {
    let signature = pair.sign_raw(forged);
    assert_eq!(
        pair.ours.open(&signature).as_deref(),
        Some(forged),
        "it does open to that"
    );
    assert!(!pair.ours.verifies(digest, &signature), "{forged:02x?}");
}

/// The forgeries that verifiers which parse, instead of comparing, have fallen for.
#[test]
fn forged_paddings_are_refused() {
    let digest = [0x5a; 32];
    let no_null = [
        0x30, 0x2f, 0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01,
        0x04, 0x20,
    ];
    for pair in PAIRS.iter() {
        assert!(
            pair.ours
                .verifies(&digest, &pair.sign_raw(&encoded(&digest)))
        );
        // Bleichenbacher 2006: eight bytes of padding, the digest, and room for a cube root.
        let mut early = [&[0, 1][..], &[0xff; 8], &[0], &DIGEST_INFO, &digest].concat();
        early.resize(256, 0x17);
        // The DigestInfo at the end, but padding cut short by zeros or rubbish in front of it.
        let short = [&[0, 1][..], &[0xff; 8], &[0; 195], &DIGEST_INFO, &digest].concat();
        let rubbish = [
            &[0, 1][..],
            &[0xff; 8],
            &[0],
            &[0x99; 194],
            &DIGEST_INFO,
            &digest,
        ]
        .concat();
        let without_null = [&[0, 1][..], &[0xff; 204], &[0], &no_null, &digest].concat();
        let encryption = [&[0, 2][..], &[0xff; 202], &[0], &DIGEST_INFO, &digest].concat();
        let private = [&[0, 0][..], &[0xff; 202], &[0], &DIGEST_INFO, &digest].concat();
        let bare = [&[0, 1][..], &[0xff; 221], &[0], &digest].concat();
        let trailing = [
            &[0, 1][..],
            &[0xff; 200],
            &[0],
            &DIGEST_INFO,
            &digest,
            &[5, 0],
        ]
        .concat();
        // Parameters that hide bytes in the AlgorithmIdentifier (CVE-2006-4339 and its variants).
        let mut hidden = [
            &[0, 1][..],
            &[0xff; 190],
            &[0],
            &DIGEST_INFO[..15],
            &[0x04, 12],
        ]
        .concat();
        hidden.extend([0x33; 12]);
        hidden.extend([&[0x04, 0x20], &digest[..]].concat());
        for forged in [
            early,
            short,
            rubbish,
            without_null,
            encryption,
            private,
            bare,
            trailing,
            hidden,
        ] {
            assert_eq!(forged.len(), 256);
            refuses(pair, &digest, &forged);
        }
    }
}

/// With the exponent 3, a cube root is easily found for a number whose lower half is free.
#[test]
fn a_forged_cube_root_is_refused() {
    let pair = &PAIRS[1];
    let digest = [0x5a; 32];
    // Any s below the cube root of n opens to s³ without reduction.
    let mut root = [0; 256];
    root[256 - 84..].fill(0x55);
    let opened = pair.ours.open(&root).unwrap();
    assert_eq!(opened.iter().take_while(|byte| **byte == 0).count(), 4);
    assert!(!pair.ours.verifies(&digest, &root));
}

#[test]
fn one_and_minus_one_open_to_themselves_and_verify_nothing() {
    for pair in PAIRS.iter() {
        let mut one = [0; 256];
        one[255] = 1;
        let mut minus_one = pair.n.clone();
        minus_one[255] ^= 1;
        for signature in [&[0; 256][..], &one, &minus_one] {
            assert_eq!(pair.ours.open(signature).as_deref(), Some(signature));
            assert!(!pair.ours.verifies(&[0; 32], signature));
        }
        assert_eq!(pair.ours.open(&pair.n), None);
    }
}
