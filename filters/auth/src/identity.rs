//! Who the client is, as the upstream is told.

use std::rc::Rc;

use policy::{Effects, Head};

use crate::config::{Config, Provider};
use crate::jwt::{Claims, NotAHeaderValue, header_value};
use crate::rule::{Rule, RuleSet};

/// What is kept of a verified token: the headers it becomes, and which rules its claims meet.
#[derive(Debug)]
pub(crate) struct Identity {
    pub headers: Vec<(Rc<str>, Rc<str>)>,
    pub meets: RuleSet,
}

impl Identity {
    /// Reads the claims that the provider injects (J17). A claim that is missing is not injected;
    /// one that cannot be a header spoils the token.
    pub fn of(
        claims: &Claims,
        provider: &Provider,
        rules: &[Rule],
    ) -> Result<Self, NotAHeaderValue> {
        let mut headers = Vec::new();
        for (header, claim) in &provider.inject {
            if let Some(value) = claims.get(claim).filter(|value| !value.is_null()) {
                headers.push((Rc::clone(header), header_value(value)?.into()));
            }
        }
        Ok(Self {
            headers,
            meets: RuleSet::met_by(claims, rules),
        })
    }
}

/// Removes what only the gateway may say from what the client said, on every route. A name with `_`
/// for `-` is removed too: to many servers they are the same header.
pub(crate) fn remove_spoofs<M>(request: &Head, config: &Config, effects: &mut Effects<M>) {
    for (name, _) in request.iter() {
        if config.identity_headers.has(name)
            && let Ok(name) = std::str::from_utf8(name)
        {
            effects.remove_header(name.to_owned());
        }
    }
}

/// Tells the upstream.
pub(crate) fn inject<M>(headers: &[(Rc<str>, Rc<str>)], effects: &mut Effects<M>) {
    for (header, value) in headers {
        effects.set_header(header, value);
    }
}
