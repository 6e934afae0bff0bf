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
use crate::problem::{Fault, Problem};
use crate::registration::is_visible;

/// What the entries of `groups` are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = GroupOfStatisticsBy)]
enum GroupBy {
    #[default]
    Hour,
    Day,
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
    total: StatisticsNumbers,
    /// Hours or days, latest first. Or webhooks with attempts, those with most failed attempts first.
    groups: Vec<StatisticsGroup>,
}

impl StatisticsQuery {
    /// Returns the first and the last hour that are counted.
    fn hours(&self, now: Timestamp) -> Result<(Hour, Hour), Problem> {
        let this = Hour::of(now);
        let earliest = this.before(i64::from(HOURS) - 1);
        let from = self.from.map_or(earliest, |from| Hour::of(from).max(earliest));
        // The end is exclusive: at the full hour, the last hour is the one before.
        let last = |to: Timestamp| Hour::of(to.checked_sub(SignedDuration::from_nanos(1)).unwrap_or(to));
        let to = self.to.map_or(this, |to| last(to).min(this));
        let mut faults = Vec::new();
        if self.from.is_some_and(|from| from > now || self.to.is_some_and(|to| to <= from)) {
            faults.push(Fault::parameter("from", "must be in the past and before `to`"));
        } else if to < earliest {
            faults.push(Fault::parameter("to", format!("must be within the last {HOURS} hours")));
        }
        if faults.is_empty() { Ok((from, to)) } else { Err(Problem::Invalid(faults)) }
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
    let (from, to) = query.hours(now)?;
    // Of a webhook that was deleted, what it did is still counted.
    let is_counted = |webhook: &Webhook| {
        webhook.notice.is_none()
            && webhook.settings.direction == Direction::Outbound
            && is_visible(&admin, webhook)
            && webhook.audit.deleted_at.is_none_or(|deleted_at| Hour::of(deleted_at) >= from)
    };
    let (records, latencies) = tokio::try_join!(
        app.registry.records(&admin.tenant, is_counted),
        app.registry.latencies(&admin.tenant, admin.app.as_ref(), (from, to), now),
    )?;
    let counts = Counts { from, to, now, records, latencies };
    let groups = match query.group_by.unwrap_or_default() {
        GroupBy::Hour => counts.by(Hour::start),
        GroupBy::Day => counts.by(day_of),
        GroupBy::Webhook => counts.by_webhook(),
    };
    Ok(Json(AllStatistics { from: from.start(), to: to.before(-1).start(), total: counts.total(), groups }))
}

/// Returns the start of the day in UTC.
fn day_of(hour: Hour) -> Timestamp {
    Hour::from_number(hour.number().div_euclid(24) * 24).start()
}

/// What was read.
struct Counts {
    from: Hour,
    to: Hour,
    now: Timestamp,
    records: Vec<WebhookRecord>,
    latencies: HashMap<Hour, Latencies>,
}

impl Counts {
    /// Returns the counted hours of a webhook, latest first.
    fn hours_of<'a>(&'a self, record: &'a WebhookRecord) -> impl Iterator<Item = (Hour, Sums)> + 'a {
        let hours = record.statistics.hours.until(self.now);
        hours.filter(|(hour, _)| (self.from..=self.to).contains(hour))
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
        while hour <= self.to {
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
mod tests {
    use domain::webhook::hours::Hours;
    use domain::webhook::latency::Latency;
    use domain::webhook::statistics::Statistics;
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::registration::representation::tests::record;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn now() -> Timestamp {
        at("2026-11-29T12:34:56Z")
    }

    /// Returns a webhook with attempts so many hours ago: how many, and how many of them failed.
    fn webhook(name: &str, number: u128, hours: &[(usize, u64, u64)]) -> WebhookRecord {
        let mut slots = vec![Sums::default(); usize::from(HOURS)];
        for (ago, calls, errors) in hours.iter().copied() {
            let hour = Hour::of(now()).before(i64::try_from(ago).unwrap());
            slots[hour.slot()] = Sums { calls, errors, duration_ms: calls * 10 };
        }
        let mut record = record(json!({"name": name, "url": "https://example.com/", "event_types": ["a.b"]}));
        record.webhook.id = WebhookId::from_parts(Timestamp::UNIX_EPOCH, number);
        let hours = Hours::new(Some(Hour::of(now())), slots);
        WebhookRecord { statistics: Statistics { hours, ..Statistics::default() }, ..record }
    }

    fn counts(query: &StatisticsQuery) -> Counts {
        let (from, to) = query.hours(now()).unwrap();
        let mut latencies = HashMap::new();
        for (ago, lateness_ms) in [(0, 10), (1, 300)] {
            let hour = Hour::of(now()).before(ago);
            let of_hour: &mut Latencies = latencies.entry(hour).or_default();
            of_hour.record(&Latency { at: hour.start(), lateness_ms, duration_ms: 5 });
        }
        latencies.retain(|hour, _| (from..=to).contains(hour));
        let records = vec![
            webhook("quiet", 1, &[]),
            webhook("well", 2, &[(0, 10, 0), (13, 1, 0)]),
            webhook("failing", 3, &[(0, 2, 2), (1, 2, 1)]),
        ];
        Counts { from, to, now: now(), records, latencies }
    }

    fn last(hours: i64) -> StatisticsQuery {
        let from = Some(Hour::of(now()).before(hours - 1).start());
        StatisticsQuery { from, ..StatisticsQuery::default() }
    }

    fn shown(groups: &[StatisticsGroup]) -> Vec<(Value, u64, u64)> {
        let shown = |group: &StatisticsGroup| {
            let value = serde_json::to_value(group).unwrap();
            let what = if group.start.is_some() { &value["start"] } else { &value["name"] };
            (what.clone(), group.numbers.calls, group.numbers.errors)
        };
        groups.iter().map(shown).collect()
    }

    #[test]
    fn hours_are_listed_latest_first_with_and_without_attempts() {
        let groups = counts(&last(3)).by(Hour::start);
        let expected = [
            (json!("2026-11-29T12:00:00Z"), 12, 2),
            (json!("2026-11-29T11:00:00Z"), 2, 1),
            (json!("2026-11-29T10:00:00Z"), 0, 0),
        ];
        assert_eq!(shown(&groups), expected);
        let p50 = |group: &StatisticsGroup| group.numbers.lateness_ms.as_ref().map(|lateness| lateness.p50);
        assert_eq!(groups.iter().map(p50).collect::<Vec<_>>(), [Some(10), Some(303), None]);
        assert_eq!(groups[2].numbers, StatisticsNumbers::new(Sums::default(), None));
    }

    #[test]
    fn days_are_those_of_utc() {
        let groups = counts(&StatisticsQuery::default()).by(day_of);
        let expected = [
            (json!("2026-11-29T00:00:00Z"), 14, 3),
            (json!("2026-11-28T00:00:00Z"), 1, 0),
            (json!("2026-11-27T00:00:00Z"), 0, 0),
        ];
        assert_eq!(shown(&groups), expected);
    }

    #[test]
    fn the_webhooks_that_fail_most_come_first() {
        let groups = counts(&StatisticsQuery::default()).by_webhook();
        assert_eq!(shown(&groups), [(json!("failing"), 4, 3), (json!("well"), 11, 0)]);
        assert_eq!(groups[0].numbers.lateness_ms, None);
        assert_eq!(shown(&counts(&last(1)).by_webhook()), [(json!("failing"), 2, 2), (json!("well"), 10, 0)]);
    }

    #[test]
    fn the_total_is_that_of_the_range() {
        let numbers = counts(&last(1)).total();
        assert_eq!((numbers.calls, numbers.errors, numbers.delivered), (12, 2, 10));
        assert_eq!(numbers.mean_duration_ms, Some(10));
        assert_eq!(numbers.lateness_ms, Some(PercentilesBody { p50: 10, p90: 10, p99: 10 }));
    }

    #[rstest]
    #[case::everything(None, None, "2026-11-27T13:00:00Z", "2026-11-29T12:00:00Z")]
    #[case::too_early(Some("2026-01-01T00:00:00Z"), None, "2026-11-27T13:00:00Z", "2026-11-29T12:00:00Z")]
    #[case::within_an_hour(
        Some("2026-11-29T11:20:00Z"),
        Some("2026-11-29T11:30:00Z"),
        "2026-11-29T11:00:00Z",
        "2026-11-29T11:00:00Z"
    )]
    #[case::to_the_full_hour(
        Some("2026-11-29T10:00:00Z"),
        Some("2026-11-29T11:00:00Z"),
        "2026-11-29T10:00:00Z",
        "2026-11-29T10:00:00Z"
    )]
    #[case::to_the_future(None, Some("2027-01-01T00:00:00Z"), "2026-11-27T13:00:00Z", "2026-11-29T12:00:00Z")]
    fn whole_hours_are_counted(
        #[case] from: Option<&str>,
        #[case] to: Option<&str>,
        #[case] first: &str,
        #[case] last: &str,
    ) {
        let query = StatisticsQuery { from: from.map(at), to: to.map(at), group_by: None };
        let (from, to) = query.hours(now()).unwrap();
        assert_eq!((from.start(), to.start()), (at(first), at(last)));
    }

    #[rstest]
    #[case::empty(Some("2026-11-29T11:00:00Z"), Some("2026-11-29T11:00:00Z"), "from")]
    #[case::in_the_future(Some("2026-11-29T12:34:57Z"), None, "from")]
    #[case::over(None, Some("2026-11-27T13:00:00Z"), "to")]
    fn a_range_that_cannot_be_counted_is_refused(
        #[case] from: Option<&str>,
        #[case] to: Option<&str>,
        #[case] at_fault: &str,
    ) {
        let query = StatisticsQuery { from: from.map(at), to: to.map(at), group_by: None };
        let Err(Problem::Invalid(faults)) = query.hours(now()) else { panic!("it is counted") };
        assert_eq!(faults.len(), 1);
        assert!(faults[0].pointer.ends_with(at_fault), "{}", faults[0].pointer);
    }
}
