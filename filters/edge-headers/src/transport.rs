//! Whether the client came over TLS (H4): HSTS is for secure transport alone (RFC 6797 section 7.2).

use policy::Cx;
use policy::client_ip::is_trusted;

use crate::EdgeHeaders;

/// What the gateway says of the connection, or a trusted proxy in front of it in `X-Forwarded-Proto`.
pub(crate) fn is_secure(cx: &Cx<'_, EdgeHeaders>) -> bool {
    if cx.config.hsts.is_none() {
        return false;
    }
    let scheme = cx.request.first(":scheme").unwrap_or_default();
    if scheme.eq_ignore_ascii_case(b"https") {
        return true;
    }
    let said = cx.request.first("x-forwarded-proto").unwrap_or_default();
    said.eq_ignore_ascii_case(b"https") && !cx.config.trusted_proxies.is_empty() && {
        let trusted = &cx.config.trusted_proxies;
        cx.host.peer().is_some_and(|peer| is_trusted(peer, trusted))
    }
}
