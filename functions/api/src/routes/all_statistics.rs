//! `/statistics`: totals and percentiles over all webhooks that the caller may see.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use aws::registry::WebhookRecord;
use axum::Json;
use axum::extract::State;
use domain::id::WebhookId;
use domain::webhook::Webhook;
use domain::webhook::hours::{HOURS, Hour, Sums};
use domain::webhook::latency::{Latencies, Percentiles};
use domain::webhook::settings::Direction;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::App;
use crate::body::Query;
use crate::caller::Admin;
use crate::problem::Problem;
use crate::registration::is_visible;

/// What the entries of `groups` are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = StatisticsGroupBy)]
pub enum GroupBy {
    /// Hours in UTC.
    #[default]
    Hour,
    /// Days in UTC.
    Day,
    /// Webhooks.
    Webhook,
}

/// What is counted, and how it is grouped.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct StatisticsQuery {
    /// From the hour of this time on. Default, and earliest: 47 hours before the current hour.
    #[param(value_type = String, format = DateTime, required = false)]
    from: Option<Timestamp>,
    /// Up to this time, and to the end of its hour. Default: now.
    #[param(value_type = String, format = DateTime, required = false)]
    to: Option<Timestamp>,
    /// What the entries of `groups` are: hours (UTC), which is the default, days (UTC) or webhooks.
    #[param(value_type = GroupBy, required = false)]
    group_by: Option<GroupBy>,
}

/// Percentiles of times, in milliseconds. They are estimates, off by about 6 %.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Percentiles)]
pub struct PercentilesBody {
    /// Half of the deliveries took at most this long.
    p50: u64,
    /// 90 % of them did.
    p90: u64,
    /// 99 % of them did.
    p99: u64,
}

impl From<Percentiles> for PercentilesBody {
    fn from(Percentiles { p50, p90, p99 }: Percentiles) -> Self {
        Self { p50, p90, p99 }
    }
}

/// The numbers of a period or a webhook.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct StatisticsNumbers {
    /// The number of attempts.
    calls: u64,
    /// The number of failed attempts.
    errors: u64,
    /// The number of successful attempts.
    delivered: u64,
    /// The mean duration of an attempt, in milliseconds.
    mean_duration_ms: Option<u64>,
    /// The time from the event to its arrival, with all retries, of the deliveries that arrived. `null` if none did, and
    /// for a webhook.
    lateness_ms: Option<PercentilesBody>,
    /// The duration of the attempts that arrived. `null` if none did, and for a webhook.
    duration_ms: Option<PercentilesBody>,
}

impl StatisticsNumbers {
    fn new(sums: Sums, latencies: Option<&Latencies>) -> Self {
        let Sums { calls, errors, .. } = sums;
        Self {
            calls,
            errors,
            delivered: calls.saturating_sub(errors),
            mean_duration_ms: sums.mean_duration_ms(),
            lateness_ms: latencies.and_then(|latencies| Some(latencies.lateness.percentiles()?.into())),
            duration_ms: latencies.and_then(|latencies| Some(latencies.duration.percentiles()?.into())),
        }
    }
}

/// The numbers of an hour, a day or a webhook.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct StatisticsGroup {
    /// When the hour or day began. `null` for a webhook.
    #[schema(value_type = Option<String>, format = DateTime)]
    start: Option<Timestamp>,
    /// The webhook. `null` for an hour or a day.
    #[schema(value_type = Option<String>)]
    webhook_id: Option<WebhookId>,
    /// The webhook's name. `null` for an hour or a day.
    #[schema(examples("orders to the ERP"))]
    name: Option<String>,
    #[serde(flatten)]
    numbers: StatisticsNumbers,
}

/// The statistics of all webhooks.
#[derive(Debug, Serialize, ToSchema)]
pub struct AllStatistics {
    /// The start of the first hour that is counted.
    #[schema(value_type = String, format = DateTime)]
    from: Timestamp,
    /// The end of the last hour that is counted.
    #[schema(value_type = String, format = DateTime)]
    to: Timestamp,
    group_by: GroupBy,
    total: StatisticsNumbers,
    /// Hours or days, latest first. Or webhooks with attempts, those with most failed attempts first.
    groups: Vec<StatisticsGroup>,
}

impl StatisticsQuery {
    /// Returns the first hour that is counted, and the one after the last. They are the same if none is.
    fn hours(&self, now: Timestamp) -> (Hour, Hour) {
        let this = Hour::of(now);
        let (earliest, next) = (this.before(i64::from(HOURS) - 1), this.before(-1));
        let from = self.from.map_or(earliest, |from| Hour::of(from).clamp(earliest, next));
        // At the full hour, the last hour is the one before.
        let last = |to: Timestamp| Hour::of(to.checked_sub(SignedDuration::from_nanos(1)).unwrap_or(to));
        let end = self.to.map_or(next, |to| last(to).before(-1).clamp(from, next));
        (from, end)
    }
}

