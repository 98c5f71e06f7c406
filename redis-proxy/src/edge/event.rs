//! Events as NATS gets them (C2): CloudEvents 1.0, structured mode, JSON.
//!
//! | list | what happened | type |
//! |---|---|---|
//! | deny | added | `edge.deny.added.v1` |
//! | deny | removed, or its time was over | `edge.deny.removed.v1` |
//! | tarpit | added | `edge.tarpit.added.v1` |
//! | tarpit | removed, or its time was over | `edge.tarpit.removed.v1` |
//! | revoked | added or renewed | `edge.apikey.revoked.v1` |
//!
//! And of gateways whose upstream did not prove who it is (K036): `kong.mtls.upstream.failed.v1`.
//!
//! `data.cause` tells a removal (`removed`) from an end (`expired`). `data.version` orders the events of a
//! list; an event may come twice, with the same `id`.

use serde::Serialize;
use wire::{
    lists::{Kind, ListName},
    upstream_failures::{FailureReason, UpstreamFailure},
};

use super::store::{Action, Change, Note};

/// Media type of an event.
pub const MEDIA_TYPE: &str = "application/cloudevents+json";
/// Who says it.
pub const SOURCE: &str = "/portcullis/redis-proxy";

/// An event.
#[derive(Debug, Serialize)]
pub struct Event<'a> {
    specversion: &'static str,
    id: &'a str,
    source: &'static str,
    /// Also the NATS subject, after the prefix.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The id of the entry.
    subject: &'a str,
    /// When the list changed, on the store's clock.
    time: String,
    datacontenttype: &'static str,
    data: Data<'a>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    list: ListName,
    version: u64,
    cause: Action,
    /// Who changed the list; empty when it was time.
    by: &'a str,
    id: &'a str,
    kind: Kind,
    value: String,
    created_ms: u64,
    expires_ms: u64,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ticket_url: Option<&'a str>,
    /// Who added the entry.
    who: &'a str,
    /// Why it was removed, if whoever did it said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a Note>,
}

/// The type of the event of a change; `None`: nobody is told.
#[must_use]
pub const fn kind(list: ListName, action: Action) -> Option<&'static str> {
    Some(match (list, action) {
        (ListName::Deny, Action::Added | Action::Renewed) => "edge.deny.added.v1",
        (ListName::Deny, Action::Removed | Action::Expired) => "edge.deny.removed.v1",
        (ListName::Tarpit, Action::Added | Action::Renewed) => "edge.tarpit.added.v1",
        (ListName::Tarpit, Action::Removed | Action::Expired) => "edge.tarpit.removed.v1",
        (ListName::Revoked, Action::Added | Action::Renewed) => "edge.apikey.revoked.v1",
        (ListName::Revoked, Action::Removed | Action::Expired) => return None,
    })
}

/// All types.
pub const KINDS: [&str; 5] = [
    "edge.deny.added.v1",
    "edge.deny.removed.v1",
    "edge.tarpit.added.v1",
    "edge.tarpit.removed.v1",
    "edge.apikey.revoked.v1",
];

/// The type of [`UpstreamFailed`].
pub const UPSTREAM_FAILED: &str = "kong.mtls.upstream.failed.v1";

