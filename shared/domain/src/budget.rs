//! Budgets: how much of everything a tenant may use.
//!
//! A budget is a default of the deployment, or what the operator says for one tenant. What a tenant does is counted by day, in UTC.
//! What comes to a door is refused there when its budget is used up. What cannot be refused, such as deliveries of a table's changes, is
//! [deferred](meter::Deferral): the deliveries of a day that are over the budget are made on the following days, in their order.

mod limits;
mod meter;

pub use limits::{Budget, Budgets, MAX_LIMIT, Overrides, ParseBudgetsError};
pub use meter::{Counts, Deferral, Exceeded, LONGEST_DEFERRAL_DAYS, Meter, THRESHOLDS, resets_at, today};

/// How many days the published events of a tenant are kept, as `domain::delivery::KEPT` says.
pub const PUBLISHED_KEPT_DAYS: u8 = 30;

/// How long what is known of a tenant's budgets and of its other processes is used before it is read again, in seconds.
pub const KNOWN_FOR_SECONDS: i64 = 60;

/// The type of the event that a part of a budget is used.
pub const EVENT_TYPE: &str = "usage.threshold_reached";
