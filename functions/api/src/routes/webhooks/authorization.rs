//! How a webhook's requests are authorized: set, shown without its secret, and removed.

use std::sync::Arc;

use aws::StoreError;
use aws::registry::WebhookRecord;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use domain::access::tenant::TenantId;
use domain::fault::FieldError;
use domain::signing::secret::{Fingerprint, WebhookSecret};
use domain::webhook::Webhook;
use domain::webhook::authorization::origin::{Origin, SetBy};
use domain::webhook::authorization::{Authorization, ClientAuthentication, NewAuthorization};
use domain::webhook::settings::Direction;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::input::Input;
use super::{IfMatchHeader, WebhookPath, Write, change, visible};
use crate::App;
use crate::body::JsonBody;
use crate::caller::Admin;
use crate::etag::{IfMatch, etag};
use crate::problem::Problem;
use crate::routes::signing_keys;

/// An authorization with its secret. Only documents the form: the domain reads it, so that no error shows a value.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
#[schema(as = NewAuthorization)]
pub enum AuthorizationWithSecret {
    /// A user name and a password.
    Basic {
        /// The user name, without a colon. It is not secret: it is stored in plain text.
        #[schema(min_length = 1, max_length = 255)]
        username: String,
        /// The password.
        #[schema(min_length = 1, max_length = 4096)]
        password: String,
    },
    /// A fixed token.
    Bearer {
        /// The token, without `Bearer`.
        #[schema(min_length = 1, max_length = 4096, pattern = "^[!-~]+$")]
        token: String,
    },
    /// A token that an authorization server issues for client credentials.
    OAuth2 {
        /// Where tokens are fetched. The same restrictions apply as to the webhook's `url`.
        #[schema(max_length = 2048, examples("https://login.example.com/oauth2/token"))]
        token_url: String,
        /// The client's id at the authorization server.
        #[schema(min_length = 1, max_length = 255)]
        client_id: String,
        /// The client's secret.
        #[schema(min_length = 1, max_length = 4096)]
        client_secret: String,
        /// The scopes of the token, separated by single spaces.
        #[schema(min_length = 1, max_length = 1024)]
        scope: Option<String>,
        /// The audience of the token, if the server requires one.
        #[schema(min_length = 1, max_length = 255)]
        audience: Option<String>,
        /// Where the token request carries the client's id and secret.
        #[serde(default)]
        #[schema(inline)]
        client_authentication: ClientAuthentication,
    },
}

/// Reads what an outbound webhook is to have.
pub(super) fn read(app: &App, direction: Direction, given: Value) -> Result<NewAuthorization, Vec<FieldError>> {
    if direction == Direction::Inbound {
        let detail = "is for outbound webhooks: an inbound webhook sends nothing";
        return Err(vec![FieldError::new("", detail)]);
    }
    NewAuthorization::read(given, &app.targets)
}

/// Returns the authorization that a webhook will name, and its secret. The credential is bound to the origin of the
/// webhook's URL.
pub(super) async fn named(
    app: &App,
    set_by: SetBy,
    webhook: &Webhook,
    new: NewAuthorization,
) -> Result<(Authorization, WebhookSecret), Problem> {
    let fingerprint = app.fingerprint_key().await?.fingerprint(&new.secret);
    let vault_path = webhook.secret.authorization_path();
    let for_origin = Origin::of(&webhook.settings.url);
    Ok((Authorization { method: new.method, vault_path, fingerprint, for_origin, set_by }, new.secret))
}

/// Says who gives what the caller brings.
pub(super) fn by(admin: &Admin) -> SetBy {
    if admin.app.is_some() { SetBy::Application } else { SetBy::Tenant }
}

/// What a change of a webhook says of its authorization.
#[derive(Debug)]
pub(super) enum Brought {
    /// Nothing: it stays, if the rest of the change lets it.
    Nothing,
    /// It is removed.
    Removed,
    /// Another one, or the same one once more.
    New(NewAuthorization),
}

