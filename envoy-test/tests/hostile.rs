//! Ten thousand requests, good ones and bad ones of every kind, at one Envoy with the fingerprint-deny and auth
//! filters. The good ones pass, the bad ones do not, and nothing breaks.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use envoy_test::EnvoyGateway;
use envoy_test::bootstrap::OnTrap;
use serde_json::json;
use testkit::auth_service::SERVICE_TOKEN;
use testkit::gateway::{FilterSetup, Gateway};
use testkit::http_client::{Connection, encode};
use testkit::mint::Forge;
use testkit::{ApiKey, Key, Request, Token, World};
use wire::lists::ListName;

const REQUESTS: usize = 10_000;
const CLIENTS: usize = 8;
const PATIENCE: Duration = Duration::from_secs(60);
const ACCOUNT: &str = "acc-of-the-token";
const KEY_ACCOUNT: &str = "acc-of-the-key";
const LISTED_JA4: &str = "t13d1516h2_8daaf6152771_e5627efa2ab1";

/// Numbers that look random and are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % bound
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[6]
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.byte()).collect()
    }
}

/// What clients know.
struct Secrets {
    token: String,
    api_key: String,
    /// Tokens that are wrong in one way each.
    bad_tokens: Vec<String>,
}

/// How many responses there were, by what was hoped and what came.
type Tally = BTreeMap<(Hope, u16), usize>;

/// What may come of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Hope {
    /// It passes as this account, or as nobody.
    Pass(Option<&'static str>),
    /// It must not pass.
    Refused,
    /// The edge must refuse it, good as its token is.
    Denied,
    /// It may pass, but not as anybody.
    Anonymous,
}

fn forgeries() -> Vec<Forge> {
    vec![
        Forge::AlgNone,
        Forge::AlgNoneSigned,
        Forge::Hs256Pem,
        Forge::Hs256PemTrimmed,
        Forge::Hs256Der,
        Forge::Hs256Modulus,
        Forge::FlipSignature,
        Forge::HalfSignature,
        Forge::ZeroSignature,
        Forge::EmptySignature,
        Forge::TwoParts,
        Forge::FourParts,
        Forge::OnlyDots,
        Forge::OtherClaims,
        Forge::Padded,
        Forge::NonCanonical,
        Forge::TrailingBytes,
        Forge::ArrayClaims,
        Forge::HeaderNotJson,
        Forge::ClaimsNotJson,
        Forge::Nested,
        Forge::Huge,
    ]
}

fn secrets(world: &World, gateway: &EnvoyGateway) -> Secrets {
    let key = Key::rsa("staff", 0);
    world.auth.publish("/jwks.json", [&key]);
    let alice = ApiKey::new("alice", KEY_ACCOUNT);
    world.auth.add_api_key(alice.clone());
    let token = Token::new("staff")
        .claim("iss", "https://auth.example.com")
        .claim("aud", "orders")
        .claim("sub", "user-1")
        .claim("tid", "tenant-1")
        .claim("account_id", ACCOUNT);
    let mint = |token: Token| {
        token
            .mint(gateway.now(), |_| Some(key.clone()), |text| Ok(text.into()))
            .unwrap()
    };
    Secrets {
        token: mint(token.clone()),
        api_key: alice.key,
        bad_tokens: forgeries()
            .into_iter()
            .map(|forge| mint(token.clone().forge(forge)))
            .collect(),
    }
}

fn config() -> String {
    json!({
        "providers": {"staff": {
            "issuer": "https://auth.example.com",
            "audiences": ["orders"],
            "jwks": {"upstream": "auth_service", "authority": "auth.internal", "path": "/jwks.json"},
            "token_from": [
                {"header": "authorization", "scheme": "Bearer"},
                {"query": "access_token"},
                {"cookie": "session"},
            ],
        }},
        "api_keys": {
            "upstream": "auth_service",
            "authority": "auth.internal",
            "service_token": SERVICE_TOKEN,
        },
        "rules": [
            {"match": {"prefix": "/public"}, "public": true},
            {"match": {"prefix": "/v1"}, "any_of": [{"jwt": "staff"}, {"api_key": true}]},
        ],
    })
    .to_string()
}

