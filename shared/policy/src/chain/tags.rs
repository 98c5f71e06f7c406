//! Whose callout it is that has ended: each keeper chooses its tags as if it were alone.

/// Callouts under way, each by a tag of the whole chain.
#[derive(Debug, Default)]
pub struct Tags(Vec<Option<(usize, u32)>>);

impl Tags {
    /// A tag for a callout that this link calls `tag`. As many are kept as were ever under way at once.
    pub fn give(&mut self, link: usize, tag: u32) -> u32 {
        let free = self.0.iter().position(Option::is_none);
        let at = free.unwrap_or_else(|| {
            self.0.push(None);
            self.0.len().saturating_sub(1)
        });
        if let Some(place) = self.0.get_mut(at) {
            *place = Some((link, tag));
        }
        u32::try_from(at).unwrap_or(u32::MAX)
    }

    /// The link and its own tag. A callout ends once.
    pub fn take(&mut self, tag: u32) -> Option<(usize, u32)> {
        self.0.get_mut(usize::try_from(tag).ok()?)?.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn each_callout_finds_back_once() {
        let mut tags = Tags::default();
        let (a, b) = (tags.give(0, u32::MAX), tags.give(3, u32::MAX));
        assert_ne!(a, b);
        assert_eq!(tags.take(b), Some((3, u32::MAX)));
        assert_eq!(tags.take(b), None);
        assert_eq!(tags.take(7), None);
        assert_eq!(tags.give(1, 5), b);
        assert_eq!(tags.take(a), Some((0, u32::MAX)));
    }
}
