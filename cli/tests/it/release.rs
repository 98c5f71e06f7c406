//! From a built module to one that production trusts.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::run::{Run, portcullis, root};

/// A folder with keys, a policy and the built modules.
pub struct Desk {
    folder: tempfile::TempDir,
}

const POLICY: &str = r#"
[keys.builder]
role = "build"
file = "builder.pub"
[keys.steph]
role = "staging"
file = "steph.pub"
[keys.pat]
role = "production"
file = "pat.pub"
[keys.paula]
role = "production"
file = "paula.pub"

[environments.dev]
needs = { build = 1 }
max_age_days = 100
[environments.staging]
needs = { build = 1, staging = 1 }
[environments.production]
needs = { build = 1, staging = 1, production = 2 }
"#;

impl Desk {
    pub fn new() -> Self {
        let desk = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        for name in ["builder", "steph", "pat", "paula", "stranger"] {
            let made = portcullis(["keygen", &desk.path(name)]);
            assert_eq!(made.code, 0, "{made:#?}");
        }
        fs::write(desk.at("policy.toml"), POLICY).unwrap();
        desk
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn path(&self, name: &str) -> String {
        self.at(name).display().to_string()
    }

    /// Signs what `make wasm` has built, as version 1.2.3, to `signed/`; its path.
    pub fn signed(&self, module: &str) -> String {
        let run = self.sign(&built(module), "builder", "envoy", "signed");
        assert_eq!(run.code, 0, "{run:#?}");
        self.path(&format!("signed/{module}.wasm"))
    }

    pub fn sign(&self, module: &str, key: &str, gateway: &str, out: &str) -> Run {
        let (key, out) = (self.path(&format!("{key}.key")), self.path(out));
        portcullis([
            "sign",
            module,
            "--key",
            &key,
            "--gateway",
            gateway,
            "--version",
            "1.2.3",
            "--commit",
            "c0ffee",
            "--out",
            &out,
        ])
    }

    pub fn promote(&self, module: &str, to: &str, key: &str, out: &str) -> Run {
        let (policy, key, out) = (
            self.path("policy.toml"),
            self.path(&format!("{key}.key")),
            self.path(out),
        );
        portcullis([
            "promote", module, "--policy", &policy, "--to", to, "--key", &key, "--ticket", "OPS-7",
            "--out", &out, "--format", "json",
        ])
    }

    pub fn verify(&self, module: &str, environment: &str, more: &[&str]) -> Run {
        let policy = self.path("policy.toml");
        let fixed = [
            "verify",
            module,
            "--policy",
            &policy,
            "--environment",
            environment,
            "--format",
            "json",
        ];
        portcullis(fixed.iter().chain(more))
    }

    /// Refused, and these are the reasons.
    pub fn refused(&self, module: &str, environment: &str, more: &[&str]) -> Vec<String> {
        let run = self.verify(module, environment, more);
        assert_eq!(run.code, 1, "{run:#?}");
        let json = run.json();
        assert_eq!(json["trusted"], false);
        codes(&json["modules"][0])
    }

    pub fn trusted(&self, module: &str, environment: &str, more: &[&str]) -> Value {
        let run = self.verify(module, environment, more);
        assert_eq!(run.code, 0, "{run:#?}");
        run.json()["modules"][0].clone()
    }

    fn change(&self, module: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = fs::read(module).unwrap();
        change(&mut bytes);
        fs::write(module, bytes).unwrap();
    }
}

fn codes(verdict: &Value) -> Vec<String> {
    let problems = verdict["problems"].as_array().unwrap();
    let code = |it: &Value| it["code"].as_str().unwrap().to_owned();
    problems.iter().map(code).collect()
}

/// What `make wasm` built, for Envoy.
pub fn built(module: &str) -> String {
    let path = root().join(format!("dist/{module}.wasm"));
    assert!(path.is_file(), "{} is not built: make wasm", path.display());
    path.display().to_string()
}

#[test]
fn a_module_gets_to_production_signature_by_signature() {
    let desk = Desk::new();
    let module = desk.signed("tarpit");
    let in_dev = desk.trusted(&module, "dev", &["--gateway", "envoy"]);
    let of_build = in_dev["code_sha256"].as_str().unwrap();
    let sha256sum = Command::new("sha256sum")
        .arg(built("tarpit"))
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&sha256sum.stdout).starts_with(of_build));
    assert_eq!(in_dev["module"], "tarpit");
    assert_eq!(in_dev["version"], "1.2.3");
    assert_eq!(in_dev["commit"], "c0ffee");
    assert_eq!(desk.refused(&module, "staging", &[]), ["missing_signature"]);
    assert_eq!(
        desk.refused(&module, "production", &[]),
        ["missing_signature", "missing_signature"]
    );

    // Not before staging, not with another's key, not by a stranger.
    let early = desk.promote(&module, "production", "pat", "approved");
    assert_eq!(early.code, 1, "{early:#?}");
    assert_eq!(codes(&early.json()["refused"][0]), ["missing_signature"]);
    for key in ["steph", "builder", "stranger"] {
        let run = desk.promote(&module, "production", key, "approved");
        assert_eq!(run.code, 3, "{run:#?}");
        assert!(run.stderr.contains("does not let the key"), "{run:#?}");
    }
    assert!(!desk.at("approved").exists());

    for (to, key) in [
        ("staging", "steph"),
        ("production", "pat"),
        ("production", "paula"),
    ] {
        assert_ne!(desk.verify(&module, to, &[]).code, 0);
        let run = desk.promote(&module, to, key, "signed");
        assert_eq!(run.code, 0, "{run:#?}");
        let again = desk.promote(&module, to, key, "signed");
        assert_eq!(
            codes(&again.json()["refused"][0]),
            ["approved_already"],
            "{again:#?}"
        );
    }
    for environment in ["dev", "staging", "production"] {
        desk.trusted(&module, environment, &[]);
    }
    let said = portcullis([
        "verify",
        &module,
        "--policy",
        &desk.path("policy.toml"),
        "--environment",
        "production",
    ]);
    for part in [
        "tarpit.wasm: trusted for production",
        "tarpit 1.2.3 for envoy, commit c0ffee",
        "build by builder (",
        "staging by steph (",
        "production by paula (",
        "ticket OPS-7",
        of_build,
    ] {
        assert!(said.stdout.contains(part), "{part}: {said:#?}");
    }
}

