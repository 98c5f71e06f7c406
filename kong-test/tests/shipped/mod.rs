//! `ops/kong/`, as it stands but for ports and paths, in a real Kong: what it promises an edge.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kong_test::Source;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use testkit::loopback::{Loopback, UPSTREAM};
use testkit::ports::free_port;
use testkit::{World, workspace};

/// Never to be found in a log.
const CANARY: &str = "canary-4711-canary";
const STARTS_WITHIN: Duration = Duration::from_secs(180);

pub struct Shipped {
    child: Child,
    folder: tempfile::TempDir,
    port: u16,
    /// Where its metrics are.
    pub status: SocketAddr,
    /// What is behind it.
    pub services: World,
    _world: Loopback,
}

impl Drop for Shipped {
    fn drop(&mut self) {
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

/// What curl got: whether there was an answer, its head in lower case, its body.
pub struct Got {
    answered: bool,
    pub head: String,
    pub body: String,
}

/// What the shipped configuration calls a service, and its name in the world.
pub type Place = (&'static str, &'static str);

impl Shipped {
    /// With all filters.
    fn start(kong: &Path) -> Self {
        let more = [
            ("10.0.0.7:8080", "auth_service"),
            ("10.0.0.9:8970", "list_service"),
            ("10.0.0.6:4318", UPSTREAM),
        ];
        let mut shipped = Self::start_with(kong, "kong.yml", &more);
        // Its lists are here by then.
        shipped.until("a list", |it| {
            it.curl("/health", &[]).head.starts_with("HTTP/2 200")
        });
        shipped
    }

    /// With these routes, and services at these addresses.
    pub fn start_with(kong: &Path, routes: &str, services: &[Place]) -> Self {
        Self::start_in(kong, routes, services, &[], World::new())
    }

    /// The same in a world, with changes of `kong.conf`.
    pub fn start_in(
        kong: &Path,
        routes: &str,
        services: &[Place],
        changes: &[(&str, &str)],
        behind: World,
    ) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("portcullis-kong-")
            .tempdir()
            .unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        certificate(&path("tls.key"), &path("tls.crt"));
        let mut world = Loopback::new();
        world.open(&behind).unwrap();
        let at = |name: &str| world.addresses().get(name).unwrap().to_string();
        let ops = workspace::root().join("ops/kong");
        let read = |name: &str| fs::read_to_string(ops.join(name)).unwrap();
        let routes = put(read(routes), &[("10.0.0.8:8080", &at(UPSTREAM))]);
        let routes = services.iter().fold(routes, |routes, (from, name)| {
            // Of what is to be replaced, all before the address stays.
            let before = from.trim_end_matches(|c: char| !matches!(c, '"' | ' '));
            put(routes, &[(*from, &format!("{before}{}", at(name)))])
        });
        fs::write(path("kong.yml"), routes).unwrap();
        let [proxy, admin, status] = ports();
        let modules = workspace::root().join("dist/kong").display().to_string();
        let settings = put(
            put(read("kong.conf"), changes),
            &[
                ("/etc/kong/kong.yml", &path("kong.yml")),
                ("/etc/kong/tls/tls", &path("tls")),
                (
                    "/etc/kong/access-log.conf",
                    &ops.join("access-log.conf").display().to_string(),
                ),
                ("/etc/portcullis/kong", &modules),
                ("0.0.0.0:8443", &proxy.to_string()),
                ("127.0.0.1:8001", &admin.to_string()),
                ("127.0.0.1:8100", &status.to_string()),
            ],
        );
        fs::write(path("kong.conf"), settings).unwrap();
        let output = fs::File::create(path("output")).unwrap();
        let prefix = path("prefix");
        fs::create_dir(&prefix).unwrap();
        // What other tests' Kongs have compiled.
        let compiled = workspace::root().join(".tools/kong-cache");
        fs::create_dir_all(&compiled).unwrap();
        symlink(compiled, path("prefix/.wasmtime_cache")).unwrap();
        let child = Command::new(kong)
            .args(["start", "--conf", &path("kong.conf"), "--prefix", &prefix])
            // What belongs to this machine, not to what is shipped.
            .env("KONG_NGINX_DAEMON", "off")
            .env("KONG_NGINX_USER", "root root")
            .env("KONG_NGINX_WORKER_PROCESSES", "1")
            .env("KONG_ANONYMOUS_REPORTS", "off")
            // Its ports are fixed, and two tests start one.
            .env("KONG_ADMIN_GUI_LISTEN", "off")
            .current_dir(&prefix)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .process_group(0)
            .spawn()
            .unwrap();
        Self {
            child,
            folder,
            port: proxy.port(),
            status,
            services: behind,
            _world: world,
        }
    }

    pub fn until(&mut self, what: &str, fits: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !fits(self) {
            let running = matches!(self.child.try_wait(), Ok(None));
            assert!(
                running && began.elapsed() < STARTS_WITHIN,
                "Kong shows no sign of {what}:\n{}\n{}",
                self.read("output"),
                self.read("prefix/logs/error.log")
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn read(&self, name: &str) -> String {
        let bytes = fs::read(self.folder.path().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub fn curl(&self, path: &str, options: &[&str]) -> Got {
        let output = Command::new("curl")
            .args(["--silent", "--insecure", "--include", "--max-time", "10"])
            .args(options)
            .arg(format!("https://127.0.0.1:{}{path}", self.port))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let (head, body) = said.split_once("\r\n\r\n").unwrap_or((&said, ""));
        Got {
            answered: output.status.success(),
            head: head.to_ascii_lowercase().replace("http/", "HTTP/"),
            body: body.to_owned(),
        }
    }
}

/// Replaces what has to be there.
fn put(text: String, changes: &[(&str, &str)]) -> String {
    changes.iter().fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{from} is not in there");
        text.replace(from, to)
    })
}

fn certificate(key: &str, certificate: &str) {
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
        ])
        .args([
            "-subj",
            "/CN=gateway.test",
            "-days",
            "2",
            "-keyout",
            key,
            "-out",
            certificate,
        ])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
}

/// Ports that nobody uses right now.
fn ports() -> [SocketAddr; 3] {
    [(); 3].map(|()| SocketAddr::from((Ipv4Addr::LOCALHOST, free_port())))
}

/// For `Source::Local` only: what is shipped is for an installed Kong.
pub fn the_shipped_kong_is_an_edge(source: Source) -> Result<(), String> {
    let Source::Local(kong) = source else {
        return Err("only where Kong is installed".into());
    };
    let mut kong = Shipped::start(&kong);

    // TLS 1.2 and later, and nothing earlier.
    let old = [
        "--tlsv1.0",
        "--tls-max",
        "1.1",
        "--ciphers",
        "DEFAULT@SECLEVEL=0",
    ];
    assert!(!kong.curl("/health", &old).answered);
    assert!(
        kong.curl("/health", &["--tlsv1.2", "--tls-max", "1.2"])
            .answered
    );
    assert!(kong.curl("/health", &["--tlsv1.3"]).answered);

    // Headers, also on what another filter refuses.
    let public = kong.curl(
        "/health",
        &[
            "--header",
            "x-tenant-id: evil",
            "--header",
            "x-forwarded-host: evil",
        ],
    );
    assert!(public.head.starts_with("HTTP/2 200"), "{}", public.head);
    assert!(
        public.body.contains("\"x-gateway-source\""),
        "{}",
        public.body
    );
    assert!(!public.body.contains("evil"), "{}", public.body);
    let refused = kong.curl("/v1/orders", &[]);
    assert!(refused.head.starts_with("HTTP/2 401"), "{}", refused.head);
    for got in [&public, &refused] {
        for expected in [
            "strict-transport-security: max-age=31536000; includesubdomains; preload",
            "x-request-id: ",
        ] {
            assert!(got.head.contains(expected), "{}", got.head);
        }
        for absent in ["\r\nserver: ", "\r\nvia: ", "\r\nx-kong-"] {
            assert!(!got.head.contains(absent), "{}", got.head);
        }
    }
    let bot = ["--http1.1", "--user-agent", "sqlmap/1.7", "--data", "{}"];
    assert!(
        kong.curl("/v1/auth/login", &bot)
            .head
            .starts_with("HTTP/1.1 403")
    );
    assert!(kong.curl("/v1/admin/x", &[]).head.starts_with("HTTP/2 400"));

    // Credentials and bodies reach no log, but whether there was one does.
    let bearer = format!("authorization: Bearer {CANARY}");
    let key = format!("x-api-key: {CANARY}");
    let cookie = format!("cookie: session={CANARY}");
    let data = format!("{{\"password\":\"{CANARY}\"}}");
    let query = format!("/v1/orders?token={CANARY}");
    let headers = [
        "--header", &bearer, "--header", &key, "--header", &cookie, "--data", &data,
    ];
    assert!(kong.curl(&query, &headers).head.starts_with("HTTP/2 401"));
    let logged = |kong: &Shipped| {
        let log = kong.read("prefix/logs/access.log");
        let mut lines = log
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.find(|line| line.get("has_api_key").is_some_and(|it| it == "true"))
    };
    kong.until("an access log", |kong| logged(kong).is_some());
    let line = logged(&kong).unwrap();
    for (field, expected) in [
        ("has_authorization", "true"),
        ("has_cookie", "true"),
        ("method", "POST"),
        ("path", "/v1/orders"),
        ("tls_version", "TLSv1.3"),
    ] {
        assert_eq!(
            line.get(field).and_then(Value::as_str),
            Some(expected),
            "{line}"
        );
    }
    assert_eq!(line.get("status"), Some(&401.into()), "{line}");
    let mut logs = 0;
    for entry in fs::read_dir(kong.folder.path().join("prefix/logs")).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        let text = kong.read(&format!("prefix/logs/{name}"));
        assert!(!text.contains(CANARY), "{name} has a credential");
        logs += usize::from(!text.is_empty());
    }
    assert!(logs >= 2, "{logs} logs");
    assert!(!kong.read("output").contains(CANARY));
    let log = kong.read("prefix/logs/error.log");
    let errors = log
        .lines()
        .filter(|line| line.contains("[error]") || line.contains("[crit]"));
    // What Kong says before its lists are here.
    let bad: Vec<&str> = errors
        .filter(|line| !line.contains("dispatch failed"))
        .collect();
    assert!(bad.is_empty(), "{bad:?}");
    Ok(())
}

/// `browsers.yml`: CORS, and the ciphers of `kong.conf`. For `Source::Local` only.
pub fn the_shipped_kong_serves_browsers(source: Source) -> Result<(), String> {
    let Source::Local(kong) = source else {
        return Err("only where Kong is installed".into());
    };
    let mut kong = Shipped::start_with(&kong, "browsers.yml", &[]);
    kong.until("its routes", |it| {
        it.curl("/health", &[]).head.starts_with("HTTP/2 200")
    });
    let lax = "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0";
    for (cipher, answered) in [("ECDHE-ECDSA-AES128-GCM-SHA256", true), (lax, false)] {
        let options = ["--tlsv1.2", "--tls-max", "1.2", "--ciphers", cipher];
        assert_eq!(
            kong.curl("/health", &options).answered,
            answered,
            "{cipher}"
        );
    }
    let ask = |method: &str, origin: &str| {
        let origin = format!("origin: {origin}");
        let method_asked = "access-control-request-method: POST";
        let mut options = vec!["--request", method, "--header", &origin];
        if method == "OPTIONS" {
            options.extend(["--header", method_asked]);
        }
        kong.curl("/health", &options)
    };
    for origin in ["https://portal.example.com", "https://a-1.apps.example.com"] {
        let preflight = ask("OPTIONS", origin);
        assert!(
            preflight.head.starts_with("HTTP/2 200"),
            "{}",
            preflight.head
        );
        for header in [
            &format!("access-control-allow-origin: {origin}\r\n"),
            "access-control-allow-credentials: true\r\n",
            "access-control-max-age: 600",
        ] {
            assert!(
                preflight.head.contains(header),
                "{header}: {}",
                preflight.head
            );
        }
        // The upstream tells what it saw; it has not seen this one.
        assert_eq!(preflight.body, "");
        let got = ask("GET", origin);
        assert!(
            got.head
                .contains(&format!("access-control-allow-origin: {origin}\r\n"))
        );
        assert!(got.body.contains("headers"), "{}", got.body);
    }
    for origin in [
        "https://portal.example.com.evil.example",
        "https://a.apps.example.com.evil.example",
        "http://portal.example.com",
        "null",
    ] {
        let allowed = format!("access-control-allow-origin: {origin}\r\n");
        for method in ["OPTIONS", "GET"] {
            let head = ask(method, origin).head;
            assert!(!head.contains(&allowed), "{origin}: {head}");
            assert!(!head.contains("access-control-allow-origin: *"), "{head}");
        }
    }
    Ok(())
}
