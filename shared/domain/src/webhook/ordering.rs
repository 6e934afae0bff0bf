//! The ordering of an entity's deliveries.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Whether a webhook's deliveries are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Ordering {
    /// Each delivery is sent as soon as possible.
    #[default]
    None,
    /// No delivery of an entity overtakes an earlier one of the same entity.
    Entity,
}

/// What happens to an entity's later deliveries after one is exhausted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnExhausted {
    /// They wait until it is delivered after a redrive, or is skipped.
    #[default]
    Halt,
    /// They are sent without it.
    Skip,
}
