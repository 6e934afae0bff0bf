//! `/webhooks`: registrations. For an admin of the tenant.
//!
//! The use cases are in [`registration`](crate::registration).

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use domain::access::tenant::{AppId, TenantId};
use domain::event::pattern::EventPattern;
use domain::event::types::{EventType, ParseEventTypeError};
use domain::id::WebhookId;
use domain::webhook::Webhook;
use domain::webhook::settings::Direction;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::App;
use crate::body::{JsonBody, Query};
use crate::caller::Admin;
use crate::etag::IfMatch;
use crate::idempotency::FirstTry;
use crate::page::{Limit, Page, fit};
use crate::parameters::{IfMatchHeader, WebhookPath};
use crate::problem::{Fault, Problem, ProblemBody};
use crate::registration::input::{Input, NewWebhook};
use crate::registration::representation::{WebhookBody, WebhookList};
use crate::registration::warnings::{self, ChangedWebhook, WebhookWithSecret};
use crate::registration::{create as registering, health, input, is_visible, lifecycle, update, visible};
use crate::responses::{Changed, ChangedWithWarnings, changed, with_secret, with_warnings};

pub mod actions;
pub mod authorization;
pub mod calls;
pub mod explain;
pub mod preview;
pub mod statistics;
pub mod test;

/// Registers a webhook
///
/// No other response contains this secret. A table, collection or event type that does not exist yet is accepted, with
/// a warning that names the nearest one.
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
    let warnings = warnings::of(&app, &record.webhook).await;
    let mut response = with_secret(&app, record, &secret, warnings, StatusCode::CREATED).await.into_response();
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
    limit: Option<Limit>,
    /// Only those of this application.
    #[param(value_type = String, required = false, max_length = 200, pattern = "^[A-Za-z0-9_.@+=-]+$")]
    app_id: Option<AppId>,
    /// The same as `app_id`.
    #[param(value_type = String, required = false, max_length = 200, pattern = "^[A-Za-z0-9_.@+=-]+$")]
    application_token: Option<AppId>,
    /// Only the one with this id.
    #[param(value_type = String, required = false, pattern = "^whk_[0-7][0-9A-HJKMNP-TV-Z]{25}$")]
    webhook_id: Option<WebhookId>,
    /// Only those of this tenant: all if it is the token's, or none.
    #[param(value_type = String, required = false, max_length = 128, pattern = "^[A-Za-z0-9_.@+=-]+$")]
    company_id: Option<TenantId>,
    /// Only those with this `url`.
    #[param(value_type = String, required = false)]
    url: Option<String>,
    /// The same as `url`.
    #[param(value_type = String, required = false)]
    target_url: Option<String>,
    /// Only those of this connector.
    #[param(value_type = String, required = false)]
    connector_id: Option<String>,
    /// Only those with this tag: a label, or a name, alone or with its value (`team:sales`).
    #[param(value_type = String, required = false)]
    tag: Option<String>,
    /// Only those whose patterns match this event type.
    #[param(value_type = String, required = false, max_length = 128, pattern = r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$")]
    event_type: Option<EventType>,
    /// Only those whose patterns match each of these event types, separated by commas.
    #[param(value_type = String, required = false, max_length = 128, pattern = r"^[A-Za-z0-9_-]+([.,][A-Za-z0-9_-]+)*$")]
    events: Option<EventTypes>,
    /// The same as `event_type`; also in the words of a trigger, such as `Process Updated`.
    #[param(value_type = String, required = false, max_length = 128, pattern = r"^[A-Za-z0-9_-]+((\.[A-Za-z0-9_-]+)*|( [A-Za-z0-9_-]+)+)$")]
    trigger_type: Option<Trigger>,
    /// Only enabled webhooks, or only disabled ones.
    #[param(value_type = bool, required = false)]
    enabled: Option<bool>,
    /// Only those in this state: 1 active, 2 stopped, 3 too many errors.
    #[param(value_type = u8, required = false, minimum = 1, maximum = 3)]
    state: Option<u8>,
    /// Only those with this direction.
    #[param(value_type = Direction, required = false)]
    direction: Option<Direction>,
    /// Only those with this `source`.
    #[param(value_type = String, required = false)]
    source: Option<String>,
    /// Whether to include deleted webhooks.
    #[serde(default)]
    #[param(default = false)]
    include_deleted: bool,
}

