//! Many clients that ask and wait.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Runtime;

/// Connections that are opened at a time.
const AT_A_TIME: usize = 64;
const PATIENCE: Duration = Duration::from_secs(60);

/// Clients that have asked. They hang up when dropped.
pub struct Crowd {
    clients: Vec<(Instant, TcpStream)>,
    runtime: Runtime,
}

impl Crowd {
    /// So many clients from this address.
    pub fn gather(size: usize, from: IpAddr, to: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime for the crowd");
        let mut clients = Vec::with_capacity(size);
        runtime.block_on(async {
            while clients.len() < size {
                let batch = AT_A_TIME.min(size - clients.len());
                let tasks: Vec<_> = (0..batch).map(|_| tokio::spawn(ask(from, to))).collect();
                for task in tasks {
                    clients.push(task.await.unwrap().expect("Envoy takes the connection"));
                }
            }
        });
        Self { clients, runtime }
    }

    /// Between the first one's question and the last one's.
    pub fn opened_within(&self) -> Duration {
        let first = self.clients.iter().map(|(sent, _)| *sent).min();
        let last = self.clients.iter().map(|(sent, _)| *sent).max();
        first
            .zip(last)
            .map_or(Duration::ZERO, |(first, last)| last - first)
    }

    /// How long each one waited for its answer, which must be 200.
    pub fn answers(self) -> Vec<Duration> {
        let Self { clients, runtime } = self;
        runtime.block_on(async {
            let tasks: Vec<_> = clients
                .into_iter()
                .map(|(sent, stream)| tokio::spawn(answer(sent, stream)))
                .collect();
            let mut times = Vec::with_capacity(tasks.len());
            for task in tasks {
                times.push(task.await.unwrap());
            }
            times
        })
    }
}

async fn ask(from: IpAddr, to: SocketAddr) -> std::io::Result<(Instant, TcpStream)> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(from, 0))?;
    let mut stream = socket.connect(to).await?;
    let sent = Instant::now();
    stream
        .write_all(b"GET /slow HTTP/1.1\r\nhost: tarpit.test\r\n\r\n")
        .await?;
    Ok((sent, stream))
}

async fn answer(sent: Instant, mut stream: TcpStream) -> Duration {
    let mut head = [0; 12];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut head))
        .await
        .expect("an answer in time")
        .expect("an answer");
    assert_eq!(&head, b"HTTP/1.1 200");
    sent.elapsed()
}
