//! Budgets: limits of what a tenant may use.
//!
//! A budget is the deployment's default, or the operator's setting for one tenant. Use is counted by day, in UTC.
//! Requests over a budget are refused. Deliveries of a table's changes cannot be refused and are
//! [deferred](meter::Deferral) instead: deliveries over the daily budget are made on the following days, in order.

mod limits;
mod meter;

pub use limits::{Budget, Budgets, KNOWN_FOR_SECONDS, MAX_LIMIT, Overrides, PUBLISHED_KEPT_DAYS, ParseBudgetsError};
pub use meter::{Counts, Deferral, Exceeded, LONGEST_DEFERRAL_DAYS, Meter, THRESHOLDS, resets_at, today};

/// The type of the event that reports that part of a budget is used.
pub const EVENT_TYPE: &str = "usage.threshold_reached";
