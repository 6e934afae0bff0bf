//! Counts deliveries that arrived, from the stream of their rows, into the statistics of their webhook.
//!
//! The update has the condition that the stream was not counted as far yet, so arrivals that come again are counted
//! once, also after a lost answer.

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use domain::id::WebhookId;
use domain::webhook::arrivals::{Arrival, Arrivals, Counted, Position};
use domain::webhook::hours::Hour;

use super::{Counting, ROUNDS, statistics_pk};
use crate::items::{Item, number, text};
use crate::registry::Registry;
use crate::{StoreError, ledger};

/// The attribute that names the stream whose positions the item has. A restored table has another stream, whose
/// positions do not compare with those of the old one.
const STREAM: &str = "counted_stream";

/// Returns the attribute with the position up to which a partition was counted. Short, because an item has eight.
fn position(partition: u8) -> String {
    format!("p{partition}")
}

/// What an item says about earlier counts.
#[derive(Debug, Default)]
struct Before {
    last_hour: Option<Hour>,
    /// When the last delivery arrived, in milliseconds since 1970.
    arrived_at: Option<i64>,
    /// Whether positions are those of the same stream.
    is_same_stream: bool,
    /// The positions, if so.
    counted: Counted,
}

impl Before {
    /// Returns what an item usually says: these arrivals follow others of the same stream and hour.
    fn usual(arrivals: &Arrivals) -> Self {
        Self { last_hour: Some(arrivals.hour()), arrived_at: None, is_same_stream: true, counted: Counted::new() }
    }

    fn of(item: &Item, stream: &str) -> Self {
        let integer = |name: &str| item.get(name).and_then(|value| value.as_n().ok()?.parse::<i64>().ok());
        let is_same_stream = item.get(STREAM).is_some_and(|named| *named == text(stream));
        let stored = |partition| Position::from_bytes(item.get(&position(partition))?.as_b().ok()?.as_ref());
        let counted = (0..ledger::SHARDS).filter_map(|partition| Some((partition, stored(partition)?)));
        Self {
            last_hour: integer("last_hour").map(Hour::from_number),
            arrived_at: integer("arrived_at"),
            is_same_stream,
            counted: if is_same_stream { counted.collect() } else { Counted::new() },
        }
    }
}

impl Registry {
    /// Adds arrivals to the statistics of their webhook, each of them once however often it comes. `stream` identifies
    /// the stream of their positions. Returns how far the stream had been counted before: arrivals up to there are not
    /// new.
    ///
    /// Takes one call, except for the first count of an hour, which takes two.
    ///
    /// # Errors
    ///
    /// If the table is unavailable.
    pub async fn count_arrivals(
        &self,
        webhook: WebhookId,
        stream: &str,
        arrivals: &[Arrival],
    ) -> Result<Counted, StoreError> {
        let Some(mut sum) = Arrivals::uncounted(arrivals, &Counted::new()) else { return Ok(Counted::new()) };
        let mut before = Before::usual(&sum);
        for _ in 0..ROUNDS {
            let update = self
                .client
                .update_item()
                .table_name(&self.table)
                .set_key(Some(self.statistics_key(webhook).1))
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
            let update = Counting::of_arrivals(&sum, &before, stream).into_update(update);
            let Err(error) = update.send().await else { return Ok(before.counted) };
            let Some(UpdateItemError::ConditionalCheckFailedException(found)) = error.as_service_error() else {
                return Err(StoreError::unavailable(&error));
            };
            before = Before::of(found.item().unwrap_or(&Item::new()), stream);
            match Arrivals::uncounted(arrivals, &before.counted) {
                Some(rest) => sum = rest,
                None => return Ok(before.counted),
            }
        }
        Err(StoreError::Conflict { key: statistics_pk(webhook) })
    }
}

