//! `/webhooks/{id}/statistics`: totals of a webhook's attempts, overall and by hour.

use std::sync::Arc;

use aws::ledger::StateCounts;
use axum::Json;
use axum::extract::{Path, State};
use domain::attempt::outcome::Verdict;
use domain::id::WebhookId;
use domain::webhook::hours::{Hour, Sums};
use domain::webhook::statistics::Statistics;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::App;
use crate::caller::Admin;
use crate::parameters::WebhookPath;
use crate::problem::Problem;
use crate::registration::visible;

/// The statistics of a webhook's attempts.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Statistics)]
pub struct StatisticsBody {
    #[schema(value_type = String)]
    webhook_id: WebhookId,
    /// The number of attempts.
    total_calls: u64,
    /// The number of failed attempts.
    total_errors: u64,
    /// The number of calls of an inbound webhook that became no event because the webhook does not name their type.
    ignored_calls: u64,
    /// Failed attempts since the last success.
    consecutive_failures: u64,
    /// When the first of these failures occurred.
    #[schema(value_type = Option<String>, format = DateTime)]
    failing_since: Option<Timestamp>,
    /// Consecutive timeouts.
    consecutive_timeouts: u64,
    /// The last error, in short.
    last_error: Option<String>,
    /// When the last attempt was made.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_delivery_at: Option<Timestamp>,
    /// The verdict of the last attempt.
    last_delivery_status: Option<Verdict>,
    states: StatesBody,
    /// The last 48 hours including the current one, latest first.
    hours: Vec<HourBody>,
}

/// How many of a webhook's deliveries are in each state that has not ended well.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeliveryStates)]
pub struct StatesBody {
    /// Parked, because the webhook is paused or its receiver is down.
    parked: usize,
    /// Waiting until a slot of the receiver is free (`max_concurrency`).
    waiting: usize,
    /// Dead letters.
    exhausted: usize,
    /// Waiting for the next attempt, among the webhook's newest 1,000 deliveries.
    retrying: usize,
    /// Waiting behind an earlier delivery of their entity, among the webhook's newest 1,000 deliveries.
    held: usize,
    /// Whether all of them were counted. If `false`, there may be more: about 1,000 are read for each count.
    is_complete: bool,
}

impl From<StateCounts> for StatesBody {
    fn from(counts: StateCounts) -> Self {
        let StateCounts { parked, waiting, exhausted, retrying, held, is_complete } = counts;
        Self { parked, waiting, exhausted, retrying, held, is_complete }
    }
}

/// The statistics of one hour.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HourOfStatistics)]
pub struct HourBody {
    /// When the hour began.
    #[schema(value_type = String, format = DateTime)]
    hour: Timestamp,
    /// The number of attempts.
    calls: u64,
    /// The number of failed attempts.
    errors: u64,
    /// The number of successful attempts.
    delivered: u64,
    /// The mean duration of an attempt, in milliseconds.
    mean_duration_ms: Option<u64>,
}

impl From<(Hour, Sums)> for HourBody {
    fn from((hour, sums): (Hour, Sums)) -> Self {
        let Sums { calls, errors, .. } = sums;
        let delivered = calls.saturating_sub(errors);
        Self { hour: hour.start(), calls, errors, delivered, mean_duration_ms: sums.mean_duration_ms() }
    }
}

impl StatisticsBody {
    fn new(webhook_id: WebhookId, statistics: Statistics, counts: StateCounts, now: Timestamp) -> Self {
        let hours = statistics.hours.until(now).map(HourBody::from).collect();
        let Statistics { total_calls, total_errors, ignored_calls, consecutive_failures, failing_since, .. } =
            statistics;
        let Statistics { consecutive_timeouts, last_error, last_delivery_at, last_delivery_status, .. } = statistics;
        Self {
            webhook_id,
            total_calls,
            total_errors,
            ignored_calls,
            consecutive_failures,
            failing_since,
            consecutive_timeouts,
            last_error,
            last_delivery_at,
            last_delivery_status,
            states: counts.into(),
            hours,
        }
    }
}

/// Reads a webhook's statistics
///
/// The totals of all attempts, and of the last 48 hours, hour by hour (UTC). An attempt counts for the hour in which it
/// began; attempts that ended together may all count for the hour of the last one. Of an inbound webhook, the calls
/// that others made are counted instead, refused ones as errors.
#[utoipa::path(get, path = "/webhooks/{id}/statistics", tag = "Deliveries", params(WebhookPath),
    responses((status = 200, description = "The statistics", body = StatisticsBody)))]
pub(crate) async fn statistics(
    State(app): State<Arc<App>>,
    admin: Admin,
    Path(id): Path<String>,
) -> Result<Json<StatisticsBody>, Problem> {
    let record = visible(&app, &admin, &id).await?;
    let (webhook, now) = (record.webhook.id, app.clock.now());
    let counts = app.ledger.counts(&admin.tenant, webhook, now).await?;
    Ok(Json(StatisticsBody::new(webhook, record.statistics, counts, now)))
}
