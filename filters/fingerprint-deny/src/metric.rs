//! What the filter counts beside allowed and denied requests.

use std::borrow::Cow;

use policy::{Kind as Move, Metric};
use watchlist::Unusable;
use wire::lists::Kind;

/// All with the prefix `portcullis_fingerprint_deny_`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DenyMetric {
    /// Requests that an entry or a rule objected to (D9), and whether the rule is in shadow mode.
    Matches { reason: Reason, shadow: bool },
    /// Entries that this worker holds.
    ListEntries,
    /// The version of the list that serves.
    ListVersion,
    /// Seconds since the list was last known to be the newest.
    ListAge,
    /// Questions for the list that were answered, by what the answer did.
    ListPolls { result: &'static str },
    /// Questions for the list that nobody answered.
    ListFailures { reason: &'static str },
    /// Pages that could not be used; the list stayed as it was.
    BadPages { reason: &'static str },
    /// Entries for which there was no room.
    ListIgnored,
    /// Sampled requests, by what became of the sample: `taken`, `sent`, `dropped` for want of room, `lost` with a call
    /// that failed.
    Samples { result: &'static str },
}

/// What was objected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The client is on the deny list.
    Listed(Kind),
    /// Its country is not admitted.
    Country,
    /// Its autonomous system is not admitted.
    Asn,
    /// Its address is in no network of the allow-list.
    Network,
    /// Its user agent.
    UserAgent,
}

impl Reason {
    /// The label `match`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Listed(kind) => kind.as_str(),
            Self::Country => "country",
            Self::Asn => "asn",
            Self::Network => "network",
            Self::UserAgent => "user_agent",
        }
    }
}

impl DenyMetric {
    pub(crate) fn all() -> Vec<Self> {
        let mut all = vec![
            Self::ListEntries,
            Self::ListVersion,
            Self::ListAge,
            Self::ListIgnored,
        ];
        let rules = [
            Reason::Country,
            Reason::Asn,
            Reason::Network,
            Reason::UserAgent,
        ];
        for reason in Kind::CLIENTS.map(Reason::Listed).into_iter().chain(rules) {
            all.extend([true, false].map(|shadow| Self::Matches { reason, shadow }));
        }
        all.extend(["unchanged", "changed"].map(|result| Self::ListPolls { result }));
        all.extend(Unusable::SILENT.map(|reason| Self::ListFailures { reason }));
        all.extend(Unusable::BAD_PAGE.map(|reason| Self::BadPages { reason }));
        all.extend(["taken", "sent", "dropped", "lost"].map(|result| Self::Samples { result }));
        all
    }
}

impl Metric for DenyMetric {
    fn kind(&self) -> Move {
        match self {
            Self::ListEntries | Self::ListVersion | Self::ListAge => Move::Gauge,
            _ => Move::Counter,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Matches { .. } => "portcullis_fingerprint_deny_matches",
            Self::ListEntries => "portcullis_fingerprint_deny_list_entries",
            Self::ListVersion => "portcullis_fingerprint_deny_list_version",
            Self::ListAge => "portcullis_fingerprint_deny_list_age_seconds",
            Self::ListPolls { .. } => "portcullis_fingerprint_deny_list_polls",
            Self::ListFailures { .. } => "portcullis_fingerprint_deny_list_failures",
            Self::BadPages { .. } => "portcullis_fingerprint_deny_list_bad_pages",
            Self::ListIgnored => "portcullis_fingerprint_deny_list_ignored",
            Self::Samples { .. } => "portcullis_fingerprint_deny_samples",
        }
    }

    fn labels(&self) -> Vec<(&'static str, Cow<'static, str>)> {
        match self {
            Self::Matches { reason, shadow } => vec![
                ("match", reason.as_str().into()),
                ("mode", if *shadow { "shadow" } else { "deny" }.into()),
            ],
            Self::ListPolls { result } | Self::Samples { result } => {
                vec![("result", (*result).into())]
            }
            Self::ListFailures { reason } | Self::BadPages { reason } => {
                vec![("reason", (*reason).into())]
            }
            Self::ListEntries | Self::ListVersion | Self::ListAge | Self::ListIgnored => Vec::new(),
        }
    }
}
