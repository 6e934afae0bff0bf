//! Budgets: how much of everything a tenant may use.
//!
//! A budget is a default of the deployment, or what the operator says for one tenant. What a tenant does is counted by day, in UTC.
//! What comes to a door is refused there when its budget is used up. What cannot be refused, such as deliveries of a table's changes, is
//! [deferred](meter::Deferral): the deliveries of a day that are over the budget are made on the following days, in their order.

mod limits;
mod meter;

pub use limits::{Budget, Budgets, KNOWN_FOR_SECONDS, MAX_LIMIT, Overrides, PUBLISHED_KEPT_DAYS, ParseBudgetsError};
pub use meter::{Counts, Deferral, Exceeded, LONGEST_DEFERRAL_DAYS, Meter, THRESHOLDS, resets_at, today};

/// The type of the event that a part of a budget is used.
pub const EVENT_TYPE: &str = "usage.threshold_reached";
