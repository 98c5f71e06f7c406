//! In what the gateways differ. Found out once, with the first request; everything that depends on
//! it is here.

use policy::Fact;

use crate::abi;

/// The gateway that the filter runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gateway {
    Envoy,
    Kong,
}

impl Gateway {
    /// Kong shows nginx's variables, such as the number of the worker's process; Envoy has no such
    /// property. To be asked in the name of a request: outside of one, Kong refuses every property
    /// of several parts and logs an error.
    pub fn detect() -> Self {
        match abi::property("ngx\0pid") {
            Ok(Some(_)) => Self::Kong,
            _ => Self::Envoy,
        }
    }

    /// A full read of the headers ends at this many.
    pub const fn max_headers_read(self) -> usize {
        match self {
            Self::Envoy => usize::MAX,
            Self::Kong => 100,
        }
    }

    /// The property with the path as the client sent it, where `:path` is something else. Kong hands out
    /// nginx's reading of it, decoded and with its dots resolved, but sends the upstream another one: to a
    /// filter, `/a%2f..%2fb` would be `/b`.
    pub const fn path_as_sent(self) -> Option<&'static str> {
        match self {
            Self::Envoy => None,
            Self::Kong => Some("ngx\0request_uri"),
        }
    }

    /// The property that says what the upstream is sent as path, where an edit of `:path` changes nothing.
    pub const fn path_sent_on(self) -> Option<&'static str> {
        match self {
            Self::Envoy => None,
            Self::Kong => Some("ngx\0upstream_uri"),
        }
    }

    /// Whether a request header can be removed. Kong only marks it, and nginx sends it on all the
    /// same; all that works there is another value. Of a header that occurs more than once, Kong
    /// changes the first only.
    pub const fn removes_headers(self) -> bool {
        match self {
            Self::Envoy => true,
            Self::Kong => false,
        }
    }

    /// What the callback of request headers returns to hold the whole request, its body included.
    /// Envoy would turn a plain pause into this, unless `allow_on_headers_stop_iteration` is set, as it
    /// must be for a filter that reads bodies: then a plain pause holds the headers alone.
    pub const fn hold_all(self) -> u32 {
        match self {
            Self::Envoy => 4,
            Self::Kong => 1,
        }
    }

    /// What the callback of request headers returns to hold the headers while the body may come, which is
    /// kept until somebody asks for it. No more of it than the gateway buffers.
    pub const fn hold_headers(self) -> u32 {
        1
    }

    /// What the callback of request headers returns to see the body before the request goes on. Kong
    /// reads the body only once the headers of all filters are through, and still before the upstream.
    pub const fn await_body(self) -> u32 {
        match self {
            Self::Envoy => 1,
            Self::Kong => 0,
        }
    }

    /// Whether the callback of request headers is told that there is no body. Kong never says so, and
    /// makes no callback for a body that is not there.
    pub const fn tells_no_body(self) -> bool {
        match self {
            Self::Envoy => true,
            Self::Kong => false,
        }
    }

    /// Whether one request's callback, or a tick, may wake another request. In Kong that is a
    /// segmentation fault of the worker.
    pub const fn wakes_others(self) -> bool {
        match self {
            Self::Envoy => true,
            Self::Kong => false,
        }
    }

    /// Where a callout fails at once. Kong leaves the buffer with a callout's body among the spare ones, and
    /// empties it when the callout's end has been handled. Unless an answer has taken it, the filter's next
    /// buffer is that one: a reply would go out empty, "zero size buf in writer", and the connection be closed.
    /// So what follows waits for the end of one more callout, which carries no body.
    pub const fn settles_at(self) -> Option<&'static str> {
        match self {
            Self::Envoy => None,
            // No socket: the connection is refused without a network.
            Self::Kong => Some("unix:/dev/null"),
        }
    }

    /// Whether a gauge can be moved by a difference, so that every worker adds its part to it. Kong traps on
    /// that, and shows what was recorded last; counters it adds up over its workers.
    pub const fn moves_gauges(self) -> bool {
        match self {
            Self::Envoy => true,
            Self::Kong => false,
        }
    }

    /// Whether the gateway lends its crypto through `verify_signature`. Asking Kong for a foreign
    /// function that it does not have is a trap.
    pub const fn has_crypto(self) -> bool {
        match self {
            Self::Envoy => true,
            Self::Kong => false,
        }
    }

    /// The property that tells a fact, its parts separated by NUL.
    pub const fn property_of(self, fact: Fact) -> Option<&'static str> {
        match (self, fact) {
            (_, Fact::PeerAddress) => Some("source\0address"),
            (Self::Envoy, Fact::Route) => Some("xds\0route_name"),
            (Self::Kong, Fact::Route) => Some("kong\0route_name"),
            (Self::Envoy, Fact::Service) => Some("xds\0cluster_name"),
            (Self::Kong, Fact::Service) => Some("kong\0service_name"),
            // Envoy's TLS inspector computes them, and its `set_filter_state` makes properties of them: see
            // `docs/lists.md`.
            (Self::Envoy, Fact::Ja3) => Some("filter_state\0portcullis.ja3"),
            (Self::Envoy, Fact::Ja4) => Some("filter_state\0portcullis.ja4"),
            (Self::Envoy, Fact::UpstreamIdentity) => Some("upstream\0uri_san_peer_certificate"),
            (Self::Envoy, Fact::UpstreamFailure) => Some("upstream\0transport_failure_reason"),
            (Self::Envoy, Fact::ResponseDetails) => Some("response\0code_details"),
            _ => None,
        }
    }
}
