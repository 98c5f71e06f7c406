//! `/security`: the page for the security team. It is on the control listener, behind the same certificates and the
//! same `control.allow`; what it changes, it changes through the control API.
//!
//! All of it is in the program: no framework, nothing of another host. Reading needs no JavaScript. Values come from
//! attackers, so that every one is escaped (by `maud`), and the policy below allows no script but the page's own.

mod changes;
mod entries;
mod layout;
mod refusals;
mod search;
mod time;
mod top;

use std::sync::Arc;

use axum::{
    Extension, Router, extract,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header},
    response::{Html, IntoResponse as _, Response},
    routing::get,
};
use wire::lists::Kind;

use self::search::Wanted;
use crate::{
    control::{State, gate::Who, query::Query},
    http::problem::Problem,
};

/// Where the page is.
pub const PATH: &str = "/security";

/// Scripts, styles and pictures of this listener, no inline ones; forms go here; nobody frames it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

/// The page's routes.
pub(crate) fn routes() -> Router<Arc<State>> {
    Router::new()
        .route(PATH, get(page))
        .route("/security/page.css", get(style))
        .route("/security/page.js", get(script))
        .route("/security/icon.svg", get(icon))
}

async fn style() -> Response {
    file("text/css; charset=utf-8", include_str!("page.css"))
}

async fn script() -> Response {
    file("text/javascript; charset=utf-8", include_str!("page.js"))
}

async fn icon() -> Response {
    file("image/svg+xml", include_str!("icon.svg"))
}

fn file(kind: &'static str, text: &'static str) -> Response {
    guarded(([(header::CONTENT_TYPE, kind)], text).into_response())
}

fn guarded(mut response: Response) -> Response {
    let headers: &mut HeaderMap = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// The page as of now. What cannot be had is told in its place; the rest is there.
async fn page(
    extract::State(state): extract::State<Arc<State>>,
    Extension(Who(who)): Extension<Who>,
    uri: Uri,
) -> Response {
    let mut problems = Vec::new();
    let (wanted, suggested) = match asked(&uri) {
        Ok(asked) => asked,
        Err(problem) => {
            problems.push(problem);
            Default::default()
        }
    };
    let now_ms = state.now_ms();
    let found = search::look(&state.edge, &wanted).await;
    let changes = changes::newest(&state.edge).await;
    let top = top::last_hour(&state.fingerprints, now_ms).await;
    let body = layout::body(&layout::Parts {
        who: &who,
        now_ms,
        refused: problems.first(),
        add: entries::form(&wanted, &suggested),
        entries: entries::section(&wanted, &found, &state.edge, now_ms),
        refusals: refusals::section(&state.fingerprints.refusals(now_ms)),
        top: top::section(&top, now_ms),
        changes: changes::section(&changes),
    });
    problems.extend(found.err().map(Problem::from));
    problems.extend(changes.err().map(Problem::from));
    let status = problems.first().map_or(StatusCode::OK, Problem::status);
    let mut response = guarded((status, Html(body.into_string())).into_response());
    if let Some(problem) = problems.first() {
        response.extensions_mut().insert(problem.told());
    }
    response
}

/// The address of the page, parameters to follow.
fn query() -> form_urlencoded::Serializer<'static, String> {
    let start = PATH.len().saturating_add(1);
    form_urlencoded::Serializer::for_suffix(format!("{PATH}?"), start)
}

/// What a new entry may be about, for its form.
#[derive(Debug, Default)]
struct Suggested {
    kind: Option<Kind>,
    value: String,
}

fn asked(uri: &Uri) -> Result<(Wanted, Suggested), Problem> {
    let mut query = Query::of(uri);
    let wanted = Wanted::take(&mut query);
    let kind = query.take("add-kind", "must be ja3, ja4, ip or cidr", search::kind);
    let value = query.take("add-value", "must be at most 64 bytes", |value| {
        (value.len() <= 64).then(|| value.to_owned())
    });
    query.end()?;
    let value = value.unwrap_or_default();
    Ok((wanted, Suggested { kind, value }))
}
