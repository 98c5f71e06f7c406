//! What happens, in order.

use std::time::{Duration, Instant};

use limits_test::load::{self, Sample, Stream};
use limits_test::report::Report;
use serde_json::{Value, json};
use testkit::Request;
use testkit::http_client::Connection;

use crate::site::Site;
use crate::watch::watch;

/// The tenant of the tier without burst.
const P3_TENANT: &str = "small-bank";

const BURST: &str = "/burst";
const TIERS: &str = "/tiers";
const ORDERS: &str = "/orders";
const LOGIN: &str = "/login";

/// Requests per second of the two tenants.
const RATE: u32 = 300;
/// Twice the rate passes for so many seconds. By default it is ten, which is long to watch.
const BURST_SECONDS: u32 = 3;
/// Offered per method while redis-proxy comes and goes, well below the limit.
const ORDERS_PER_SECOND: f64 = 40.0;
/// From its end on, so long for Envoy to notice that redis-proxy is gone.
const NOTICED: Duration = Duration::from_millis(700);
/// Of a hundred answers on a busy machine, so many must be as expected.
const NEARLY_ALL: f64 = 95.0;

/// Plays, and reports what was expected and what came.
type Scene = fn(&mut Site, &mut Report) -> Result<(), String>;

pub static ALL: [Scene; 4] = [burst, tier, outage, logins];

/// What redis-proxy knows of tenants.
pub fn tiers() -> String {
    let tier = |name: &str, rank: u8, burst: &str| {
        format!(
            "[tiers.table.{name}]\nrank = {rank}\n[tiers.table.{name}.limits]\n\
             tenant = {{ tokens = {RATE}, period_ms = 1000, burst = \"{burst}\" }}\n"
        )
    };
    format!(
        "{}{}[tiers.tenants]\n{P3_TENANT} = \"p3\"\n",
        tier("standard", 100, "usual"),
        tier("p3", 0, "none"),
    )
}

pub fn rules() -> Value {
    let rate = format!("{RATE}/s");
    json!([
        {"match": {"path": BURST}, "limits": [
            {"dimension": "tenant", "scope": "burst", "limit": rate, "burst": RATE * BURST_SECONDS},
        ]},
        {"match": {"path": TIERS}, "limits": [
            {"dimension": "tenant", "tiers": true},
        ]},
        {"match": {"path": ORDERS}, "limits": [
            {"dimension": "tenant", "scope": "orders", "limit": "1000/s"},
        ]},
        {"match": {"path": LOGIN, "methods": ["POST"]}, "limits": [
            {"dimension": "ip", "scope": "login", "limit": "5/min"},
        ]},
    ])
}

fn burst(site: &mut Site, report: &mut Report) -> Result<(), String> {
    println!(
        "\nA tenant at twice its limit of {RATE}/s, with a burst of {BURST_SECONDS} s (by default 10 s):"
    );
    let lasts = Duration::from_secs(7);
    let stream = stream(site, BURST, f64::from(2 * RATE), lasts).header("x-tenant-id", "big-bank");
    let watched = watch(&site.gateway, vec![stream], |_| None)?;
    // Exactly twice the rate is the peak: requests that a busy machine bunches up can be above it.
    let first = watched.between(0, watched.start, watched.after(2.5));
    let passed = percent(&first, 200, None);
    report.row(
        "burst, at 2×: the first 2.5 s",
        "≥ 90 % pass",
        format!("{passed:.0} %"),
        passed >= 90.0,
    );
    let last = watched.between(0, watched.after(5.0), watched.after(7.0));
    let admitted = load::count(&last, 200) as f64 / 2.0 / f64::from(RATE);
    report.row(
        "burst, at 2×: the last 2 s",
        "1× ± 0.15",
        format!("{admitted:.2}×"),
        (admitted - 1.0).abs() <= 0.15,
    );
    Ok(())
}

fn tier(site: &mut Site, report: &mut Report) -> Result<(), String> {
    println!("\nA tenant of tier P3, which has no burst, at one and a half times {RATE}/s:");
    let lasts = Duration::from_secs(4);
    let stream = stream(site, TIERS, f64::from(RATE) * 1.5, lasts).header("x-tenant-id", P3_TENANT);
    let watched = watch(&site.gateway, vec![stream], |_| None)?;
    let first = watched.between(0, watched.start, watched.after(1.0));
    for (what, samples, least) in [
        ("P3, at 1.5×: the first second", &first, 15.0),
        ("P3, at 1.5×: all 4 s", &watched.samples[0], 25.0),
    ] {
        let refused = percent(samples, 429, Some("rate_limited"));
        report.row(
            what,
            &format!("{least:.0} to 40 % refused"),
            format!("{refused:.0} %"),
            (least..=40.0).contains(&refused),
        );
    }
    Ok(())
}

