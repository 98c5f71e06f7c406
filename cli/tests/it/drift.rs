//! `drift` against a real Envoy. Against a real Kong: `tests/kong.rs`.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use testkit::World;

use crate::edge::{Edge, read};
use crate::run::{Run, portcullis, root};

/// Never to be found in an output.
const SECRET: &str = "s3cr3t-4711-canary";

fn drift(admin: &str, files: &[&str], more: &[&str]) -> Run {
    let files = files.iter().flat_map(|file| ["--envoy", file]);
    let arguments = ["drift", "--admin", admin, "--name", "edge-1"];
    portcullis(
        arguments
            .into_iter()
            .chain(files)
            .chain(more.iter().copied()),
    )
}

fn paths(run: &Run) -> Vec<String> {
    let report = run.json();
    let all = report["differences"].as_array().unwrap();
    all.iter()
        .map(|it| it["path"].as_str().unwrap().to_owned())
        .collect()
}

/// The connection manager of the example.
fn manager(config: &mut Value) -> &mut Value {
    let at = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
    config.pointer_mut(at).unwrap()
}

fn write(edge: &Edge, name: &str, config: &Value) -> String {
    let path = edge.path(name);
    fs::write(&path, format!("{config:#}")).unwrap();
    path
}

#[test]
fn envoy_drifts_from_its_file_and_back() {
    let shipped = read(&root().join("ops/config/envoy.yaml"));
    let edge = Edge::start_with(shipped, World::new(), |config, _| {
        // Two filters say as much as six, and start sooner.
        let few = [
            "portcullis.edge_headers",
            "portcullis.tarpit",
            "envoy.filters.http.router",
        ];
        let filters = manager(config)["http_filters"].as_array_mut().unwrap();
        filters.retain(|it| few.contains(&it["name"].as_str().unwrap()));
        config["layered_runtime"] = json!({ "layers": [{ "name": "by_hand", "admin_layer": {} }] });
        let header = json!({ "header": { "key": "x-service-token", "value": SECRET } });
        manager(config)["route_config"]["request_headers_to_add"] = json!([header]);
    });
    let admin = edge.admin_url();
    let in_git = write(&edge, "git.json", &edge.config);
    let metrics = edge.path("drift.prom");
    let run = drift(&admin, &[&in_git], &["--metrics-file", &metrics]);
    assert_eq!(run.code, 0, "{run:#?}");
    assert!(
        run.stdout.contains("edge-1 runs what is in"),
        "{}",
        run.stdout
    );
    let text = fs::read_to_string(&metrics).unwrap();
    assert!(
        text.contains("portcullis_config_drift{gateway=\"edge-1\"} 0\n"),
        "{text}"
    );

    // What says the same in other words is none: durations, defaults, the order of clusters, of members of JSON.
    let mut other = edge.config.clone();
    other["static_resources"]["clusters"]
        .as_array_mut()
        .unwrap()
        .reverse();
    for cluster in other["static_resources"]["clusters"]
        .as_array_mut()
        .unwrap()
    {
        cluster["connect_timeout"] = "1.000s".into();
        cluster["lb_policy"] = "ROUND_ROBIN".into();
        cluster.as_object_mut().unwrap().remove("type");
    }
    manager(&mut other)["via"] = "".into();
    let same = write(&edge, "same.json", &other);
    let run = drift(&admin, &[&same], &["--format", "json"]);
    assert_eq!((run.code, paths(&run)), (0, vec![]), "{run:#?}");

    // Somebody has set a key by hand.
    edge.ask_admin_to("/runtime_modify?overload.global_downstream_max_connections=7");
    let run = drift(
        &admin,
        &[&in_git],
        &["--format", "json", "--metrics-file", &metrics],
    );
    assert_eq!(run.code, 1, "{run:#?}");
    assert_eq!(
        paths(&run),
        ["runtime overload.global_downstream_max_connections"]
    );
    let text = fs::read_to_string(&metrics).unwrap();
    assert!(
        text.contains("portcullis_config_drift{gateway=\"edge-1\"} 1\n"),
        "{text}"
    );

    // Somebody has started it with another file.
    let edge = edge.restart(|config| {
        let manager = manager(config);
        manager["stream_idle_timeout"] = "61s".into();
        manager["normalize_path"] = false.into();
        manager.as_object_mut().unwrap().remove("merge_slashes");
        manager["route_config"]["virtual_hosts"][0]["routes"][1]["route"]["cluster"] =
            "reports".into();
        manager["route_config"]["request_headers_to_add"][0]["header"]["value"] =
            format!("{SECRET}-2").into();
        let filters = manager["http_filters"].as_array_mut().unwrap();
        filters.swap(0, 1);
        for filter in filters {
            let value = "/typed_config/config/configuration/value";
            if let Some(Value::String(text)) = filter.pointer_mut(value) {
                *text = text.replace(r#""envoy""#, r#""other""#);
            }
        }
        let clusters = config["static_resources"]["clusters"]
            .as_array_mut()
            .unwrap();
        clusters.retain(|it| it["name"] != "payments");
        clusters[0]["connect_timeout"] = "2s".into();
        // Nothing leads to it any more.
        let text = config
            .to_string()
            .replace("\"cluster\":\"payments\"", "\"cluster\":\"orders\"");
        *config = serde_json::from_str(&text).unwrap();
    });
    let admin = edge.admin_url();
    let in_git = edge.path("git.json");
    let run = drift(&admin, &[&in_git], &["--format", "json"]);
    assert_eq!(run.code, 1);
    let found = paths(&run);
    for expected in [
        "stream_idle_timeout",
        "normalize_path",
        "merge_slashes",
        "route.cluster",
        "header.value",
        "http_filters.(order)",
        "http_filters[portcullis.edge_headers].typed_config.config.configuration.value.source",
        "clusters payments",
        ": connect_timeout",
    ] {
        assert!(
            found.iter().any(|path| path.ends_with(expected)),
            "{expected}: {found:#?}"
        );
    }
    let text = drift(&admin, &[&in_git], &[]).stdout;
    assert!(
        text.contains("- in Git:  \"60s\"") && text.contains("+ running: \"61s\""),
        "{text}"
    );
    for output in [&run.stdout, &text] {
        assert!(!output.contains(SECRET), "{output}");
        assert!(output.contains("(hidden)"), "{output}");
    }
}

/// Listeners out of a file that Envoy follows: taken, refused, and taken back.
#[test]
fn envoy_drifts_through_xds() {
    let shipped = read(&root().join("ops/config/envoy.yaml"));
    let edge = Edge::start_with(shipped, World::new(), |config, folder| {
        // Without filters: what they are is not what this is about.
        let filters = manager(config)["http_filters"].as_array_mut().unwrap();
        filters.retain(|it| it["name"] == "envoy.filters.http.router");
        let resources = config["static_resources"].as_object_mut().unwrap();
        let Some(Value::Array(mut listeners)) = resources.remove("listeners") else {
            panic!("no listeners");
        };
        for listener in &mut listeners {
            listener["@type"] = "type.googleapis.com/envoy.config.listener.v3.Listener".into();
        }
        let lds = folder.join("lds.json");
        fs::write(
            &lds,
            json!({ "version_info": "1", "resources": listeners }).to_string(),
        )
        .unwrap();
        config["dynamic_resources"] = json!({ "lds_config": {
            "resource_api_version": "V3", "path_config_source": { "path": lds },
        } });
        config["node"] = json!({ "id": "edge-1", "cluster": "edge" });
    });
    let admin = edge.admin_url();
    let bootstrap = write(&edge, "git.json", &edge.config);
    let lds = edge.path("lds.json");
    let in_git = edge.path("lds-git.json");
    fs::copy(&lds, &in_git).unwrap();
    let files = [bootstrap.as_str(), in_git.as_str()];
    let run = drift(&admin, &files, &[]);
    assert_eq!(run.code, 0, "{run:#?}");
    // The bootstrap alone knows no listener.
    assert_eq!(
        paths(&drift(&admin, &[&bootstrap], &["--format", "json"])),
        ["listeners https"]
    );

    let change = |edit: &dyn Fn(&mut Value), version: &str| {
        let mut document: Value = serde_json::from_slice(&fs::read(&in_git).unwrap()).unwrap();
        document["version_info"] = version.into();
        edit(&mut document["resources"][0]);
        let next = edge.path("lds.next");
        fs::write(&next, document.to_string()).unwrap();
        // Envoy watches for a file that is moved into place.
        fs::rename(&next, &lds).unwrap();
    };
    let manager = "/filter_chains/0/filters/0/typed_config";
    change(
        &|listener| listener.pointer_mut(manager).unwrap()["max_request_headers_kb"] = 64.into(),
        "2",
    );
    let expected = "listeners https: filter_chains[0].filters[envoy.filters.network.http_connection_manager].typed_config.max_request_headers_kb";
    let found = || paths(&drift(&admin, &files, &["--format", "json"]));
    edge.until("the second listener", |_| found() == [expected]);
    change(
        &|listener| listener.pointer_mut(manager).unwrap()["max_request_headers_kb"] = 0.into(),
        "3",
    );
    edge.until("a refusal", |_| {
        found().iter().any(|path| path.contains("(refused)"))
    });
    change(&|_| {}, "4");
    edge.until("the first listener", |_| found().is_empty());
}

/// An admin port behind TLS and a token, and ports that are none.
#[test]
fn what_cannot_be_told_is_2() {
    let mut plain = read(&root().join("ops/config/envoy-base.yaml"));
    manager(&mut plain)["http_filters"]
        .as_array_mut()
        .unwrap()
        .retain(|it| it["name"] == "envoy.filters.http.router");
    manager(&mut plain)["route_config"] = json!({ "virtual_hosts": [{
        "name": "all", "domains": ["*"],
        "routes": [{ "match": { "prefix": "/" }, "direct_response": { "status": 200, "body": { "inline_string": "{}" } } }],
    }] });
    plain["static_resources"]["clusters"] = json!([]);
    let behind = Edge::start(plain.clone(), World::new());
    // In front of its admin port, with TLS and a token.
    let to = behind.admin;
    let guard = Edge::start_with(plain, World::new(), |config, _| {
        config["static_resources"]["clusters"] = json!([{
            "name": "admin-port", "connect_timeout": "1s",
            "load_assignment": { "cluster_name": "admin-port", "endpoints": [{ "lb_endpoints": [{ "endpoint": {
                "address": { "socket_address": { "address": to.ip().to_string(), "port_value": to.port() } },
            } }] }] },
        }]);
        manager(config)["route_config"]["virtual_hosts"][0]["routes"] = json!([
            {
                "match": { "prefix": "/", "headers": [{ "name": "x-admin-token", "string_match": { "exact": SECRET } }] },
                "route": { "cluster": "admin-port" },
            },
            { "match": { "prefix": "/" }, "direct_response": { "status": 401 } },
        ]);
    });
    let in_git = write(&behind, "git.json", &behind.config);
    let url = guard.url();
    let ca = guard.path("tls.crt");
    let tokens = guard.path("headers");
    fs::write(&tokens, format!("x-admin-token: {SECRET}\n")).unwrap();
    let good = ["--ca", ca.as_str(), "--header-file", tokens.as_str()];
    let run = drift(&url, &[&in_git], &good);
    assert_eq!(run.code, 0, "{run:#?}");

    let metrics = guard.path("drift.prom");
    let cannot = |admin: &str, files: &[&str], more: &[&str], why: &str| {
        let more: Vec<&str> = more
            .iter()
            .copied()
            .chain(["--metrics-file", &metrics])
            .collect();
        let run = drift(admin, files, &more);
        assert_eq!(run.code, 2, "{why}: {run:#?}");
        assert!(run.stderr.contains(why), "{why}: {run:#?}");
        assert!(!run.stderr.contains(SECRET), "{run:#?}");
        assert!(!Path::new(&metrics).exists(), "{why}: nothing is known");
    };
    cannot(&url, &[&in_git], &["--ca", &ca], "it wants a token");
    cannot(&url, &[&in_git], &["--header-file", &tokens], "no TLS");
    cannot("http://127.0.0.1:9", &[&in_git], &[], "no connection");
    cannot(
        &behind.url(),
        &[&in_git],
        &["--ca", &behind.path("tls.crt")],
        "not Envoy's admin port",
    );
    cannot(&url, &[&tokens], &good, "is neither a bootstrap");
    cannot(&url, &["no-such-file"], &good, "no-such-file");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("http://{}", listener.local_addr().unwrap());
    cannot(
        &silent,
        &[&in_git],
        &["--timeout", "300ms"],
        "no answer in time",
    );
    let run = drift("http://user:secret@127.0.0.1", &[&in_git], &[]);
    assert_eq!(run.code, 2, "{run:#?}");
    assert!(!run.stderr.contains("secret@"), "{run:#?}");
}
