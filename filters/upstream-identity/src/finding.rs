//! What the gateway tells of the upstream of one response, and what it means.

use policy::host::VIA_UPSTREAM;
use policy::{Fact, Host};
use wire::upstream_failures::{FailureReason, MAX_TEXT_BYTES};

use crate::config::Route;

/// Why an upstream is not believed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Finding {
    pub reason: FailureReason,
    /// The name in its certificate.
    pub presented: Option<String>,
    /// What the gateway says of the connection.
    pub detail: Option<String>,
}

/// Looks at the connection that a response came by, or did not come by. `None`: the upstream is who it should be, or
/// the response is no upstream's and says nothing of its TLS.
pub(crate) fn examine(route: &Route, host: &dyn Host) -> Option<Finding> {
    let details = host.fact(Fact::ResponseDetails);
    // Where it is not known who answered, it was the upstream.
    if details.is_none_or(|details| details == VIA_UPSTREAM) {
        return of_answer(route, host);
    }
    let failure = host.fact(Fact::UpstreamFailure)?;
    let text = String::from_utf8_lossy(&failure);
    Some(Finding {
        reason: of_failure(&text)?,
        presented: None,
        detail: cut(&failure),
    })
}

/// Something answered: who was it?
fn of_answer(route: &Route, host: &dyn Host) -> Option<Finding> {
    let identity = host
        .fact(Fact::UpstreamIdentity)
        .filter(|identity| !identity.is_empty());
    let reason = match &identity {
        Some(identity) if route.admits(identity) => return None,
        Some(_) => FailureReason::Identity,
        None => FailureReason::Anonymous,
    };
    Some(Finding {
        reason,
        presented: identity.as_deref().and_then(cut),
        detail: None,
    })
}

/// What a connection failed by; `None`: it has nothing to do with TLS. The words are those of BoringSSL's error queue, as
/// Envoy hands them on: `TLS_error:|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED…`.
fn of_failure(text: &str) -> Option<FailureReason> {
    if !text.contains("TLS_error") {
        return None;
    }
    Some(if text.contains("CERTIFICATE_VERIFY_FAILED") {
        FailureReason::Certificate
    } else if text.contains("_ALERT_") {
        FailureReason::Refused
    } else {
        FailureReason::Handshake
    })
}

/// Text of at most as many bytes as a report may hold; `None` if there is none.
pub(crate) fn cut(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let text = text.get(..text.floor_char_boundary(MAX_TEXT_BYTES))?;
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    #[test]
    fn failures_of_tls_are_told_from_others() {
        use FailureReason::{Certificate, Handshake, Refused};
        for (text, reason) in [
            ("delayed connect error: Connection refused", None),
            ("", None),
            (
                "TLS_error:|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:SAN matcher:TLS_error_end",
                Some(Certificate),
            ),
            (
                "TLS_error:|268436496:SSL routines:OPENSSL_internal:SSLV3_ALERT_CERTIFICATE_EXPIRED:TLS_error_end",
                Some(Refused),
            ),
            (
                "TLS_error:|268435703:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER:TLS_error_end",
                Some(Handshake),
            ),
        ] {
            assert_eq!(of_failure(text), reason, "{text}");
        }
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let umlauts = "ü".repeat(MAX_TEXT_BYTES);
        assert_eq!(
            cut(umlauts.as_bytes()).map(|text| text.len()),
            Some(MAX_TEXT_BYTES)
        );
        assert_eq!(cut(b""), None);
    }
}
