//! `/webhooks`: registrations. For an admin of the tenant.
//!
//! [`representation`] is what goes out, [`input`] what comes in; [`actions`] pauses and rotates, [`authorization`] says how requests
//! are authorized, [`trial`] tests and previews, [`explain`] says why.

use std::sync::Arc;

use aws::StoreError;
use aws::registry::WebhookRecord;
use axum::extract::{Path, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use domain::access::tenant::AppId;
use domain::delivery::notices::happenings;
use domain::event::types::EventType;
use domain::id::WebhookId;
use domain::signing::secret::WebhookSecret;
use domain::webhook::settings::Direction;
use domain::webhook::statistics::Statistics;
use domain::webhook::{Audit, SecretReference, Webhook};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::App;
use crate::body::{JsonBody, Query};
use crate::caller::Admin;
use crate::etag::{IfMatch, etag};
use crate::idempotency::{FirstTry, Once};
use crate::page::Page;
use crate::problem::{Fault, Problem, ProblemBody};
use crate::routes::signing_keys;

pub mod actions;
pub mod authorization;
pub mod explain;
mod input;
pub mod representation;
pub mod statistics;
pub mod trial;

use authorization::{Brought, change_bringing};
use input::{Input, NewWebhook};
use representation::{Warning, WebhookBody, WebhookList, WebhookWithSecret};

/// How often a change without `If-Match` is applied again to a webhook that was changed meanwhile.
const ROUNDS: usize = 5;

/// The fields of a new webhook that are not settings: its secret, its authorization, and other names of settings.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "shows the form; `input` reads it")]
pub struct NewWebhookOnly {
    /// A secret of your own: `whsec_` and 24 to 64 bytes in base64, or a text of at least 8 characters, which cannot
    /// sign `standard-webhooks`. Default: a generated secret.
    #[schema(min_length = 8, max_length = 400)]
    secret: Option<String>,
    /// How its requests are authorized, in addition to the signature.
    authorization: Option<authorization::AuthorizationWithSecret>,
    /// The same as `url`.
    #[schema(nullable = false, max_length = 2048)]
    target_url: Option<String>,
    /// The same as `event_types`, separated by commas.
    #[schema(nullable = false, examples("contact.created,person.changed"))]
    events: Option<String>,
    /// The same as `event_types` with one entry.
    #[schema(nullable = false)]
    trigger_type: Option<String>,
    /// The same as `enabled`: 1 is `true`, 2 is `false`.
    #[schema(nullable = false, minimum = 1, maximum = 2)]
    state: Option<u8>,
    /// The token's tenant; no other value is accepted.
    #[schema(nullable = false)]
    tenant_id: Option<String>,
    /// The same as `tenant_id`.
    #[schema(nullable = false)]
    company_id: Option<String>,
}

fn with_secret(body: WebhookBody, secret: &WebhookSecret) -> WebhookWithSecret {
    let warnings = secret.is_weak().then(Warning::weak_secret).into_iter().collect();
    WebhookWithSecret { webhook: body, secret: secret.to_text().expose_secret().to_owned(), warnings }
}

/// Registers a webhook
///
/// The response is the only one that contains the secret.
#[utoipa::path(post, path = "/webhooks", tag = "Webhooks",
    request_body = ref("#/components/schemas/NewWebhook"),
    responses(
        (status = 201, description = "The webhook and its secret", body = WebhookWithSecret),
        (status = 409, description = "Too many webhooks, or the idempotency key is in use", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn create(
    State(app): State<Arc<App>>,
    admin: Admin,
    first_try: Option<Extension<FirstTry>>,
    JsonBody(input): JsonBody<Input>,
) -> Result<Response, Problem> {
    let NewWebhook { settings, secret, authorization: new } = NewWebhook::read(&app, &admin, input)?;
    let secret = secret.unwrap_or_else(|| WebhookSecret::from_random(runtime::random::bytes()));
    let (now, by) = (app.clock.now(), authorization::by(&admin));
    let id = match &first_try {
        Some(Extension(first_try)) => first_try.webhook_id(),
        None => WebhookId::from_parts(now, runtime::random::bits()),
    };
    let mut webhook = Webhook {
        id,
        secret: SecretReference {
            vault_path: app.secrets_prefixes.vault_path(settings.direction, &admin.tenant, id),
            fingerprint: app.fingerprint_key().await?.fingerprint(&secret),
            format: secret.format(),
            previous: None,
        },
        tenant: admin.tenant,
        app: admin.app,
        settings,
        authorization: None,
        pause: None,
        audit: Audit::created(now, &admin.subject),
    };
    webhook.check_key_owner(None, by).map_err(|fault| Problem::Invalid(vec![fault.into()]))?;
    // Before a secret is made: what is refused leaves none.
    app.spend_secrets(&webhook.tenant, 1 + u64::from(new.is_some())).await?;
    if let Some(owner) = webhook.key_owner() {
        signing_keys::ensure(&app, &owner).await?;
    }
    let mut authorizing = None;
    if let Some(new) = new {
        let (named, secret) = authorization::named(&app, by, &webhook, new).await?;
        (webhook.authorization, authorizing) = (Some(named), Some(secret));
    }
    let webhook = store(&app, webhook, &secret, authorizing.as_ref(), first_try.as_deref()).await?;
    tracing::info!(webhook.id = %id, tenant.id = %webhook.tenant, by = admin.subject, "webhook created");
    let body = WebhookBody::new(WebhookRecord { webhook, statistics: Statistics::default() }, &app.public_url);
    let location = HeaderValue::from_str(&format!("{}/api/v1/integration/webhooks/{id}", app.public_url));
    let (headers, kept) = (etag(body.version()), body.clone());
    let mut response =
        Once { status: StatusCode::CREATED, headers, shown: with_secret(body, &secret), kept }.into_response();
    response.headers_mut().extend(location.ok().map(|location| (LOCATION, location)));
    Ok(response)
}

/// Keeps a new webhook and its secrets. The secrets first: a webhook without one could not be delivered to, a secret without a
/// webhook is only waste.
///
/// An earlier try may have died after either step, before its secret was shown: then this secret replaces it.
async fn store(
    app: &App,
    webhook: Webhook,
    secret: &WebhookSecret,
    authorizing: Option<&WebhookSecret>,
    first_try: Option<&FirstTry>,
) -> Result<Webhook, Problem> {
    let now = app.clock.now();
    let limits = app.usage.limits(&webhook.tenant, now).await?;
    let (signing, again) = (&webhook.secret, first_try.is_some());
    authorization::keep(app, &signing.vault_path, (&signing.fingerprint, secret), &webhook.tenant, again).await?;
    if let (Some(named), Some(secret)) = (&webhook.authorization, authorizing) {
        authorization::keep(app, &named.vault_path, (&named.fingerprint, secret), &webhook.tenant, again).await?;
    }
    match app.registry.create_webhook(&webhook, limits.webhooks).await {
        Ok(webhooks) => {
            app.usage.webhooks_added(&webhook.tenant, webhooks, now).await;
            Ok(webhook)
        }
        Err(StoreError::Conflict { .. }) if first_try.is_some() => {
            let created = app.registry.webhook(&webhook.tenant, webhook.id).await?;
            let mut created = created.ok_or(Problem::NotFound("webhook"))?.webhook;
            created.secret = webhook.secret;
            created.touch(app.clock.now(), &webhook.audit.created_by);
            match app.registry.update_webhook(&created, &[]).await {
                // Not certain what was done: the idempotency key stays with its webhook.
                Err(StoreError::Conflict { key }) => Err(StoreError::Unavailable(format!("conflict on {key}")).into()),
                written => Ok(written.map(|()| created)?),
            }
        }
        Err(error @ (StoreError::Limit(_) | StoreError::TooHeavy { .. })) => {
            authorization::delete_secrets(app, &webhook).await?;
            if let StoreError::Limit(limit) = error {
                app.usage.webhook_refused(&webhook.tenant, limit, now).await;
            }
            Err(error.into())
        }
        // Perhaps it was written after all: a secret without a webhook is better than a webhook without a secret.
        Err(error) => Err(error.into()),
    }
}

/// Which webhooks.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Filter {
    /// The `next_cursor` of the previous page.
    #[param(value_type = String, required = false, pattern = "^whk_[0-7][0-9A-HJKMNP-TV-Z]{25}$")]
    cursor: Option<String>,
    /// The maximum number of entries.
    #[param(value_type = u8, required = false, minimum = 1, maximum = 100, default = 50)]
    limit: Option<usize>,
    /// Only those of this application.
    #[param(value_type = String, required = false, max_length = 128, pattern = "^[A-Za-z0-9_.@+=-]+$")]
    app_id: Option<AppId>,
    /// Only those of this connector.
    #[param(value_type = String, required = false)]
    connector_id: Option<String>,
    /// Only those with this tag.
    #[param(value_type = String, required = false)]
    tag: Option<String>,
    /// Only those whose patterns match this event type.
    #[param(value_type = String, required = false, max_length = 128, pattern = r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$")]
    event_type: Option<EventType>,
    /// Only enabled webhooks, or only disabled ones.
    #[param(value_type = bool, required = false)]
    enabled: Option<bool>,
    /// Only those in this state: 1 active, 2 stopped, 3 too many errors.
    #[param(value_type = u8, required = false, minimum = 1, maximum = 3)]
    state: Option<u8>,
    /// Only those with this direction.
    #[param(value_type = Direction, required = false, inline)]
    direction: Option<Direction>,
    /// Only those with this `source`.
    #[param(value_type = String, required = false)]
    source: Option<String>,
    /// Whether to include deleted webhooks.
    #[serde(default)]
    #[param(default = false)]
    include_deleted: bool,
}

impl Filter {
    fn wants(&self, webhook: &Webhook) -> bool {
        fn is<T: PartialEq>(wanted: Option<&T>, value: &T) -> bool {
            wanted.is_none_or(|wanted| wanted == value)
        }
        let settings = &webhook.settings;
        (self.include_deleted || !webhook.is_deleted())
            && self.app_id.as_ref().is_none_or(|app| webhook.app.as_ref() == Some(app))
            && self.connector_id.as_ref().is_none_or(|connector| settings.connector_id.as_ref() == Some(connector))
            && self.tag.as_ref().is_none_or(|tag| settings.tags.contains(tag))
            && self
                .event_type
                .as_ref()
                .is_none_or(|event_type| settings.event_types.iter().any(|pattern| pattern.matches(event_type)))
            && is(self.enabled.as_ref(), &settings.enabled)
            && is(self.state.as_ref(), &(webhook.state() as u8))
            && is(self.direction.as_ref(), &settings.direction)
            && is(self.source.as_ref(), &settings.source)
    }
}

/// Lists webhooks
///
/// Oldest first. Pages are stable: a webhook that is created or deleted in the meantime does not move the others.
#[utoipa::path(get, path = "/webhooks", tag = "Webhooks", params(Filter),
    responses((status = 200, description = "A page", body = WebhookList)))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    admin: Admin,
    Query(filter): Query<Filter>,
) -> Result<Json<WebhookList>, Problem> {
    let (cursor, limit) = Page::new(filter.cursor.clone(), filter.limit).read()?;
    if filter.state.is_some_and(|state| !(1..=3).contains(&state)) {
        return Err(Problem::Invalid(vec![Fault::parameter("state", "must be 1, 2 or 3")]));
    }
    let wanted = |webhook: &Webhook| is_theirs(&admin, webhook) && filter.wants(webhook);
    let page = app.registry.webhooks(&admin.tenant, cursor, limit, wanted).await?;
    let data: Vec<_> = page.webhooks.into_iter().map(|record| WebhookBody::new(record, &app.public_url)).collect();
    let next_cursor = data.last().filter(|_| page.more).map(WebhookBody::id);
    Ok(Json(WebhookList { data, next_cursor }))
}

