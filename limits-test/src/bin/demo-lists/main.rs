//! Known-bad clients, under the eyes of a security team: real clients with different TLS stacks at a real Envoy, whose
//! fingerprints the control API shows; one is denied by its JA4 and one is slowed down by its address while all of
//! them go on, and the others notice nothing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that cannot go on fails"
)]

mod client;
mod site;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use limits_test::control::List;
use limits_test::report::Report;
use serde_json::Value;

use crate::client::Client;
use crate::site::Site;

/// What is promised from a push to its effect (D3).
const PROMISED: Duration = Duration::from_secs(2);
/// Clients come by for so long before anything happens.
const FIRST: Duration = Duration::from_secs(4);
/// Requests that tell whether a client is unhurt.
const ENOUGH: usize = 4;
const HOUR: Duration = Duration::from_secs(3_600);

fn main() -> ExitCode {
    println!(
        "\nStarting Envoy, which ends TLS, with fingerprint_deny and tarpit; redis-proxy with its control API …"
    );
    let site = Site::start();
    let at = site.address();
    // Of the same curl: what TLS it offers makes another fingerprint.
    let browser = Client::start("browser", at, &["--tlsv1.3"]);
    let scraper = Client::start("scraper", at, &["--tlsv1.2", "--tls-max", "1.2"]);
    let prober = Client::start("prober", at, &["--tlsv1.3", "--interface", "127.0.0.66"]);
    println!(
        "Three clients come by four times a second; browser and scraper share an address, browser and prober a TLS stack.\n"
    );
    let mut report = Report::default();
    std::thread::sleep(FIRST);

    let Some(ja4) = fingerprints(&site, &mut report) else {
        report.print("");
        return ExitCode::FAILURE;
    };

    println!("\nPOST /v1/internal/edge/deny    ja4 {ja4}, for an hour");
    let pushed = Instant::now();
    let denied = site
        .control()
        .push(List::Deny, "ja4", &ja4, HOUR, "scrapes the catalogue");
    let took = scraper.until(pushed, |seen| seen.status == 403);
    effect("scraper refused, by its JA4", pushed, took, &mut report);
    unhurt(
        &browser,
        "browser, from the same address, passes",
        pushed,
        &mut report,
    );

    println!("POST /v1/internal/edge/tarpit  ip 127.0.0.66, for an hour");
    let pushed = Instant::now();
    let slowed = site.control().push(
        List::Tarpit,
        "ip",
        "127.0.0.66",
        HOUR,
        "probes for passwords",
    );
    let late = |seconds| move |seen: &client::Seen| seen.took >= Duration::from_secs(seconds);
    let first = prober.until(pushed, late(1));
    let second = prober.until(pushed, late(2));
    let shown = |seen: &Option<client::Seen>| {
        seen.as_ref().map_or_else(
            || "never".to_owned(),
            |seen| format!("{} after {:.1} s", seen.status, seen.took.as_secs_f64()),
        )
    };
    let in_time = first
        .as_ref()
        .is_some_and(|seen| seen.began - pushed <= PROMISED);
    report.row(
        "prober's first answer",
        "200 after 1 s",
        shown(&first),
        in_time,
    );
    report.row(
        "prober's second answer",
        "200 after 2 s",
        shown(&second),
        second.is_some(),
    );
    unhurt(
        &browser,
        "browser, with the same TLS stack, passes",
        pushed,
        &mut report,
    );

    println!("DELETE both");
    let pushed = Instant::now();
    site.control().delete(List::Deny, &denied);
    site.control().delete(List::Tarpit, &slowed);
    let took = scraper.until(pushed, |seen| seen.status == 200);
    effect("scraper passes again", pushed, took, &mut report);

    audit(&site, &mut report);
    drop((browser, scraper, prober));
    report.print("Times are from before the push to the first answer that shows it.");
    site.stop();
    whats_next();
    if report.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Where to look from here: what was just seen, as people see it who have to watch it.
fn whats_next() {
    println!(
        "\nTo watch all of this in operation:\n\n  \
           dashboards      docs/dashboards.md: drawn from traffic like this one, edge defence first\n                  \
           ops/grafana: the same to import into Grafana; ops/prometheus: what feeds them, and alerts\n  \
           security team   https://<control address>/security: lists with time left, add and remove, refusals per\n                  \
           minute, who comes by most. On this machine: make certs; cargo run -p redis-proxy -- --config\n                  \
           redis-proxy/examples/control.toml; then https://localhost:8971/security with certs/soc.pem\n  \
           an alert?       docs/runbooks: how to confirm, stop and undo\n"
    );
}

/// Shows who comes by; the JA4 of the client that speaks TLS 1.2.
fn fingerprints(site: &Site, report: &mut Report) -> Option<String> {
    println!("GET /internal/edge/fingerprints?top=5&since=1h&kind=ja4");
    let answer = site
        .control()
        .get("/internal/edge/fingerprints?top=5&since=1h&kind=ja4");
    let top: Vec<(String, u64)> = answer["kinds"][0]["top"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|it| Some((it["value"].as_str()?.to_owned(), it["requests"].as_u64()?)))
        .collect();
    for (ja4, requests) in &top {
        println!("  {requests:>4} requests  {ja4}");
    }
    let got = format!("{} fingerprints", top.len());
    report.row(
        "three clients with two TLS stacks",
        "2 fingerprints",
        got,
        top.len() == 2,
    );
    top.into_iter()
        .map(|(ja4, _)| ja4)
        .find(|ja4| ja4.starts_with("t12"))
}

fn effect(what: &str, pushed: Instant, seen: Option<client::Seen>, report: &mut Report) {
    let took = seen.map(|seen| seen.ended - pushed);
    let got = took.map_or_else(
        || "never".to_owned(),
        |took| format!("after {} ms", took.as_millis()),
    );
    let good = took.is_some_and(|took| took <= PROMISED + Duration::from_millis(500));
    report.row(what, "within 2 s", got, good);
}

fn unhurt(client: &Client, what: &str, since: Instant, report: &mut Report) {
    let mut seen = client.seen(since);
    while seen.len() < ENOUGH && since.elapsed() < FIRST {
        std::thread::sleep(Duration::from_millis(100));
        seen = client.seen(since);
    }
    let passed = seen.iter().filter(|seen| seen.status == 200).count();
    let longest = seen
        .iter()
        .map(|seen| seen.took.as_millis())
        .max()
        .unwrap_or_default();
    let got = format!("{passed} of {}, {longest} ms at most", seen.len());
    report.row(what, "all", got, passed > 0 && passed == seen.len());
}

fn audit(site: &Site, report: &mut Report) {
    println!("\nGET /v1/internal/edge/audit");
    let answer = site.control().get("/v1/internal/edge/audit");
    let changes: Vec<&Value> = answer["changes"].as_array().into_iter().flatten().collect();
    for change in &changes {
        let entry = &change["entry"];
        let words = [
            &change["by"],
            &change["action"],
            &entry["list"],
            &entry["kind"],
            &entry["value"],
            &entry["reason"],
        ];
        let words: Vec<&str> = words.iter().filter_map(|word| word.as_str()).collect();
        println!("  {}", words.join("  "));
    }
    let named = changes
        .iter()
        .all(|change| change.to_string().contains("spiffe://portcullis.local/soc"));
    let got = format!("{} changes, each with who made it", changes.len());
    report.row(
        "the audit log",
        "4 changes, by the SOC",
        got,
        named && changes.len() == 4,
    );
}
