//! From signed modules to images in a registry, and back.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::ports::free_port;

use crate::release::{Desk, built};
use crate::run::{Run, portcullis, root};

const SBOM: &str = r#"{"bomFormat":"CycloneDX","specVersion":"1.5","components":[]}"#;
const META: &str = r#"{"config_schema":{"type":"object"}}"#;

/// Signs the tarpit for both gateways and says how it was built.
fn release(desk: &Desk) {
    fs::create_dir(desk.at("belongs")).unwrap();
    fs::write(desk.at("belongs/tarpit.cdx.json"), SBOM).unwrap();
    fs::write(desk.at("belongs/tarpit.meta.json"), META).unwrap();
    fs::write(desk.at("toolchain.txt"), "rustc: 1\nwasm-opt: 2\n").unwrap();
    desk.signed("tarpit");
    let kong = root().join("dist/kong/tarpit.wasm").display().to_string();
    assert_eq!(desk.sign(&kong, "builder", "kong", "signed/kong").code, 0);
    let run = provenance(
        desk,
        &[&built("tarpit"), &kong],
        "provenance.json",
        "builder",
    );
    assert_eq!(run.code, 0, "{run:#?}");
}

fn provenance(desk: &Desk, modules: &[&str], out: &str, key: &str) -> Run {
    let (key, out) = (desk.path(&format!("{key}.key")), desk.path(out));
    let dist = root().join("dist").display().to_string();
    let lock = root().join("Cargo.lock").display().to_string();
    let (toolchain, sbom, meta) = (
        desk.path("toolchain.txt"),
        desk.path("belongs/tarpit.cdx.json"),
        desk.path("belongs/tarpit.meta.json"),
    );
    let fixed = [
        "provenance",
        "--root",
        &dist,
        "--key",
        &key,
        "--source",
        "git+https://example.com/portcullis",
        "--commit",
        "c0ffee",
        "--builder",
        "https://example.com/builder",
        "--toolchain",
        &toolchain,
        "--lock",
        &lock,
        "--byproduct",
        &sbom,
        "--byproduct",
        &meta,
        "--out",
        &out,
    ];
    portcullis(fixed.iter().chain(modules))
}

fn package(desk: &Desk, modules: &[&str], environment: &str, out: &str) -> Run {
    let (policy, provenance, belongs, out) = (
        desk.path("policy.toml"),
        desk.path("provenance.json"),
        desk.path("belongs"),
        desk.path(out),
    );
    let fixed = [
        "package",
        "--policy",
        &policy,
        "--environment",
        environment,
        "--tag",
        "1.2.3",
        "--provenance",
        &provenance,
        "--sbom",
        &belongs,
        "--meta",
        &belongs,
        "--out",
        &out,
        "--format",
        "json",
    ];
    portcullis(fixed.iter().chain(modules))
}

fn packaged(desk: &Desk) -> String {
    release(desk);
    let (envoy, kong) = (
        desk.path("signed/tarpit.wasm"),
        desk.path("signed/kong/tarpit.wasm"),
    );
    let run = package(desk, &[&envoy, &kong], "dev", "oci");
    assert_eq!(run.code, 0, "{run:#?}");
    let tags = [
        "1.2.3",
        "1.2.3-artifact",
        "1.2.3-kong",
        "1.2.3-attestations",
    ];
    assert_eq!(run.json()["layouts"][0]["tags"], serde_json::json!(tags));
    desk.path("oci/tarpit")
}

fn json(path: impl AsRef<Path>) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The manifest with a tag, and the bytes of its layers.
fn manifest(layout: &str, tag: &str) -> (Value, Vec<Vec<u8>>) {
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().unwrap();
        fs::read(
            Path::new(layout)
                .join("blobs")
                .join(digest.replace(':', "/")),
        )
        .unwrap()
    };
    let index = json(Path::new(layout).join("index.json"));
    let all = index["manifests"].as_array().unwrap();
    let mut tagged = all
        .iter()
        .filter(|it| it["annotations"]["org.opencontainers.image.ref.name"] == tag);
    let manifest: Value = serde_json::from_slice(&blob(tagged.next().unwrap())).unwrap();
    let layers = manifest["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(blob)
        .collect();
    (manifest, layers)
}

