//! User agents that say themselves that no person and no partner's own code is behind them (D7).

use policy::Head;

/// Parts of user agents, in lower case: scanners, crawlers for hire, browsers without a screen, and libraries under
/// their own name. Whoever wants to be taken for something else says something else: this is for the obvious ones.
#[rustfmt::skip]
pub(crate) const BOTS: &[&str] = &[
    // Scanners and tools of attack.
    "sqlmap", "nikto", "nmap", "masscan", "zgrab", "nuclei", "dirbuster", "gobuster", "feroxbuster", "ffuf", "wfuzz",
    "wpscan", "acunetix", "nessus", "openvas", "qualys", "burp", "arachni", "w3af", "hydra", "httpx -", "jaeles",
    "slowloris", "censysinspect", "shodan", "expanse", "internet-measurement",
    // Crawlers and scrapers.
    "scrapy", "ahrefsbot", "semrushbot", "mj12bot", "dotbot", "petalbot", "bytespider", "gptbot", "ccbot", "claudebot",
    "dataforseobot", "serpstatbot", "httrack", "webcopier", "emailcollector",
    // Browsers that nobody looks at.
    "headlesschrome", "phantomjs", "slimerjs", "selenium", "puppeteer", "playwright", "cypress",
    // Libraries and command lines under their own name.
    "python-requests", "python-urllib", "python-httpx", "aiohttp", "go-http-client", "libwww-perl", "lwp::", "curl/",
    "wget/", "guzzlehttp", "httpie", "node-fetch", "axios/", "okhttp", "java/", "apache-httpclient", "winhttp",
    "mechanize", "php/", "ruby", "postmanruntime", "insomnia",
];

/// Which user agents a rule turns away.
#[derive(Debug, Default)]
pub(crate) struct Agents {
    /// [`BOTS`] too.
    pub bots: bool,
    /// Further parts, in lower case.
    pub denied: Vec<String>,
    /// Parts that excuse, in lower case.
    pub excused: Vec<String>,
}

impl Agents {
    /// Whether any user agent could be turned away.
    pub const fn is_empty(&self) -> bool {
        !self.bots && self.denied.is_empty()
    }

    /// Whether any of the request's user agents is turned away. `scratch` is memory to use again.
    pub fn object(&self, request: &Head, scratch: &mut String) -> bool {
        request.all("user-agent").any(|agent| {
            scratch.clear();
            scratch.extend(
                agent
                    .iter()
                    .map(|byte| char::from(byte.to_ascii_lowercase())),
            );
            let says = |part: &str| scratch.contains(part);
            (self.denied.iter().any(|part| says(part))
                || (self.bots && BOTS.iter().any(|part| says(part))))
                && !self.excused.iter().any(|part| says(part))
        })
    }
}

#[cfg(test)]
mod tests {
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    fn objects(agents: &Agents, agent: &[u8]) -> bool {
        let request: Head = [("user-agent", agent)].into_iter().collect();
        agents.object(&request, &mut String::from("left over"))
    }

    #[test]
    fn obvious_bots_are_known_and_people_are_not() {
        let agents = Agents {
            bots: true,
            ..Agents::default()
        };
        for (agent, bot) in [
            ("sqlmap/1.7.2#stable (https://sqlmap.org)", true),
            ("Mozilla/5.0 (compatible; Nmap Scripting Engine)", true),
            ("Mozilla/5.00 (Nikto/2.1.6)", true),
            ("python-requests/2.31.0", true),
            ("Go-http-client/1.1", true),
            ("CURL/8.5.0", true),
            (
                "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 HeadlessChrome/120.0",
                true,
            ),
            ("Mozilla/5.0 (compatible; AhrefsBot/7.0)", true),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
                false,
            ),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 14.1; rv:133.0) Gecko/20100101 Firefox/133.0",
                false,
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 17_1 like Mac OS X) AppleWebKit/605.1.15 Version/17.1 Mobile Safari/604.1",
                false,
            ),
            ("AcmeBilling/3.2 (integration)", false),
            ("", false),
        ] {
            assert_eq!(objects(&agents, agent.as_bytes()), bot, "{agent}");
        }
        assert!(objects(&agents, b"\xff\xfe sqlmap \x80"));
    }

    #[test]
    fn the_operators_own_parts_come_on_top_and_exceptions_excuse() {
        let agents = Agents {
            bots: true,
            denied: vec!["evilcorp".into()],
            excused: vec!["curl/8".into(), "monitor".into()],
        };
        assert!(objects(&agents, b"EvilCorp Fetcher"));
        assert!(!objects(&agents, b"curl/8.5.0"));
        assert!(objects(&agents, b"curl/7.1"));
        assert!(!objects(&agents, b"evilcorp monitor"));
        let none = Agents::default();
        assert!(none.is_empty() && !objects(&none, b"sqlmap"));
    }

    #[test]
    fn a_second_header_does_not_hide_the_first() {
        let agents = Agents {
            bots: true,
            ..Agents::default()
        };
        let request: Head = [("user-agent", "Mozilla/5.0"), ("User-Agent", "sqlmap")]
            .into_iter()
            .collect();
        assert!(agents.object(&request, &mut String::new()));
    }

    #[test]
    fn the_table_is_in_lower_case_and_says_nothing_twice() {
        for (at, part) in BOTS.iter().enumerate() {
            assert_eq!(*part, part.to_ascii_lowercase());
            let others = BOTS.iter().enumerate().filter(|(other, _)| *other != at);
            for (_, other) in others {
                assert!(!part.contains(other), "{part} is covered by {other}");
            }
        }
    }
}
