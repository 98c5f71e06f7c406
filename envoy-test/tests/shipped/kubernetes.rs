//! `ops/kubernetes` and `ops/spire`: manifests against the schemas of Kubernetes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use envoy_test::artifacts::workspace;
use envoy_test::shipped::Shipped;

const VERSION: &str = "1.32";

/// The manifests in a folder.
pub fn manifests(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "yaml"));
    paths.sort();
    paths
}

fn shipped() -> Vec<PathBuf> {
    manifests(&workspace().join("ops/kubernetes"))
}

/// Whether Kubernetes would take them, and they fit together; and what was said.
pub fn check(files: &[PathBuf]) -> (bool, String) {
    let output = Command::new(workspace().join(".tools/bin/kubernetes-check"))
        .arg(VERSION)
        .args(files)
        .output()
        .expect("tools/setup.sh test installs it");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

#[test]
fn manifests_are_as_kubernetes_has_them_and_fit_together() {
    let (good, said) = check(&shipped());
    assert!(
        good && said.contains("16 checked, 0 foreign, 0 wrong"),
        "{said}"
    );
}

#[test]
fn a_mistake_in_a_manifest_is_found() {
    let folder = tempfile::tempdir().unwrap();
    for (file, from, to, found) in [
        (
            "gateway.yaml",
            "maxSurge: 25%",
            "maxSurges: 25%",
            "maxSurges",
        ),
        (
            "gateway.yaml",
            "targetPort: https",
            "targetPort: http",
            "no pod has the port http",
        ),
        (
            "network-policy.yaml",
            "- { port: 9901 }",
            "- { port: 9902 }",
            "listens on",
        ),
        (
            "service-monitor.yaml",
            "port: http",
            "port: web",
            "no such port",
        ),
    ] {
        let mut files = Vec::new();
        for path in shipped() {
            let name = path.file_name().unwrap().to_owned();
            let mut text = fs::read_to_string(&path).unwrap();
            if name == file {
                assert!(text.contains(from), "{file} has no {from}");
                text = text.replacen(from, to, 1);
            }
            files.push(folder.path().join(name));
            fs::write(files.last().unwrap(), text).unwrap();
        }
        let (good, said) = check(&files);
        assert!(!good && said.contains(found), "{to}: {said}");
    }
}

#[test]
fn entries_name_the_workloads_of_the_examples() {
    let run = |argument: &[&str]| {
        let script = workspace().join("ops/spire/entries.sh");
        let output = Command::new(script).args(argument).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let printed = run(&[]);
    let lines: Vec<&str> = printed.lines().collect();
    assert!(
        lines
            .iter()
            .all(|line| line.starts_with("spire-server entry create ")),
        "{printed}"
    );
    for id in [
        "spiffe://prod.example/ns/edge/sa/gateway",
        "spiffe://prod.example/ns/compliance/sa/engine",
        "spiffe://prod.example/ns/webhooks/sa/dispatcher",
    ] {
        assert!(
            printed.contains(&format!("-spiffeID {id} ")),
            "{id}: {printed}"
        );
    }
    // Who may answer in the gateway's configuration is one of them.
    let envoy = fs::read_to_string(workspace().join("ops/envoy/upstream-mtls.yaml")).unwrap();
    for part in envoy
        .split('"')
        .filter(|part| part.starts_with("spiffe://"))
    {
        assert!(printed.contains(&format!("-spiffeID {part} ")), "{part}");
    }
}

/// What `ops/spire/README.md` says to change makes a configuration that Envoy takes.
#[test]
fn envoy_takes_its_secrets_from_spire() {
    let readme = fs::read_to_string(workspace().join("ops/spire/README.md")).unwrap();
    let blocks: Vec<&str> = readme
        .split("```yaml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    let [cluster, source] = blocks.as_slice() else {
        panic!("two blocks of YAML, not {}", blocks.len());
    };
    for (file, secrets) in [
        ("upstream-mtls", &["svid", "bundle", "edge"][..]),
        ("egress-mtls", &["svid"]),
    ] {
        let mut shipped = Shipped::new(&format!("envoy/{file}.yaml"));
        for name in secrets {
            let path = format!("path_config_source: {{ path: /etc/envoy/sds/{name}.yaml }}");
            shipped.put(&path, source.trim());
        }
        shipped.put(
            "- name: svid",
            "- name: \"spiffe://prod.example/ns/edge/sa/gateway\"",
        );
        shipped.put("\n  clusters:\n", &format!("\n  clusters:\n{cluster}"));
        if secrets.contains(&"bundle") {
            shipped.put("name: bundle", "name: \"spiffe://prod.example\"");
        }
        assert!(!shipped.text().contains("path_config_source"));
        shipped.validate().unwrap();
        // It does look at it.
        shipped.put("api_type: GRPC,", "api_type: GRPCS,");
        assert!(shipped.validate().is_err(), "{file}");
    }
}
