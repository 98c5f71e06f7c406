//! How keys are hashed: a few 64-bit multiplications, which WebAssembly has, and nothing wider, which it lacks.

use std::hash::{BuildHasher, RandomState};

const FIRST: u64 = 0x9e37_79b9_7f4a_7c15;
const SECOND: u64 = 0xbf58_476d_1ce4_e5b9;

/// Differs from worker to worker: who can get an address listed cannot choose ones that collide.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seed(u64);

impl Seed {
    pub fn random() -> Self {
        Self(RandomState::new().hash_one(FIRST))
    }

    #[cfg(test)]
    pub const fn fixed(seed: u64) -> Self {
        Self(seed)
    }

    /// All bits of the hash depend on all bits of the key.
    pub fn hash(self, key: &[u8]) -> u64 {
        let (words, rest) = key.as_chunks::<8>();
        let mut tail = [0; 8];
        for (to, from) in tail.iter_mut().zip(rest) {
            *to = *from;
        }
        let mut hash = self.0;
        for word in words.iter().chain([&tail]) {
            hash = (hash ^ u64::from_le_bytes(*word)).wrapping_mul(FIRST);
            hash ^= hash >> 32;
        }
        hash = hash.wrapping_mul(SECOND);
        hash ^ (hash >> 29)
    }
}
