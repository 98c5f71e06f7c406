//! `check-config`: the shipped configurations are right, and each of many mistakes in them is found.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;

use crate::run::{Run, portcullis, root};

/// A mistake: what is written instead of what, and what must be said of it, with its line.
struct Mistake {
    name: &'static str,
    from: &'static str,
    to: &'static str,
    said: &'static str,
    /// The text of the line that it is said of, after the mistake was made.
    line: &'static str,
}

const fn mistake(
    name: &'static str,
    from: &'static str,
    to: &'static str,
    said: &'static str,
    line: &'static str,
) -> Mistake {
    Mistake {
        name,
        from,
        to,
        said,
        line,
    }
}

const IN_ENVOY: &[Mistake] = &[
    mistake(
        "an option that does not exist",
        "\"deny_bots\": true",
        "\"deny_bot\": true",
        "error: fingerprint_deny: rules[1].deny_bot: unknown field `deny_bot`",
        "\"deny_bot\": true",
    ),
    mistake(
        "a value of the wrong type",
        "\"burst\": 400",
        "\"burst\": true",
        "error: rate_limit: rules[1].limits[1].burst: ",
        "\"burst\": true",
    ),
    mistake(
        "a value that cannot be meant",
        "\"limit\": \"5/min\"",
        "\"limit\": \"5/m\"",
        "error: rate_limit: rules[0].limits[0].limit: ",
        "\"5/m\"",
    ),
    mistake(
        "a rule that names a provider that is not there",
        "\"any_of\": [ { \"jwt\": \"staff\" } ],",
        "\"any_of\": [ { \"jwt\": \"stuff\" } ],",
        "error: auth: rules[2].any_of[0]: jwt: there is no such provider",
        "\"stuff\"",
    ),
    mistake(
        "a comma too many in the JSON",
        "\"deny_bots\": true }",
        "\"deny_bots\": true, }",
        "error: fingerprint_deny: not JSON: ",
        "\"deny_bots\": true, }",
    ),
    mistake(
        "an option that is written twice",
        "{ \"source\": \"envoy\",",
        "{ \"source\": \"envoy\", \"source\": \"kong\",",
        "error: edge_headers: not JSON: a member occurs twice",
        "\"source\": \"kong\"",
    ),
    mistake(
        "another filter's module",
        "filename: /etc/portcullis/auth.wasm",
        "filename: /etc/portcullis/tarpit.wasm",
        "error: is named after auth, but its module is /etc/portcullis/tarpit.wasm",
        "name: portcullis.auth",
    ),
    mistake(
        "a module that does not exist",
        "filename: /etc/portcullis/rate_limit.wasm",
        "filename: /etc/portcullis/rate-limit.wasm",
        "error: is named after rate_limit, but its module is /etc/portcullis/rate-limit.wasm",
        "rate-limit.wasm",
    ),
    mistake(
        "the module for Kong",
        "filename: /etc/portcullis/auth.wasm",
        "filename: /etc/portcullis/kong/auth.wasm",
        "warning: /etc/portcullis/kong/auth.wasm is the module for Kong",
        "kong/auth.wasm",
    ),
    mistake(
        "a filter that lets everything pass once it has crashed",
        "name: auth\n                failure_policy: FAIL_RELOAD",
        "name: auth\n                failure_policy: FAIL_OPEN",
        "error: everything passes auth once it has crashed",
        "FAIL_OPEN",
    ),
    mistake(
        "the same by the old option",
        "name: tarpit\n                failure_policy: FAIL_RELOAD",
        "name: tarpit\n                fail_open: true",
        "error: everything passes tarpit once it has crashed",
        "fail_open: true",
    ),
    mistake(
        "a worker that answers 503 for ever",
        "name: tarpit\n                failure_policy: FAIL_RELOAD",
        "name: tarpit",
        "warning: tarpit has no failure_policy",
        "name: tarpit",
    ),
    mistake(
        "a field that Envoy does not have",
        "allow_on_headers_stop_iteration: true",
        "allow_on_header_stop_iteration: true",
        "error: the config of a Wasm filter has no field allow_on_header_stop_iteration",
        "allow_on_header_stop_iteration",
    ),
    mistake(
        "a body that never comes",
        "allow_on_headers_stop_iteration: true ",
        "allow_on_headers_stop_iteration: false ",
        "error: a limit counts by the body, which never comes without allow_on_headers_stop_iteration: true",
        "name: rate_limit",
    ),
    mistake(
        "a cluster that does not exist",
        "{ \"lists\": { \"upstream\": \"redis-proxy\", \"authority\": \"redis-proxy.internal\" } }",
        "{ \"lists\": { \"upstream\": \"redis_proxy\", \"authority\": \"redis-proxy.internal\" } }",
        "error: tarpit: lists.upstream: there is no cluster redis_proxy",
        "redis_proxy",
    ),
    mistake(
        "a timeout that ends before the tarpit does",
        "stream_idle_timeout: 60s",
        "stream_idle_timeout: 20s",
        "error: stream_idle_timeout of 20s ends before the tarpit's longest delay, 30s",
        "stream_idle_timeout: 20s",
    ),
    mistake(
        "a longer delay than the timeout",
        "{ \"lists\": { \"upstream\": \"redis-proxy\", \"authority\": \"redis-proxy.internal\" } }",
        "{ \"lists\": { \"upstream\": \"redis-proxy\", \"authority\": \"redis-proxy.internal\" }, \"longest_delay\": \"2m\" }",
        "error: stream_idle_timeout of 60s ends before the tarpit's longest delay, 120s",
        "stream_idle_timeout: 60s",
    ),
    mistake(
        "a rule for a route that does not exist",
        "{ \"match\": { \"path\": \"/health\" }, \"public\": true }",
        "{ \"match\": { \"routes\": [ \"rt-health\" ] }, \"public\": true }",
        "error: auth: rules[0].match.routes[0]: no route is named rt-health",
        "rt-health",
    ),
    mistake(
        "a configuration of no type",
        "configuration:\n                  \"@type\": type.googleapis.com/google.protobuf.StringValue\n                  value: |\n                    { \"source\"",
        "configuration:\n                  value: |\n                    { \"source\"",
        "error: edge_headers: configuration: has no @type",
        "value: |",
    ),
    mistake(
        "a configuration of a type that filters do not get",
        "configuration:\n                  \"@type\": type.googleapis.com/google.protobuf.StringValue\n                  value: |\n                    { \"source\"",
        "configuration:\n                  \"@type\": type.googleapis.com/google.protobuf.Any\n                  value: |\n                    { \"source\"",
        "error: edge_headers: configuration: google.protobuf.Any is none of",
        "google.protobuf.Any",
    ),
    mistake(
        "a runtime that Envoy lacks",
        "vm_id: auth\n                  runtime: envoy.wasm.runtime.v8",
        "vm_id: auth\n                  runtime: envoy.wasm.runtime.wasmtime",
        "error: auth runs in envoy.wasm.runtime.v8, not in envoy.wasm.runtime.wasmtime",
        "wasmtime",
    ),
    mistake(
        "another filter's vm_id",
        "vm_id: auth\n",
        "vm_id: tarpit\n",
        "warning: auth has the vm_id of tarpit: tarpit",
        "vm_id: tarpit",
    ),
    mistake(
        "a route without its filter",
        "route: { cluster: orders, timeout: 15s }",
        "route: { cluster: orders, timeout: 15s }\n                typed_per_filter_config:\n                  portcullis.auth:\n                    \"@type\": type.googleapis.com/envoy.config.route.v3.FilterConfig\n                    disabled: true",
        "warning: portcullis.auth is switched off for a route",
        "  portcullis.auth:",
    ),
    mistake(
        "a configuration of a route",
        "route: { cluster: orders, timeout: 15s }",
        "route: { cluster: orders, timeout: 15s }\n                typed_per_filter_config:\n                  portcullis.auth:\n                    \"@type\": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
        "error: portcullis.auth takes no configuration of a route",
        "  portcullis.auth:",
    ),
    mistake(
        "fingerprints that nobody computes",
        "enable_ja4_fingerprinting: true",
        "enable_ja4_fingerprinting: false",
        "warning: its TLS inspector does not compute JA4",
        "name: https",
    ),
    mistake(
        "fingerprints that nobody hands on",
        "object_key: portcullis.ja3",
        "object_key: portcullis.ja_3",
        "warning: fingerprint_deny: no set_filter_state of portcullis.ja3",
        "name: fingerprint_deny",
    ),
    mistake(
        "labels that stay in names",
        "  - { tag_name: tier, regex: '(\\.tier=([^.]+))' }\n",
        "",
        "warning: stats_tags lack tier",
        "tag_name: filter",
    ),
    mistake(
        "YAML that is none",
        "failure_policy: FAIL_RELOAD\n                vm_config:\n                  vm_id: auth",
        "failure_policy: FAIL_RELOAD\n               vm_config:\n                  vm_id: auth",
        "error: ",
        "vm_config",
    ),
];

