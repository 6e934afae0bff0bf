//! `/webhooks`: registrations. For an admin of the tenant.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use domain::event::EventType;
use domain::id::WebhookId;
use domain::retry::{RetryPolicy, RetryPolicyError};
use domain::secret::{Fingerprint, WebhookSecret, vault_path};
use domain::signature::SignatureScheme;
use domain::target::TargetPolicy;
use domain::tenant::{AppId, TenantId};
use domain::webhook::{Audit, MAX_EVENT_TYPES, MAX_NAME_CHARACTERS, Webhook};
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};

use crate::App;
use crate::body::{JsonBody, Query};
use crate::caller::Admin;
use crate::page::Page;
use crate::problem::{Fault, Problem};

/// What a caller says of a new webhook.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewWebhook {
    name: String,
    url: String,
    event_types: Vec<String>,
    #[serde(default)]
    signature_scheme: SignatureScheme,
    #[serde(default = "yes")]
    enabled: bool,
    #[serde(default)]
    retry_policy: RetryPolicy,
}

fn yes() -> bool {
    true
}

/// A webhook, as it goes over the wire.
#[derive(Debug, Serialize)]
pub struct WebhookBody {
    id: WebhookId,
    tenant_id: TenantId,
    app_id: Option<AppId>,
    name: String,
    direction: &'static str,
    url: String,
    event_types: Vec<EventType>,
    signature_scheme: SignatureScheme,
    vault_path: String,
    secret_fingerprint: Fingerprint,
    enabled: bool,
    is_active: bool,
    retry_policy: RetryPolicy,
    version: u64,
    created_at: Timestamp,
    created_by: String,
    updated_at: Timestamp,
    updated_by: String,
}

/// A new webhook, with its secret: the only time that it is shown.
#[derive(Debug, Serialize)]
pub struct CreatedWebhook {
    #[serde(flatten)]
    webhook: WebhookBody,
    secret: String,
}

/// A page of webhooks.
#[derive(Debug, Serialize)]
pub struct WebhookList {
    data: Vec<WebhookBody>,
    next_cursor: Option<WebhookId>,
}

/// What of a new webhook was checked.
struct Checked {
    event_types: Vec<EventType>,
}

impl NewWebhook {
    fn check(&self, targets: &TargetPolicy) -> Result<Checked, Problem> {
        let mut faults = Vec::new();
        if self.name.trim().is_empty() || self.name.chars().count() > MAX_NAME_CHARACTERS {
            faults.push(Fault::field("/name", format!("must be 1 to {MAX_NAME_CHARACTERS} characters")));
        }
        if let Err(error) = targets.parse(&self.url) {
            faults.push(Fault::field("/url", error));
        }
        if !(1..=MAX_EVENT_TYPES).contains(&self.event_types.len()) {
            faults.push(Fault::field("/event_types", format!("must name 1 to {MAX_EVENT_TYPES} event types")));
        }
        let mut event_types: Vec<EventType> = Vec::new();
        for (index, text) in self.event_types.iter().enumerate() {
            match text.parse() {
                Ok(event_type) if event_types.contains(&event_type) => {}
                Ok(event_type) => event_types.push(event_type),
                Err(error) => faults.push(Fault::field(&format!("/event_types/{index}"), error)),
            }
        }
        if let Err(error) = self.retry_policy.validate() {
            let field = match error {
                RetryPolicyError::MaxAttempts => "/retry_policy/maxAttempts",
                RetryPolicyError::TimeoutMs => "/retry_policy/timeoutMs",
            };
            faults.push(Fault::field(field, error));
        }
        if faults.is_empty() { Ok(Checked { event_types }) } else { Err(Problem::Invalid(faults)) }
    }
}

impl From<Webhook> for WebhookBody {
    fn from(webhook: Webhook) -> Self {
        let is_active = webhook.is_active();
        Self {
            id: webhook.id,
            tenant_id: webhook.tenant,
            app_id: webhook.app,
            name: webhook.name,
            direction: "outbound",
            url: webhook.url,
            event_types: webhook.event_types,
            signature_scheme: webhook.signature_scheme,
            vault_path: webhook.vault_path,
            secret_fingerprint: webhook.secret_fingerprint,
            enabled: webhook.enabled,
            is_active,
            retry_policy: webhook.retry_policy,
            version: webhook.audit.version,
            created_at: webhook.audit.created_at,
            created_by: webhook.audit.created_by,
            updated_at: webhook.audit.updated_at,
            updated_by: webhook.audit.updated_by,
        }
    }
}

