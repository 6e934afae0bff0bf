//! The body that a webhook receives.
//!
//! Rendered once, before the delivery is queued, and never parsed again: what is signed is the bytes that are sent.

use serde::Serialize;

use crate::event::{Event, Operation, State};
use crate::source::rfc3339;
use crate::value::{Map, changed_paths};

/// What a webhook's owner adds to every payload, at its top. The names of the envelope's own fields are not among them.
pub type Properties = serde_json::Map<String, serde_json::Value>;

/// How a webhook's payloads look.
#[derive(Debug, Clone, PartialEq, Default, Serialize, serde::Deserialize)]
pub struct Rendering {
    /// Merged at the top.
    #[serde(default, skip_serializing_if = "Properties::is_empty")]
    pub properties: Properties,
}

/// The fields of the envelope.
pub const ENVELOPE: [&str; 8] = [
    "eventTimestamp",
    "operationType",
    "entityPath",
    "entityId",
    "entityKey",
    "collectionPath",
    "organizationId",
    "data",
];

/// Renders the `change` format, the envelope of the Flows webhook guide.
///
/// `oldValue` and `updateMask` are there for the operations that have them: both for an update, the first for a deletion.
/// `value` is `null` after a deletion.
///
/// # Panics
///
/// Never: every key is a string and no implementation here fails, so there is nothing that could not be written.
#[must_use]
pub fn change(event: &Event, properties: &Properties) -> String {
    let path = event.entity.path();
    let update_mask = match (event.operation, &event.old, &event.new) {
        (Operation::Updated, Some(old), Some(new)) => Some(changed_paths(&old.properties, &new.properties)),
        _ => None,
    };
    let envelope = Envelope {
        event_timestamp: rfc3339(event.at),
        operation_type: event.operation,
        entity_path: &path,
        entity_id: &event.entity.id,
        entity_key: &event.entity.key,
        collection_path: &event.entity.collection,
        organization_id: event.tenant.as_str(),
        data: Data {
            value: event.new.as_ref().map(|state| Entity::of(&path, state)),
            old_value: event.old.as_ref().map(|state| Entity::of(&path, state)),
            update_mask,
        },
        properties,
    };
    serde_json::to_string(&envelope).expect("an envelope is JSON")
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    event_timestamp: String,
    operation_type: Operation,
    entity_path: &'a str,
    entity_id: &'a str,
    entity_key: &'a str,
    collection_path: &'a str,
    organization_id: &'a str,
    data: Data<'a>,
    #[serde(flatten)]
    properties: &'a Properties,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    value: Option<Entity<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    old_value: Option<Entity<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    update_mask: Option<Vec<String>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entity<'a> {
    key: &'a str,
    properties: &'a Map,
    #[serde(skip_serializing_if = "Option::is_none")]
    create_time: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    update_time: Option<&'a str>,
}

impl<'a> Entity<'a> {
    fn of(path: &'a str, state: &'a State) -> Self {
        Self {
            key: path,
            properties: &state.properties,
            create_time: state.create_time.as_deref(),
            update_time: state.update_time.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::source::Images;
    use crate::source::tests::{change as stream_change, films};
    use crate::value::tests::map;

    fn body(images: Images) -> String {
        change(&films().events(stream_change(images)).unwrap()[0], &Properties::new())
    }

    #[test]
    fn properties_stand_beside_the_envelope() {
        let event = &films().events(stream_change(Images::Insert(film(&json!(1))))).unwrap()[0];
        let properties = json!({"region": "eu", "nested": {"a": [1, null]}});
        let body = change(event, properties.as_object().unwrap());
        let (plain, rest) = (change(event, &Properties::new()), r#","nested":{"a":[1,null]},"region":"eu"}"#);
        assert_eq!(body, format!("{}{rest}", plain.strip_suffix('}').unwrap()));
    }

    fn film(rating: &serde_json::Value) -> Map {
        map(&json!({"studio": "acme", "film_id": 7, "title": "Amélie", "rating": rating, "made": "2001-04-25"}))
    }

    #[test]
    fn created() {
        insta::assert_snapshot!(body(Images::Insert(film(&json!(8.3)))));
    }

    #[test]
    fn updated() {
        insta::assert_snapshot!(body(Images::Modify(film(&json!(8.3)), film(&json!({"imdb": null})))));
    }

    #[test]
    fn deleted() {
        insta::assert_snapshot!(body(Images::Remove(film(&json!([1, 2])))));
    }
}
