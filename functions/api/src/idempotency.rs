//! `Idempotency-Key`: a POST runs once, and a repeated one gets the first response.

use std::sync::Arc;

use aws::registry::{Claim, IdempotencyKey, StoredResponse};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use domain::id::{ApiKeyId, EventId, JobId, PortalLinkId, WebhookId};
use domain::joined::digest;
use jiff::Timestamp;
use serde::Serialize;

use crate::App;
use crate::body::MAX_BODY_BYTES;
use crate::caller::{Allowed, route};
use crate::problem::{Fault, Problem};

const HEADER: HeaderName = HeaderName::from_static("idempotency-key");

/// Marks a response that was stored by an earlier request.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// POST routes that change nothing. Their responses may be large, and are not stored.
pub(crate) const READ_ONLY_POSTS: [&str; 5] = [
    "/webhooks/preview",
    "/webhooks/{id}/preview",
    "/webhooks/{id}/explain",
    "/webhooks/{id}/dry-run",
    "/sources/{table}/preview",
];

/// The longest key, in bytes.
const MAX_KEY_BYTES: usize = 255;

/// The first try of a request with a key. What is derived from it is the same in every later try.
#[derive(Debug, Clone)]
pub(crate) struct FirstTry {
    at: Timestamp,
    scope: String,
    key: String,
    /// Whether this is a later try.
    is_later: bool,
}

impl FirstTry {
    /// Returns the id of the webhook that the request creates.
    pub(crate) fn webhook_id(&self) -> WebhookId {
        WebhookId::derive(self.at, &[&self.scope, &self.key])
    }

    /// Returns the id of the job that the request starts.
    pub(crate) fn job_id(&self) -> JobId {
        JobId::derive(self.at, &[&self.scope, &self.key])
    }

    /// Returns the id of the API key that the request creates.
    pub(crate) fn api_key_id(&self) -> ApiKeyId {
        ApiKeyId::derive(self.at, &[&self.scope, &self.key])
    }

    /// Returns the id of the portal link that the request creates.
    pub(crate) fn portal_link_id(&self) -> PortalLinkId {
        PortalLinkId::derive(self.at, &[&self.scope, &self.key])
    }

    /// Identifies the rotation of a secret or a key that the request makes.
    pub(crate) fn rotation(&self) -> String {
        digest(&[&self.scope, &self.key, &self.at().to_string()])
    }

    /// Returns the id of the event that the request publishes at that index.
    pub(crate) fn event_id(&self, index: usize) -> EventId {
        EventId::derive(self.at(), &[&self.scope, &self.key, &index.to_string()])
    }

    /// Returns whether this is a later try. The first one may have done something. It has ended, because Lambda ends a
    /// request before a later try may run.
    pub(crate) fn is_later(&self) -> bool {
        self.is_later
    }

    /// Returns when the first try was made, to the millisecond, because later tries know the time only that exactly.
    pub(crate) fn at(&self) -> Timestamp {
        Timestamp::from_millisecond(self.at.as_millisecond()).unwrap_or(self.at)
    }
}

/// A response with a secret that is shown once. The copy that is stored for repeated requests has no secret.
pub(crate) struct ShownOnce<T, R> {
    pub(crate) status: StatusCode,
    pub(crate) headers: [(HeaderName, HeaderValue); 1],
    /// The response, with the secret.
    pub(crate) shown: T,
    /// The stored copy, without the secret.
    pub(crate) kept: R,
}

#[derive(Clone)]
struct Kept(String);

impl<T: Serialize, R: Serialize> IntoResponse for ShownOnce<T, R> {
    fn into_response(self) -> Response {
        let kept = serde_json::to_string(&self.kept).unwrap_or_default();
        let mut response = (self.status, self.headers, axum::Json(self.shown)).into_response();
        response.extensions_mut().insert(Kept(kept));
        response
    }
}

