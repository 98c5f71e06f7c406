//! In what transcripts of the same case differ, and which differences have a reason.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use testkit::cases::transcript::{Shown, Transcript};

/// Something that is not the same everywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// `auth::the_case`
    pub case: String,
    /// `status`, `body`, `response header x`, `upstream header x`, `upstream path`, `metric x`, …
    pub aspect: String,
    /// Which request it is seen first with, from 1; 0 for metrics.
    pub request: usize,
    /// What it was there, by manner.
    pub values: BTreeMap<String, String>,
}

/// Every difference between runs of the same case, one for each aspect.
#[must_use]
pub fn differences(transcripts: &[Transcript]) -> Vec<Difference> {
    let mut cases: BTreeMap<String, Vec<&Transcript>> = BTreeMap::new();
    for transcript in transcripts {
        let name = format!("{}::{}", transcript.filter, transcript.case);
        cases.entry(name).or_default().push(transcript);
    }
    let mut all = Vec::new();
    for (case, runs) in cases {
        // What each run showed of each aspect of each request.
        let mut seen: BTreeMap<(usize, String), BTreeMap<String, String>> = BTreeMap::new();
        for run in &runs {
            let aspects = aspects(run);
            for ((request, aspect), value) in aspects {
                seen.entry((request, aspect))
                    .or_default()
                    .insert(run.manner.clone(), value);
            }
        }
        let mut told = BTreeSet::new();
        for ((request, aspect), mut values) in seen {
            for run in &runs {
                values
                    .entry(run.manner.clone())
                    .or_insert_with(|| "-".to_owned());
            }
            let distinct: BTreeSet<&String> = values.values().collect();
            if distinct.len() > 1 && told.insert(aspect.clone()) {
                all.push(Difference {
                    case: case.clone(),
                    aspect,
                    request,
                    values,
                });
            }
        }
    }
    all
}

fn aspects(run: &Transcript) -> BTreeMap<(usize, String), String> {
    let mut out = BTreeMap::new();
    for (name, moved) in &run.metrics {
        if *moved > 0 {
            out.insert((0, format!("metric {name}")), moved.to_string());
        }
    }
    for (index, shown) in run.steps.iter().flatten().enumerate() {
        let mut put = |aspect: String, value: String| out.insert((index + 1, aspect), value);
        put("status".into(), shown.status.to_string());
        for (name, value) in &shown.headers {
            put(format!("response header {name}"), settled(name, value));
        }
        if let Some(body) = &shown.body {
            put("body".into(), settled_body(shown, body));
            if body.ends_with('\n') {
                put("newline after the body".into(), "yes".into());
            }
        }
        if let Some(upstream) = &shown.upstream {
            put("upstream method".into(), upstream.method.clone());
            put("upstream path".into(), settled("", &upstream.path));
            put("upstream body".into(), upstream.body.clone());
            for (name, value) in &upstream.headers {
                put(format!("upstream header {name}"), settled(name, value));
            }
        }
    }
    out
}

/// A value without what no two runs share: times, ids, ports, tokens, signatures.
fn settled(name: &str, value: &str) -> String {
    if matches!(name, "date" | "x-request-id" | "x-kong-request-id") {
        return "*".to_owned();
    }
    let of_time = name == "retry-after" || name.contains("ratelimit") || name.ends_with("-time");
    let value = if of_time || name.ends_with("-latency") {
        value
            .chars()
            .map(|c| if c.is_ascii_digit() { '#' } else { c })
            .collect::<String>()
            .replace("##", "#")
            .replace("##", "#")
    } else {
        value.to_owned()
    };
    value
        .split(' ')
        .map(|word| match word.split_once("eyJ") {
            Some((before, _)) => format!("{before}<token>"),
            None => word.to_owned(),
        })
        .map(|word| match word.strip_prefix("127.0.0.1:") {
            Some(_) => "127.0.0.1:*".to_owned(),
            None => word,
        })
        .collect::<Vec<_>>()
        .join(" ")
}

