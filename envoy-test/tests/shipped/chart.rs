//! `ops/kubernetes/chart`, by Helm's own code; what it makes, against the schemas of Kubernetes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use envoy_test::artifacts::workspace;
use serde_json::Value;
use tempfile::TempDir;
use testkit::meta::assert_is;

use crate::kubernetes;

const MADE: &str = "# Made of chart/ with chart/ci/manifests-values.yaml, and not edited:\n\
                    # UPDATE=1 cargo test --package envoy-test --test shipped chart\n";

fn chart() -> PathBuf {
    workspace().join("ops/kubernetes/chart")
}

/// A set of values in the chart's folder `ci`.
fn set(name: &str) -> PathBuf {
    chart().join(format!("ci/{name}-values.yaml"))
}

/// What Helm says, or what it says no with.
fn helm(arguments: &[&Path]) -> Result<String, String> {
    let output = Command::new(workspace().join(".tools/bin/helm-sdk"))
        .args(arguments)
        .output()
        .expect("tools/setup.sh test installs it");
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout).unwrap());
    }
    Err(String::from_utf8(output.stderr).unwrap())
}

fn lint(chart: &Path, values: &[PathBuf]) -> Result<(), String> {
    let mut arguments = vec!["lint".as_ref(), chart];
    arguments.extend(values.iter().map(PathBuf::as_path));
    helm(&arguments).map(drop)
}

