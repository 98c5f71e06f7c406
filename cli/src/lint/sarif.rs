//! Findings as SARIF 2.1.0, which code hosts show beside the lines.

use serde_json::{Value, json};

use super::rules;
use super::waiver::Waived;
use crate::finding::{Finding, Severity};

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// A log of one run.
pub fn log(findings: &[Finding], waived: &[Waived]) -> Value {
    let rules: Vec<Value> = rules::RULES
        .iter()
        .map(|(name, what)| json!({ "id": name, "shortDescription": { "text": what } }))
        .collect();
    let open = findings.iter().map(result);
    let allowed = waived.iter().map(|waived| {
        let mut result = result(&waived.finding);
        if let Some(members) = result.as_object_mut() {
            let suppression = json!([{ "kind": "inSource", "justification": waived.reason }]);
            members.insert("suppressions".to_owned(), suppression);
        }
        result
    });
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "portcullis lint",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            } },
            "results": open.chain(allowed).collect::<Vec<_>>(),
        }],
    })
}

fn result(finding: &Finding) -> Value {
    let level = match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    json!({
        "ruleId": finding.rule,
        "level": level,
        "message": { "text": finding.message },
        "locations": [{ "physicalLocation": {
            "artifactLocation": { "uri": finding.file },
            "region": { "startLine": finding.line.unwrap_or(1) },
        } }],
    })
}
