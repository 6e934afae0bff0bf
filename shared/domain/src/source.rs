//! How the items of a table become events.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use crate::event::{Entity, Event, EventType, Operation, Removal};
use crate::hops::Hops;
use crate::id::EventId;
use crate::tenant::{AppId, NameError, TenantId};
use crate::value::{Map, Value, changed_paths};

mod mapping;
mod template;

pub use mapping::{Mapping, Selector};
pub use template::{ParseTemplateError, Template};

/// A DynamoDB table with a stream, and how its items map to events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The table's name.
    #[schema(min_length = 3, max_length = 255, pattern = "^[A-Za-z0-9_.-]+$", examples("orders"))]
    pub table: String,
    /// The kinds of entities in the table. An item belongs to the first kind that matches it. An item that matches no
    /// kind makes no event.
    #[schema(min_items = 1, max_items = 50)]
    pub entities: Vec<Mapping>,
}

/// What a stream says of one change: names and values, without the stream's own encoding.
#[derive(Debug, Clone)]
pub struct Change {
    /// The id that the stream gave the change; unique over all tables.
    pub stream_event_id: String,
    /// Orders the changes of an item: digits, as many for every change.
    pub sequence: String,
    /// When it was committed.
    pub at: Timestamp,
    /// Whether the item's time to live ended.
    pub expired: bool,
    /// The images.
    pub images: Images,
}

/// The item before and after a change.
#[derive(Debug, Clone)]
pub enum Images {
    /// The item is new.
    Insert(Map),
    /// The item changed, from the first image to the second.
    Modify(Map, Map),
    /// The item is gone; this was its last image.
    Remove(Map),
}

/// Why an image cannot become an event. Says names, never values: it stands in logs and on a queue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// The mapping names an attribute that the item lacks.
    #[error("the item has no attribute {attribute:?}, which the source names for its {role}")]
    Missing {
        /// The attribute.
        attribute: String,
        /// What the source uses it for.
        role: &'static str,
    },
    /// The attribute cannot stand for what the source uses it for.
    #[error(
        "attribute {attribute:?}, which the source names for the {role}, is not a non-empty string or a number{}",
        starts_with(prefix)
    )]
    NotText {
        /// The attribute.
        attribute: String,
        /// What the source uses it for.
        role: &'static str,
        /// What it must start with, if anything.
        prefix: String,
    },
    /// The tenant or the application is not one.
    #[error("what the source names for the {role} does not hold one: it {source}")]
    Name {
        /// Tenant or application.
        role: &'static str,
        /// What one looks like.
        source: NameError,
    },
}

fn starts_with(prefix: &str) -> String {
    if prefix.is_empty() { String::new() } else { format!(" that starts with {prefix:?}") }
}

/// Where an image stands: it is the same entity as another one if this is the same.
#[derive(Debug, PartialEq, Eq)]
struct Place<'a> {
    mapping: &'a Mapping,
    tenant: TenantId,
    app: Option<AppId>,
    id: String,
    collection: String,
}

impl Source {
    /// Turns a change into the events it is: usually one.
    ///
    /// A write that changed nothing that anybody may see is none, and so is one of an item of no kind. A change of the
    /// soft-delete attribute to true is a deletion, and back a creation. An item that moved from one tenant, application,
    /// kind or collection to another is two events, a deletion where it was and a creation where it is, so that neither side
    /// sees the other's values.
    ///
    /// # Errors
    ///
    /// If an image lacks what the mapping names.
    pub fn events(&self, change: Change) -> Result<Vec<Event>, MapError> {
        let Change { images, .. } = &change;
        let (old, new) = match images {
            Images::Insert(new) => (None, Some(new)),
            Images::Modify(old, new) => (Some(old), Some(new)),
            Images::Remove(old) => (Some(old), None),
        };
        let place = |image: Option<&Map>| image.map_or(Ok(None), |image| self.place(image));
        Ok(match (place(old)?, place(new)?) {
            (Some(was), Some(is)) if was == is => self.updated(is, change).into_iter().collect(),
            (None, Some(is)) => vec![self.entered(is, change, "")],
            (Some(was), None) => vec![self.left(was, change, "")],
            (Some(was), Some(is)) => vec![self.left(was, change.clone(), "left"), self.entered(is, change, "entered")],
            (None, None) => Vec::new(),
        })
    }

