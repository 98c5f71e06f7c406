//! `config build`: the example, in real gateways, and every mistake in its place.

use std::fs;
use std::path::{Path, PathBuf};

use testkit::World;

use crate::edge::{Edge, read, validate};
use crate::run::{Run, portcullis, root};

/// A copy of the example's sources.
pub struct Sources(tempfile::TempDir);

impl Sources {
    pub fn new() -> Self {
        let sources = Self(tempfile::tempdir().unwrap());
        for entry in walk(&root().join("ops/config")) {
            let to = sources.at(entry.strip_prefix(root().join("ops/config")).unwrap());
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(&entry, to).unwrap();
        }
        sources
    }

    pub fn at(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        fs::read_to_string(self.at(name)).unwrap()
    }

    /// Replaces what has to be there, once.
    pub fn put(&self, name: &str, from: &str, to: &str) {
        let text = self.text(name);
        assert!(text.contains(from), "{name} has no {from}");
        fs::write(self.at(name), text.replacen(from, to, 1)).unwrap();
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.at(name), text).unwrap();
    }

    pub fn build(&self, more: &[&str]) -> Run {
        let folder = self.0.path().display().to_string();
        let arguments = ["config", "build", &folder];
        portcullis(arguments.iter().chain(more))
    }
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(walk(&path));
        } else {
            files.push(path);
        }
    }
    files
}

#[test]
fn the_example_is_what_its_sources_make_and_passes_our_own_checks() {
    let run = portcullis(["config", "build", "ops/config", "--check"]);
    assert_eq!(
        run.code, 0,
        "portcullis config build ops/config\n{}",
        run.stdout
    );
    for arguments in [
        &[
            "check-config",
            "--strict",
            "--kong",
            "ops/config/kong.yml",
            "--kong-conf",
            "ops/kong/kong.conf",
        ][..],
        &[
            "check-config",
            "--strict",
            "--envoy",
            "ops/config/envoy.yaml",
        ],
        &[
            "lint",
            "--strict",
            "ops/config/kong.yml",
            "--openapi",
            "ops/config/openapi",
        ],
    ] {
        let run = portcullis(arguments);
        assert_eq!(run.code, 0, "{arguments:?}: {}", run.stdout);
    }
}

#[test]
fn the_same_sources_make_the_same_bytes_wherever_they_are() {
    let (one, other) = (Sources::new(), Sources::new());
    for sources in [&one, &other] {
        for name in ["kong.yml", "envoy.yaml"] {
            fs::remove_file(sources.at(name)).unwrap();
        }
        let run = sources.build(&[]);
        assert_eq!(run.code, 0, "{}", run.stdout);
    }
    for name in ["kong.yml", "envoy.yaml"] {
        let shipped = fs::read_to_string(root().join("ops/config").join(name)).unwrap();
        assert_eq!(one.text(name), shipped);
        assert_eq!(other.text(name), shipped);
    }
    // A byte of a source is another digest, also where it changes nothing else.
    one.put("registry.yml", "# Services", "#  Services");
    let run = one.build(&["--check"]);
    assert_eq!(run.code, 1);
    assert!(
        run.stdout.contains("STALE: its sources have changed"),
        "{}",
        run.stdout
    );
    assert!(run.stdout.contains("+# sources sha256:"), "{}", run.stdout);
}

#[test]
fn what_a_hand_has_edited_is_not_overwritten() {
    let sources = Sources::new();
    let built = sources.text("kong.yml");
    for edit in [
        built.replace("retries: 0", "retries: 3"),
        built.split_once("\n\n").unwrap().1.to_owned(),
    ] {
        sources.write("kong.yml", &edit);
        let run = sources.build(&[]);
        assert_eq!(run.code, 1, "{}", run.stdout);
        assert!(run.stdout.contains("REFUSED"), "{}", run.stdout);
        assert!(run.stdout.contains("--discard-edits"), "{}", run.stdout);
        assert_eq!(sources.text("kong.yml"), edit, "it is as it was");
        assert_eq!(sources.build(&["--check"]).code, 1);
    }
    let edited = built.replace("retries: 0", "retries: 3");
    sources.write("kong.yml", &edited);
    // What would be lost is shown, and neither file is of other sources than the other.
    sources.put("registry.yml", "throttle-rate: 50", "throttle-rate: 60");
    let envoy = sources.text("envoy.yaml");
    let run = sources.build(&[]);
    assert_eq!(run.code, 1);
    assert!(run.stdout.contains("-  retries: 3"), "{}", run.stdout);
    assert_eq!(sources.text("envoy.yaml"), envoy);
    let json = sources.build(&["--format", "json"]).json();
    assert_eq!(json["files"][0]["found"], "edited");
    assert_eq!(json["files"][0]["done"], "refused");

    assert_eq!(sources.build(&["--discard-edits"]).code, 0);
    assert_eq!(sources.build(&["--check"]).code, 0);
    assert!(sources.text("kong.yml").contains("limit: 60/s"));
}

