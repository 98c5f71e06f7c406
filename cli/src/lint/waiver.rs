//! Rules that a comment allows to be broken, there and for a reason.

use serde::Serialize;

use super::rules;
use crate::finding::{Finding, Findings};

const MARK: &str = "# portcullis-lint: allow ";

/// A finding that is allowed.
#[derive(Debug, Serialize)]
pub struct Waived {
    #[serde(flatten)]
    pub finding: Finding,
    pub reason: String,
}

/// The waivers of a file.
#[derive(Debug, Default)]
pub struct Waivers(Vec<Waiver>);

#[derive(Debug)]
struct Waiver {
    rules: Vec<String>,
    reason: String,
    /// Of the comment.
    line: u64,
    /// Of what it is about: the same, or the next that is more than a comment.
    about: u64,
    used: bool,
}

impl Waivers {
    /// Those in a text; one without a reason, or of a rule that does not exist, is a finding.
    pub fn of(text: &str, findings: &mut Findings) -> Self {
        let mut waivers = Vec::new();
        let lines: Vec<(u64, &str)> = (1..).zip(text.lines()).collect();
        for (line, content) in &lines {
            let Some((before, waiver)) = content.split_once(MARK) else {
                continue;
            };
            let (names, reason) = waiver.split_once(" -- ").unwrap_or((waiver, ""));
            let names: Vec<String> = names.split(',').map(|it| it.trim().to_owned()).collect();
            if reason.trim().is_empty() {
                findings.error("waiver", *line, "a waiver needs a reason, after ` -- `");
                continue;
            }
            if let Some(name) = names.iter().find(|name| !rules::is_one(name)) {
                findings.error("waiver", *line, format!("there is no rule {name}"));
                continue;
            }
            let is_alone = before.trim().is_empty();
            let next = lines
                .iter()
                .filter(|(number, _)| number > line)
                .find(|(_, content)| {
                    let content = content.trim();
                    !content.is_empty() && !content.starts_with('#')
                })
                .map(|(number, _)| *number);
            waivers.push(Waiver {
                rules: names,
                reason: reason.trim().to_owned(),
                line: *line,
                about: if is_alone {
                    next.unwrap_or(*line)
                } else {
                    *line
                },
                used: false,
            });
        }
        Self(waivers)
    }

    /// Parts what is allowed from what is not; a waiver that nothing needs is a finding as well.
    pub fn apply(mut self, mut findings: Findings) -> (Vec<Finding>, Vec<Waived>) {
        let (mut left, mut waived) = (Vec::new(), Vec::new());
        for finding in findings.take() {
            let fits = |waiver: &&mut Waiver| {
                finding.line == Some(waiver.about)
                    && waiver.rules.iter().any(|rule| rule == finding.rule)
            };
            match self.0.iter_mut().find(fits) {
                Some(waiver) => {
                    waiver.used = true;
                    let reason = waiver.reason.clone();
                    waived.push(Waived { finding, reason });
                }
                None => left.push(finding),
            }
        }
        for finding in left {
            findings.push(finding);
        }
        for waiver in self.0.iter().filter(|waiver| !waiver.used) {
            findings.warning("waiver", waiver.line, "a waiver of what is not broken here");
        }
        (findings.into_vec(), waived)
    }
}
