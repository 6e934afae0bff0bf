//! Events that are published by a caller or received by an inbound webhook, rather than read from a table's stream.

use jiff::Timestamp;

use super::hops::Hops;
use super::operational::{PUBLISHED, is_reserved};
use super::state::State;
use super::types::{EventType, Operation, SOFT_DELETED};
use super::{Entity, Event, Removal, sequence};
use crate::access::tenant::{AppId, TenantId};
use crate::fault::FieldError;
use crate::id::EventId;
use crate::time::rfc3339;
use crate::value::{Map, changed_paths};

/// A fact that a caller reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// The event type.
    pub event_type: EventType,
    /// The id of the entity.
    pub entity_id: String,
    /// The kind of the entity. Default: the type without its last word.
    pub entity_key: Option<String>,
    /// The path of the entity's collection.
    pub collection: String,
    /// The application that reports it, if any.
    pub app: Option<AppId>,
    /// The entity's new state; the last one if it was deleted.
    pub data: Map,
    /// The entity's old state, if known.
    pub old_data: Option<Map>,
}

impl Fact {
    /// Returns the event. The last word of the type determines the operation; any other word means that the entity was
    /// created.
    #[must_use]
    pub fn event(self, id: EventId, tenant: TenantId, at: Timestamp) -> Event {
        let (entity, word) = self.event_type.as_str().rsplit_once('.').unwrap_or((self.event_type.as_str(), ""));
        let operation = Operation::from_word(word);
        let removal = (word == SOFT_DELETED).then_some(Removal::Soft);
        let entity = Entity {
            id: self.entity_id,
            key: self.entity_key.unwrap_or_else(|| entity.to_owned()),
            collection: self.collection,
            collection_template: None,
            related: Map::new(),
        };
        let (old, new) = match operation {
            Operation::Deleted => (Some(self.data), None),
            Operation::Created | Operation::Updated => (self.old_data, Some(self.data)),
        };
        let update_mask = old.as_ref().zip(new.as_ref()).map(|(old, new)| changed_paths(old, new));
        let state = |properties: Map| State {
            id: String::new(),
            properties: properties.into(),
            create_time: (operation == Operation::Created).then(|| rfc3339(at)),
            update_time: Some(rfc3339(at)),
        };
        Event {
            source: PUBLISHED.to_owned(),
            id,
            tenant,
            app: self.app,
            event_type: self.event_type,
            operation,
            at,
            sequence: sequence(&id),
            old: old.map(state),
            new: new.map(state),
            entity,
            update_mask,
            removal,
            hops: Hops::NONE,
            traceparent: None,
        }
    }
}

/// The largest event as JSON, in bytes. Compressed, it fits into a DynamoDB item.
pub const MAX_EVENT_BYTES: usize = 256 * 1024;

/// The longest id, key or path of an entity, in bytes.
const MAX_TEXT_BYTES: usize = 255;

/// An event as a caller publishes it. Missing fields have defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The event type.
    pub event_type: EventType,
    /// The id of the entity. Default: the id of the event.
    pub entity_id: Option<String>,
    /// The kind of the entity. Default: the type without its last word.
    pub entity_key: Option<String>,
    /// The path of the entity's collection. Default: the kind with an `s`.
    pub collection: Option<String>,
    /// The entity's new state; the last one if it was deleted.
    pub data: Map,
    /// The entity's old state, if known.
    pub old_data: Option<Map>,
}

impl Draft {
    /// Returns all faults; empty if the draft is valid.
    #[must_use]
    pub fn check(&self) -> Vec<FieldError> {
        let Self { entity_id, entity_key, collection, .. } = self;
        // An id with a slash would be the path of a different entity.
        let texts =
            [("/entity_id", entity_id, false), ("/entity_key", entity_key, true), ("/collection", collection, true)];
        let faults = texts.into_iter().filter_map(|(pointer, text, is_path)| {
            let text = text.as_ref()?;
            let words = if is_path { text.split('/').all(|word| !word.is_empty()) } else { !text.contains('/') };
            let good = (1..=MAX_TEXT_BYTES).contains(&text.len()) && words && !text.contains(char::is_control);
            let kind = if is_path { "with non-empty names between slashes" } else { "without slashes" };
            let detail = format!("must be 1 to {MAX_TEXT_BYTES} bytes without control characters, {kind}");
            (!good).then(|| FieldError::new(pointer, detail))
        });
        let reserved = is_reserved(&self.event_type).then(|| {
            let detail = "is reserved for Dynahook, like webhook.* and delivery.exhausted; choose another event type";
            FieldError::new("/event_type", detail)
        });
        reserved.into_iter().chain(faults).collect()
    }

