//! Real TLS clients against Envoy's own TLS inspector: one is refused by its JA4, all others pass, from the same
//! address (D1, D2). Their fingerprints are read from Envoy's access log, not known beforehand.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use envoy_test::EnvoyGateway;
use envoy_test::bootstrap::Tls;
use serde_json::{Value, json};
use testkit::World;
use testkit::gateway::{FilterSetup, Gateway as _};
use wire::lists::ListName;

const HOST: &str = "gateway.test";
/// A change of the list is in force within two seconds (D3), which has tests of its own; this is for busy machines.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program, or a library, that speaks TLS in its own way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stack {
    /// OpenSSL, as curl sets it up.
    Curl,
    /// OpenSSL, as Node sets it up.
    Node,
    /// OpenSSL, as Python sets it up.
    Python,
    /// rustls, in this process.
    Rustls,
    /// What Chrome does, from a library that scrapers use.
    LikeChrome,
}

const STACKS: [Stack; 5] = [
    Stack::Curl,
    Stack::Node,
    Stack::Python,
    Stack::Rustls,
    Stack::LikeChrome,
];

/// Envoy with the filter, ending TLS.
struct Setup {
    gateway: EnvoyGateway,
    world: World,
    address: SocketAddr,
    folder: tempfile::TempDir,
    requests: u32,
}

/// What Envoy wrote down of a request.
#[derive(Debug)]
struct Seen {
    ja3: String,
    ja4: String,
    status: u64,
}

impl Setup {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap();
        std::fs::write(folder.path().join("ca.pem"), made.cert.pem()).unwrap();
        let tls = Tls {
            certificate: made.cert.pem(),
            key: made.signing_key.serialize_pem(),
            access_log: folder.path().join("access.log"),
        };
        let world = World::new();
        let mut gateway = EnvoyGateway::new(1).tls(tls);
        gateway.open(&world).unwrap();
        let config = json!({
            "lists": {"upstream": "list_service", "authority": "redis-proxy.internal"},
            "sampling": {"every": 1},
        });
        let filter = FilterSetup {
            name: "fingerprint_deny".into(),
            config: config.to_string(),
        };
        gateway.configure(&[filter]).unwrap().unwrap();
        let address = gateway.secured_address().unwrap();
        let mut setup = Self {
            gateway,
            world,
            address,
            folder,
            requests: 0,
        };
        setup.gets(Stack::Curl, 200);
        setup
    }

    /// Waits until a client gets this.
    fn gets(&mut self, stack: Stack, status: u16) {
        let began = Instant::now();
        while self.ask(stack).0 != status {
            assert!(
                began.elapsed() < PATIENCE,
                "{stack:?} does not get {status}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A request over a connection of its own; what the client got, and what Envoy saw.
    fn ask(&mut self, stack: Stack) -> (u16, Seen) {
        self.requests += 1;
        let path = format!("/{stack:?}/{}", self.requests);
        let status = stack.get(self.address, &self.ca(), &path);
        (status, self.seen(&path))
    }

    /// The line of the access log.
    fn seen(&self, path: &str) -> Seen {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = std::fs::read_to_string(self.folder.path().join("access.log"));
            let line = log
                .unwrap_or_default()
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                .find(|line| line["path"] == path);
            if let Some(line) = line {
                let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
                return Seen {
                    ja3: text("ja3"),
                    ja4: text("ja4"),
                    status: line["status"].as_u64().unwrap(),
                };
            }
            assert!(Instant::now() < deadline, "no {path} in the access log");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Lists a client; the list is in force when this ends.
    fn list(&mut self, entry: &str, stack: Stack) {
        let now = self.gateway.now();
        let lists = &self.world.lists;
        lists.add_text(ListName::Deny, entry, now).unwrap();
        self.gets(stack, 403);
    }

    fn unlist(&mut self, entry: &str, stack: Stack) {
        self.world.lists.remove_text(ListName::Deny, entry).unwrap();
        self.gets(stack, 200);
    }
}

impl Stack {
    /// The status that the client got.
    fn get(self, address: SocketAddr, ca: &Path, path: &str) -> u16 {
        let url = format!("https://{HOST}:{}{path}", address.port());
        let output = match self {
            Self::Rustls => return rustls_get(address, ca, path),
            Self::Curl => run(Command::new("curl")
                .args(["--silent", "--show-error", "--max-time", "20"])
                .args(["--output", "/dev/null", "--write-out", "%{http_code}"])
                .arg("--cacert")
                .arg(ca)
                .args([
                    "--resolve",
                    &format!("{HOST}:{}:{}", address.port(), address.ip()),
                ])
                .arg(&url)),
            Self::Node => run(Command::new("node").args(["-e", NODE]).args([
                ca.as_os_str(),
                address.port().to_string().as_ref(),
                path.as_ref(),
            ])),
            Self::Python => run(Command::new("/usr/bin/python3").args(["-c", PYTHON]).args([
                ca.as_os_str(),
                address.port().to_string().as_ref(),
                path.as_ref(),
            ])),
            Self::LikeChrome => {
                let url = format!("https://{address}{path}");
                run(Command::new("/usr/bin/python3")
                    .env("PYTHONPATH", like_chrome())
                    .args(["-c", LIKE_CHROME, &url]))
            }
        };
        output.trim().parse().unwrap()
    }
}

const NODE: &str = r"
const [ca, port, path] = process.argv.slice(1);
const options = { host: '127.0.0.1', port, path, servername: 'gateway.test',
    ca: require('fs').readFileSync(ca), agent: false };
require('https').get(options, (response) => { console.log(response.statusCode); response.resume(); });
";

const PYTHON: &str = r#"
import http.client, socket, ssl, sys
ca, port, path = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)
connection = http.client.HTTPSConnection("gateway.test", int(port), context=context, timeout=20)
connection._create_connection = lambda address, *rest: socket.create_connection(("127.0.0.1", int(port)), 20)
connection.request("GET", path)
print(connection.getresponse().status)
"#;

const LIKE_CHROME: &str = r#"
import primp, sys
client = primp.Client(impersonate="chrome_146", impersonate_os="windows", verify=False, timeout=20)
print(client.get(sys.argv[1]).status_code)
"#;

/// Where `tools/setup.sh test` puts it.
fn like_chrome() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/tls-clients");
    assert!(
        folder.join("primp").exists(),
        "there is no {}: `tools/setup.sh test` fetches it",
        folder.display()
    );
    folder
}

fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}; `tools/setup.sh test` installs it"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

