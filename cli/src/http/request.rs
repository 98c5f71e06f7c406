//! A request, as it is written.

use super::target::Target;

#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    path: String,
    headers: Vec<(String, Secret)>,
    body: Option<Vec<u8>>,
}

/// A value that is shown nowhere: it may be a credential.
#[derive(Clone)]
struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

impl Request {
    pub fn new(method: &str, path: &str) -> Self {
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            body: None,
        }
    }

    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    /// Adds a header, also if there is one of that name. Line breaks in it are left out.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let value = value.replace(['\r', '\n'], "");
        self.headers.push((name.to_owned(), Secret(value)));
        self
    }

    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    #[must_use]
    pub fn body(mut self, body: &[u8]) -> Self {
        self.body = Some(body.to_vec());
        self
    }

    pub fn is_head(&self) -> bool {
        self.method == "HEAD"
    }

    fn has(&self, name: &str) -> bool {
        self.headers
            .iter()
            .any(|(own, _)| own.eq_ignore_ascii_case(name))
    }

    pub fn encode(&self, target: &Target) -> Vec<u8> {
        let mut head = format!("{} {}{} HTTP/1.1\r\n", self.method, target.base, self.path);
        let mut line = |name: &str, value: &str| {
            head.push_str(name);
            head.push_str(": ");
            head.push_str(value);
            head.push_str("\r\n");
        };
        if !self.has("host") {
            line("host", &target.authority());
        }
        if !self.has("user-agent") {
            line(
                "user-agent",
                concat!("portcullis/", env!("CARGO_PKG_VERSION")),
            );
        }
        if !self.has("accept") {
            line("accept", "*/*");
        }
        line("connection", "close");
        for (name, value) in &self.headers {
            line(name, &value.0);
        }
        if let Some(body) = self.body.as_ref().filter(|_| !self.has("content-length")) {
            line("content-length", &body.len().to_string());
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend(self.body.iter().flatten());
        bytes
    }
}
