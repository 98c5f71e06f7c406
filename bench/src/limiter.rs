//! An external limiter that Envoy's `ratelimit` filter asks: `envoy.service.ratelimit.v3.RateLimitService` over gRPC, in
//! clear text. The operator runs it; here it is only found and looked at.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use serde_json::{Value, json};

use crate::process;

/// What it is called among Envoy's clusters.
pub const CLUSTER: &str = "limiter";
/// The domain that its limits are in.
pub const DOMAIN: &str = "bench";

const CONNECTS_WITHIN: Duration = Duration::from_secs(2);

/// A limiter that listens.
#[derive(Clone, Debug)]
pub struct Limiter {
    pub address: SocketAddr,
    /// Its process, if it runs on this machine.
    pub process: Option<u32>,
    /// What it is, for the document.
    pub about: String,
}

impl Limiter {
    /// Looks it up and connects once.
    ///
    /// # Errors
    /// When there is no such address, or nobody listens there.
    pub fn find(at: &str) -> Result<Self, String> {
        let wrong = |e: &dyn std::fmt::Display| format!("the limiter {at}: {e}");
        let address = at
            .to_socket_addrs()
            .map_err(|e| wrong(&e))?
            .next()
            .ok_or_else(|| wrong(&"no address"))?;
        TcpStream::connect_timeout(&address, CONNECTS_WITHIN).map_err(|e| wrong(&e))?;
        let process = (address.ip().is_loopback())
            .then(|| process::listening(address.port()))
            .flatten();
        Ok(Self {
            address,
            process,
            about: process.and_then(process::name).map_or_else(
                || format!("one at `{at}`, whose CPU is not known here"),
                |name| format!("`{name}`, on this machine with everything else"),
            ),
        })
    }
}

/// What to make of a request that was not let through.
#[must_use]
pub fn explain(error: &str) -> String {
    format!(
        "{error}\nEach of these requests asks the limiter. It must be up, speak envoy.service.ratelimit.v3.RateLimitService in clear \
         text, and have no limit in the domain `{DOMAIN}` that is used up (429 says that one is)."
    )
}

/// gRPC needs HTTP/2.
pub fn speak_http2(bootstrap: &mut Value) {
    let Some(clusters) = bootstrap["static_resources"]["clusters"].as_array_mut() else {
        return;
    };
    for cluster in clusters {
        if cluster["name"] == CLUSTER {
            cluster["typed_extension_protocol_options"] = json!({
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "explicit_http_config": {"http2_protocol_options": {}},
                },
            });
        }
    }
}
