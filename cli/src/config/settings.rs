//! `gateway.yml`: what holds for all.

use super::entry::Entry;
use super::problems::Problems;
use super::tree::Source;

/// Requests a second of a route that says nothing else (R14).
const RATE: u64 = 200;
/// Requests that may come early.
const BURST: u64 = 400;
/// What no route may go beyond.
const CEILING: u64 = 5_000;

/// The keys that every route is tagged with.
pub const TAGS: [&str; 3] = ["env", "owner", "tier"];

#[derive(Clone, Debug)]
pub struct Settings {
    /// `env:production`, of what has no tags of its own.
    pub tags: Vec<(String, String)>,
    pub throttle: Throttle,
    /// Highest rate and burst that a route may have.
    pub ceiling: u64,
    /// The chain of routes that name none.
    pub filter_chain: Option<String>,
    /// Where Envoy finds `<filter>.wasm`.
    pub modules: String,
    /// Whose certificates Envoy believes, where services are reached over TLS.
    pub trusted_ca: String,
}

/// How much a route takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Throttle {
    /// Requests a second.
    pub rate: u64,
    /// Requests that may come early.
    pub burst: u64,
}

impl Settings {
    pub fn read(source: Option<&Source>, problems: &mut Problems) -> Self {
        let mut settings = Self {
            tags: Vec::new(),
            throttle: Throttle {
                rate: RATE,
                burst: BURST,
            },
            ceiling: CEILING,
            filter_chain: None,
            modules: "/etc/portcullis".to_owned(),
            trusted_ca: "/etc/ssl/certs/ca-certificates.crt".to_owned(),
        };
        let Some(source) = source else {
            return settings;
        };
        let entry = Entry::new(&source.file, &source.document);
        entry.known(&["tags", "throttle", "filter-chain", "envoy"], problems);
        settings.tags = tags(&entry, problems);
        settings.filter_chain = entry
            .optional_text("filter-chain", problems)
            .map(str::to_owned);
        if let Some(throttle) = entry.object("throttle", problems) {
            throttle.known(&["rate", "burst", "ceiling"], problems);
            settings.ceiling = throttle.number("ceiling", problems).unwrap_or(CEILING);
            let own = Throttle::read(&throttle, ["rate", "burst"], &settings, problems);
            settings.throttle = own.unwrap_or(settings.throttle);
        }
        if let Some(envoy) = entry.object("envoy", problems) {
            envoy.known(&["modules", "trusted-ca"], problems);
            for (key, to) in [
                ("modules", &mut settings.modules),
                ("trusted-ca", &mut settings.trusted_ca),
            ] {
                if let Some(text) = envoy.optional_text(key, problems) {
                    text.trim_end_matches('/').clone_into(to);
                }
            }
        }
        settings
    }
}

impl Throttle {
    /// What the members of these two names say, with the defaults in place of what is not said; `None` if nothing is, or
    /// if it cannot be.
    pub fn read(
        entry: &Entry<'_>,
        [of_rate, of_burst]: [&str; 2],
        settings: &Settings,
        problems: &mut Problems,
    ) -> Option<Self> {
        let rate = entry.number(of_rate, problems);
        let burst = entry.number(of_burst, problems);
        if rate.is_none() && burst.is_none() {
            return None;
        }
        let throttle = Self {
            rate: rate.unwrap_or(settings.throttle.rate),
            // Twice the rate, as the defaults are.
            burst: burst.unwrap_or_else(|| match rate {
                Some(rate) => rate.saturating_mul(2),
                None => settings.throttle.burst,
            }),
        };
        let ceiling = settings.ceiling;
        let (at_rate, at_burst) = (entry.place_of(of_rate), entry.place_of(of_burst));
        let mut good = true;
        let mut refuse = |at, message: String| {
            problems.error("throttle", at, message);
            good = false;
        };
        if throttle.rate == 0 {
            refuse(&at_rate, "is 0: nothing would pass".to_owned());
        }
        if throttle.rate > ceiling {
            let message = format!("{}/s is above the ceiling of {ceiling}/s", throttle.rate);
            refuse(&at_rate, message);
        }
        if throttle.burst < throttle.rate {
            let message = format!(
                "a burst of {} is below the rate of {}/s",
                throttle.burst, throttle.rate
            );
            refuse(&at_burst, message);
        }
        if throttle.burst > ceiling.saturating_mul(10) {
            let message = format!("{} is above ten seconds of the ceiling", throttle.burst);
            refuse(&at_burst, message);
        }
        good.then_some(throttle)
    }
}

/// `tags: { env: production, owner: team-orders }`.
pub fn tags(entry: &Entry<'_>, problems: &mut Problems) -> Vec<(String, String)> {
    let Some(tags) = entry.object("tags", problems) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for (key, _) in tags.node.members() {
        // Kong takes no commas and slashes.
        let good = |text: &str| !text.is_empty() && !text.contains([',', '/']);
        if let Some(value) = tags.text(&key.name, problems) {
            if good(value) && good(&key.name) && !key.name.contains(':') {
                found.push((key.name.clone(), value.to_owned()));
            } else {
                let message = "has a comma or a slash, which tags cannot have";
                problems.error("name", &tags.place_of(&key.name), message);
            }
        }
    }
    found
}
