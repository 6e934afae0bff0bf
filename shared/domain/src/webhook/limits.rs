//! How much a webhook takes, and how much it may fail.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{FieldError, Settings};
use crate::answer::MAX_STATUS_PATTERNS;

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

/// Checks them all.
pub(super) fn check(settings: &Settings, faults: &mut Vec<FieldError>) {
    let AutoPause { failures, after_seconds } = settings.auto_pause;
    let one_to_thousand = |number: Option<u32>| number.is_none_or(|number| (1..=1000).contains(&number));
    let limits = [
        ("/auto_pause/failures", (1..=10_000).contains(&failures), "must be 1 to 10000"),
        ("/auto_pause/after_seconds", after_seconds <= 2_592_000, "must be 0 to 2592000 seconds"),
        ("/rate_limit", one_to_thousand(settings.rate_limit), "must be 1 to 1000 requests a second, or null"),
        ("/max_concurrency", one_to_thousand(settings.max_concurrency), "must be 1 to 1000 requests at once, or null"),
        ("/success_statuses", settings.success_statuses.len() <= MAX_STATUS_PATTERNS, "must be at most 20"),
    ];
    let broken = limits.into_iter().filter(|(_, holds, _)| !holds);
    faults.extend(broken.map(|(pointer, _, detail)| FieldError::new(pointer, detail)));
}
