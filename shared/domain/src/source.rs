//! Turns changes of a table's items into events.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::event::hops::Hops;
use crate::event::operational::{OPERATIONAL, PUBLISHED};
use crate::event::types::{EventType, Operation};
use crate::event::{Entity, Event, Removal};
use crate::fault::FieldError;
use crate::id::EventId;
use crate::time::rfc3339;
use crate::value::{Map, changed_paths};

pub mod error;
pub mod failure;
pub mod image;
pub mod kinds;
pub mod lookup;
pub mod mapping;
pub mod preview;
pub mod record;
pub mod related;
pub mod template;

use error::MapError;
use mapping::{Mapping, Place};

/// The largest number of kinds of entities in a table.
const MAX_ENTITIES: usize = 50;

/// A DynamoDB table with a stream, and how its items map to events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The table's name.
    #[schema(min_length = 3, max_length = 255, pattern = "^[A-Za-z0-9_.-]+$", examples("orders"))]
    pub table: String,
    /// The kinds of entities in the table. An item belongs to the first kind that matches it. An item that matches no
    /// kind causes no event.
    #[schema(min_items = 1, max_items = 50)]
    pub entities: Vec<Mapping>,
}

/// A change from a stream, decoded into names and values.
#[derive(Debug, Clone)]
pub struct Change {
    /// The change's id from the stream, unique across all tables.
    pub stream_event_id: String,
    /// Orders the changes of an item: digits, with the same length for every change.
    pub sequence: String,
    /// When the change was committed.
    pub at: Timestamp,
    /// Whether the item was removed because its time to live expired.
    pub expired: bool,
    /// The item before and after the change.
    pub images: Images,
}

/// The item before and after a change.
#[derive(Debug, Clone)]
pub enum Images {
    /// The item is new.
    Insert(Map),
    /// The item changed, from the first image to the second.
    Modify(Map, Map),
    /// The item was removed; this was its last image.
    Remove(Map),
}

impl Source {
    /// Converts a change into events, usually one.
    ///
    /// A write that changes nothing visible results in no event, and neither does an item of no known kind. A change of
    /// the soft-delete attribute to true is a deletion, and a change back is a creation. An item that moved to another
    /// tenant, application, kind or collection results in two events: a deletion in the old place and a creation in the
    /// new one, so that neither side sees the other's values.
    ///
    /// # Errors
    ///
    /// If an image lacks an attribute that the mapping names.
    pub fn events(&self, change: Change) -> Result<Vec<Event>, MapError> {
        let Change { images, .. } = &change;
        let (old, new) = match images {
            Images::Insert(new) => (None, Some(new)),
            Images::Modify(old, new) => (Some(old), Some(new)),
            Images::Remove(old) => (Some(old), None),
        };
        let place = |image: Option<&Map>| image.map_or(Ok(None), |image| self.place(image));
        Ok(match (place(old)?, new) {
            (Some(was), Some(new)) if self.is_at(&was, new) => self.updated(was, change)?.into_iter().collect(),
            (was, new) => match (was, place(new)?) {
                (None, Some(is)) => vec![self.entered(is, change, "")?],
                (Some(was), None) => vec![self.left(was, change, "")?],
                (Some(was), Some(is)) => {
                    vec![self.left(was, change.clone(), "left")?, self.entered(is, change, "entered")?]
                }
                (None, None) => Vec::new(),
            },
        })
    }

    /// Returns how items of an image's kind become events.
    fn mapping(&self, image: &Map) -> Option<&Mapping> {
        self.entities.iter().find(|mapping| mapping.when.as_ref().is_none_or(|when| when.holds(image)))
    }

    fn is_at(&self, place: &Place<'_>, image: &Map) -> bool {
        self.mapping(image).is_some_and(|mapping| mapping.is_at(place, image))
    }

