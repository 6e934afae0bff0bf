//! `POST /sources/{table}/preview`: what a mapping makes of sample items. For the operator.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use domain::access::tenant::{AppId, TenantId};
use domain::event::Event;
use domain::event::types::{EventType, Operation};
use domain::source::Source;
use domain::source::image::item;
use domain::source::preview::{Outcome, Preview};
use domain::source::related::Lookup;
use domain::value::Map;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::App;
use crate::body::JsonBody;
use crate::caller::Operator;
use crate::parameters::TablePath;
use crate::problem::{Fault, Problem};

/// The most items in a request.
const MAX_ITEMS: usize = 25;

/// Items on which a mapping is tried.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SourcePreview)]
pub struct PreviewRequest {
    /// The mapping. Default: the registered one.
    #[serde(default)]
    source: Option<Source>,
    /// The items.
    #[schema(min_items = 1, max_items = 25)]
    items: Vec<SampleItem>,
}

/// An item of the table: in DynamoDB's JSON, in which every value has its type, or in plain JSON.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SampleItem {
    /// The item.
    #[schema(value_type = Object, examples(json!({"tenant_id": "acme", "order_id": "o1", "total": 12.50})))]
    item: Box<RawValue>,
    /// The item before a change, to see what the change makes.
    #[serde(default)]
    #[schema(value_type = Option<Object>, examples(json!({"tenant_id": "acme", "order_id": "o1", "total": 0})))]
    previous: Option<Box<RawValue>>,
}

/// What a mapping makes of sample items.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SourcePreviewResult)]
pub struct PreviewBody {
    /// One entry for each item, in the same order.
    data: Vec<ItemBody>,
}

/// What a mapping makes of an item.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SourcePreviewItem)]
pub struct ItemBody {
    /// If the item were new.
    created: OutcomeBody,
    /// If it had been changed from `previous`; `null` without `previous`.
    updated: Option<OutcomeBody>,
    /// If it were removed.
    deleted: OutcomeBody,
}

/// The events that a change makes, or why it makes none.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SourcePreviewOutcome)]
pub struct OutcomeBody {
    /// Usually one event; two if the entity moved to another tenant, application or collection.
    events: Vec<EventPreview>,
    /// Why there is no event; `null` if there is one.
    #[schema(examples("the item has no attribute \"order_id\", which the source names for its entity id"))]
    reason: Option<String>,
    /// Whether such a change is a failure, which is listed and goes to stream-failures.
    fails: bool,
}

/// An event that a change would make.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SourcePreviewEvent)]
pub struct EventPreview {
    #[schema(value_type = String, examples("order.created"))]
    event_type: EventType,
    operation: Operation,
    /// The tenant whose webhooks get it.
    #[schema(value_type = String, examples("acme"))]
    tenant: TenantId,
    #[schema(value_type = Option<String>)]
    app: Option<AppId>,
    /// The path of the entity.
    #[schema(examples("orders/o1"))]
    entity_path: String,
    /// The entity's kind in payloads.
    #[schema(examples("order"))]
    entity_key: String,
    /// The entity's properties, without redacted ones. Of a deleted entity, the last ones.
    #[schema(value_type = Object, examples(json!({"tenant_id": "acme", "order_id": "o1", "total": 12.50})))]
    properties: Map,
    create_time: Option<String>,
    update_time: Option<String>,
    /// The fields that changed; `null` for an entity that is new or deleted.
    update_mask: Option<Vec<String>>,
    /// What payloads contain next to the entity. Lists of queries are empty here.
    #[schema(value_type = Object, examples(json!({"entityComments": []})))]
    related: Map,
    /// The queries that fan-out would make for the lists.
    related_queries: Vec<Lookup>,
}

impl From<(Event, Vec<Lookup>)> for EventPreview {
    fn from((event, related_queries): (Event, Vec<Lookup>)) -> Self {
        let entity_path = event.entity.path();
        let Event { event_type, operation, tenant, app, entity, old, new, update_mask, .. } = event;
        let state = new.or(old);
        let (create_time, update_time) =
            state.as_ref().map_or((None, None), |state| (state.create_time.clone(), state.update_time.clone()));
        let properties = state.map(|state| state.properties.into_map()).unwrap_or_default();
        let (entity_key, related) = (entity.key, entity.related);
        Self {
            event_type,
            operation,
            tenant,
            app,
            entity_path,
            entity_key,
            properties,
            create_time,
            update_time,
            update_mask,
            related,
            related_queries,
        }
    }
}

