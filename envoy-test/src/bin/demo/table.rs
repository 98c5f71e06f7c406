//! The table of what happened.

use std::io::IsTerminal as _;

use testkit::Exchange;

use crate::script::Scene;
use crate::timing::Medians;

pub struct Row {
    what: &'static str,
    /// Status and code, and a header that the upstream saw.
    expected: String,
    got: String,
    /// The same without the codes.
    expected_shown: String,
    got_shown: String,
    /// The code that came.
    why: String,
    time: String,
}

impl Row {
    pub fn new(scene: &Scene, exchange: &Exchange, medians: Option<Medians>) -> Self {
        let mut expected = scene.expected.to_owned();
        let mut got = exchange.word();
        let status = |word: &str| word.split(' ').next().unwrap_or_default().to_owned();
        let (mut expected_shown, mut got_shown) = (status(&expected), status(&got));
        if let Some((header, value)) = scene.upstream {
            let seen = exchange
                .upstream
                .as_ref()
                .and_then(|seen| seen.header(header))
                .unwrap_or_default();
            let word = |value: &str| match value {
                "" => format!(" no {header}"),
                value => format!(" {header}: {value}"),
            };
            for (text, value) in [
                (&mut expected, value),
                (&mut expected_shown, value),
                (&mut got, seen.as_str()),
                (&mut got_shown, seen.as_str()),
            ] {
                text.push_str(&word(value));
            }
        }
        let time = match (medians, &exchange.upstream) {
            (Some(medians), Some(_)) => format!("{:+} µs", medians.guarded - medians.bare),
            (Some(medians), None) => format!("in {} µs", medians.guarded),
            (None, _) => String::new(),
        };
        Self {
            what: scene.what,
            expected,
            got,
            expected_shown,
            got_shown,
            why: exchange.code().unwrap_or_default(),
            time,
        }
    }

    pub fn is_as_expected(&self) -> bool {
        self.expected == self.got
    }
}

pub fn print(rows: &[Row]) {
    let colours = std::io::stdout().is_terminal();
    let width = |column: fn(&Row) -> &str| {
        let lengths = rows.iter().map(|row| column(row).chars().count());
        lengths.max().unwrap_or_default()
    };
    let what = width(|row| row.what);
    let expected = width(|row| &row.expected_shown);
    let got = width(|row| &row.got_shown).max(3);
    let why = width(|row| &row.why);
    println!(
        "   {:what$}  {:expected$}  {:got$}  {:why$}  {:>10}",
        "request", "expected", "got", "why", "time"
    );
    println!("   {}", "─".repeat(what + expected + got + why + 18));
    for row in rows {
        let good = row.is_as_expected();
        let (mark, colour) = if good { ("✓", "32") } else { ("✗", "31") };
        let mark = if colours {
            format!("\x1b[{colour}m{mark}\x1b[0m")
        } else {
            mark.to_owned()
        };
        println!(
            " {mark} {:what$}  {:expected$}  {:got$}  {:why$}  {:>10}",
            row.what, row.expected_shown, row.got_shown, row.why, row.time
        );
        if !good {
            println!("   expected {}, got {}", row.expected, row.got);
        }
    }
}
