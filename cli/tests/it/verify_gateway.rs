//! `verify-gateway`: an edge as it is shipped passes all of it; one that does everything wrong fails each at least once.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};
use testkit::auth_service::SERVICE_TOKEN;
use testkit::http_server::wall_clock;
use testkit::{ApiKey, Key, Token, World};

use crate::config_build::Sources;
use crate::edge::{Edge, read};
use crate::run::{Run, portcullis, root};

const ISSUER: &str = "https://auth.example.com/customers";

/// Everything that is sent as a credential.
struct Folder {
    folder: tempfile::TempDir,
    secrets: Vec<String>,
}

impl Folder {
    /// Credentials that the services of this world know.
    fn new(world: &World) -> Self {
        let key = Key::rsa("customers-2026", 0);
        world.auth.publish("/.well-known/jwks.json", [&key]);
        let api_key = ApiKey {
            tier: Some("gold".into()),
            ..ApiKey::new("verify", "acc-42")
        };
        world.auth.add_api_key(api_key.clone());
        let token = || {
            Token {
                exp_in: Some("1h".into()),
                ..Token::new("key")
            }
            .claim("iss", ISSUER)
            .claim("aud", "platform")
            .claim("sub", "user-7")
            .claim("tid", "tenant-3")
            .claim("tier", "gold")
        };
        let mint = |token: Token| {
            let minted = token.mint(
                wall_clock(),
                |_| Some(key.clone()),
                |text| Ok(text.to_owned()),
            );
            minted.expect("the recipe is complete")
        };
        let expired = Token {
            exp_in: Some("-10s".into()),
            ..token()
        };
        let folder = tempfile::tempdir().unwrap();
        let mut secrets = Vec::new();
        for (name, text) in [
            ("token", mint(token())),
            ("expired-token", mint(expired)),
            (
                "wrong-issuer-token",
                mint(token().claim("iss", "https://auth.example.com/customer")),
            ),
            ("wrong-audience-token", mint(token().claim("aud", "other"))),
            ("api-key", api_key.key),
        ] {
            fs::write(folder.path().join(name), format!("{text}\n")).unwrap();
            secrets.push(text);
        }
        Self { folder, secrets }
    }

    fn path(&self) -> String {
        self.folder.path().display().to_string()
    }
}

fn verify(edge: &Edge, ca: &str, more: &[&str]) -> Run {
    let url = edge.url();
    let arguments = ["verify-gateway", &url, "--ca", ca];
    portcullis(arguments.iter().chain(more))
}

/// The names of the assertions with this verdict.
fn with(run: &Run, verdict: &str) -> BTreeSet<String> {
    let report = run.json();
    let all = report["assertions"].as_array().unwrap();
    let named = all.iter().filter(|it| it["verdict"] == verdict);
    named
        .map(|it| it["name"].as_str().unwrap().to_owned())
        .collect()
}

fn reveals_nothing(run: &Run, folder: &Folder) {
    for secret in &folder.secrets {
        let shown = run.stdout.contains(secret) || run.stderr.contains(secret);
        assert!(!shown, "a credential is shown: {run:#?}");
    }
}

