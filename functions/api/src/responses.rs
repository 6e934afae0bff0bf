//! Responses that several routes give.

use aws::registry::WebhookRecord;
use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use domain::signing::secret::WebhookSecret;

use crate::App;
use crate::etag::etag;
use crate::idempotency::ShownOnce;
use crate::registration::health;
use crate::registration::representation::WebhookBody;
use crate::registration::warnings::{ChangedWebhook, Warning, WebhookWithSecret};

/// A webhook, with its version as the entity tag.
pub(crate) type Changed = ([(HeaderName, HeaderValue); 1], Json<WebhookBody>);

pub(crate) async fn changed(app: &App, record: WebhookRecord) -> Changed {
    let body = shown(app, record).await;
    (etag(body.version()), Json(body))
}

/// Returns what responses show of a webhook.
async fn shown(app: &App, record: WebhookRecord) -> WebhookBody {
    let health = health::of(app, &record).await;
    WebhookBody::new(record, health, &app.public_url)
}

/// A changed webhook with warnings, and its version as the entity tag.
pub(crate) type ChangedWithWarnings = ([(HeaderName, HeaderValue); 1], Json<ChangedWebhook>);

pub(crate) async fn with_warnings(app: &App, record: WebhookRecord, warnings: Vec<Warning>) -> ChangedWithWarnings {
    let webhook = shown(app, record).await;
    (etag(webhook.version()), Json(ChangedWebhook { webhook, warnings }))
}

/// Returns a webhook with its secret. Only the webhook is stored for the idempotency key.
pub(crate) async fn with_secret(
    app: &App,
    record: WebhookRecord,
    secret: &WebhookSecret,
    warnings: Vec<Warning>,
    status: StatusCode,
) -> ShownOnce<WebhookWithSecret, WebhookBody> {
    let body = shown(app, record).await;
    let shown = WebhookWithSecret::new(body.clone(), secret, warnings);
    ShownOnce { status, headers: etag(body.version()), kept: body, shown }
}