fn untar(desk: &Desk, packed: &[u8], name: &str) -> Vec<u8> {
    fs::write(desk.at("layer.tar.gz"), packed).unwrap();
    let output = Command::new("tar")
        .args(["-xzOf", &desk.path("layer.tar.gz"), name])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

/// Istio and Envoy Gateway take the module from the last layer if that is a packed tar, else from two layers.
#[test]
fn images_are_what_gateways_take() {
    let desk = Desk::new();
    let layout = packaged(&desk);
    let (envoy, kong) = (
        fs::read(desk.at("signed/tarpit.wasm")).unwrap(),
        fs::read(desk.at("signed/kong/tarpit.wasm")).unwrap(),
    );

    let (compat, layers) = manifest(&layout, "1.2.3");
    assert_eq!(
        compat["mediaType"],
        "application/vnd.oci.image.manifest.v1+json"
    );
    assert_eq!(compat["annotations"]["module.wasm.image/variant"], "compat");
    assert_eq!(
        compat["layers"][0]["mediaType"],
        "application/vnd.oci.image.layer.v1.tar+gzip"
    );
    assert_eq!(layers.len(), 1);
    assert_eq!(untar(&desk, &layers[0], "plugin.wasm"), envoy);
    let config: Value =
        serde_json::from_slice(&untar(&desk, &layers[0], "runtime-config.json")).unwrap();
    assert_eq!(config["type"], "envoy_proxy");

    let (artifact, layers) = manifest(&layout, "1.2.3-artifact");
    assert_eq!(layers.len(), 2);
    assert_eq!(
        artifact["layers"][0]["mediaType"],
        "application/vnd.module.wasm.config.v1+json"
    );
    assert_eq!(
        artifact["layers"][1]["mediaType"],
        "application/vnd.module.wasm.content.layer.v1+wasm"
    );
    assert_eq!(layers[1], envoy);

    let (_, layers) = manifest(&layout, "1.2.3-kong");
    assert_eq!(untar(&desk, &layers[0], "tarpit.wasm"), kong);
    assert_eq!(
        untar(&desk, &layers[0], "tarpit.meta.json"),
        META.as_bytes()
    );

    let (attested, layers) = manifest(&layout, "1.2.3-attestations");
    let titles: Vec<&str> = attested["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| {
            it["annotations"]["org.opencontainers.image.title"]
                .as_str()
                .unwrap()
        })
        .collect();
    assert_eq!(
        titles,
        [
            "provenance.json",
            "tarpit.cdx.json",
            "tarpit.meta.json",
            "SHA256SUMS"
        ]
    );
    assert_eq!(layers[1], SBOM.as_bytes());
    assert_eq!(
        attested["subject"]["digest"],
        json(Path::new(&layout).join("index.json"))["manifests"][0]["digest"]
    );

    // The same files give the same images.
    let (first, second) = (
        desk.path("signed/tarpit.wasm"),
        desk.path("signed/kong/tarpit.wasm"),
    );
    assert_eq!(package(&desk, &[&first, &second], "dev", "again").code, 0);
    assert_eq!(
        fs::read(desk.at("oci/tarpit/index.json")).unwrap(),
        fs::read(desk.at("again/tarpit/index.json")).unwrap()
    );
    // Nothing is overwritten.
    assert_eq!(package(&desk, &[&first], "dev", "oci").code, 3);
}

