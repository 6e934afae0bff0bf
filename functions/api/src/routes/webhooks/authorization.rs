//! `/webhooks/{id}/authorization`: sets, reads (without the secret) and removes a webhook's authorization.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use domain::value::{Map, Value};
use domain::webhook::Webhook;
use domain::webhook::authorization::Authorization;

use crate::App;
use crate::body::JsonBody;
use crate::caller::Admin;
use crate::etag::{IfMatch, etag};
use crate::parameters::{IfMatchHeader, WebhookPath};
use crate::problem::Problem;
use crate::registration::schemas::AuthorizationWithSecret;
use crate::registration::{authorization, visible};

type Shown = ([(HeaderName, HeaderValue); 1], Json<Authorization>);

fn shown(webhook: Webhook) -> Result<Shown, Problem> {
    let authorization = webhook.authorization.ok_or(Problem::NotFound("authorization"))?;
    Ok((etag(webhook.audit.version), Json(authorization)))
}

/// Sets a webhook's authorization
///
/// Applies to every request from the next attempt on, and replaces what was set before. The secret is stored encrypted
/// and never shown again. The webhook's version increases, unless nothing changes. The credential is sent only
/// to the scheme, host and port of the webhook's current `url`; `PATCH` with `url` and `authorization` changes both at
/// once.
#[utoipa::path(put, path = "/webhooks/{id}/authorization", tag = "Webhooks", params(WebhookPath, IfMatchHeader),
    request_body = AuthorizationWithSecret,
    responses((status = 200, description = "The authorization without its secret; the `ETag` is the webhook's version", body = Authorization)))]
pub(crate) async fn put_authorization(
    State(app): State<Arc<App>>,
    admin: Admin,
    if_match: IfMatch,
    Path(id): Path<String>,
    JsonBody(given): JsonBody<Map>,
) -> Result<Shown, Problem> {
    // On the heap, because the future of a change to a webhook is large.
    let given = Value::Map(given);
    let put = Box::pin(authorization::put(&app, &admin, &id, if_match, &given));
    shown(put.await?.webhook)
}

/// Reads a webhook's authorization
///
/// The response does not contain the secret.
#[utoipa::path(get, path = "/webhooks/{id}/authorization", tag = "Webhooks", params(WebhookPath),
    responses((status = 200, description = "The authorization; the `ETag` is the webhook's version", body = Authorization)))]
pub(crate) async fn get_authorization(
    State(app): State<Arc<App>>,
    admin: Admin,
    Path(id): Path<String>,
) -> Result<Shown, Problem> {
    shown(visible(&app, &admin, &id).await?.webhook)
}

/// Removes a webhook's authorization
///
/// From the next attempt on, requests have no `Authorization` header. The secret is kept for 30 days.
#[utoipa::path(delete, path = "/webhooks/{id}/authorization", tag = "Webhooks", params(WebhookPath, IfMatchHeader),
    responses((status = 204, description = "It is removed")))]
pub(crate) async fn delete_authorization(
    State(app): State<Arc<App>>,
    admin: Admin,
    if_match: IfMatch,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    authorization::remove(&app, &admin, &id, if_match).await?;
    Ok(StatusCode::NO_CONTENT)
}
