//! A connection for one exchange.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, ProtocolVersion, StreamOwned};

use super::target::Target;
use super::trust::Trust;

/// Bytes of a head, at most.
const LONGEST_HEAD: usize = 256 * 1024;
/// Bytes of a body, at most: Kong shows all of its configuration in one.
const LONGEST_BODY: usize = 256 * 1024 * 1024;
const MOST_HEADERS: usize = 256;

type Headers = Vec<(String, Vec<u8>)>;

/// An answer as it came.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case, in the order in which they came.
    headers: Headers,
    pub body: Vec<u8>,
    pub tls: Option<Tls>,
}

/// What was agreed on for a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls(ProtocolVersion);

/// Why there is no answer. Never holds what was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nobody is there.
    Connect(String),
    /// TLS was not agreed on: the certificate is not believed, or is not of this host.
    Tls(String),
    /// Nothing in time.
    Timeout,
    /// The connection was closed instead.
    Closed,
    NotHttp(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(why) => write!(f, "no connection: {why}"),
            Self::Tls(why) => write!(f, "no TLS: {why}"),
            Self::Timeout => f.write_str("no answer in time"),
            Self::Closed => f.write_str("the connection was closed without an answer"),
            Self::NotHttp(why) => write!(f, "the answer is no HTTP: {why}"),
        }
    }
}

impl fmt::Display for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ProtocolVersion::TLSv1_2 => f.write_str("TLS 1.2"),
            ProtocolVersion::TLSv1_3 => f.write_str("TLS 1.3"),
            other => write!(f, "{other:?}"),
        }
    }
}

impl Answer {
    /// The first header of that name, in lower case, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut of_name = self.headers.iter().filter(|(own, _)| own == name);
        of_name.find_map(|(_, value)| std::str::from_utf8(value).ok())
    }

    /// The names of all headers.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.headers.iter().map(|(name, _)| name.as_str())
    }

    /// Whether this text is anywhere in it.
    pub fn mentions(&self, text: &str) -> bool {
        let holds = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(text);
        holds(&self.body) || self.headers.iter().any(|(_, value)| holds(value))
    }
}

/// Sends these bytes and reads the answer.
///
/// # Errors
/// When there is none in time.
pub fn exchange(
    target: &Target,
    trust: &Trust,
    timeout: Duration,
    bytes: &[u8],
    is_head: bool,
) -> Result<Answer, Fault> {
    let deadline = Deadline(Instant::now().checked_add(timeout));
    let tcp = connect(target, &deadline)?;
    if !target.tls {
        return converse(tcp, &deadline, bytes, is_head, None);
    }
    let config = trust
        .config()
        .ok_or_else(|| Fault::Tls("nobody is believed".to_owned()))?;
    let name = ServerName::try_from(target.host.clone())
        .map_err(|e| Fault::Tls(format!("{}: {e}", target.host)))?;
    let mut session = ClientConnection::new(config, name).map_err(|e| Fault::Tls(e.to_string()))?;
    let mut tcp = Timed {
        stream: tcp,
        deadline: &deadline,
    };
    while session.is_handshaking() {
        match session.complete_io(&mut tcp) {
            Ok(_) => {}
            Err(e) if is_late(&e) => return Err(Fault::Timeout),
            Err(e) => return Err(Fault::Tls(of_tls(&e))),
        }
    }
    let version = session.protocol_version().map(Tls);
    let stream = StreamOwned::new(session, tcp);
    converse_over(stream, bytes, is_head, version)
}

fn of_tls(error: &io::Error) -> String {
    let text = error.to_string();
    match text.contains("CaUsedAsEndEntity") {
        true => "the certificate is that of an authority, CA:TRUE, and no server's".to_owned(),
        false => text,
    }
}

/// Connects to the first address that answers.
pub fn connect(target: &Target, deadline: &Deadline) -> Result<TcpStream, Fault> {
    let mut last = Fault::Timeout;
    for address in target.addresses().map_err(Fault::Connect)? {
        let Some(left) = deadline.left() else {
            return Err(Fault::Timeout);
        };
        match TcpStream::connect_timeout(&address, left) {
            Ok(stream) => {
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(e) if is_late(&e) => last = Fault::Timeout,
            Err(e) => last = Fault::Connect(format!("{address}: {e}")),
        }
    }
    Err(last)
}

fn converse(
    stream: TcpStream,
    deadline: &Deadline,
    bytes: &[u8],
    is_head: bool,
    tls: Option<Tls>,
) -> Result<Answer, Fault> {
    converse_over(Timed { stream, deadline }, bytes, is_head, tls)
}

fn converse_over(
    mut stream: impl Read + Write,
    bytes: &[u8],
    is_head: bool,
    tls: Option<Tls>,
) -> Result<Answer, Fault> {
    // Who has heard enough closes while it is still being sent to; its answer counts.
    if let Err(e) = stream.write_all(bytes).and_then(|()| stream.flush())
        && is_late(&e)
    {
        return Err(Fault::Timeout);
    }
    let mut reader = Reader {
        stream,
        received: Vec::new(),
    };
    loop {
        let (status, headers) = reader.head()?;
        if (100..200).contains(&status) && status != 101 {
            continue;
        }
        let bare = is_head || status == 101 || status == 204 || status == 304;
        let body = if bare {
            Vec::new()
        } else {
            reader.body(&headers)?
        };
        return Ok(Answer {
            status,
            headers,
            body,
            tls,
        });
    }
}

/// When the whole exchange has to be over.
pub struct Deadline(pub Option<Instant>);

impl Deadline {
    fn left(&self) -> Option<Duration> {
        let left = self.0?.checked_duration_since(Instant::now())?;
        (!left.is_zero()).then_some(left)
    }
}

/// A stream of which every call ends by the deadline.
struct Timed<'a> {
    stream: TcpStream,
    deadline: &'a Deadline,
}

