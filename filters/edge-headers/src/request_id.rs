//! Ids for requests that came without one (H5).

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use policy::{Head, Keeper, NoMetric, Time};

use crate::config::Config;

/// Makes ids in the form of a version 4 UUID (RFC 9562).
///
/// One gateway's random numbers are no secret and may begin alike in all of its workers, so the time, a count
/// and the request itself go in as well. An id identifies; it proves nothing.
#[derive(Debug)]
pub struct IdSource {
    keys: [RandomState; 2],
    made: u64,
}

impl Keeper<Config, NoMetric> for IdSource {
    fn new(_: &Config, _: Time) -> Self {
        Self {
            keys: [RandomState::new(), RandomState::new()],
            made: 0,
        }
    }
}

impl IdSource {
    /// An id that no other request has.
    pub fn next(&mut self, request: &Head, now: Time) -> String {
        self.made = self.made.wrapping_add(1);
        let [high, low] = self.keys.each_ref().map(|key| {
            let mut hasher = key.build_hasher();
            hasher.write_u64(now.as_nanos());
            hasher.write_u64(self.made);
            for (name, value) in request.iter() {
                hasher.write(name);
                hasher.write(value);
            }
            hasher.finish()
        });
        let high = high & 0xffff_ffff_ffff_0fff | 0x4000;
        let low = low & 0x3fff_ffff_ffff_ffff | 0x8000_0000_0000_0000;
        format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            high >> 32,
            high >> 16 & 0xffff,
            high & 0xffff,
            low >> 48,
            low & 0xffff_ffff_ffff
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use policy::reply::well_formed_id;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn ids_are_unique_and_well_formed() {
        let fresh = || IdSource {
            keys: [RandomState::new(), RandomState::new()],
            made: 0,
        };
        let (mut one, mut other) = (fresh(), fresh());
        let (head, now) = (Head::default(), Time::from_secs(1));
        let mut seen = HashSet::new();
        for _ in 0..1_000 {
            for source in [&mut one, &mut other] {
                let id = source.next(&head, now);
                assert!(well_formed_id(id.as_bytes()).is_some());
                let version_and_variant = (id.as_bytes()[14], id.as_bytes()[19]);
                assert!(
                    matches!(version_and_variant, (b'4', b'8' | b'9' | b'a' | b'b')),
                    "{id}"
                );
                assert!(seen.insert(id));
            }
        }
    }

    #[test]
    fn workers_that_begin_alike_still_tell_requests_apart() {
        let keys = [RandomState::new(), RandomState::new()];
        let alike = || IdSource {
            keys: keys.clone(),
            made: 0,
        };
        let head = |tag: &str| [("user-agent", tag)].into_iter().collect::<Head>();
        let now = Time::from_secs(1);
        assert_ne!(alike().next(&head("a"), now), alike().next(&head("b"), now));
    }
}