/// Reads the statistics of all webhooks
///
/// The attempts of the last 48 hours, hour by hour, or by day or webhook. An application gets those of its own webhooks.
/// Calls of inbound webhooks are not in it. What arrived at once is counted after half a minute. Counts as ten requests.
#[utoipa::path(get, path = "/statistics", tag = "Deliveries", params(StatisticsQuery), operation_id = "get",
    responses((status = 200, description = "The statistics", body = AllStatistics)))]
pub(super) async fn of_all(
    State(app): State<Arc<App>>,
    admin: Admin,
    Query(query): Query<StatisticsQuery>,
) -> Result<Json<AllStatistics>, Problem> {
    let now = app.clock.now();
    let (from, end) = query.hours(now);
    // Of a webhook that was deleted, what it did is still counted.
    let is_counted = |webhook: &Webhook| {
        webhook.notice.is_none()
            && webhook.settings.direction == Direction::Outbound
            && is_visible(&admin, webhook)
            && webhook.audit.deleted_at.is_none_or(|deleted_at| Hour::of(deleted_at) >= from)
    };
    let (records, latencies) = tokio::try_join!(
        app.registry.records(&admin.tenant, is_counted),
        app.registry.latencies(&admin.tenant, admin.app.as_ref(), from..end, now),
    )?;
    let counts = Counts { from, end, now, records, latencies };
    let group_by = query.group_by.unwrap_or_default();
    let groups = match group_by {
        GroupBy::Hour => counts.by(Hour::start),
        GroupBy::Day => counts.by(day_of),
        GroupBy::Webhook => counts.by_webhook(),
    };
    Ok(Json(AllStatistics { from: from.start(), to: end.start(), group_by, total: counts.total(), groups }))
}

/// Returns the start of the day in UTC.
fn day_of(hour: Hour) -> Timestamp {
    Hour::from_number(hour.number().div_euclid(24) * 24).start()
}

/// What was read.
struct Counts {
    from: Hour,
    end: Hour,
    now: Timestamp,
    records: Vec<WebhookRecord>,
    latencies: HashMap<Hour, Latencies>,
}

impl Counts {
    /// Returns the counted hours of a webhook, latest first.
    fn hours_of<'a>(&'a self, record: &'a WebhookRecord) -> impl Iterator<Item = (Hour, Sums)> + 'a {
        let hours = record.statistics.hours.until(self.now);
        hours.filter(|(hour, _)| (self.from..self.end).contains(hour))
    }

    fn total(&self) -> StatisticsNumbers {
        let all = self.records.iter().flat_map(|record| self.hours_of(record));
        let sums = all.fold(Sums::default(), |sums, (_, more)| sums.plus(more));
        let mut latencies = Latencies::default();
        for more in self.latencies.values() {
            latencies.merge(more);
        }
        StatisticsNumbers::new(sums, Some(&latencies))
    }

    /// Groups the hours by periods, latest first.
    fn by(&self, period: impl Fn(Hour) -> Timestamp) -> Vec<StatisticsGroup> {
        let mut periods: BTreeMap<Timestamp, (Sums, Latencies)> = BTreeMap::new();
        let mut hour = self.from;
        while hour < self.end {
            let (_, latencies) = periods.entry(period(hour)).or_default();
            if let Some(more) = self.latencies.get(&hour) {
                latencies.merge(more);
            }
            hour = hour.before(-1);
        }
        for (hour, more) in self.records.iter().flat_map(|record| self.hours_of(record)) {
            let (sums, _) = periods.entry(period(hour)).or_default();
            *sums = sums.plus(more);
        }
        let group = |(start, (sums, latencies)): (Timestamp, (Sums, Latencies))| StatisticsGroup {
            start: Some(start),
            webhook_id: None,
            name: None,
            numbers: StatisticsNumbers::new(sums, Some(&latencies)),
        };
        periods.into_iter().rev().map(group).collect()
    }

    /// Returns the webhooks with attempts, those with most failed attempts first.
    fn by_webhook(&self) -> Vec<StatisticsGroup> {
        let group = |record: &WebhookRecord| {
            let sums = self.hours_of(record).fold(Sums::default(), |sums, (_, more)| sums.plus(more));
            (sums.calls > 0).then(|| StatisticsGroup {
                start: None,
                webhook_id: Some(record.webhook.id),
                name: Some(record.webhook.settings.name.clone()),
                numbers: StatisticsNumbers::new(sums, None),
            })
        };
        let mut groups: Vec<_> = self.records.iter().filter_map(group).collect();
        groups.sort_by_key(|group| std::cmp::Reverse((group.numbers.errors, group.numbers.calls)));
        groups
    }
}

#[cfg(test)]
mod tests;
