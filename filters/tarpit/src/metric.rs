//! What the filter counts beside allowed and denied requests.

use std::borrow::Cow;

use policy::{CalloutError, Metric};
use watchlist::Unusable;
use wire::lists;

/// `kong_tarpit_active_connections` (T3), and others with the prefix `portcullis_tarpit_`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TarpitMetric {
    /// Requests that are held right now, in all workers.
    Active,
    /// Requests that were held, by the kind of their entry.
    Held { kind: lists::Kind },
    /// Requests refused because as many were held as may be (T4), by the kind of their entry.
    Refused { kind: lists::Kind },
    /// Requests refused because the gateway could not hold them, or not as long as they should.
    Unheld { reason: &'static str },
    /// Clients that hung up before their answer.
    HungUp,
    /// Questions for the list that ended: `ok`, or why not.
    ListPolls { result: &'static str },
    /// Entries of the list in this worker.
    ListEntries,
}

impl TarpitMetric {
    pub(crate) fn all() -> Vec<Self> {
        let mut all = vec![Self::Active, Self::HungUp, Self::ListEntries];
        for kind in lists::Kind::CLIENTS {
            all.extend([Self::Held { kind }, Self::Refused { kind }]);
        }
        all.extend(CalloutError::ALL.map(|error| Self::Unheld {
            reason: error.as_str(),
        }));
        let ends = ["ok"].into_iter();
        for result in ends.chain(Unusable::SILENT).chain(Unusable::BAD_PAGE) {
            all.push(Self::ListPolls { result });
        }
        all
    }
}

impl Metric for TarpitMetric {
    const SUMS: bool = true;

    fn kind(&self) -> policy::Kind {
        match self {
            Self::Active => policy::Kind::Sum,
            Self::ListEntries => policy::Kind::Gauge,
            _ => policy::Kind::Counter,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Active => "kong_tarpit_active_connections",
            Self::Held { .. } => "portcullis_tarpit_held",
            Self::Refused { .. } => "portcullis_tarpit_refused",
            Self::Unheld { .. } => "portcullis_tarpit_unheld",
            Self::HungUp => "portcullis_tarpit_hung_up",
            Self::ListPolls { .. } => "portcullis_tarpit_list_polls",
            Self::ListEntries => "portcullis_tarpit_list_entries",
        }
    }

    fn labels(&self) -> Vec<(&'static str, Cow<'static, str>)> {
        match self {
            Self::Held { kind } | Self::Refused { kind } => vec![("match", kind.as_str().into())],
            Self::Unheld { reason } => vec![("reason", (*reason).into())],
            Self::ListPolls { result } => vec![("result", (*result).into())],
            Self::Active | Self::HungUp | Self::ListEntries => Vec::new(),
        }
    }
}