/// Upstreams that did not prove who they are, as a worker of a gateway saw it.
#[derive(Debug, Serialize)]
pub struct UpstreamFailed<'a> {
    specversion: &'static str,
    id: &'a str,
    source: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    /// The gateway's name of the upstream, or of the route.
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    /// When the last of the requests failed, on the gateway's clock.
    time: String,
    datacontenttype: &'static str,
    data: Failed<'a>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Failed<'a> {
    reason: FailureReason,
    /// Requests that failed.
    count: u64,
    first_ms: u64,
    last_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<&'a str>,
    expected: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    presented: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

impl<'a> UpstreamFailed<'a> {
    /// The event of a failure.
    #[must_use]
    pub fn new(failure: &'a UpstreamFailure) -> Self {
        let (route, service) = (failure.route.as_deref(), failure.service.as_deref());
        Self {
            specversion: "1.0",
            id: &failure.id,
            source: SOURCE,
            kind: UPSTREAM_FAILED,
            subject: service.or(route),
            time: rfc3339(failure.last_ms),
            datacontenttype: "application/json",
            data: Failed {
                reason: failure.reason,
                count: failure.count,
                first_ms: failure.first_ms,
                last_ms: failure.last_ms,
                route,
                service,
                expected: &failure.expected,
                presented: failure.presented.as_deref(),
                detail: failure.detail.as_deref(),
            },
        }
    }
}

impl<'a> Event<'a> {
    /// The event of a change, and its type; `None`: nobody is told.
    #[must_use]
    pub fn new(change: &'a Change) -> Option<(&'static str, Self)> {
        let entry = &change.entry;
        let kind = kind(entry.list, change.action)?;
        let event = Self {
            specversion: "1.0",
            id: &change.id,
            source: SOURCE,
            kind,
            subject: entry.id.as_str(),
            time: rfc3339(change.at_ms),
            datacontenttype: "application/json",
            data: Data {
                list: entry.list,
                version: change.version,
                cause: change.action,
                by: &change.by,
                id: entry.id.as_str(),
                kind: entry.member.kind(),
                value: entry.member.to_string(),
                created_ms: entry.created_ms,
                expires_ms: entry.expires_ms,
                reason: &entry.reason,
                ticket_url: entry.ticket_url.as_deref(),
                who: &entry.who,
                note: change.note.as_ref(),
            },
        };
        Some((kind, event))
    }
}

/// Milliseconds since 1970 as `2026-11-21T14:09:04.123Z`.
#[must_use]
pub fn rfc3339(ms: u64) -> String {
    let part = |n: u64, by: u64, of: u64| {
        let whole = n.checked_div(by).unwrap_or_default();
        whole.checked_rem(of).unwrap_or_default()
    };
    let days = ms.checked_div(86_400_000).unwrap_or_default();
    let (year, month, day) = civil(days);
    let (hour, minute) = (part(ms, 3_600_000, 24), part(ms, 60_000, 60));
    let (second, milli) = (part(ms, 1_000, 60), part(ms, 1, 1_000));
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// The date so many days after 1970-01-01. Years begin in March here, so that the leap day is the last one
/// (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn civil(days: u64) -> (u64, u64, u64) {
    let civil = || {
        let z = days.checked_add(719_468)?;
        let (era, of_era) = (z.checked_div(146_097)?, z.checked_rem(146_097)?);
        let leaps = of_era
            .checked_sub(of_era.checked_div(1_460)?)?
            .checked_add(of_era.checked_div(36_524)?)?
            .checked_sub(of_era.checked_div(146_096)?)?;
        let year_of_era = leaps.checked_div(365)?;
        let before = year_of_era
            .checked_mul(365)?
            .checked_add(year_of_era.checked_div(4)?)?
            .checked_sub(year_of_era.checked_div(100)?)?;
        let of_year = of_era.checked_sub(before)?;
        let from_march = of_year.checked_mul(5)?.checked_add(2)?.checked_div(153)?;
        let first = from_march
            .checked_mul(153)?
            .checked_add(2)?
            .checked_div(5)?;
        let day = of_year.checked_sub(first)?.checked_add(1)?;
        let month = if from_march < 10 {
            from_march.checked_add(3)?
        } else {
            from_march.checked_sub(9)?
        };
        let year = era.checked_mul(400)?.checked_add(year_of_era)?;
        Some((year.checked_add(u64::from(month <= 2))?, month, day))
    };
    civil().unwrap_or((1970, 1, 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::entry::Entry;
    use serde_json::json;
    use wire::lists::Member;

    #[test]
    fn times_are_written_as_the_standard_says() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_790_000_000_123, "2026-09-21T14:13:20.123Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(ms), text);
        }
    }

    #[test]
    fn an_event_reads_as_documented() {
        let change = Change {
            id: "c1".into(),
            version: 7,
            at_ms: 1_790_000_000_123,
            action: Action::Expired,
            by: String::new(),
            note: None,
            entry: Entry {
                id: "e1".parse().unwrap(),
                list: ListName::Deny,
                member: Member::parse(Kind::Ip, "192.0.2.1").unwrap(),
                created_ms: 1,
                expires_ms: 2,
                reason: "scans".into(),
                ticket_url: None,
                who: "spiffe://example/soc".into(),
                version: 3,
            },
        };
        let (kind, event) = Event::new(&change).unwrap();
        assert_eq!(kind, "edge.deny.removed.v1");
        let expected = json!({
            "specversion": "1.0", "id": "c1", "source": "/portcullis/redis-proxy",
            "type": "edge.deny.removed.v1", "subject": "e1", "time": "2026-09-21T14:13:20.123Z",
            "datacontenttype": "application/json",
            "data": {"list": "deny", "version": 7, "cause": "expired", "by": "", "id": "e1",
                     "kind": "ip", "value": "192.0.2.1", "createdMs": 1, "expiresMs": 2,
                     "reason": "scans", "who": "spiffe://example/soc"}});
        assert_eq!(serde_json::to_value(event).unwrap(), expected);
    }

    #[test]
    fn each_change_of_deny_and_tarpit_is_told_and_each_revocation() {
        let actions = [
            Action::Added,
            Action::Renewed,
            Action::Removed,
            Action::Expired,
        ];
        for list in crate::edge::LISTS {
            for action in actions {
                let told = kind(list, action);
                assert!(told.is_none_or(|kind| KINDS.contains(&kind)));
                let over = matches!(action, Action::Removed | Action::Expired);
                assert_eq!(told.is_none(), list == ListName::Revoked && over);
            }
        }
    }
}
