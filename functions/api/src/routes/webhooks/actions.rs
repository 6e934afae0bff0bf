//! `/webhooks/{id}/…`: operations on a webhook other than changing its settings.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use domain::value::Value;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::App;
use crate::body::OptionalJson;
use crate::caller::Admin;
use crate::etag::IfMatch;
use crate::idempotency::FirstTry;
use crate::parameters::{IfMatchHeader, WebhookPath};
use crate::problem::{Problem, ProblemBody};
use crate::registration::lifecycle;
use crate::registration::representation::WebhookBody;
use crate::registration::warnings::WebhookWithSecret;
use crate::responses::{Changed, changed, with_secret};

/// Pauses a webhook
///
/// Its deliveries wait, and none is lost. Pausing a paused webhook changes nothing.
#[utoipa::path(post, path = "/webhooks/{id}/pause", tag = "Webhooks", params(WebhookPath, IfMatchHeader),
    responses((status = 200, description = "The webhook as it is now", body = WebhookBody)))]
pub(crate) async fn pause(
    State(app): State<Arc<App>>,
    admin: Admin,
    if_match: IfMatch,
    Path(id): Path<String>,
) -> Result<Changed, Problem> {
    Ok(changed(&app, lifecycle::pause(&app, &admin, &id, if_match).await?).await)
}

/// Resumes a webhook
///
/// Resumes a webhook that was paused manually or by too many failures, and resets its failures. Waiting deliveries are
/// sent within a minute.
#[utoipa::path(post, path = "/webhooks/{id}/resume", tag = "Webhooks", params(WebhookPath, IfMatchHeader),
    responses((status = 200, description = "The webhook as it is now", body = WebhookBody)))]
pub(crate) async fn resume(
    State(app): State<Arc<App>>,
    admin: Admin,
    if_match: IfMatch,
    Path(id): Path<String>,
) -> Result<Changed, Problem> {
    Ok(changed(&app, lifecycle::resume(&app, &admin, &id, if_match).await?).await)
}

/// Enables a webhook
#[utoipa::path(post, path = "/webhooks/{id}/enable", tag = "Webhooks", params(WebhookPath, IfMatchHeader),
    responses((status = 200, description = "The webhook as it is now", body = WebhookBody)))]
pub(crate) async fn enable(
    State(app): State<Arc<App>>,
    admin: Admin,
    if_match: IfMatch,
    Path(id): Path<String>,
) -> Result<Changed, Problem> {
    Ok(changed(&app, lifecycle::set_enabled(&app, &admin, &id, if_match, true).await?).await)
}

/// Disables a webhook
///
/// The webhook gets no more events, and its waiting deliveries are cancelled. Pause it instead to keep them.
#[utoipa::path(post, path = "/webhooks/{id}/disable", tag = "Webhooks", params(WebhookPath, IfMatchHeader),
    responses((status = 200, description = "The webhook as it is now", body = WebhookBody)))]
pub(crate) async fn disable(
    State(app): State<Arc<App>>,
    admin: Admin,
    if_match: IfMatch,
    Path(id): Path<String>,
) -> Result<Changed, Problem> {
    Ok(changed(&app, lifecycle::set_enabled(&app, &admin, &id, if_match, false).await?).await)
}

/// Restores a deleted webhook
///
/// Restores the webhook with its secret while that is kept (30 days), and afterwards with a new one, which
/// the response contains. If the secret of its authorization is gone, the authorization becomes `null` and must be set
/// again. Restoring a webhook that is not deleted changes nothing.
#[utoipa::path(post, path = "/webhooks/{id}/restore", tag = "Webhooks", params(WebhookPath),
    responses(
        (status = 200, description = "The webhook as it is now", body = WebhookBody),
        (status = 201, description = "The webhook with a new secret", body = WebhookWithSecret),
        (status = 409, description = "Too many webhooks", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn restore(
    State(app): State<Arc<App>>,
    admin: Admin,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let (record, secret) = lifecycle::restore(&app, &admin, &id).await?;
    Ok(match secret {
        Some(secret) => with_secret(&app, record, &secret, Vec::new(), StatusCode::CREATED).await.into_response(),
        None => changed(&app, record).await.into_response(),
    })
}

/// How a secret is rotated.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// A secret of your own. Default: a generated secret.
    #[serde(default)]
    #[schema(value_type = Option<String>, min_length = 8, max_length = 400)]
    secret: Option<Value>,
    /// How long the old secret signs too, in seconds; up to seven days.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 604_800, default = 86_400)]
    overlap_seconds: Option<u64>,
}

/// Rotates a webhook's secret
///
/// Both secrets sign until the overlap ends, so that the receiver can change its secret without refusing a delivery. No
/// other response contains the new secret. A rotation during an overlap ends that overlap: only the last two secrets
/// sign. A rotation to the current secret changes nothing.
#[utoipa::path(post, path = "/webhooks/{id}/secret/rotate", tag = "Webhooks", params(WebhookPath, IfMatchHeader),
    request_body = Option<Rotation>,
    responses((status = 200, description = "The webhook and its new secret", body = WebhookWithSecret)))]
pub(crate) async fn rotate(
    State(app): State<Arc<App>>,
    admin: Admin,
    if_match: IfMatch,
    first_try: Option<Extension<FirstTry>>,
    Path(id): Path<String>,
    OptionalJson(rotation): OptionalJson<Rotation>,
) -> Result<Response, Problem> {
    let Rotation { secret, overlap_seconds } = rotation;
    let first_try = first_try.as_deref();
    let (record, secret) = lifecycle::rotate(&app, &admin, &id, if_match, secret, overlap_seconds, first_try).await?;
    Ok(with_secret(&app, record, &secret, Vec::new(), StatusCode::OK).await.into_response())
}
