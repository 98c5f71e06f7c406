//! A request as a client sends it.

use std::net::IpAddr;

use serde::Deserialize;

/// Names and values are bytes: clients send what they like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    pub path: Vec<u8>,
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    pub body: Vec<u8>,
    /// The address that the request comes from; 127.0.0.1 if none is given. Real gateways are
    /// reached over the loopback interface, so there it must be in 127.0.0.0/8.
    pub peer: Option<IpAddr>,
    /// What a gateway tells that looks into TLS; one that does not tells nothing.
    pub tls: Option<Tls>,
}

/// What a TLS inspector tells of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    pub ja3: Option<String>,
    pub ja4: Option<String>,
}

/// Headers that stand for [`Tls`] on the way to a real gateway, where a filter ahead of ours turns them into what the
/// inspector would tell.
pub const TLS_HEADERS: [&str; 2] = ["x-test-tls-ja3", "x-test-tls-ja4"];

/// What `Host` is unless the request says otherwise.
pub const DEFAULT_HOST: &str = "gateway.test";

impl Request {
    #[must_use]
    pub fn new(method: &str, path: impl AsRef<[u8]>) -> Self {
        Self {
            method: method.to_owned(),
            path: path.as_ref().to_vec(),
            headers: Vec::new(),
            body: Vec::new(),
            peer: None,
            tls: None,
        }
    }

    #[must_use]
    pub fn get(path: impl AsRef<[u8]>) -> Self {
        Self::new("GET", path)
    }

    #[must_use]
    pub fn post(path: impl AsRef<[u8]>, body: impl Into<Vec<u8>>) -> Self {
        Self {
            body: body.into(),
            ..Self::new("POST", path)
        }
    }

    /// Adds a header; one of the same name stays.
    #[must_use]
    pub fn header(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.headers
            .push((name.as_ref().to_vec(), value.as_ref().to_vec()));
        self
    }

    /// Adds `authorization: Bearer …`.
    #[must_use]
    pub fn bearer(self, token: impl AsRef<str>) -> Self {
        self.header("authorization", format!("Bearer {}", token.as_ref()))
    }

    #[must_use]
    pub const fn from(mut self, peer: IpAddr) -> Self {
        self.peer = Some(peer);
        self
    }

    /// With what the gateway's TLS inspector tells.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// The same with [`TLS_HEADERS`] instead.
    #[must_use]
    pub fn with_tls_as_headers(mut self) -> Self {
        let Some(tls) = self.tls.take() else {
            return self;
        };
        for (name, value) in TLS_HEADERS.iter().zip([tls.ja3, tls.ja4]) {
            if let Some(value) = value {
                self = self.header(name, value);
            }
        }
        self
    }

    /// The first value of a header.
    #[must_use]
    pub fn first(&self, name: &str) -> Option<&[u8]> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value.as_slice())
    }

    /// The request line and headers, for messages.
    #[must_use]
    pub fn show(&self) -> String {
        let mut out = format!("{} {}", self.method, self.path.escape_ascii());
        for (name, value) in &self.headers {
            out.push_str(&format!(
                "\n      {}: {}",
                name.escape_ascii(),
                short(&value.escape_ascii().to_string())
            ));
        }
        out
    }
}

/// The start of a long text.
pub(crate) fn short(text: &str) -> String {
    const MOST: usize = 160;
    if text.chars().count() <= MOST {
        return text.to_owned();
    }
    let start: String = text.chars().take(MOST).collect();
    format!("{start}… ({} characters)", text.chars().count())
}
