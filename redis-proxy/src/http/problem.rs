//! Refusals as `application/problem+json` (RFC 9457).

use axum::{
    Json,
    body::Bytes,
    extract::{FromRequest, Request, rejection::JsonRejection},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;
use wire::limits::Failure;

use crate::{
    edge::{EdgeFailure, EntryId, FieldError},
    quota::QuotaFailure,
};

/// Most fields named in a refusal.
const MAX_FIELDS: usize = 32;

/// A refusal.
#[derive(Debug, Serialize, ToSchema)]
pub struct Problem {
    /// Always `about:blank`: `code` tells them apart.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status in words.
    title: &'static str,
    /// The status.
    status: u16,
    /// What went wrong, stable, for programs.
    code: &'static str,
    /// What went wrong, for people.
    #[schema(value_type = String)]
    detail: Box<str>,
    /// Each field that is wrong, the first 32.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    errors: Vec<FieldError>,
    /// The entry that is there already.
    #[serde(rename = "existingId", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    existing: Option<EntryId>,
    #[serde(skip)]
    #[schema(ignore)]
    retry: bool,
}

/// Code and detail of a refusal, as an extension of the response, for those it passes.
#[derive(Clone, Debug)]
pub struct Told {
    /// [`Problem`]'s.
    pub code: &'static str,
    /// [`Problem`]'s.
    pub detail: String,
}

impl Problem {
    /// A refusal with a status, a code and what it is about.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            code,
            detail: detail.into().into_boxed_str(),
            errors: Vec::new(),
            existing: None,
            retry: false,
        }
    }

    /// A 400 that names fields.
    pub fn fields(code: &'static str, mut errors: Vec<FieldError>) -> Self {
        errors.truncate(MAX_FIELDS);
        let detail: Vec<_> = errors.iter().map(ToString::to_string).collect();
        Self {
            errors,
            ..Self::new(StatusCode::BAD_REQUEST, code, detail.join("; "))
        }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
    }

    /// What went wrong: for programs, and for people.
    pub fn told(&self) -> Told {
        Told {
            code: self.code,
            detail: self.detail.to_string(),
        }
    }

    /// Names the entry that is there already.
    pub fn existing(self, id: EntryId) -> Self {
        Self {
            existing: Some(id),
            ..self
        }
    }
}

impl From<EdgeFailure> for Problem {
    fn from(failure: EdgeFailure) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self {
            retry: matches!(failure, EdgeFailure::Timeout | EdgeFailure::Unavailable),
            ..Self::new(status, failure.code(), failure.to_string())
        }
    }
}

impl From<QuotaFailure> for Problem {
    fn from(failure: QuotaFailure) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self {
            retry: true,
            ..Self::new(status, failure.code(), failure.to_string())
        }
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        let detail = match failure {
            Failure::StoreTimeout => "the store did not answer within the budget",
            Failure::StoreUnavailable => "the store failed",
            Failure::StoreOpen => "the store failed lately and was not asked",
            Failure::Overloaded => "too many calls are waiting",
            Failure::StoreFull => "the store holds as many keys as it may",
        };
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, failure.code(), detail);
        Self {
            retry: true,
            ..problem
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, told) = (self.status(), self.told());
        let retry = self.retry;
        let mut response = (status, Json(self)).into_response();
        response.extensions_mut().insert(told);
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if retry {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// A JSON body; what is wrong with it is told as a [`Problem`].
pub struct Body<T>(pub T);

impl<S: Send + Sync, T: serde::de::DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    /// A body of the usual type is read at once. Only one that is wrong is read as axum does, which knows the path to
    /// the error and takes three times as long.
    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let media_type = request.headers().get(header::CONTENT_TYPE);
        let read = if media_type.is_some_and(|media_type| media_type == "application/json") {
            match Bytes::from_request(request, state).await {
                Ok(bytes) => match serde_json::from_slice(&bytes) {
                    Ok(body) => return Ok(Self(body)),
                    Err(_) => Json::from_bytes(&bytes),
                },
                Err(rejection) => Err(rejection.into()),
            }
        } else {
            Json::from_request(request, state).await
        };
        read.map(|Json(body)| Self(body)).map_err(rejected)
    }
}

fn rejected(rejection: JsonRejection) -> Problem {
    let code = match (&rejection, rejection.status()) {
        (_, StatusCode::PAYLOAD_TOO_LARGE) => "body_too_large",
        (JsonRejection::MissingJsonContentType(_), _) => "not_json",
        _ => "bad_body",
    };
    let status = match rejection.status() {
        StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
        status => status,
    };
    Problem::new(status, code, rejection.body_text())
}

/// No such path.
pub async fn not_found() -> Problem {
    no_such_path()
}

/// No such path.
pub fn no_such_path() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", "no such path")
}

/// The request took too long, mostly to send its body.
pub fn too_slow() -> Problem {
    let detail = "the request did not end in time";
    Problem::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", detail)
}

/// No such method on this path.
pub async fn method_not_allowed() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "see Allow",
    )
}
