//! An event: one committed change of an entity, or one published fact.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::access::tenant::{AppId, TenantId};
use crate::id::EventId;
use crate::value::path::FieldPath;
use crate::value::{Map, Value, differences};
use hops::Hops;

pub mod catalog;
pub mod hops;
pub mod operational;
pub mod pattern;
pub mod published;
pub mod state;
pub mod trace;
pub mod types;

use state::{State, StateKey, state_id};
use trace::TraceParent;
use types::{EventType, Operation};

/// The entity that an event is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entity {
    /// Its id within its collection.
    pub id: String,
    /// Its kind, as receivers know it (`flows/comments`).
    pub key: String,
    /// The path of its collection (`pipelinesPackets/p1/comments`).
    pub collection: String,
    /// The template of the path, if the path is one of many (`pipelinesPackets/{packetId}/comments`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collection_template: Option<String>,
    /// Related values that are shown with the entity, by their names in the payload (`entityComments`).
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub related: Map,
}

impl Entity {
    /// Returns the path of the entity: the path of its collection and its id.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}/{}", self.collection, self.id)
    }
}

/// How an entity was removed, if not by deleting its item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Removal {
    /// It was marked as deleted; the item is still there.
    Soft,
    /// Its time to live expired.
    Expired,
}

/// One committed change, or one published fact, for every webhook that wants it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The name of the table that changed, or `published`.
    pub source: String,
    /// The id, derived from the change, so that a replay has the same id.
    pub id: EventId,
    /// The tenant that it belongs to.
    pub tenant: TenantId,
    /// The application that it belongs to, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppId>,
    /// `<entity>.<operation>`.
    pub event_type: EventType,
    /// What the change did.
    pub operation: Operation,
    /// When the change was committed.
    pub at: Timestamp,
    /// Orders the events of one entity: a later event has the greater text. All texts of an entity have the same
    /// length.
    pub sequence: String,
    /// The entity that changed.
    pub entity: Entity,
    /// The state before the change, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<State>,
    /// The state after the change, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<State>,
    /// The sorted paths at which the two states differ, if there are two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_mask: Option<Vec<String>>,
    /// How the entity was removed, unless its item was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removal: Option<Removal>,
    /// How many deliveries led to it.
    #[serde(default, skip_serializing_if = "Hops::is_none")]
    pub hops: Hops,
    /// The trace in which it was published. `None` if its trace is [derived](trace) from its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<TraceParent>,
}

impl Event {
    /// Returns the value of a field before and after the change.
    #[must_use]
    pub fn field(&self, path: &FieldPath) -> (Option<&Value>, Option<&Value>) {
        (
            self.old.as_ref().and_then(|state| path.get(&state.properties)),
            self.new.as_ref().and_then(|state| path.get(&state.properties)),
        )
    }

    /// Sets the ids of the states, derived with a key of the tenant that receivers do not know. Without a key, a
    /// receiver could guess values, also of fields that its payloads leave out, and compare the ids. If there is no
    /// key, the ids are removed.
    pub fn name_states(&mut self, key: Option<&StateKey>) {
        let path = self.entity.path();
        for state in [&mut self.old, &mut self.new].into_iter().flatten() {
            if state.id.is_empty() {
                state.id = state_id(&path, state.properties.json());
            }
            state.id = key.map_or_else(String::new, |key| key.name(&state.id));
        }
    }

    /// Returns a stored event as fan-out sends it. The states of a change are stored with their ids; those of a
    /// published event get them here.
    #[must_use]
    pub fn with_named_states(mut self, key: Option<&StateKey>) -> Self {
        if [&self.old, &self.new].into_iter().flatten().any(|state| state.id.is_empty()) {
            self.name_states(key);
        }
        self
    }

