//! Tokens whose signature was checked before (J21).
//!
//! Kept under the BLAKE3 of the token, so that no token is held in memory and none can be looked
//! up by anything but itself. An entry ends with its token's `exp`, or when its key leaves the JWKS.
//! Why not SHA-256: `docs/adr/0011-tokens-are-kept-under-blake3.md`.

use std::num::NonZeroUsize;
use std::rc::Rc;

use policy::Time;
use policy::ttl_cache::TtlCache;

use crate::identity::Identity;
use crate::jwks::KeyId;
use crate::key_source::KeySource;

/// A token of a provider.
pub(crate) type TokenKey = (TokenHash, usize);

/// The hash under which a token is remembered.
pub(crate) type TokenHash = [u8; 32];

pub(crate) fn hash(token: &str) -> TokenHash {
    *blake3::hash(token.as_bytes()).as_bytes()
}

#[derive(Debug)]
pub(crate) struct VerifiedTokens(Option<TtlCache<TokenKey, Verified>>);

#[derive(Debug)]
struct Verified {
    identity: Rc<Identity>,
    key: KeyId,
    /// The generation of the key set in which the key was last seen.
    generation: u64,
}

impl VerifiedTokens {
    pub fn new(capacity: Option<NonZeroUsize>) -> Self {
        Self(capacity.map(TtlCache::new))
    }

    /// Whose token it is, if it was verified with a key that the provider still has.
    pub fn get(&mut self, token: &TokenKey, source: &KeySource, now: Time) -> Option<Rc<Identity>> {
        let cache = self.0.as_mut()?;
        let verified = cache.get(token, now)?;
        let keys = source.keys(now)?;
        if verified.generation != source.generation() {
            if !keys.holds(verified.key) {
                cache.remove(token);
                return None;
            }
            verified.generation = source.generation();
        }
        Some(Rc::clone(&verified.identity))
    }

    /// Remembers a token until it has to be looked at again.
    pub fn put(
        &mut self,
        token: TokenKey,
        identity: Rc<Identity>,
        key: KeyId,
        source: &KeySource,
        now: Time,
        until: Time,
    ) {
        if let Some(cache) = &mut self.0 {
            let verified = Verified {
                identity,
                key,
                generation: source.generation(),
            };
            cache.put(token, verified, now, until);
        }
    }
}