/// Reads a webhook
#[utoipa::path(get, path = "/webhooks/{id}", tag = "Webhooks", params(WebhookPath),
    responses((status = 200, description = "The webhook; its version is the ETag", body = WebhookBody)))]
pub(super) async fn get(State(app): State<Arc<App>>, admin: Admin, Path(id): Path<String>) -> Result<Changed, Problem> {
    let record = visible(&app, &admin, &id).await?;
    Ok(changed(&app, record))
}

/// The id of a webhook.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "shows the form of a path")]
pub struct WebhookPath {
    /// `whk_` and a ULID.
    #[param(pattern = "^whk_[0-7][0-9A-HJKMNP-TV-Z]{25}$", example = "whk_01JD3V7Q5N8Z4T6W9X2Y1R0PMK")]
    id: String,
}

/// Which version the caller takes for current.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "shows the form of a header")]
pub struct IfMatchHeader {
    /// The `ETag` of the version to change, or a list. If none of them is the current version, or they are weak, the
    /// answer is 412.
    #[param(rename = "If-Match", value_type = String, required = false, pattern = r#"^(\*|[0-9]{1,18}|(W/)?"[0-9]{1,18}"(, ?(W/)?"[0-9]{1,18}")*)$"#, example = "\"1\"")]
    if_match: Option<String>,
}

