//! Dashboards as pictures, drawn from what a Prometheus answers: panels in a grid, as in Grafana, without Grafana.

use std::fmt::Write as _;

use crate::dashboard::Dashboard;
use crate::panel::{Look, Panel};
use crate::prometheus::Series;

/// A panel, and the series that it shows, each with its legend.
pub struct Shown<'a> {
    pub panel: &'a Panel,
    pub series: Vec<(String, Series)>,
}

const COLUMNS: usize = 3;
const WIDTH: f64 = 320.0;
const HEIGHT: f64 = 216.0;
const HEAD: f64 = 34.0;
/// Lines in a legend, bars in a panel, lines in a chart.
const LEGEND: usize = 5;
const BARS: usize = 10;
const LINES: usize = 12;
const COLOURS: [&str; 8] = [
    "#3d7ea6", "#e07a5f", "#5a9e5a", "#b07cc6", "#d9a520", "#4db6ac", "#c2557a", "#8d8d8d",
];

/// The picture.
#[must_use]
pub fn draw(dashboard: &Dashboard, shown: &[Shown<'_>]) -> String {
    let rows = shown.len().div_ceil(COLUMNS);
    let (width, height) = (WIDTH * size(COLUMNS), HEAD + HEIGHT * size(rows));
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"10\">\n\
         <style>\n\
         .page {{ fill: #f4f5f7 }} .panel {{ fill: #ffffff; stroke: #d8dbe0 }} .text {{ fill: #24292f }} .faint {{ fill: #6b727b }} .grid {{ stroke: #e6e8eb }}\n\
         @media (prefers-color-scheme: dark) {{\n\
         .page {{ fill: #111217 }} .panel {{ fill: #181b1f; stroke: #2c3036 }} .text {{ fill: #d5d8dd }} .faint {{ fill: #9299a1 }} .grid {{ stroke: #2c3036 }}\n\
         }}\n\
         </style>\n\
         <rect class=\"page\" width=\"{width}\" height=\"{height}\"/>\n\
         <text class=\"text\" x=\"12\" y=\"22\" font-size=\"15\" font-weight=\"bold\">Portcullis / {}</text>\n",
        dashboard.title
    );
    for (at, shown) in shown.iter().enumerate() {
        let (x, y) = (
            WIDTH * size(at % COLUMNS),
            HEAD + HEIGHT * size(at / COLUMNS),
        );
        write!(
            out,
            "<g transform=\"translate({x},{y})\">\n<rect class=\"panel\" x=\"4\" y=\"0\" width=\"{}\" height=\"{}\" rx=\"3\"/>\n\
             <text class=\"text\" x=\"12\" y=\"17\" font-size=\"11\" font-weight=\"bold\">{}</text>\n",
            WIDTH - 8.0,
            HEIGHT - 8.0,
            escaped(shown.panel.title)
        )
        .unwrap();
        match shown.panel.look {
            Look::Lines => lines(&mut out, shown),
            Look::Number => numbers(&mut out, shown),
            Look::Bars => bars(&mut out, shown),
        }
        out.push_str("</g>\n");
    }
    out.push_str("</svg>\n");
    out
}

