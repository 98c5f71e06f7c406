//! The control API over real TLS: who gets in, what changes, what is refused and written down.

use std::{
    io::{self, Read as _},
    net::TcpStream,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use axum::body::Body;
use futures_util::stream::poll_fn;
use rcgen::ExtendedKeyUsagePurpose;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    control_client::{Authority, Connection, Control, Holder, SOC, install, soc},
    redis_server::eventually,
    service::binary,
};

const DENY: &str = "/v1/internal/edge/deny";
const TARPIT: &str = "/v1/internal/edge/tarpit";
const AUDIT: &str = "/v1/internal/edge/audit";

fn entry(value: &str) -> Value {
    json!({"kind": "ip", "value": value, "ttlSeconds": 600, "reason": "scans",
           "ticketUrl": "https://tickets.example/SEC-1"})
}

#[tokio::test]
async fn a_removal_may_say_why() {
    let control = Control::start().await;
    let soc = control.soc();
    let added = soc.post(DENY, &entry("192.0.2.1")).await;
    let location = format!("{DENY}/{}", added.body["id"].as_str().unwrap());
    for (query, field) in [
        ("reason=", "reason"),
        ("ticketUrl=https://tickets.example/SEC-2", "reason"),
        ("reason=x&ticketUrl=javascript:alert(1)", "ticketUrl"),
        ("why=x", "why"),
    ] {
        let refused = soc.delete(&format!("{location}?{query}")).await;
        assert_eq!(refused.problem(), "bad_query", "{query}");
        assert_eq!(refused.body["errors"][0]["field"], field, "{query}");
    }
    let why = "reason=a+mistake&ticketUrl=https://tickets.example/SEC-2";
    assert_eq!(soc.delete(&format!("{location}?{why}")).await.status, 204);
    let audit = soc.get(AUDIT).await.body;
    let note = json!({"reason": "a mistake", "ticketUrl": "https://tickets.example/SEC-2"});
    assert_eq!(audit["changes"][0]["note"], note);
    assert!(audit["changes"][1].get("note").is_none(), "{audit}");
    let lines = control.audit(1, |line| line["action"] == "removed").await;
    assert_eq!(lines[0]["note"], "a mistake");
}

/// A browser shows the certificate to whatever page makes it ask.
#[tokio::test]
async fn other_sites_change_nothing() {
    let control = Control::start().await;
    let soc = control.soc();
    let added = soc.post(DENY, &entry("192.0.2.1")).await;
    let location = format!("{DENY}/{}", added.body["id"].as_str().unwrap());
    let mut connection = soc.connect().await.unwrap();
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        for (method, path) in [("POST", DENY), ("DELETE", &location), ("OPTIONS", DENY)] {
            let body = Body::from(entry("192.0.2.2").to_string());
            let answer = connection
                .send_with(method, path, &[(name, value)], body)
                .await
                .unwrap();
            assert_eq!(
                (answer.status, answer.problem()),
                (403, "cross_site"),
                "{name}: {value}"
            );
            assert!(answer.headers.get("access-control-allow-origin").is_none());
        }
    }
    let own = [
        ("origin", "https://localhost"),
        ("sec-fetch-site", "same-origin"),
    ];
    let removed = connection
        .send_with("DELETE", &location, &own, Body::empty())
        .await
        .unwrap();
    assert_eq!(removed.status, 204);
    assert_eq!(soc.get(DENY).await.body["entries"], json!([]));
    control.audit(12, |line| line["code"] == "cross_site").await;
}