const IN_KONG: &[Mistake] = &[
    mistake(
        "an option that does not exist",
        "deny_bots: true",
        "denny_bots: true",
        "error: fingerprint_deny: rules[1].denny_bots: unknown field `denny_bots`",
        "denny_bots",
    ),
    mistake(
        "a value of the wrong type",
        "failures: { limit: 20, window: 1m }",
        "failures: { limit: twenty, window: 1m }",
        "error: auth: failures.limit: invalid type: string",
        "twenty",
    ),
    mistake(
        "a duration without a unit",
        "failures: { limit: 20, window: 1m }",
        "failures: { limit: 20, window: \"60\" }",
        "error: auth: failures.window: ",
        "\"60\"",
    ),
    mistake(
        "a value that cannot be meant",
        "limit: 10/15min",
        "limit: 10/15m",
        "error: rate_limit: rules[0].limits[1].limit: ",
        "10/15m ",
    ),
    mistake(
        "an option that is missing",
        "audiences: [ orders ]\n",
        "\n",
        "error: auth: providers.staff: missing field `audiences`",
        "staff:",
    ),
    mistake(
        "a rule that names a provider that is not there",
        "any_of: [ { jwt: staff }, { api_key: true } ]",
        "any_of: [ { jwt: customers }, { api_key: true } ]",
        "error: auth: rules[2].any_of[0]: jwt: there is no such provider",
        "customers",
    ),
    mistake(
        "a network that is none",
        "allow_networks: [ 10.0.0.0/8 ]",
        "allow_networks: [ 10.0.0/8 ]",
        "error: fingerprint_deny: rules[0].allow_networks[0]: ",
        "10.0.0/8",
    ),
    mistake(
        "a hyphen in a name",
        "- name: rate_limit\n",
        "- name: rate-limit\n",
        "error: there is no filter rate-limit; did you mean rate_limit?",
        "rate-limit",
    ),
    mistake(
        "a filter among the plugins",
        "plugins:\n- name: prometheus",
        "plugins:\n- name: auth\n- name: prometheus",
        "error: auth is a filter: it belongs into a filter chain",
        "- name: auth",
    ),
    mistake(
        "text in place of an object",
        "config: { request: { remove: [ x-forwarded-host, server, x-powered-by, x-api-key, authorization ] } }",
        "config: '{}'",
        "error: the configuration of edge_headers is text",
        "config: '{}'",
    ),
    mistake(
        "a mistake in text",
        "config: { request: { remove: [ x-forwarded-host, server, x-powered-by, x-api-key, authorization ] } }",
        "config: '{\"sorce\": \"kong\"}'",
        "error: edge_headers: sorce: unknown field",
        "sorce",
    ),
    mistake(
        "an Envoy cluster in place of an address",
        "jwks: { upstream: \"10.0.0.7:8080\",",
        "jwks: { upstream: auth-service,",
        "error: auth: providers.staff.jwks.upstream: auth-service is no host:port",
        "auth-service",
    ),
    mistake(
        "a URL in place of an address",
        "proxy: { upstream: \"10.0.0.9:8970\",",
        "proxy: { upstream: \"http://10.0.0.9:8970\",",
        "error: rate_limit: proxy.upstream: http://10.0.0.9:8970 is no host:port",
        "http://10.0.0.9",
    ),
    mistake(
        "a name that only a resolver knows",
        "proxy: { upstream: \"10.0.0.9:8970\",",
        "proxy: { upstream: \"localhost:8970\",",
        "warning: rate_limit: proxy.upstream: localhost",
        "localhost",
    ),
    mistake(
        "a filter that is switched off",
        "- name: tarpit\n",
        "- name: tarpit\n        enabled: false\n",
        "warning: tarpit is switched off here",
        "enabled: false",
    ),
    mistake(
        "a chain that is switched off",
        "- name: fc-orders-v1-api\n",
        "- name: fc-orders-v1-api\n      enabled: false\n",
        "warning: the whole chain is switched off",
        "enabled: false",
    ),
    mistake(
        "a field that chains do not have",
        "- name: fc-orders-v1-api\n",
        "- name: fc-orders-v1-api\n      priority: 10\n",
        "error: a filter chain has no field priority",
        "priority",
    ),
    mistake(
        "a field that filters do not have",
        "- name: tarpit\n        config:",
        "- name: tarpit\n        configuration:",
        "error: a filter of a chain has no field configuration",
        "configuration",
    ),
    mistake(
        "a filter twice",
        "      - name: tarpit\n",
        "      - name: edge_headers\n        config: {}\n      - name: tarpit\n",
        "warning: edge_headers: edge_headers is in this chain twice",
        "- name: edge_headers\n        config: {}\n      - name: tarpit",
    ),
    mistake(
        "limits before it is known who it is",
        "      - name: auth\n        config:\n          trusted",
        "      - name: rate_limit\n        config:\n          proxy: { upstream: \"10.0.0.9:8970\", authority: x }\n          rules: [ { limits: [ { dimension: ip, limit: 5/s, scope: early } ] } ]\n      - name: auth\n        config:\n          trusted",
        "warning: auth: auth comes after rate_limit: who is refused should spend no budget",
        "- name: auth",
    ),
    mistake(
        "two chains of one route",
        "    filter_chains:\n    - name: fc-orders-v1-api\n",
        "    filter_chains:\n    - name: fc-first\n      filters: [ { name: edge_headers } ]\n    - name: fc-orders-v1-api\n",
        "error: is the second chain of the route rt-orders-v1-api",
        "- name: fc-orders-v1-api",
    ),
    mistake(
        "a filter in the chain of the service as well",
        "  routes:\n  - name: rt-orders-v1-public",
        "  filter_chains:\n  - filters: [ { name: edge_headers } ]\n  routes:\n  - name: rt-orders-v1-public",
        "warning: edge_headers: runs twice on rt-orders-v1-public",
        "- name: edge_headers",
    ),
    mistake(
        "a chain of nothing",
        "services:\n",
        "filter_chains:\n- filters: [ { name: edge_headers } ]\n\nservices:\n",
        "error: a chain belongs to one route or to one service",
        "- filters: [ { name: edge_headers } ]",
    ),
    mistake(
        "a chain of a route that does not exist",
        "services:\n",
        "filter_chains:\n- route: rt-orders-v2-api\n  filters: [ { name: edge_headers } ]\n\nservices:\n",
        "error: there is no route rt-orders-v2-api",
        "- route: rt-orders-v2-api",
    ),
    mistake(
        "a rule for a route that does not exist",
        "- match: { path: /v1/auth/login }\n            deny_bots: true",
        "- match: { routes: [ rt-login ] }\n            deny_bots: true",
        "error: fingerprint_deny: rules[1].match.routes[0]: no route is named rt-login",
        "rt-login",
    ),
    mistake(
        "metrics that nobody sees",
        "- name: prometheus ",
        "- name: correlation-id ",
        "warning: the plugin prometheus is missing",
        "_format_version",
    ),
    mistake(
        "no declarative configuration",
        "_format_version: \"3.0\"\n",
        "",
        "error: is no declarative configuration of Kong",
        "plugins:",
    ),
    mistake(
        "a member twice",
        "service_token: change-me\n",
        "service_token: change-me\n            service_token: again\n",
        "error: ",
        "service_token: again",
    ),
];