#[test]
fn a_changed_module_is_refused_wherever_it_was_changed() {
    let desk = Desk::new();
    let module = desk.signed("tarpit");
    assert_eq!(desk.promote(&module, "staging", "steph", "signed").code, 0);
    let good = fs::read(&module).unwrap();
    // Over all of the file, and each byte of what is at its ends: signatures and statements. The unit tests of
    // `release::module` change every bit of a small one.
    let mut places: Vec<usize> = (0..good.len()).step_by(good.len() / 40).collect();
    places.extend((0..320).step_by(11));
    places.extend((good.len() - 400..good.len()).step_by(13));
    for at in places {
        desk.change(&module, |bytes| bytes[at] ^= 1);
        let why = desk.refused(&module, "dev", &[]);
        let known = ["changed", "no_module", "unsigned", "unknown_key"];
        assert!(
            why.len() == 1 && known.contains(&why[0].as_str()),
            "byte {at}: {why:?}"
        );
        fs::write(&module, &good).unwrap();
    }
    for added in [
        &b"\0"[..],
        b"\x00\x04\x03abc",
        b"\x00\x25\x13signature_delimiter0123456789abcdef0",
    ] {
        desk.change(&module, |bytes| bytes.extend_from_slice(added));
        let why = desk.refused(&module, "dev", &[]);
        assert!(
            ["changed", "no_module"].contains(&why[0].as_str()),
            "{why:?}"
        );
        fs::write(&module, &good).unwrap();
    }
    desk.change(&module, |bytes| bytes.truncate(good.len() / 2));
    assert_eq!(desk.refused(&module, "dev", &[]), ["no_module"]);
    fs::copy(built("tarpit"), &module).unwrap();
    assert_eq!(desk.refused(&module, "dev", &[]), ["unsigned"]);
    fs::write(&module, &good).unwrap();
    desk.trusted(&module, "dev", &[]);
}

#[test]
fn a_module_is_only_what_it_was_signed_as() {
    let desk = Desk::new();
    let tarpit = desk.signed("tarpit");
    let as_auth = desk.path("signed/auth.wasm");
    fs::copy(&tarpit, &as_auth).unwrap();
    assert_eq!(desk.refused(&as_auth, "dev", &[]), ["wrong_module"]);
    desk.trusted(&as_auth, "dev", &["--name", "tarpit"]);
    assert_eq!(
        desk.refused(&tarpit, "dev", &["--gateway", "kong"]),
        ["wrong_gateway"]
    );
    // Nothing is signed twice, and nothing is overwritten by another.
    let twice = desk.sign(&tarpit, "builder", "envoy", "again");
    assert_eq!(twice.code, 3, "{twice:#?}");
    let kong = root().join("dist/kong/tarpit.wasm").display().to_string();
    let (key, out) = (desk.path("builder.key"), desk.path("both"));
    let both = portcullis([
        "sign",
        &built("tarpit"),
        &kong,
        "--key",
        &key,
        "--gateway",
        "kong",
        "--version",
        "1",
        "--out",
        &out,
    ]);
    assert_eq!(both.code, 3, "{both:#?}");
    assert!(both.stderr.contains("two modules"), "{both:#?}");
    assert!(!Path::new(&out).exists());
}

