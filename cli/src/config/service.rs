//! `services/<name>.yml`: where requests go, and what filters call.

use std::net::IpAddr;
use std::time::Duration;

use super::entry::{Entry, name_as_file};
use super::problems::{Place, Problems};
use super::settings;
use super::tree::Source;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(15);

#[derive(Clone, Debug)]
pub struct Service {
    pub name: String,
    pub url: Url,
    pub connect_timeout: Duration,
    /// For an answer.
    pub timeout: Duration,
    pub tags: Vec<(String, String)>,
    pub at: Place,
}

/// `https://accounts.internal:8443`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    pub tls: bool,
    /// An IPv6 address has no brackets here.
    pub host: String,
    pub port: u16,
}

impl Service {
    pub fn read(source: &Source, problems: &mut Problems) -> Option<Self> {
        let entry = Entry::new(&source.file, &source.document);
        let keys = ["name", "url", "connect-timeout", "timeout", "tags"];
        if !entry.known(&keys, problems) {
            return None;
        }
        let name = name_as_file(&entry, &source.stem, problems);
        let url = Url::read(&entry, problems);
        let connect_timeout = entry.duration("connect-timeout", problems);
        let timeout = entry.duration("timeout", problems);
        let tags = settings::tags(&entry, problems);
        Some(Self {
            name: name?.to_owned(),
            url: url?,
            connect_timeout: connect_timeout.unwrap_or(CONNECT_TIMEOUT),
            timeout: timeout.unwrap_or(TIMEOUT),
            tags,
            at: entry.place(),
        })
    }

    /// One of the registry.
    pub fn registered(name: &str, url: Url, tags: Vec<(String, String)>, at: Place) -> Self {
        Self {
            name: name.to_owned(),
            url,
            connect_timeout: CONNECT_TIMEOUT,
            timeout: TIMEOUT,
            tags,
            at,
        }
    }
}

impl Url {
    /// Reads the member `url`.
    pub fn read(entry: &Entry<'_>, problems: &mut Problems) -> Option<Self> {
        let text = entry.text("url", problems)?;
        let read = Self::parse(text);
        if let Err(why) = &read {
            problems.error("url", &entry.place_of("url"), why);
        }
        read.ok()
    }

    fn parse(text: &str) -> Result<Self, String> {
        let form = "must be http:// or https://, a host, and a port where it is not the usual one";
        let (tls, rest) = match text.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            _ => return Err(form.to_owned()),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#']) {
            return Err("has a path: the path of the request is what the service gets".to_owned());
        }
        if rest.contains('@') {
            return Err("has a user in it: a secret does not belong here".to_owned());
        }
        let (host, port) = match rest.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest.split_once(']').ok_or(form)?;
                host.parse::<std::net::Ipv6Addr>().map_err(|_| form)?;
                (host, after.strip_prefix(':'))
            }
            None => match rest.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            },
        };
        let port = match port {
            Some(port) => port
                .parse::<u16>()
                .ok()
                .filter(|port| *port > 0)
                .ok_or(form)?,
            None if tls => 443,
            None => 80,
        };
        let is_host = |host: &str| {
            !host.is_empty()
                && host.len() <= 253
                && host
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
        };
        if host.parse::<IpAddr>().is_err() && !is_host(host) {
            return Err(form.to_owned());
        }
        Ok(Self {
            tls,
            host: host.to_owned(),
            port,
        })
    }

    pub fn is_address(&self) -> bool {
        self.host.parse::<IpAddr>().is_ok()
    }

    /// `host:port`, an IPv6 address in brackets.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// What the `Host` header says: without the usual port.
    pub fn host_header(&self) -> String {
        let usual = if self.tls { 443 } else { 80 };
        let authority = self.authority();
        match authority.rsplit_once(':') {
            Some((host, _)) if self.port == usual => host.to_owned(),
            _ => authority,
        }
    }

    /// With its port, which may be the usual one.
    pub fn text(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_a_scheme_a_host_and_a_port() {
        for (text, expected, header) in [
            (
                "http://orders.internal:8080",
                "http://orders.internal:8080",
                "orders.internal:8080",
            ),
            (
                "https://accounts.internal/",
                "https://accounts.internal:443",
                "accounts.internal",
            ),
            ("http://[::1]:8080", "http://[::1]:8080", "[::1]:8080"),
            ("http://10.0.0.8", "http://10.0.0.8:80", "10.0.0.8"),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!(url.text(), expected, "{text}");
            assert_eq!(url.host_header(), header, "{text}");
        }
        for bad in [
            "orders:8080",
            "ftp://orders",
            "http://orders/v1",
            "http://a:b@orders",
            "http://orders:0",
            "http://orders:99999",
            "http://",
            "http://or ders",
            "http://[::1",
            "http://${HOST}",
        ] {
            assert!(Url::parse(bad).is_err(), "{bad}");
        }
    }
}
