//! What happened: one committed change of an entity.

use std::fmt;
use std::str::FromStr;

use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use utoipa::ToSchema;

use crate::hops::Hops;
use crate::id::EventId;
use crate::operational::{self, OPERATIONAL};
use crate::path::FieldPath;
use crate::source::state_id;
use crate::tenant::{AppId, TenantId};
use crate::value::{Map, Value, differences};

/// What happened to the entity; the last word of an event type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// The entity came to be.
    Created,
    /// The entity changed.
    Updated,
    /// The entity is gone.
    Deleted,
}

impl Operation {
    /// Reads the last word of an event type. A fact that is none of the three came into being.
    #[must_use]
    pub fn from_word(word: &str) -> Self {
        match word {
            "updated" => Self::Updated,
            "deleted" => Self::Deleted,
            _ => Self::Created,
        }
    }
}

impl Operation {
    /// Returns the word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Deleted => "deleted",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The type of an event, such as `packet.created`: words of letters, digits, `_` and `-`, joined by dots, at most 128
/// characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct EventType(String);

/// A text that is not an event type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be words of letters, digits, _ and -, joined by dots, such as packet.created, and at most 128 characters"
)]
pub struct ParseEventTypeError;

impl EventType {
    /// Returns the type of an operation on an entity.
    #[must_use]
    pub fn of(entity: &EntityName, operation: Operation) -> Self {
        Self(format!("{entity}.{operation}"))
    }

    /// Returns the type of a test that names none.
    #[must_use]
    pub fn test() -> Self {
        Self("webhook.test".to_owned())
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

impl FromStr for EventType {
    type Err = ParseEventTypeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.to_owned().try_into()
    }
}

impl TryFrom<String> for EventType {
    type Error = ParseEventTypeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.len() <= 128 && text.split('.').all(is_word) { Ok(Self(text)) } else { Err(ParseEventTypeError) }
    }
}

impl From<EventType> for String {
    fn from(event_type: EventType) -> Self {
        event_type.0
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a kind of entity, such as `packet`: one word of letters, digits, `_` and `-`, at most 64 characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct EntityName(String);

/// A text that does not name a kind of entity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be one word of letters, digits, _ and -, such as packet, and at most 64 characters")]
pub struct ParseEntityNameError;

impl TryFrom<String> for EntityName {
    type Error = ParseEntityNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.len() <= 64 && is_word(&text) { Ok(Self(text)) } else { Err(ParseEntityNameError) }
    }
}

impl FromStr for EntityName {
    type Err = ParseEntityNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.to_owned().try_into()
    }
}

impl From<EntityName> for String {
    fn from(name: EntityName) -> Self {
        name.0
    }
}

impl fmt::Display for EntityName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which entity an event is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entity {
    /// Its id within its collection.
    pub id: String,
    /// Its kind, as receivers know it (`flows/comments`).
    pub key: String,
    /// The path of its collection (`pipelinesPackets/p1/comments`).
    pub collection: String,
    /// The template that the path was made of, if it stands for many (`pipelinesPackets/{packetId}/comments`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collection_template: Option<String>,
    /// What stands beside the entity in its payload, by the name it has there (`entityComments`).
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub related: Map,
}

impl Entity {
    /// Returns the path of the entity: that of its collection, and its id.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}/{}", self.collection, self.id)
    }
}

/// An entity at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Names the state: the same for the same content of the same entity, and for no other. Of what was published nothing until
    /// fan-out has [named](Event::name_states) it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// All its attributes.
    pub properties: Map,
    /// When it was created, if the table says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create_time: Option<String>,
    /// When it was last changed, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_time: Option<String>,
}

/// What a tenant's states are named with. Not for receivers.
#[derive(Clone, Deserialize, Serialize)]
#[serde(transparent)]
pub struct StateKey(String);

impl StateKey {
    /// Makes a key of random bits.
    #[must_use]
    pub fn new(bits: u128) -> Self {
        Self(format!("{bits:032x}"))
    }

