//! A browser shows its certificate to whatever page makes it ask: changes are taken from this listener's own pages
//! only, and from what is no browser.

use axum::{
    extract::Request,
    http::{HeaderMap, Method, StatusCode, Uri, header},
};

use crate::http::problem::Problem;

const FETCH_SITE: &str = "sec-fetch-site";

/// Whether the request may change something, as far as its origin goes.
///
/// # Errors
/// Another site's page has caused it: `cross_site`.
pub fn check(request: &Request) -> Result<(), Problem> {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if reads || is_own(request.headers(), request.uri()) {
        return Ok(());
    }
    let detail = "a page of another site may not change anything here";
    Err(Problem::new(StatusCode::FORBIDDEN, "cross_site", detail))
}

/// `Sec-Fetch-Site` (Fetch Metadata) and `Origin` (RFC 6454, as Fetch has it), where they are.
fn is_own(headers: &HeaderMap, uri: &Uri) -> bool {
    let fetched = headers.get_all(FETCH_SITE).iter();
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let asked = uri
        .authority()
        .map(|authority| authority.as_str())
        .or_else(|| headers.get(header::HOST)?.to_str().ok());
    fetched
        .map(|site| site.as_bytes())
        .all(|site| site == b"same-origin" || site == b"none")
        && origins.all(|origin| {
            let from = origin
                .to_str()
                .ok()
                .and_then(|o| o.strip_prefix("https://"));
            from.is_some() && from == asked
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(method: &str, headers: &[(&str, &str)]) -> Option<&'static str> {
        let mut request = Request::builder().method(method).uri("/x");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(axum::body::Body::empty()).unwrap();
        check(&request).err().map(|problem| problem.told().code)
    }

    #[test]
    fn changes_are_taken_from_own_pages_and_from_no_browser() {
        let host = ("host", "edge.example:8971");
        let own = ("origin", "https://edge.example:8971");
        for headers in [
            vec![host],
            vec![host, own],
            vec![host, own, ("sec-fetch-site", "same-origin")],
            vec![host, ("sec-fetch-site", "none")],
        ] {
            assert_eq!(code("POST", &headers), None, "{headers:?}");
        }
        for bad in [
            ("origin", "https://evil.example"),
            ("origin", "https://edge.example"),
            ("origin", "http://edge.example:8971"),
            ("origin", "https://edge.example:8971.evil.example"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("sec-fetch-site", ""),
        ] {
            for method in ["POST", "DELETE", "PUT", "OPTIONS"] {
                assert_eq!(code(method, &[host, bad]), Some("cross_site"), "{bad:?}");
                assert_eq!(
                    code(method, &[host, own, bad]),
                    Some("cross_site"),
                    "{bad:?}"
                );
            }
            assert_eq!(code("GET", &[host, bad]), None, "reading: {bad:?}");
        }
        assert_eq!(code("POST", &[own]), Some("cross_site"), "nobody was asked");
    }
}