/// The filter ahead of it: each request is looked up, matched with rules and reported.
fn deny_config() -> String {
    json!({
        "lists": {"upstream": "list_service", "authority": "redis-proxy.internal"},
        "client": {"trusted_proxies": ["127.0.0.0/8"]},
        "rules": [{
            "deny_countries": ["KP"],
            "deny_asns": [64511],
            "deny_bots": true,
        }],
        "sampling": {"every": 1, "identity": "request"},
    })
    .to_string()
}

/// One request of many kinds, what may come of it, and whether it is certainly one: random bytes can
/// hold the end of a request, and what follows is another.
fn request(numbers: &mut Numbers, secrets: &Secrets) -> (Vec<u8>, Hope, bool) {
    let spoofed = |request: Request| {
        request
            .header("x-account-id", "spoof")
            .header("X-Account-ID", b"sp\xffoof")
            .header("x_account_id", "spoof")
    };
    let good = Request::get("/v1/orders").bearer(&secrets.token);
    let kind = numbers.below(21);
    let plain = |request: Request, hope| (encode(&request), hope, !(10..=15).contains(&kind));
    match kind {
        0..=3 => plain(good, Hope::Pass(Some(ACCOUNT))),
        4 => plain(spoofed(good), Hope::Pass(Some(ACCOUNT))),
        5 => {
            let request = Request::post("/v1/orders", numbers.bytes(500))
                .header("x-api-key", &secrets.api_key);
            plain(spoofed(request), Hope::Pass(Some(KEY_ACCOUNT)))
        }
        6 => plain(spoofed(Request::get("/public/x")), Hope::Pass(None)),
        7..=9 => {
            let token = &secrets.bad_tokens[numbers.below(secrets.bad_tokens.len())];
            plain(Request::get("/v1/orders").bearer(token), Hope::Refused)
        }
        10 | 11 => {
            let token = mutated(numbers, secrets.token.as_bytes());
            let value = [b"Bearer ".as_slice(), &token].concat();
            let request = Request::get("/v1/orders").header("authorization", value);
            plain(request, Hope::Refused)
        }
        12 => {
            let key = mutated(numbers, secrets.api_key.as_bytes());
            plain(
                Request::get("/v1/orders").header("x-api-key", key),
                Hope::Refused,
            )
        }
        13 => {
            // Any bytes, CR, LF and NUL among them, wherever they may do harm.
            let count = numbers.below(200);
            let bytes = numbers.bytes(count);
            let header = [
                "authorization",
                "x-api-key",
                "cookie",
                "x-account-id",
                "x-request-id",
                "x-forwarded-for",
                "cf-ja3-hash",
                "cf-ja4",
                "cf-ipcountry",
                "x-client-asn",
                "user-agent",
            ];
            let name = header[numbers.below(header.len())];
            plain(
                Request::get("/v1/orders").header(name, bytes),
                Hope::Refused,
            )
        }
        14 => {
            let count = numbers.below(100) + 1;
            let bytes = numbers.bytes(count);
            let name = [b"x".as_slice(), &bytes].concat();
            plain(Request::get("/public").header(name, "1"), Hope::Anonymous)
        }
        15 => {
            let count = numbers.below(100);
            let path = [b"/".as_slice(), &numbers.bytes(count)].concat();
            plain(spoofed(Request::get(path)), Hope::Anonymous)
        }
        16 => {
            let twice = good.bearer(&secrets.bad_tokens[0]);
            plain(twice, Hope::Refused)
        }
        17 => {
            let size = 1_000 * (numbers.below(150) + 1);
            let request = Request::get("/v1/orders").bearer("a.".repeat(size / 2));
            plain(request, Hope::Refused)
        }
        18 => {
            let count = numbers.below(1_500);
            let request = (0..count).fold(Request::get("/v1/orders"), |request, n| {
                request.header(format!("x-{n}"), "1")
            });
            plain(spoofed(request), Hope::Refused)
        }
        19 => {
            let (name, value) = [
                ("x-forwarded-for", "203.0.113.9, 192.0.2.1"),
                ("cf-ja4", LISTED_JA4),
                ("cf-ipcountry", "kp"),
                ("x-client-asn", "AS64511"),
                ("user-agent", "sqlmap"),
            ][numbers.below(5)];
            plain(good.header(name, value), Hope::Denied)
        }
        _ => {
            let mut request = Request::get(format!("/v1/orders?access_token={}", secrets.token));
            request = request.header("cookie", format!("session={}", secrets.bad_tokens[5]));
            plain(request, Hope::Refused)
        }
    }
}

