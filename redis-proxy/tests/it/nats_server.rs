//! A real `nats-server` with JetStream on loopback, ended with the test. Not having one is a failure.

use std::{
    collections::HashMap,
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use async_nats::jetstream::{self, stream::Stream};
use futures_util::StreamExt as _;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use testkit::ports::free_port;

use crate::{
    control_client::in_the_end,
    redis_server::{Pki, until},
};

pub struct NatsServer {
    pub port: u16,
    child: Option<Child>,
    dir: TempDir,
}

impl NatsServer {
    /// A port and a place for its data; not started.
    pub fn new(pki: Option<&Pki>) -> Self {
        let (port, dir) = (free_port(), tempfile::tempdir().unwrap());
        let file = |name| pki.map(|pki| pki.dir.path().join(name));
        let tls = match (file("server.pem"), file("server.key")) {
            (Some(cert), Some(key)) => format!(
                "tls {{ cert_file: '{}', key_file: '{}' }}\n",
                cert.display(),
                key.display()
            ),
            _ => String::new(),
        };
        let config = format!(
            "host: 127.0.0.1\nport: {port}\n{tls}jetstream {{ store_dir: '{}', sync_interval: always }}\n",
            dir.path().display()
        );
        std::fs::write(dir.path().join("nats.conf"), config).unwrap();
        Self {
            port,
            child: None,
            dir,
        }
    }

    pub fn start() -> Self {
        let mut server = Self::new(None);
        server.restart();
        server
    }

    /// Starts, again, on the same port, with the same data.
    pub fn restart(&mut self) {
        self.kill();
        let child = Command::new(binary())
            .arg("-c")
            .arg(self.dir.path().join("nats.conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nats-server must be installed: tools/setup.sh nats");
        self.child = Some(child);
        until("nats-server listens", Duration::from_secs(60), || {
            TcpStream::connect(("127.0.0.1", self.port)).is_ok()
        });
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGSTOP: it takes events and acknowledges none.
    pub fn freeze(&self) {
        let id = self.child.as_ref().unwrap().id();
        let pid = Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
        kill_process(pid, Signal::STOP).unwrap();
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub async fn context(&self) -> jetstream::Context {
        let client = async_nats::ConnectOptions::new()
            .retry_on_initial_connect()
            .connect(self.url())
            .await
            .unwrap();
        jetstream::new(client)
    }

    /// What the stream has, by message id. An id that comes twice is a failure.
    pub async fn events(&self, stream: &str) -> HashMap<String, Value> {
        let stream = self.context().await.get_stream(stream).await.unwrap();
        events(&stream).await
    }
}

async fn events(stream: &Stream) -> HashMap<String, Value> {
    let expected = stream.get_info().await.unwrap().state.messages;
    let config = jetstream::consumer::pull::OrderedConfig::default();
    let consumer = stream.create_consumer(config).await.unwrap();
    let mut messages = consumer.messages().await.unwrap();
    let mut events = HashMap::new();
    for n in 0..expected {
        let next = in_the_end("the next event", messages.next()).await;
        let message = next.unwrap_or_else(|| panic!("{n} of {expected} events"));
        let message = message.unwrap();
        let event: Value = serde_json::from_slice(&message.payload).unwrap();
        let headers = message.headers.as_ref().unwrap();
        let id = headers.get("Nats-Msg-Id").unwrap().to_string();
        assert_eq!(event["id"], id.as_str());
        assert!(message.subject.ends_with(event["type"].as_str().unwrap()));
        assert!(events.insert(id, event).is_none(), "twice in the stream");
    }
    events
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn binary() -> PathBuf {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/bin/nats-server");
    if ours.exists() {
        ours
    } else {
        "nats-server".into()
    }
}
