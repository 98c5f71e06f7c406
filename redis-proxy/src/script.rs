//! The Lua scripts: put together from parts, named by their SHA-1.

/// A script as Redis knows it.
#[derive(Clone, Debug)]
pub struct Script {
    text: String,
    hash: String,
}

const CLOCK_STORE: &str = include_str!("scripts/clock_store.lua");
const CLOCK_GIVEN: &str = include_str!("scripts/clock_given.lua");
const STEP: &str = include_str!("scripts/step.lua");
const PACED: &str = include_str!("scripts/paced.lua");
const WINDOW: &str = include_str!("scripts/window.lua");

impl Script {
    pub(crate) fn new(parts: &[&str]) -> Self {
        let text = parts.concat();
        let hash = sha1_smol::Sha1::from(&text).hexdigest();
        Self { text, hash }
    }

    /// Two GCRA buckets.
    #[must_use]
    pub fn paced() -> Self {
        Self::new(&[CLOCK_STORE, STEP, PACED])
    }

    /// An exact count.
    #[must_use]
    pub fn window() -> Self {
        Self::new(&[CLOCK_STORE, STEP, WINDOW])
    }

    /// [`Script::paced`] with the time as last argument. For tests.
    #[must_use]
    pub fn paced_at() -> Self {
        Self::new(&[CLOCK_GIVEN, STEP, PACED])
    }

    /// [`Script::window`] with the time as last argument. For tests.
    #[must_use]
    pub fn window_at() -> Self {
        Self::new(&[CLOCK_GIVEN, STEP, WINDOW])
    }

    /// The whole text, for `EVAL`.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its SHA-1, for `EVALSHA`.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }
}