fn shipped(file: &str) -> String {
    fs::read_to_string(root().join("ops").join(file)).unwrap()
}

fn check(gateway: &str, text: &str) -> Run {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("gateway.yaml");
    fs::write(&file, text).unwrap();
    portcullis(["check-config".as_ref(), gateway.as_ref(), file.as_os_str()])
}

/// The lines of what was found, without the file's folder.
fn said(run: &Run) -> Vec<&str> {
    run.stdout
        .lines()
        .filter_map(|line| Some(line.split_once("gateway.yaml")?.1))
        .collect()
}

fn finds_each(gateway: &str, file: &str, mistakes: &[Mistake]) {
    let good = shipped(file);
    let before = check(gateway, &good);
    assert_eq!(before.code, 0, "{before:#?}");
    let mut missed = Vec::new();
    for it in mistakes {
        assert_eq!(
            good.matches(it.from).count().min(1),
            1,
            "{}: {}",
            it.name,
            it.from
        );
        let text = good.replacen(it.from, it.to, 1);
        let run = check(gateway, &text);
        let new: Vec<&str> = said(&run)
            .into_iter()
            .filter(|line| line.contains(it.said))
            .collect();
        let here = |line: &&str| {
            let number = line
                .trim_start_matches(':')
                .split(':')
                .next()
                .unwrap_or_default();
            let index = number
                .parse::<usize>()
                .unwrap_or_default()
                .saturating_sub(1);
            let rest: String = text.lines().skip(index).collect::<Vec<_>>().join("\n");
            let first = it.line.lines().count();
            let at: Vec<&str> = rest.lines().take(first).collect();
            at.join("\n").contains(it.line)
        };
        let old = said(&before).iter().any(|line| line.contains(it.said));
        let code = i32::from(it.said.starts_with("error"));
        if old || !new.iter().any(here) || run.code != code {
            missed.push(format!(
                "{}: {}, at {}\n{}",
                it.name, it.said, it.line, run.stdout
            ));
        }
    }
    assert!(missed.is_empty(), "missed:\n{}", missed.join("\n"));
}

