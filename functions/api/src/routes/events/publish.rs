//! Publishes events that an application sends. They are handled like the events of tables.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use aws::StoreError;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use domain::budget::Counts;
use domain::event::Event;
use domain::event::hops::Hops;
use domain::event::published::{Draft, MAX_EVENT_BYTES};
use domain::event::types::EventType;
use domain::id::EventId;
use domain::joined;
use domain::value::Map;
use futures::future::try_join_all;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::openapi::schema::{ArrayBuilder, Schema as Form};
use utoipa::openapi::{OneOfBuilder, Ref, RefOr};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use crate::App;
use crate::body::{RawBody, object, optional_object, parse_map, parse_object};
use crate::caller::Admin;
use crate::hops::RequestHops;
use crate::idempotency::FirstTry;
use crate::problem::{Fault, Problem, ProblemBody};
use crate::schema::{Budget, Schema, Unusable};
use crate::traces::{RequestSpan, RequestTrace};

mod results;

pub use results::{PublicationResult, PublicationResults, Published};

/// How many events one request may publish.
const MAX_EVENTS: usize = 100;

/// The longest id that a caller may choose for an event, in bytes.
const MAX_ID_BYTES: usize = 255;

/// How many events with ids are published at once: each takes a transaction.
const AT_ONCE: usize = 10;

/// A new event.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewEvent {
    /// What happened. The last word sets the operation: `updated` and `changed` mean an update, `deleted` and
    /// `softdeleted` a deletion, and any other word a creation.
    #[schema(value_type = String, max_length = 128, pattern = r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$", examples("invoice.paid"))]
    event_type: EventType,
    /// The entity as it is now; for a deletion, as it was. Numbers are kept exactly as sent.
    #[serde(deserialize_with = "object")]
    #[schema(value_type = Object, examples(json!({"total": 12.50})))]
    data: Map,
    /// The entity's id. Default: the event's own id.
    #[schema(min_length = 1, max_length = 255, pattern = r"^[^/\x00-\x1f\x7f-\x9f]+$", examples("in_1"))]
    entity_id: Option<String>,
    /// The kind of entity. Default: the type without its last word.
    #[schema(min_length = 1, max_length = 255, pattern = r"^[^/\x00-\x1f\x7f-\x9f]+(/[^/\x00-\x1f\x7f-\x9f]+)*$")]
    entity_key: Option<String>,
    /// The path of its collection. Default: the type without its last word, plus `s`.
    #[schema(min_length = 1, max_length = 255, pattern = r"^[^/\x00-\x1f\x7f-\x9f]+(/[^/\x00-\x1f\x7f-\x9f]+)*$")]
    collection: Option<String>,
    /// The entity before an update.
    #[serde(default, deserialize_with = "optional_object")]
    #[schema(value_type = Option<Object>)]
    old_data: Option<Map>,
    /// Your id for the event. If your application repeats it within 30 days, the event is reported as a duplicate and
    /// not published again.
    #[schema(min_length = 1, max_length = 255)]
    id: Option<String>,
}

/// The schema of the request body: one event, or a list of events.
pub struct NewEvents;

impl PartialSchema for NewEvents {
    fn schema() -> RefOr<Form> {
        let one = || Ref::from_schema_name("NewEvent");
        let several = ArrayBuilder::new().items(one()).min_items(Some(1)).max_items(Some(MAX_EVENTS));
        RefOr::T(OneOfBuilder::new().item(one()).item(several).build().into())
    }
}

impl ToSchema for NewEvents {
    fn schemas(schemas: &mut Vec<(String, RefOr<Form>)>) {
        schemas.push(("NewEvent".to_owned(), NewEvent::schema()));
        NewEvent::schemas(schemas);
    }
}