/// What installations would send: a folder for each file of values, and in it a file for each template.
fn template(chart: &Path, values: &[PathBuf]) -> Result<TempDir, String> {
    let made = tempfile::tempdir().unwrap();
    let mut arguments = vec!["template".as_ref(), chart, made.path()];
    arguments.extend(values.iter().map(PathBuf::as_path));
    helm(&arguments)?;
    Ok(made)
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// All manifests in a folder, one after the other.
fn text(folder: &Path) -> String {
    kubernetes::manifests(folder)
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect()
}

fn show(chart: &Path) -> Value {
    let said = helm(&["show".as_ref(), chart]).unwrap();
    serde_json::from_str(&said).unwrap()
}

#[test]
fn the_manifests_are_the_chart() {
    let made = template(&chart(), &[set("manifests")]).unwrap();
    let made = made.path().join("manifests-values");
    let folder = workspace().join("ops/kubernetes");
    for path in kubernetes::manifests(&made) {
        let text = fs::read_to_string(&path).unwrap();
        let there = folder.join(path.file_name().unwrap());
        assert_is(&there, &format!("{MADE}{text}"));
    }
    let files = |folder: &Path| kubernetes::manifests(folder).len();
    assert_eq!(files(&folder), files(&made), "one too many there");
}

/// Each set of values: how many documents, what is in them, and what is not.
#[test]
fn every_set_of_values_makes_what_kubernetes_takes() {
    let sets = [
        (
            "manifests",
            16,
            &["kind: ServiceMonitor", "maxReplicas: 30"][..],
            &["kind: ConfigMap"][..],
        ),
        (
            "least",
            12,
            &[
                "image: registry.example.com/envoy:v1.40.0\n",
                "secretName: portcullis-edge-tls",
            ],
            &[
                "kind: ServiceMonitor",
                "nothing-unless-allowed",
                "only-the-gateway",
                "\n  replicas: 4",
            ],
        ),
        (
            "images",
            12,
            &[
                "- { name: module-auth, mountPath: /etc/portcullis/auth, readOnly: true }",
                "- { name: module-auth, image: { reference: \"registry.example.com/portcullis/auth:0.1.0-production@sha256:",
                "- { name: module-rate-limit, mountPath: /etc/portcullis/rate_limit, readOnly: true }",
                "- { name: module-rate-limit, image: { reference: \"registry.example.com/portcullis/rate_limit:",
            ],
            &[
                "initContainers",
                "name: modules,",
                "emptyDir: { sizeLimit: 64Mi",
            ],
        ),
        (
            "alone",
            4,
            &[
                "  replicas: 5",
                "type: ClusterIP",
                "secret: { secretName: inner-envoy, ",
            ],
            &[
                "redis-proxy",
                "kind: Horizontal",
                "kind: PodDis",
                "kind: NetworkPolicy",
                "preStop: ",
                "externalTraffic",
            ],
        ),
        (
            "everything",
            19,
            &[
                "image: registry.example.com:5000/team/envoy:v1.40.0@sha256:",
                "command: [cp, -r, \"/opt/filters/.\", /etc/portcullis/]",
                "example.com/contact: platform@example.com",
                "service.beta.kubernetes.io/aws-load-balancer-type: nlb",
                "checksum/config: ",
                "envFrom:\n        - { secretRef: { name: limits-redis } }",
                "secretName: limits-control-tls",
                "maxUnavailable: 25%",
                "release: kube-prometheus-stack",
                "mountPath: /run/spire/agent-sockets",
                "cidr: 203.0.113.0/24",
                "ipBlock: { cidr: \"2001:db8:1::/48\" }",
            ],
            // Defaults that were taken away or replaced.
            &[
                "kubernetes.io/metadata.name: monitoring",
                "portcullis-gateway",
                "8970",
                "\n  replicas: 4",
            ],
        ),
    ];
    let all = sets.map(|(name, ..)| format!("{name}-values.yaml"));
    assert_eq!(names(&chart().join("ci")), all.into());
    let files = sets.map(|(name, ..)| set(name));
    lint(&chart(), &files).unwrap();
    let made = template(&chart(), &files).unwrap();
    for (name, documents, there, not_there) in sets {
        let made = made.path().join(format!("{name}-values"));
        let (good, said) = kubernetes::check(&kubernetes::manifests(&made));
        let all = format!("{documents} checked, 0 foreign, 0 wrong");
        assert!(good && said.contains(&all), "{name}: {said}");
        let text = text(&made);
        for part in there {
            assert!(text.contains(part), "{name} has no {part}: {text}");
        }
        for part in not_there {
            assert!(!text.contains(part), "{name} has {part}: {text}");
        }
        // A release makes no Secret, and tells which have to be there.
        assert!(!text.contains("kind: Secret"), "{name}");
        let notes = fs::read_to_string(made.join("NOTES.txt")).unwrap();
        let secrets: BTreeSet<&str> = text
            .split("secretName: ")
            .skip(1)
            .map(|rest| rest.split([',', ' ', '\n']).next().unwrap())
            // Of a volume that the values bring themselves.
            .filter(|name| *name != "redis-ca")
            .collect();
        assert!(!secrets.is_empty(), "{name}");
        for secret in secrets {
            assert!(notes.contains(&format!("Secret {secret}: ")), "{notes}");
        }
    }
}

/// The configuration gets into the pod as it is, and another one makes other pods.
#[test]
fn a_configuration_arrives_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let envoy = fs::read_to_string(workspace().join("ops/envoy/envoy.yaml")).unwrap();
    let mut sums = BTreeSet::new();
    for text in [
        &envoy,
        &format!("{envoy}\n# {{{{ .Values }}}} \t \"\\ <&> ü\n\n"),
    ] {
        let least = fs::read_to_string(set("least")).unwrap();
        let from = "gateway:\n";
        assert!(least.contains(from));
        let config = format!(
            "gateway:\n  config: {{ text: {} }}\n",
            Value::from(text.as_str())
        );
        let values = folder.path().join("values.yaml");
        fs::write(&values, least.replace(from, &config)).unwrap();
        let made = template(&chart(), &[values]).unwrap();
        let gateway = fs::read_to_string(made.path().join("values/gateway.yaml")).unwrap();
        let line = |key: &str| {
            let found = gateway
                .lines()
                .find_map(|line| line.trim().strip_prefix(key));
            found
                .unwrap_or_else(|| panic!("{key}: {gateway}"))
                .to_owned()
        };
        let carried: String = serde_json::from_str(&line("envoy.yaml: ")).unwrap();
        assert_eq!(&carried, text);
        sums.insert(line("checksum/config: "));
    }
    assert_eq!(sums.len(), 2);
}

