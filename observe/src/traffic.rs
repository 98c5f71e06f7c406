//! Who comes by: the demo's clients, each a real curl, for as long as it is asked for; and what operators do meanwhile.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use limits_test::control::List;
use policy::Time;
use serde_json::json;
use testkit::http_server::wall_clock;
use testkit::mint::Forge;
use testkit::{ApiKey, Endpoint, Fault, Key, Token, World};

use crate::site::Site;

const HOUR: Duration = Duration::from_secs(3_600);

/// One client: a curl, once a second.
struct Client {
    path: String,
    options: Vec<String>,
    /// With an API key that nobody has asked about, from an address of its own.
    guesses: bool,
}

/// Clients that go on coming by; they stop when this is dropped.
pub struct Crowd {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Sends everybody by for this long, and on. A third of the way in, the scraper is denied and the prober sent to the tarpit; then redis-proxy
/// hangs for a twelfth of the time, and after two thirds the resolver of API keys is down for as long.
///
/// # Panics
/// When the control API does not do what it is asked.
#[must_use]
pub fn run(site: &Site, time: Duration) -> Crowd {
    let clients = clients(&site.world, wall_clock());
    let stop = Arc::new(AtomicBool::new(false));
    let threads: Vec<JoinHandle<()>> = clients
        .into_iter()
        .map(|client| {
            let (stop, port) = (Arc::clone(&stop), site.port);
            std::thread::spawn(move || {
                for n in 0_u32.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let sent = Instant::now();
                    client.come_by(port, n);
                    std::thread::sleep(Duration::from_secs(1).saturating_sub(sent.elapsed()));
                }
            })
        })
        .collect();
    quota(site, "large-bank", 10_500);
    let pass = |part: f64| std::thread::sleep(time.mul_f64(part));
    pass(0.33);
    let ja4 = fingerprint(site);
    let denied = site
        .control
        .push(List::Deny, "ja4", &ja4, HOUR, "scrapes the catalogue");
    let _ = site.control.push(
        List::Tarpit,
        "ip",
        "127.0.0.66",
        HOUR,
        "probes for passwords",
    );
    quota(site, "small-bank", 4_200);
    pass(0.12);
    freeze(site, time);
    quota(site, "small-bank", 4_300);
    quota(site, "nobody's", -1);
    pass(0.13);
    fail(site, time);
    site.control.delete(List::Deny, &denied);
    quota(site, "small-bank", 4_400);
    pass(0.25);
    Crowd { stop, threads }
}

/// redis-proxy hangs once more, and the resolver of API keys is down, as in [`run`].
pub fn outages(site: &Site, time: Duration) {
    freeze(site, time);
    fail(site, time);
}

fn freeze(site: &Site, time: Duration) {
    site.service.freeze();
    std::thread::sleep(time.mul_f64(0.08));
    site.service.thaw();
}

fn fail(site: &Site, time: Duration) {
    site.world.auth.fail(Endpoint::Resolve, Fault::Status(500));
    std::thread::sleep(time.mul_f64(0.09));
    site.world.auth.heal();
}

/// The JA4 of the client that speaks TLS 1.2, once it was sampled.
fn fingerprint(site: &Site) -> String {
    let began = Instant::now();
    loop {
        let top = site
            .control
            .get("/internal/edge/fingerprints?top=20&since=1h&kind=ja4");
        let found = top["kinds"][0]["top"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|it| it["value"].as_str())
            .find(|ja4| ja4.starts_with("t12"));
        if let Some(ja4) = found {
            return ja4.to_owned();
        }
        let patient = began.elapsed() < Duration::from_secs(30);
        assert!(patient, "the scraper's fingerprint was sampled: {top}");
        std::thread::sleep(Duration::from_millis(250));
    }
}