/// The longest filter by types, in bytes: as long as a type may be.
const MAX_TYPES_BYTES: usize = 128;

/// Event types with commas in between.
#[derive(Debug, Default, Deserialize)]
#[serde(try_from = "String")]
struct EventTypes(Vec<EventType>);

impl TryFrom<String> for EventTypes {
    type Error = ParseEventTypeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let short = Some(text.as_str()).filter(|text| text.len() <= MAX_TYPES_BYTES).ok_or(ParseEventTypeError)?;
        short.split(',').map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

/// A trigger: a type, or words that name it.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Trigger(EventType);

impl TryFrom<String> for Trigger {
    type Error = ParseEventTypeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let words =
            Some(text.as_str()).filter(|text| text.len() <= MAX_TYPES_BYTES && !text.split(' ').any(str::is_empty));
        let pattern = words.and_then(|words| EventPattern::from_words(words).ok());
        pattern.and_then(|pattern| pattern.exact()).map(Self).ok_or(ParseEventTypeError)
    }
}

impl WebhookQuery {
    fn wants(&self, webhook: &Webhook) -> bool {
        fn is<T: PartialEq>(wanted: Option<&T>, value: &T) -> bool {
            wanted.is_none_or(|wanted| wanted == value)
        }
        let settings = &webhook.settings;
        let mut apps = self.app_id.iter().chain(&self.application_token);
        let mut urls = self.url.iter().chain(&self.target_url);
        let trigger = self.trigger_type.as_ref().map(|Trigger(event_type)| event_type);
        let mut types = self.event_type.iter().chain(trigger).chain(self.events.iter().flat_map(|events| &events.0));
        (self.include_deleted || !webhook.is_deleted())
            && is(self.webhook_id.as_ref(), &webhook.id)
            && is(self.company_id.as_ref(), &webhook.tenant)
            && apps.all(|app| webhook.app.as_ref() == Some(app))
            && urls.all(|url| *url == settings.url)
            && self.connector_id.as_ref().is_none_or(|connector| settings.connector_id.as_ref() == Some(connector))
            && self.tag.as_ref().is_none_or(|tag| settings.tags.have(tag))
            && types.all(|event_type| settings.event_types.iter().any(|pattern| pattern.asks_for(event_type)))
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
    let wanted = |webhook: &Webhook| webhook.notice.is_none() && is_visible(&admin, webhook) && filter.wants(webhook);
    let page = app.ledger.webhooks(&app.registry, &admin.tenant, cursor, limit, wanted).await?;
    let health = health::of_all(&app, &page.webhooks).await;
    let shown = |(record, health)| WebhookBody::new(record, health, &app.public_url);
    let mut data: Vec<_> = page.webhooks.into_iter().zip(health).map(shown).collect();
    let cut = fit(&mut data).map(WebhookBody::id);
    let next_cursor = cut.or_else(|| data.last().filter(|_| page.more).map(WebhookBody::id));
    Ok(Json(WebhookList { data, next_cursor }))
}

/// Reads a webhook
#[utoipa::path(get, path = "/webhooks/{id}", tag = "Webhooks", params(WebhookPath),
    responses((status = 200, description = "The webhook; its version is the ETag", body = WebhookBody)))]
pub(super) async fn get(State(app): State<Arc<App>>, admin: Admin, Path(id): Path<String>) -> Result<Changed, Problem> {
    let record = visible(&app, &admin, &id).await?;
    Ok(changed(&app, record).await)
}

/// Changes a webhook
///
/// A JSON merge patch (RFC 7396): fields that are not sent stay as they are, and `null` resets a field. Without
/// `If-Match` the change applies to the current version, and no concurrent update is lost. A `url` with another scheme,
/// host or port is refused while an `authorization` is set for the old one: send `authorization` again with the change,
/// or `null` to remove it.
#[utoipa::path(patch, path = "/webhooks/{id}", tag = "Webhooks", params(WebhookPath, IfMatchHeader),
    request_body(content = ref("#/components/schemas/WebhookPatch")),
    responses((status = 200, description = "The webhook as it is now", body = ChangedWebhook)))]
pub(super) async fn patch(
    State(app): State<Arc<App>>,
    admin: Admin,
    if_match: IfMatch,
    Path(id): Path<String>,
    JsonBody(input): JsonBody<Input>,
) -> Result<ChangedWithWarnings, Problem> {
    let names = input::names_events(&input);
    let record = update::merge(&app, &admin, &id, if_match, input).await?;
    let warnings = if names { warnings::of(&app, &record.webhook).await } else { Vec::new() };
    Ok(with_warnings(&app, record, warnings).await)
}

