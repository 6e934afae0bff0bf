//! The format `superoffice`: the [payload of SuperOffice's webhooks][1], for receivers that were written for them.
//!
//! Fields that Dynahook does not know are left out, such as `ChangedByAssociateId`, so that an owner can add them as
//! properties.
//!
//! [1]: https://docs.superoffice.com/en/automation/webhook/notification.html

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::Detail;
use super::json::{entry_if, properties};
use super::view::View;
use crate::event::Removal;
use crate::event::types::Operation;
use crate::value::{Value, differences};

/// The fields of the payload.
pub(super) const RESERVED: &[&str] = &[
    "EventId",
    "Timestamp",
    "Changes",
    "Event",
    "PrimaryKey",
    "Entity",
    "ContextIdentifier",
    "WebhookName",
    "FieldValues",
];

/// An event in this format, and the name of the webhook that receives it.
pub(super) struct Payload<'a>(pub(super) &'a View<'a>, pub(super) Option<&'a str>);

impl Serialize for Payload<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(view, webhook_name) = self;
        let event = view.event;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("EventId", &event.id.guid())?;
        map.serialize_entry("Timestamp", &view.at)?;
        map.serialize_entry("Changes", &changed_attributes(view))?;
        map.serialize_entry("Event", &event_name(view))?;
        match event.entity.id.parse::<i64>() {
            // Only if the number is written in its canonical form: "007" is a different id than "7".
            Ok(number) if number.to_string() == event.entity.id => map.serialize_entry("PrimaryKey", &number)?,
            _ => map.serialize_entry("PrimaryKey", &event.entity.id)?,
        }
        map.serialize_entry("Entity", view.entity_name())?;
        map.serialize_entry("ContextIdentifier", event.tenant.as_str())?;
        entry_if(&mut map, "WebhookName", *webhook_name)?;
        if view.detail != Detail::Thin {
            map.serialize_entry("FieldValues", &FieldValues(view))?;
        }
        properties(&mut map, view.properties, |name| RESERVED.contains(&name))?;
        map.end()
    }
}

/// The attributes after the change, or before it if the entity was deleted.
struct FieldValues<'a>(&'a View<'a>);

impl Serialize for FieldValues<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(view) = self;
        let shown = view.new.as_ref().or(view.old.as_ref()).map(|shown| &*shown.properties);
        let before = view.old.as_ref().filter(|_| view.new.is_some()).map(|shown| &*shown.properties);
        let differs = |name: &String, value: &Value| before.is_none_or(|before| before.get(name) != Some(value));
        let values = shown.into_iter().flatten();
        serializer.collect_map(values.filter(|(name, value)| view.detail == Detail::Full || differs(name, value)))
    }
}

/// Returns the names of the attributes that are new or differ. Like SuperOffice, it returns none for a deletion.
fn changed_attributes<'a>(view: &'a View<'_>) -> Vec<&'a str> {
    let Some(new) = &view.new else { return Vec::new() };
    let old = view.old.as_ref().map(|shown| &*shown.properties);
    differences(old, Some(&new.properties)).map(|(name, ..)| name).collect()
}

/// Returns SuperOffice's name for the event: `changed` for an update, and `softdeleted` for an entity that was only
/// marked as deleted.
fn event_name(view: &View<'_>) -> String {
    let entity = view.entity_name();
    if view.is_named(Operation::Updated) {
        format!("{entity}.changed")
    } else if view.is_named(Operation::Deleted) && view.event.removal == Some(Removal::Soft) {
        format!("{entity}.softdeleted")
    } else {
        view.event_type.to_string()
    }
}