#[tokio::test]
async fn an_entry_lives_from_post_to_delete_and_the_audit_log_tells() {
    let control = Control::start().await;
    let soc = control.soc();
    let added = soc.post(DENY, &entry("::ffff:192.0.2.1")).await;
    assert_eq!(added.status, 201, "{added:?}");
    let id = added.body["id"].as_str().unwrap();
    let location = format!("{DENY}/{id}");
    assert_eq!(added.headers["location"], location.as_str());
    let expected = [
        ("kind", json!("ip")),
        ("value", json!("192.0.2.1")),
        ("who", json!(SOC)),
        ("reason", json!("scans")),
        ("ticketUrl", json!("https://tickets.example/SEC-1")),
        ("list", json!("deny")),
    ];
    for (field, value) in expected {
        assert_eq!(added.body[field], value, "{field}");
    }
    let lives =
        added.body["expiresMs"].as_u64().unwrap() - added.body["createdMs"].as_u64().unwrap();
    assert_eq!(lives, 600_000);

    let mut slowed = entry("192.0.2.1");
    slowed.as_object_mut().unwrap().remove("ttlSeconds");
    let slowed = soc.post(TARPIT, &slowed).await;
    assert_eq!(slowed.status, 201, "the lists are apart: {slowed:?}");

    assert_eq!(soc.get(&location).await.body, added.body);
    let listed = soc.get(DENY).await;
    assert_eq!(listed.body["entries"], json!([added.body]));
    assert!(listed.body.get("next").is_none());
    let other_list = location.replace("deny", "tarpit");
    assert_eq!(soc.get(&other_list).await.problem(), "no_such_entry");

    let tool = Holder {
        name: Some("tool"),
        uri: None,
        ..crate::control_client::soc()
    };
    let tool = control.client(Some(&control.authority.issue(&tool)));
    assert_eq!(tool.delete(&location).await.status, 204);
    assert_eq!(tool.delete(&location).await.problem(), "no_such_entry");
    assert_eq!(soc.get(&location).await.status, 404);
    assert_eq!(
        soc.post(DENY, &entry("192.0.2.1")).await.status,
        201,
        "again"
    );

    let audit = soc.get(AUDIT).await.body;
    let told: Vec<_> = audit["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| {
            let entry = &change["entry"];
            (
                change["action"].as_str().unwrap(),
                change["by"].as_str().unwrap(),
                entry["list"].as_str().unwrap(),
                entry["value"].as_str().unwrap(),
            )
        })
        .collect();
    let expected = [
        ("added", SOC, "deny", "192.0.2.1"),
        ("removed", "tool", "deny", "192.0.2.1"),
        ("added", SOC, "tarpit", "192.0.2.1"),
        ("added", SOC, "deny", "192.0.2.1"),
    ];
    assert_eq!(told, expected);
    let only = soc.get(&format!("{AUDIT}?list=tarpit")).await.body;
    assert_eq!(only["changes"].as_array().unwrap().len(), 1);
    let done = |line: &Value| {
        line["by"].is_string()
            && matches!(line["action"].as_str(), Some(action) if action != "refused")
    };
    control.audit(4, done).await;
}

#[tokio::test]
async fn clients_are_listed_by_uri_by_prefix_and_by_common_name_and_others_are_refused() {
    let control = Control::start().await;
    let holder = |name, uri| Holder { name, uri, ..soc() };
    for (name, uri) in [
        (None, Some(SOC)),
        (Some("other"), Some("spiffe://portcullis.test/team/x/y")),
        (Some("tool"), None),
    ] {
        let listed = control.client(Some(&control.authority.issue(&holder(name, uri))));
        assert_eq!(listed.get(DENY).await.status, 200, "{name:?} {uri:?}");
    }
    let strangers = [
        (Some("soc"), Some("spiffe://portcullis.test/guest")),
        (Some("guest"), None),
        (Some(SOC), None),
        (None, Some("spiffe://portcullis.test/teams")),
        (None, None),
    ];
    for (name, uri) in strangers {
        let stranger = control.client(Some(&control.authority.issue(&holder(name, uri))));
        for (method, path) in [
            ("GET", DENY),
            ("POST", DENY),
            ("GET", "/openapi.json"),
            ("GET", "/none"),
        ] {
            let answer = stranger
                .send(method, path, &entry("192.0.2.1").to_string())
                .await;
            assert_eq!(
                (answer.status, answer.problem()),
                (403, "client_not_allowed"),
                "{name:?} {uri:?}"
            );
        }
    }
    let soc = control.soc();
    assert_eq!(
        soc.get(DENY).await.body["entries"],
        json!([]),
        "nothing stored"
    );
    let lines = control.audit(strangers.len() * 4, |_| true).await;
    let first = &lines[1];
    assert_eq!(first["by"], "spiffe://portcullis.test/guest");
    assert_eq!(first["attempt"], format!("POST {DENY}"));
    assert_eq!(first["code"], "client_not_allowed");
    assert!(
        first["from"].as_str().unwrap().starts_with("127.0.0.1:"),
        "{first}"
    );
    let shown = "redis_proxy_edge_refused_total{code=\"client_not_allowed\"} 20";
    assert!(control.service.metrics().await.contains(shown));
}

