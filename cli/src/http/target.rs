//! Where requests go: `https://gateway.example.com:8443/base`.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::str::FromStr;

use crate::outcome::Failure;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub tls: bool,
    /// An IPv6 address has no brackets here.
    pub host: String,
    pub port: u16,
    /// What comes before every path; empty, or `/…` without one at its end.
    pub base: String,
    /// Whether a user was written before the host.
    has_user: bool,
}

impl Target {
    /// Refuses what has a user in it: a command line is no place for secrets. Where arguments are parsed it would be
    /// repeated in the message.
    ///
    /// # Errors
    /// When it has one.
    pub fn without_user(&self) -> Result<(), Failure> {
        if self.has_user {
            return Err(Failure::new(format!(
                "{self}: has a user in it: a command line is no place for secrets"
            )));
        }
        Ok(())
    }

    /// The same host and port, without TLS.
    pub fn in_cleartext(&self) -> Self {
        Self {
            tls: false,
            ..self.clone()
        }
    }

    /// What the `Host` header says.
    pub fn authority(&self) -> String {
        let usual = if self.tls { 443 } else { 80 };
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        if self.port == usual {
            host
        } else {
            format!("{host}:{}", self.port)
        }
    }

    /// Every address of the host.
    ///
    /// # Errors
    /// When there is none.
    pub fn addresses(&self) -> Result<Vec<SocketAddr>, String> {
        let found = (self.host.as_str(), self.port).to_socket_addrs();
        let found: Vec<SocketAddr> = found.map_err(|e| format!("{}: {e}", self.host))?.collect();
        if found.is_empty() {
            return Err(format!("{} has no address", self.host));
        }
        Ok(found)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.base)
    }
}

impl FromStr for Target {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "must be http:// or https://, a host, and maybe a port and a path";
        let (tls, rest) = match text.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            _ => return Err(FORM),
        };
        let (authority, base) = match rest.find('/') {
            Some(at) => rest.split_at_checked(at).ok_or(FORM)?,
            None => (rest, ""),
        };
        let (has_user, authority) = match authority.rsplit_once('@') {
            Some((_, authority)) => (true, authority),
            None => (false, authority),
        };
        let plain = |text: &str| text.bytes().all(|b| b.is_ascii_graphic());
        if base.contains(['?', '#']) || !plain(rest) {
            return Err(FORM);
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest.split_once(']').ok_or(FORM)?;
                host.parse::<std::net::Ipv6Addr>().map_err(|_| FORM)?;
                (host, after.strip_prefix(':'))
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        let port = match port {
            Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or(FORM)?,
            None if tls => 443,
            None => 80,
        };
        if host.is_empty() || (host.contains(':') && !authority.starts_with('[')) {
            return Err(FORM);
        }
        Ok(Self {
            tls,
            host: host.to_owned(),
            port,
            base: base.trim_end_matches('/').to_owned(),
            has_user,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_shown() {
        for (text, shown) in [
            ("https://gateway.test", "https://gateway.test"),
            ("https://gateway.test:443/", "https://gateway.test"),
            (
                "http://127.0.0.1:8001/admin/",
                "http://127.0.0.1:8001/admin",
            ),
            ("http://[::1]:9901", "http://[::1]:9901"),
        ] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), shown);
        }
        for bad in [
            "gateway.test",
            "ftp://x",
            "https://",
            "http://x:0",
            "http://x/?a",
            "http://a b",
            "http://[x]",
        ] {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
        let with: Target = "https://user:secret@x".parse().unwrap();
        assert!(with.without_user().is_err());
        assert!(!format!("{with} {with:?}").contains("secret"));
    }
}
