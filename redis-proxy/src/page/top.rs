//! Who comes by most.

use std::sync::Arc;

use maud::{Markup, html};
use tokio::task::spawn_blocking;

use super::time::moment;
use crate::fingerprints::{Counter, Counts, Fingerprints, Top, TopOf};

const HOUR_MS: u64 = 3_600_000;
const ROWS: usize = 10;

/// The heaviest of the last hour; `None`: they could not be merged.
pub(super) async fn last_hour(fingerprints: &Arc<Fingerprints>, now_ms: u64) -> Option<Top> {
    let fingerprints = Arc::clone(fingerprints);
    // Many buckets are merged: that may take longer than a worker should be held.
    let merged = spawn_blocking(move || fingerprints.top(now_ms, HOUR_MS, ROWS, None));
    merged.await.ok()
}

pub(super) fn section(top: &Option<Top>, now_ms: u64) -> Markup {
    html! {
        section #top aria-labelledby="top-title" tabindex="-1" {
            h2 #top-title { "Who comes by most" }
            @if let Some(top) = top {
                p.note {
                    (top.samples) " samples, about " (top.requests) " requests, since " (moment(top.from_ms.min(now_ms)))
                    @if top.dropped > 0 { "; gateways had no room for " (top.dropped) " more samples" }
                    "."
                }
                div.columns { @for of in &top.kinds { (column(of)) } }
            } @else {
                p.failed role="alert" { "The counts could not be merged." }
            }
        }
    }
}

fn column(of: &TopOf) -> Markup {
    let (name, kind) = match of.kind {
        Counts::Ja3 => ("JA3", "ja3"),
        Counts::Ja4 => ("JA4", "ja4"),
        Counts::Ip => ("Address", "ip"),
    };
    html! {
        div.scroll role="group" aria-label={ "Top " (name) } tabindex="0" {
            table {
                thead { tr { th scope="col" { (name) } th.number scope="col" { "Requests" } th scope="col" { span.unseen { "Add" } } } }
                tbody {
                    @for counter in &of.top { (row(counter, kind)) }
                    @if of.top.is_empty() { tr { td colspan="3" { "None was seen." } } }
                }
            }
        }
    }
}

fn row(counter: &Counter, kind: &str) -> Markup {
    let mut link = super::query();
    link.append_pair("add-kind", kind);
    link.append_pair("add-value", &counter.value);
    html! {
        tr {
            td.value { code { (counter.value) } }
            td.number {
                (counter.requests)
                @if counter.error > 0 { span.off { " −" (counter.error) } }
            }
            td { a.add hidden href={ (link.finish()) "#add" } aria-label={ "Add " (counter.value) " to a list" } { "Add…" } }
        }
    }
}