    fn place(&self, image: &Map) -> Result<Option<Place<'_>>, MapError> {
        self.mapping(image).map(|mapping| mapping.place(image)).transpose()
    }

    fn updated(&self, place: Place<'_>, change: Change) -> Result<Option<Event>, MapError> {
        let id = self.event_id(&change, "");
        let Images::Modify(mut old, mut new) = change.images else { return Ok(None) };
        let mapping = place.mapping;
        mapping.redact(&mut old);
        mapping.redact(&mut new);
        let update_mask = changed_paths(&old, &new);
        if !mapping.is_visible(&old, &new, &update_mask) {
            return Ok(None);
        }
        let (operation, removal) = match (mapping.is_soft_deleted(&old), mapping.is_soft_deleted(&new)) {
            (false, true) => (Operation::Deleted, Some(Removal::Soft)),
            (true, false) => (Operation::Created, None),
            (true, true) | (false, false) => (Operation::Updated, None),
        };
        let mut event = self.event(id, place, operation, change.at, change.sequence);
        let path = event.entity.path();
        let mut old = mapping.state(&path, old)?;
        let mut new = mapping.state(&path, new)?;
        // If the table has no update time, use the commit time from the stream.
        new.update_time.get_or_insert_with(|| rfc3339(change.at));
        mapping.take_related(&mut old.properties);
        event.entity.related = mapping.take_related(&mut new.properties);
        Ok(Some(Event { old: Some(old), new: Some(new), update_mask: Some(update_mask), removal, ..event }))
    }

    fn entered(&self, place: Place<'_>, change: Change, part: &str) -> Result<Event, MapError> {
        let id = self.event_id(&change, part);
        let (Images::Insert(mut image) | Images::Modify(_, mut image) | Images::Remove(mut image)) = change.images;
        let mapping = place.mapping;
        mapping.redact(&mut image);
        let mut event = self.event(id, place, Operation::Created, change.at, change.sequence);
        let mut state = mapping.state(&event.entity.path(), image)?;
        state.update_time.get_or_insert_with(|| rfc3339(change.at));
        state.create_time.get_or_insert_with(|| rfc3339(change.at));
        event.entity.related = mapping.take_related(&mut state.properties);
        Ok(Event { new: Some(state), ..event })
    }

    fn left(&self, place: Place<'_>, change: Change, part: &str) -> Result<Event, MapError> {
        let id = self.event_id(&change, part);
        let (Images::Insert(mut image) | Images::Modify(mut image, _) | Images::Remove(mut image)) = change.images;
        let mapping = place.mapping;
        mapping.redact(&mut image);
        let mut event = self.event(id, place, Operation::Deleted, change.at, change.sequence);
        let mut state = mapping.state(&event.entity.path(), image)?;
        event.entity.related = mapping.take_related(&mut state.properties);
        Ok(Event { old: Some(state), removal: change.expired.then_some(Removal::Expired), ..event })
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
            traceparent: None,
        }
    }
}

/// What the name of a table must be.
pub const TABLE_NAME: &str = "a DynamoDB table name: 3 to 255 characters of A-Z a-z 0-9 _ . -";

/// Returns whether a table can have this name.
#[must_use]
pub fn is_table_name(name: &str) -> bool {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (3..=255).contains(&name.len()) && name.bytes().all(is_name)
}

impl Source {
    /// Returns all faults; empty if the source is valid.
    #[must_use]
    pub fn check(&self) -> Vec<FieldError> {
        let mut faults = Vec::new();
        if !is_table_name(&self.table) {
            faults.push(FieldError::new("/table", format!("must be {TABLE_NAME}")));
        }
        if [OPERATIONAL, PUBLISHED].contains(&self.table.as_str()) {
            faults.push(FieldError::new("/table", "is reserved as the source of other events; use another table name"));
        }
        if !(1..=MAX_ENTITIES).contains(&self.entities.len()) {
            faults.push(FieldError::new("/entities", format!("must have 1 to {MAX_ENTITIES} entries")));
        }
        for (index, mapping) in self.entities.iter().enumerate() {
            mapping.check(&format!("/entities/{index}"), index + 1 == self.entities.len(), &mut faults);
        }
        faults
    }
}

#[cfg(test)]
pub(crate) mod tests;
