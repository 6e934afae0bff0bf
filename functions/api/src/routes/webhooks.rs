//! `/webhooks`: registrations. For an admin of the tenant.
//!
//! The use cases are in [`registration`](crate::registration).

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use domain::access::tenant::AppId;
use domain::event::types::EventType;
use domain::webhook::Webhook;
use domain::webhook::settings::Direction;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::App;
use crate::body::{JsonBody, Query};
use crate::caller::Admin;
use crate::etag::IfMatch;
use crate::idempotency::FirstTry;
use crate::page::Page;
use crate::parameters::{IfMatchHeader, WebhookPath};
use crate::problem::{Fault, Problem, ProblemBody};
use crate::registration::input::{Input, NewWebhook};
use crate::registration::representation::{WebhookBody, WebhookList, WebhookWithSecret};
use crate::registration::{create as registering, is_visible, lifecycle, update, visible};
use crate::responses::{Changed, changed, with_secret};

pub mod actions;
pub mod authorization;
pub mod explain;
pub mod statistics;
pub mod trial;

/// Registers a webhook
///
/// No other response contains this secret.
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
    let new = NewWebhook::read(&app, &admin, input)?;
    let (record, secret) = registering::create(&app, admin, first_try.as_deref(), new).await?;
    let location = format!("{}/api/v1/integration/webhooks/{}", app.public_url, record.webhook.id);
    let location = HeaderValue::from_str(&location).ok().map(|location| (LOCATION, location));
    let mut response = with_secret(&app, record, &secret, StatusCode::CREATED).into_response();
    response.headers_mut().extend(location);
    Ok(response)
}

/// The filters of the list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WebhookQuery {
    /// The `next_cursor` of the previous page.
    #[param(value_type = String, required = false, pattern = "^whk_[0-7][0-9A-HJKMNP-TV-Z]{25}$")]
    cursor: Option<String>,
    /// The maximum number of entries.
    #[param(value_type = u8, required = false, minimum = 1, maximum = 100, default = 50)]
    limit: Option<usize>,
    /// Only those of this application.
    #[param(value_type = String, required = false, max_length = 200, pattern = "^[A-Za-z0-9_.@+=-]+$")]
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

impl WebhookQuery {
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
                .is_none_or(|event_type| settings.event_types.iter().any(|pattern| pattern.asks_for(event_type)))
            && is(self.enabled.as_ref(), &settings.enabled)
            && is(self.state.as_ref(), &(webhook.state() as u8))
            && is(self.direction.as_ref(), &settings.direction)
            && is(self.source.as_ref(), &settings.source)
    }
}

/// Lists webhooks
///
/// Oldest first. Pages are stable: a webhook that is created or deleted in the meantime does not move the others.
#[utoipa::path(get, path = "/webhooks", tag = "Webhooks", params(WebhookQuery),
    responses((status = 200, description = "A page", body = WebhookList)))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    admin: Admin,
    Query(filter): Query<WebhookQuery>,
) -> Result<Json<WebhookList>, Problem> {
    let (cursor, limit) = Page::new(filter.cursor.clone(), filter.limit).read()?;
    if filter.state.is_some_and(|state| !(1..=3).contains(&state)) {
        return Err(Problem::Invalid(vec![Fault::parameter("state", "must be 1, 2 or 3")]));
    }
    let wanted = |webhook: &Webhook| is_visible(&admin, webhook) && filter.wants(webhook);
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
    JsonBody(input): JsonBody<Input>,
) -> Result<Changed, Problem> {
    Ok(changed(&app, update::merge(&app, &admin, &id, if_match, input).await?))
}

/// Replaces a webhook's settings
///
/// Omitted fields are reset to their defaults, except `authorization`, which is kept. As with `PATCH`, a `url` of
/// another origin is refused unless `authorization` is sent too. `If-Match` is required, because a replacement without
/// it could undo another caller's change. A response of `GET` can be sent back unchanged.
#[utoipa::path(put, path = "/webhooks/{id}", tag = "Webhooks", params(WebhookPath, IfMatchHeader),
    request_body = ref("#/components/schemas/WebhookReplacement"),
    responses((status = 200, description = "The webhook as it is now", body = WebhookBody)))]
pub(super) async fn put(
    State(app): State<Arc<App>>,
    admin: Admin,
    if_match: IfMatch,
    Path(id): Path<String>,
    JsonBody(input): JsonBody<Input>,
) -> Result<Changed, Problem> {
    Ok(changed(&app, update::replace(&app, &admin, &id, if_match, input).await?))
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
    lifecycle::delete(&app, &admin, &id, if_match).await?;
    Ok(StatusCode::NO_CONTENT)
}
