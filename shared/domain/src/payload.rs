//! The body that a webhook receives.
//!
//! Rendered once, before the delivery is queued, and never parsed again: what is signed is the bytes that are sent.
//! `docs/use/payloads.md` shows every format to receivers; its examples are tested against this code.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::value::path::FieldPath;

mod change;
mod chat;
mod cloudevents;
mod json;
mod render;
mod standard;
mod superoffice;
pub mod template;
mod view;
pub mod work;

#[cfg(test)]
mod tests;

/// What a webhook's owner adds to every payload. The names of the payload's own fields are not among them.
pub type Properties = serde_json::Map<String, serde_json::Value>;

/// How many fields may be included, and how many excluded.
pub const MAX_FIELDS: usize = 100;

/// What a payload looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PayloadFormat {
    /// The envelope of the Flows webhook guide.
    #[default]
    Change,
    /// The payload that Standard Webhooks recommends.
    Standard,
    /// CloudEvents 1.0, as structured JSON.
    CloudEvents,
    /// The payload of SuperOffice's webhooks.
    SuperOffice,
    /// A message for an incoming webhook of Slack.
    Slack,
    /// A card for a workflow of Microsoft Teams.
    Teams,
    /// Whatever the webhook's template makes of it.
    Template,
}

/// How much of an entity a payload shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Detail {
    /// The entity as it is, and as it was.
    #[default]
    Full,
    /// What changed, and nothing else.
    Diff,
    /// Which entity, and the names of what changed, but no value.
    Thin,
}

/// What a body is, for the header `Content-Type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContentType {
    /// JSON.
    #[default]
    Json,
    /// An event in the JSON format of CloudEvents.
    CloudEvents,
}

impl ContentType {
    /// Returns the value of the header.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::CloudEvents => "application/cloudevents+json",
        }
    }
}

/// How a webhook's payloads look.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Rendering {
    /// The format.
    #[serde(default, skip_serializing_if = "is_default")]
    pub format: PayloadFormat,
    /// How much of the entity is shown.
    #[serde(default, skip_serializing_if = "is_default")]
    pub detail: Detail,
    /// Only these fields of the entity, if any are named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<FieldPath>,
    /// Never these fields of the entity, whatever is included.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<FieldPath>,
    /// What is added to every payload.
    #[serde(default, skip_serializing_if = "Properties::is_empty")]
    pub properties: Properties,
    /// The template, for the format that is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// What people call the webhook, for the format that shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook_name: Option<String>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Why an event has no body. Says what and where, never a value of the entity: it stands in logs and in the log of attempts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// The format is a template, and there is none.
    #[error("there is no template")]
    NoTemplate,
    /// The template is none, does what it may not, or asks for what the event does not have.
    #[error("line {line} of the template: {reason}")]
    Template {
        /// Where.
        line: usize,
        /// What.
        reason: String,
    },
    /// The template takes too many steps.
    #[error("line {line} of the template: it takes more than {steps} steps{}", for_names(*longest))]
    TooLong {
        /// Where.
        line: usize,
        /// How many are allowed.
        steps: u64,
        /// How long the longest name or literal of the template is, in bytes, if there are fewer steps for it.
        longest: usize,
    },
    /// The filters and operators of the template read and make too much.
    #[error("line {line} of the template: its filters and operators take more than {limit} units of work")]
    TooMuch {
        /// Where.
        line: usize,
        /// How much is allowed, in units of [`Work`](work::Work).
        limit: usize,
    },
    /// The webhooks that keep an order have templates that take more together than one event may.
    #[error(
        "the templates of webhooks with `ordering: entity` take more than {limit} units of work for one event; use fewer different ones"
    )]
    NoShare {
        /// How much is allowed, in units of [`Work`](work::Work).
        limit: u64,
    },
    /// What the template made is not JSON.
    #[error("what the template makes is not JSON: see its line {line}, column {column}")]
    NotJson {
        /// The line of what it made.
        line: usize,
        /// The column there.
        column: usize,
    },
    /// What the template made is JSON by its grammar, and hard on parsers.
    #[error("what the template makes has more than 99 levels, or half of a surrogate pair such as \\ud800")]
    HardToRead,
    /// What the template made is too large.
    #[error("what the template makes is larger than {limit} bytes")]
    TooLarge {
        /// What is allowed.
        limit: usize,
    },
}

impl RenderError {
    /// Says whether the template was stopped because it took or made too much.
    #[must_use]
    pub fn is_excess(&self) -> bool {
        match self {
            Self::TooLong { .. } | Self::TooMuch { .. } | Self::TooLarge { .. } => true,
            Self::NoTemplate
            | Self::Template { .. }
            | Self::NoShare { .. }
            | Self::NotJson { .. }
            | Self::HardToRead => false,
        }
    }
}

fn for_names(longest: usize) -> String {
    if longest == 0 { String::new() } else { format!(" with a name or literal of {longest} bytes") }
}

impl Rendering {
    /// Returns what the bodies are.
    #[must_use]
    pub fn content_type(&self) -> ContentType {
        match self.format {
            PayloadFormat::CloudEvents => ContentType::CloudEvents,
            PayloadFormat::Change
            | PayloadFormat::Standard
            | PayloadFormat::SuperOffice
            | PayloadFormat::Slack
            | PayloadFormat::Teams
            | PayloadFormat::Template => ContentType::Json,
        }
    }
}
