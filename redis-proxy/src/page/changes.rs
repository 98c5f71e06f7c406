//! Who changed what, lately.

use maud::{Markup, html};
use wire::lists::ListName;

use super::{entries::ticket, layout::failed, time::moment};
use crate::edge::{Action, Change, Edge, EdgeFailure};

const ROWS: usize = 20;

/// The newest changes of both lists, newest first.
pub(super) async fn newest(edge: &Edge) -> Result<Vec<Change>, EdgeFailure> {
    let mut changes = edge.audit(ListName::Deny, u64::MAX, ROWS).await?.changes;
    changes.extend(edge.audit(ListName::Tarpit, u64::MAX, ROWS).await?.changes);
    changes.sort_by_key(|change| std::cmp::Reverse(change.at_ms));
    changes.truncate(ROWS);
    Ok(changes)
}

pub(super) fn section(changes: &Result<Vec<Change>, EdgeFailure>) -> Markup {
    html! {
        section #changes aria-labelledby="changes-title" tabindex="-1" {
            h2 #changes-title { "Latest changes" }
            @match changes {
                Err(failure) => (failed("The changes could not be read", failure)),
                Ok(changes) if changes.is_empty() => p.none { "Nothing has changed." },
                Ok(changes) => (table(changes)),
            }
        }
    }
}

fn table(changes: &[Change]) -> Markup {
    html! {
        div.scroll role="group" aria-label="Latest changes" tabindex="0" {
            table {
                thead { tr {
                    th scope="col" { "When" } th scope="col" { "Who" } th scope="col" { "What" }
                    th scope="col" { "Value" } th scope="col" { "Why" } th scope="col" { "Ticket" }
                } }
                tbody { @for change in changes { (row(change)) } }
            }
        }
    }
}

fn row(change: &Change) -> Markup {
    let entry = &change.entry;
    let removed = change.action == Action::Removed;
    let (reason, url) = match &change.note {
        Some(note) => (note.reason.as_str(), note.ticket_url.as_deref()),
        None if removed => ("", None),
        None => (entry.reason.as_str(), entry.ticket_url.as_deref()),
    };
    html! {
        tr {
            td { (moment(change.at_ms)) }
            td.by { @if change.by.is_empty() { "–" } @else { (change.by) } }
            td { (entry.list) ": " (change.action.as_str()) }
            td.value { code { (entry.member) } }
            td.reason { (reason) }
            td { (ticket(url)) }
        }
    }
}
