//! Headers that a route requires (H6).

use policy::route::Match;
use policy::{Fact, Head, Host, Reply};

use crate::claim::Claim;

/// One rule of the configuration, checked.
#[derive(Debug)]
pub(crate) struct Required {
    pub matches: Match,
    pub headers: Vec<Header>,
}

/// A header that must be there.
#[derive(Debug)]
pub(crate) struct Header {
    /// In lower case.
    pub name: Box<str>,
    /// The claim of the bearer token that it must agree with.
    pub claim: Option<Box<str>>,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing<'a> {
    /// Its path has no single reading, so no rule can be chosen.
    Path,
    /// The header is not there, is empty, or occurs twice.
    Header(&'a str),
    /// The header says something else than the token.
    Disagrees(&'a str),
}

/// What the request lacks. All rules that match hold.
pub(crate) fn find<'a>(
    rules: &'a [Required],
    path: &str,
    request: &Head,
    host: &dyn Host,
) -> Option<Missing<'a>> {
    rules
        .iter()
        .filter(|rule| {
            let route = || host.fact(Fact::Route);
            rule.matches.matches(path, request, route)
        })
        .flat_map(|rule| &rule.headers)
        .find_map(|header| header.missing(request))
}

impl Header {
    fn missing(&self, request: &Head) -> Option<Missing<'_>> {
        let mut values = request.all(&self.name);
        let (Some(value), None) = (values.next(), values.next()) else {
            return Some(Missing::Header(&self.name));
        };
        if value.trim_ascii().is_empty() {
            return Some(Missing::Header(&self.name));
        }
        match Claim::of(request, self.claim.as_deref()?) {
            Claim::NoToken => None,
            Claim::Says(said) if said.as_bytes() == value => None,
            Claim::Says(_) | Claim::Absent => Some(Missing::Disagrees(&self.name)),
        }
    }
}

/// Every code with which the filter refuses.
pub const CODES: &[&str] = &["path_ambiguous", "header_required", "header_disagrees"];

impl Missing<'_> {
    /// The answer. Names of headers are the operator's, not the client's.
    pub fn reply(self) -> Reply {
        match self {
            Self::Path => Reply::problem(
                400,
                "path_ambiguous",
                "The path can be read in more than one way",
            ),
            Self::Header(name) => Reply::problem(
                400,
                "header_required",
                format!("The request needs the header {name}, once"),
            ),
            Self::Disagrees(name) => Reply::problem(
                400,
                "header_disagrees",
                format!("The header {name} does not agree with the token"),
            ),
        }
    }
}