/// Publishes events
///
/// Publishes one event, or a list of up to 100. In a list, an invalid event does not stop the others; the answer is 207
/// with the result of each. Events go to every webhook that matches them, like changes of tables. After a 503, some
/// events may be published: send the request again with the same `Idempotency-Key` or the same `id`s, and no event is
/// published twice. If the request follows from a delivery, send its header `webhook-hops` along, so that Dynahook can
/// stop loops. A W3C `traceparent` header is passed on to the receivers, so that the deliveries belong to your trace.
#[utoipa::path(post, path = "/events", tag = "Events", request_body(content = inline(NewEvents)),
    responses(
        (status = 202, description = "It is published", body = Published),
        (status = 207, description = "The result of each event", body = PublicationResults),
        (status = 409, description = "The idempotency key is in use", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(crate) async fn publish(
    State(app): State<Arc<App>>,
    admin: Admin,
    first_try: Option<Extension<FirstTry>>,
    hops: RequestHops,
    trace: RequestTrace,
    RawBody(body): RawBody,
) -> Result<Response, Problem> {
    let span = RequestSpan::start(&app, trace);
    let publisher = Publisher::new(&app, admin, first_try, (hops, span));
    let response = publisher.answer(&body).await;
    let status = response.as_ref().map_or_else(Problem::status, Response::status);
    span.end(&app, &publisher.admin.tenant, "/api/v1/integration/events", status);
    response
}

impl Publisher<'_> {
    /// Publishes the event or the list of events of a request.
    async fn answer(&self, body: &RawValue) -> Result<Response, Problem> {
        if !body.get().starts_with('[') {
            let new = parse_object(body.get().as_bytes())?;
            return Ok((StatusCode::ACCEPTED, Json(self.publish_one(new).await?)).into_response());
        }
        let bodies: Vec<&RawValue> =
            serde_json::from_str(body.get()).map_err(|error| Problem::Malformed(error.to_string()))?;
        if !(1..=MAX_EVENTS).contains(&bodies.len()) {
            return Err(Problem::Invalid(vec![Fault::field("", format!("must be 1 to {MAX_EVENTS} events"))]));
        }
        let new = bodies.into_iter().map(|body| parse_object(body.get().as_bytes())).collect();
        let results = self.publish(new).await?.into_iter().map(PublicationResult::from).collect();
        Ok((StatusCode::MULTI_STATUS, Json(PublicationResults { results })).into_response())
    }
}

/// An event type, and the entity that the event is about.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "describes path parameters")]
pub struct AboutPath {
    /// The event's type: at least two words.
    #[param(max_length = 128, pattern = r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+$", example = "contact.changed")]
    id: String,
    /// The id of the entity. It must not be a word that follows a webhook's id in other paths, such as `pause`.
    #[param(max_length = 255, pattern = r"^[^/\x00-\x1f\x7f-\x9f]+$", example = "1234")]
    entity: String,
}

/// Publishes an event (SuperOffice-compatible path)
///
/// The body is the event's data. If the request follows from a delivery, send its header `webhook-hops` along. A W3C
/// `traceparent` header is passed on to the receivers.
#[utoipa::path(post, path = "/webhooks/{id}/{entity}", tag = "Events", params(AboutPath),
    request_body(content = serde_json::Map<String, serde_json::Value>),
    responses(
        (status = 202, description = "It is published", body = Published),
    ))]
pub(crate) async fn publish_about(
    State(app): State<Arc<App>>,
    admin: Admin,
    first_try: Option<Extension<FirstTry>>,
    Path((event_type, entity)): Path<(String, String)>,
    hops: RequestHops,
    trace: RequestTrace,
    RawBody(body): RawBody,
) -> Result<(StatusCode, Json<Published>), Problem> {
    let span = RequestSpan::start(&app, trace);
    // Every other path below a webhook's id is an action, and a misspelt one must not become an event.
    let event_type = event_type.contains('.').then(|| event_type.parse().ok()).flatten();
    let event_type = event_type.ok_or(Problem::NotFound("path"))?;
    let data = parse_map(body.get().as_bytes())?;
    let new = NewEvent {
        event_type,
        data,
        entity_id: Some(entity),
        entity_key: None,
        collection: None,
        old_data: None,
        id: None,
    };
    let publisher = Publisher::new(&app, admin, first_try, (hops, span));
    let answer = match publisher.publish_one(new).await {
        Ok(event) => Ok((StatusCode::ACCEPTED, Json(event))),
        Err(Problem::Invalid(faults)) if faults.iter().any(|fault| fault.pointer == "#/entity_id") => {
            Err(Problem::NotFound("path"))
        }
        Err(problem) => Err(problem.within("/data")),
    };
    let status = answer.as_ref().map_or_else(Problem::status, |(status, _)| *status);
    span.end(&app, &publisher.admin.tenant, "/api/v1/integration/webhooks/{id}/{entity}", status);
    answer
}

