//! The format `change`: the envelope of the Flows webhook guide, with extensions.

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::Detail;
use super::json::{entry_if, properties};
use super::view::{Shown, View};
use crate::event::Removal;

/// The fields of the envelope.
pub(super) const RESERVED: &[&str] = &[
    "eventTimestamp",
    "operationType",
    "entityPath",
    "entityId",
    "entityKey",
    "collectionPath",
    "organizationId",
    "eventId",
    "eventType",
    "sequence",
    "state",
    "previous",
    "softRemoved",
    "expired",
    "data",
];

/// An event in this format. Related values and the owner's properties are at the same level as the envelope's fields.
pub(super) struct Payload<'a>(pub(super) &'a View<'a>);

impl Serialize for Payload<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(view) = self;
        let mut map = serializer.serialize_map(None)?;
        envelope(view, &mut map)?;
        let mut related = view.related.iter().filter(|(name, _)| !RESERVED.contains(&name.as_str()));
        related.try_for_each(|(name, value)| map.serialize_entry(name, value))?;
        if view.detail != Detail::Thin || view.update_mask.is_some() {
            map.serialize_entry("data", &Data(view))?;
        }
        properties(&mut map, view.properties, |name| RESERVED.contains(&name) || view.related.contains_key(name))?;
        map.end()
    }
}

/// Adds the fields that say what happened to which entity.
fn envelope<M: SerializeMap>(view: &View<'_>, map: &mut M) -> Result<(), M::Error> {
    let event = view.event;
    map.serialize_entry("eventTimestamp", &view.at)?;
    map.serialize_entry("operationType", &event.operation)?;
    map.serialize_entry("entityPath", &view.path)?;
    map.serialize_entry("entityId", &event.entity.id)?;
    map.serialize_entry("entityKey", &event.entity.key)?;
    map.serialize_entry("collectionPath", &event.entity.collection)?;
    map.serialize_entry("organizationId", event.tenant.as_str())?;
    map.serialize_entry("eventId", &event.id)?;
    map.serialize_entry("eventType", view.event_type)?;
    map.serialize_entry("sequence", &event.sequence)?;
    entry_if(map, "state", view.state())?;
    entry_if(map, "previous", view.previous())?;
    entry_if(map, "softRemoved", (event.removal == Some(Removal::Soft)).then_some(true))?;
    entry_if(map, "expired", (event.removal == Some(Removal::Expired)).then_some(true))
}

/// The guide has all three fields in every payload: `value` is `null` after a deletion, `oldValue` for a new entity, and
/// `updateMask` unless there are both values.
struct Data<'a>(&'a View<'a>);

impl Serialize for Data<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(view) = self;
        let mut map = serializer.serialize_map(None)?;
        if view.detail == Detail::Full {
            let entity = |shown| Entity::of(view, shown);
            map.serialize_entry("value", &view.new.as_ref().map(entity))?;
            map.serialize_entry("oldValue", &view.old.as_ref().map(entity))?;
            map.serialize_entry("updateMask", &view.update_mask.as_deref())?;
        } else {
            entry_if(&mut map, "changes", view.changes())?;
            entry_if(&mut map, "updateMask", view.update_mask.as_deref())?;
        }
        map.end()
    }
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Entity<'a> {
    key: &'a str,
    properties: &'a Shown<'a>,
    create_time: &'a str,
    update_time: &'a str,
}

impl<'a> Entity<'a> {
    fn of(view: &'a View<'a>, shown: &'a Shown<'a>) -> Self {
        Self {
            key: &view.path,
            properties: shown,
            create_time: create_time(view, shown),
            update_time: shown.state.update_time.as_deref().unwrap_or(&view.at),
        }
    }
}

/// Returns when the entity was created, or if the event does not say it, the earliest time at which the entity certainly
/// existed: a stream record has no more, and the guide's receivers need a time (ADR 29).
fn create_time<'a>(view: &'a View<'a>, shown: &'a Shown<'a>) -> &'a str {
    let other = [&view.old, &view.new].into_iter().flatten().find_map(|other| other.state.create_time.as_deref());
    let updated = view.old.as_ref().and_then(|old| old.state.update_time.as_deref());
    shown.state.create_time.as_deref().or(other).or(updated).unwrap_or(&view.at)
}
