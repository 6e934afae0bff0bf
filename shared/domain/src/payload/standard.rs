//! The format `standard`: a type, a timestamp and the data, as [Standard Webhooks][1] recommends, in snake case.
//!
//! [1]: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md#payload-structure

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::json::{entry_if, properties};
use super::view::View;

/// The top-level fields.
pub(super) const RESERVED: &[&str] = &["type", "timestamp", "data"];

/// An event in this format. The owner's properties are at the same level as the data.
pub(super) struct Payload<'a>(pub(super) &'a View<'a>);

impl Serialize for Payload<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(view) = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", view.event_type)?;
        map.serialize_entry("timestamp", &view.at)?;
        map.serialize_entry("data", &Data(view))?;
        properties(&mut map, view.properties, |name| RESERVED.contains(&name))?;
        map.end()
    }
}

struct Data<'a>(&'a View<'a>);

impl Serialize for Data<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(view) = self;
        let event = view.event;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("event_id", &event.id)?;
        map.serialize_entry("organization_id", event.tenant.as_str())?;
        map.serialize_entry("entity_id", &event.entity.id)?;
        map.serialize_entry("entity_path", &view.path)?;
        map.serialize_entry("entity_key", &event.entity.key)?;
        map.serialize_entry("collection", &event.entity.collection)?;
        map.serialize_entry("operation", &event.operation)?;
        map.serialize_entry("sequence", &event.sequence)?;
        entry_if(&mut map, "state", view.state())?;
        entry_if(&mut map, "previous", view.previous())?;
        entry_if(&mut map, "removal", view.removal())?;
        entry_if(&mut map, "value", view.value())?;
        entry_if(&mut map, "old_value", view.old_value())?;
        entry_if(&mut map, "changes", view.changes())?;
        entry_if(&mut map, "update_mask", view.update_mask.as_deref())?;
        entry_if(&mut map, "related", Some(&view.related).filter(|related| !related.is_empty()))?;
        map.end()
    }
}