    fn place(&self, image: &Map) -> Result<Option<Place<'_>>, MapError> {
        let mapping = self.entities.iter().find(|mapping| mapping.when.as_ref().is_none_or(|when| when.holds(image)));
        mapping.map(|mapping| mapping.place(image)).transpose()
    }

    fn updated(&self, place: Place<'_>, change: Change) -> Option<Event> {
        let id = self.event_id(&change, "");
        let Images::Modify(mut old, mut new) = change.images else { return None };
        let mapping = place.mapping;
        mapping.redact(&mut old);
        mapping.redact(&mut new);
        let update_mask = changed_paths(&old, &new);
        if !mapping.is_visible(&old, &new) {
            return None;
        }
        let (operation, removal) = match (mapping.is_soft_deleted(&old), mapping.is_soft_deleted(&new)) {
            (false, true) => (Operation::Deleted, Some(Removal::Soft)),
            (true, false) => (Operation::Created, None),
            (true, true) | (false, false) => (Operation::Updated, None),
        };
        let mut event = self.event(id, place, operation, change.at, change.sequence);
        let path = event.entity.path();
        let mut old = mapping.state(&path, old);
        let mut new = mapping.state(&path, new);
        // What the table does not say, the stream does: the commit is the last change.
        new.update_time.get_or_insert_with(|| rfc3339(change.at));
        mapping.take_related(&mut old.properties);
        event.entity.related = mapping.take_related(&mut new.properties);
        Some(Event { old: Some(old), new: Some(new), update_mask: Some(update_mask), removal, ..event })
    }

    fn entered(&self, place: Place<'_>, change: Change, part: &str) -> Event {
        let id = self.event_id(&change, part);
        let (Images::Insert(mut image) | Images::Modify(_, mut image) | Images::Remove(mut image)) = change.images;
        let mapping = place.mapping;
        mapping.redact(&mut image);
        let mut event = self.event(id, place, Operation::Created, change.at, change.sequence);
        let mut state = mapping.state(&event.entity.path(), image);
        state.update_time.get_or_insert_with(|| rfc3339(change.at));
        state.create_time.get_or_insert_with(|| rfc3339(change.at));
        event.entity.related = mapping.take_related(&mut state.properties);
        Event { new: Some(state), ..event }
    }

    fn left(&self, place: Place<'_>, change: Change, part: &str) -> Event {
        let id = self.event_id(&change, part);
        let (Images::Insert(mut image) | Images::Modify(mut image, _) | Images::Remove(mut image)) = change.images;
        let mapping = place.mapping;
        mapping.redact(&mut image);
        let mut event = self.event(id, place, Operation::Deleted, change.at, change.sequence);
        let mut state = mapping.state(&event.entity.path(), image);
        event.entity.related = mapping.take_related(&mut state.properties);
        Event { old: Some(state), removal: change.expired.then_some(Removal::Expired), ..event }
    }

    fn event_id(&self, change: &Change, part: &str) -> EventId {
        EventId::derive(change.at, &[&self.table, &change.stream_event_id, part])
    }

    fn event(&self, id: EventId, place: Place<'_>, operation: Operation, at: Timestamp, sequence: String) -> Event {
        let Place { mapping, tenant, app, id: entity_id, collection } = place;
        Event {
            source: self.table.clone(),
            id,
            tenant,
            app,
            event_type: EventType::of(&mapping.entity, operation),
            operation,
            at,
            sequence,
            entity: Entity {
                id: entity_id,
                key: mapping.entity_key.clone().unwrap_or_else(|| mapping.entity.to_string()),
                collection,
                collection_template: (!mapping.collection.is_fixed()).then(|| mapping.collection.to_string()),
                related: Map::new(),
            },
            old: None,
            new: None,
            update_mask: None,
            removal: None,
            hops: Hops::NONE,
        }
    }
}

/// Names a state of an entity by its content. Whoever gets the name could look for the content by guessing, so that it is given
/// to nobody without [a key](Event::name_states).
///
/// # Panics
///
/// Never: every key is a string, so there is nothing that could not be written.
#[must_use]
pub fn state_id(entity_path: &str, properties: &Map) -> String {
    let mut hash = Sha256::new();
    hash.update(entity_path);
    hash.update([0]);
    hash.update(serde_json::to_vec(properties).expect("properties are JSON"));
    hex::encode(&hash.finalize()[..12])
}

/// Returns a time as payloads show it: ISO 8601 in UTC, with milliseconds.
#[must_use]
pub fn rfc3339(at: Timestamp) -> String {
    format!("{at:.3}")
}

/// Reads a time attribute: text is the application's own and stays as it is, a number counts seconds since 1970.
fn time(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) => {
            let seconds: f64 = value.as_text()?.parse().ok()?;
            let duration = jiff::SignedDuration::try_from_secs_f64(seconds).ok()?;
            Timestamp::from_duration(duration).ok().map(rfc3339)
        }
        Value::Null | Value::Bool(_) | Value::List(_) | Value::Map(_) => None,
    }
}

#[cfg(test)]
pub(crate) mod tests;
