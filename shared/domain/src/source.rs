//! How the items of a table become events.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::event::{Entity, EntityName, Event, EventType, Operation, State};
use crate::id::EventId;
use crate::tenant::{NameError, TenantId};
use crate::value::{Map, Value, changed_paths};

/// A DynamoDB table with a stream, and how its items map to events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The table's name.
    pub table: String,
    /// What its items are; the first part of their event types.
    pub entity: EntityName,
    /// The attribute that holds the tenant.
    pub tenant_attribute: String,
    /// The attribute that holds the entity's id.
    pub id_attribute: String,
    /// The path of the collection that the entities stand in.
    pub collection: String,
    /// The kind of entity as receivers know it; the entity's name unless something else is wanted.
    pub entity_key: Option<String>,
    /// The attribute that says when an item was created: an ISO 8601 string, or a number of seconds since 1970.
    pub create_time_attribute: Option<String>,
    /// The attribute that says when an item was last changed, in the same forms.
    pub update_time_attribute: Option<String>,
}

/// What a stream says of one change: names and values, without the stream's own encoding.
#[derive(Debug, Clone)]
pub struct Change {
    /// The id that the stream gave the change; unique over all tables.
    pub stream_event_id: String,
    /// When it was committed.
    pub at: Timestamp,
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
    /// The attribute cannot stand for a tenant or an id.
    #[error("attribute {attribute:?}, which the source names for the {role}, is not a non-empty string or a number")]
    NotText {
        /// The attribute.
        attribute: String,
        /// What the source uses it for.
        role: &'static str,
    },
    /// The tenant is not one.
    #[error("attribute {attribute:?} does not hold a tenant: it {source}")]
    Tenant {
        /// The attribute.
        attribute: String,
        /// What a tenant looks like.
        source: NameError,
    },
}

impl Source {
    /// Turns a change into the events it is: usually one.
    ///
    /// A write that changed nothing is none. An item that moved from one tenant to another is two, a deletion for the old
    /// tenant and a creation for the new one, so that neither sees the other's values.
    ///
    /// # Errors
    ///
    /// If an image lacks what the mapping names.
    pub fn events(&self, change: Change) -> Result<Vec<Event>, MapError> {
        let Change { stream_event_id, at, images } = change;
        let id = |part: &str| EventId::derive(at, &[&self.table, &stream_event_id, part]);
        match images {
            Images::Insert(new) => Ok(vec![self.event(id(""), at, Operation::Created, None, Some(new))?]),
            Images::Remove(old) => Ok(vec![self.event(id(""), at, Operation::Deleted, Some(old), None)?]),
            Images::Modify(old, new) if changed_paths(&old, &new).is_empty() => Ok(Vec::new()),
            Images::Modify(old, new) if self.tenant(&old)? == self.tenant(&new)? => {
                Ok(vec![self.event(id(""), at, Operation::Updated, Some(old), Some(new))?])
            }
            Images::Modify(old, new) => Ok(vec![
                self.event(id("left"), at, Operation::Deleted, Some(old), None)?,
                self.event(id("entered"), at, Operation::Created, None, Some(new))?,
            ]),
        }
    }

    fn event(
        &self,
        id: EventId,
        at: Timestamp,
        operation: Operation,
        old: Option<Map>,
        new: Option<Map>,
    ) -> Result<Event, MapError> {
        let empty = Map::new();
        let current = new.as_ref().or(old.as_ref()).unwrap_or(&empty);
        let tenant = self.tenant(current)?;
        let entity = Entity {
            id: text(current, &self.id_attribute, "entity id")?.to_owned(),
            key: self.entity_key.clone().unwrap_or_else(|| self.entity.to_string()),
            collection: self.collection.clone(),
            collection_template: None,
            related: Map::new(),
        };
        let event_type = EventType::of(&self.entity, operation);
        let new = new.map(|image| {
            let mut state = self.state(image);
            // What the table does not say, the stream does: the commit is the last change, and for a new item the first.
            state.update_time.get_or_insert_with(|| rfc3339(at));
            if operation == Operation::Created {
                state.create_time.get_or_insert_with(|| rfc3339(at));
            }
            state
        });
        let old = old.map(|image| self.state(image));
        let update_mask = match (&old, &new) {
            (Some(old), Some(new)) => Some(changed_paths(&old.properties, &new.properties)),
            _ => None,
        };
        let sequence = "00000000000000000000000000000000000000001".to_owned();
        Ok(Event {
            source: self.table.clone(),
            id,
            tenant,
            app: None,
            event_type,
            operation,
            at,
            sequence,
            entity,
            old,
            new,
            update_mask,
            removal: None,
        })
    }

    fn tenant(&self, image: &Map) -> Result<TenantId, MapError> {
        let attribute = &self.tenant_attribute;
        text(image, attribute, "tenant")?
            .parse()
            .map_err(|source| MapError::Tenant { attribute: attribute.clone(), source })
    }