    /// Returns the event, with defaults for missing fields.
    #[must_use]
    pub fn event(self, id: EventId, tenant: TenantId, app: Option<AppId>, at: Timestamp) -> Event {
        let Self { event_type, entity_id, entity_key, collection, data, old_data } = self;
        let entity = event_type.as_str().rsplit_once('.').map_or(event_type.as_str(), |(entity, _)| entity);
        let collection = collection.unwrap_or_else(|| format!("{entity}s"));
        let entity_id = entity_id.unwrap_or_else(|| id.to_string());
        Fact { event_type, entity_id, entity_key, collection, app, data, old_data }.event(id, tenant, at)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::value::tests::map;

    #[rstest]
    #[case::a_word_of_its_own("invoice.paid", None, Operation::Created, (false, true), None)]
    #[case::created("invoice.created", None, Operation::Created, (false, true), None)]
    #[case::updated("invoice.updated", None, Operation::Updated, (false, true), None)]
    #[case::updated_from("invoice.updated", Some(json!({"n": 1})), Operation::Updated, (true, true), Some("n"))]
    #[case::deleted("invoice.deleted", None, Operation::Deleted, (true, false), None)]
    #[case::changed("invoice.changed", Some(json!({"n": 1})), Operation::Updated, (true, true), Some("n"))]
    #[case::soft_deleted("invoice.softdeleted", None, Operation::Deleted, (true, false), None)]
    fn is_an_event_like_any_other(
        #[case] event_type: &str,
        #[case] old: Option<serde_json::Value>,
        #[case] operation: Operation,
        #[case] states: (bool, bool),
        #[case] changed: Option<&str>,
    ) {
        let at = Timestamp::UNIX_EPOCH;
        let fact = Fact {
            event_type: event_type.parse().unwrap(),
            entity_id: "in_1".to_owned(),
            entity_key: None,
            collection: "invoices".to_owned(),
            app: None,
            data: map(&json!({"n": 2})),
            old_data: old.as_ref().map(map),
        };
        let event = fact.event(EventId::from_parts(at, 1), "acme".parse().unwrap(), at);
        assert_eq!((event.operation, event.old.is_some(), event.new.is_some()), (operation, states.0, states.1));
        assert_eq!((event.entity.path().as_str(), event.entity.key.as_str()), ("invoices/in_1", "invoice"));
        assert_eq!(event.update_mask, changed.map(|path| vec![path.to_owned()]));
        assert_eq!(event.removal, event_type.ends_with("softdeleted").then_some(Removal::Soft));
        assert_eq!(serde_json::from_str::<Event>(&serde_json::to_string(&event).unwrap()).unwrap(), event);
    }

    fn draft(event_type: &str) -> Draft {
        Draft {
            event_type: event_type.parse().unwrap(),
            entity_id: None,
            entity_key: None,
            collection: None,
            data: Map::new(),
            old_data: None,
        }
    }

    #[test]
    fn a_draft_has_defaults() {
        let at = Timestamp::UNIX_EPOCH;
        let id = EventId::from_parts(at, 1);
        let event = draft("invoice.line.paid").event(id, "acme".parse().unwrap(), "crm".parse().ok(), at);
        assert_eq!(event.entity.path(), format!("invoice.lines/{id}"));
        assert_eq!((event.entity.key.as_str(), event.app), ("invoice.line", "crm".parse().ok()));
    }

    #[rstest]
    #[case::of_a_webhook("webhook.paused", &["/event_type"])]
    #[case::given_up("delivery.exhausted", &["/event_type"])]
    #[case::anything_else("delivery.created", &[])]
    fn reserved_types_cannot_be_published(#[case] event_type: &str, #[case] faults: &[&str]) {
        let found: Vec<_> = draft(event_type).check().into_iter().map(|fault| fault.pointer).collect();
        assert_eq!(found, faults);
    }

    #[rstest]
    #[case::nothing(None, None, &[])]
    #[case::good(Some("in 1"), Some("flows/invoices"), &[])]
    #[case::empty(Some(""), Some(""), &["/entity_id", "/collection"])]
    #[case::paths(Some("a/b"), Some("a/"), &["/entity_id", "/collection"])]
    #[case::control_characters(Some("a\nb"), Some("a\u{80}"), &["/entity_id", "/collection"])]
    fn a_draft_is_checked(#[case] entity_id: Option<&str>, #[case] collection: Option<&str>, #[case] faults: &[&str]) {
        let draft = Draft {
            entity_id: entity_id.map(str::to_owned),
            collection: collection.map(str::to_owned),
            ..draft("invoice.paid")
        };
        let found: Vec<_> = draft.check().into_iter().map(|fault| fault.pointer).collect();
        assert_eq!(found, faults);
    }
}
