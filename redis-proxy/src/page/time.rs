//! Moments and spans of time, for people.

use maud::{Markup, html};

use crate::edge::event::rfc3339;

/// `2026-09-21 14:13:20 UTC`, with the whole of it for programs.
pub(super) fn moment(ms: u64) -> Markup {
    let exact = rfc3339(ms);
    let shown = exact.get(..19).unwrap_or_default().replace('T', " ");
    html! { time datetime=(exact) { (shown) " UTC" } }
}

/// The two largest units: `2 d 3 h`, `59 min 12 s`; `page.js` counts on in the same form.
pub(super) fn left(ms: u64) -> String {
    let seconds = ms.checked_div(1_000).unwrap_or_default();
    let part = |unit: u64, of: u64| {
        let whole = seconds.checked_div(unit).unwrap_or_default();
        whole.checked_rem(of).unwrap_or_default()
    };
    let (days, hours) = (part(86_400, u64::MAX), part(3_600, 24));
    let (minutes, seconds) = (part(60, 60), part(1, 60));
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {seconds} s"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_left_is_shown_in_two_units() {
        for (seconds, shown) in [
            (0, "0 s"),
            (59, "59 s"),
            (3_599, "59 min 59 s"),
            (3_600, "1 h 0 min"),
            (86_399, "23 h 59 min"),
            (180_000, "2 d 2 h"),
            (2_592_000, "30 d 0 h"),
        ] {
            assert_eq!(left(seconds * 1_000 + 999), shown);
        }
    }

    #[test]
    fn a_moment_is_in_utc() {
        let shown = moment(1_790_000_000_123).into_string();
        let expected =
            r#"<time datetime="2026-09-21T14:13:20.123Z">2026-09-21 14:13:20 UTC</time>"#;
        assert_eq!(shown, expected);
    }
}