#[test]
fn signatures_end() {
    let desk = Desk::new();
    let module = desk.signed("tarpit");
    let days = |days: i64| {
        let date = Command::new("date")
            .args([
                "--utc",
                "--date",
                &format!("{days} days"),
                "+%Y-%m-%dT%H:%M:%SZ",
            ])
            .output();
        String::from_utf8(date.unwrap().stdout)
            .unwrap()
            .trim()
            .to_owned()
    };
    desk.trusted(&module, "dev", &["--at", &days(99)]);
    assert_eq!(
        desk.refused(&module, "dev", &["--at", &days(101)]),
        ["too_old"]
    );
    assert_eq!(
        desk.refused(&module, "dev", &["--at", &days(181)]),
        ["expired", "too_old"]
    );
    // A clock that was wrong when it signed, or one that is now.
    let early = desk.refused(&module, "dev", &["--at", &days(-1)]);
    assert_eq!(early, ["missing_signature"]);
    // A key that is past its time counts no more, whatever it signed.
    let until = format!("role = \"build\"\nnot_after = \"{}\"", days(10));
    fs::write(
        desk.at("policy.toml"),
        POLICY.replace("role = \"build\"", &until),
    )
    .unwrap();
    desk.trusted(&module, "dev", &["--at", &days(9)]);
    assert_eq!(
        desk.refused(&module, "dev", &["--at", &days(11)]),
        ["missing_signature"]
    );
}

#[test]
fn who_is_not_in_the_policy_is_nobody() {
    let desk = Desk::new();
    let run = desk.sign(&built("tarpit"), "stranger", "envoy", "signed");
    assert_eq!(run.code, 0, "{run:#?}");
    let module = desk.path("signed/tarpit.wasm");
    assert_eq!(desk.refused(&module, "dev", &[]), ["unknown_key"]);
    // A known key in a role that is not its own.
    let run = desk.sign(&built("tarpit"), "steph", "envoy", "signed");
    assert_eq!(run.code, 0, "{run:#?}");
    assert_eq!(
        desk.refused(&module, "dev", &[]),
        ["wrong_role", "missing_signature"]
    );
    // What the policy has taken back, and what it does not list.
    let module = desk.signed("tarpit");
    let code = desk.trusted(&module, "dev", &[])["code_sha256"]
        .as_str()
        .unwrap()
        .to_owned();
    fs::write(
        desk.at("policy.toml"),
        format!("revoked = [\"{code}\"]\nmodules = [\"auth\"]\n{POLICY}"),
    )
    .unwrap();
    assert_eq!(
        desk.refused(&module, "dev", &[]),
        ["unknown_module", "revoked"]
    );
}

#[test]
fn a_policy_that_asks_for_what_cannot_be_is_refused() {
    let desk = Desk::new();
    let module = desk.signed("tarpit");
    for (from, to, expected) in [
        (
            "role = \"staging\"",
            "role = \"stging\"",
            "keys.steph: role: neither",
        ),
        (
            "file = \"pat.pub\"",
            "file = \"paula.pub\"",
            "the same key as keys.pat",
        ),
        (
            "file = \"pat.pub\"",
            "file = \"pat.key\"",
            "keys.pat: not an Ed25519 public key",
        ),
        ("file = \"pat.pub\"", "file = \"no.pub\"", "no.pub"),
        ("file = \"pat.pub\"", "", "keys.pat: either file or pem"),
        (
            "production = 2",
            "production = 3",
            "production = 3, of 2 keys",
        ),
        ("production = 2", "canary = 1", "canary = 1, of 0 keys"),
        (
            "needs = { build = 1 }",
            "needs = {}",
            "environments.dev.needs: build = 1",
        ),
        ("max_age_days", "max_age_day", "unknown field `max_age_day`"),
        (
            "[environments.dev]",
            "revoked = 1\n[environments.dev]",
            "revoked",
        ),
    ] {
        assert!(POLICY.contains(from));
        fs::write(desk.at("policy.toml"), POLICY.replace(from, to)).unwrap();
        let run = desk.verify(&module, "dev", &[]);
        assert_eq!(run.code, 3, "{to}: {run:#?}");
        assert!(run.stderr.contains(expected), "{expected}: {run:#?}");
    }
    fs::write(desk.at("policy.toml"), POLICY).unwrap();
    let run = desk.verify(&module, "prod", &[]);
    assert_eq!(run.code, 3, "{run:#?}");
    assert!(run.stderr.contains("dev, production, staging"), "{run:#?}");
}