/// Tells how much of 10,000 a tenant has used this month, as the billing service does, until JetStream has it: there is a
/// stream when redis-proxy has made it. Nobody has used less than nothing.
fn quota(site: &Site, tenant: &str, used: i32) {
    let output = Command::new("date")
        .args(["--utc", "+%Y-%m-%dT%H:%M:%SZ"])
        .output();
    let now = String::from_utf8(output.unwrap().stdout).unwrap();
    let event = json!({
        "tenant_id": tenant, "limit": 10_000, "used": used, "period": "monthly",
        "reset_at": "2499-01-01T00:00:00Z", "last_updated": now.trim(),
    })
    .to_string();
    let began = Instant::now();
    while !publish(site.nats, &event) {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "no stream takes it"
        );
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Whether a stream has acknowledged an event.
fn publish(nats: SocketAddr, event: &str) -> bool {
    let mut stream = TcpStream::connect(nats).unwrap();
    let size = event.len();
    let text = format!(
        "CONNECT {{\"verbose\":false,\"headers\":true,\"no_responders\":true}}\r\n\
         SUB told 1\r\nPUB quota.updated told {size}\r\n{event}\r\n"
    );
    stream.write_all(text.as_bytes()).unwrap();
    for line in BufReader::new(stream).lines() {
        let line = line.unwrap();
        // Without a stream: `HMSG`, and a 503 in it.
        if line.starts_with("HMSG told") {
            return false;
        }
        // The line after `MSG` says where it is in which stream.
        if line.contains("\"seq\"") {
            return true;
        }
    }
    panic!("NATS ended");
}

impl Client {
    /// So many requests over one connection.
    fn new(path: &str, times: u32, from: &str) -> Self {
        let query = if times == 1 {
            String::new()
        } else {
            format!("?n=[1-{times}]")
        };
        Self {
            path: format!("{path}{query}"),
            options: vec!["--interface".to_owned(), from.to_owned()],
            guesses: false,
        }
    }

    fn header(self, name: &str, value: &str) -> Self {
        self.with(&["--header", &format!("{name}: {value}")])
    }

    fn with(mut self, options: &[&str]) -> Self {
        self.options
            .extend(options.iter().map(|it| (*it).to_owned()));
        self
    }

    fn come_by(&self, port: u16, n: u32) {
        let mut options = self.options.clone();
        if self.guesses {
            let key = ApiKey::new(&format!("nobody's-{n}"), "nobody").key;
            options.extend(["--header".to_owned(), format!("x-api-key: {key}")]);
            options.extend(["--interface".to_owned(), format!("127.0.1.{}", n % 250 + 1)]);
        }
        let url = format!("https://127.0.0.1:{port}{}", self.path);
        let ended = Command::new("curl")
            .args([
                "--silent",
                "--insecure",
                "--max-time",
                "3",
                "--output",
                "/dev/null",
            ])
            .args(&options)
            .arg(url)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert!(ended.is_ok(), "curl runs");
    }
}

fn clients(world: &World, now: Time) -> Vec<Client> {
    let staff = Key::rsa("staff-2026", 0);
    world.auth.publish("/.well-known/jwks.json", [&staff]);
    let key = ApiKey {
        tier: Some("gold".into()),
        tenant: Some("large-bank".into()),
        ..ApiKey::new("demo", "acc-42")
    };
    world.auth.add_api_key(key.clone());
    let mint = |token: Token| {
        let token = token.mint(now, |_| Some(staff.clone()), |text| Ok(text.to_owned()));
        format!("Bearer {}", token.expect("the recipe is complete"))
    };
    let of = |tenant: &str| {
        Token {
            exp_in: Some("12h".into()),
            ..Token::new("key")
        }
        .claim("iss", "https://auth.example.com")
        .claim("aud", "orders")
        .claim("sub", "user-7")
        .claim("tid", tenant)
    };
    let expired = Token {
        exp_in: Some("-10s".into()),
        ..of("large-bank")
    };
    let orders = |times, from| Client::new("/v1/orders", times, from);
    let bearer = |client: Client, token| client.header("authorization", &mint(token));
    let mut clients = vec![
        bearer(orders(20, "127.0.0.10"), of("large-bank")),
        bearer(orders(12, "127.0.0.11"), of("small-bank")),
        orders(8, "127.0.0.12").header("x-api-key", &key.key),
        orders(1, "127.0.0.20"),
        bearer(orders(1, "127.0.0.21"), expired),
        bearer(
            orders(1, "127.0.0.22"),
            of("large-bank").forge(Forge::Hs256Pem),
        ),
        bearer(
            orders(1, "127.0.0.23"),
            of("large-bank").claim("aud", "billing"),
        ),
        orders(3, "127.0.0.24").header("x-api-key", "gk_live_guess"),
        bearer(
            Client::new("/v1/admin/users", 1, "127.0.0.25").header("x-tenant-id", "large-bank"),
            of("large-bank").claim("role", json!(["clerk"])),
        ),
        Client::new("/v1/admin/users", 1, "127.0.0.26"),
        Client::new("/v1/auth/login", 1, "127.0.0.27").with(&[
            "--user-agent",
            "Mozilla/5.0",
            "--data",
            "{\"account\":\"jane\"}",
        ]),
        Client::new("/v1/auth/login", 1, "127.0.0.28").with(&[
            "--user-agent",
            "sqlmap/1.7",
            "--data",
            "{}",
        ]),
        Client::new("/health", 2, "127.0.0.60").with(&["--tlsv1.2", "--tls-max", "1.2"]),
        Client::new("/health", 1, "127.0.0.66"),
    ];
    for (country, times) in [("DE", 6), ("AF", 4), ("FR", 2)] {
        let from = format!("203.0.113.{times}");
        clients.push(
            Client::new("/health", times, "127.0.0.1")
                .header("cf-ipcountry", country)
                .header("x-forwarded-for", &from),
        );
    }
    // The resolver is asked, also while it is down.
    clients.push(Client {
        guesses: true,
        ..orders(1, "127.0.1.1")
    });
    clients
}