#[test]
fn finds_each_mistake_in_envoy() {
    assert!(IN_ENVOY.len() >= 20);
    finds_each("--envoy", "envoy/envoy.yaml", IN_ENVOY);
}

#[test]
fn finds_each_mistake_in_kong() {
    assert!(IN_KONG.len() >= 20);
    finds_each("--kong", "kong/kong.yml", IN_KONG);
}

#[test]
fn the_shipped_configurations_are_right_but_for_the_token() {
    for (arguments, filters) in [
        (["--envoy", "ops/envoy/envoy.yaml"], 6),
        (["--kong", "ops/kong/kong.yml"], 8),
        (["--envoy", "ops/envoy/one-vm.yaml"], 1),
        (["--kong", "ops/kong/one-vm.yml"], 1),
    ] {
        let run = portcullis([
            "check-config",
            arguments[0],
            arguments[1],
            "--format",
            "json",
        ]);
        assert_eq!(run.code, 0, "{run:#?}");
        let report = run.json();
        assert_eq!(report["filters"].as_array().map(Vec::len), Some(filters));
        let findings = report["findings"].as_array().unwrap();
        let rules: Vec<&Value> = findings.iter().map(|it| &it["rule"]).collect();
        assert_eq!(rules, ["placeholder"], "{report:#}");
        let strict = portcullis(["check-config", arguments[0], arguments[1], "--strict"]);
        assert_eq!(strict.code, 1);
        assert!(!strict.stdout.contains("change-me"), "{strict:#?}");
    }
}

