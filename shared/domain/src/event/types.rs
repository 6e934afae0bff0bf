//! Event types, and the two parts of the types of table events.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What happened to the entity: the last word of an event type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// The entity was created.
    Created,
    /// The entity changed.
    Updated,
    /// The entity was deleted.
    Deleted,
}

impl Operation {
    /// Parses the last word of an event type. SuperOffice's words mean what Dynahook's do: `changed` is an update, and
    /// `softdeleted` is a deletion. Any other word means that the entity was created.
    #[must_use]
    pub fn from_word(word: &str) -> Self {
        match word {
            "updated" | CHANGED => Self::Updated,
            "deleted" | SOFT_DELETED => Self::Deleted,
            _ => Self::Created,
        }
    }
}

/// SuperOffice's word for `updated`.
const CHANGED: &str = "changed";

/// SuperOffice's word for `deleted`, if the entity was only marked as deleted.
pub(crate) const SOFT_DELETED: &str = "softdeleted";

impl Operation {
    /// Returns the word, as in an event type.
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

/// The text is not an event type.
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

    /// Returns the type of a test event without a type.
    #[must_use]
    pub fn test() -> Self {
        Self("webhook.test".to_owned())
    }

    /// Returns the type as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the other name of the type, if its last word is one of those that SuperOffice and Dynahook name
    /// differently: `person.changed` and `person.updated` are the same type. A `person.softdeleted` is a
    /// `person.deleted` too, but not the reverse: only an event knows [how its entity was removed](super::Removal).
    #[must_use]
    pub fn synonym(&self) -> Option<Self> {
        let (_, last) = self.0.rsplit_once('.')?;
        match last {
            CHANGED => self.with_last_word("updated"),
            "updated" => self.with_last_word(CHANGED),
            SOFT_DELETED => self.with_last_word("deleted"),
            _ => None,
        }
    }

    /// Returns the operation that the last word names, if it names one.
    #[must_use]
    pub fn operation(&self) -> Option<Operation> {
        let (_, last) = self.0.rsplit_once('.')?;
        let operation = Operation::from_word(last);
        // Any other word means that an entity was created, without saying so.
        (operation != Operation::Created || last == Operation::Created.as_str()).then_some(operation)
    }

    /// Returns the type with another last word, if it is not too long.
    pub(crate) fn with_last_word(&self, word: &str) -> Option<Self> {
        let (entity, _) = self.0.rsplit_once('.')?;
        format!("{entity}.{word}").parse().ok()
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

impl EntityName {
    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text is not the name of a kind of entity.
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

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::updated("person.updated", Operation::Updated, Some("person.changed"))]
    #[case::changed("person.changed", Operation::Updated, Some("person.updated"))]
    #[case::more_words("crm.person.changed", Operation::Updated, Some("crm.person.updated"))]
    #[case::deleted("person.deleted", Operation::Deleted, None)]
    #[case::soft_deleted("person.softdeleted", Operation::Deleted, Some("person.deleted"))]
    #[case::created("person.created", Operation::Created, None)]
    #[case::another_word("rfp.status_changed", Operation::Created, None)]
    #[case::one_word("changed", Operation::Updated, None)]
    fn superoffice_has_words_of_its_own(
        #[case] text: &str,
        #[case] operation: Operation,
        #[case] synonym: Option<&str>,
    ) {
        let event_type: EventType = text.parse().unwrap();
        assert_eq!(Operation::from_word(text.rsplit('.').next().unwrap()), operation);
        assert_eq!(event_type.synonym(), synonym.map(|text| text.parse().unwrap()));
    }
}
