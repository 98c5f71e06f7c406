//! Who may pass where.

use policy::route::Match;
use policy::{Cx, Fact};
use serde_json::Value;

use crate::Auth;
use crate::jwt::Claims;

/// One rule of the configuration.
#[derive(Debug)]
pub(crate) struct Rule {
    pub matches: Match,
    pub public: bool,
    pub methods: Vec<Method>,
    pub forward_credential: bool,
    pub claims: Vec<ClaimRule>,
}

/// A kind of credential that a rule accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// A token of the provider with this index.
    Jwt(usize),
    ApiKey,
}

/// What one claim must say.
#[derive(Debug)]
pub(crate) struct ClaimRule {
    pub claim: String,
    pub test: Test,
}

#[derive(Debug)]
pub(crate) enum Test {
    OneOf(Vec<String>),
    Contains(String),
}

/// The rule that decides on the request: the first that matches.
pub(crate) fn find<'a>(cx: &Cx<'a, Auth>, path: &str) -> Option<(usize, &'a Rule)> {
    let (request, host) = (cx.request, cx.host);
    cx.config.rules.iter().enumerate().find(|(_, rule)| {
        rule.matches
            .matches(path, request, || host.fact(Fact::Route))
    })
}

impl ClaimRule {
    /// Whether the claims say what they must.
    pub fn holds(&self, claims: &Claims) -> bool {
        let Some(value) = claims.get(&self.claim) else {
            return false;
        };
        match &self.test {
            Test::OneOf(accepted) => value
                .as_str()
                .is_some_and(|value| accepted.iter().any(|a| a == value)),
            Test::Contains(word) => match value {
                Value::Array(items) => items.iter().any(|item| item.as_str() == Some(word)),
                Value::String(words) => words.split(' ').any(|w| w == word),
                _ => false,
            },
        }
    }
}

/// A set of rules by index: those whose claim requirements a token meets. Kept with the verified
/// token instead of its claims.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RuleSet(Vec<u64>);

impl RuleSet {
    /// The rules whose requirements these claims meet.
    pub fn met_by(claims: &Claims, rules: &[Rule]) -> Self {
        let bits = rules
            .chunks(64)
            .map(|chunk| {
                chunk.iter().rev().fold(0_u64, |bits, rule| {
                    let met = rule.claims.iter().all(|claim| claim.holds(claims));
                    (bits << 1) | u64::from(met)
                })
            })
            .collect();
        Self(bits)
    }

    pub fn contains(&self, rule: usize) -> bool {
        let (word, bit) = (rule / 64, rule % 64);
        self.0.get(word).is_some_and(|bits| (bits >> bit) & 1 == 1)
    }
}