/// Its signature is checked by another program, byte by byte as the protocol says.
#[test]
fn provenance_says_how_it_was_built() {
    use base64::Engine as _;
    let desk = Desk::new();
    release(&desk);
    let envelope = json(desk.at("provenance.json"));
    let decode = |value: &Value| {
        base64::engine::general_purpose::STANDARD
            .decode(value.as_str().unwrap())
            .unwrap()
    };
    let payload = decode(&envelope["payload"]);
    let kind = envelope["payloadType"].as_str().unwrap();
    let mut signed = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
    signed.extend_from_slice(&payload);
    fs::write(desk.at("signed.bytes"), signed).unwrap();
    fs::write(
        desk.at("signature"),
        decode(&envelope["signatures"][0]["sig"]),
    )
    .unwrap();
    let output = Command::new("openssl")
        .args([
            "pkeyutl",
            "-verify",
            "-rawin",
            "-pubin",
            "-inkey",
            &desk.path("builder.pub"),
        ])
        .args([
            "-in",
            &desk.path("signed.bytes"),
            "-sigfile",
            &desk.path("signature"),
        ])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");

    let statement: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(statement["predicateType"], "https://slsa.dev/provenance/v1");
    assert_eq!(statement["subject"][1]["name"], "kong/tarpit.wasm");
    let build = &statement["predicate"]["buildDefinition"];
    assert_eq!(
        build["internalParameters"]["toolchain"],
        serde_json::json!(["rustc: 1", "wasm-opt: 2"])
    );
    assert_eq!(
        build["resolvedDependencies"][0]["digest"]["gitCommit"],
        "c0ffee"
    );

    // It holds for what was built, in each environment, and for nothing else.
    let (module, file) = (
        desk.path("signed/tarpit.wasm"),
        desk.path("provenance.json"),
    );
    assert_eq!(desk.promote(&module, "staging", "steph", "signed").code, 0);
    assert_eq!(
        desk.trusted(&module, "staging", &["--provenance", &file])["provenance"],
        "builder"
    );
    assert_eq!(
        desk.refused(&module, "dev", &["--with-provenance"]),
        ["no_provenance"]
    );
    let other = desk.signed("edge_headers");
    assert_eq!(
        desk.refused(&other, "dev", &["--provenance", &file]),
        ["wrong_provenance"]
    );
    let text = fs::read_to_string(&file).unwrap();
    for (from, to) in [
        ("\"payload\":\"ey", "\"payload\":\"eZ"),
        ("in-toto", "in-tot0"),
        ("\"sig\":\"", "\"sig\":\"AA"),
    ] {
        assert!(text.contains(from));
        fs::write(&file, text.replacen(from, to, 1)).unwrap();
        assert_eq!(
            desk.refused(&module, "dev", &["--provenance", &file]),
            ["wrong_provenance"],
            "{to}"
        );
    }
    // A stranger's, and an approver's.
    for key in ["stranger", "steph"] {
        assert_eq!(
            provenance(&desk, &[&built("tarpit")], "provenance.json", key).code,
            0
        );
        assert_eq!(
            desk.refused(&module, "dev", &["--provenance", &file]),
            ["wrong_provenance"]
        );
    }
}

#[test]
fn only_what_is_trusted_is_packaged() {
    let desk = Desk::new();
    release(&desk);
    let module = desk.path("signed/tarpit.wasm");
    let run = package(&desk, &[&module], "staging", "oci");
    assert_eq!(run.code, 1, "{run:#?}");
    assert_eq!(
        run.json()["refused"][0]["problems"][0]["code"],
        "missing_signature"
    );
    // Of another build.
    let other = desk.signed("edge_headers");
    assert_eq!(package(&desk, &[&other], "dev", "oci").code, 1);
    // An SBOM that the builder did not see.
    fs::write(desk.at("belongs/tarpit.cdx.json"), "{}").unwrap();
    let run = package(&desk, &[&module], "dev", "oci");
    assert_eq!(run.code, 3, "{run:#?}");
    assert!(
        run.stderr
            .contains("tarpit.cdx.json: the provenance does not know it"),
        "{run:#?}"
    );
    assert!(!desk.at("oci").exists());
}

#[test]
fn a_changed_layout_is_refused() {
    let desk = Desk::new();
    let layout = packaged(&desk);
    let policy = desk.path("policy.toml");
    let fixed = [
        "verify",
        &layout,
        "--policy",
        &policy,
        "--environment",
        "dev",
        "--with-provenance",
        "--extract",
    ];
    let verify = |to: &str| portcullis(fixed.iter().copied().chain([desk.path(to).as_str()]));
    let run = verify("extracted");
    assert_eq!(run.code, 0, "{run:#?}");
    for (file, from) in [
        ("tarpit.wasm", "signed/tarpit.wasm"),
        ("kong/tarpit.wasm", "signed/kong/tarpit.wasm"),
        ("kong/tarpit.meta.json", "belongs/tarpit.meta.json"),
        ("tarpit.cdx.json", "belongs/tarpit.cdx.json"),
    ] {
        assert_eq!(
            fs::read(desk.at("extracted").join(file)).unwrap(),
            fs::read(desk.at(from)).unwrap(),
            "{file}"
        );
    }
    // Each blob, a byte of it; and one that is gone.
    let mut blobs = 0;
    for entry in fs::read_dir(Path::new(&layout).join("blobs/sha256")).unwrap() {
        let blob = entry.unwrap().path();
        let good = fs::read(&blob).unwrap();
        let mut bad = good.clone();
        let middle = bad.len() / 2;
        bad[middle] ^= 1;
        fs::write(&blob, bad).unwrap();
        let run = verify("bad");
        assert_eq!(run.code, 3, "{run:#?}");
        fs::remove_file(&blob).unwrap();
        assert_eq!(verify("bad").code, 3);
        fs::write(&blob, good).unwrap();
        blobs += 1;
    }
    assert!(blobs >= 10, "{blobs}");
    // Somebody who makes the digests right again still has no key: another module under this name.
    fs::create_dir(desk.at("other")).unwrap();
    let swapped = desk.path("other/edge_headers");
    fs::rename(&layout, &swapped).unwrap();
    let swapped = portcullis([
        "verify",
        &swapped,
        "--policy",
        &policy,
        "--environment",
        "dev",
        "--format",
        "json",
    ]);
    assert_eq!(swapped.code, 1, "{swapped:#?}");
    assert_eq!(
        swapped.json()["modules"][0]["problems"][0]["code"],
        "wrong_module"
    );
    assert!(!desk.at("bad").exists());
}

