//! The payload: the body that a webhook receives.
//!
//! It is rendered once, before the delivery is queued, and never parsed again, so the signature covers exactly the
//! bytes that are sent. `docs/use/payloads.md` shows every format to receivers; its examples are tested against this
//! code.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::value::Map;
use crate::value::path::FieldPath;

mod change;
pub(crate) mod chat;
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

/// Properties that a webhook's owner adds to every payload, except the names of the payload's own fields.
pub type Properties = Map;

/// The largest number of included fields, and of excluded fields.
pub const MAX_FIELDS: usize = 100;

/// The format of a payload.
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
    /// The output of the webhook's template.
    Template,
}

/// How much of the entity a payload contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Detail {
    /// The entity's new and old state.
    #[default]
    Full,
    /// Only what changed.
    Diff,
    /// The entity's id and the names of what changed, without values.
    Thin,
}

/// The content type of a body.
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

/// How a webhook's payloads are rendered.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Rendering {
    /// The format.
    #[serde(default, skip_serializing_if = "is_default")]
    pub format: PayloadFormat,
    /// How much of the entity is shown.
    #[serde(default, skip_serializing_if = "is_default")]
    pub detail: Detail,
    /// Only these fields of the entity are shown. If empty, all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<FieldPath>,
    /// These fields of the entity are never shown, even if they are included.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<FieldPath>,
    /// Properties that are added to every payload.
    #[serde(default, skip_serializing_if = "Properties::is_empty")]
    pub properties: Properties,
    /// The template, for [`PayloadFormat::Template`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// The webhook's name, for the format that shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook_name: Option<String>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Why an event could not be rendered. It never contains a value of the entity, because it appears in logs and in the
/// log of attempts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// The format is `template`, and the template is missing.
    #[error("the webhook has no template")]
    NoTemplate,
    /// The template is invalid, does something forbidden, or uses a value that the event does not have.
    #[error("line {line} of the template: {reason}")]
    Template {
        /// The line in the template.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// The template takes too many steps.
    #[error("line {line} of the template: must take at most {steps} steps{}", for_names(*longest))]
    TooLong {
        /// The line in the template.
        line: usize,
        /// The limit.
        steps: u64,
        /// The length in bytes of the longest name or literal of the template, if it lowers the limit.
        longest: usize,
    },
    /// The filters and operators of the template do too much work.
    #[error("line {line} of the template: filters and operators must take at most {limit} units of work")]
    TooMuch {
        /// The line in the template.
        line: usize,
        /// The limit, in units of [`Work`](work::Work).
        limit: usize,
    },
    /// The templates of ordered webhooks together take more work than one event may.
    #[error(
        "the templates of webhooks with `ordering: entity` must take at most {limit} units of work for one event; use fewer different templates"
    )]
    NoShare {
        /// The limit, in units of [`Work`](work::Work).
        limit: u64,
    },
    /// The output of the template is not JSON.
    #[error("the output of the template must be JSON: see line {line}, column {column} of the output")]
    NotJson {
        /// The line in the output.
        line: usize,
        /// The column in the output.
        column: usize,
    },
    /// The output is valid JSON by its grammar, but many parsers cannot read it.
    #[error("the output of the template must have at most 99 levels and no unpaired surrogates such as \\ud800")]
    HardToRead,
    /// The output is too large.
    #[error("the output of the template must be at most {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
}

impl RenderError {
    /// Returns whether the template was stopped because of a limit.
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
    /// Returns the content type of the bodies.
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