fn rustls_get(address: SocketAddr, ca: &Path, path: &str) -> u16 {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(ca).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = HOST.try_into().unwrap();
    let mut session = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut socket = TcpStream::connect(address).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut stream = rustls::Stream::new(&mut session, &mut socket);
    let request = format!("GET {path} HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    let answer = std::str::from_utf8(&answer).unwrap();
    answer.strip_prefix("HTTP/1.1 ").unwrap().parse().unwrap()
}

#[test]
fn one_stack_is_refused_by_its_ja4_and_all_others_pass_from_the_same_address() {
    let mut setup = Setup::new();
    let mut ja4_of = BTreeMap::new();
    for stack in STACKS {
        let (status, seen) = setup.ask(stack);
        assert_eq!((status, seen.status), (200, 200), "{stack:?}: {seen:?}");
        assert!(
            seen.ja4.parse::<wire::lists::Ja4>().is_ok(),
            "{stack:?}: {seen:?}"
        );
        ja4_of.insert(stack, seen.ja4);
    }
    let mut table = String::new();
    for (stack, ja4) in &ja4_of {
        let _ = writeln!(table, "{stack:?} {ja4}");
    }
    println!("{table}");
    let different: BTreeSet<&String> = ja4_of.values().collect();
    assert!(different.len() >= 4, "too much alike:\n{table}");

    for denied in [Stack::Curl, Stack::Rustls, Stack::LikeChrome] {
        let ja4 = &ja4_of[&denied];
        setup.list(&format!("ja4 {ja4}"), denied);
        for stack in STACKS {
            let (status, seen) = setup.ask(stack);
            // Who has the same fingerprint is the same client, as far as it can tell.
            let expected = if ja4_of[&stack] == *ja4 { 403 } else { 200 };
            assert_eq!(
                status, expected,
                "{stack:?} while {denied:?} is denied: {seen:?}\n{table}"
            );
        }
        setup.unlist(&format!("ja4 {ja4}"), denied);
    }
    let (status, _) = setup.ask(Stack::Curl);
    assert_eq!(status, 200);

    // The samples have the same fingerprints as Envoy's own log (D8).
    let began = Instant::now();
    loop {
        let samples = setup.world.lists.samples().into_iter();
        let sampled: BTreeSet<String> = samples.filter_map(|sample| sample.ja4).collect();
        let missing = ja4_of.iter().find(|(_, ja4)| !sampled.contains(*ja4));
        let Some((stack, _)) = missing else { break };
        let patient = began.elapsed() < PATIENCE;
        assert!(patient, "{stack:?} in no sample: {sampled:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
    setup.gateway.stop(&[]).unwrap();
}

#[test]
fn a_client_can_be_refused_by_its_ja3() {
    let mut setup = Setup::new();
    let (_, seen) = setup.ask(Stack::Python);
    setup.list(&format!("ja3 {}", seen.ja3), Stack::Python);
    assert_eq!(setup.ask(Stack::Python).0, 403);
    assert_eq!(setup.ask(Stack::Rustls).0, 200);
    setup.gateway.stop(&[]).unwrap();
}

/// Why the documentation recommends JA4.
#[test]
fn what_shuffles_its_extensions_has_ever_new_ja3_and_one_ja4() {
    let mut setup = Setup::new();
    let mut of = |stack| -> (BTreeSet<String>, BTreeSet<String>) {
        (0..4)
            .map(|_| setup.ask(stack).1)
            .map(|seen| (seen.ja3, seen.ja4))
            .unzip()
    };
    let (ja3, ja4) = of(Stack::LikeChrome);
    println!("like Chrome: {ja3:?} {ja4:?}");
    assert!(ja3.len() > 1, "{ja3:?}");
    assert_eq!(ja4.len(), 1, "{ja4:?}");
    let (ja3, ja4) = of(Stack::Curl);
    assert_eq!((ja3.len(), ja4.len()), (1, 1));
    setup.gateway.stop(&[]).unwrap();
}
