//! What every request to the control API passes: who is it, may it, how long may it take; refusals are written
//! to the audit log.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Extension,
    extract::{self, Request},
    http::StatusCode,
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use tokio::time::timeout;

use super::{State, identity::Identity, now_s, origin};
use crate::{
    edge::Refusal,
    http::problem::{self, Problem, Told},
};

/// Longest path in an audit line, characters.
const MAX_PATH: usize = 256;

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its address.
    pub from: SocketAddr,
    /// What its certificate says.
    pub identity: Identity,
}

/// As whom the request was let in.
#[derive(Clone, Debug)]
pub struct Who(pub String);

pub async fn pass(
    extract::State(state): extract::State<Arc<State>>,
    Extension(peer): Extension<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    let path: String = request.uri().path().chars().take(MAX_PATH).collect();
    let attempt = format!("{} {path}", request.method());
    let admitted = admit(&state, &peer.identity).map(str::to_owned);
    let by = match &admitted {
        Ok(who) => who.clone(),
        Err(_) => peer.identity.to_string(),
    };
    let response = match admitted.and_then(|who| origin::check(&request).map(|()| who)) {
        Err(refusal) => refusal.into_response(),
        Ok(who) => {
            request.extensions_mut().insert(Who(who));
            match timeout(state.patience, next.run(request)).await {
                Ok(response) => response,
                Err(_) => problem::too_slow().into_response(),
            }
        }
    };
    if response.status().is_client_error() || response.status().is_server_error() {
        let told = response.extensions().get::<Told>();
        state.edge.refused(&Refusal {
            by: &by,
            from: Some(peer.from),
            attempt: &attempt,
            code: told.map_or("refused", |told| told.code),
            detail: told.map_or_else(Default::default, |told| told.detail.as_str()),
        });
    }
    response
}

fn admit<'a>(state: &State, client: &'a Identity) -> Result<&'a str, Problem> {
    // A connection may outlive the certificate that it began with.
    if now_s() > client.not_after {
        let detail = "the client's certificate has expired since it connected";
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "certificate_expired",
            detail,
        ));
    }
    state.allow.admits(client).ok_or_else(|| {
        let detail = "this client is not listed in control.allow";
        Problem::new(StatusCode::FORBIDDEN, "client_not_allowed", detail)
    })
}
