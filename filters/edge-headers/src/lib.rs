//! What may be said in headers, on the way in and on the way out (H1–H6).
//!
//! The request loses what only gateways may say and gains where it came through; the response loses what tells
//! attackers about servers and gains HSTS. Routes may require headers, also that one agrees with a claim
//! of the token. See `README.md` for the options and the codes of all refusals.

#![cfg_attr(test, allow(clippy::arithmetic_side_effects, clippy::string_slice))]

mod claim;
mod config;
mod request_id;
mod required;
mod transport;

use std::rc::Rc;

use policy::path::canonical;
use policy::reply::well_formed_id;
use policy::{Cx, Event, Fault, Head, NoMetric, Phases, Policy, Reply, Verdict};

pub use config::{Config, Raw};
pub use request_id::IdSource;

use crate::required::Missing;

/// The filter: one value per request.
#[derive(Debug)]
pub struct EdgeHeaders {
    /// The id that the request got here or came with.
    request_id: Option<Rc<str>>,
    /// The client came over TLS.
    secure: bool,
}

impl Policy for EdgeHeaders {
    const NAME: &'static str = "edge_headers";
    const PHASES: Phases = Phases::RESPONSE;
    type Config = Config;
    type Keeper = IdSource;
    type Metric = NoMetric;
    const CODES: &'static [&'static str] = required::CODES;

    fn new() -> Self {
        Self {
            request_id: None,
            secure: false,
        }
    }

    fn on_request(&mut self, event: Event<'_>, cx: &mut Cx<'_, Self>) -> Result<Verdict, Fault> {
        if !matches!(event, Event::Headers) {
            return Err(Fault::Unexpected("nothing was asked for"));
        }
        self.secure = transport::is_secure(cx);
        self.identify(cx);
        let (request, config) = (cx.request, cx.config);
        for (name, _) in request.iter() {
            if config.request_remove.has(name)
                && let Ok(name) = std::str::from_utf8(name)
                && !config.sets_request(name)
            {
                cx.effects.remove_header(name.to_owned());
            }
        }
        for (name, value) in &config.request_set {
            cx.effects.set_header(name, value);
        }
        if let Some(missing) = missing(cx) {
            return Ok(Verdict::Deny(self.refusal(missing, config)));
        }
        Ok(Verdict::Allow)
    }

    fn on_response(&mut self, response: &Head, cx: &mut Cx<'_, Self>) {
        let config = cx.config;
        for (name, _) in response.iter() {
            if config.response_remove.has(name)
                && let Ok(name) = std::str::from_utf8(name)
            {
                cx.effects.remove_header(name.to_owned());
            }
        }
        for (name, value) in self.own(config) {
            cx.effects.set_header(name, value);
        }
        for (name, value) in &config.response_set {
            cx.effects.set_header(name, value);
        }
    }
}

impl EdgeHeaders {
    /// Keeps a well-formed id, else makes one (H5).
    fn identify(&mut self, cx: &mut Cx<'_, Self>) {
        let mut sent = cx.request.all("x-request-id");
        let id = match (sent.next().and_then(well_formed_id), sent.next()) {
            (Some(id), None) => id.into(),
            _ => {
                let id = cx.keeper.next(cx.request, cx.now).into();
                cx.effects.set_header("x-request-id", &id);
                id
            }
        };
        self.request_id = Some(id);
    }

    /// A refusal, with what every response gets.
    fn refusal(&self, missing: Missing<'_>, config: &Config) -> Reply {
        let mut reply = missing.reply();
        for (name, value) in self.own(config) {
            reply = reply.header(name, value.to_string());
        }
        reply
    }

    /// The headers that the filter itself adds to a response.
    fn own<'a>(&'a self, config: &'a Config) -> impl Iterator<Item = (&'static str, &'a Rc<str>)> {
        let hsts = config.hsts.as_ref().filter(|_| self.secure);
        let id = self.request_id.as_ref().filter(|_| config.tells_id);
        let hsts = hsts.map(|value| ("strict-transport-security", value));
        hsts.into_iter().chain(id.map(|id| ("x-request-id", id)))
    }
}

fn missing<'a>(cx: &Cx<'a, EdgeHeaders>) -> Option<Missing<'a>> {
    if cx.config.required.is_empty() {
        return None;
    }
    let Some(Ok(path)) = cx.request.path_and_query().map(canonical) else {
        return Some(Missing::Path);
    };
    required::find(&cx.config.required, &path, cx.request, cx.host)
}

#[cfg(all(target_arch = "wasm32", target_os = "wasi", feature = "module"))]
host::main!(EdgeHeaders, response);
