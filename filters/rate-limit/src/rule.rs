//! Which limits apply to which requests.

use policy::route::Match;
use wire::limits::Limit;

/// One rule of the configuration, checked.
#[derive(Debug)]
pub(crate) struct Rule {
    pub matches: Match,
    pub limits: Vec<RuleLimit>,
    /// R13.
    pub reject_status: u16,
    pub on_failure: OnFailure,
    /// R18.
    pub shadow: bool,
    /// R19: the index of the upstream in [`Config::upstreams`](crate::config::Config).
    pub adaptive: Option<usize>,
}

/// One limit of a rule.
#[derive(Debug)]
pub(crate) struct RuleLimit {
    /// The index in [`Config::spaces`](crate::config::Config).
    pub space: u16,
    /// The bit of the dimension with its scope: of several matching rules the first counts.
    pub family: u128,
    /// What applies unless a tier says otherwise.
    pub limit: Limit,
    /// R3.
    pub tiers: bool,
    pub if_missing: Missing,
}

/// What becomes of a request without a value in a dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// The limit does not apply.
    Skip,
    /// Refused.
    Deny,
}

/// What becomes of a request when the limit cannot be known (R10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnFailure {
    /// Refused if it writes, passed on if it reads.
    ByMethod,
    Deny,
    Allow,
    /// Passed on within so many percent of the limit.
    Local {
        percent: u32,
    },
}

impl OnFailure {
    /// What holds for a method: GET, HEAD and OPTIONS read, everything else may write.
    pub fn for_method(self, method: &str) -> Self {
        match self {
            Self::ByMethod if matches!(method, "GET" | "HEAD" | "OPTIONS") => Self::Allow,
            Self::ByMethod => Self::Deny,
            chosen => chosen,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn what_may_write_fails_closed() {
        for method in ["POST", "PUT", "PATCH", "DELETE", "BREW", "", "get"] {
            assert_eq!(
                OnFailure::ByMethod.for_method(method),
                OnFailure::Deny,
                "{method}"
            );
        }
        for method in ["GET", "HEAD", "OPTIONS"] {
            assert_eq!(
                OnFailure::ByMethod.for_method(method),
                OnFailure::Allow,
                "{method}"
            );
        }
        assert_eq!(OnFailure::Allow.for_method("POST"), OnFailure::Allow);
    }
}
