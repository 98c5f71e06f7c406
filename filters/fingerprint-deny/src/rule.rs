//! What a route asks of its clients, beside not being on the list (D5–D7).

use std::net::IpAddr;

use ipnet::IpNet;
use policy::Head;
use policy::client_ip::is_trusted;
use policy::route::Match;
use watchlist::Client;

use crate::bots::Agents;
use crate::hint::{Country, Hints};
use crate::metric::Reason;

/// One rule of the configuration, checked. Everything that it asks must hold.
#[derive(Debug)]
pub(crate) struct Rule {
    pub matches: Match,
    pub countries: Filter<Country>,
    pub asns: Filter<u32>,
    /// Empty: any address.
    pub networks: Vec<IpNet>,
    pub agents: Agents,
    pub shadow: bool,
}

/// Which values may pass.
#[derive(Debug)]
pub(crate) enum Filter<T> {
    All,
    /// These, and nobody whose value is unknown.
    Only(Vec<T>),
    /// All but these; whose value is unknown may pass.
    AllBut(Vec<T>),
}

impl<T: PartialEq> Filter<T> {
    fn admits(&self, value: Option<T>) -> bool {
        match self {
            Self::All => true,
            Self::Only(these) => value.is_some_and(|value| these.contains(&value)),
            Self::AllBut(these) => value.is_none_or(|value| !these.contains(&value)),
        }
    }
}

impl Rule {
    /// Why the client may not pass; `None` if it may.
    pub fn objection(
        &self,
        client: &Client,
        hints: &Hints,
        request: &Head,
        scratch: &mut String,
    ) -> Option<Reason> {
        if !self.networks.is_empty() && !within(client.address, &self.networks) {
            return Some(Reason::Network);
        }
        if !self.countries.admits(hints.country) {
            return Some(Reason::Country);
        }
        if !self.asns.admits(hints.asn) {
            return Some(Reason::Asn);
        }
        if !self.agents.is_empty() && self.agents.object(request, scratch) {
            return Some(Reason::UserAgent);
        }
        None
    }
}

fn within(address: IpAddr, networks: &[IpNet]) -> bool {
    is_trusted(address, networks)
}

#[cfg(test)]
mod tests {
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn who_is_unknown_is_not_on_an_allow_list_and_not_on_a_deny_list() {
        assert!(Filter::<u32>::All.admits(None));
        let only = Filter::Only(vec![1, 2]);
        assert!(only.admits(Some(2)) && !only.admits(Some(3)) && !only.admits(None));
        let all_but = Filter::AllBut(vec![1, 2]);
        assert!(!all_but.admits(Some(2)) && all_but.admits(Some(3)) && all_but.admits(None));
    }
}