/// A change to the set with everything in it, and what Helm says to that.
const REFUSED: &[(&str, &str, &str)] = &[
    (
        "replicas: 4",
        "replicas: -1",
        "at '/gateway/replicas': minimum: got -1, want 0",
    ),
    (
        "replicas: 4",
        "replica: 4",
        "at '/gateway': additional properties 'replica' not allowed",
    ),
    (
        "replicas: 2",
        "replicas: 2.5",
        "at '/redisProxy/replicas': got number, want integer",
    ),
    (
        "replicas: 2",
        "replicas: \"2\"",
        "at '/redisProxy/replicas': got string, want integer",
    ),
    (
        "cpu: 75",
        "cpu: 101",
        "at '/gateway/autoscaling/cpu': maximum: got 101, want 100",
    ),
    (
        "minReplicas: 2",
        "minReplicas: 13",
        "gateway.autoscaling: minReplicas 13 is above maxReplicas 12",
    ),
    (
        "https: 10443",
        "https: 443",
        "at '/gateway/ports/https': minimum: got 443, want 1,024",
    ),
    (
        "drain: 60",
        "drain: 80",
        "preStop and drain take 100 s, and terminationGrace ends it after 90 s",
    ),
    (
        "name: edge-gateway",
        "name: Edge",
        "at '/gateway/name': 'Edge' does not match",
    ),
    (
        "limits: { memory: 2Gi }",
        "limits: { memory: 2 GB }",
        "at '/gateway/resources/limits/memory'",
    ),
    (
        "maxUnavailable: 25%",
        "maxUnavailable: 0%",
        "at '/gateway/podDisruptionBudget/maxUnavailable'",
    ),
    (
        "type: LoadBalancer",
        "type: External",
        "at '/gateway/service/type': value must be one of",
    ),
    (
        "[192.0.2.0/24,",
        "[192.0.2.0,",
        "at '/gateway/service/sourceRanges/0'",
    ),
    ("modules:0.2.0", "modules", "at '/gateway/modules/image'"),
    (
        "path: /opt/filters/",
        "images: { auth: registry.example.com/auth:0.1.0 }",
        "gateway.modules: give one of image and images",
    ),
    (
        "path: /opt/filters/",
        "images: { Auth/../x: registry.example.com/auth:0.1.0 }",
        "invalid propertyName 'Auth/../x'",
    ),
    (
        "path: /opt/filters/",
        "images: { auth: registry.example.com/auth }",
        "at '/gateway/modules/images/auth'",
    ),
    (
        "redis-proxy:0.2.0",
        "redis-proxy:latest",
        "redisProxy.image: registry.example.com/portcullis/redis-proxy:latest is another image",
    ),
    (
        "image: registry.example.com/portcullis/redis-proxy:0.2.0",
        "image: \"\"",
        "redisProxy.image: which image",
    ),
    (
        "envSecret: limits-redis",
        "password: hunter2",
        "at '/redisProxy': additional properties 'password' not allowed",
    ),
    (
        "scrapeTimeout: 20s",
        "scrapeTimeout: 31s",
        "serviceMonitor: scrapeTimeout 31s is above interval 30s",
    ),
    (
        "scrapeTimeout: 20s",
        "scrapeTimeout: 20",
        "at '/serviceMonitor/scrapeTimeout': got number, want string",
    ),
    ("namespace: payments,", "", "missing property 'namespace'"),
    (
        "team: platform ",
        "team: the platform ",
        "at '/labels/team'",
    ),
];

#[test]
fn values_that_make_no_sense_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let good = fs::read_to_string(set("everything")).unwrap();
    let mut files = Vec::new();
    for (row, (from, to, _)) in REFUSED.iter().enumerate() {
        assert!(good.contains(from), "there is no {from}");
        files.push(folder.path().join(format!("row-{row}.yaml")));
        fs::write(&files[row], good.replacen(from, to, 1)).unwrap();
    }
    let said = template(&chart(), &files).unwrap_err();
    for (row, (_, to, found)) in REFUSED.iter().enumerate() {
        let mut lines = said.lines();
        let line = lines.find_map(|line| line.strip_prefix(&format!("row-{row}: ")));
        let line = line.unwrap_or_else(|| panic!("{to} was taken: {said}"));
        assert!(line.contains(found), "{to}: {line}");
    }
    // What somebody took for the place of a password is not in the error.
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn one_source_of_a_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let least = fs::read_to_string(set("least")).unwrap();
    for (part, path) in [("gateway:\n", "gateway"), ("redisProxy:\n", "redisProxy")] {
        let two = format!("{part}  config: {{ configMap: a, secret: b }}\n");
        let values = folder.path().join("values.yaml");
        fs::write(&values, least.replace(part, &two)).unwrap();
        let said = template(&chart(), &[values]).unwrap_err();
        let found = format!("{path}.config: give one of text, configMap and secret");
        assert!(said.contains(&found), "{said}");
    }
}