/// Runs a POST with a key once. This layer is inside [`access`](crate::access), so that only a caller who may make the
/// request gets the stored response.
pub(crate) async fn layer(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let key = match key(request.headers()) {
        Ok(Some(key)) if request.method() == Method::POST => key,
        Ok(_) => return next.run(request).await,
        Err(problem) => return problem.into_response(),
    };
    let (mut parts, body) = request.into_parts();
    if READ_ONLY_POSTS.contains(&route(&parts)) {
        return next.run(Request::from_parts(parts, body)).await;
    }
    let Some(Allowed(caller)) = parts.extensions.get::<Allowed>() else {
        // Without a caller there are no keys, and the handler answers 401.
        return next.run(Request::from_parts(parts, body)).await;
    };
    // The digest is unambiguous, so that no two callers have the same scope. It must not change between versions,
    // because a retry may come after an update.
    let caller = [caller.tenant.as_deref(), caller.app.as_deref(), Some(caller.subject.as_str())];
    let scope = digest(&caller.map(Option::unwrap_or_default));
    let Ok(body) = axum::body::to_bytes(body, MAX_BODY_BYTES).await else {
        return Problem::TooLarge(MAX_BODY_BYTES).into_response();
    };
    let path = parts.uri.path().to_owned();
    let claimed = IdempotencyKey {
        scope,
        key: digest(&[&path, &key]),
        // A keyed hash like a fingerprint, because the body may contain a secret that can be guessed.
        request: match app.fingerprint_key().await {
            Ok(key) => key.digest("idempotency", &[path.as_bytes(), b"\n", &body]),
            Err(error) => return Problem::from(error).into_response(),
        },
    };
    let now = app.clock.now();
    match app.registry.claim(&claimed, now).await {
        Err(error) => Problem::from(error).into_response(),
        Ok(Claim::Another) => Problem::KeyReused.into_response(),
        Ok(Claim::Running) => Problem::KeyInUse.into_response(),
        Ok(Claim::Answered(response)) => replay(response),
        Ok(Claim::Ours(at)) => {
            let is_later = at.as_millisecond() < now.as_millisecond();
            let (scope, key) = (claimed.scope.clone(), claimed.key.clone());
            parts.extensions.insert(FirstTry { at, scope, key, is_later });
            let response = next.run(Request::from_parts(parts, Body::from(body))).await;
            keep(&app, &claimed, response, is_later).await
        }
    }
}

fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(HEADER) else { return Ok(None) };
    // `to_str` alone would accept tabs.
    let printable = value.as_bytes().iter().all(|byte| matches!(byte, b' '..=b'~'));
    let text = value.to_str().unwrap_or_default();
    if printable && (1..=MAX_KEY_BYTES).contains(&text.len()) {
        return Ok(Some(text.to_owned()));
    }
    let detail = format!("must be 1 to {MAX_KEY_BYTES} printable ASCII characters");
    Err(Problem::Invalid(vec![Fault::header("Idempotency-Key", detail)]))
}

/// Stores the response of a successful request, and releases the key if the request certainly changed nothing. A
/// refused retry does not prove that: an earlier try may have succeeded, and the next try must find its result.
async fn keep(app: &App, claimed: &IdempotencyKey, response: Response, is_another_try: bool) -> Response {
    if response.status().is_server_error() {
        // The outcome is unknown. The key stays claimed, so that the next try finds what this one created.
        return response;
    }
    if !response.status().is_success() {
        if is_another_try {
            return response;
        }
        if let Err(error) = app.registry.unclaim(claimed).await {
            tracing::warn!(%error, "an idempotency key stays taken although its request failed; a retry is refused until the key expires");
        }
        return response;
    }
    let (parts, body) = response.into_parts();
    let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let kept = parts.extensions.get::<Kept>().map(|kept| kept.0.clone());
    let headers = [header::CONTENT_TYPE, header::ETAG, header::LOCATION].into_iter().filter_map(|name| {
        let value = parts.headers.get(&name)?.to_str().ok()?;
        Some((name.to_string(), value.to_owned()))
    });
    let stored = StoredResponse {
        status: parts.status.as_u16(),
        headers: headers.collect(),
        body: kept.unwrap_or_else(|| String::from_utf8_lossy(&body).into_owned()),
    };
    if let Err(error) = app.registry.answer(claimed, &stored).await {
        tracing::warn!(%error, "the response to a request with an idempotency key was not stored; a retry does not get it");
    }
    Response::from_parts(parts, Body::from(body))
}

fn replay(stored: StoredResponse) -> Response {
    let status = StatusCode::from_u16(stored.status).unwrap_or(StatusCode::OK);
    let mut response = (status, stored.body).into_response();
    for (name, value) in stored.headers {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(&value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::a_tab("order\t1")]
    #[case::nothing("")]
    #[case::not_ascii("order\u{e9}")]
    #[case::too_long(&"k".repeat(MAX_KEY_BYTES + 1))]
    fn a_key_that_the_contract_refuses_is_refused(#[case] value: &str) {
        let headers =
            HeaderMap::from_iter([(HEADER, HeaderValue::from_bytes(value.as_bytes()).expect("a header's value"))]);
        let problem = key(&headers).expect_err("no key");
        assert!(matches!(&problem, Problem::Invalid(faults) if faults.len() == 1), "{problem:?}");
    }

    #[test]
    fn a_key_is_taken_as_it_is() {
        let value = format!("order 1{}", "~".repeat(MAX_KEY_BYTES - 7));
        let headers = HeaderMap::from_iter([(HEADER, HeaderValue::from_str(&value).expect("a header's value"))]);
        assert_eq!(key(&headers).expect("a key"), Some(value));
    }
}
