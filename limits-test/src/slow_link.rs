//! A TCP relay that can be slow.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

/// Passes bytes on, each way as late as it is told.
pub struct SlowLink {
    address: SocketAddr,
    delay_ms: Arc<AtomicU64>,
}

impl SlowLink {
    /// A link to this port, without delay at first. It ends with the process.
    ///
    /// # Panics
    /// When there is no port or thread to be had.
    #[must_use]
    pub fn to(port: u16) -> Self {
        let delay_ms = Arc::new(AtomicU64::new(0));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("an address");
        let delay = Arc::clone(&delay_ms);
        std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime for the link")
                .block_on(relay(listener, port, delay));
        });
        Self { address, delay_ms }
    }

    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Whatever arrives from now on leaves so much later.
    pub fn delay(&self, by: Duration) {
        let by = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.delay_ms.store(by, Ordering::Relaxed);
    }
}

async fn relay(listener: std::net::TcpListener, port: u16, delay: Arc<AtomicU64>) {
    let listener = TcpListener::from_std(listener).expect("a socket");
    while let Ok((client, _)) = listener.accept().await {
        let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else {
            continue;
        };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::spawn(pass(from_client, to_server, Arc::clone(&delay)));
        tokio::spawn(pass(from_server, to_client, Arc::clone(&delay)));
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Arc<AtomicU64>) {
    let mut bytes = [0; 16_384];
    while let Ok(n @ 1..) = from.read(&mut bytes).await {
        let by = delay.load(Ordering::Relaxed);
        if by > 0 {
            sleep(Duration::from_millis(by)).await;
        }
        if to.write_all(&bytes[..n]).await.is_err() {
            return;
        }
    }
}
