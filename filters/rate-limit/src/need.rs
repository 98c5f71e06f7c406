//! Which tokens a request needs.

use std::net::IpAddr;

use policy::client_ip::client_ip;
use policy::{Cx, Fact, Fault};

use crate::RateLimit;
use crate::config::Config;
use crate::dimension::{Source, write_address, write_header, write_value};
use crate::lease::Standing;
use crate::lease_table::Slot;
use crate::rule::{Missing, Rule, RuleLimit};

/// A token of one key, for one limit of one rule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Need {
    pub rule: usize,
    pub limit: usize,
    pub slot: Slot,
    pub standing: Standing,
}

impl Need {
    pub fn of(self, config: &Config) -> Option<(&Rule, &RuleLimit)> {
        let rule = config.rules.get(self.rule)?;
        Some((rule, rule.limits.get(self.limit)?))
    }
}

/// What the headers say beside the needs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gathered {
    /// A limit has nothing to count by and must.
    pub missing: bool,
    /// A limit counts by the body, of which so many bytes are to be read.
    pub body: Option<usize>,
    /// The upstream that is watched.
    pub adaptive: Option<usize>,
}

/// A value of the body, by the index of its space.
pub(crate) type BodyValues = Vec<(u16, Option<String>)>;

/// Bytes ahead of the value in the key of a lease: its space, and the upstream whose factors apply.
const PREFIX: usize = 4;

/// The space and the value of a lease's key.
pub(crate) fn split_key(key: &[u8]) -> Option<(usize, &[u8])> {
    let (prefix, value) = key.split_at_checked(PREFIX)?;
    let space = u16::from_le_bytes(prefix.get(..2)?.try_into().ok()?);
    Some((usize::from(space), value))
}

/// Finds the needs of a request: rules that match, in order; of each dimension with its scope those of
/// the first rule. One look-up in the table each.
pub(crate) fn gather(
    path: &str,
    bodies: Option<&BodyValues>,
    first: bool,
    needs: &mut Vec<Need>,
    cx: &mut Cx<'_, RateLimit>,
) -> Result<Gathered, Fault> {
    let (config, request, host, now) = (cx.config, cx.request, cx.host, cx.now);
    let mut gathered = Gathered::default();
    let mut route: Option<Option<Vec<u8>>> = None;
    let mut address: Option<IpAddr> = None;
    let mut seen = 0_u128;
    for (rule_index, rule) in config.rules.iter().enumerate() {
        let matches = rule.matches.matches(path, request, || {
            route.get_or_insert_with(|| host.fact(Fact::Route)).clone()
        });
        if !matches {
            continue;
        }
        gathered.adaptive = gathered.adaptive.or(rule.adaptive);
        let before = seen;
        for (limit_index, limit) in rule.limits.iter().enumerate() {
            if before & limit.family != 0 {
                continue;
            }
            seen |= limit.family;
            let Some(space) = config.spaces.get(usize::from(limit.space)) else {
                return Err(Fault::Unexpected("a limit without a dimension"));
            };
            let key = &mut cx.keeper.scratch;
            key.clear();
            key.extend_from_slice(&limit.space.to_le_bytes());
            let upstream = rule.adaptive.map_or(0, |index| index.saturating_add(1));
            key.extend_from_slice(&u16::try_from(upstream).unwrap_or(u16::MAX).to_le_bytes());
            let found = match &space.source {
                Source::Global => {
                    key.extend_from_slice(b"all");
                    true
                }
                Source::Ip => {
                    let address = match address {
                        Some(address) => address,
                        None => {
                            let peer = host
                                .peer()
                                .ok_or(Fault::Gateway("the address of the peer"))?;
                            *address.insert(client_ip(peer, request, &config.trusted_proxies))
                        }
                    };
                    write_address(address, config.ipv6_prefix, key);
                    true
                }
                Source::Route => route
                    .get_or_insert_with(|| host.fact(Fact::Route))
                    .as_ref()
                    .is_some_and(|name| write_value(name, key)),
                Source::Header(name) => write_header(request, name, key),
                Source::Body { max_bytes, .. } => match bodies {
                    None => {
                        gathered.body = gathered.body.max(Some(*max_bytes));
                        continue;
                    }
                    Some(values) => values
                        .iter()
                        .find(|(space, _)| *space == limit.space)
                        .and_then(|(_, value)| value.as_ref())
                        .is_some_and(|value| write_value(value.as_bytes(), key)),
                },
            };
            if !found {
                gathered.missing |= limit.if_missing == Missing::Deny && !rule.shadow;
                continue;
            }
            let keeper = &mut *cx.keeper;
            let allowed = keeper.limit_of(rule, limit, request, config);
            let slot = keeper.leases.touch(&keeper.scratch, allowed, now);
            if first && let Some(lease) = keeper.leases.get_mut(slot) {
                lease.arrive(now);
            }
            needs.push(Need {
                rule: rule_index,
                limit: limit_index,
                slot,
                standing: Standing::Short,
            });
        }
    }
    Ok(gathered)
}

/// Every value of the body that any limit counts by.
pub(crate) fn read_body(body: &[u8], config: &Config) -> BodyValues {
    (0_u16..)
        .zip(&config.spaces)
        .filter_map(|(index, space)| match &space.source {
            Source::Body { pointer, max_bytes } => {
                let read = body.get(..*max_bytes).unwrap_or(body);
                Some((index, crate::body::value(read, pointer)))
            }
            _ => None,
        })
        .collect()
}
