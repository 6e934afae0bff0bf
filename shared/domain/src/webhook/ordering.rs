//! Whether the deliveries of an entity keep an order.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Whether the deliveries of a webhook keep an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Ordering {
    /// Each goes as soon as it can.
    #[default]
    None,
    /// None of an entity overtakes an earlier one of it.
    Entity,
}

/// What an exhausted delivery means for the later ones of its entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnExhausted {
    /// They wait until it arrives after all, or somebody skips it.
    #[default]
    Halt,
    /// They go out without it.
    Skip,
}