/// A mistake: what is written where, and what is said of it: the file, its line, the path in it, the rule.
struct Mistake {
    file: &'static str,
    from: &'static str,
    to: &'static str,
    said: &'static str,
    rule: &'static str,
}

const fn mistake(
    file: &'static str,
    from: &'static str,
    to: &'static str,
    said: &'static str,
    rule: &'static str,
) -> Mistake {
    Mistake {
        file,
        from,
        to,
        said,
        rule,
    }
}

const MISTAKES: [Mistake; 33] = [
    mistake(
        "registry.yml",
        "version: v1",
        "verison: v1",
        "registry.yml:14: error: services.accounts.verison: is unknown here",
        "unknown-key",
    ),
    mistake(
        "registry.yml",
        "    version: v1\n",
        "",
        "registry.yml:13: error: services.accounts.version: is required",
        "missing",
    ),
    mistake(
        "registry.yml",
        "    authorizer: customers\n",
        "",
        "services.payments.authorizer: is required",
        "missing",
    ),
    mistake(
        "registry.yml",
        "version: v2",
        "version: two",
        "services.reports.version: \"two\" is no version",
        "wrong-type",
    ),
    mistake(
        "registry.yml",
        "throttle-rate: 50",
        "throttle-rate: 5000",
        "services.payments.throttle-rate: 5000/s is above the ceiling of 2000/s",
        "throttle",
    ),
    mistake(
        "registry.yml",
        "throttle-burst: 100",
        "throttle-burst: 49",
        "services.payments.throttle-burst: a burst of 49 is below the rate of 50/s",
        "throttle",
    ),
    mistake(
        "registry.yml",
        "throttle-rate: 50",
        "throttle-rate: 0",
        "services.payments.throttle-rate: is 0",
        "throttle",
    ),
    mistake(
        "registry.yml",
        "throttle-rate: 50",
        "throttle-rate: fast",
        "services.payments.throttle-rate: must be a whole number",
        "wrong-type",
    ),
    mistake(
        "registry.yml",
        "authorizer: customers",
        "authorizer: strangers",
        "filters[3].config.rules",
        "config",
    ),
    mistake(
        "registry.yml",
        "authorizer: customers",
        "authorizer: public",
        "a registered service is not public",
        "authorizer",
    ),
    mistake(
        "registry.yml",
        "/v1/accounts",
        "/v1/../accounts",
        "services.accounts.route-prefix: \"/v1/../accounts\" is no path",
        "path",
    ),
    mistake(
        "registry.yml",
        "/v1/accounts",
        "/v1/orders",
        "is also taken by rt-accounts-v1-api",
        "duplicate",
    ),
    mistake(
        "registry.yml",
        "  payments:",
        "  orders:",
        "the service orders is at",
        "duplicate",
    ),
    mistake(
        "registry.yml",
        "  payments:",
        "  accounts:",
        "registry.yml:",
        "yaml",
    ),
    mistake(
        "registry.yml",
        "https://accounts.internal:8443",
        "https://accounts.internal/v1",
        "services.accounts.url: has a path",
        "url",
    ),
    mistake(
        "registry.yml",
        "https://accounts",
        "https://user:secret@accounts",
        "services.accounts.url: has a user in it",
        "url",
    ),
    mistake(
        "gateway.yml",
        "owner: team-platform, ",
        "",
        "rt-reports-v2-api has no tag owner",
        "missing",
    ),
    mistake(
        "gateway.yml",
        "ceiling: 2000",
        "ceiling: 100",
        "gateway.yml:6: error: throttle.rate: 200/s is above the ceiling of 100/s",
        "throttle",
    ),
    mistake(
        "services/orders.yml",
        "name: orders",
        "name: order",
        "services/orders.yml:1: error: name: is order, but the file is called orders",
        "name",
    ),
    mistake(
        "services/orders.yml",
        "timeout: 10s",
        "timeout: soon",
        "services/orders.yml:3: error: timeout: must be a duration",
        "wrong-type",
    ),
    mistake(
        "services/orders.yml",
        "timeout: 10s",
        "timeout: 10s\nretries: 3",
        "services/orders.yml:4: error: retries: is unknown here",
        "unknown-key",
    ),
    mistake(
        "services/redis-proxy.yml",
        "http://",
        "https://",
        "in Kong filters call services without TLS",
        "reference",
    ),
    mistake(
        "routes/rt-orders-v1-api.yml",
        "service: orders",
        "service: ordres",
        "there is no service ordres",
        "reference",
    ),
    mistake(
        "routes/rt-orders-v1-api.yml",
        "GET, POST",
        "GET, BREW",
        "routes/rt-orders-v1-api.yml:4: error: methods[1]: \"BREW\" is none of",
        "wrong-type",
    ),
    mistake(
        "routes/rt-orders-v1-api.yml",
        "[ /v1/orders ]",
        "[ /v1 ]",
        "name the methods here too",
        "path",
    ),
    mistake(
        "routes/rt-orders-v1-admin.yml",
        "throttle-rate: 5",
        "authorizer: staff\nthrottle-rate: 5",
        "decides for all of rt-orders-v1-admin",
        "authorizer",
    ),
    mistake(
        "routes/rt-orders-v1-api.yml",
        "service: orders",
        "service: orders\nfilter-chain: none",
        "there is no filter chain none",
        "reference",
    ),
    mistake(
        "plugins/prometheus.yml",
        "name: prometheus",
        "name: cors",
        "plugins/prometheus.yml:1: error: only: Envoy has no cors",
        "only-kong",
    ),
    mistake(
        "plugins/prometheus.yml",
        "name: prometheus",
        "name: auth",
        "auth is a filter",
        "filter-as-plugin",
    ),
    mistake(
        "filter-chains/edge.yml",
        "- name: tarpit",
        "- name: tarpits",
        "did you mean tarpit?",
        "filter-unknown",
    ),
    mistake(
        "filter-chains/edge.yml",
        "deny_bots: true",
        "deny_bots: maybe",
        "edge.yml:15: error: filters[1].config.rules[1].deny_bots",
        "config",
    ),
    mistake(
        "filter-chains/edge.yml",
        "{ upstream: redis-proxy,",
        "{ upstream: redis-prox,",
        "filters[1].config.lists.upstream: there is no service redis-prox",
        "reference",
    ),
    mistake(
        "filter-chains/edge.yml",
        "- { dimension: tenant, tiers: true }",
        "- { dimension: route, limit: 1/s }",
        "filters[4].config.rules[1].limits[0]: limits by route",
        "throttle",
    ),
];

