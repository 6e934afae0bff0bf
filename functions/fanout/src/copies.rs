//! Removes copies from a batch, so that a record that occurs twice is fanned out once.

use std::collections::{BTreeMap, HashSet};

use domain::id::EventId;
use serde_json::value::RawValue;

use crate::route::Mapped;

/// Leaves each event with the first record that produced it, and removes it from all later ones. Of records that cannot
/// be mapped and are identical to the byte, the first is kept.
///
/// An event's id is derived from its record, and a delivery's from its event. Without duplicate events, no delivery is
/// sent twice, and no batched call contains a key twice, for which DynamoDB would refuse the whole call.
pub(crate) fn once(records: &[Box<RawValue>], mapped: &mut BTreeMap<usize, Mapped>) {
    let mut events: HashSet<EventId> = HashSet::new();
    let mut unmapped: HashSet<&str> = HashSet::new();
    // In the order of the batch, which is the stream's.
    mapped.retain(|index, mapped| match mapped {
        Ok(found) => {
            found.retain(|event| events.insert(event.id));
            true
        }
        Err(_) => records.get(*index).is_none_or(|record| unmapped.insert(record.get())),
    });
}

#[cfg(test)]
mod tests {
    use domain::event::Event;
    use domain::source::{Change, Images, Source};
    use domain::value::{Map, Value};
    use jiff::Timestamp;

    use super::*;

    /// Returns the events of the change with that number.
    fn events(number: u8) -> Vec<Event> {
        let mapping =
            serde_json::json!({"entity": "order", "tenant": "{tenant}", "id": "{id}", "collection": "orders"});
        let source = serde_json::json!({"table": "orders", "entities": [mapping]});
        let source: Source = serde_json::from_value(source).unwrap();
        let text = |text: &str| Value::String(text.to_owned());
        let image = Map::from([("tenant".to_owned(), text("acme")), ("id".to_owned(), text("o1"))]);
        let (stream_event_id, sequence) = (format!("e{number}"), format!("{number:0>40}"));
        let (at, images) = (Timestamp::UNIX_EPOCH, Images::Insert(image));
        source.events(Change { stream_event_id, sequence, at, expired: false, images }).unwrap()
    }

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(format!("{text:?}")).unwrap()
    }

    /// Returns what is left of a batch: for each record the number of events, or `None` if nothing is left.
    fn left(batch: &[(&str, Mapped)]) -> Vec<Option<Result<usize, String>>> {
        let records: Vec<_> = batch.iter().map(|(text, _)| raw(text)).collect();
        let mut mapped: BTreeMap<usize, Mapped> = batch.iter().map(|(_, mapped)| mapped.clone()).enumerate().collect();
        once(&records, &mut mapped);
        (0..batch.len()).map(|index| mapped.remove(&index).map(|mapped| mapped.map(|events| events.len()))).collect()
    }

    #[test]
    fn the_first_record_has_the_event_wherever_its_copies_stand() {
        let record = |number: u8| ("a record", Ok(events(number)));
        let ok = |count: usize| Some(Ok(count));
        assert_eq!(left(&[record(1), record(1), record(2)]), [ok(1), ok(0), ok(1)]);
        assert_eq!(left(&[record(1), record(2), record(1)]), [ok(1), ok(1), ok(0)]);
        assert_eq!(left(&[record(2), record(1), record(1)]), [ok(1), ok(1), ok(0)]);
        assert_eq!(left(&[record(1), record(1), record(1)]), [ok(1), ok(0), ok(0)]);
    }

    #[test]
    fn of_records_that_cannot_be_mapped_each_is_kept_once() {
        let broken = |text| (text, Err("why".to_owned()));
        let kept = || Some(Err("why".to_owned()));
        assert_eq!(left(&[broken("a"), broken("b"), broken("a")]), [kept(), kept(), None]);
    }
}