impl Counting {
    /// Returns the update for an item that says this about earlier counts.
    fn of_arrivals(arrivals: &Arrivals, before: &Before, stream: &str) -> Self {
        let mut counting = Self::default();
        counting.add("total_calls :calls", ":calls", number(arrivals.sums.calls));
        counting.turn(arrivals.hour(), arrivals.sums, before.last_hour);
        let at = arrivals.last_at.as_millisecond();
        // Other partitions may have had a later one.
        if before.arrived_at.is_none_or(|earlier| earlier <= at) {
            counting.require("(attribute_not_exists(arrived_at) OR arrived_at <= :arrived)");
            counting.set("arrived_at = :arrived", ":arrived", number(at));
        }
        counting.value(":stream", text(stream));
        if before.is_same_stream {
            counting.require(&format!("{STREAM} = :stream"));
            for (partition, from) in &arrivals.from {
                let (name, value) = (position(*partition), format!(":from{partition}"));
                counting.require(&format!("(attribute_not_exists({name}) OR {name} < {value})"));
                counting.value(&value, stored(from));
            }
        } else {
            counting.require(&format!("(attribute_not_exists({STREAM}) OR {STREAM} <> :stream)"));
            counting.set.push(format!("{STREAM} = :stream"));
            let others = (0..ledger::SHARDS).filter(|partition| !arrivals.to.contains_key(partition));
            counting.remove.extend(others.map(position));
        }
        for (partition, to) in &arrivals.to {
            let value = format!(":to{partition}");
            counting.set(&format!("{} = {value}", position(*partition)), &value, stored(to));
        }
        counting
    }

    fn require(&mut self, condition: &str) {
        self.condition = format!("{} AND {condition}", self.condition);
    }
}

fn stored(position: &Position) -> AttributeValue {
    AttributeValue::B(Blob::new(position.to_bytes()))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use rstest::rstest;

    use super::super::tests::{HOUR, check};
    use super::*;

    const STREAM_A: &str = "2026-11-29T18:00:00.000";

    fn arrival(partition: u8, position: u64) -> Arrival {
        let at = Timestamp::from_second(HOUR * 3600 + i64::try_from(position).unwrap()).unwrap();
        Arrival { partition, position: Position::of(&position.to_string()).unwrap(), at, duration_ms: 10 }
    }

    fn sum() -> Arrivals {
        Arrivals::uncounted(&[arrival(0, 5), arrival(3, 6), arrival(0, 7)], &Counted::new()).unwrap()
    }

    #[test]
    fn the_usual_count_is_one_conditional_update() {
        let counting = Counting::of_arrivals(&sum(), &Before::usual(&sum()), STREAM_A);
        check(&counting);
        assert_eq!(
            counting.condition,
            "last_hour = :last AND (attribute_not_exists(arrived_at) OR arrived_at <= :arrived) AND \
             counted_stream = :stream AND (attribute_not_exists(p0) OR p0 < :from0) AND \
             (attribute_not_exists(p3) OR p3 < :from3)"
        );
        assert_eq!(
            counting.expression(),
            "SET by_hour[27] = by_hour[27] + :calls, by_hour[28] = by_hour[28] + :errors, \
             by_hour[29] = by_hour[29] + :duration, arrived_at = :arrived, p0 = :to0, p3 = :to3 ADD total_calls :calls"
        );
    }

    #[rstest]
    #[case::no_item(&[])]
    #[case::another_stream(&[("last_hour", number(HOUR)), (STREAM, text("another")), ("p0", stored(&arrival(0, 9).position))])]
    fn a_new_stream_starts_its_own_positions(#[case] item: &[(&str, AttributeValue)]) {
        let item: Item = item.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let before = Before::of(&item, STREAM_A);
        assert_eq!(before.counted, Counted::new());
        let counting = Counting::of_arrivals(&sum(), &before, STREAM_A);
        check(&counting);
        assert!(counting.condition.ends_with("(attribute_not_exists(counted_stream) OR counted_stream <> :stream)"));
        assert!(counting.expression().ends_with("REMOVE p1, p2, p4, p5, p6, p7"), "{}", counting.expression());
    }

    #[test]
    fn an_earlier_arrival_leaves_the_time_of_a_later_one() {
        let item = Item::from([("arrived_at".to_owned(), number((HOUR + 1) * 3_600_000))]);
        let counting = Counting::of_arrivals(&sum(), &Before::of(&item, STREAM_A), STREAM_A);
        check(&counting);
        assert!(!counting.expression().contains("arrived_at"));
    }

    #[rstest]
    fn every_count_is_an_expression_that_dynamodb_takes(
        #[values(None, Some(HOUR), Some(HOUR + 1), Some(HOUR + 99), Some(HOUR - 1), Some(HOUR - 47), Some(0))]
        last: Option<i64>,
        #[values(true, false)] is_same_stream: bool,
    ) {
        let before = Before { last_hour: last.map(Hour::from_number), is_same_stream, ..Before::default() };
        check(&Counting::of_arrivals(&sum(), &before, STREAM_A));
    }
}
