//! `lint`: each rule has a good file, of which nothing is said, and a bad one, of whose lines marked `# bad` the rule
//! and nothing else is said.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::run::{Run, portcullis, root};

fn fixtures() -> PathBuf {
    root().join("cli/tests/lint")
}

fn lint(file: &PathBuf, more: &[&str]) -> Run {
    let openapi = fixtures().join("openapi");
    let mut arguments = vec!["lint".into(), file.into()];
    arguments.extend(["--openapi".into(), openapi.into_os_string()]);
    arguments.extend(more.iter().map(Into::into));
    portcullis(arguments)
}

fn found(run: &Run) -> Vec<(String, u64)> {
    let report = run.json();
    let findings = report["findings"].as_array().unwrap();
    findings
        .iter()
        .map(|it| {
            (
                it["rule"].as_str().unwrap().to_owned(),
                it["line"].as_u64().unwrap(),
            )
        })
        .collect()
}

#[test]
fn every_rule_knows_good_from_bad() {
    let mut rules = BTreeSet::new();
    for entry in fs::read_dir(fixtures()).unwrap() {
        let folder = entry.unwrap().path();
        let rule = folder.file_name().unwrap().to_str().unwrap().to_owned();
        if rule == "openapi" {
            continue;
        }
        let good = lint(&folder.join("good.yml"), &["--format", "json"]);
        assert_eq!(
            (good.code, found(&good)),
            (0, vec![]),
            "{rule}: {}",
            good.stdout
        );
        let bad = folder.join("bad.yml");
        let marked: Vec<(String, u64)> = (1..)
            .zip(fs::read_to_string(&bad).unwrap().lines())
            .filter(|(_, line)| line.ends_with("# bad"))
            .map(|(number, _)| (rule.clone(), number))
            .collect();
        assert!(!marked.is_empty(), "{rule}");
        let run = lint(&bad, &["--format", "json"]);
        assert_eq!(
            (run.code, found(&run)),
            (1, marked),
            "{rule}: {}",
            run.stdout
        );
        rules.insert(rule);
    }
    let run = lint(
        &fixtures().join("waiver/good.yml"),
        &["--sarif", "/dev/null"],
    );
    assert_eq!(run.stdout, "errors: 0, warnings: 0, waived: 3\n");
    let known = sarif_of(&fixtures().join("waiver/good.yml"));
    let known = known["runs"][0]["tool"]["driver"]["rules"]
        .as_array()
        .unwrap();
    for rule in known {
        assert!(
            rules.contains(rule["id"].as_str().unwrap()),
            "{rule} has no fixtures"
        );
    }
}

fn sarif_of(file: &PathBuf) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let sarif = folder.path().join("lint.sarif");
    lint(file, &["--sarif", sarif.to_str().unwrap()]);
    serde_json::from_str(&fs::read_to_string(sarif).unwrap()).unwrap()
}

#[test]
fn sarif_has_each_finding_and_each_waiver() {
    let log = sarif_of(&fixtures().join("route-name/bad.yml"));
    assert_eq!(log["version"], "2.1.0");
    let results = log["runs"][0]["results"].as_array().unwrap();
    assert_eq!(results.len(), 6);
    let rules = log["runs"][0]["tool"]["driver"]["rules"]
        .as_array()
        .unwrap();
    for result in results {
        assert!(rules.iter().any(|rule| rule["id"] == result["ruleId"]));
        assert_eq!(result["level"], "error");
        let place = &result["locations"][0]["physicalLocation"];
        assert!(place["region"]["startLine"].as_u64().unwrap() > 1);
        assert!(
            place["artifactLocation"]["uri"]
                .as_str()
                .unwrap()
                .ends_with("bad.yml")
        );
    }
    let log = sarif_of(&fixtures().join("waiver/good.yml"));
    let reasons: Vec<&str> = log["runs"][0]["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["suppressions"][0]["justification"].as_str().unwrap())
        .collect();
    assert_eq!(reasons[0], "older than the rule");
    assert_eq!(reasons.len(), 3);
}

#[test]
fn a_file_without_routes_is_not_good() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kong.yml");
    for text in ["", "_format_version: '3.0'\n", "services: 7\n"] {
        fs::write(&file, text).unwrap();
        let run = lint(&file, &[]);
        assert_eq!(run.code, 1, "{text}: {run:#?}");
        assert!(run.stdout.contains("error: no route is in it"), "{run:#?}");
    }
}

#[test]
fn no_secret_is_repeated() {
    for form in ["text", "json"] {
        let run = lint(
            &fixtures().join("secret-in-plain/bad.yml"),
            &["--format", form],
        );
        for secret in ["hunter2", "AKIAIOSFODNN7EXAMPLE", "gk_live_0123"] {
            assert!(!run.stdout.contains(secret), "{run:#?}");
        }
    }
}

#[test]
fn a_folder_without_documents_is_no_folder() {
    let file = fixtures().join("route-name/good.yml");
    let run = portcullis([
        "lint".into(),
        file.into_os_string(),
        "--openapi".into(),
        "no-such-folder".into(),
    ]);
    assert_eq!(run.code, 3, "{run:#?}");
    assert!(run.stderr.contains("no-such-folder: "), "{run:#?}");
}

#[test]
fn the_shipped_configuration_keeps_to_the_contract() {
    let run = portcullis([
        "lint",
        "ops/kong/kong.yml",
        "--openapi",
        "ops/kong/openapi",
        "--strict",
    ]);
    assert_eq!(run.code, 0, "{run:#?}");
}
