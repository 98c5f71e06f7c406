//! The page for the security team, as bytes; `page_browser` looks at it in a browser.

use axum::body::Body;
use serde_json::json;

use crate::control_client::{Control, Holder, soc};

const PAGE: &str = "/security";
const FILES: [(&str, &str); 4] = [
    (PAGE, "text/html; charset=utf-8"),
    ("/security/page.css", "text/css; charset=utf-8"),
    ("/security/page.js", "text/javascript; charset=utf-8"),
    ("/security/icon.svg", "image/svg+xml"),
];

#[tokio::test]
async fn the_page_is_for_those_who_are_listed_and_guarded() {
    let control = Control::start().await;
    for (path, kind) in FILES {
        let page = control.soc().get(path).await;
        assert_eq!(page.status, 200, "{path}");
        assert_eq!(page.headers["content-type"], kind);
        let policy = page.headers["content-security-policy"].to_str().unwrap();
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self';"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        assert_eq!(page.headers["x-content-type-options"], "nosniff");
        assert_eq!(page.headers["cache-control"], "no-store");
        assert_eq!(page.headers["cross-origin-resource-policy"], "same-origin");
        let text = page.body.as_str().unwrap();
        assert!(
            !text.contains("http://") || path.ends_with("svg"),
            "nothing of another host"
        );
        assert!(
            !text.contains("style=") && !text.contains(" onclick"),
            "nothing inline"
        );
    }
    let guest = Holder {
        uri: Some("spiffe://portcullis.test/guest"),
        ..soc()
    };
    let guest = control.client(Some(&control.authority.issue(&guest)));
    for (path, _) in FILES {
        assert_eq!(guest.get(path).await.problem(), "client_not_allowed");
        assert!(
            control
                .client(None)
                .try_send("GET", path, "")
                .await
                .is_err()
        );
        let posted = control.soc().post(path, &json!({})).await;
        assert_eq!(
            posted.problem(),
            "method_not_allowed",
            "nothing is changed by a form"
        );
    }
}

#[tokio::test]
async fn hostile_text_is_escaped_and_a_bad_question_is_answered() {
    let control = Control::start().await;
    let soc = control.soc();
    let hostile = "</td><script>alert(1)</script><a href='javascript:alert(2)'>";
    let entry = json!({"kind": "ip", "value": "192.0.2.1", "ttlSeconds": 600, "reason": hostile});
    assert_eq!(soc.post("/v1/internal/edge/deny", &entry).await.status, 201);
    let page = soc.get(PAGE).await;
    let text = page.body.as_str().unwrap();
    assert!(text.contains("&lt;/td&gt;&lt;script&gt;alert(1)"), "{text}");
    assert!(!text.contains("<script>"), "{text}");
    assert!(
        text.contains("192.0.2.1") && text.contains("You are <strong>spiffe://portcullis.test/soc")
    );

    let mut connection = soc.connect().await.unwrap();
    for query in [
        "list=%3Cscript%3E",
        "kind=x",
        "after=-1",
        "%3Cscript%3E=1",
        "q=1&q=2",
    ] {
        let path = format!("{PAGE}?{query}");
        let page = connection
            .send_with("GET", &path, &[], Body::empty())
            .await
            .unwrap();
        assert_eq!(page.status, 400, "{query}");
        assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
        let text = page.body.as_str().unwrap();
        assert!(
            text.contains("role=\"alert\"") && !text.contains("<script>"),
            "{query}"
        );
        assert!(text.contains("192.0.2.1"), "the rest is there: {query}");
    }
    control.audit(5, |line| line["code"] == "bad_query").await;
}
