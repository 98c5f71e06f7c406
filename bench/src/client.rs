//! A closed-loop client: so many connections, each with one request under way at a time. It checks every answer: a gateway
//! that refuses is not measured.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

/// What to send and for how long.
pub struct Load {
    pub to: SocketAddr,
    pub connections: usize,
    pub lasts: Duration,
    pub requests: Requests,
}

/// The requests, as bytes.
#[derive(Clone)]
pub enum Requests {
    /// The same again and again.
    Same(Rc<[u8]>),
    /// Each once, and then no more.
    Each(Rc<[Vec<u8>]>),
}

/// What came of it.
pub struct Served {
    pub took: Duration,
    /// Of each request.
    pub latencies: Vec<Duration>,
}

impl Load {
    /// Sends, and waits for every answer.
    ///
    /// # Errors
    /// When a connection broke or a request was not answered with 200.
    pub fn run(self) -> Result<Served, String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| e.to_string())?;
        let local = LocalSet::new();
        local.block_on(&runtime, self.send())
    }

    async fn send(self) -> Result<Served, String> {
        let mut streams = Vec::new();
        for _ in 0..self.connections {
            let stream = TcpStream::connect(self.to).await;
            let stream = stream.map_err(|e| format!("{}: {e}", self.to))?;
            stream.set_nodelay(true).map_err(|e| e.to_string())?;
            streams.push(stream);
        }
        let began = Instant::now();
        let until = began + self.lasts;
        let tasks: Vec<_> = (streams.into_iter().enumerate())
            .map(|(index, stream)| {
                let requests = self.requests.clone();
                let connections = self.connections;
                tokio::task::spawn_local(connection(stream, requests, index, connections, until))
            })
            .collect();
        let mut latencies = Vec::new();
        for task in tasks {
            latencies.extend(task.await.map_err(|e| e.to_string())??);
        }
        Ok(Served {
            took: began.elapsed(),
            latencies,
        })
    }
}

async fn connection(
    mut stream: TcpStream,
    requests: Requests,
    index: usize,
    connections: usize,
    until: Instant,
) -> Result<Vec<Duration>, String> {
    let mut latencies = Vec::new();
    let mut buffer = Vec::with_capacity(4096);
    let mut next = index;
    loop {
        let request: &[u8] = match &requests {
            Requests::Same(bytes) if Instant::now() < until => bytes,
            Requests::Each(all) => match all.get(next) {
                Some(bytes) => bytes,
                None => return Ok(latencies),
            },
            Requests::Same(_) => return Ok(latencies),
        };
        next += connections;
        let sent = Instant::now();
        stream.write_all(request).await.map_err(|e| e.to_string())?;
        response(&mut stream, &mut buffer).await?;
        latencies.push(sent.elapsed());
    }
}

/// Reads one response, to its last byte.
async fn response(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<(), String> {
    buffer.clear();
    let mut needed = None;
    loop {
        if needed.is_none()
            && let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n")
        {
            let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
            if !head.starts_with("http/1.1 200") {
                return Err(format!("was answered:\n{head}"));
            }
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length:"))
                .and_then(|length| length.trim().parse::<usize>().ok())
                .ok_or_else(|| format!("no content-length:\n{head}"))?;
            needed = Some(end + 4 + length);
        }
        if needed.is_some_and(|needed| buffer.len() >= needed) {
            return Ok(());
        }
        if stream.read_buf(buffer).await.map_err(|e| e.to_string())? == 0 {
            return Err("the connection was closed".into());
        }
    }
}