/// The same with a few bytes changed, lost or added; never the same.
fn mutated(numbers: &mut Numbers, original: &[u8]) -> Vec<u8> {
    let mut bytes = original.to_vec();
    loop {
        for _ in 0..=numbers.below(3) {
            let at = numbers.below(bytes.len());
            match numbers.below(4) {
                0 => bytes[at] = numbers.byte(),
                1 if bytes.len() > 1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, numbers.byte()),
                _ => bytes.truncate(at.max(1)),
            }
        }
        // White space at the ends is no part of a header's value, and Envoy takes out lone CRs.
        let arrives: Vec<u8> = bytes.iter().copied().filter(|b| *b != b'\r').collect();
        if arrives.trim_ascii() != original {
            return bytes;
        }
    }
}

/// Sends requests until all are sent; what came of how many, and what went wrong.
fn client(
    address: SocketAddr,
    secrets: &Secrets,
    left: &AtomicUsize,
    seed: u64,
) -> (Tally, Vec<String>) {
    let mut tally = Tally::new();
    let mut numbers = Numbers(seed);
    let mut connection = None;
    let mut faults = Vec::new();
    while left
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
        .is_ok()
    {
        let (bytes, hope, is_one) = request(&mut numbers, secrets);
        let mut fault = |what: String| {
            let start = &bytes[..bytes.len().min(600)];
            faults.push(format!("{what}\n  {hope:?}: {}", start.escape_ascii()));
        };
        let mut open = match connection.take() {
            Some(open) => open,
            None => Connection::open(address, None).expect("Envoy accepts connections"),
        };
        if let Err(error) = open.send(&bytes) {
            fault(format!("cannot be sent: {error}"));
            continue;
        }
        let response = match open.response(false) {
            Ok(Some(response)) => response,
            Ok(None) if matches!(hope, Hope::Pass(_)) => {
                fault("the connection was closed".into());
                continue;
            }
            Ok(None) => continue,
            Err(error) => {
                fault(format!("no response: {error}"));
                continue;
            }
        };
        let seen: Option<testkit::Seen> = serde_json::from_slice(&response.body).ok();
        let account = seen
            .as_ref()
            .map(|seen| (seen.header("x-account-id"), seen.header("x_account_id")));
        let fine = match (hope, response.status) {
            (Hope::Pass(expected), 200) => account == Some((expected.map(str::to_owned), None)),
            (Hope::Refused, 400..=499) | (Hope::Denied, 403) => true,
            (Hope::Anonymous, 200) => account == Some((None, None)),
            (Hope::Anonymous, 400..=499) => true,
            _ => false,
        };
        *tally.entry((hope, response.status)).or_default() += 1;
        if !fine {
            let body = String::from_utf8_lossy(&response.body).into_owned();
            fault(format!("status {}, {account:?}: {body}", response.status));
        }
        // After what Envoy itself takes for an attack it closes the connection.
        let closes = response
            .headers
            .iter()
            .any(|(name, value)| name == "connection" && value == b"close");
        if !closes && is_one {
            connection = Some(open);
        }
    }
    (tally, faults)
}