/// A webhook, with its version as the entity tag.
pub(super) type Changed = ([(HeaderName, HeaderValue); 1], Json<WebhookBody>);

pub(super) fn changed(app: &App, record: WebhookRecord) -> Changed {
    let body = WebhookBody::new(record, &app.public_url);
    (etag(body.version()), Json(body))
}

/// Changes a webhook
///
/// A JSON merge patch (RFC 7396): fields that are not sent stay as they are, and `null` resets a field. Without
/// `If-Match` the change applies to the current version, and no concurrent update is lost. A `url` with another scheme,
/// host or port is refused while an `authorization` is set for the old one: send `authorization` again with the change,
/// or `null` to remove it.
#[utoipa::path(patch, path = "/webhooks/{id}", tag = "Webhooks", params(WebhookPath, IfMatchHeader),
    request_body(content = ref("#/components/schemas/WebhookPatch"), example = json!({"enabled": false})),
    responses((status = 200, description = "The webhook as it is now", body = WebhookBody)))]
pub(super) async fn patch(
    State(app): State<Arc<App>>,
    admin: Admin,
    if_match: IfMatch,
    Path(id): Path<String>,
    JsonBody(mut input): JsonBody<Input>,
) -> Result<Changed, Problem> {
    let (brought, faults) = Brought::take(&app, &admin, &id, &mut input).await?;
    let record = change_bringing(&app, &admin, &id, if_match, brought, |record, app| {
        let current = WebhookBody::new(record.clone(), &app.public_url);
        record.webhook.settings =
            input::merge(app, &record.webhook, &current, input.clone()).with(faults.clone()).finish()?;
        if input::activates(&input) {
            record.webhook.pause = None;
        }
        Ok(Write::Webhook)
    });
    Ok(changed(&app, record.await?))
}

