//! Which callbacks a policy needs. An unused callback is not exported by the filter, because the
//! gateway would make the crossing for nothing (about a third of what a filter costs).

/// A set of optional callbacks, beyond request headers and the ends of callouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phases(u8);

impl Phases {
    /// Request headers only.
    pub const NONE: Self = Self(0);
    /// The policy makes callouts, or its keeper does.
    pub const CALLOUTS: Self = Self(1);
    /// The keeper wants to be called at intervals, or the policy sleeps or waits.
    pub const TICK: Self = Self(1 << 1);
    /// The policy may ask for the request body.
    pub const REQUEST_BODY: Self = Self(1 << 2);
    /// The policy edits response headers.
    pub const RESPONSE: Self = Self(1 << 3);
    /// The policy looks at the status of responses and at nothing else of them.
    pub const RESPONSE_STATUS: Self = Self(1 << 4);

    /// Both sets.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in both sets.
    #[must_use]
    pub const fn only(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether all of `other` is in this set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}