fn settled_body(shown: &Shown, body: &str) -> String {
    let problem = shown.headers.get("content-type");
    if problem.map(String::as_str) != Some("application/problem+json") {
        return body.trim_end().to_owned();
    }
    match serde_json::from_str::<Value>(body) {
        Ok(mut document) => {
            if let Some(id) = document.get_mut("request_id") {
                *id = Value::from("*");
            }
            document.to_string()
        }
        Err(_) => body.to_owned(),
    }
}

/// A difference that is known, and why it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// `aspect` or `filter::case aspect`, with `*` for anything.
    pub pattern: String,
    pub reason: String,
}

/// Reads the rows of the table under `## Parity`: patterns in backticks, then the reason.
#[must_use]
pub fn known(architecture: &str) -> Vec<Known> {
    let section = architecture.split("\n## ").find_map(|section| {
        let rest = section.strip_prefix("Parity\n")?;
        Some(rest.to_owned())
    });
    let mut all = Vec::new();
    for row in section.unwrap_or_default().lines() {
        let Some((patterns, reason)) = row
            .strip_prefix("| `")
            .and_then(|row| row.trim_end().trim_end_matches('|').split_once(" | "))
        else {
            continue;
        };
        for pattern in patterns.split('`').step_by(2) {
            all.push(Known {
                pattern: pattern.to_owned(),
                reason: reason.trim().to_owned(),
            });
        }
    }
    all
}

impl Known {
    #[must_use]
    pub fn explains(&self, difference: &Difference) -> bool {
        match self.pattern.split_once("::") {
            Some(_) => {
                let (case, aspect) = self.pattern.split_once(' ').unwrap_or((&self.pattern, "*"));
                fits(case, own_case(&difference.case)) && fits(aspect, &difference.aspect)
            }
            None => fits(&self.pattern, &difference.aspect),
        }
    }
}

/// A case without the chain that it ran in: `filter::case` of `chain::filter::case`.
fn own_case(case: &str) -> &str {
    match case.split_once("::") {
        Some((_, own)) if own.contains("::") => own,
        _ => case,
    }
}

/// Whether a text is as the pattern says, in which `*` stands for anything.
fn fits(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|text| {
            (0..=text.len())
                .filter(|at| text.is_char_boundary(*at))
                .any(|at| fits(rest, &text[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(manner: &str, status: u16, body: &str) -> Transcript {
        let headers = [
            ("content-type", "application/problem+json"),
            ("date", manner),
        ];
        Transcript {
            filter: "f".into(),
            case: "c".into(),
            manner: manner.into(),
            steps: vec![vec![Shown {
                status,
                headers: headers
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .into(),
                body: Some(body.into()),
                upstream: None,
            }]],
            metrics: [("m".to_owned(), u64::from(status))].into(),
        }
    }

    #[test]
    fn differences_are_told_once_each() {
        let a = run("a", 401, r#"{"code":"x","request_id":"1"}"#);
        let b = run("b", 401, "{\"request_id\":\"2\",\"code\":\"x\"}\n");
        let c = run("c", 403, r#"{"code":"y","request_id":"3"}"#);
        let aspects = |runs: &[Transcript]| -> Vec<String> {
            let all = differences(runs);
            all.into_iter().map(|d| d.aspect).collect()
        };
        assert_eq!(aspects(&[a.clone(), a.clone()]), [""; 0]);
        assert_eq!(aspects(&[a.clone(), b]), ["newline after the body"]);
        assert_eq!(aspects(&[a, c]), ["metric m", "body", "status"]);
    }

    #[test]
    fn reasons_come_from_the_table() {
        let text = "# X\n\n## Parity\n\n| differs | why |\n|---|---|\n\
                    | `metric *`, `f::c status` | because |\n\n## Y\n| `body` | no |\n";
        let known = known(text);
        let of = [
            ("f::c", "metric m"),
            ("f::c", "status"),
            ("chain::f::c", "status"),
            ("f::c", "body"),
        ];
        let explained: Vec<bool> = of
            .map(|(case, aspect)| {
                let difference = Difference {
                    case: case.into(),
                    aspect: aspect.into(),
                    request: 1,
                    values: BTreeMap::new(),
                };
                known.iter().any(|known| known.explains(&difference))
            })
            .into();
        assert_eq!(explained, [true, true, true, false]);
        assert_eq!(known[0].reason, "because");
    }
}