impl Timed<'_> {
    fn left(&self) -> io::Result<Duration> {
        self.deadline
            .left()
            .ok_or_else(|| ErrorKind::TimedOut.into())
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        self.stream.read(buffer)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock)
}

/// What was received and not yet used.
struct Reader<S> {
    stream: S,
    received: Vec<u8>,
}

impl<S: Read> Reader<S> {
    /// Receives more; false at the end.
    fn more(&mut self) -> Result<bool, Fault> {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => Ok(false),
            Ok(count) => {
                self.received
                    .extend(buffer.get(..count).unwrap_or_default());
                Ok(true)
            }
            Err(e) if is_late(&e) => Err(Fault::Timeout),
            // Reset, or closed without saying so in TLS.
            Err(_) => Ok(false),
        }
    }

    fn head(&mut self) -> Result<(u16, Headers), Fault> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
            let mut response = httparse::Response::new(&mut headers);
            let parsed = response
                .parse(&self.received)
                .map_err(|e| Fault::NotHttp(e.to_string()))?;
            if let httparse::Status::Complete(length) = parsed {
                let status = response.code.unwrap_or_default();
                let headers = response.headers.iter();
                let headers = headers
                    .map(|it| (it.name.to_ascii_lowercase(), it.value.to_vec()))
                    .collect();
                self.received.drain(..length.min(self.received.len()));
                return Ok((status, headers));
            }
            if self.received.len() > LONGEST_HEAD {
                return Err(Fault::NotHttp("its head has no end".to_owned()));
            }
            if !self.more()? {
                return match self.received.is_empty() {
                    true => Err(Fault::Closed),
                    false => Err(Fault::NotHttp("it ends in its head".to_owned())),
                };
            }
        }
    }

    fn body(&mut self, headers: &[(String, Vec<u8>)]) -> Result<Vec<u8>, Fault> {
        let value = |name: &str| {
            let found = headers.iter().find(|(own, _)| own == name);
            found.map(|(_, value)| String::from_utf8_lossy(value).trim().to_ascii_lowercase())
        };
        if value("transfer-encoding").is_some_and(|it| it.ends_with("chunked")) {
            return self.chunks();
        }
        if let Some(length) = value("content-length") {
            let length: usize = length
                .parse()
                .ok()
                .filter(|length| *length <= LONGEST_BODY)
                .ok_or_else(|| Fault::NotHttp("its length is none".to_owned()))?;
            return self.take(length);
        }
        while self.more()? {
            if self.received.len() > LONGEST_BODY {
                return Err(Fault::NotHttp("its body has no end".to_owned()));
            }
        }
        Ok(std::mem::take(&mut self.received))
    }

    fn take(&mut self, length: usize) -> Result<Vec<u8>, Fault> {
        while self.received.len() < length {
            if !self.more()? {
                return Err(Fault::NotHttp("it ends in its body".to_owned()));
            }
        }
        let rest = self.received.split_off(length);
        Ok(std::mem::replace(&mut self.received, rest))
    }

    fn line(&mut self) -> Result<String, Fault> {
        loop {
            let end = self.received.windows(2).position(|pair| pair == b"\r\n");
            if let Some(end) = end {
                let line = self.take(end.saturating_add(2))?;
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            if self.received.len() > LONGEST_HEAD || !self.more()? {
                return Err(Fault::NotHttp("it ends in a chunk".to_owned()));
            }
        }
    }

    fn chunks(&mut self) -> Result<Vec<u8>, Fault> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let digits = line.split(';').next().unwrap_or_default().trim();
            let length = usize::from_str_radix(digits, 16)
                .ok()
                .filter(|length| body.len().saturating_add(*length) <= LONGEST_BODY)
                .ok_or_else(|| Fault::NotHttp("a chunk without a length".to_owned()))?;
            if length == 0 {
                while !self.line()?.is_empty() {}
                return Ok(body);
            }
            body.extend(self.take(length)?);
            self.line()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<(u16, Vec<u8>), Fault> {
        let mut reader = Reader {
            stream: io::Cursor::new(bytes.to_vec()),
            received: Vec::new(),
        };
        let (status, headers) = reader.head()?;
        Ok((status, reader.body(&headers)?))
    }

    #[test]
    fn bodies_end_where_they_say() {
        let good = |bytes: &[u8]| read(bytes).unwrap();
        assert_eq!(
            good(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nabc"),
            (200, b"ab".to_vec())
        );
        assert_eq!(
            good(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n1\r\nc\r\n0\r\n\r\n"),
            (200, b"abc".to_vec())
        );
        assert_eq!(
            good(b"HTTP/1.0 404 x\r\n\r\nto the end"),
            (404, b"to the end".to_vec())
        );
        assert_eq!(read(b""), Err(Fault::Closed));
        for bad in [
            &b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab"[..],
            b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
            b"HTTP/1.1 200",
            b"\x15\x03\x01\x00\x02\x02\x46",
        ] {
            assert!(matches!(read(bad), Err(Fault::NotHttp(_))), "{bad:?}");
        }
    }
}
