use aws_sdk_dynamodb::primitives::Blob;
use domain::attempt::outcome::Verdict;

use super::*;
use crate::items::tests::size;

pub(super) const HOUR: i64 = 498_681;

fn tally() -> Tally {
    Tally {
        calls: 3,
        errors: 1,
        ignored: 0,
        duration_ms: 70,
        failures: 0,
        succeeded: true,
        failing_since: None,
        timeouts: 0,
        ended_otherwise: true,
        last_error: None,
        last_at: Timestamp::from_second(HOUR * 3600 + 5).unwrap(),
        last_status: Verdict::Accepted,
    }
}

fn failed(verdict: Verdict) -> Tally {
    let at = tally().last_at;
    let timed_out = verdict == Verdict::TimedOut;
    Tally {
        failures: 3,
        succeeded: false,
        failing_since: Some(at),
        timeouts: if timed_out { 3 } else { 0 },
        ended_otherwise: !timed_out,
        last_error: Some("late".to_owned()),
        last_status: verdict,
        ..tally()
    }
}

fn counting(tally: &Tally, last: Option<i64>) -> Counting {
    Counting::of(tally, last.map(Hour::from_number)).unwrap()
}

/// Checks that every placeholder in the expressions has a value and every value is used; DynamoDB rejects anything
/// else.
pub(super) fn check(counting: &Counting) {
    let text = format!("{} {}", counting.condition, counting.expression());
    let mut names: Vec<&str> = text.split([' ', ',', ')', '(']).filter(|word| word.starts_with(':')).collect();
    names.sort_unstable();
    names.dedup();
    let mut values: Vec<&str> = counting.values.keys().map(String::as_str).collect();
    values.sort_unstable();
    assert_eq!(names, values, "{text}");
    // DynamoDB's limit for an expression.
    assert!(text.len() < 4096, "{}", text.len());
}

#[test]
fn adds_to_the_hour_that_was_counted_last() {
    let counting = counting(&tally(), Some(HOUR));
    check(&counting);
    assert_eq!(counting.condition, "last_hour = :last");
    assert_eq!(
        counting.expression(),
        "SET last_delivery_at = :at, last_delivery_status = :status, consecutive_failures = :failures, \
         consecutive_timeouts = :timeouts, by_hour[27] = by_hour[27] + :calls, by_hour[28] = by_hour[28] + :errors, \
         by_hour[29] = by_hour[29] + :duration ADD total_calls :calls, total_errors :errors REMOVE failing_since"
    );
}

#[test]
fn empties_the_hours_of_silence() {
    let counting = counting(&tally(), Some(HOUR - 2));
    check(&counting);
    let expected = "by_hour[24] = :zero, by_hour[25] = :zero, by_hour[26] = :zero, \
         by_hour[27] = :calls, by_hour[28] = :errors, by_hour[29] = :duration, last_hour = :hour ADD";
    assert!(counting.expression().contains(expected), "{}", counting.expression());
}

#[test]
fn starts_a_ring_where_there_is_none() {
    let counting = counting(&tally(), None);
    check(&counting);
    assert_eq!(counting.condition, "attribute_not_exists(last_hour)");
    assert!(counting.expression().contains("by_hour = :ring, last_hour = :hour ADD"));
    let ring = counting.values[":ring"].as_l().unwrap();
    assert_eq!(ring.len(), 144);
    assert_eq!(ring[27..30], [number(3), number(1), number(70)]);
}

#[test]
fn every_turn_of_every_tally_is_an_expression_that_dynamodb_takes() {
    for tally in [tally(), failed(Verdict::Refused), failed(Verdict::TimedOut)] {
        for last in [None, Some(HOUR), Some(HOUR + 1), Some(HOUR + 99), Some(HOUR - 1), Some(HOUR - 47), Some(0)] {
            check(&counting(&tally, last));
        }
    }
}

#[test]
fn failures_go_on_until_there_is_a_success() {
    let expression = counting(&failed(Verdict::TimedOut), Some(HOUR)).expression();
    assert!(expression.contains("failing_since = if_not_exists(failing_since, :since)"));
    assert!(expression.contains("consecutive_failures :failures, consecutive_timeouts :timeouts"));
    let expression = counting(&failed(Verdict::Refused), Some(HOUR)).expression();
    assert!(expression.contains("consecutive_timeouts = :timeouts"), "an answer ends the timeouts");
    let again = Tally { succeeded: true, ..failed(Verdict::Refused) };
    assert!(counting(&again, Some(HOUR)).expression().contains("failing_since = :since"));
}

/// Returns the item when each of 48 hours had these sums.
fn item(sums: Sums, last_error: &str) -> Item {
    let webhook = WebhookId::from_parts(tally().last_at, 7);
    let mut item = key(&statistics_pk(webhook), SK);
    let at = Timestamp::from_nanosecond(1_795_246_444_123_456_789).unwrap();
    item.extend(
        [
            ("total_calls", number(sums.calls * 1001)),
            ("total_errors", number(sums.errors * 1001)),
            ("consecutive_failures", number(sums.errors * 47)),
            ("consecutive_timeouts", number(sums.errors * 47)),
            ("failing_since", moment(at)),
            ("last_error", text(last_error)),
            ("last_delivery_at", moment(at)),
            ("last_delivery_status", text("protocol_failed")),
            ("last_hour", number(HOUR)),
            ("by_hour", list(&Hours::new(Some(Hour::from_number(HOUR)), vec![sums; 48]))),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    item
}

/// Counting from the stream adds its positions, of 24 digits or so. A busy webhook's many counts for one write pay for
/// them.
#[test]
fn the_item_of_a_failing_webhook_is_one_write_unit_and_of_a_busy_one_two() {
    let quiet = Sums { calls: 99, errors: 1, duration_ms: 9_999 };
    let busy = Sums { calls: 99_999, errors: 0, duration_ms: 29_999_999 };
    let flaky = Sums { calls: 9_999, errors: 99, duration_ms: 2_999_999 };
    let down = Sums { calls: 999, errors: 999, duration_ms: 14_985_123 };
    for (sums, with_positions) in [(quiet, 1024), (busy, 2048), (flaky, 2048), (down, 2048)] {
        let mut item = item(sums, &"e".repeat(75));
        assert!(size(&item) <= 1024, "{sums:?} take {} bytes", size(&item));
        item.insert("counted_stream".to_owned(), text("2026-11-29T18:00:00.000"));
        item.insert("arrived_at".to_owned(), number(1_795_246_444_123_i64));
        item.extend((0..8).map(|part| (format!("p{part}"), AttributeValue::B(Blob::new([1; 13])))));
        assert!(size(&item) <= with_positions, "{sums:?} take {} bytes", size(&item));
    }
}

#[test]
fn an_item_is_read_as_it_was_written() {
    let sums = Sums { calls: 5, errors: 1, duration_ms: 100 };
    let (webhook, statistics) = read(item(sums, "late")).unwrap();
    assert_eq!(webhook, WebhookId::from_parts(tally().last_at, 7));
    assert_eq!(statistics.total_calls, 5005);
    assert_eq!(statistics.failing_since.unwrap().to_string(), "2026-11-21T07:34:04.123Z");
    assert!(statistics.hours.until(tally().last_at).all(|(_, counted)| counted == sums));
    // An item written before hours were counted.
    let mut older = item(sums, "late");
    older.retain(|name, _| !matches!(name.as_str(), "last_hour" | "by_hour" | "failing_since"));
    assert_eq!(read(older).unwrap().1.hours, Hours::default());
}
