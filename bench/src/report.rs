//! Tables and a plot.

use std::fmt::Write as _;

use crate::sample::Spread;
use crate::site::Round;
use crate::target;
use crate::variant::{Asks, BARE};

/// Everything that was measured of one variant.
pub struct Line {
    pub name: &'static str,
    pub what: &'static str,
    /// The bare variant that it is compared with.
    pub base: &'static str,
    pub asks: Asks,
    pub rounds: Vec<Round>,
    /// With one connection, where that was asked for.
    pub calm: Vec<Round>,
    /// Resident memory after all rounds, KiB.
    pub resident: f64,
}

/// A whole run.
pub struct Measured {
    pub lines: Vec<Line>,
    pub machine: String,
    pub load: (String, String),
    pub rounds: usize,
    /// What the external limiter is, if there is one.
    pub limiter: Option<String>,
    /// KiB that each worker more takes with the chain in one VM, over what it takes with the empty filter.
    pub per_worker: Vec<f64>,
}

impl Measured {
    fn line(&self, name: &str) -> Option<&Line> {
        self.lines.iter().find(|line| line.name == name)
    }

    /// CPU microseconds per request over another variant: differences within each round.
    pub fn over(&self, name: &str, base: &str) -> Option<Spread> {
        let (line, base) = (self.line(name)?, self.line(base)?);
        let pairs = line.rounds.iter().zip(&base.rounds);
        Some(Spread::of(pairs.map(|(a, b)| a.cpu - b.cpu).collect()))
    }

    /// Milliseconds of p99 over bare, with one connection.
    pub fn p99_over(&self, name: &str) -> Option<f64> {
        let (line, base) = (self.line(name)?, self.line(BARE)?);
        let pairs = line.calm.iter().zip(&base.calm);
        Some(Spread::of(pairs.map(|(a, b)| (a.p99 - b.p99) / 1e3).collect()).median)
    }

    pub fn throughput_share(&self, name: &str, base: &str) -> Option<f64> {
        let (line, base) = (self.line(name)?, self.line(base)?);
        let pairs = line.rounds.iter().zip(&base.rounds);
        Some(Spread::of(pairs.map(|(a, b)| a.per_second / b.per_second).collect()).median)
    }

    /// The table of all variants.
    pub fn table(&self) -> String {
        let mut out = String::from(
            "| variant | | CPU µs/request | over bare | of the service | requests/s | p50 µs | p99 µs | RSS MiB |\n\
             |---|---|---:|---:|---:|---:|---:|---:|---:|\n",
        );
        for line in &self.lines {
            let of = |value: fn(&Round) -> f64| Spread::of(line.rounds.iter().map(value).collect());
            let cpu = of(|round| round.cpu);
            let over = match self.over(line.name, line.base) {
                Some(over) if line.name != line.base => {
                    format!("{:+.1} ({:+.1}…{:+.1})", over.median, over.low, over.high)
                }
                _ => "—".to_owned(),
            };
            let service = of(|round| round.service).median;
            let service = match line.asks {
                Asks::Nobody => "—".to_owned(),
                Asks::RedisProxy | Asks::Limiter => format!("{service:.1}"),
            };
            let _ = writeln!(
                out,
                "| {} | {} | {:.1} ({:.1}…{:.1}) | {over} | {service} | {:.0} | {:.0} | {:.0} | {:.0} |",
                line.name,
                line.what,
                cpu.median,
                cpu.low,
                cpu.high,
                of(|round| round.per_second).median,
                of(|round| round.p50).median,
                of(|round| round.p99).median,
                line.resident / 1024.0,
            );
        }
        out
    }

    /// The promises.
    pub fn targets(&self) -> String {
        let mut out = String::from("| promise | target | measured | |\n|---|---:|---:|---|\n");
        for target in target::all(self) {
            let _ = writeln!(
                out,
                "| {} | {} | {} | {} |",
                target.what,
                target.wanted,
                target.measured,
                target.verdict.as_str()
            );
        }
        out
    }

    /// The line of the method about the external limiter.
    fn about_limiter(&self) -> String {
        let asked = "`make bench LIMITER=host:port` measures Envoy's `ratelimit` filter before a limiter that speaks\n\
                     `envoy.service.ratelimit.v3.RateLimitService` over gRPC in clear text, as each request asks it about six descriptors of the\n\
                     domain `bench`, the dimensions of our `rate_limit`: `ip`, `consumer`, `tenant`, `x-plan`, `x-region` and `global`, in this\n\
                     order. How many of them it counts is up to its limits, none of which may be used up.";
        match &self.limiter {
            Some(about) => format!(
                "{asked} Here it was {about}.\n\
                 The filter passes over routes that answer by themselves: where there is no upstream, Envoy's fault\n\
                 filter answers behind it, and `bare` is one with that filter alone."
            ),
            None => format!("{asked} In this run there was none."),
        }
    }