/// What all events of a request have in common.
struct Publisher<'a> {
    app: &'a App,
    admin: Admin,
    first_try: Option<FirstTry>,
    at: Timestamp,
    hops: Hops,
    span: RequestSpan,
}

/// The schemas of a request's event types; `None` if the schema exceeded the request's limit of compiled schemas.
type Schemas = HashMap<EventType, Option<Arc<Schema>>>;

const TOO_MANY_SCHEMAS: &str =
    "has a schema that exceeds the limit of this request; send events of fewer types at once, or this one again";

/// A valid event, and the caller's own id for it.
struct Ready {
    event: Event,
    own_id: Option<String>,
    /// The size of its JSON, in bytes.
    bytes: u64,
}

impl<'a> Publisher<'a> {
    fn new(
        app: &'a App,
        admin: Admin,
        first_try: Option<Extension<FirstTry>>,
        (RequestHops(hops), span): (RequestHops, RequestSpan),
    ) -> Self {
        let first_try = first_try.map(|Extension(first_try)| first_try);
        let at = first_try.as_ref().map_or_else(|| app.clock.now(), FirstTry::at);
        Self { app, admin, first_try, at, hops, span }
    }

    async fn publish_one(&self, new: NewEvent) -> Result<Published, Problem> {
        let mut said = self.publish(vec![Ok(new)]).await?;
        said.pop().unwrap_or(Err(Problem::Invalid(Vec::new())))
    }

    /// Publishes the valid events, and returns the result of each.
    async fn publish(&self, new: Vec<Result<NewEvent, Problem>>) -> Result<Vec<Result<Published, Problem>>, Problem> {
        let types: HashSet<_> = new.iter().flatten().map(|new| &new.event_type).collect();
        // A type may be described by its other name.
        let synonyms: Vec<_> = types.iter().filter_map(|event_type| event_type.synonym()).collect();
        let types = types.into_iter().chain(&synonyms).collect();
        let schemas = self.app.registry.schemas(&self.admin.tenant, types).await?;
        let mut budget = Budget::default();
        let schemas = schemas.into_iter().map(|(event_type, text)| match self.app.schemas.get(&text, &mut budget) {
            Ok(schema) => Ok((event_type, Some(schema))),
            Err(Unusable::TooMany) => Ok((event_type, None)),
            // The schema was accepted when it was stored.
            Err(Unusable::Broken(why)) => {
                Err(StoreError::Inconsistent { key: format!("the schema of {event_type}"), why })
            }
        });
        let schemas: Schemas = schemas.collect::<Result<_, _>>()?;
        let ready = new.into_iter().enumerate();
        let ready: Vec<_> = ready.map(|(index, new)| self.ready(index, new?, &schemas, &mut budget)).collect();
        let ids = self.store(&ready.iter().flatten().collect::<Vec<_>>()).await?;
        tracing::info!(tenant.id = %self.admin.tenant, by = self.admin.subject, count = ids.len(), "events published");
        let mut ids = ids.into_iter();
        let said = ready.into_iter().map(|ready| {
            let event = ready?.event;
            let (id, duplicate) = ids.next().unwrap_or((event.id, false));
            Ok(Published { id, event_type: event.event_type, duplicate })
        });
        Ok(said.collect())
    }