    /// Returns the sorted names of the attributes that changed; all names if the entity is new or removed.
    #[must_use]
    pub fn changed_attributes(&self) -> Vec<&str> {
        let [old, new] = [&self.old, &self.new].map(|state| state.as_ref().map(|state| &*state.properties));
        match &self.update_mask {
            // The states need not be compared again. Related attributes are in the mask, but no longer in the states.
            Some(mask) if !mask.iter().any(|path| path.contains('`')) => {
                let names = mask.iter().map(|path| path.split_once('.').map_or(path.as_str(), |(name, _)| name));
                let mut names: Vec<_> =
                    names.filter(|name| [old, new].iter().flatten().any(|state| state.contains_key(*name))).collect();
                names.sort_unstable();
                names.dedup();
                names
            }
            _ => differences(old, new).map(|(name, ..)| name).collect(),
        }
    }
}

/// Returns the sequence of an event that no stream has ordered: its id, which starts with the time.
#[must_use]
pub fn sequence(id: &EventId) -> String {
    id.to_string().split_off("evt_".len())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::event::types::EntityName;
    use crate::webhook::sample::Sample;

    #[rstest]
    #[case::plain("packet.created", true)]
    #[case::one_word("ping", true)]
    #[case::three_words("packet.comment.created", true)]
    #[case::underscore("rfp.status_changed", true)]
    #[case::empty("", false)]
    #[case::empty_word("packet..created", false)]
    #[case::wildcard("packet.*", false)]
    #[case::space("packet created", false)]
    fn says_what_an_event_type_is(#[case] text: &str, #[case] valid: bool) {
        assert_eq!(text.parse::<EventType>().is_ok(), valid);
    }

    #[rstest]
    #[case::the_tenant_sees_all(None, Some("crm"), "dynahook", true)]
    #[case::its_own(Some("crm"), Some("crm"), "dynahook", true)]
    #[case::anothers(Some("crm"), Some("erp"), "published", false)]
    #[case::of_no_application(Some("crm"), None, "orders", true)]
    #[case::about_a_delivery(Some("crm"), None, "dynahook", false)]
    fn shows_itself(
        #[case] reader: Option<&str>,
        #[case] app: Option<&str>,
        #[case] source: &str,
        #[case] shown: bool,
    ) {
        let app_id = |text: &str| text.parse::<AppId>().unwrap();
        let id = EventId::from_parts(Timestamp::UNIX_EPOCH, 1);
        let settings = crate::webhook::tests::webhook().settings;
        let event = Sample::default().event(id, "acme".parse().unwrap(), &settings, Timestamp::UNIX_EPOCH);
        let event = Event { app: app.map(app_id), source: source.to_owned(), ..event };
        assert_eq!(event.is_visible_to(reader.map(app_id).as_ref()), shown);
    }

    #[test]
    fn a_state_is_named_by_its_content_and_the_key() {
        let id = EventId::from_parts(Timestamp::UNIX_EPOCH, 1);
        let settings = crate::webhook::tests::webhook().settings;
        let event = Event {
            new: None,
            ..Sample::default().event(id, "acme".parse().unwrap(), &settings, Timestamp::UNIX_EPOCH)
        };
        let named = |key: Option<u128>, properties: serde_json::Value| {
            let properties = crate::value::tests::map(&properties);
            let state =
                State { id: String::new(), properties: properties.into(), create_time: None, update_time: None };
            let mut event = Event { new: Some(state), ..event.clone() };
            event.name_states(key.map(StateKey::new).as_ref());
            event.new.unwrap().id
        };
        let (one, other) = (serde_json::json!({"pin": "1234"}), serde_json::json!({"pin": "1235"}));
        assert_eq!(named(Some(1), one.clone()), named(Some(1), one.clone()));
        assert_eq!(named(Some(1), one.clone()).len(), 24);
        assert_ne!(named(Some(1), one.clone()), named(Some(1), other));
        assert_ne!(
            named(Some(1), one.clone()),
            named(Some(2), one.clone()),
            "who guesses the content does not have the name"
        );
        assert_eq!(named(None, one), "");
        assert_eq!(format!("{:?}", StateKey::new(7)), "StateKey(…)");
    }

    #[test]
    fn entity_names_are_one_word() {
        assert!("packet".parse::<EntityName>().is_ok());
        assert!("packet.comment".parse::<EntityName>().is_err());
    }
}