/// A registry on this machine.
struct Registry {
    child: Child,
    place: String,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Registry {
    fn start(desk: &Desk) -> Self {
        let place = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let config = format!(
            "version: 0.1\nlog: {{ level: error }}\nstorage: {{ filesystem: {{ rootdirectory: {} }} }}\nhttp: {{ addr: '{place}' }}\n",
            desk.path("registry")
        );
        fs::write(desk.at("registry.yml"), config).unwrap();
        let child = Command::new("docker-registry")
            .args(["serve", &desk.path("registry.yml")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry is not installed: tools/setup.sh test");
        let mut registry = Self {
            child,
            place: place.to_string(),
        };
        let began = Instant::now();
        while TcpStream::connect(place).is_err() {
            assert!(
                began.elapsed() < Duration::from_secs(30)
                    && registry.child.try_wait().unwrap().is_none(),
                "no registry"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        registry
    }

    fn copy(&self, from: &str, to: &str) {
        let output = Command::new("skopeo")
            .args([
                "--insecure-policy",
                "copy",
                "--quiet",
                "--preserve-digests",
                "--src-tls-verify=false",
                "--dest-tls-verify=false",
                from,
                to,
            ])
            .output()
            .expect("skopeo is not installed: tools/setup.sh test");
        assert!(
            output.status.success(),
            "{from} to {to}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn image(&self, tag: &str) -> String {
        format!("docker://{}/portcullis/tarpit:{tag}", self.place)
    }
}

#[test]
fn images_survive_a_registry() {
    let desk = Desk::new();
    let layout = packaged(&desk);
    let registry = Registry::start(&desk);
    let pulled = desk.path("pulled/tarpit");
    fs::create_dir(desk.at("pulled")).unwrap();
    for tag in [
        "1.2.3",
        "1.2.3-artifact",
        "1.2.3-kong",
        "1.2.3-attestations",
    ] {
        registry.copy(&format!("oci:{layout}:{tag}"), &registry.image(tag));
        registry.copy(&registry.image(tag), &format!("oci:{pulled}:{tag}"));
        assert_eq!(manifest(&layout, tag), manifest(&pulled, tag));
    }
    let out = desk.path("from-registry");
    let verdict = desk.trusted(&pulled, "dev", &["--with-provenance", "--extract", &out]);
    assert_eq!(verdict["provenance"], "builder");
    assert_eq!(
        fs::read(desk.at("from-registry/tarpit.wasm")).unwrap(),
        fs::read(desk.at("signed/tarpit.wasm")).unwrap()
    );
    // What was approved since is another image of the same build.
    assert_eq!(desk.refused(&pulled, "staging", &[]), ["missing_signature"]);
    let from = desk.path("from-registry/tarpit.wasm");
    assert_eq!(desk.promote(&from, "staging", "steph", "approved").code, 0);
    let approved = desk.path("approved/tarpit.wasm");
    assert_eq!(
        package(&desk, &[&approved], "staging", "oci-staging").code,
        0
    );
    let layout = desk.path("oci-staging/tarpit");
    registry.copy(
        &format!("oci:{layout}:1.2.3"),
        &registry.image("1.2.3-staging"),
    );
    let pulled = desk.path("pulled/staging");
    registry.copy(
        &registry.image("1.2.3-staging"),
        &format!("oci:{pulled}:1.2.3"),
    );
    let staged = desk.trusted(&pulled, "staging", &["--name", "tarpit"]);
    assert_eq!(staged["code_sha256"], verdict["code_sha256"]);
}