#[test]
fn a_good_edge_passes_everything() {
    let sources = Sources::new();
    sources.put(
        "filter-chains/edge.yml",
        "    failures: { limit: 20, window: 1m }",
        &format!(
            "    api_keys: {{ upstream: auth-service, authority: auth.internal, service_token: {SERVICE_TOKEN:?} }}\n    failures: {{ limit: 50, window: 1m }}"
        ),
    );
    sources.put(
        "filter-chains/edge.yml",
        "proxy: { upstream: redis-proxy,",
        "proxy: { upstream: limiter,",
    );
    sources.put(
        "routes/rt-orders-v1-api.yml",
        "[ staff, customers ]",
        "[ staff, customers, api-key ]",
    );
    sources.put(
        "registry.yml",
        "throttle-rate: 50\n    throttle-burst: 100",
        "throttle-rate: 5",
    );
    sources.write(
        "services/limiter.yml",
        "name: limiter\nurl: http://limiter.internal:8970\n",
    );
    let run = sources.build(&["--check"]);
    assert!(run.stdout.contains("STALE"), "{}", run.stdout);
    let run = sources.build(&[]);
    assert_eq!(run.code, 0, "{}", run.stdout);
    let world = World::new();
    let folder = Folder::new(&world);
    let edge = Edge::start(read(&sources.at("envoy.yaml")), world);
    edge.until("a list and keys", |it| {
        let token = format!("authorization: Bearer {}", folder.secrets[0]);
        it.curl("/v1/orders", &["--header", &token]).0 == 200
    });

    let ca = edge.path("tls.crt");
    let credentials = folder.path();
    let all = [
        "--credentials",
        &credentials,
        "--load",
        "--load-path",
        "/v1/payments",
    ];
    let run = verify(&edge, &ca, &[&all[..], &["--format", "json"]].concat());
    assert_eq!(run.code, 0, "{}", run.stdout);
    assert_eq!(with(&run, "FAIL"), BTreeSet::new(), "{}", run.stdout);
    assert_eq!(with(&run, "skipped"), BTreeSet::new(), "{}", run.stdout);
    assert!(with(&run, "pass").len() >= 35, "{}", run.stdout);
    reveals_nothing(&run, &folder);
    let readme = fs::read_to_string(root().join("cli/README.md")).unwrap();
    for assertion in run.json()["assertions"].as_array().unwrap() {
        let [name, requirement, says] =
            ["name", "requirement", "says"].map(|field| assertion[field].as_str().unwrap());
        let row = format!("| `{name}` | {requirement} | {says} |");
        assert!(readme.contains(&row), "cli/README.md lacks {row}");
    }

    // Without credentials and without --load what cannot be asked is skipped, and is no pass.
    let run = verify(&edge, &ca, &[]);
    assert_eq!(run.code, 0, "{}", run.stdout);
    assert!(run.stdout.contains("skipped  J4"), "{}", run.stdout);
    assert!(
        run.stdout.contains("0 failed, 11 skipped"),
        "{}",
        run.stdout
    );
    // A certificate that nobody believes.
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let stranger = edge.path("stranger.crt");
    fs::write(&stranger, other.cert.pem()).unwrap();
    let run = verify(&edge, &stranger, &["--format", "json"]);
    assert_eq!(run.code, 1);
    let failed = BTreeSet::from(["certificate".to_owned()]);
    assert_eq!(with(&run, "FAIL"), failed, "{}", run.stdout);
}

/// An Envoy that does everything wrong.
fn open(config: &mut Value) {
    let resources = &mut config["static_resources"];
    let chain = &mut resources["listeners"][0]["filter_chains"][0];
    let context = &mut chain["transport_socket"]["typed_config"]["common_tls_context"];
    context["tls_params"] = json!({
        "tls_minimum_protocol_version": "TLSv1_0",
        "cipher_suites": ["ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA"],
    });
    let manager = &mut chain["filters"][0]["typed_config"];
    *manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "open",
        "max_request_headers_kb": 8192,
        "common_http_protocol_options": { "max_headers_count": 5000 },
        "http_protocol_options": { "allow_chunked_length": true },
        "route_config": { "virtual_hosts": [{
            "name": "all", "domains": ["*"],
            "routes": [
                { "match": { "path": "/health", "headers": [{ "name": "x-health", "present_match": true }] }, "direct_response": { "status": 503 } },
                { "match": { "prefix": "/" }, "route": { "cluster": "orders", "timeout": "2s" } },
            ],
            "request_headers_to_remove": ["traceparent"],
            "response_headers_to_add": [{ "header": { "key": "x-request-id", "value": "%REQ(X-REQUEST-ID)%" }, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD" }],
        }] },
        "preserve_external_request_id": true,
        "http_filters": [{
            "name": "envoy.filters.http.router",
            "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
        }],
    });
    // The same without TLS.
    let mut plain = chain.clone();
    plain.as_object_mut().unwrap().remove("transport_socket");
    plain["filter_chain_match"] = json!({ "transport_protocol": "raw_buffer" });
    chain["filter_chain_match"] = json!({ "transport_protocol": "tls" });
    resources["listeners"][0]["filter_chains"]
        .as_array_mut()
        .unwrap()
        .push(plain);
}