fn outage(site: &mut Site, report: &mut Report) -> Result<(), String> {
    println!(
        "\nredis-proxy is ended and started again, under {ORDERS_PER_SECOND} GET and as many POST a second. Where \
         nothing\nelse is configured, what reads passes without it and what writes does not:"
    );
    let lasts = Duration::from_secs(8);
    let streams = ["GET", "POST"].map(|method| Stream {
        method,
        connections: 4,
        ..stream(site, ORDERS, ORDERS_PER_SECOND, lasts).header("x-tenant-id", "big-bank")
    });
    let mut ended = None;
    let mut mended = None;
    let (gateway, proxy) = (&site.gateway, &mut site.proxy);
    let watched = watch(gateway, streams.to_vec(), |second| match second {
        1 => {
            ended = Some(Instant::now());
            proxy.kill();
            Some("redis-proxy is ended")
        }
        3 => {
            mended = Some(Instant::now());
            proxy.restart();
            Some("redis-proxy is started")
        }
        _ => None,
    })?;
    let (ended, mended) = ended.zip(mended).ok_or("redis-proxy was left alone")?;
    let noticed = ended + NOTICED;
    let end = watched.start + lasts;
    let last = watched.after(lasts.as_secs_f64() - 1.0);
    let unavailable = (503, Some("limiter_unavailable"));
    for (what, stream, from, to, (status, code)) in [
        (
            "GET, redis-proxy there",
            0,
            watched.start,
            ended,
            (200, None),
        ),
        (
            "POST, redis-proxy there",
            1,
            watched.start,
            ended,
            (200, None),
        ),
        ("GET, redis-proxy gone", 0, noticed, mended, (200, None)),
        ("POST, redis-proxy gone", 1, noticed, mended, unavailable),
        ("GET, redis-proxy back", 0, last, end, (200, None)),
        ("POST, redis-proxy back", 1, last, end, (200, None)),
    ] {
        let samples = watched.between(stream, from, to);
        let share = percent(&samples, status, code);
        let expected = format!("{status} {}", code.unwrap_or_default());
        report.row(
            what,
            expected.trim_end(),
            format!("{share:.0} % of {}", samples.len()),
            share >= NEARLY_ALL,
        );
    }
    Ok(())
}

fn logins(site: &mut Site, report: &mut Report) -> Result<(), String> {
    println!("\nSix logins from one address, where five a minute are allowed:");
    let mut connection = Connection::open(site.gateway.address(), None)
        .map_err(|error| format!("no connection to Envoy: {error}"))?;
    let mut statuses = Vec::new();
    let mut retry_after = None;
    for n in 1..=6 {
        let exchange = connection
            .exchange(&Request::post(LOGIN, "{}"))
            .map_err(|error| format!("no answer to a login: {error}"))?;
        retry_after = exchange.header("retry-after").map(str::to_owned);
        let retry = retry_after.as_ref().map(|s| format!(", Retry-After: {s}"));
        println!("   {n}  {}{}", exchange.word(), retry.unwrap_or_default());
        statuses.push(exchange.word());
    }
    let passed = statuses[..5].iter().filter(|word| *word == "200").count();
    report.row(
        "login, the first five",
        "5 pass",
        format!("{passed} pass"),
        passed == 5,
    );
    let seconds = retry_after.and_then(|text| text.parse::<u64>().ok());
    report.row(
        "login, the sixth",
        "429 rate_limited, Retry-After ≤ 61",
        seconds.map_or_else(
            || statuses[5].clone(),
            |seconds| format!("{}, Retry-After {seconds}", statuses[5]),
        ),
        statuses[5] == "429 rate_limited" && seconds.is_some_and(|s| (1..=61).contains(&s)),
    );
    Ok(())
}

fn stream(site: &Site, path: &str, per_second: f64, lasts: Duration) -> Stream {
    Stream {
        codes: true,
        ..Stream::new(&[site.gateway.address()], path, per_second, lasts)
    }
}

/// How many of a hundred were answered like this.
fn percent(samples: &[Sample], status: u16, code: Option<&str>) -> f64 {
    let alike = samples
        .iter()
        .filter(|s| s.status == status && s.code.as_deref() == code);
    100.0 * alike.count() as f64 / samples.len().max(1) as f64
}