#[test]
fn what_is_shipped_for_an_upstream_behind_mtls_is_right() {
    let run = portcullis([
        "check-config",
        "--envoy",
        "ops/envoy/upstream-mtls.yaml",
        "--strict",
    ]);
    assert_eq!(run.code, 0, "{run:#?}");
}

#[test]
fn what_kong_itself_is_told_is_checked() {
    let good = fs::read_to_string(root().join("ops/kong/kong.conf")).unwrap();
    let folder = TempDir::new().unwrap();
    let conf = folder.path().join("kong.conf");
    let check = |text: &str| {
        fs::write(&conf, text).unwrap();
        portcullis([
            "check-config".as_ref(),
            "--kong".as_ref(),
            "ops/kong/kong.yml".as_ref(),
            "--kong-conf".as_ref(),
            conf.as_os_str(),
        ])
    };
    let run = check(&good);
    assert!(!run.stdout.contains("kong.conf"), "{run:#?}");
    assert_eq!(run.code, 0);
    for (from, to, said) in [
        (
            "wasm = on",
            "wasm = off",
            "kong.conf:7: error: filters need wasm = on",
        ),
        (
            "wasm_filters_path",
            "#",
            "kong.conf: error: wasm_filters_path is missing",
        ),
        (
            "wasm_filters = user",
            "wasm_filters = bundled",
            "error: wasm_filters has neither user nor edge_headers",
        ),
        (
            "body_buffer_size = 64k",
            "body_buffer_size = 1k",
            "error: a limit reads bodies of up to 4096 bytes, and nginx keeps 1024",
        ),
        (
            "worker_connections = 32768",
            "worker_connections = 4096",
            "error: 4096 clients in the tarpit hold two connections each",
        ),
        (
            "headers = off",
            "",
            "warning: Kong adds Server, Via and X-Kong-*",
        ),
        (
            "status_listen = 127.0.0.1:8100",
            "status_listen = off",
            "warning: without status_listen",
        ),
    ] {
        assert!(good.contains(from), "{from}");
        let run = check(&good.replace(from, to));
        assert!(run.stdout.contains(said), "{said}: {run:#?}");
        assert_eq!(run.code, i32::from(said.contains("error")), "{run:#?}");
    }
}