#[tokio::test]
async fn without_a_good_certificate_there_is_no_connection_only_an_audit_line() {
    let control = Control::start().await;
    let of_server = Holder {
        use_for: ExtendedKeyUsagePurpose::ServerAuth,
        ..soc()
    };
    let expired = Holder {
        valid: -7_200..-3_600,
        ..soc()
    };
    let early = Holder {
        valid: 3_600..7_200,
        ..soc()
    };
    let own = |holder: &Holder| Some(control.authority.issue(holder));
    for (identity, code, claims) in [
        (None, "no_certificate", ""),
        (own(&expired), "certificate_expired", SOC),
        (own(&early), "certificate_not_yet_valid", SOC),
        (own(&of_server), "certificate_invalid", SOC),
        (
            Some(Authority::new().issue(&soc())),
            "certificate_foreign",
            SOC,
        ),
    ] {
        let client = control.client(identity.as_ref());
        let body = entry("192.0.2.1").to_string();
        let refused = client.try_send("POST", DENY, &body).await;
        assert!(refused.is_err(), "{code}: {refused:?}");
        let line = control.audited(code).await;
        assert_eq!(line["action"], "refused");
        assert_eq!(line["by"], claims, "{code}");
        assert_eq!(line["attempt"], "TLS handshake");
        assert!(
            line["from"].as_str().unwrap().starts_with("127.0.0.1:"),
            "{line}"
        );
        assert!(!line["detail"].as_str().unwrap().is_empty());
    }
    assert_eq!(control.soc().get(DENY).await.body["entries"], json!([]));
    let log = control.service.log.lock().unwrap();
    assert!(
        !log.contains("PRIVATE KEY") && !log.contains("BEGIN"),
        "{log}"
    );
}

