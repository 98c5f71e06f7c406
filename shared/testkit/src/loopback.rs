//! A world behind real listeners, and clients in front of a real gateway, all on the loopback
//! interface.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::runtime::Runtime;

use crate::exchange::Exchange;
use crate::http_client::Connection;
use crate::http_server::Server;
use crate::request::Request;
use crate::world::World;

/// The name of the upstream beside those of the services.
pub const UPSTREAM: &str = "upstream";

/// The services and the upstream of a world, each on a port of its own. End when dropped.
pub struct Loopback {
    // Servers end before the runtime that they run on.
    servers: Vec<Server>,
    addresses: BTreeMap<String, SocketAddr>,
    runtime: Runtime,
}

impl Default for Loopback {
    fn default() -> Self {
        Self::new()
    }
}

impl Loopback {
    /// Nothing listens yet.
    ///
    /// # Panics
    /// When the machine has no more threads.
    #[must_use]
    pub fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a thread for the services");
        Self {
            servers: Vec::new(),
            addresses: BTreeMap::new(),
            runtime,
        }
    }

    /// Serves a world.
    ///
    /// # Errors
    /// When a port cannot be had.
    pub fn open(&mut self, world: &World) -> Result<(), String> {
        let handle = self.runtime.handle();
        let upstream = Server::upstream(handle, world.upstream.clone())
            .map_err(|e| format!("the upstream: {e}"))?;
        self.addresses.insert(UPSTREAM.into(), upstream.address());
        self.servers.push(upstream);
        for (name, service) in world.services() {
            let server = Server::service(handle, Arc::clone(&service))
                .map_err(|e| format!("{name}: {e}"))?;
            self.addresses.insert(name, server.address());
            self.servers.push(server);
        }
        Ok(())
    }

    /// Where the upstream and every service listen.
    #[must_use]
    pub const fn addresses(&self) -> &BTreeMap<String, SocketAddr> {
        &self.addresses
    }

    /// Services listen or refuse as they now do.
    ///
    /// # Errors
    /// When a port cannot be listened on.
    pub fn follow(&mut self) -> Result<(), String> {
        for server in &mut self.servers {
            server.follow().map_err(|e| format!("a service: {e}"))?;
        }
        Ok(())
    }
}

/// Sends requests to a gateway, all at once, each over a connection of its own. What a client's TLS
/// looks like goes in headers, as behind a balancer that ended it.
///
/// # Errors
/// When there is no response.
pub fn send(gateway: SocketAddr, requests: Vec<Request>) -> Result<Vec<Exchange>, String> {
    let requests: Vec<Request> = requests
        .into_iter()
        .map(Request::with_tls_as_headers)
        .collect();
    let send = |request: &Request| {
        Connection::open(gateway, request.peer)
            .and_then(|mut connection| connection.exchange(request))
            .map_err(|e| format!("no response: {e}\n      {}", request.show()))
    };
    if let [request] = requests.as_slice() {
        return Ok(vec![send(request)?]);
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> = requests
            .iter()
            .map(|request| scope.spawn(move || send(request)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| "a client panicked".to_owned())?)
            .collect()
    })
}