impl Brought {
    /// Takes it out of the body of a change. What `GET` showed says nothing when it comes back.
    /// Its faults are returned with it, so that they can be shown with those of the rest.
    pub(super) async fn take(
        app: &App,
        admin: &Admin,
        id: &str,
        input: &mut Input,
    ) -> Result<(Self, Vec<FieldError>), Problem> {
        let Some(given) = input.remove("authorization") else { return Ok((Self::Nothing, Vec::new())) };
        let webhook = visible(app, admin, id).await?.webhook;
        let shown = serde_json::to_value(&webhook.authorization).unwrap_or_default();
        // Without what is noted of it: a caller may send back what an earlier version showed.
        Ok(if without_notes(shown) == without_notes(given.clone()) {
            (Self::Nothing, Vec::new())
        } else if given.is_null() {
            (Self::Removed, Vec::new())
        } else {
            match read(app, webhook.settings.direction, given) {
                Ok(new) => (Self::New(new), Vec::new()),
                Err(faults) => (Self::Nothing, faults.into_iter().map(|fault| fault.below("/authorization")).collect()),
            }
        })
    }
}

fn without_notes(mut shown: Value) -> Value {
    if let Some(fields) = shown.as_object_mut() {
        fields.retain(|name, _| !["for_origin", "set_by"].contains(&name.as_str()));
    }
    shown
}

/// Changes a webhook, and in the same write its authorization as the caller says.
pub(super) async fn change_bringing(
    app: &App,
    admin: &Admin,
    id: &str,
    if_match: IfMatch,
    brought: Brought,
    apply: impl Fn(&mut WebhookRecord, &App) -> Result<Write, Problem>,
) -> Result<WebhookRecord, Problem> {
    match brought {
        Brought::Nothing => change(app, admin, id, if_match, apply).await,
        Brought::New(new) => set(app, admin, id, if_match, new, apply).await,
        Brought::Removed => {
            let record = change(app, admin, id, if_match, |record, app| {
                let written = apply(record, app)?;
                Ok(if record.webhook.authorization.take().is_some() { Write::Webhook } else { written })
            });
            let record = record.await?;
            forget(app, &record.webhook).await?;
            Ok(record)
        }
    }
}

/// Changes a webhook, and gives it an authorization in the same write.
async fn set(
    app: &App,
    admin: &Admin,
    id: &str,
    if_match: IfMatch,
    new: NewAuthorization,
    apply: impl Fn(&mut WebhookRecord, &App) -> Result<Write, Problem>,
) -> Result<WebhookRecord, Problem> {
    let mut record = visible(app, admin, id).await?;
    if_match.check(record.webhook.audit.version)?;
    let before = record.webhook.authorization.as_ref().map(|before| before.fingerprint.clone());
    // Tried before anything is stored; and the credential is given for the URL that this change leaves. If another request moves the
    // URL meanwhile, `change` refuses this one.
    apply(&mut record, app)?;
    let webhook = record.webhook;
    let (authorization, secret) = named(app, by(admin), &webhook, new).await?;
    let (path, kept) = (&authorization.vault_path, (&authorization.fingerprint, &secret));
    app.spend_secrets(&webhook.tenant, 1).await?;
    // The secret first, next to the one that is named: the webhook always names one that exists.
    let staged = app.secrets.stage_anyway(path, before.as_ref(), kept, &webhook.tenant).await?;
    let record = change(app, admin, id, if_match, |record, app| {
        let written = apply(record, app)?;
        let before = record.webhook.authorization.replace(authorization.clone());
        Ok(if before.as_ref() == Some(&authorization) { written } else { Write::Webhook })
    });
    let record = record.await?;
    // A request that removed the one before at the same time may have deleted its secret only now.
    app.secrets.restore(path, None).await?;
    if let Err(error) = app.secrets.promote(staged).await {
        // It is found where it waits, and the next one that is set does this first.
        tracing::warn!(webhook.id = %record.webhook.id, %error, "a new secret was not made the current one");
    }
    Ok(record)
}

