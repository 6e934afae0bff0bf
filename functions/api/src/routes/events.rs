//! `/events`: events from tables' streams and published ones. For an admin of the tenant.

use std::sync::Arc;
use std::time::Duration;

use aws::events::Range;
use axum::Json;
use axum::extract::{Path, State};
use domain::access::tenant::AppId;
use domain::event::hops::Hops;
use domain::event::pattern::EventPattern;
use domain::event::state::State as EntityState;
use domain::event::types::{EventType, Operation};
use domain::event::{Entity, Event, Removal};
use domain::id::EventId;
use domain::value::Map;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::App;
use crate::body::Query;
use crate::caller::Admin;
use crate::events::{EntityPath, kept, visible};
use crate::page::{Limit, Page};
use crate::problem::Problem;

pub mod publish;

const DAY: Duration = Duration::from_hours(24);

/// How far back a list goes by default, in days.
const DEFAULT_DAYS: u32 = 7;

/// An event.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Event)]
pub struct EventBody {
    /// `evt_` and a ULID.
    #[schema(value_type = String)]
    id: EventId,
    /// The table that changed, `published`, or `dynahook` for events about webhooks and deliveries.
    source: String,
    #[schema(value_type = String, examples("packet.updated"))]
    event_type: EventType,
    operation: Operation,
    /// When it happened.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// The application to which it belongs, if any.
    #[schema(value_type = Option<String>)]
    app_id: Option<AppId>,
    entity: EntityBody,
    /// Orders the events of one entity: as text, the sequence of a later event is greater.
    sequence: String,
    /// Identifies the entity's state after the event; equal content has an equal id. `null` for published events, for
    /// which it is computed later.
    state_id: Option<String>,
    /// Identifies the entity's state before the event.
    previous_state_id: Option<String>,
    /// How many deliveries in a chain led to it: 0 unless it follows from a delivery. An event with 5 is not delivered
    /// further.
    #[schema(value_type = u8, minimum = 0, maximum = 5)]
    hops: Hops,
    /// The paths at which the two states differ, if there are two.
    update_mask: Option<Vec<String>>,
    /// For some deletions: `soft` if the item was only marked as deleted, `expired` if its time to live ended.
    #[schema(value_type = Option<String>)]
    removal: Option<Removal>,
    data: DataBody,
}

/// The entity of an event.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Entity)]
pub struct EntityBody {
    id: String,
    /// The kind of entity.
    key: String,
    /// The path of its collection, and its id.
    path: String,
    /// The path of its collection.
    collection: String,
}

/// The entity after and before an event.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EventData)]
pub struct DataBody {
    /// `null` if the entity was deleted.
    #[schema(value_type = Option<Object>)]
    value: Option<Map>,
    /// `null` if the entity is new, or its old state is unknown.
    #[schema(value_type = Option<Object>)]
    old_value: Option<Map>,
}

impl From<Event> for EventBody {
    fn from(event: Event) -> Self {
        let path = event.entity.path();
        let Event {
            id,
            source,
            event_type,
            operation,
            at,
            app,
            entity,
            sequence,
            old,
            new,
            update_mask,
            removal,
            hops,
            ..
        } = event;
        let Entity { id: entity_id, key, collection, .. } = entity;
        let state_id =
            |state: &Option<EntityState>| state.as_ref().map(|state| state.id.clone()).filter(|id| !id.is_empty());
        Self {
            id,
            source,
            event_type,
            operation,
            at,
            app_id: app,
            entity: EntityBody { id: entity_id, key, path, collection },
            sequence,
            state_id: state_id(&new),
            previous_state_id: state_id(&old),
            hops,
            update_mask,
            removal,
            data: DataBody {
                value: new.map(|state| state.properties.into_map()),
                old_value: old.map(|state| state.properties.into_map()),
            },
        }
    }
}

/// A page of events.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventList {
    /// Newest first. A page may have fewer entries than requested, or none, and still not be the last one.
    data: Vec<EventBody>,
    /// The `cursor` of the next page; `null` if this is the last page.
    #[schema(value_type = Option<String>)]
    next_cursor: Option<EventId>,
}

