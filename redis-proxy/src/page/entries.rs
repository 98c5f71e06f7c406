//! The lists: what is on them, and how it is put on and taken off.

use maud::{Markup, html};
use wire::lists::{Kind, ListName};

use super::{
    Suggested,
    layout::failed,
    search::{Found, KINDS, MAX_TEXT_BYTES, Wanted},
    time::{left, moment},
};
use crate::edge::{
    Edge, EdgeFailure, Entry,
    body::{MAX_REASON_BYTES, MAX_TTL_S, MAX_URL_BYTES},
};

const LISTS: [(ListName, &str); 2] = [(ListName::Deny, "Deny"), (ListName::Tarpit, "Tarpit")];

/// The form for a new entry. `page.js` shows it and sends it to the control API.
pub(super) fn form(wanted: &Wanted, suggested: &Suggested) -> Markup {
    let suggests = suggested.kind.is_some();
    html! {
        p.note #no-script { "Without JavaScript this page only shows. The "
                a href="/openapi.json" { "control API" } " changes the lists."
        }
        section #add aria-labelledby="add-title" hidden {
            details open[suggests] {
                summary { h2 #add-title { "Add an entry" } }
                form #add-form novalidate autocomplete="off" {
                    p.failed #add-failed role="alert" {}
                    div.fields {
                        div.field {
                            label for="add-list" { "List" }
                            select #add-list name="list" {
                                @for (list, name) in LISTS {
                                    option value=(list) selected[list == wanted.list] { (name) }
                                }
                            }
                        }
                        div.field {
                            label for="add-kind" { "Kind" }
                            select #add-kind name="kind" aria-describedby="add-kind-error" {
                                @for kind in KINDS {
                                    option value=(kind) selected[suggested.kind == Some(kind)] { (name(kind)) }
                                }
                            }
                            p.error #add-kind-error {}
                        }
                        div.field.wide {
                            label for="add-value" { "Value" }
                            input #add-value name="value" type="text" required maxlength="64" spellcheck="false"
                                value=(suggested.value) aria-describedby="add-value-error";
                            p.error #add-value-error {}
                        }
                        div.field {
                            label for="add-ttl" { "For" }
                            span.pair {
                                input #add-ttl name="ttlSeconds" type="number" min="1" max=(MAX_TTL_S) step="1"
                                    value="1" required aria-describedby="add-ttlSeconds-error";
                                select #add-unit name="unit" aria-label="Unit of time" {
                                    option value="60" { "minutes" }
                                    option value="3600" selected { "hours" }
                                    option value="86400" { "days" }
                                }
                            }
                            p.error #add-ttlSeconds-error {}
                        }
                        div.field.wide {
                            label for="add-reason" { "Reason" }
                            input #add-reason name="reason" type="text" required maxlength=(MAX_REASON_BYTES)
                                aria-describedby="add-reason-error";
                            p.error #add-reason-error {}
                        }
                        div.field.wide {
                            label for="add-ticket" { "Ticket, a URL " span.optional { "(optional)" } }
                            input #add-ticket name="ticketUrl" type="url" maxlength=(MAX_URL_BYTES)
                                aria-describedby="add-ticketUrl-error";
                            p.error #add-ticketUrl-error {}
                        }
                    }
                    button type="submit" { "Add to the list" }
                }
            }
        }
        dialog #remove aria-labelledby="remove-title" {
            form #remove-form novalidate {
                h2 #remove-title { "Remove the entry?" }
                p { "Within two seconds every gateway lets it in again: " strong #remove-what {} }
                p.failed #remove-failed role="alert" {}
                div.field {
                    label for="remove-reason" { "Reason " span.optional { "(optional)" } }
                    input #remove-reason name="reason" type="text" maxlength=(MAX_REASON_BYTES) autocomplete="off"
                        aria-describedby="remove-reason-error";
                    p.error #remove-reason-error {}
                }
                div.field {
                    label for="remove-ticket" { "Ticket, a URL " span.optional { "(optional)" } }
                    input #remove-ticket name="ticketUrl" type="url" maxlength=(MAX_URL_BYTES) autocomplete="off"
                        aria-describedby="remove-ticketUrl-error";
                    p.error #remove-ticketUrl-error {}
                }
                div.buttons {
                    button type="button" #remove-no { "Keep it" }
                    button.danger type="submit" { "Remove it" }
                }
            }
        }
    }
}