/// values.yaml has what the schema knows; that the schema knows what values.yaml has, Helm says.
#[test]
fn every_value_has_a_default_and_a_schema() {
    let shown = show(&chart());
    let mut lacking = Vec::new();
    walk(
        &shown["schema"],
        &shown["schema"],
        &shown["values"],
        "",
        &mut lacking,
    );
    lacking.retain(|path| path != "/global");
    assert!(lacking.is_empty(), "values.yaml has no {lacking:?}");
}

fn walk(whole: &Value, schema: &Value, values: &Value, path: &str, lacking: &mut Vec<String>) {
    let schema = match schema["$ref"].as_str() {
        Some(to) => whole.pointer(to.strip_prefix('#').unwrap()).unwrap(),
        None => schema,
    };
    let Some(properties) = schema["properties"].as_object() else {
        return;
    };
    assert_eq!(schema["additionalProperties"], false, "{path} is open");
    for (name, below) in properties {
        let path = format!("{path}/{name}");
        match values.get(name) {
            Some(value) => walk(whole, below, value, &path, lacking),
            // What only some have: no limit of CPU, say.
            None if path.ends_with("/requests") || path.ends_with("/limits") => {}
            None => lacking.push(path),
        }
    }
}

/// The archive of a release: what Helm itself would pack, the same bytes each time, and it makes the same.
#[test]
fn the_archive_of_a_release_is_the_chart() {
    let folder = tempfile::tempdir().unwrap();
    let archive = |name: &str| {
        let output = Command::new(workspace().join("tools/chart.sh"))
            .args(["9.8.7-rc.1".as_ref(), folder.path().join(name).as_os_str()])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
    };
    let (first, second) = (archive("a"), archive("b"));
    assert_eq!(fs::read(&first).unwrap(), fs::read(second).unwrap());
    assert_eq!(first.file_name().unwrap(), "portcullis-9.8.7-rc.1.tgz");
    let shown = show(&first);
    assert_eq!(shown["chart"]["version"], "9.8.7-rc.1");
    assert_eq!(shown["chart"]["appVersion"], "9.8.7-rc.1");
    // In the repository it is the workspace's.
    let version = show(&chart())["chart"]["version"].clone();
    assert_eq!(version, env!("CARGO_PKG_VERSION"));

    lint(&first, &[set("everything")]).unwrap();
    let (from_archive, from_folder) = (
        template(&first, &[set("everything")]).unwrap(),
        template(&chart(), &[set("everything")]).unwrap(),
    );
    let all = |made: &TempDir| text(&made.path().join("everything-values"));
    assert_eq!(all(&from_archive), all(&from_folder));

    let packed = helm(&["package".as_ref(), &chart(), folder.path()]).unwrap();
    let files = |archive: &Path| {
        let output = Command::new("tar")
            .arg("tzf")
            .arg(archive)
            .output()
            .unwrap();
        let listed = String::from_utf8(output.stdout).unwrap();
        let files: BTreeSet<String> = listed
            .lines()
            .filter(|name| !name.ends_with('/') && !name.ends_with(".helmignore"))
            .map(str::to_owned)
            .collect();
        assert!(files.contains("portcullis/values.schema.json"), "{listed}");
        files
    };
    assert_eq!(files(&first), files(Path::new(packed.trim())));
}

#[test]
fn a_mistake_in_a_template_is_found() {
    let folder = tempfile::tempdir().unwrap();
    for (file, from, to, found) in [
        (
            "hpa.yaml",
            "{{- with $scaling.behavior }}",
            "{{- with $scaling.behaviour.x }}",
            "nil pointer",
        ),
        (
            "hpa.yaml",
            "{{- end }}\n{{- end }}",
            "{{- end }}",
            "unexpected EOF",
        ),
        (
            "redis-proxy.yaml",
            "include \"portcullis.pod\"",
            "include \"portcullis.pods\"",
            "no template",
        ),
    ] {
        let copy = folder.path().join("portcullis");
        let _ = fs::remove_dir_all(&copy);
        let status = Command::new("cp")
            .arg("-r")
            .arg(chart())
            .arg(&copy)
            .status()
            .unwrap();
        assert!(status.success());
        let path = copy.join("templates").join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} has no {from}");
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        let said = lint(&copy, &[set("everything")]).unwrap_err();
        assert!(said.contains(found), "{to}: {said}");
    }
}
