//! A real `nats-server` with JetStream on the loopback interface. Not having one is a failure.

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use async_nats::jetstream;
use envoy_test::artifacts;
use tempfile::TempDir;
use testkit::ports::free_port;
use tokio::runtime::Runtime;

use crate::child;
use crate::until::until;

/// A running NATS, and who publishes.
pub struct NatsServer {
    port: u16,
    child: Child,
    _directory: TempDir,
    runtime: Runtime,
}

impl NatsServer {
    /// Starts one with an empty JetStream.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start() -> Self {
        let (port, directory) = (free_port(), tempfile::tempdir().unwrap());
        let ours = artifacts::workspace().join(".tools/bin/nats-server");
        let binary = if ours.exists() {
            ours
        } else {
            "nats-server".into()
        };
        let mut command = Command::new(binary);
        command
            .args(["--addr", "127.0.0.1", "--port", &port.to_string()])
            .arg("--jetstream")
            .arg("--store_dir")
            .arg(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child =
            child::spawn(&mut command).expect("nats-server must be installed: tools/setup.sh nats");
        until("nats-server listens", Duration::from_secs(60), || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        Self {
            port,
            child,
            _directory: directory,
            runtime,
        }
    }

    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// What a stream has under a subject, oldest first; nothing if there is no such stream.
    ///
    /// # Panics
    /// When NATS does not answer, or one is no JSON.
    #[must_use]
    pub fn messages(&self, stream: &str, subject: &str) -> Vec<serde_json::Value> {
        self.runtime.block_on(async {
            let client = async_nats::connect(self.url()).await.unwrap();
            let context = jetstream::new(client);
            let Ok(stream) = context.get_stream(stream).await else {
                return Vec::new();
            };
            let mut found = Vec::new();
            for sequence in 1..=stream.cached_info().state.last_sequence {
                let message = stream.get_raw_message(sequence).await.unwrap();
                if message.subject.as_str() == subject {
                    found.push(serde_json::from_slice(&message.payload).unwrap());
                }
            }
            found
        })
    }

    /// Publishes, and waits until JetStream has it: there must be a stream that takes the subject.
    ///
    /// # Panics
    /// When it does not take it.
    pub fn publish(&self, subject: &'static str, payload: String) {
        self.runtime.block_on(async {
            let client = async_nats::connect(self.url()).await.unwrap();
            let context = jetstream::new(client);
            let mut tries = 0;
            loop {
                let sent = context.publish(subject, payload.clone().into()).await;
                match sent.unwrap().await {
                    Ok(_) => return,
                    // The stream is being made.
                    Err(error) if tries > 100 => panic!("{error}"),
                    Err(_) => tries += 1,
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
