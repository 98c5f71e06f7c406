//! The page for the security team in a real Chromium with a client certificate: `tests/page/page.mjs` says what is
//! seen and done there. Needs `chromium`, `certutil`, `pk12util`, `node` and what `tools/setup.sh test` puts into
//! `.tools/browser`.

use std::{
    path::{Path, PathBuf},
    process::Output,
};

use serde_json::json;
use tokio::process::Command;
use wire::samples::{SAMPLES_PATH, Sample, SampleBatch};

use crate::control_client::{Control, Identity, soc};

const TOOLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../.tools/browser");
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/page/page.mjs");
/// Tests in the script.
const TESTS: usize = 14;

async fn run(command: &mut Command) -> Output {
    let output = command.output().await;
    output.unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

async fn must(command: &mut Command) {
    let output = run(command).await;
    assert!(output.status.success(), "{command:?}: {output:?}");
}

/// A home for a browser that knows the authority, and shows this certificate.
async fn home(dir: &Path, control: &Control, identity: Option<&Identity>) -> PathBuf {
    let database = dir.join(".pki/nssdb");
    std::fs::create_dir_all(&database).unwrap();
    let database = format!("sql:{}", database.display());
    let ca = control.files.path().join("ca.pem");
    must(Command::new("certutil").args(["-N", "-d", &database, "--empty-password"])).await;
    let trusted = ["-A", "-d", &database, "-n", "ca", "-t", "C,,", "-i"];
    must(Command::new("certutil").args(trusted).arg(ca)).await;
    if let Some(Identity { cert, key }) = identity {
        let (pem, p12) = (dir.join("client.pem"), dir.join("client.p12"));
        std::fs::write(&pem, format!("{cert}{key}")).unwrap();
        let pack = ["pkcs12", "-export", "-name", "soc", "-passout", "pass:"];
        must(
            Command::new("openssl")
                .args(pack)
                .arg("-in")
                .arg(&pem)
                .arg("-out")
                .arg(&p12),
        )
        .await;
        let import = ["-d", &database, "-W", "", "-i"];
        must(Command::new("pk12util").args(import).arg(&p12)).await;
    }
    // Else the browser asks which certificate to show, and nobody answers.
    let pattern = format!("https://localhost:{},*", control.port);
    let always = json!({pattern: {"setting": {"filters": [{}]}}});
    let preferences = json!({"profile": {"content_settings": {"exceptions": {"auto_select_certificate": always}}}});
    let profile = dir.join("profile/Default");
    std::fs::create_dir_all(&profile).unwrap();
    std::fs::write(profile.join("Preferences"), preferences.to_string()).unwrap();
    dir.to_owned()
}

async fn known_bad_clients(control: &Control) {
    let soc = control.soc();
    let mut connection = soc.connect().await.unwrap();
    let mut add = async |list: &str, value: &str, ttl: u64, reason: &str| {
        let entry = json!({"kind": "ip", "value": value, "ttlSeconds": ttl, "reason": reason,
                           "ticketUrl": "https://tickets.example/SEC-1"});
        let path = format!("/v1/internal/edge/{list}");
        let added = connection.send("POST", &path, &entry.to_string()).await;
        assert_eq!(added.unwrap().status, 201);
    };
    add("deny", "192.0.2.1", 3_600, "scans").await;
    add("deny", "2001:db8::bad", 86_400 * 3, "credential stuffing").await;
    for n in 1..=60 {
        add(
            "tarpit",
            &format!("203.0.113.{n}"),
            3_600,
            "slow brute force",
        )
        .await;
    }
}

/// As the filters tell it.
async fn requests(control: &Control) {
    let sample = |n: u32, status_code| Sample {
        at_ms: 1_790_000_000_000,
        ja4: Some("t13d1516h2_8daaf6152771_e5627efa2ab1".into()),
        ja3_hash: Some(format!("{:032x}", n / 4)),
        ip: format!("192.0.2.{}", n % 7),
        status_code,
        ..Sample::default()
    };
    let statuses = [
        200, 200, 200, 403, 401, 200, 429, 403, 200, 403, 200, 404, 503,
    ];
    let batch = SampleBatch {
        every: 10,
        dropped: 0,
        samples: (0..)
            .zip(statuses)
            .map(|(n, status)| sample(n, status))
            .collect(),
    };
    let answer = control.service.post(SAMPLES_PATH, &batch).await;
    assert_eq!(answer.status().as_u16(), 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_works_in_a_real_browser() {
    let control = Control::start().await;
    known_bad_clients(&control).await;
    requests(&control).await;
    let dir = tempfile::tempdir().unwrap();
    let identity = control.authority.issue(&soc());
    let with = home(&dir.path().join("with"), &control, Some(&identity)).await;
    let without = home(&dir.path().join("without"), &control, None).await;
    let output = run(Command::new("node")
        .args(["--test", "--test-reporter=tap", SCRIPT])
        .env("PAGE_ORIGIN", format!("https://localhost:{}", control.port))
        .env("PAGE_HOME", with)
        .env("NO_CERT_HOME", without)
        .env("PAGE_CHROME", "/usr/bin/chromium")
        .env("PAGE_TOOLS", TOOLS)
        .kill_on_drop(true))
    .await;
    let told = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}\n{errors}");
    for line in [
        format!("# pass {TESTS}"),
        "# fail 0".into(),
        "# skipped 0".into(),
    ] {
        assert!(told.lines().any(|told| told == line), "{line}: {told}");
    }
    for code in ["no_certificate", "cross_site"] {
        control
            .service
            .log_with(&format!("\"code\":\"{code}\""))
            .await;
    }
}
