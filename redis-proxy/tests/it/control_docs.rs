//! What the documents promise: the OpenAPI documents, and the commands in the README.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use testkit::ports::free_port;

use crate::{
    control_client::{Control, soc},
    service::Service,
};

const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(REPOSITORY).join(path)).unwrap()
}

/// A `redis-proxy` as the README starts it, with `make certs` done, but for the ports; and its folder.
async fn as_in_the_readme() -> (Service, tempfile::TempDir, u16) {
    let dir = tempfile::tempdir().unwrap();
    let certs = dir.path().join("certs");
    let made = Command::new(Path::new(REPOSITORY).join("tools/certs.sh"))
        .arg(&certs)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let port = free_port();
    let config = read("redis-proxy/examples/control.toml")
        .replace("\"certs/", &format!("\"{}/", certs.display()))
        .replace("8971", &port.to_string());
    (Service::start(&config).await, dir, port)
}

fn bash(script: &str, dir: &Path) -> Output {
    Command::new("bash")
        .args(["-c", script])
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[tokio::test]
async fn the_commands_in_the_readme_work_as_pasted() {
    let readme = read("redis-proxy/README.md");
    let blocks: Vec<_> = readme
        .split("```bash\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    let [good, refused] = blocks.as_slice() else {
        panic!("two blocks of commands, not {}", blocks.len())
    };
    let (service, dir, port) = as_in_the_readme().await;
    let script = format!("set -euo pipefail\n{good}\necho; echo refused:; set +e\n{refused}")
        .replace("8971", &port.to_string());
    let Output { stdout, stderr, .. } = bash(&script, dir.path());
    let (said, errors) = (
        String::from_utf8(stdout).unwrap(),
        String::from_utf8(stderr).unwrap(),
    );
    let (good, refused) = said
        .split_once("refused:")
        .unwrap_or_else(|| panic!("{said}\n{errors}"));
    for part in [
        r#""value":"192.0.2.0/24""#,
        r#""value":"t13d1516h2_8daaf6152771_e5627efa2ab1""#,
        r#"{"entries":[{"id""#,
        r#""action":"removed""#,
        r#""kinds":[{"kind":"ja4""#,
    ] {
        assert!(good.contains(part), "{part} in {good}\n{errors}");
    }
    assert_eq!(
        refused.matches("client_not_allowed").count(),
        1,
        "{refused}"
    );
    for part in ["certificate expired", "certificate required"] {
        assert!(errors.contains(part), "{part} in {errors}");
    }
    for part in [
        "certificate_expired",
        "no_certificate",
        "client_not_allowed",
        "apikey",
    ] {
        service.log_with(part).await;
    }
}

#[tokio::test]
async fn the_openapi_document_of_the_control_api_is_whole() {
    let control = Control::start().await;
    let document = control.soc().get("/openapi.json").await.body;
    let mut paths: Vec<_> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().keys();
            methods.map(move |method| format!("{method} {path}"))
        })
        .collect();
    paths.sort();
    let expected = [
        "delete /cache/{key}",
        "delete /v1/internal/edge/{list}/{id}",
        "get /internal/edge/fingerprints",
        "get /internal/edge/refusals",
        "get /v1/internal/edge/audit",
        "get /v1/internal/edge/{list}",
        "get /v1/internal/edge/{list}/{id}",
        "post /v1/internal/edge/{list}",
    ];
    assert_eq!(paths, expected);
    complete(&document);
    let filters = control.service.get("/openapi.json").await.unwrap();
    complete(&filters.json().await.unwrap());
}

/// What it refers to is in it.
fn complete(document: &Value) {
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let text = document.to_string();
    for reference in text.split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(schemas.contains_key(name), "{name}");
    }
}

/// Calls every operation of a document with many requests, good and bad, and compares the answers with what the
/// document says of them (C4). What a schema cannot say may be refused: that an address is one, that a cursor is ours.
/// With `FUZZ` set to a number, so many of each operation, and every edge case of the schemas: `make fuzz`.
fn fuzz(url: &str, dir: &Path, arguments: &[&str]) {
    let examples = std::env::var("FUZZ");
    let phases = match &examples {
        Ok(_) => "examples,coverage,fuzzing,stateful",
        Err(_) => "examples,fuzzing",
    };
    let tools = Path::new(REPOSITORY).join(".tools/bin");
    let path = std::env::var("PATH").unwrap();
    let output = Command::new("schemathesis")
        .args(["run", &format!("{url}/openapi.json")])
        .args(["--exclude-checks", "positive_data_acceptance"])
        .args([
            "--phases",
            phases,
            "--max-examples",
            examples.as_deref().unwrap_or("3"),
        ])
        .args(["--seed", "1", "--no-color", "--no-shrink"])
        // A busy machine is no finding.
        .args(["--warnings", "off", "--suppress-health-check", "all"])
        .args(arguments)
        .env("PATH", format!("{}:{path}", tools.display()))
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .expect("schemathesis must be installed: make setup");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("generated, "), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_control_api_does_what_its_document_says() {
    let control = Control::start_with("log = 'error'", "").await;
    let dir = control.files.path();
    let soc = control.authority.issue(&soc());
    std::fs::write(dir.join("soc.pem"), soc.cert + &soc.key).unwrap();
    let url = format!("https://localhost:{}", control.port);
    fuzz(
        &url,
        dir,
        &["--request-cert", "soc.pem", "--tls-verify", "ca.pem"],
    );
    assert_eq!(
        control.soc().get("/openapi.json").await.status,
        200,
        "still there"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_of_the_filters_does_what_its_document_says() {
    let service = Service::start("log = 'error'").await;
    fuzz(&service.url(""), service.dir.path(), &[]);
    assert_eq!(
        service.get("/healthz").await.unwrap().status().as_u16(),
        200,
        "still there"
    );
}
