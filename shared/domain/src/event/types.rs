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
    /// Parses the last word of an event type. Any other word than the three means that the entity was created.
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