/// A list, as far as it is wanted.
pub(super) fn section(
    wanted: &Wanted,
    found: &Result<Found, EdgeFailure>,
    edge: &Edge,
    now_ms: u64,
) -> Markup {
    html! {
        section #lists aria-labelledby="lists-title" tabindex="-1" {
            h2 #lists-title { "Lists" }
            nav.tabs aria-label="Lists" {
                @for (list, name) in LISTS {
                    a href={ (super::PATH) "?list=" (list) "#lists" } aria-current=[(list == wanted.list).then_some("page")] {
                        (name) " "
                        span.count { (edge.size(list).map_or("?".to_owned(), |size| size.to_string())) }
                    }
                }
            }
            form.filter role="search" aria-label="Entries" action=(super::PATH) method="get" {
                input type="hidden" name="list" value=(wanted.list);
                div.field {
                    label for="find-text" { "Find" }
                    input #find-text name="q" type="search" value=(wanted.text) maxlength=(MAX_TEXT_BYTES)
                        placeholder="value, address, reason, ticket, name";
                }
                div.field {
                    label for="find-kind" { "Of kind" }
                    select #find-kind name="kind" {
                        option value="" { "any" }
                        @for kind in KINDS {
                            option value=(kind) selected[wanted.kind == Some(kind)] { (name(kind)) }
                        }
                    }
                }
                button type="submit" { "Find" }
                @if wanted.picks() || wanted.after > 0 {
                    a href={ (super::PATH) "?list=" (wanted.list) "#lists" } { "Show all" }
                }
            }
            @match found {
                Ok(found) => (table(wanted, found, now_ms)),
                Err(failure) => (failed("The list could not be read", failure)),
            }
        }
    }
}

fn table(wanted: &Wanted, found: &Found, now_ms: u64) -> Markup {
    html! {
        @if found.entries.is_empty() {
            p.none {
                @if wanted.picks() { "None found" } @else if wanted.after > 0 { "No more entries" } @else { "The list is empty" }
                @if found.looked_at > 0 { " among " (found.looked_at) " entries" }
                "."
            }
        } @else {
            div.scroll role="group" aria-label="Entries" tabindex="0" {
                table {
                    thead { tr {
                        th scope="col" { "Kind" } th scope="col" { "Value" } th scope="col" { "Time left" }
                        th scope="col" { "Reason" } th scope="col" { "Ticket" } th scope="col" { "Added" }
                        th scope="col" { span.unseen { "Remove" } }
                    } }
                    tbody { @for entry in &found.entries { (row(entry, now_ms)) } }
                }
            }
        }
        @if let Some(next) = found.next {
            p.more {
                a rel="next" href={ (wanted.link(next)) "#lists" } {
                    @if wanted.picks() { "Search on, after " (found.looked_at) " entries" } @else { "Next entries" }
                }
                @if wanted.after > 0 { " · " a href={ (wanted.link(0)) "#lists" } { "From the beginning" } }
            }
        }
    }
}

fn row(entry: &Entry, now_ms: u64) -> Markup {
    let value = entry.member.to_string();
    html! {
        tr {
            td { (name(entry.member.kind())) }
            td.value { code { (value) } }
            td.left { span data-until=(entry.expires_ms) { (left(entry.left_ms(now_ms))) } }
            td.reason { (entry.reason) }
            td { (ticket(entry.ticket_url.as_deref())) }
            td.by { (entry.who) br; (moment(entry.created_ms)) }
            td {
                button.remove type="button" hidden data-list=(entry.list) data-id=(entry.id) data-value=(value)
                    aria-label={ "Remove " (value) " from " (entry.list) } { "Remove" }
            }
        }
    }
}

/// A link, if it is one that a browser may be sent to.
pub(super) fn ticket(url: Option<&str>) -> Markup {
    let plain = |url: &&str| url.starts_with("https://") || url.starts_with("http://");
    let last = |url: &str| {
        let end = url
            .trim_end_matches('/')
            .rsplit('/')
            .next()
            .unwrap_or_default();
        end.chars().take(24).collect::<String>()
    };
    html! {
        @match url {
            Some(url) if plain(&url) => a href=(url) rel="noopener noreferrer" target="_blank" {
                span.unseen { "Ticket " } (last(url))
            },
            Some(url) => (url),
            None => "–",
        }
    }
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Ip => "Address",
        Kind::Cidr => "Network",
        Kind::Ja3 => "JA3",
        Kind::Ja4 => "JA4",
        Kind::ApiKey => "API key",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::lists::Member;

    #[test]
    fn what_attackers_say_is_text() {
        let hostile = r#""><script>alert(1)</script><img src=x onerror='alert(2)'>&amp;"#;
        let entry = Entry {
            id: "e1".parse().unwrap(),
            list: ListName::Deny,
            member: Member::parse(Kind::Ip, "192.0.2.1").unwrap(),
            created_ms: 1,
            expires_ms: 2,
            reason: hostile.into(),
            ticket_url: Some(format!("https://tickets.example/{hostile}")),
            who: hostile.into(),
            version: 1,
        };
        let shown = row(&entry, 0).into_string();
        for bad in ["<script", "<img", "\"\"><"] {
            assert!(!shown.contains(bad), "{shown}");
        }
        assert_eq!(
            shown.matches("&lt;script&gt;alert(1)").count(),
            3,
            "{shown}"
        );
        for bad in ["javascript:alert(1)", "data:text/html,x", "//evil.example/"] {
            let shown = ticket(Some(bad)).into_string();
            assert!(!shown.contains("href"), "{shown}");
        }
        let wanted = Wanted {
            text: hostile.into(),
            ..Wanted::default()
        };
        let shown = table(
            &wanted,
            &Found {
                next: Some(1),
                ..Found::default()
            },
            0,
        )
        .into_string();
        assert!(
            !shown.contains("<script") && !shown.contains("\"\"><"),
            "{shown}"
        );
    }
}
