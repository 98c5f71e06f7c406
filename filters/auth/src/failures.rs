//! Failed authentications by address (A12).

use std::net::IpAddr;
use std::time::Duration;

use policy::Time;
use policy::ttl_cache::TtlCache;

use crate::config::Failures;

/// Counts per address, in windows that begin with the first failure.
#[derive(Debug)]
pub(crate) struct FailureCounts(TtlCache<IpAddr, Count>);

#[derive(Debug)]
struct Count {
    failures: u32,
    until: Time,
}

impl FailureCounts {
    pub fn new(config: &Failures) -> Self {
        Self(TtlCache::new(config.capacity))
    }

    /// How long the address is still refused, if it is.
    pub fn refused_for(
        &mut self,
        address: IpAddr,
        config: &Failures,
        now: Time,
    ) -> Option<Duration> {
        let count = self.0.get(&network(address), now)?;
        (count.failures >= config.limit).then(|| count.until.since(now))
    }

    /// The address has failed once more.
    pub fn note(&mut self, address: IpAddr, config: &Failures, now: Time) {
        let network = network(address);
        match self.0.get(&network, now) {
            Some(count) => count.failures = count.failures.saturating_add(1),
            None => {
                let until = now.plus(config.window);
                self.0
                    .put(network, Count { failures: 1, until }, now, until);
            }
        }
    }
}

/// Who has one address of an IPv6 /64 has them all.
fn network(address: IpAddr) -> IpAddr {
    const UPPER_64: u128 = !(u64::MAX as u128);
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & UPPER_64).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroUsize;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn config() -> Failures {
        Failures {
            limit: 2,
            window: Duration::from_secs(60),
            capacity: NonZeroUsize::new(10).unwrap(),
        }
    }

    #[test]
    fn an_address_is_refused_until_its_window_ends() {
        let config = config();
        let mut counts = FailureCounts::new(&config);
        let (one, other): (IpAddr, IpAddr) =
            ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let at = Time::from_secs;
        counts.note(one, &config, at(100));
        assert_eq!(counts.refused_for(one, &config, at(110)), None);
        counts.note(one, &config, at(120));
        assert_eq!(
            counts.refused_for(one, &config, at(130)),
            Some(Duration::from_secs(30))
        );
        assert_eq!(counts.refused_for(other, &config, at(130)), None);
        assert_eq!(counts.refused_for(one, &config, at(160)), None);
    }

    #[test]
    fn a_v6_client_cannot_hop_within_its_network() {
        let config = config();
        let mut counts = FailureCounts::new(&config);
        for host in ["2001:db8::1", "2001:db8::2"] {
            counts.note(host.parse().unwrap(), &config, Time::from_secs(1));
        }
        let mut refused = |address: &str| {
            counts
                .refused_for(address.parse().unwrap(), &config, Time::from_secs(2))
                .is_some()
        };
        assert!(refused("2001:db8::3"));
        assert!(!refused("2001:db8:0:1::3"));
    }
}
