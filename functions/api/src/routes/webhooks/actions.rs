//! What can be done to a webhook beyond changing its settings.

use std::sync::Arc;
use std::time::Duration;

use aws::StoreError;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use domain::signing::secret::WebhookSecret;
use domain::webhook::settings::Direction;
use domain::webhook::{Pause, PreviousSecret, Webhook};
use serde::Deserialize;
use utoipa::ToSchema;

use super::representation::WebhookBody;
use super::{
    Changed, IfMatchHeader, WebhookPath, Write, authorization, change, changed, forgive, input, visible,
    visible_even_deleted, with_secret,
};
use crate::App;
use crate::body::OptionalJson;
use crate::caller::Admin;
use crate::etag::{IfMatch, etag};
use crate::idempotency::Once;
use crate::problem::{Fault, Problem};
use crate::routes::signing_keys;

/// How long the old secret also signs after a rotation, by default.
const OVERLAP_SECONDS: u64 = 24 * 3600;

/// The longest that it may.
const MAX_OVERLAP_SECONDS: u64 = 7 * 24 * 3600;

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
    let record = change(&app, &admin, &id, if_match, |record, app| {
        if record.webhook.settings.direction == Direction::Inbound {
            return Err(Problem::Conflict("an inbound webhook cannot be paused; disable it".to_owned()));
        }
        if record.webhook.pause.is_some() {
            return Ok(Write::Nothing);
        }
        record.webhook.pause = Some(Pause { at: app.clock.now(), by_failures: false });
        Ok(Write::Webhook)
    });
    Ok(changed(&app, record.await?))
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
    let record = change(&app, &admin, &id, if_match, |record, _| match record.webhook.pause.take() {
        Some(_) => Ok(Write::Webhook),
        None => Ok(Write::Nothing),
    });
    Ok(changed(&app, record.await?))
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
    set_enabled(&app, &admin, if_match, &id, true).await
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
    set_enabled(&app, &admin, if_match, &id, false).await
}

async fn set_enabled(app: &App, admin: &Admin, if_match: IfMatch, id: &str, to: bool) -> Result<Changed, Problem> {
    let record = change(app, admin, id, if_match, |record, _| {
        let enabled = &mut record.webhook.settings.enabled;
        Ok(if std::mem::replace(enabled, to) == to { Write::Nothing } else { Write::Webhook })
    });
    Ok(changed(app, record.await?))
}