/// `POST /webhooks`: registers a webhook. Its secret is in the answer, and never again.
///
/// The secret is stored first: a webhook without one could not be delivered to, a secret without a webhook is only waste,
/// and is deleted if the second step fails.
pub(super) async fn create(
    State(app): State<Arc<App>>,
    admin: Admin,
    JsonBody(new): JsonBody<NewWebhook>,
) -> Result<(StatusCode, Json<CreatedWebhook>), Problem> {
    let Checked { event_types } = new.check(&app.targets)?;
    let now = app.clock.now();
    let id = WebhookId::from_parts(now, runtime::random::bits());
    let secret = WebhookSecret::from_random(runtime::random::bytes());
    let webhook = Webhook {
        id,
        vault_path: vault_path(&app.secrets_prefix, &admin.tenant, id),
        secret_fingerprint: app.fingerprint_key().await?.fingerprint(&secret),
        tenant: admin.tenant,
        app: admin.app,
        name: new.name,
        url: new.url,
        event_types,
        signature_scheme: new.signature_scheme,
        enabled: new.enabled,
        retry_policy: new.retry_policy,
        audit: Audit::created(now, &admin.subject),
    };
    app.secrets.create(&webhook.vault_path, &secret, &webhook.tenant).await?;
    if let Err(error) = app.registry.write_webhook(&webhook).await {
        if let Err(error) = app.secrets.delete(&webhook.vault_path).await {
            tracing::warn!(%error, vault_path = webhook.vault_path, "a secret without a webhook is left");
        }
        return Err(error.into());
    }
    tracing::info!(webhook.id = %id, tenant.id = %webhook.tenant, by = admin.subject, "webhook created");
    let secret = secret.to_text().expose_secret().to_owned();
    Ok((StatusCode::CREATED, Json(CreatedWebhook { webhook: webhook.into(), secret })))
}

/// `GET /webhooks`: lists the tenant's webhooks, oldest first; with an application's token, that application's.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    admin: Admin,
    Query(page): Query<Page>,
) -> Result<Json<WebhookList>, Problem> {
    let (cursor, limit) = page.read()?;
    let page = app.registry.webhooks(&admin.tenant, admin.app.as_ref(), cursor, limit).await?;
    let next_cursor = page.webhooks.last().filter(|_| page.more).map(|webhook| webhook.id);
    Ok(Json(WebhookList { data: page.webhooks.into_iter().map(WebhookBody::from).collect(), next_cursor }))
}

/// `GET /webhooks/{id}`.
pub(super) async fn get(
    State(app): State<Arc<App>>,
    admin: Admin,
    Path(id): Path<String>,
) -> Result<Json<WebhookBody>, Problem> {
    Ok(Json(visible(&app, &admin, &id).await?.into()))
}

/// `DELETE /webhooks/{id}`: ends a webhook. Its secret goes into Secrets Manager's recovery window, and deliveries that are
/// still waiting are cancelled.
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    admin: Admin,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let mut webhook = visible(&app, &admin, &id).await?;
    webhook.delete(app.clock.now(), &admin.subject);
    app.registry.write_webhook(&webhook).await.map_err(|error| match error {
        aws::StoreError::Conflict { .. } => {
            Problem::Conflict("the webhook was changed meanwhile; try again".to_owned())
        }
        other @ (aws::StoreError::Missing { .. }
        | aws::StoreError::Unavailable(_)
        | aws::StoreError::Inconsistent { .. }) => other.into(),
    })?;
    app.secrets.delete(&webhook.vault_path).await?;
    tracing::info!(webhook.id = %webhook.id, tenant.id = %webhook.tenant, by = admin.subject, "webhook deleted");
    Ok(StatusCode::NO_CONTENT)
}

/// Returns the webhook if the caller may see it. An id that is none, a deleted webhook, another tenant's and another
/// application's are all the same: not found.
pub(super) async fn visible(app: &App, admin: &Admin, id: &str) -> Result<Webhook, Problem> {
    let not_found = || Problem::NotFound("webhook");
    let id = id.parse().map_err(|_| not_found())?;
    let webhook = app.registry.webhook(&admin.tenant, id).await?.ok_or_else(not_found)?;
    let theirs = admin.app.is_none() || webhook.app == admin.app;
    if theirs && !webhook.is_deleted() { Ok(webhook) } else { Err(not_found()) }
}
