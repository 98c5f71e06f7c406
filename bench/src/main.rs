//! What filters cost, beside Envoy's own and beside none, on this machine: `make bench`.
//!
//! usage: bench [--quick] [--crossings] [--only <part of a name>]… [--limiter <host:port>] [--no-document]
//!
//! A limiter is whatever speaks `envoy.service.ratelimit.v3.RateLimitService` over gRPC in clear text and lets everything of
//! the domain `bench` pass; docs/benchmarks.md says what it is asked.

// A benchmark: what is unexpected ends it with a message.
#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::string_slice
)]

mod client;
mod crossing;
mod gateway;
mod limiter;
mod native;
mod process;
mod report;
mod sample;
mod site;
mod target;
mod variant;
mod workers;

use std::process::ExitCode;
use std::time::Duration;

use limiter::Limiter;
use report::{Line, MARK, Measured};
use site::Site;
use testkit::workspace;
use variant::{ALL_ONE, ALL_SEPARATE, BARE, EMPTY, New, ONE, Variant};

const CONNECTIONS: usize = 8;
/// New tokens and clients before anything counts.
const WARM_UP_FRESH: usize = 1_500;

/// A load of so long comes before the memory of workers is measured.
const MEMORY_SETTLES_IN: Duration = Duration::from_secs(2);

/// How much is measured.
struct Plan {
    rounds: usize,
    lasts: Duration,
    /// Requests of a round in which each has a new token or client.
    fresh: usize,
    /// Seconds that each gateway is loaded before anything counts: V8 compiles what runs often a second time.
    warm_up: Duration,
    /// Pairs of Envoys by which the memory of a worker is measured.
    memory_rounds: usize,
    only: Vec<String>,
    /// Where an external limiter listens.
    limiter: Option<String>,
    /// Calls of the gateway one by one, not filters.
    crossings: bool,
    write: bool,
}

fn main() -> ExitCode {
    let mut plan = Plan {
        rounds: 12,
        lasts: Duration::from_millis(800),
        fresh: 600,
        warm_up: Duration::from_secs(5),
        memory_rounds: 5,
        only: Vec::new(),
        limiter: None,
        crossings: false,
        write: true,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--quick" => {
                plan.rounds = 7;
                plan.lasts = Duration::from_millis(150);
                plan.fresh = 100;
                plan.warm_up = Duration::from_secs(2);
                plan.memory_rounds = 1;
                plan.write = false;
            }
            "--crossings" => {
                plan.crossings = true;
                plan.write = false;
            }
            "--no-document" => plan.write = false,
            "--limiter" => plan.limiter = arguments.next(),
            "--only" => plan.only.extend(arguments.next()),
            _ => {
                eprintln!(
                    "usage: bench [--quick] [--crossings] [--only <part of a name>]… [--limiter <host:port>] [--no-document]"
                );
                return ExitCode::from(2);
            }
        }
    }
    match run(&plan) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Plan {
    fn wants(&self, variant: &Variant) -> bool {
        let bare = variant.name.starts_with(BARE);
        bare || self.only.is_empty() || self.only.iter().any(|part| variant.name.contains(part))
    }
}

fn run(plan: &Plan) -> Result<(), String> {
    let before = process::load();
    eprintln!("starting a gateway for each variant");
    let limiter = (plan.limiter.as_deref().filter(|_| !plan.crossings))
        .map(Limiter::find)
        .transpose()?;
    let mut site = Site::start(limiter.as_ref(), |jwks, folder| {
        if plan.crossings {
            return crossing::all(folder);
        }
        let mut variants = variant::all(jwks, folder, limiter.as_ref())?;
        variants.retain(|variant| plan.wants(variant));
        Ok(variants)
    })?;
    let mut lines: Vec<Line> = (site.running.iter())
        .map(|running| Line {
            name: running.variant.name,
            what: running.variant.what,
            base: running.variant.base(),
            asks: running.variant.asks,
            rounds: Vec::new(),
            calm: Vec::new(),
            resident: 0.0,
        })
        .collect();
    let requests = site.requests(WARM_UP_FRESH)?;
    for running in &site.running {
        eprint!("\r  warming up {:<40}", running.variant.name);
        running.round(&requests, CONNECTIONS, plan.warm_up)?;
        running.asked_about_all()?;
    }
    for round in 0..=plan.rounds {
        let requests = site.requests(plan.fresh)?;
        for (running, line) in site.running.iter().zip(&mut lines) {
            let measured = running.round(&requests, CONNECTIONS, plan.lasts)?;
            // The first round warms caches and leases up.
            if round > 0 {
                line.rounds.push(measured);
            }
        }
        eprint!("\r  round {round} of {} ", plan.rounds);
    }
    for _ in 0..plan.rounds {
        let requests = site.requests(0)?;
        for (running, line) in site.running.iter().zip(&mut lines) {
            let compared = [BARE, ALL_SEPARATE, ALL_ONE].contains(&line.name);
            if compared && running.variant.new == New::Nothing {
                line.calm.push(running.round(&requests, 1, plan.lasts)?);
            }
        }
    }
    eprintln!();
    for (running, line) in site.running.iter().zip(&mut lines) {
        let resident = running.resident()? as f64;
        line.resident = resident;
    }
    let mut per_worker = Vec::new();
    if !plan.crossings {
        for _ in 0..plan.memory_rounds {
            let mut needs = |name| site.memory_per_worker(name, CONNECTIONS, MEMORY_SETTLES_IN);
            let pair = needs(EMPTY)?.zip(needs(ONE)?);
            per_worker.extend(pair.map(|(empty, one)| one - empty));
        }
    }
    site.stop()?;
    let measured = Measured {
        lines,
        machine: process::machine(),
        load: (before, process::load()),
        rounds: plan.rounds,
        limiter: limiter.map(|limiter| limiter.about),
        per_worker,
    };
    if plan.crossings {
        println!("{}", crossing::table(&measured));
        return Ok(());
    }
    println!("{}\n{}", measured.table(), measured.targets());
    if plan.write {
        write(&measured)?;
    }
    Ok(())
}

fn write(measured: &Measured) -> Result<(), String> {
    let docs = workspace::root().join("docs");
    let path = docs.join("benchmarks.md");
    let old = std::fs::read_to_string(&path).unwrap_or_default();
    let kept = old
        .split_once(MARK)
        .map_or("", |(_, kept)| kept.trim_start());
    let kept = if kept.is_empty() { "" } else { kept };
    std::fs::write(&path, measured.document(kept))
        .and_then(|()| std::fs::write(docs.join("benchmarks.svg"), measured.plot()))
        .map_err(|e| format!("{}: {e}", path.display()))
}
