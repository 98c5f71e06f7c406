//! The upstream that requests reach when they pass: it tells what it saw.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::exchange::Seen;

/// Marks a response that really comes from the upstream.
pub const ECHO_HEADER: &str = "x-echo-upstream";

/// An upstream that answers every request with a description of it. Clones are the same upstream.
#[derive(Clone, Default)]
pub struct Upstream(Arc<Mutex<State>>);

struct State {
    status: u16,
    headers: Vec<(String, String)>,
    requests: u64,
    connection: Connection,
}

/// What becomes of a gateway's connection to the upstream. Real gateways have real ones: this is for `Drive`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Connection {
    /// It is plain HTTP.
    #[default]
    Plain,
    /// It is TLS, and the upstream's certificate names this URI, if any.
    Tls(Option<String>),
    /// It cannot be made, which the gateway words like this.
    Fails(String),
}

impl Default for State {
    fn default() -> Self {
        Self {
            status: 200,
            headers: Vec::new(),
            requests: 0,
            connection: Connection::Plain,
        }
    }
}

impl Upstream {
    /// What it answers from now on: a status and further headers.
    pub fn answer(&self, status: u16, headers: &[(String, String)]) {
        let mut state = self.state();
        state.status = status;
        state.headers = headers.to_vec();
    }

    /// How it can be reached from now on.
    pub fn connects(&self, connection: Connection) {
        self.state().connection = connection;
    }

    /// How it can be reached.
    #[must_use]
    pub fn connection(&self) -> Connection {
        self.state().connection.clone()
    }

    /// How many requests reached it.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.state().requests
    }

    /// Takes a request; the status, headers and body of the response.
    #[must_use]
    pub fn serve(&self, seen: &Seen) -> (u16, Vec<(String, String)>, Vec<u8>) {
        let mut state = self.state();
        state.requests += 1;
        let mut headers = vec![
            ("content-type".to_owned(), "application/json".to_owned()),
            (ECHO_HEADER.to_owned(), "1".to_owned()),
        ];
        headers.extend(state.headers.iter().cloned());
        let body = serde_json::to_vec_pretty(seen).expect("strings have a JSON form");
        (state.status, headers, body)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