#[test]
fn a_bad_edge_fails_everything() {
    let sources = Sources::new();
    let world = World::new();
    let folder = Folder::new(&world);
    let edge = Edge::start_with(
        read(&sources.at("envoy.yaml")),
        world.clone(),
        |config, _| open(config),
    );
    let ca = edge.path("tls.crt");
    let credentials = folder.path();
    let all = [
        "--credentials",
        &credentials,
        // What it waits for in vain it waits for in every run.
        "--timeout",
        "700ms",
        "--load",
        "--load-requests",
        "50",
        "--format",
        "json",
    ];
    let mut failed = BTreeSet::new();
    let mut every = BTreeSet::new();
    let mut gather = |run: &Run| {
        assert_eq!(run.code, 1, "{}", run.stdout);
        reveals_nothing(run, &folder);
        failed.extend(with(run, "FAIL"));
        for verdict in ["FAIL", "pass", "skipped"] {
            every.extend(with(run, verdict));
        }
    };
    // Everything passes, and is shown what it sent: what is to be refused fails, and nothing else.
    let run = verify(&edge, &ca, &all);
    gather(&run);
    let good = [
        "certificate",
        "good-key",
        "good-token",
        "health",
        "request-id",
        "request-id-kept",
    ];
    let passed: Vec<String> = with(&run, "pass").into_iter().collect();
    assert_eq!(passed, good, "{}", run.stdout);
    // Nothing works, and every answer has the same id.
    world
        .upstream
        .answer(503, &[("x-powered-by".into(), "x".into())]);
    gather(&verify(&edge, &ca, &all));
    // Refusals that say nothing of what they should.
    world
        .upstream
        .answer(401, &[("content-type".into(), "text/html".into())]);
    gather(&verify(&edge, &ca, &all));
    world.upstream.answer(429, &[]);
    gather(&verify(&edge, &ca, &all));
    // Ids of the gateway's own making, always the same one.
    let edge = edge.restart(|config| {
        let text = config
            .to_string()
            .replace("%REQ(X-REQUEST-ID)%", "one-for-all");
        *config = serde_json::from_str(&text).unwrap();
    });
    world.upstream.answer(200, &[]);
    gather(&verify(&edge, &edge.path("tls.crt"), &all));
    let stranger = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    fs::write(edge.path("stranger.crt"), stranger.cert.pem()).unwrap();
    gather(&verify(&edge, &edge.path("stranger.crt"), &all));

    let never: Vec<&String> = every.difference(&failed).collect();
    assert!(never.is_empty(), "these never fail: {never:?}");
    assert!(every.len() >= 35, "{every:?}");
}

#[test]
fn a_gateway_that_is_not_there_is_3() {
    let run = portcullis(["verify-gateway", "http://127.0.0.1:9"]);
    assert_eq!(run.code, 3, "{run:#?}");
    assert!(run.stderr.contains("no connection"), "{run:#?}");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("http://{}", listener.local_addr().unwrap());
    let run = portcullis(["verify-gateway", &silent, "--timeout", "300ms"]);
    assert_eq!(run.code, 3, "{run:#?}");
    assert!(run.stderr.contains("no answer in time"), "{run:#?}");
    let run = portcullis(["verify-gateway", "https://user:secret@gateway.test"]);
    assert_eq!(run.code, 3, "{run:#?}");
    assert!(!run.stderr.contains("user:secret"), "{run:#?}");
}
