//! The limit of failures before a webhook is paused.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// When failures pause a webhook: after `failures` in a row, the first of which was at least `after_seconds` ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AutoPause {
    /// After how many failures in a row: 1 to 10,000.
    #[schema(minimum = 1, maximum = 10_000, default = 50)]
    pub failures: u32,
    /// How long the failures must continue, in seconds: 0 to 2,592,000.
    #[schema(minimum = 0, maximum = 2_592_000, default = 432_000)]
    pub after_seconds: u32,
}

/// After 50 failures over five days.
impl Default for AutoPause {
    fn default() -> Self {
        Self { failures: 50, after_seconds: 5 * 24 * 3600 }
    }
}
