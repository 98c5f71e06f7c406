//! What is around the sections.

use maud::{DOCTYPE, Markup, html};

use crate::http::problem::Problem;

/// What the page is made of.
pub(super) struct Parts<'a> {
    pub who: &'a str,
    pub now_ms: u64,
    /// Why what was asked for is not shown.
    pub refused: Option<&'a Problem>,
    pub add: Markup,
    pub entries: Markup,
    pub refusals: Markup,
    pub top: Markup,
    pub changes: Markup,
}

pub(super) fn body(parts: &Parts<'_>) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "Security · Portcullis" }
                link rel="icon" href="/security/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/security/page.css";
                script src="/security/page.js" defer {}
            }
            body data-now=(parts.now_ms) {
                a.skip href="#lists" { "Skip to the lists" }
                header {
                    h1 { "Portcullis " span { "Security" } }
                    nav aria-label="Sections" {
                        a href="#lists" { "Lists" }
                        a href="#refusals" { "Refusals" }
                        a href="#top" { "Who comes by" }
                        a href="#changes" { "Changes" }
                    }
                    p.who { "You are " strong { (parts.who) } }
                }
                main {
                    p #told role="status" tabindex="-1" {}
                    @if let Some(problem) = parts.refused {
                        p.failed role="alert" { (problem.told().detail) }
                    }
                    (parts.add)
                    (parts.entries)
                    (parts.refusals)
                    (parts.top)
                    (parts.changes)
                }
                footer {
                    p { "As of " (super::time::moment(parts.now_ms)) ". "
                        a href="" { "Refresh" } " · " a href="/openapi.json" { "API" } }
                }
            }
        }
    }
}

/// In place of what could not be had.
pub(super) fn failed(what: &str, why: &dyn std::fmt::Display) -> Markup {
    html! { p.failed role="alert" { (what) ": " (why) "." } }
}