/// Replaces a webhook's settings
///
/// Fields that are not sent get their defaults. Only `authorization` stays as it is, and is bound to its origin as for
/// `PATCH`. `If-Match` is required, because a replacement without it could undo another caller's change. A response of
/// `GET` can be sent back unchanged.
#[utoipa::path(put, path = "/webhooks/{id}", tag = "Webhooks", params(WebhookPath, IfMatchHeader),
    request_body = ref("#/components/schemas/WebhookReplacement"),
    responses((status = 200, description = "The webhook as it is now", body = WebhookBody)))]
pub(super) async fn put(
    State(app): State<Arc<App>>,
    admin: Admin,
    if_match: IfMatch,
    Path(id): Path<String>,
    JsonBody(mut input): JsonBody<Input>,
) -> Result<Changed, Problem> {
    if if_match == (IfMatch::Any { given: false }) {
        visible(&app, &admin, &id).await?;
        return Err(Problem::PreconditionRequired);
    }
    let (brought, faults) = Brought::take(&app, &admin, &id, &mut input).await?;
    let record = change_bringing(&app, &admin, &id, if_match, brought, |record, app| {
        let current = WebhookBody::new(record.clone(), &app.public_url);
        record.webhook.settings =
            input::replace(app, &record.webhook, &current, input.clone()).with(faults.clone()).finish()?;
        if input::activates(&input) {
            record.webhook.pause = None;
        }
        Ok(Write::Webhook)
    });
    Ok(changed(&app, record.await?))
}