/// Replaces a webhook's settings
///
/// Omitted fields are reset to their defaults, except `authorization`, which is kept. As with `PATCH`, a `url` of
/// another origin is refused unless `authorization` is sent too. `If-Match` is required, because a replacement without
/// it could undo another caller's change. A response of `GET` can be sent back unchanged.
#[utoipa::path(put, path = "/webhooks/{id}", tag = "Webhooks", params(WebhookPath, IfMatchHeader),
    request_body = ref("#/components/schemas/WebhookReplacement"),
    responses((status = 200, description = "The webhook as it is now", body = ChangedWebhook)))]
pub(super) async fn put(
    State(app): State<Arc<App>>,
    admin: Admin,
    if_match: IfMatch,
    Path(id): Path<String>,
    JsonBody(input): JsonBody<Input>,
) -> Result<ChangedWithWarnings, Problem> {
    let record = update::replace(&app, &admin, &id, if_match, input).await?;
    let warnings = warnings::of(&app, &record.webhook).await;
    Ok(with_warnings(&app, record, warnings).await)
}

/// Deletes a webhook
///
/// Nothing more is sent, and waiting deliveries are cancelled. The webhook can be restored at any time: within 30 days
/// with its secret, later with a new one.
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

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::read::read_query;
    use crate::registration::representation::tests::record;

    #[rstest]
    #[case::everything(&[], true)]
    #[case::id(&[("webhook_id", "whk_01JD3V7Q5N8Z4T6W9X2Y1R0PMK")], true)]
    #[case::other_id(&[("webhook_id", "whk_01JD3V7Q5N8Z4T6W9X2Y1R0PMA")], false)]
    #[case::company(&[("company_id", "acme")], true)]
    #[case::other_company(&[("company_id", "globex")], false)]
    #[case::application(&[("application_token", "crm")], true)]
    #[case::other_application(&[("app_id", "crm"), ("application_token", "erp")], false)]
    #[case::url(&[("target_url", "https://example.com/a")], true)]
    #[case::other_url(&[("url", "https://example.com/")], false)]
    #[case::trigger(&[("trigger_type", "Process Updated")], true)]
    #[case::other_trigger(&[("trigger_type", "Process Deleted")], false)]
    #[case::type_by_its_other_name(&[("event_type", "process.changed")], true)]
    #[case::events(&[("events", "process.updated,contact.created")], true)]
    #[case::one_event_more(&[("events", "process.updated,project.deleted")], false)]
    #[case::tag(&[("tag", "team:sales")], true)]
    #[case::other_tag(&[("tag", "team:it")], false)]
    fn a_list_is_filtered_by_any_name(#[case] query: &[(&str, &str)], #[case] wanted: bool) {
        let settings = json!({
            "name": "n", "url": "https://example.com/a", "event_types": ["process.updated", "contact.*"],
            "tags": {"team": "sales"},
        });
        let mut webhook = record(settings).webhook;
        webhook.app = "crm".parse().ok();
        let query = query.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        let (query, faults) = read_query::<WebhookQuery>(query).into_parts();
        assert_eq!((query.unwrap().wants(&webhook), faults), (wanted, Vec::new()));
    }

    #[rstest]
    #[case::events("events", "a.b,,c")]
    #[case::group("trigger_type", "a.*")]
    #[case::no_words("trigger_type", "a, b")]
    #[case::two_spaces("trigger_type", "a  b")]
    #[case::long(
        "events",
        "a.b,c.d,e.f,g.h,i.j,k.l,m.n,o.p,q.r,s.t,u.v,w.x,a.b,c.d,e.f,g.h,i.j,k.l,m.n,o.p,q.r,s.t,u.v,w.x,a.b,c.d,e.f,g.h,i.j,k.l,m.n,o.p,q.r"
    )]
    fn a_filter_names_types(#[case] name: &str, #[case] text: &str) {
        let (_, faults) = read_query::<WebhookQuery>(vec![(name.to_owned(), text.to_owned())]).into_parts();
        assert_eq!(faults.iter().map(|fault| fault.pointer.as_str()).collect::<Vec<_>>(), [format!("/{name}")]);
    }
}