/// Restores a deleted webhook
///
/// Restores the webhook with its secret while Secrets Manager keeps it (30 days), and afterwards with a new one, which
/// the response contains. If the secret of its authorization is gone, the authorization becomes `null` and must be set
/// again. Restoring a webhook that is not deleted changes nothing.
#[utoipa::path(post, path = "/webhooks/{id}/restore", tag = "Webhooks", params(WebhookPath),
    responses(
        (status = 200, description = "The webhook as it is now", body = WebhookBody),
        (status = 201, description = "The webhook with a new secret", body = super::WebhookWithSecret),
        (status = 409, description = "Too many webhooks", body = super::ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn restore(
    State(app): State<Arc<App>>,
    admin: Admin,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let mut record = visible_even_deleted(&app, &admin, &id).await?;
    let deleted_at = record.webhook.audit.deleted_at;
    if let Some(authorization) = &record.webhook.authorization {
        match app.secrets.restore(&authorization.vault_path, deleted_at).await {
            // Only the caller who provided it can provide it again.
            Err(StoreError::Missing { .. }) if deleted_at.is_some() => record.webhook.authorization = None,
            restored => restored?,
        }
    }
    signing_keys::restore(&app, &record.webhook).await?;
    let made = match app.secrets.restore(&record.webhook.secret.vault_path, deleted_at).await {
        // A delete and a restore at once may have left its secret in the recovery window.
        Ok(()) if deleted_at.is_none() => return Ok(changed(&app, record).into_response()),
        Ok(()) => None,
        Err(StoreError::Missing { .. }) if deleted_at.is_some() => Some(make_secret(&app, &mut record.webhook).await?),
        Err(error) => return Err(error.into()),
    };
    record.webhook.restore(app.clock.now(), &admin.subject);
    forgive(&app, &mut record).await?;
    let now = app.clock.now();
    let limits = app.usage.limits(&record.webhook.tenant, now).await?;
    match app.registry.restore_webhook(&record.webhook, limits.webhooks).await {
        Ok(webhooks) => app.usage.webhooks_added(&record.webhook.tenant, webhooks, now).await,
        Err(StoreError::Conflict { .. }) => return Err(super::contended()),
        Err(error) => {
            if let StoreError::Limit(_) | StoreError::TooHeavy { .. } = error {
                // Certain that the webhook stays deleted, and so must its secrets. Of any other error that is not certain.
                authorization::delete_secrets(&app, &record.webhook).await?;
            }
            if let StoreError::Limit(limit) = error {
                app.usage.webhook_refused(&record.webhook.tenant, limit, now).await;
            }
            return Err(error.into());
        }
    }
    tracing::info!(webhook.id = %record.webhook.id, tenant.id = %record.webhook.tenant, by = admin.subject, "webhook restored");
    let Some(secret) = made else { return Ok(changed(&app, record).into_response()) };
    let body = WebhookBody::new(record, &app.public_url);
    let (headers, kept) = (etag(body.version()), body.clone());
    Ok(Once { status: StatusCode::CREATED, headers, shown: with_secret(body, &secret), kept }.into_response())
}

/// Makes a secret for a webhook that has none any more.
async fn make_secret(app: &App, webhook: &mut Webhook) -> Result<WebhookSecret, Problem> {
    app.spend_secrets(&webhook.tenant, 1).await?;
    let secret = WebhookSecret::from_random(runtime::random::bytes());
    let reference = &mut webhook.secret;
    reference.fingerprint = app.fingerprint_key().await?.fingerprint(&secret);
    reference.format = secret.format();
    reference.previous = None;
    // A try before this one may have come as far as here.
    let kept = (&reference.fingerprint, &secret);
    authorization::keep(app, &reference.vault_path, kept, &webhook.tenant, true).await?;
    Ok(secret)
}

/// How a secret is rotated.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// A secret of your own. Default: a generated secret.
    #[serde(default)]
    #[schema(value_type = Option<String>, min_length = 8, max_length = 400)]
    secret: Option<serde_json::Value>,
    /// How long the old secret signs too, in seconds; up to seven days.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 604_800, default = 86_400)]
    overlap_seconds: Option<u64>,
}

/// Reads for how long what is rotated away signs too.
pub(in crate::routes) fn overlap(seconds: Option<u64>) -> Result<Duration, Problem> {
    match seconds.unwrap_or(OVERLAP_SECONDS) {
        seconds if seconds <= MAX_OVERLAP_SECONDS => Ok(Duration::from_secs(seconds)),
        _ => {
            let detail = format!("must be 0 to {MAX_OVERLAP_SECONDS}");
            Err(Problem::Invalid(vec![Fault::field("/overlap_seconds", detail)]))
        }
    }
}

/// Rotates a webhook's secret
///
/// Both secrets sign until the overlap ends, so that the receiver can change its secret without refusing a delivery.
/// The response is the only one that contains the new secret. A rotation during an overlap ends that overlap: only the
/// last two secrets sign.
#[utoipa::path(post, path = "/webhooks/{id}/secret/rotate", tag = "Webhooks", params(WebhookPath, IfMatchHeader),
    request_body = Option<Rotation>,
    responses((status = 200, description = "The webhook and its new secret", body = super::WebhookWithSecret)))]
pub(crate) async fn rotate(
    State(app): State<Arc<App>>,
    admin: Admin,
    if_match: IfMatch,
    Path(id): Path<String>,
    OptionalJson(rotation): OptionalJson<Rotation>,
) -> Result<Response, Problem> {
    let overlap = overlap(rotation.overlap_seconds)?;
    let record = visible(&app, &admin, &id).await?;
    if_match.check(record.webhook.audit.version)?;
    let secret = match rotation.secret.filter(|text| !text.is_null()) {
        Some(text) => input::read_secret(&text, &mut record.webhook.settings.clone(), true)
            .map_err(|fault| Problem::from(vec![fault]))?,
        None => WebhookSecret::from_random(runtime::random::bytes()),
    };
    let fingerprint = app.fingerprint_key().await?.fingerprint(&secret);
    app.spend_secrets(&admin.tenant, 1).await?;
    // The secret first, next to those that sign: whichever of them the webhook names exists.
    let reference = &record.webhook.secret;
    let named = Some(&reference.fingerprint);
    let staged = app.secrets.stage(&reference.vault_path, named, (&fingerprint, &secret)).await?;
    let record = change(&app, &admin, &id, if_match, |record, app| {
        let reference = &mut record.webhook.secret;
        let until = app.clock.now() + overlap;
        let before = std::mem::replace(&mut reference.fingerprint, fingerprint.clone());
        reference.previous = (!overlap.is_zero()).then_some(PreviousSecret { fingerprint: before, until });
        reference.format = secret.format();
        Ok(Write::Webhook)
    });
    let record = record.await?;
    if let Err(error) = app.secrets.promote(staged).await {
        // It is found where it waits, the caller must not miss it, and the next rotation does this first.
        tracing::warn!(webhook.id = %record.webhook.id, %error, "a new secret was not made the current one");
    }
    let body = WebhookBody::new(record, &app.public_url);
    let (headers, kept) = (etag(body.version()), body.clone());
    Ok(Once { status: StatusCode::OK, headers, shown: with_secret(body, &secret), kept }.into_response())
}