    /// Returns the key as it is kept.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// # Panics
    ///
    /// Never: a key may have any length.
    fn name(&self, content: &str) -> String {
        let mut hash = Hmac::<Sha256>::new_from_slice(self.0.as_bytes()).expect("a key may have any length");
        hash.update(content.as_bytes());
        hex::encode(&hash.finalize().into_bytes()[..12])
    }
}

impl fmt::Debug for StateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StateKey(…)")
    }
}

/// How an entity went, if nobody removed its item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Removal {
    /// It was marked as deleted; the item is still there.
    Soft,
    /// Its time to live ended.
    Expired,
}

/// One committed change, or one published fact, on its way to every webhook that wants it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The table that changed, or `published`.
    pub source: String,
    /// Derived from the change, so that a replay has the same id.
    pub id: EventId,
    /// Whose event it is.
    pub tenant: TenantId,
    /// The application to which it belongs, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppId>,
    /// `<entity>.<operation>`.
    pub event_type: EventType,
    /// What the change did.
    pub operation: Operation,
    /// When the change was committed.
    pub at: Timestamp,
    /// Orders the events of one entity: a later one has the greater text. All of one entity are of the same length.
    pub sequence: String,
    /// What it was about.
    pub entity: Entity,
    /// The state before, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<State>,
    /// The state after, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<State>,
    /// The paths at which the two differ, sorted, if there are two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_mask: Option<Vec<String>>,
    /// How the entity went, if the change is a deletion and not a plain one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removal: Option<Removal>,
    /// How many deliveries led to it.
    #[serde(default, skip_serializing_if = "Hops::is_none")]
    pub hops: Hops,
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

    /// Names the states by a key of the tenant's, which receivers do not know: a name without one could be compared with those of
    /// guesses, also at the fields that a webhook's payloads leave out. Without a key they have no names.
    pub fn name_states(&mut self, key: Option<&StateKey>) {
        let path = self.entity.path();
        for state in [&mut self.old, &mut self.new].into_iter().flatten() {
            if state.id.is_empty() {
                state.id = state_id(&path, &state.properties);
            }
            state.id = key.map_or_else(String::new, |key| key.name(&state.id));
        }
    }

    /// Says whether whoever acts for the application, or for the tenant if it is none, may see the event. An application sees
    /// its own events and those that belong to no application; but of the webhooks and deliveries that are not its own it is
    /// told nothing.
    #[must_use]
    pub fn is_visible_to(&self, app: Option<&AppId>) -> bool {
        let Some(app) = app else { return true };
        match &self.app {
            Some(own) => own == app,
            None => self.source != OPERATIONAL,
        }
    }

    /// Returns the names of the attributes that differ before and after; of a new or removed entity all.
    pub fn changed_attributes(&self) -> impl Iterator<Item = &str> {
        let [old, new] = [&self.old, &self.new].map(|state| state.as_ref().map(|state| &state.properties));
        differences(old, new).map(|(name, ..)| name)
    }

    /// Returns the types that the event has beside its own: `packet.status_changed` for each attribute that an update changed, by
    /// name, and SuperOffice's name for the errors of a webhook.
    pub fn derived_types(&self) -> impl Iterator<Item = EventType> {
        let updated =
            (self.operation == Operation::Updated).then(|| self.event_type.as_str().rsplit_once('.')).flatten();
        let changed = updated.into_iter().flat_map(move |(entity, _)| {
            self.changed_attributes().filter_map(move |name| format!("{entity}.{name}_changed").parse().ok())
        });
        changed.chain(operational::alias(self))
    }
}

/// Returns the sequence of an event that no stream ordered: its id, which starts with its time.
#[must_use]
pub fn sequence(id: &EventId) -> String {
    id.to_string().split_off("evt_".len())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::sample::Sample;

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
    #[case::nobodys(Some("crm"), None, "orders", true)]
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
            let state = State { id: String::new(), properties, create_time: None, update_time: None };
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