#[test]
fn every_mistake_is_said_with_its_place() {
    for Mistake {
        file,
        from,
        to,
        said,
        rule,
    } in MISTAKES
    {
        let sources = Sources::new();
        sources.put(file, from, to);
        let before = (sources.text("kong.yml"), sources.text("envoy.yaml"));
        let run = sources.build(&[]);
        assert_eq!(run.code, 1, "{file}: {to}: {run:#?}");
        let line = run.stdout.lines().find(|line| line.contains(said));
        let line = line.unwrap_or_else(|| panic!("{file}: {to}: no {said} in\n{}", run.stdout));
        assert!(line.ends_with(&format!("[{rule}]")), "{line}");
        assert_eq!(
            (sources.text("kong.yml"), sources.text("envoy.yaml")),
            before,
            "nothing was written"
        );
    }
}

#[test]
fn files_that_do_not_belong_are_said() {
    for (name, text, said, rule) in [
        (
            "routes/notes.txt",
            "x",
            "routes/notes.txt: error: is no YAML file",
            "stray-file",
        ),
        (
            "extra.yml",
            "a: 1",
            "extra.yml: error: is none of",
            "stray-file",
        ),
        (
            "services/orders.yaml",
            "name: orders\nurl: http://x\n",
            "the service orders is at",
            "duplicate",
        ),
        (
            "services/unused.yml",
            "name: unused\nurl: http://x\n",
            "no route leads to unused",
            "unused",
        ),
        ("services/bad.yml", "name: [\n", "services/bad.yml:", "yaml"),
        (
            "services/two.yml",
            "name: two\n---\nname: two\n",
            "must hold one document",
            "yaml",
        ),
        (
            "routes/list.yml",
            "- a\n",
            "must be an object",
            "wrong-type",
        ),
    ] {
        let sources = Sources::new();
        sources.write(name, text);
        let run = sources.build(&[]);
        assert_eq!(run.code, 1, "{name}: {run:#?}");
        let line = run.stdout.lines().find(|line| line.contains(said));
        let line = line.unwrap_or_else(|| panic!("{name}: {}", run.stdout));
        assert!(line.ends_with(&format!("[{rule}]")), "{line}");
    }
    let run = portcullis(["config", "build", "no-such-folder"]);
    assert_eq!(run.code, 3, "{run:#?}");
}