/// The other forms in which Envoy takes a configuration.
#[test]
fn every_form_of_a_configuration_is_read() {
    let good = shipped("envoy/envoy.yaml");
    let from = "\"@type\": type.googleapis.com/google.protobuf.StringValue\n                  value: |\n                    { \"lists\": { \"upstream\": \"redis-proxy\", \"authority\": \"redis-proxy.internal\" } }";
    assert!(good.contains(from));
    for form in [
        // base64 of {"listz":{"upstream":"redis-proxy","authority":"r"}}
        "\"@type\": type.googleapis.com/google.protobuf.BytesValue\n                  value: eyJsaXN0eiI6eyJ1cHN0cmVhbSI6InJlZGlzLXByb3h5IiwiYXV0aG9yaXR5IjoiciJ9fQ==",
        "\"@type\": type.googleapis.com/google.protobuf.Struct\n                  value: { listz: { upstream: redis-proxy, authority: r } }",
        "\"@type\": type.googleapis.com/google.protobuf.StringValue\n                  value: '{ \"listz\": { \"upstream\": \"redis-proxy\", \"authority\": \"r\" } }'",
    ] {
        let wrong = check("--envoy", &good.replace(from, form));
        assert!(
            wrong.stdout.contains("tarpit: listz: unknown field"),
            "{form}: {wrong:#?}"
        );
        assert_eq!(wrong.code, 1);
    }
    let form = "\"@type\": type.googleapis.com/google.protobuf.Struct\n                  value: { lists: { upstream: redis-proxy, authority: r } }";
    assert_eq!(check("--envoy", &good.replace(from, form)).code, 0);
}

/// A released image has its module under the name that the Wasm image specification gives it.
#[test]
fn a_mounted_image_is_known_by_its_folder() {
    let good = shipped("envoy/envoy.yaml");
    let from = "/auth.wasm";
    assert!(good.contains(from));
    let run = check("--envoy", &good.replace(from, "/auth/plugin.wasm"));
    assert_eq!(run.code, 0, "{run:#?}");
    let run = check("--envoy", &good.replace(from, "/tarpit/plugin.wasm"));
    assert!(
        run.stdout
            .contains("is named after auth, but its module is"),
        "{run:#?}"
    );
    assert_eq!(run.code, 1);
}