    fn state(&self, properties: Map) -> State {
        let time = |attribute: &Option<String>| time(properties.get(attribute.as_ref()?)?);
        State {
            id: String::new(),
            create_time: time(&self.create_time_attribute),
            update_time: time(&self.update_time_attribute),
            properties,
        }
    }
}

/// Returns a time as payloads show it: ISO 8601 in UTC, with milliseconds.
#[must_use]
pub fn rfc3339(at: Timestamp) -> String {
    format!("{at:.3}")
}

fn text<'a>(image: &'a Map, attribute: &str, role: &'static str) -> Result<&'a str, MapError> {
    let value = image.get(attribute).ok_or_else(|| MapError::Missing { attribute: attribute.to_owned(), role })?;
    value
        .as_text()
        .filter(|text| !text.is_empty())
        .ok_or_else(|| MapError::NotText { attribute: attribute.to_owned(), role })
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
pub(crate) mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::value::tests::map;

    pub(crate) fn films() -> Source {
        Source {
            table: "films".to_owned(),
            entity: "film".parse().unwrap(),
            tenant_attribute: "studio".to_owned(),
            id_attribute: "film_id".to_owned(),
            collection: "films".to_owned(),
            entity_key: None,
            create_time_attribute: Some("made".to_owned()),
            update_time_attribute: None,
        }
    }

    pub(crate) fn change(images: Images) -> Change {
        Change { stream_event_id: "e1".to_owned(), at: "2026-11-21T10:00:00.5Z".parse().unwrap(), images }
    }

    fn film(studio: &str, title: &str) -> Map {
        map(&json!({"studio": studio, "film_id": 7, "title": title, "made": 0}))
    }

    #[test]
    fn names_the_operation() {
        let events = |images| films().events(change(images)).unwrap();
        assert_eq!(events(Images::Insert(film("acme", "A")))[0].event_type.as_str(), "film.created");
        assert_eq!(events(Images::Modify(film("acme", "A"), film("acme", "B")))[0].event_type.as_str(), "film.updated");
        assert_eq!(events(Images::Remove(film("acme", "A")))[0].event_type.as_str(), "film.deleted");
        assert_eq!(events(Images::Modify(film("acme", "A"), film("acme", "A"))), []);
    }

    #[test]
    fn fills_in_the_times_that_it_knows() {
        let [event] = &films().events(change(Images::Insert(film("acme", "A")))).unwrap()[..] else {
            panic!("one event")
        };
        let state = event.new.as_ref().unwrap();
        assert_eq!(state.create_time.as_deref(), Some("1970-01-01T00:00:00.000Z"));
        assert_eq!(state.update_time.as_deref(), Some("2026-11-21T10:00:00.500Z"));
    }

    #[test]
    fn a_move_between_tenants_shows_neither_the_other_side() {
        let events = films().events(change(Images::Modify(film("acme", "A"), film("globex", "B")))).unwrap();
        let [left, entered] = &events[..] else { panic!("two events") };
        assert_eq!((left.tenant.as_str(), left.operation), ("acme", Operation::Deleted));
        assert_eq!(left.old.as_ref().unwrap().properties, film("acme", "A"));
        assert_eq!(left.new, None);
        assert_eq!((entered.tenant.as_str(), entered.operation), ("globex", Operation::Created));
        assert_eq!(entered.new.as_ref().unwrap().properties, film("globex", "B"));
        assert_eq!(entered.old, None);
        assert_ne!(left.id, entered.id);
    }

    #[test]
    fn a_replay_has_the_same_id_and_another_table_has_not() {
        let event = |source: Source| source.events(change(Images::Insert(film("acme", "A")))).unwrap().remove(0);
        assert_eq!(event(films()).id, event(films()).id);
        assert_ne!(event(films()).id, event(Source { table: "books".to_owned(), ..films() }).id);
    }

    #[rstest]
    #[case::no_tenant(json!({"film_id": 7}), r#"the item has no attribute "studio", which the source names for its tenant"#)]
    #[case::no_id(json!({"studio": "acme"}), r#"the item has no attribute "film_id", which the source names for its entity id"#)]
    #[case::tenant_is_a_list(json!({"studio": ["acme"], "film_id": 7}), r#"attribute "studio", which the source names for the tenant, is not a non-empty string or a number"#)]
    #[case::empty_id(json!({"studio": "acme", "film_id": ""}), r#"attribute "film_id", which the source names for the entity id, is not a non-empty string or a number"#)]
    #[case::strange_tenant(json!({"studio": "a#b", "film_id": 7}), r#"attribute "studio" does not hold a tenant: it must be 1 to 128 characters of A-Z a-z 0-9 _ . @ + = -"#)]
    fn says_why_an_image_does_not_map(#[case] image: serde_json::Value, #[case] reason: &str) {
        let error = films().events(change(Images::Insert(map(&image)))).unwrap_err();
        assert_eq!(error.to_string(), reason);
    }
}