/// Deletes a webhook
///
/// Nothing more is sent, and waiting deliveries are cancelled. Its secrets enter Secrets Manager's recovery window of
/// 30 days, within which the webhook can be restored.
#[utoipa::path(delete, path = "/webhooks/{id}", tag = "Webhooks", params(WebhookPath, IfMatchHeader),
    responses((status = 204, description = "It is deleted")))]
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    admin: Admin,
    if_match: IfMatch,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    for _ in 0..ROUNDS {
        let mut webhook = visible_even_deleted(&app, &admin, &id).await?.webhook;
        if webhook.is_deleted() {
            // Perhaps by a request that died before it came to the secrets.
            authorization::delete_secrets(&app, &webhook).await?;
            return Err(Problem::NotFound("webhook"));
        }
        if_match.check(webhook.audit.version)?;
        webhook.delete(app.clock.now(), &admin.subject);
        match app.registry.delete_webhook(&webhook).await {
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
            Ok(()) => {
                authorization::delete_secrets(&app, &webhook).await?;
                tracing::info!(webhook.id = %webhook.id, tenant.id = %webhook.tenant, by = admin.subject, "webhook deleted");
                return Ok(StatusCode::NO_CONTENT);
            }
        }
    }
    Err(contended())
}

fn contended() -> Problem {
    Problem::Conflict("others change the webhook at the same time; try again".to_owned())
}

/// Reads a webhook, changes it and writes it. If it was written meanwhile, the change is made again to the new version, so
/// that neither is lost, unless the caller named a version.
pub(super) async fn change(
    app: &App,
    admin: &Admin,
    id: &str,
    if_match: IfMatch,
    apply: impl Fn(&mut WebhookRecord, &App) -> Result<Write, Problem>,
) -> Result<WebhookRecord, Problem> {
    for _ in 0..ROUNDS {
        let mut record = visible(app, admin, id).await?;
        if_match.check(record.webhook.audit.version)?;
        let before = record.webhook.clone();
        if apply(&mut record, app)? == Write::Nothing {
            return Ok(record);
        }
        let kept = record.webhook.keep_credentials(&before, authorization::by(admin));
        kept.map_err(|fault| Problem::Invalid(vec![fault.into()]))?;
        let checked = record.webhook.check_key_owner(Some(&before), authorization::by(admin));
        checked.map_err(|fault| Problem::Invalid(vec![fault.into()]))?;
        if let Some(owner) = record.webhook.key_owner().filter(|owner| before.key_owner().as_ref() != Some(owner)) {
            signing_keys::ensure(app, &owner).await?;
        }
        record.webhook.touch(app.clock.now(), &admin.subject);
        let happened = happenings(&before, &record.webhook);
        forgive(app, &mut record).await?;
        match app.registry.update_webhook(&record.webhook, &happened).await {
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
            Ok(()) => {
                let Webhook { id, tenant, .. } = &record.webhook;
                tracing::info!(webhook.id = %id, tenant.id = %tenant, by = admin.subject, "webhook changed");
                return Ok(record);
            }
        }
    }
    Err(contended())
}

/// Resets the failure counters of a webhook that may deliver, so that failures of the old configuration do not pause it
/// again at once. Runs before the change, so that a process that dies in between leaves nothing undone.
pub(super) async fn forgive(app: &App, record: &mut WebhookRecord) -> Result<(), Problem> {
    if record.webhook.pause.is_none() && record.statistics.consecutive_failures > 0 {
        app.registry.forgive(record.webhook.id).await?;
        record.statistics.forgive();
    }
    Ok(())
}

/// Whether a change is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Write {
    /// It is as it should be already.
    Nothing,
    /// The webhook must be written.
    Webhook,
}

fn is_theirs(admin: &Admin, webhook: &Webhook) -> bool {
    admin.app.is_none() || webhook.app == admin.app
}

/// Returns the webhook if the caller may see it. An invalid id, a deleted webhook and one of another tenant or application
/// are all not found.
pub(super) async fn visible(app: &App, admin: &Admin, id: &str) -> Result<WebhookRecord, Problem> {
    let record = visible_even_deleted(app, admin, id).await?;
    if record.webhook.is_deleted() { Err(Problem::NotFound("webhook")) } else { Ok(record) }
}

async fn visible_even_deleted(app: &App, admin: &Admin, id: &str) -> Result<WebhookRecord, Problem> {
    let not_found = || Problem::NotFound("webhook");
    let id = id.parse().map_err(|_| not_found())?;
    let record = app.registry.webhook(&admin.tenant, id).await?.ok_or_else(not_found)?;
    if is_theirs(admin, &record.webhook) { Ok(record) } else { Err(not_found()) }
}