/// As Istio's EnvoyFilter and xDS servers write it.
#[test]
fn a_filter_in_a_typed_struct_is_found() {
    let text = r#"
name: portcullis.auth
typed_config:
  "@type": type.googleapis.com/udpa.type.v1.TypedStruct
  type_url: type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
  value:
    config:
      name: auth
      failure_policy: FAIL_RELOAD
      vm_config: { vm_id: auth, runtime: envoy.wasm.runtime.v8, code: { local: { filename: /auth.wasm } } }
      configuration:
        "@type": type.googleapis.com/google.protobuf.StringValue
        value: '{"rules":[]}'
"#;
    let run = check("--envoy", text);
    assert_eq!(run.code, 1);
    assert!(
        run.stdout.contains("auth: rules: must not be empty"),
        "{run:#?}"
    );
}

#[test]
fn resources_of_istio_and_envoy_gateway_are_read() {
    for file in [
        "istio/wasm-plugins.yaml",
        "envoy-gateway/extension-policy.yaml",
    ] {
        let good = shipped(file);
        let run = check("--envoy", &good);
        assert_eq!(run.code, 0, "{run:#?}");
        assert!(
            run.stdout
                .contains("filters: edge_headers, auth, quota; errors: 0, warnings: 0"),
            "{run:#?}"
        );
        for (from, to, said) in [
            (
                "audiences",
                "audience",
                "auth: providers.staff.audience: unknown field",
            ),
            (
                "portcullis/auth:",
                "portcullis/tarpit:",
                "is named after auth, but its module is tarpit",
            ),
            (
                "portcullis/auth:",
                "portcullis/oauth:",
                "is named after auth, but its module is ",
            ),
            (
                "failStrategy: FAIL_CLOSE",
                "failStrategy: FAIL_OPEN",
                "everything passes edge_headers",
            ),
            (
                "failOpen: false",
                "failOpen: true",
                "everything passes edge_headers",
            ),
        ] {
            if good.contains(from) {
                let run = check("--envoy", &good.replacen(from, to, 1));
                assert_eq!(run.code, 1, "{run:#?}");
                assert!(run.stdout.contains(said), "{said}: {run:#?}");
            }
        }
    }
}

#[test]
fn a_file_is_also_checked_by_itself() {
    let folder = TempDir::new().unwrap();
    let file: PathBuf = folder.path().join("auth.json");
    fs::write(
        &file,
        "{ \"rules\": [\n  { \"public\": true },\n  { \"publik\": true,\n    \"any_of\": 7 } ],\n  \"failures\": {} }",
    )
    .unwrap();
    let run = portcullis(["check-config".as_ref(), "auth".as_ref(), file.as_os_str()]);
    assert_eq!(run.code, 1, "{run:#?}");
    for line in [
        "auth.json:3: error: auth: rules[1].publik: unknown field",
        "auth.json:4: error: auth: rules[1].any_of: invalid type",
        "auth.json:5: error: auth: failures: missing field `limit`",
    ] {
        assert!(run.stdout.contains(line), "{line}: {run:#?}");
    }
    fs::write(&file, r#"{ "rules": [ { "public": true } ] }"#).unwrap();
    let run = portcullis(["check-config".as_ref(), "auth".as_ref(), file.as_os_str()]);
    assert_eq!(
        (run.code, run.stdout.as_str()),
        (0, "filters: auth; errors: 0, warnings: 0\n")
    );
}

#[test]
fn a_wrong_question_is_answered_so() {
    for (arguments, code, said) in [
        (&["auth"][..], 2, "<FILE>"),
        (&["aut", "x.json"], 2, "did you mean auth?"),
        (&["--envoy", "a", "--kong", "b"], 2, "cannot be used with"),
        (&["auth", "no-such-file.json"], 3, "no-such-file.json: "),
        (&["--kong", "no-such-file.yml"], 3, "no-such-file.yml: "),
    ] {
        let run = portcullis(["check-config"].iter().chain(arguments));
        assert_eq!(run.code, code, "{arguments:?}: {run:#?}");
        assert!(run.stderr.contains(said), "{arguments:?}: {run:#?}");
    }
    // A gateway's configuration without any filter of ours.
    let run = check("--envoy", "static_resources: {}\n");
    assert_eq!(run.code, 1);
    assert!(
        run.stdout.contains("no filter of Portcullis is in it"),
        "{run:#?}"
    );
}
