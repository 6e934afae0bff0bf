//! `/webhooks/{id}/statistics`: what a webhook's attempts add up to, in all and hour by hour.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use domain::attempt::outcome::Verdict;
use domain::id::WebhookId;
use domain::webhook::hours::{Hour, Sums};
use domain::webhook::statistics::Statistics;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::{WebhookPath, visible};
use crate::App;
use crate::caller::Admin;
use crate::problem::Problem;

/// What a webhook's attempts add up to.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Statistics)]
pub struct StatisticsBody {
    #[schema(value_type = String)]
    webhook_id: WebhookId,
    /// All attempts.
    total_calls: u64,
    /// Those that failed.
    total_errors: u64,
    /// Attempts that failed since the last one that did not.
    consecutive_failures: u64,
    /// When the first of these was made.
    #[schema(value_type = Option<String>, format = DateTime)]
    failing_since: Option<Timestamp>,
    /// Attempts that got no answer in time since the last one that ended in another way.
    consecutive_timeouts: u64,
    /// What went wrong last, in short.
    last_error: Option<String>,
    /// When the last attempt was made.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_delivery_at: Option<Timestamp>,
    /// How it ended.
    #[schema(inline)]
    last_delivery_status: Option<Verdict>,
    /// The last 48 hours, this one included, the latest first.
    hours: Vec<HourBody>,
}

/// What a webhook's attempts of an hour add up to.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = HourOfStatistics)]
pub struct HourBody {
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    hour: Timestamp,
    /// Attempts.
    calls: u64,
    /// Those that failed.
    errors: u64,
    /// Those that did not: deliveries that arrived.
    delivered: u64,
    /// How long an attempt took on average.
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
    fn new(webhook_id: WebhookId, statistics: Statistics, now: Timestamp) -> Self {
        let hours = statistics.hours.until(now).map(HourBody::from).collect();
        let Statistics { total_calls, total_errors, consecutive_failures, failing_since, .. } = statistics;
        let Statistics { consecutive_timeouts, last_error, last_delivery_at, last_delivery_status, .. } = statistics;
        Self {
            webhook_id,
            total_calls,
            total_errors,
            consecutive_failures,
            failing_since,
            consecutive_timeouts,
            last_error,
            last_delivery_at,
            last_delivery_status,
            hours,
        }
    }
}

/// Adds up attempts
///
/// All that were ever made, and those of the last 48 hours, hour by hour (UTC). An attempt counts for the hour in which it began;
/// attempts that ended together may all count for that of the last one.
#[utoipa::path(get, path = "/webhooks/{id}/statistics", tag = "Deliveries", params(WebhookPath),
    responses((status = 200, description = "What they add up to", body = StatisticsBody)))]
pub(crate) async fn statistics(
    State(app): State<Arc<App>>,
    admin: Admin,
    Path(id): Path<String>,
) -> Result<Json<StatisticsBody>, Problem> {
    let record = visible(&app, &admin, &id).await?;
    Ok(Json(StatisticsBody::new(record.webhook.id, record.statistics, app.clock.now())))
}