/// What OpenSSL's client says of a handshake with these arguments and a listed certificate.
fn openssl(control: &Control, arguments: &[&str]) -> String {
    let dir = control.files.path();
    let identity = control.authority.issue(&soc());
    std::fs::write(dir.join("soc.pem"), identity.cert).unwrap();
    std::fs::write(dir.join("soc.key"), identity.key).unwrap();
    let output = Command::new("openssl")
        .args([
            "s_client",
            "-connect",
            &format!("127.0.0.1:{}", control.port),
        ])
        .args(["-cert", "soc.pem", "-key", "soc.key", "-CAfile", "ca.pem"])
        .args(arguments)
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .expect("openssl must be installed");
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test]
async fn tls_1_2_and_1_3_are_spoken_and_1_1_is_not() {
    let control = Control::start().await;
    let old = openssl(&control, &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]);
    assert!(old.contains("Cipher is (NONE)"), "{old}");
    let line = control.audited("tls_incompatible").await;
    assert_eq!(line["attempt"], "TLS handshake");
    for (version, shown) in [("-tls1_2", "New, TLSv1.2"), ("-tls1_3", "New, TLSv1.3")] {
        let said = openssl(&control, &[version]);
        assert!(
            said.contains(shown) && said.contains("Verification: OK"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn a_silent_client_is_cut_off_and_others_are_served_meanwhile() {
    let control = Control::start_with("", "handshake_timeout_ms = 300").await;
    let started = Instant::now();
    let mut silent = TcpStream::connect(("127.0.0.1", control.port)).unwrap();
    assert_eq!(control.soc().get(DENY).await.status, 200);
    silent
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    assert_eq!(silent.read(&mut [0]).unwrap(), 0, "closed");
    let after = started.elapsed();
    // Three seconds is what it waits unless it is told.
    assert!((250..2_900).contains(&after.as_millis()), "{after:?}");
    control.audited("handshake_timeout").await;
}

#[tokio::test]
async fn connections_above_the_most_wait() {
    let control = Control::start_with("", "max_connections = 1").await;
    let soc = control.soc();
    let mut held = soc.connect().await.unwrap();
    assert_eq!(held.send("GET", DENY, "").await.unwrap().status, 200);
    let waiting = tokio::spawn(async move { soc.get(DENY).await.status });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!waiting.is_finished(), "served above the most");
    drop(held);
    assert_eq!(waiting.await.unwrap(), 200);
}

#[tokio::test]
async fn a_bad_body_is_told_precisely_and_stores_nothing() {
    let control = Control::start().await;
    let soc = control.soc();
    let mut connection = soc.connect().await.unwrap();
    let with = |field: &str, value: Value| {
        let mut body = entry("192.0.2.1");
        body[field] = value;
        body.to_string()
    };
    let mut cases = vec![
        (with("kind", json!("host")), "kind"),
        (with("kind", json!("apikey")), "kind"),
        (with("value", json!("192.0.2.256")), "value"),
        (with("ttlSeconds", json!(0)), "ttlSeconds"),
        (with("ttlSeconds", json!(30 * 24 * 3_600 + 1)), "ttlSeconds"),
        (with("ttlSeconds", Value::Null), "ttlSeconds"),
        (with("reason", json!("")), "reason"),
        (with("reason", json!("x".repeat(1_025))), "reason"),
        (with("ticketUrl", json!("SEC-1")), "ticketUrl"),
        (
            with("ticketUrl", json!("https://me:hunter2@example/")),
            "ticketUrl",
        ),
        (with("owner", json!("me")), "owner"),
        ("{".to_owned(), ""),
        ("[]".to_owned(), ""),
        (String::new(), ""),
    ];
    for cidr in ["192.0.2.0/33", "192.0.2.0", "0.0.0.0/0", "::/0", "x"] {
        let body = json!({"kind": "cidr", "value": cidr, "ttlSeconds": 1, "reason": "x"});
        cases.push((body.to_string(), "value"));
    }
    for (body, field) in &cases {
        let answer = connection.send("POST", DENY, body).await.unwrap();
        assert_eq!(
            (answer.status, answer.problem()),
            (400, "bad_entry"),
            "{body}"
        );
        let errors = answer.body["errors"].as_array().unwrap();
        assert_eq!(errors.len(), 1, "{body}: {errors:?}");
        assert_eq!(errors[0]["field"], *field, "{body}");
        assert!(!errors[0]["problem"].as_str().unwrap().is_empty());
        assert!(!answer.body.to_string().contains("hunter2"));
    }
    let all = json!({"kind": "x", "value": 1, "ttlSeconds": "x", "more": 1}).to_string();
    let answer = connection.send("POST", DENY, &all).await.unwrap();
    assert_eq!(
        answer.body["errors"].as_array().unwrap().len(),
        5,
        "{answer:?}"
    );
    let many: String = (0..2_000).map(|i| format!("\"f{i}\":1,")).collect();
    let answer = connection
        .send("POST", DENY, &format!("{{{many}\"x\":1}}"))
        .await
        .unwrap();
    assert_eq!(
        answer.body["errors"].as_array().unwrap().len(),
        32,
        "bounded"
    );

    let megabyte = with("reason", json!("x".repeat(1 << 20)));
    let answer = soc.send("POST", DENY, &megabyte).await;
    assert_eq!((answer.status, answer.problem()), (413, "body_too_large"));

    assert_eq!(
        soc.get(DENY).await.body,
        json!({"entries": []}),
        "nothing stored"
    );
    assert_eq!(soc.get(AUDIT).await.body, json!({"changes": []}));
    let lines = control.audit(cases.len() + 3, |_| true).await;
    for line in &lines {
        assert_eq!(
            (&line["by"], &line["attempt"]),
            (&json!(SOC), &json!(format!("POST {DENY}")))
        );
        assert!(line.to_string().len() < 4_000, "bounded: {line}");
    }
    assert_eq!(lines[0]["code"], "bad_entry");
    assert_eq!(
        lines[0]["detail"],
        "kind: must be one of ja3, ja4, ip, cidr"
    );
    assert!(!control.service.log.lock().unwrap().contains("hunter2"));
}

#[tokio::test]
async fn other_bad_requests_are_told_too() {
    let control = Control::start().await;
    let soc = control.soc();
    let mut connection = soc.connect().await.unwrap();
    let long_id = format!("{DENY}/{}", "x".repeat(65));
    for (method, path, expected) in [
        ("GET", "/v1/internal/edge/deny?limit=0", (400, "bad_query")),
        (
            "GET",
            "/v1/internal/edge/deny?limit=1001",
            (400, "bad_query"),
        ),
        (
            "GET",
            "/v1/internal/edge/deny?limit=1&limit=2",
            (400, "bad_query"),
        ),
        ("GET", "/v1/internal/edge/deny?cursor=x", (400, "bad_query")),
        (
            "GET",
            "/v1/internal/edge/deny?kind=apikey",
            (400, "bad_query"),
        ),
        ("GET", "/v1/internal/edge/deny?page=1", (400, "bad_query")),
        (
            "GET",
            "/v1/internal/edge/audit?list=none",
            (400, "bad_query"),
        ),
        (
            "GET",
            "/v1/internal/edge/audit?cursor=1",
            (400, "bad_query"),
        ),
        ("GET", "/v1/internal/edge/revoked", (404, "not_found")),
        ("POST", "/v1/internal/edge/none", (404, "not_found")),
        ("GET", "/v1/internal/edge/deny/none", (404, "no_such_entry")),
        (
            "DELETE",
            "/v1/internal/edge/deny/%F0%9F",
            (404, "not_found"),
        ),
        ("DELETE", long_id.as_str(), (404, "no_such_entry")),
        ("PUT", "/v1/internal/edge/deny", (405, "method_not_allowed")),
        ("GET", "/metrics", (404, "not_found")),
        ("DELETE", "/cache/ghasi:apikey:12", (400, "bad_key")),
        ("DELETE", "/cache/other:apikey:12", (400, "bad_key")),
        (
            "GET",
            "/internal/edge/fingerprints?since=2d",
            (400, "bad_query"),
        ),
        (
            "GET",
            "/internal/edge/fingerprints?since=59s",
            (400, "bad_query"),
        ),
        (
            "GET",
            "/internal/edge/fingerprints?top=0",
            (400, "bad_query"),
        ),
        (
            "GET",
            "/internal/edge/fingerprints?kind=cidr",
            (400, "bad_query"),
        ),
    ] {
        let answer = connection.send(method, path, "").await.unwrap();
        assert_eq!(
            (answer.status, answer.problem()),
            expected,
            "{method} {path}"
        );
        if answer.status == 405 {
            assert_eq!(answer.headers["allow"], "GET,HEAD,POST");
        }
    }
    let all = connection.send("GET", "/v1/internal/edge/deny?limit=x&cursor=y&z", "");
    let errors = all.await.unwrap().body["errors"].take();
    assert_eq!(errors.as_array().unwrap().len(), 3, "{errors}");
    control.audit(22, |_| true).await;
}

#[tokio::test]
async fn of_many_at_once_exactly_one_adds_the_entry() {
    let control = Control::start().await;
    let soc = control.soc();
    for round in 0..5 {
        let body = entry(&format!("198.51.100.{round}"));
        let attempts = (0..8).map(|_| {
            let (soc, body) = (soc.clone(), body.clone());
            tokio::spawn(async move { soc.post(DENY, &body).await })
        });
        let mut added = Vec::new();
        let mut refused = Vec::new();
        for attempt in attempts.collect::<Vec<_>>() {
            let answer = attempt.await.unwrap();
            match answer.status {
                201 => added.push(answer.body["id"].clone()),
                _ => {
                    assert_eq!((answer.status, answer.problem()), (409, "duplicate"));
                    refused.push(answer.body["existingId"].clone());
                }
            }
        }
        assert_eq!(added.len(), 1);
        assert_eq!(refused, vec![added[0].clone(); 7]);
    }
    let entries = soc.get(DENY).await.body;
    assert_eq!(entries["entries"].as_array().unwrap().len(), 5);
    let changes = soc.get(AUDIT).await.body;
    assert_eq!(changes["changes"].as_array().unwrap().len(), 5);
}

/// All pages of a path, and how many there were.
async fn pages(connection: &mut Connection, path: &str, field: &str) -> (Vec<Value>, usize) {
    let (mut all, mut count) = (Vec::new(), 0);
    let mut cursor = String::new();
    loop {
        let mut page = connection
            .send("GET", &format!("{path}{cursor}"), "")
            .await
            .unwrap()
            .body;
        all.append(page[field].as_array_mut().unwrap());
        count += 1;
        assert!(count < 1_000, "no end");
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return (all, count),
        }
    }
}

#[tokio::test]
async fn more_than_a_thousand_entries_are_paged_each_once() {
    let control = Control::start().await;
    let soc = control.soc();
    let workers = (0..4_u32).map(|worker| {
        let soc = soc.clone();
        tokio::spawn(async move {
            let mut connection = soc.connect().await.unwrap();
            for n in (worker..1_100).step_by(4) {
                // every tenth is a network
                let (kind, value) = if n % 10 == 0 {
                    ("cidr", format!("10.{}.{}.0/24", n / 250, n % 250))
                } else {
                    ("ip", format!("10.{}.{}.9", n / 250, n % 250))
                };
                let body =
                    json!({"kind": kind, "value": value, "ttlSeconds": 3_600, "reason": "x"});
                let list = if n % 11 == 0 { TARPIT } else { DENY };
                let answer = connection.send("POST", list, &body.to_string()).await;
                assert_eq!(answer.unwrap().status, 201);
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await.unwrap();
    }
    let mut connection = soc.connect().await.unwrap();
    let (all, count) = pages(&mut connection, &format!("{DENY}?limit=99"), "entries").await;
    assert_eq!((all.len(), count), (1_000, 11));
    let versions: Vec<_> = all.iter().map(|e| e["version"].as_u64().unwrap()).collect();
    assert!(versions.is_sorted_by(|a, b| a < b), "in order, each once");
    let (usual, count) = pages(&mut connection, &format!("{DENY}?"), "entries").await;
    assert_eq!(
        (usual.len(), count, usual == all),
        (1_000, 10, true),
        "100 at a time"
    );

    for limit in [1_000, 7] {
        let path = format!("{DENY}?limit={limit}&kind=cidr");
        let (cidrs, _) = pages(&mut connection, &path, "entries").await;
        let expected: Vec<_> = all.iter().filter(|e| e["kind"] == "cidr").collect();
        assert_eq!(cidrs.iter().collect::<Vec<_>>(), expected, "limit {limit}");
    }

    let (changes, _) = pages(&mut connection, &format!("{AUDIT}?limit=130"), "changes").await;
    assert_eq!(changes.len(), 1_100);
    let times: Vec<_> = changes
        .iter()
        .map(|c| c["atMs"].as_u64().unwrap())
        .collect();
    assert!(times.is_sorted_by(|a, b| a >= b), "newest first");
    let mut ids: Vec<_> = changes.iter().map(|c| c["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 1_100, "each once");
    let (tarpit, _) = pages(
        &mut connection,
        &format!("{AUDIT}?limit=9&list=tarpit"),
        "changes",
    )
    .await;
    assert_eq!(tarpit.len(), 100);
}

#[tokio::test]
async fn a_revoked_key_is_acknowledged_and_written_down() {
    let control = Control::start().await;
    let soc = control.soc();
    let hash = "Ab".repeat(32);
    for _ in 0..2 {
        let answer = soc.delete(&format!("/cache/ghasi:apikey:{hash}")).await;
        assert_eq!((answer.status, answer.body), (202, Value::Null));
    }
    let audit = soc.get(&format!("{AUDIT}?list=revoked")).await.body;
    let told: Vec<_> = audit["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| (&change["action"], &change["by"], &change["entry"]["value"]))
        .collect();
    let value = json!(hash.to_lowercase());
    assert_eq!(
        told,
        [
            (&json!("renewed"), &json!(SOC), &value),
            (&json!("added"), &json!(SOC), &value)
        ]
    );
}

#[tokio::test]
async fn certificates_are_taken_over_while_running() {
    let control = Control::start().await;
    let old = control.soc();
    let mut open = old.connect().await.unwrap();
    assert_eq!(open.send("GET", DENY, "").await.unwrap().status, 200);

    // A file that cannot be used changes nothing and is told.
    let next = control.files.path().join("next");
    std::fs::write(&next, "nothing").unwrap();
    std::fs::rename(next, control.files.path().join("server.key")).unwrap();
    control
        .service
        .log_with("control.key: holds no PEM private key")
        .await;
    assert_eq!(old.get(DENY).await.status, 200);

    let authority = Authority::new();
    install(control.files.path(), &authority);
    let control = Control {
        authority,
        ..control
    };
    let new = control.soc();
    eventually(
        "the new ones are used",
        Duration::from_secs(60),
        async || {
            new.try_send("GET", DENY, "")
                .await
                .is_ok_and(|answer| answer.status == 200)
        },
    )
    .await;
    assert!(
        old.try_send("GET", DENY, "").await.is_err(),
        "of the old authority"
    );
    assert_eq!(
        open.send("GET", DENY, "").await.unwrap().status,
        200,
        "stays"
    );
    let log = control.service.log.lock().unwrap();
    assert_eq!(
        log.matches("holds no PEM private key").count(),
        1,
        "told once\n{log}"
    );
}

#[tokio::test]
async fn a_certificate_that_expires_on_an_open_connection_is_no_longer_good() {
    let control = Control::start().await;
    let brief = Holder {
        // Whole seconds; a busy machine needs one or two of them until it is connected.
        valid: -60..5,
        ..soc()
    };
    let client = control.client(Some(&control.authority.issue(&brief)));
    let mut connection = client.connect().await.unwrap();
    assert_eq!(connection.send("GET", DENY, "").await.unwrap().status, 200);
    let mut answer = None;
    eventually("it is refused", Duration::from_secs(60), async || {
        let got = connection.send("GET", DENY, "").await.unwrap();
        answer.insert(got).status != 200
    })
    .await;
    let answer = answer.unwrap();
    assert_eq!(
        (answer.status, answer.problem()),
        (403, "certificate_expired")
    );
    assert_eq!(control.audited("certificate_expired").await["by"], SOC);
}

#[tokio::test]
async fn sigterm_lets_open_requests_end_and_takes_no_new_ones() {
    let mut control = Control::start_with("drain_ms = 30000", "").await;
    let soc = control.soc();
    let mut idle = soc.connect().await.unwrap();
    assert_eq!(idle.send("GET", DENY, "").await.unwrap().status, 200);
    let mut open = soc.connect().await.unwrap();
    let (chunks, mut body) = tokio::sync::mpsc::unbounded_channel::<Result<String, io::Error>>();
    let body = Body::from_stream(poll_fn(move |cx| body.poll_recv(cx)));
    let answer = tokio::spawn(async move { open.send_body("POST", DENY, body).await });
    let text = entry("192.0.2.1").to_string();
    let (first, rest) = text.split_at(10);
    chunks.send(Ok(first.to_owned())).unwrap();
    // It has been sent, and who came later was served: it has been read, too.
    tokio::time::sleep(Duration::from_millis(300)).await;
    for _ in 0..3 {
        assert_eq!(soc.get(DENY).await.status, 200);
    }

    control.service.signal(Signal::TERM);
    let soon = Duration::from_secs(60);
    eventually("takes no new ones", soon, async || {
        soc.connect().await.is_err()
    })
    .await;
    eventually("idle ones end", soon, async || {
        idle.send("GET", DENY, "").await.is_err()
    })
    .await;
    chunks.send(Ok(rest.to_owned())).unwrap();
    drop(chunks);
    assert_eq!(answer.await.unwrap().unwrap().status, 201);
    assert!(control.service.exit(soon).success());
}

#[test]
fn a_bad_section_is_refused_with_every_problem() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    install(dir.path(), &authority);
    let foreign = Authority::new().server();
    std::fs::write(dir.path().join("foreign.key"), foreign.key).unwrap();
    let check = |section: &str| {
        let file = dir.path().join("config.toml");
        std::fs::write(&file, format!("[control]\n{section}")).unwrap();
        let output = binary()
            .args(["--check", "--config"])
            .arg(&file)
            .current_dir(&dir)
            .output()
            .unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    let good = "cert = 'server.pem'\nkey = 'server.key'\nclient_ca = 'ca.pem'\nallow = ['a']\n";
    assert_eq!(check(good), "");
    for (from, to, problem) in [
        (
            "['a']",
            "[]",
            "control.allow[0]: must name at least one client",
        ),
        (
            "['a']",
            "['a', 'spiffe://x']",
            "control.allow[1]: must be a SPIFFE ID",
        ),
        (
            "cert = 'server.pem'",
            "cert = 'none.pem'",
            "control.cert: No such file",
        ),
        (
            "cert = 'server.pem'",
            "cert = 'server.key'",
            "control.cert: holds no PEM certificate",
        ),
        (
            "'server.key'",
            "'foreign.key'",
            "control.key: is not that of the certificate",
        ),
        (
            "'server.key'",
            "'ca.pem'",
            "control.key: holds no PEM private key",
        ),
        (
            "'ca.pem'",
            "'server.key'",
            "control.client_ca: holds no PEM certificate",
        ),
        ("allow = ['a']", "", "allow"),
        (
            "allow",
            "max_connections = 0\nallow",
            "control.max_connections: must be 1 to",
        ),
        (
            "allow",
            "handshake_timeout_ms = 1\nallow",
            "control.handshake_timeout_ms: must be 10 to",
        ),
        ("allow", "other = 1\nallow", "control.other: other: unknown"),
    ] {
        let said = check(&good.replacen(from, to, 1));
        assert!(said.contains(problem), "{problem} in {said}");
        assert!(!said.contains("PRIVATE"), "{said}");
    }
}
