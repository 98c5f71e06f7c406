//! Many clients that ask and wait.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

/// Connections that are opened at a time.
const AT_A_TIME: usize = 64;
const PATIENCE: Duration = Duration::from_secs(60);

/// Clients that have asked. They hang up when dropped.
pub struct Crowd {
    // Connections end before the runtime that they are registered with.
    _clients: Vec<TcpStream>,
    _runtime: Runtime,
}

impl Crowd {
    /// So many clients from this address.
    pub fn gather(size: usize, from: IpAddr, to: SocketAddr) -> Self {
        let runtime = runtime();
        let mut clients = Vec::with_capacity(size);
        runtime.block_on(async {
            while clients.len() < size {
                let batch = AT_A_TIME.min(size - clients.len());
                let tasks: Vec<_> = (0..batch).map(|_| tokio::spawn(ask(from, to))).collect();
                for task in tasks {
                    let asked = task.await.unwrap();
                    clients.push(asked.expect("Envoy takes the connection").1);
                }
            }
        });
        Self {
            _clients: clients,
            _runtime: runtime,
        }
    }
}

/// So many clients that ask and wait for their answers, which must be 200: within which time they came, and how long
/// each one waited.
pub fn visit(size: usize, from: IpAddr, to: SocketAddr) -> (Duration, Vec<Duration>) {
    let runtime = runtime();
    runtime.block_on(async {
        let room = Arc::new(Semaphore::new(AT_A_TIME));
        let tasks: Vec<_> = (0..size)
            .map(|_| {
                let room = Arc::clone(&room);
                tokio::spawn(async move {
                    let opening = room.acquire().await.unwrap();
                    let (sent, stream) = ask(from, to).await.expect("Envoy takes the connection");
                    drop(opening);
                    (sent, answer(sent, stream).await)
                })
            })
            .collect();
        let mut sent = Vec::with_capacity(size);
        let mut waited = Vec::with_capacity(size);
        for task in tasks {
            let (began, took) = task.await.unwrap();
            sent.push(began);
            waited.push(took);
        }
        let within = sent.iter().max().zip(sent.iter().min());
        let within = within.map_or(Duration::ZERO, |(last, first)| *last - *first);
        (within, waited)
    })
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime for the crowd")
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
