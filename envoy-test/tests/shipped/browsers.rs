//! `ops/envoy/browsers.yaml`: CORS, ciphers and OCSP, which are Envoy's own.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use envoy_test::shipped::Shipped;

use crate::pki::{Authority, Identity};
use crate::tls_upstream::TlsUpstream;

/// What the authority would answer about a certificate now, for a day.
fn ocsp(authority: &Authority, leaf: &Identity, folder: &Path) {
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    write("ca.crt", &authority.pem);
    write("ca.key", &authority.key);
    let serial = format!("{:X}", leaf.serial);
    let even = if serial.len() % 2 == 0 { "" } else { "0" };
    write(
        "index",
        &format!("V\t400101000000Z\t\t{even}{serial}\tunknown\t/CN=x\n"),
    );
    let output = Command::new("openssl")
        .current_dir(folder)
        .args([
            "ocsp", "-index", "index", "-CA", "ca.crt", "-issuer", "ca.crt",
        ])
        .args(["-rsigner", "ca.crt", "-rkey", "ca.key", "-cert", "tls.crt"])
        .args(["-ndays", "1", "-no_nonce", "-respout", "ocsp.der"])
        .output()
        .expect("openssl runs");
    assert!(output.status.success(), "{output:?}");
}

/// What `openssl s_client` says of a handshake.
fn handshake(at: SocketAddr, options: &[&str]) -> String {
    let output = Command::new("openssl")
        .args(["s_client", "-connect", &at.to_string()])
        .args(["-servername", "gateway.test"])
        .args(options)
        .stdin(Stdio::null())
        .output()
        .expect("openssl runs");
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&said).into_owned()
}

/// The head of what curl gets, in lower case.
fn curl(at: SocketAddr, options: &[&str]) -> String {
    let output = Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--insecure",
            "--include",
            "--max-time",
            "10",
        ])
        .args(options)
        .arg(format!("https://{at}/v1/orders"))
        .output()
        .expect("curl runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).to_ascii_lowercase()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn browsers_get_cors_good_ciphers_and_a_stapled_answer() {
    let public = Authority::new("public");
    let upstream = TlsUpstream::start().await;
    let mut shipped = Shipped::new("envoy/browsers.yaml");
    shipped.place("orders.internal", 8080, upstream.address);
    let listener = "address: 0.0.0.0, port_value: 8443";
    shipped.put(listener, "address: 127.0.0.1, port_value: 0");
    let tls = shipped.folder.path().join("tls");
    fs::create_dir(&tls).unwrap();
    let leaf = public.named("gateway.test");
    fs::write(tls.join("tls.crt"), &leaf.cert).unwrap();
    fs::write(tls.join("tls.key"), &leaf.key).unwrap();
    ocsp(&public, &leaf, &tls);
    shipped.put("/etc/envoy/tls", &tls.display().to_string());
    let work = move || {
        let envoy = shipped.start();
        let at = envoy.listener("https");
        tls_is_good(at);
        cors_is_kept(at, &upstream);
    };
    tokio::task::spawn_blocking(work).await.unwrap();
}

fn tls_is_good(at: SocketAddr) {
    let stapled = handshake(at, &["-status"]);
    assert!(
        stapled.contains("OCSP Response Status: successful"),
        "{stapled}"
    );
    assert!(stapled.contains("Cert Status: good"), "{stapled}");
    let lax = "@SECLEVEL=0";
    for (options, agreed) in [
        (
            &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"][..],
            true,
        ),
        (&["-tls1_3"], true),
        (
            &[
                "-tls1_2",
                "-cipher",
                &format!("ECDHE-ECDSA-AES128-SHA:{lax}"),
            ],
            false,
        ),
        (
            &[
                "-tls1_2",
                "-cipher",
                &format!("ECDHE-ECDSA-AES256-SHA384:{lax}"),
            ],
            false,
        ),
        (&["-tls1_1", "-cipher", &format!("ALL:{lax}")], false),
    ] {
        let said = handshake(at, options);
        let none = said.contains("Cipher is (NONE)");
        assert_eq!(!none, agreed, "{options:?}: {said}");
    }
}

fn cors_is_kept(at: SocketAddr, upstream: &TlsUpstream) {
    let preflight = |origin: &str| {
        let origin = format!("origin: {origin}");
        curl(
            at,
            &[
                "--request",
                "OPTIONS",
                "--header",
                &origin,
                "--header",
                "access-control-request-method: POST",
            ],
        )
    };
    for origin in ["https://portal.example.com", "https://a-1.apps.example.com"] {
        let answer = preflight(origin);
        assert!(answer.starts_with("http/2 200"), "{answer}");
        for header in [
            &format!("access-control-allow-origin: {origin}\r\n"),
            "access-control-allow-credentials: true\r\n",
            "access-control-allow-methods: get, post, put, delete\r\n",
            "access-control-max-age: 600\r\n",
        ] {
            assert!(answer.contains(header), "{header}: {answer}");
        }
    }
    for origin in [
        "https://portal.example.com.evil.example",
        "https://evil.apps.example.com.evil.example",
        "http://portal.example.com",
        "null",
    ] {
        let answer = preflight(origin);
        assert!(
            !answer.contains("access-control-allow-origin"),
            "{origin}: {answer}"
        );
    }
    assert_eq!(upstream.requests(), 0, "preflights end at the edge");
    let answer = curl(at, &["--header", "origin: https://portal.example.com"]);
    assert!(answer.starts_with("http/2 200"), "{answer}");
    assert!(
        answer.contains("access-control-allow-origin: https://portal.example.com\r\n"),
        "{answer}"
    );
    assert!(
        answer.contains("access-control-expose-headers: x-request-id"),
        "{answer}"
    );
    let answer = curl(at, &["--header", "origin: https://evil.example"]);
    assert!(!answer.contains("access-control-allow-origin"), "{answer}");
}