fn lines(out: &mut String, shown: &Shown<'_>) {
    let (left, right, top, bottom) = (54.0, WIDTH - 14.0, 28.0, 128.0);
    let unit = shown.panel.unit;
    let mut series: Vec<&(String, Series)> = shown.series.iter().collect();
    let mean = |it: &Series| {
        it.points
            .iter()
            .map(|(_, value)| value)
            .filter(|value| value.is_finite())
            .sum::<f64>()
    };
    series.sort_by(|(_, a), (_, b)| mean(b).total_cmp(&mean(a)));
    let points = || {
        series
            .iter()
            .flat_map(|(_, it)| &it.points)
            .filter(|(_, value)| value.is_finite())
    };
    let most = points().map(|(_, value)| *value).fold(0.0, f64::max);
    let most = if most > 0.0 { most * 1.08 } else { 1.0 };
    let from = points().map(|(at, _)| *at).fold(f64::INFINITY, f64::min);
    let to = points()
        .map(|(at, _)| *at)
        .fold(f64::NEG_INFINITY, f64::max);
    let span = (to - from).max(1.0);
    for step in 0..=2_u8 {
        let part = f64::from(step) / 2.0;
        let y = bottom - (bottom - top) * part;
        writeln!(
            out,
            "<line class=\"grid\" x1=\"{left}\" x2=\"{right}\" y1=\"{y}\" y2=\"{y}\"/><text class=\"faint\" x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            left - 4.0,
            y + 3.0,
            unit.show(most * part)
        )
        .unwrap();
    }
    writeln!(
        out,
        "<text class=\"faint\" x=\"{left}\" y=\"{y}\">0 s</text><text class=\"faint\" x=\"{right}\" y=\"{y}\" text-anchor=\"end\">{span:.0} s</text>",
        y = bottom + 12.0
    )
    .unwrap();
    for (at, (_, it)) in series.iter().enumerate().take(LINES) {
        let mut path = String::new();
        for (time, value) in it.points.iter().filter(|(_, value)| value.is_finite()) {
            let x = left + (time - from) / span * (right - left);
            let y = bottom - value / most * (bottom - top);
            write!(path, "{x:.1},{y:.1} ").unwrap();
        }
        writeln!(
            out,
            "<polyline fill=\"none\" stroke=\"{}\" stroke-width=\"1.4\" points=\"{}\"/>",
            COLOURS[at % COLOURS.len()],
            path.trim_end()
        )
        .unwrap();
    }
    let mut y = bottom + 25.0;
    for (at, (legend, it)) in series.iter().enumerate().take(LEGEND) {
        let last = if it.last().is_finite() {
            unit.show(it.last())
        } else {
            "—".to_owned()
        };
        writeln!(
            out,
            "<rect x=\"14\" y=\"{}\" width=\"10\" height=\"3\" fill=\"{}\"/><text class=\"text\" x=\"29\" y=\"{y}\">{}</text><text class=\"faint\" x=\"{right}\" y=\"{y}\" text-anchor=\"end\">{last}</text>",
            y - 5.0,
            COLOURS[at % COLOURS.len()],
            escaped(&cut(legend, 42))
        )
        .unwrap();
        y += 11.0;
    }
    if series.len() > LEGEND {
        more(out, series.len() - LEGEND);
    }
}

fn numbers(out: &mut String, shown: &Shown<'_>) {
    let mut y = 66.0;
    for (at, (legend, it)) in shown.series.iter().enumerate().take(4) {
        writeln!(
            out,
            "<text x=\"20\" y=\"{y}\" font-size=\"26\" fill=\"{}\">{}</text><text class=\"faint\" x=\"150\" y=\"{y}\" font-size=\"11\">{}</text>",
            COLOURS[at % COLOURS.len()],
            shown.panel.unit.show(it.last()),
            escaped(&cut(legend, 26))
        )
        .unwrap();
        y += 36.0;
    }
}

fn bars(out: &mut String, shown: &Shown<'_>) {
    let mut series: Vec<&(String, Series)> = shown.series.iter().collect();
    series.sort_by(|(_, a), (_, b)| b.last().total_cmp(&a.last()));
    let most = series.first().map_or(1.0, |(_, it)| it.last()).max(1e-9);
    let mut y = 36.0;
    for (at, (legend, it)) in series.iter().enumerate().take(BARS) {
        writeln!(
            out,
            "<rect x=\"14\" y=\"{}\" width=\"{:.1}\" height=\"3\" fill=\"{}\"/><text class=\"text\" x=\"14\" y=\"{y}\">{}</text><text class=\"faint\" x=\"{}\" y=\"{y}\" text-anchor=\"end\">{}</text>",
            y + 2.0,
            (it.last() / most * (WIDTH - 30.0)).max(1.0),
            COLOURS[at % COLOURS.len()],
            escaped(&cut(legend, 44)),
            WIDTH - 14.0,
            shown.panel.unit.show(it.last())
        )
        .unwrap();
        y += 17.0;
    }
    if series.len() > BARS {
        more(out, series.len() - BARS);
    }
}

fn more(out: &mut String, count: usize) {
    writeln!(
        out,
        "<text class=\"faint\" x=\"{}\" y=\"17\" text-anchor=\"end\">and {count} more</text>",
        WIDTH - 14.0
    )
    .unwrap();
}

fn size(n: usize) -> f64 {
    f64::from(u32::try_from(n).unwrap())
}

fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