    /// The document.
    pub fn document(&self, kept: &str) -> String {
        format!(
            "# Benchmarks\n\n\
             What each filter costs beside Envoy's own and beside none, measured in one run by `make bench`. This file is\n\
             written by it, but for the part below the last line.\n\n\
             Machine: {}; load average {} before and {} after (the run itself keeps two cores busy).\n\n\
             ## Method\n\n\
             - One Envoy with one worker for each variant, all running at once; each is loaded in turn, A B C A B C…, {} rounds.\n\
               A disturbance hits neighbours alike, and differences are taken within a round.\n\
             - A closed-loop client with 8 connections. Every request carries an RS256 token of 2048 bits and ten other headers.\n\
               Every answer must be 200. A round begins with 50 ms that do not count: what has lapsed since the last one, leases of\n\
               limits before all, is fetched again.\n\
             - Cold: with `new tokens`, no token comes twice; with `new clients`, no address, account, tenant, plan or region does. Each\n\
               such request of `rate_limit` and `quota` waits for an answer about its keys, and is refused without one.\n\
               `fingerprint_deny` and `tarpit` keep nothing of clients that are on no list; what is new to them is where in the list\n\
               they look. `edge_headers` keeps nothing at all and has no cold line.\n\
             - CPU is the time that all threads of the Envoy had on a CPU (`schedstat`), per request, its background work\n\
               included. Numbers are medians over the rounds; in brackets lies the middle half of the rounds.\n\
             - \"Of the service\" is CPU per request of the process that requests ask: redis-proxy with its embedded store, the release\n\
               build, for those with `rate_limit`; other gateways' background calls to it are in it. Keys, lists and\n\
               quotas come from the benchmark itself, whose time is not counted.\n\
             - {}\n\
             - Kong, where there is one, has one worker and the same upstream; its CPU is that of all its processes.\n\
             - Requests are answered by Envoy itself behind the filters (`direct_response`), or by another Envoy (`upstream`).\n\
             - RSS is that of the whole process. Memory per worker, in the promises, is the difference between an Envoy with five workers\n\
               and one with one, divided by four, without pages of files, taken after each worker has denied the first, the middle and the last of 100,000\n\
               entries: medians of five such pairs of Envoys.\n\
             - Throughput and latency are those of a machine that also runs the client and the services; p99 of FR-303 is\n\
               measured with one connection.\n\n\
             ## Results\n\n{}\n![CPU per request](benchmarks.svg)\n\n\
             ## Promises\n\n{}\n{MARK}\n{kept}",
            self.machine,
            self.load.0,
            self.load.1,
            self.rounds,
            self.about_limiter(),
            self.table(),
            self.targets(),
        )
    }

    /// Bars of CPU per request, with the middle half of the rounds.
    pub fn plot(&self) -> String {
        const ROW: f64 = 22.0;
        const LEFT: f64 = 210.0;
        const WIDTH: f64 = 560.0;
        let cpus: Vec<(&str, Spread)> = (self.lines.iter())
            .map(|line| {
                let cpu = line.rounds.iter().map(|round| round.cpu).collect();
                (line.name, Spread::of(cpu))
            })
            .collect();
        let most = cpus.iter().map(|(_, cpu)| cpu.high).fold(1.0, f64::max);
        let height = 40.0 + ROW * cpus.len() as f64;
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {:.0} {height:.0}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
             <text x=\"{LEFT}\" y=\"18\" font-weight=\"bold\">CPU µs per request of the gateway, one worker (line: the middle half of the rounds)</text>\n",
            LEFT + WIDTH + 60.0,
        );
        let mut y = 30.0;
        for (name, cpu) in cpus {
            let x = |value: f64| LEFT + WIDTH * value / most;
            let colour = if name.starts_with("bare") {
                "#9aa5b1"
            } else if name.starts_with("jwt_authn")
                || name.starts_with("local")
                || name.starts_with("ratelimit")
                || ["rbac", "Kong, Lua"].contains(&name)
            {
                "#7fb069"
            } else {
                "#3d7ea6"
            };
            let middle = y + 8.0;
            let _ = write!(
                out,
                "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{name}</text>\n\
                 <rect x=\"{LEFT}\" y=\"{y:.0}\" width=\"{:.1}\" height=\"16\" fill=\"{colour}\"/>\n\
                 <line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{middle:.0}\" y2=\"{middle:.0}\" stroke=\"black\"/>\n\
                 <text x=\"{:.1}\" y=\"{:.0}\">{:.1}</text>\n",
                LEFT - 6.0,
                y + 12.0,
                x(cpu.median) - LEFT,
                x(cpu.low),
                x(cpu.high),
                x(cpu.high) + 6.0,
                y + 12.0,
                cpu.median,
            );
            y += ROW;
        }
        out.push_str("</svg>\n");
        out
    }
}

/// What is below this line in the document is written by people and kept.
pub const MARK: &str = "<!-- below this line nothing is generated -->";