/// Two chains: Envoy runs the longer one, and switches off what a route's own chain lacks.
#[test]
fn a_route_may_have_a_shorter_chain() {
    let sources = Sources::new();
    sources.write(
        "filter-chains/open.yml",
        "name: open\nfilters:\n- name: edge_headers\n  envoy: { source: envoy }\n",
    );
    sources.put("gateway.yml", "envoy:", "filter-chain: edge\n\nenvoy:");
    sources.put(
        "routes/rt-orders-v1-public.yml",
        "authorizer: public",
        "authorizer: public\nfilter-chain: open",
    );
    let run = sources.build(&[]);
    assert_eq!(run.code, 0, "{}", run.stdout);
    let envoy = read(&sources.at("envoy.yaml"));
    let routes = envoy
        .pointer("/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/route_config/virtual_hosts/0/routes")
        .unwrap();
    let of = |name: &str| {
        routes
            .as_array()
            .unwrap()
            .iter()
            .find(|it| it["name"] == name)
            .unwrap()
    };
    let off = of("rt-orders-v1-public")["typed_per_filter_config"]
        .as_object()
        .unwrap();
    let names: Vec<&String> = off.keys().collect();
    assert_eq!(
        names,
        [
            "portcullis.auth",
            "portcullis.fingerprint_deny",
            "portcullis.quota",
            "portcullis.rate_limit",
            "portcullis.tarpit"
        ]
    );
    assert!(
        of("rt-orders-v1-api")
            .get("typed_per_filter_config")
            .is_none()
    );
    validate_in_place(&sources, envoy);
    // In another order, or configured otherwise, it is no part.
    sources.put(
        "filter-chains/open.yml",
        "{ source: envoy }",
        "{ source: other }",
    );
    let run = sources.build(&[]);
    assert_eq!(run.code, 1);
    assert!(
        run.stdout.contains("is configured otherwise in edge"),
        "{}",
        run.stdout
    );
}

fn validate_in_place(sources: &Sources, mut config: serde_json::Value) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    fs::write(sources.at("tls.crt"), made.cert.pem()).unwrap();
    fs::write(sources.at("tls.key"), made.signing_key.serialize_pem()).unwrap();
    let nowhere = [std::net::SocketAddr::from(([127, 0, 0, 1], 9)); 4];
    crate::edge::place(&mut config, &sources.at(""), &nowhere);
    validate(&config, &sources.at(""));
}

/// What was built routes, refuses and limits in a real Envoy.
#[test]
fn the_example_is_an_edge_in_envoy() {
    let edge = Edge::start(read(&root().join("ops/config/envoy.yaml")), World::new());
    edge.until("a list", |it| it.curl("/health", &[]).0 == 200);
    let post = ["--http1.1", "--request", "POST", "--data", "{}"];
    for (path, options, status) in [
        ("/health", &[][..], 200),
        ("/healthy", &[], 404),
        // Public, and another service's; no browser.
        (
            "/v1/auth/login",
            &["--http1.1", "--user-agent", "sqlmap/1.7", "--data", "{}"],
            403,
        ),
        ("/v1/orders", &[], 401),
        ("/v1/orders/7", &[], 401),
        // No route takes it, so no rule knows it.
        ("/v1/orders", &["--request", "DELETE"], 401),
        ("/v1/accounts", &[], 401),
        ("/v1/payments/1", &post, 401),
        ("/v2/reports", &[], 401),
        ("/v1/admin/orders", &[], 401),
        ("/nothing", &[], 401),
    ] {
        let (got, head, body) = edge.curl(path, options);
        let expected = if path == "/healthy" {
            [401, 404]
        } else {
            [status, status]
        };
        assert!(expected.contains(&got), "{path}: {head}\n{body}");
    }
    let (_, _, body) = edge.curl("/health", &[]);
    assert!(body.contains("\"x-gateway-source\""), "{body}");
    assert!(
        body.contains("orders.internal:8080"),
        "the service is asked under its own name: {body}"
    );
}