#[test]
fn ten_thousand_good_and_hostile_requests_break_nothing() {
    let world = World::new();
    let mut gateway = EnvoyGateway::new(2).on_trap(OnTrap::Reload);
    gateway.open(&world).unwrap();
    let secrets = secrets(&world, &gateway);
    for entry in ["ip 192.0.2.1", &format!("ja4 {LISTED_JA4}")] {
        let lists = &world.lists;
        lists
            .add_text(ListName::Deny, entry, gateway.now())
            .unwrap();
    }
    let filters = [("fingerprint_deny", deny_config()), ("auth", config())];
    let filters = filters.map(|(name, config)| FilterSetup {
        name: name.into(),
        config,
    });
    gateway.configure(&filters).unwrap().unwrap();
    let address = gateway.address().unwrap();
    // Until the list is in every worker: each gets some of these connections.
    let listed = || Request::get("/public").header("x-forwarded-for", "192.0.2.1");
    let began = Instant::now();
    while !gateway
        .send(vec![listed(); 50])
        .unwrap()
        .iter()
        .all(|exchange| exchange.status == 403)
    {
        assert!(began.elapsed() < PATIENCE, "not every worker has the list");
        gateway.wait(Duration::from_millis(200));
    }

    let left = AtomicUsize::new(REQUESTS);
    let results: Vec<(Tally, Vec<String>)> = std::thread::scope(|scope| {
        let clients: Vec<_> = (1..=CLIENTS)
            .map(|n| {
                let (secrets, left) = (&secrets, &left);
                let seed = 0x9e37_79b9_7f4a_7c15 ^ (u64::try_from(n).unwrap() << 20);
                scope.spawn(move || client(address, secrets, left, seed))
            })
            .collect();
        clients.into_iter().map(|c| c.join().unwrap()).collect()
    });
    let faults: Vec<&String> = results.iter().flat_map(|(_, faults)| faults).collect();
    let mut tally = Tally::new();
    for (outcome, count) in results.iter().flat_map(|(tally, _)| tally) {
        *tally.entry(*outcome).or_default() += count;
    }
    let first: Vec<&&String> = faults.iter().take(5).collect();
    assert!(
        faults.is_empty(),
        "{} faults, the first of them:\n{first:#?}",
        faults.len()
    );

    let of = |hope, status| tally.get(&(hope, status)).copied().unwrap_or_default();
    assert!(
        of(Hope::Pass(Some(ACCOUNT)), 200) > REQUESTS / 5,
        "{tally:?}"
    );
    assert!(
        of(Hope::Pass(Some(KEY_ACCOUNT)), 200) > REQUESTS / 40,
        "{tally:?}"
    );
    assert!(of(Hope::Refused, 401) > REQUESTS / 4, "{tally:?}");
    assert!(of(Hope::Denied, 403) > REQUESTS / 40, "{tally:?}");

    // Every worker still does its work.
    let good = Request::get("/v1/orders").bearer(&secrets.token);
    for exchange in gateway.send(vec![good; 50]).unwrap() {
        assert_eq!(exchange.word(), "200");
    }
    let log = gateway.log();
    for secret in secrets
        .bad_tokens
        .iter()
        .chain([&secrets.token, &secrets.api_key])
    {
        assert!(
            secret.len() < 16 || !log.contains(secret.as_str()),
            "the log holds a credential"
        );
    }
    for asked in world
        .services()
        .iter()
        .flat_map(|(_, service)| service.asked())
    {
        assert!(
            !asked.contains(secrets.api_key.as_bytes()),
            "the raw key left the gateway"
        );
    }
    let decided: u64 = gateway.metrics().unwrap().values().sum();
    assert!(
        decided > 5_000,
        "most requests got past Envoy itself: {decided}"
    );
    gateway.stop(&[]).unwrap();
}