/// The filters of the list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventQuery {
    /// The `next_cursor` of the previous page.
    #[param(value_type = String, required = false, pattern = "^evt_[0-7][0-9A-HJKMNP-TV-Z]{25}$")]
    cursor: Option<String>,
    /// The maximum number of entries.
    #[param(value_type = u8, required = false, minimum = 1, maximum = 100, default = 50)]
    limit: Option<Limit>,
    /// Only those of this type or group (`packet.*`, `*.deleted`), or of this derived type (`packet.status_changed`).
    #[param(value_type = String, required = false, max_length = 128, pattern = r"^(\*|\*(\.[A-Za-z0-9_-]+)+|[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*(\.\*)?)$")]
    event_type: Option<EventPattern>,
    /// Only those of this table, or of `published` or `dynahook`.
    #[param(value_type = String, required = false)]
    source: Option<String>,
    /// Only those about the entity with this path: its collection and its id, as in `entity.path`.
    #[param(value_type = String, required = false, min_length = 3, max_length = 512, pattern = "^.+/.+$", example = "orders/3")]
    entity: Option<EntityPath>,
    /// Only those about the entity with this id.
    #[param(value_type = String, required = false)]
    entity_id: Option<String>,
    /// Only events at this time or later. Default: seven days ago. At most 90 days ago.
    #[param(value_type = String, format = DateTime, required = false)]
    from: Option<Timestamp>,
    /// Only events before this time.
    #[param(value_type = String, format = DateTime, required = false)]
    to: Option<Timestamp>,
}

impl EventQuery {
    fn wants(&self, event: &Event) -> bool {
        let of_type = |pattern: &EventPattern| {
            pattern.matches(&event.event_type) || event.derived_types().any(|derived| pattern.matches(&derived))
        };
        self.event_type.as_ref().is_none_or(of_type)
            && self.source.as_ref().is_none_or(|source| *source == event.source)
            && self.entity.as_ref().is_none_or(|entity| entity.0 == event.entity.path())
            && self.entity_id.as_ref().is_none_or(|id| *id == event.entity.id)
    }
}

/// Lists events
///
/// Newest first. Changes of tables are kept for as long as the deployment is configured to keep them, published events
/// for 30 days. An application sees its own events and those that belong to no application.
#[utoipa::path(get, path = "/events", tag = "Events", params(EventQuery),
    responses((status = 200, description = "A page", body = EventList)))]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    admin: Admin,
    Query(filter): Query<EventQuery>,
) -> Result<Json<EventList>, Problem> {
    let (below, limit) = Page::new(filter.cursor.clone(), filter.limit).read()?;
    let now = app.clock.now();
    let all = kept(now, below);
    let from = filter.from.unwrap_or(now - DAY * DEFAULT_DAYS).max(all.from);
    let range = Range { from, to: filter.to.unwrap_or(all.to).min(all.to), below, now };
    if range.from >= range.to {
        return Ok(Json(EventList { data: Vec::new(), next_cursor: None }));
    }
    let wanted = |event: &Event| event.is_visible_to(admin.app.as_ref()) && filter.wants(event);
    let page = app.events.list(&admin.tenant, range, limit, wanted).await?;
    Ok(Json(EventList { data: page.events.into_iter().map(EventBody::from).collect(), next_cursor: page.next }))
}

/// The id of an event.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "describes path parameters")]
pub struct EventPath {
    /// `evt_` and a ULID.
    #[param(pattern = "^evt_[0-7][0-9A-HJKMNP-TV-Z]{25}$", example = "evt_01JD3V7Q5N8Z4T6W9X2Y1R0PMK")]
    event_id: String,
}

/// Reads an event
#[utoipa::path(get, path = "/events/{event_id}", tag = "Events", params(EventPath),
    responses((status = 200, description = "The event", body = EventBody)))]
pub(super) async fn get(
    State(app): State<Arc<App>>,
    admin: Admin,
    Path(id): Path<String>,
) -> Result<Json<EventBody>, Problem> {
    let id = id.parse().map_err(|_| Problem::NotFound("event"))?;
    let event = visible(&app, &admin, id).await?.ok_or(Problem::NotFound("event"))?;
    Ok(Json(event.into()))
}
