//! A client that sends what it is told, byte by byte, well-formed or not.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::exchange::{Exchange, Seen};
use crate::request::{DEFAULT_HOST, Request};
use crate::upstream::ECHO_HEADER;

/// Nobody waits longer than this for a response.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection to a gateway. Further requests may be sent over it as long as the gateway keeps it.
pub struct Connection {
    stream: TcpStream,
    /// What was received and not yet used.
    received: Vec<u8>,
}

/// A response as it came.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
}

/// How long the body is.
enum Length {
    Exactly(usize),
    Chunked,
    ToTheEnd,
}

impl Connection {
    /// Connects, from this address if one is given.
    ///
    /// # Errors
    /// When that is not possible.
    pub fn open(gateway: SocketAddr, from: Option<IpAddr>) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(gateway), Type::STREAM, None)?;
        if let Some(from) = from {
            socket.bind(&SocketAddr::new(from, 0).into())?;
        }
        socket.connect_timeout(&gateway.into(), PATIENCE)?;
        socket.set_tcp_nodelay(true)?;
        let stream: TcpStream = socket.into();
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream,
            received: Vec::new(),
        })
    }

    /// Sends a request and reads the response.
    ///
    /// # Errors
    /// When the gateway takes too long or answers with something that is no HTTP. A connection that
    /// is closed instead is an exchange with status 0.
    pub fn exchange(&mut self, request: &Request) -> io::Result<Exchange> {
        let started = Instant::now();
        self.send(&encode(request))?;
        let response = self.response(request.method == "HEAD")?;
        let took = started.elapsed();
        Ok(match response {
            Some(response) => {
                let upstream = seen(request, &response);
                Exchange {
                    status: response.status,
                    headers: response.headers,
                    body: response.body,
                    upstream,
                    took,
                }
            }
            None => Exchange {
                status: 0,
                headers: Vec::new(),
                body: Vec::new(),
                upstream: None,
                took,
            },
        })
    }

    /// Sends these bytes. A gateway that has heard enough may close meanwhile; its answer counts.
    ///
    /// # Errors
    /// When it takes too long.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.stream.write_all(bytes) {
            Err(e) if is_closed(&e) => Ok(()),
            result => result,
        }
    }

    /// Reads a response; `None` if the connection ended before one began.
    ///
    /// # Errors
    /// When it takes too long, ends halfway or is no HTTP.
    pub fn response(&mut self, to_head: bool) -> io::Result<Option<Response>> {
        loop {
            let Some((status, headers)) = self.head()? else {
                return Ok(None);
            };
            if (100..200).contains(&status) {
                continue;
            }
            let body = if to_head || status == 204 || status == 304 {
                Vec::new()
            } else {
                self.body(length(&headers))?
            };
            return Ok(Some(Response {
                status,
                headers,
                body,
            }));
        }
    }

    #[allow(clippy::type_complexity)]
    fn head(&mut self) -> io::Result<Option<(u16, Vec<(String, Vec<u8>)>)>> {
        loop {
            let mut fields = [httparse::EMPTY_HEADER; 256];
            let mut head = httparse::Response::new(&mut fields);
            match head.parse(&self.received).map_err(io::Error::other)? {
                httparse::Status::Complete(used) => {
                    let status = head.code.unwrap_or_default();
                    let headers = head
                        .headers
                        .iter()
                        .map(|field| (field.name.to_ascii_lowercase(), field.value.to_vec()))
                        .collect();
                    self.received.drain(..used);
                    return Ok(Some((status, headers)));
                }
                httparse::Status::Partial if self.fill()? => {}
                httparse::Status::Partial if self.received.is_empty() => return Ok(None),
                httparse::Status::Partial => return Err(ErrorKind::UnexpectedEof.into()),
            }
        }
    }

    fn body(&mut self, length: Length) -> io::Result<Vec<u8>> {
        match length {
            Length::Exactly(length) => self.take(length),
            Length::ToTheEnd => {
                while self.fill()? {}
                Ok(std::mem::take(&mut self.received))
            }
            Length::Chunked => {
                let mut body = Vec::new();
                loop {
                    let size = loop {
                        match httparse::parse_chunk_size(&self.received)
                            .map_err(|_| io::Error::other("no chunk size"))?
                        {
                            httparse::Status::Complete((used, size)) => {
                                self.received.drain(..used);
                                break usize::try_from(size).map_err(io::Error::other)?;
                            }
                            httparse::Status::Partial => self.more()?,
                        }
                    };
                    body.extend(self.take(size)?);
                    // No trailers come from the gateways we know.
                    self.take(2)?;
                    if size == 0 {
                        return Ok(body);
                    }
                }
            }
        }
    }

    fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.received.len() < length {
            self.more()?;
        }
        Ok(self.received.drain(..length).collect())
    }

    fn more(&mut self) -> io::Result<()> {
        if self.fill()? {
            Ok(())
        } else {
            Err(ErrorKind::UnexpectedEof.into())
        }
    }

    /// Receives something; false at the end.
    fn fill(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => Ok(false),
            Ok(count) => {
                self.received.extend_from_slice(&buffer[..count]);
                Ok(true)
            }
            Err(e) if is_closed(&e) => Ok(false),
            Err(e) if e.kind() == ErrorKind::Interrupted => self.fill(),
            Err(e) if e.kind() == ErrorKind::WouldBlock => Err(io::Error::new(
                ErrorKind::TimedOut,
                format!("nothing came for {PATIENCE:?}"),
            )),
            Err(e) => Err(e),
        }
    }
}

/// The request on the wire. Headers go out as they are, whatever is in them.
#[must_use]
pub fn encode(request: &Request) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(request.method.as_bytes());
    out.push(b' ');
    out.extend_from_slice(&request.path);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let mut header = |name: &[u8], value: &[u8]| {
        out.extend_from_slice(name);
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    };
    if request.first("host").is_none() {
        header(b"host", DEFAULT_HOST.as_bytes());
    }
    for (name, value) in &request.headers {
        header(name, value);
    }
    let framed =
        request.first("content-length").is_some() || request.first("transfer-encoding").is_some();
    if !framed && (!request.body.is_empty() || request.method == "POST") {
        header(b"content-length", request.body.len().to_string().as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(&request.body);
    out
}

/// What the upstream says it saw, if the response is the upstream's.
fn seen(request: &Request, response: &Response) -> Option<Seen> {
    response
        .headers
        .iter()
        .find(|(name, _)| name == ECHO_HEADER)?;
    if request.method == "HEAD" {
        // Its answer has no body to tell more.
        return Some(Seen {
            method: "HEAD".into(),
            path: b"".as_slice().into(),
            headers: Vec::new(),
            body: b"".as_slice().into(),
        });
    }
    serde_json::from_slice(&response.body).ok()
}

fn length(headers: &[(String, Vec<u8>)]) -> Length {
    let find = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, v)| v);
    if find("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case(b"chunked")) {
        return Length::Chunked;
    }
    find("content-length")
        .and_then(|value| std::str::from_utf8(value).ok()?.trim().parse().ok())
        .map_or(Length::ToTheEnd, Length::Exactly)
}

fn is_closed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted
    )
}
