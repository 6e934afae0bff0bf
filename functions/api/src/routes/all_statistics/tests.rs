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
    let (from, end) = query.hours(now());
    let mut latencies = HashMap::new();
    for (ago, lateness_ms) in [(0, 10), (1, 300)] {
        let hour = Hour::of(now()).before(ago);
        let of_hour: &mut Latencies = latencies.entry(hour).or_default();
        of_hour.record(&Latency { at: hour.start(), lateness_ms, duration_ms: 5 });
    }
    latencies.retain(|hour, _| (from..end).contains(hour));
    let records = vec![
        webhook("quiet", 1, &[]),
        webhook("well", 2, &[(0, 10, 0), (13, 1, 0)]),
        webhook("failing", 3, &[(0, 2, 2), (1, 2, 1)]),
    ];
    Counts { from, end, now: now(), records, latencies }
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
#[case::everything(None, None, "2026-11-27T13:00:00Z", "2026-11-29T13:00:00Z")]
#[case::too_early(Some("2026-01-01T00:00:00Z"), None, "2026-11-27T13:00:00Z", "2026-11-29T13:00:00Z")]
#[case::within_an_hour(
    Some("2026-11-29T11:20:00Z"),
    Some("2026-11-29T11:30:00Z"),
    "2026-11-29T11:00:00Z",
    "2026-11-29T12:00:00Z"
)]
#[case::to_the_full_hour(
    Some("2026-11-29T10:00:00Z"),
    Some("2026-11-29T11:00:00Z"),
    "2026-11-29T10:00:00Z",
    "2026-11-29T11:00:00Z"
)]
#[case::to_the_future(None, Some("2027-01-01T00:00:00Z"), "2026-11-27T13:00:00Z", "2026-11-29T13:00:00Z")]
#[case::empty(
    Some("2026-11-29T11:00:00Z"),
    Some("2026-11-29T11:00:00Z"),
    "2026-11-29T11:00:00Z",
    "2026-11-29T11:00:00Z"
)]
#[case::ends_before_it_begins(
    Some("2026-11-29T11:00:00Z"),
    Some("2026-11-29T09:00:00Z"),
    "2026-11-29T11:00:00Z",
    "2026-11-29T11:00:00Z"
)]
#[case::over(None, Some("2026-11-27T13:00:00Z"), "2026-11-27T13:00:00Z", "2026-11-27T13:00:00Z")]
#[case::in_the_future(
    Some("2027-01-01T00:00:00Z"),
    Some("2027-02-01T00:00:00Z"),
    "2026-11-29T13:00:00Z",
    "2026-11-29T13:00:00Z"
)]
fn whole_hours_are_counted(
    #[case] from: Option<&str>,
    #[case] to: Option<&str>,
    #[case] first: &str,
    #[case] end: &str,
) {
    let query = StatisticsQuery { from: from.map(at), to: to.map(at), group_by: None };
    let hours = query.hours(now());
    assert_eq!((hours.0.start(), hours.1.start()), (at(first), at(end)));
    let length = hours.1.number() - hours.0.number();
    assert_eq!(counts(&query).by(Hour::start).len(), usize::try_from(length).unwrap());
}
