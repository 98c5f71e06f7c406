//! What was refused, minute by minute.

use maud::{Markup, html};

use super::time::moment;
use crate::fingerprints::refusals::{Refusals, RefusalsOf, Refused};

/// Width of a minute and height of the highest one in the drawing.
const WIDTH: u64 = 4;
const HEIGHT: u64 = 32;

pub(super) fn section(refusals: &Refusals) -> Markup {
    let highest = refusals.kinds.iter().flat_map(|of| &of.per_minute).max();
    let highest = highest.copied().unwrap_or_default().max(1);
    html! {
        section #refusals aria-labelledby="refusals-title" tabindex="-1" {
            h2 #refusals-title { "Refusals per minute" }
            p.note {
                "Requests that came as far as fingerprint_deny, by the status of their answer, whichever filter or upstream gave it, since "
                (moment(refusals.from_ms)) ". Estimated: each sample counts for as many requests as its gateway samples one of. "
                "The tarpit answers 200 and is not in here."
            }
            div.scroll role="group" aria-label="Refusals per minute" tabindex="0" {
                table {
                    thead { tr {
                        th scope="col" { "Kind" } th scope="col" { "Status" }
                        th.number scope="col" { "Last minute" } th.number scope="col" { "15 minutes, mean" }
                        th.number scope="col" { "Hour, sum" } th scope="col" { "Last hour" }
                    } }
                    tbody { @for of in &refusals.kinds {
                        tr data-kind=(name(of.kind)) {
                            th scope="row" { (name(of.kind)) }
                            td { (of.statuses) }
                            td.number { (of.last(1)) }
                            td.number { (mean(of.last(15), 15)) }
                            td.number { (of.last(60).saturating_add(of.this_minute)) }
                            td { (bars(of, highest)) }
                        }
                    } }
                }
            }
        }
    }
}

/// With one digit after the point.
fn mean(sum: u64, of: u64) -> String {
    let tenths = sum.saturating_mul(10).checked_div(of).unwrap_or_default();
    let part = |by: u64| tenths.checked_div(by).unwrap_or_default();
    format!(
        "{}.{}",
        part(10),
        tenths.checked_rem(10).unwrap_or_default()
    )
}

/// One bar a minute, the oldest to the left; all kinds on one scale.
fn bars(of: &RefusalsOf, highest: u64) -> Markup {
    let most = of.per_minute.iter().max().copied().unwrap_or_default();
    let label = format!("{} a minute at most, in the last hour", most);
    let bar = |(at, count): (u64, u64)| {
        let scaled = count.saturating_mul(HEIGHT).div_ceil(highest).min(HEIGHT);
        (
            at.saturating_mul(WIDTH),
            HEIGHT.saturating_sub(scaled),
            scaled,
        )
    };
    let bars = (0..).zip(of.per_minute.iter().copied()).map(bar);
    html! {
        svg.bars role="img" aria-label=(label) viewBox={ "0 0 " (WIDTH.saturating_mul(60)) " " (HEIGHT) }
            width=(WIDTH.saturating_mul(60)) height=(HEIGHT) {
            @for (x, y, height) in bars {
                @if height > 0 { rect x=(x) y=(y) width=(WIDTH.saturating_sub(1)) height=(height) {} }
            }
        }
    }
}

const fn name(kind: Refused) -> &'static str {
    match kind {
        Refused::Unauthenticated => "Not authenticated",
        Refused::Denied => "Denied",
        Refused::Limited => "Over a limit",
        Refused::Invalid => "Bad request",
        Refused::Failed => "Failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprints::refusals::Minutes;

    #[test]
    fn bars_and_numbers_are_those_of_the_minutes() {
        let mut minutes = Minutes::new(0);
        for minute in 0..60 {
            minutes.add(minute * 60_000, 403, u32::try_from(minute).unwrap());
        }
        let shown = section(&minutes.show(60 * 60_000)).into_string();
        assert!(shown.contains(r#"<td class="number">59</td><td class="number">52.0</td><td class="number">1770</td>"#), "{shown}");
        assert!(shown.contains("59 a minute at most"), "{shown}");
        assert_eq!(shown.matches("<rect").count(), 59);
        assert!(
            shown.contains(r#"<rect x="236" y="0" width="3" height="32">"#),
            "{shown}"
        );
        assert_eq!(mean(1, 15), "0.0");
        assert_eq!(mean(29, 15), "1.9");
    }
}