impl From<Outcome> for OutcomeBody {
    fn from(outcome: Outcome) -> Self {
        let none = |reason: String, fails| Self { events: Vec::new(), reason: Some(reason), fails };
        match outcome {
            Outcome::Events(events) => {
                Self { events: events.into_iter().map(EventPreview::from).collect(), reason: None, fails: false }
            }
            Outcome::NoKind => none("no `when` of the mapping selects the item".to_owned(), false),
            Outcome::NothingChanged => none("nothing changed except fields that `ignore` names".to_owned(), false),
            Outcome::Failed(error) => none(error.to_string(), true),
        }
    }
}

impl From<Preview> for ItemBody {
    fn from(Preview { created, updated, deleted }: Preview) -> Self {
        Self { created: created.into(), updated: updated.map(OutcomeBody::from), deleted: deleted.into() }
    }
}

/// An item, and the item before a change.
type Sample = (Map, Option<Map>);

/// Reads the items, or says what is wrong with them.
fn samples(items: &[SampleItem], faults: &mut Vec<Fault>) -> Vec<Sample> {
    if !(1..=MAX_ITEMS).contains(&items.len()) {
        faults.push(Fault::field("/items", format!("must have 1 to {MAX_ITEMS} entries")));
    }
    let mut read = |raw: &RawValue, pointer: String| {
        item(raw.get()).map_err(|error| faults.push(Fault::field(&pointer, error.to_string()))).ok()
    };
    let samples = items.iter().enumerate().filter_map(|(index, sample)| {
        let previous = sample.previous.as_deref().map(|raw| read(raw, format!("/items/{index}/previous")));
        Some((read(&sample.item, format!("/items/{index}/item"))?, previous.flatten()))
    });
    samples.collect()
}

/// Tries a mapping
///
/// Shows the events that creating, changing and removing each of the items would make, or the reason why there would be
/// none. Nothing is stored or sent. The table need not be registered if the request contains the mapping.
#[utoipa::path(post, path = "/sources/{table}/preview", tag = "Sources", operation_id = "preview", request_body = PreviewRequest,
    params(TablePath),
    responses((status = 200, description = "What the mapping makes of the items", body = PreviewBody)))]
pub(crate) async fn preview(
    State(app): State<Arc<App>>,
    _: Operator,
    Path(table): Path<String>,
    JsonBody(PreviewRequest { source, items }): JsonBody<PreviewRequest>,
) -> Result<Json<PreviewBody>, Problem> {
    let mut faults = Vec::new();
    if let Some(source) = &source {
        faults.extend(source.check().into_iter().map(|fault| Fault::from(fault.below("/source"))));
        if source.table != table {
            faults.push(Fault::field("/source/table", "must be the table of the path"));
        }
    }
    let samples = samples(&items, &mut faults);
    if !faults.is_empty() {
        return Err(Problem::Invalid(faults));
    }
    let source = match source {
        Some(source) => source,
        None => app.registry.source(&table).await?.ok_or(Problem::NotFound("source"))?,
    };
    let at = app.clock.now();
    let data = samples.iter().map(|(item, previous)| source.preview(item, previous.as_ref(), at).into());
    Ok(Json(PreviewBody { data: data.collect() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_every_item_that_cannot_be_read() {
        let request = br#"{"items": [{"item": {}}, {"item": {"n": {"N": "x"}}, "previous": []}, {"item": {"a": 1}}]}"#;
        let request: PreviewRequest = crate::body::parse(request).unwrap();
        let mut faults = Vec::new();
        assert_eq!(samples(&request.items, &mut faults).len(), 1);
        let pointers: Vec<_> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
        assert_eq!(pointers, ["#/items/0/item", "#/items/1/previous", "#/items/1/item"]);
    }
}