    fn ready(&self, index: usize, new: NewEvent, schemas: &Schemas, budget: &mut Budget) -> Result<Ready, Problem> {
        let NewEvent { event_type, data, entity_id, entity_key, collection, old_data, id: own_id } = new;
        let draft = Draft { event_type, entity_id, entity_key, collection, data, old_data };
        let mut faults: Vec<_> = draft.check().into_iter().map(Fault::from).collect();
        if own_id.as_ref().is_some_and(|id| !(1..=MAX_ID_BYTES).contains(&id.len())) {
            faults.push(Fault::field("/id", format!("must be 1 to {MAX_ID_BYTES} bytes")));
        }
        let described = schemas.get(&draft.event_type);
        match described.or_else(|| schemas.get(&draft.event_type.synonym()?)) {
            None => {}
            Some(Some(schema)) => faults.extend(schema.faults(&draft.data, "/data", budget)),
            Some(None) => faults.push(Fault::field("/event_type", TOO_MANY_SCHEMAS)),
        }
        let id = match &self.first_try {
            Some(first_try) => first_try.event_id(index),
            None => EventId::from_parts(self.at, runtime::random::bits()),
        };
        let event = draft.event(id, self.admin.tenant.clone(), self.admin.app.clone(), self.at);
        let event = Event { hops: self.hops, traceparent: self.span.context, ..event };
        let bytes = serde_json::to_string(&event).map_or(usize::MAX, |json| json.len());
        if bytes > MAX_EVENT_BYTES {
            faults.push(Fault::field("", format!("must be at most {MAX_EVENT_BYTES} bytes as an event")));
        }
        let bytes = bytes as u64;
        if faults.is_empty() { Ok(Ready { event, own_id, bytes }) } else { Err(Problem::Invalid(faults)) }
    }

    /// Publishes events; returns the id of each, and whether it was published before.
    async fn store(&self, ready: &[&Ready]) -> Result<Vec<(EventId, bool)>, Problem> {
        // No application has an empty name, so the tenant itself has a scope of its own.
        let app = self.admin.app.as_ref().map_or("", |app| app.as_str());
        let scope = &joined::key(&["T", self.admin.tenant.as_str(), app]);
        // Look for earlier publications before spending the budget: duplicates spend nothing, and get the same answer
        // even if the budget is used up.
        let own_ids = ready.iter().filter_map(|ready| ready.own_id.as_deref());
        let earlier = self.app.events.earlier(scope, own_ids, self.at).await?;
        let published = earlier.into_iter().filter_map(|(own_id, earlier)| Some((own_id, earlier.event?)));
        let mut ids: HashMap<&str, EventId> = published.collect();
        let new = unpublished(ready, &ids);
        // Spend for all events of the request or for none, so that a caller need not find out which events exceeded the
        // budget.
        let counts = new.iter().map(|new| Counts { events: 1, published_bytes: new.bytes, ..Counts::default() });
        let more = counts.fold(Counts::default(), Counts::and);
        self.app.usage.spend(&self.admin.tenant, more, self.app.clock.now()).await?;
        let plain = new.iter().filter(|new| new.own_id.is_none()).map(|new| new.event.clone());
        let plain: Vec<_> = plain.collect();
        if !plain.is_empty() {
            self.app.events.publish(&plain, self.at).await?;
        }
        let once = new.iter().filter_map(|new| Some((new.own_id.as_deref()?, &new.event)));
        for some in once.collect::<Vec<_>>().chunks(AT_ONCE) {
            let publishing = some.iter().map(|(own_id, event)| async move {
                let id = self.app.events.publish_once(event, (scope, own_id), self.at).await?;
                Ok::<_, StoreError>((*own_id, id))
            });
            ids.extend(try_join_all(publishing).await?);
        }
        let said = ready.iter().map(|Ready { event, own_id, .. }| {
            let id = own_id.as_deref().and_then(|own_id| ids.get(own_id).copied()).unwrap_or(event.id);
            (id, id != event.id)
        });
        Ok(said.collect())
    }
}

/// Returns the events of a request that are not published yet. Of several events with the same own id it returns the
/// first.
fn unpublished<'a>(ready: &[&'a Ready], published: &HashMap<&str, EventId>) -> Vec<&'a Ready> {
    let mut seen = HashSet::new();
    let mut is_new = |id: &'a str| !published.contains_key(id) && seen.insert(id);
    ready.iter().copied().filter(|ready| ready.own_id.as_deref().is_none_or(&mut is_new)).collect()
}

#[cfg(test)]
mod tests;