/// Deletes the secret of an authorization that the webhook does not name any more.
async fn forget(app: &App, webhook: &Webhook) -> Result<(), Problem> {
    let path = webhook.secret.authorization_path();
    // Even if nothing named it: perhaps a request died before it came to this.
    app.secrets.delete(&path).await?;
    let now = app.registry.webhook(&webhook.tenant, webhook.id).await?.map(|record| record.webhook);
    if now.is_some_and(|now| now.authorization.is_some() && !now.is_deleted()) {
        // Another request set another one meanwhile, and its secret must not go.
        app.secrets.restore(&path, None).await?;
    }
    Ok(())
}

/// Keeps the first secret at a path of a new webhook. If a try before this one may have died after that, this one's takes its place.
pub(super) async fn keep(
    app: &App,
    path: &str,
    (fingerprint, secret): (&Fingerprint, &WebhookSecret),
    tenant: &TenantId,
    again: bool,
) -> Result<(), StoreError> {
    match app.secrets.create(path, fingerprint, secret, tenant).await {
        Err(StoreError::Conflict { .. }) if again => app.secrets.replace(path, fingerprint, secret).await,
        created => created,
    }
}

/// Deletes the secrets of a webhook: those that sign, and the one that authorizes.
pub(super) async fn delete_secrets(app: &App, webhook: &Webhook) -> Result<(), StoreError> {
    app.secrets.delete(&webhook.secret.vault_path).await?;
    if webhook.settings.direction == Direction::Outbound {
        // Whether it signs with one now or did before: there may be one.
        app.secrets.delete(&signing_keys::own_path(app, webhook)).await?;
    }
    match &webhook.authorization {
        Some(authorization) => app.secrets.delete(&authorization.vault_path).await,
        None => Ok(()),
    }
}

type Shown = ([(HeaderName, HeaderValue); 1], Json<Authorization>);

fn shown(webhook: Webhook) -> Result<Shown, Problem> {
    let authorization = webhook.authorization.ok_or(Problem::NotFound("authorization"))?;
    Ok((etag(webhook.audit.version), Json(authorization)))
}

/// Sets how a webhook's requests are authorized
///
/// Applies to every request from the next attempt on, and replaces what was set before. The secret is stored in Secrets
/// Manager and never shown again. The webhook's version increases, unless nothing changes. The credential is sent only
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
    JsonBody(given): JsonBody<Value>,
) -> Result<Shown, Problem> {
    let webhook = visible(&app, &admin, &id).await?.webhook;
    if_match.check(webhook.audit.version)?;
    let new = read(&app, webhook.settings.direction, given)?;
    shown(set(&app, &admin, &id, if_match, new, |_, _| Ok(Write::Nothing)).await?.webhook)
}

/// Shows how a webhook's requests are authorized
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

/// Removes how a webhook's requests are authorized
///
/// From the next attempt on, requests have no `Authorization` header. The secret enters Secrets Manager's recovery
/// window of 30 days.
#[utoipa::path(delete, path = "/webhooks/{id}/authorization", tag = "Webhooks", params(WebhookPath, IfMatchHeader),
    responses((status = 204, description = "It is removed")))]
pub(crate) async fn delete_authorization(
    State(app): State<Arc<App>>,
    admin: Admin,
    if_match: IfMatch,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let there_was = std::sync::atomic::AtomicBool::new(false);
    let record = change(&app, &admin, &id, if_match, |record, _| {
        let removed = record.webhook.authorization.take().is_some();
        there_was.store(removed, std::sync::atomic::Ordering::Relaxed);
        Ok(if removed { Write::Webhook } else { Write::Nothing })
    });
    forget(&app, &record.await?.webhook).await?;
    if there_was.into_inner() { Ok(StatusCode::NO_CONTENT) } else { Err(Problem::NotFound("authorization")) }
}