#[test]
fn the_shipped_policy_is_one() {
    let desk = Desk::new();
    fs::create_dir(desk.at("keys")).unwrap();
    for (name, role) in [
        ("builder", "build"),
        ("steph", "staging"),
        ("pat", "production"),
    ] {
        fs::copy(
            desk.at(&format!("{name}.pub")),
            desk.at(&format!("keys/{role}.pub")),
        )
        .unwrap();
    }
    fs::copy(
        root().join("ops/release/policy.toml"),
        desk.at("policy.toml"),
    )
    .unwrap();
    let module = desk.signed("tarpit");
    for (to, key) in [("staging", "steph"), ("production", "pat")] {
        assert_eq!(desk.refused(&module, to, &[])[0], "missing_signature");
        assert_eq!(desk.promote(&module, to, key, "signed").code, 0);
        desk.trusted(&module, to, &[]);
    }
}

#[test]
fn secret_keys_stay_secret() {
    let desk = Desk::new();
    let key = desk.path("builder.key");
    let pem = fs::read_to_string(&key).unwrap();
    let secret = pem.lines().nth(1).unwrap().to_owned();
    assert_eq!(
        fs::metadata(&key).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let sign = |arguments: &[&str], variable: Option<&str>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command.args([
            "sign",
            &built("tarpit"),
            "--gateway",
            "envoy",
            "--version",
            "1",
            "--out",
            &desk.path("signed"),
        ]);
        command.args(arguments);
        if let Some(value) = variable {
            command.env("BUILD_KEY", value);
        }
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    };
    // The last half of it is kept, so that a slip would show.
    let broken = pem.replace("MC4CAQAw", "MC4CAQ!!");
    let half = &secret[secret.len() / 2..];
    fs::write(desk.at("broken.key"), &broken).unwrap();
    fs::set_permissions(desk.at("broken.key"), fs::Permissions::from_mode(0o600)).unwrap();
    for (arguments, variable, code) in [
        (vec!["--key", &key], None, 0),
        (vec!["--key-env", "BUILD_KEY"], Some(pem.as_str()), 0),
        (vec!["--key-env", "BUILD_KEY"], Some(broken.as_str()), 3),
        (vec!["--key-env", "BUILD_KEY"], None, 3),
        (vec!["--key", &desk.path("broken.key")], None, 3),
        (vec!["--key", &desk.path("builder.pub")], None, 3),
        (
            vec!["--key", &key, "--key-env", "BUILD_KEY"],
            Some(pem.as_str()),
            2,
        ),
        (vec!["--format", "json", "--key", &key], None, 0),
    ] {
        let (found, said) = sign(&arguments, variable);
        assert_eq!(found, Some(code), "{arguments:?}: {said}");
        assert!(
            !said.contains(half) && !said.contains("PRIVATE"),
            "{arguments:?}: {said}"
        );
    }
    // Whoever else can read it may have it.
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    let (found, said) = sign(&["--key", &key], None);
    assert_eq!(found, Some(3));
    assert!(said.contains("others may read this key"), "{said}");
    // Nothing is overwritten.
    let again = portcullis(["keygen", &desk.path("builder")]);
    assert_eq!(again.code, 3, "{again:#?}");
    assert_eq!(fs::read_to_string(&key).unwrap(), pem);
}

/// Keys are what others mean by Ed25519 in PEM, and signatures too.
#[test]
fn openssl_agrees() {
    let desk = Desk::new();
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).output().unwrap();
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    };
    let (key, public) = (desk.path("builder.key"), desk.path("builder.pub"));
    let (done, pem) = openssl(&["pkey", "-in", &key, "-pubout"]);
    assert!(done);
    assert_eq!(pem, fs::read_to_string(&public).unwrap());
    // One that it made.
    fs::remove_file(&key).unwrap();
    assert!(openssl(&["genpkey", "-algorithm", "ed25519", "-out", &key]).0);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(openssl(&["pkey", "-in", &key, "-pubout", "-out", &public]).0);
    let module = desk.signed("tarpit");
    desk.trusted(&module, "dev", &[]);
}
