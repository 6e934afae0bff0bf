//! What a mapping makes of an item: the events of each operation, or why it makes no event.

use jiff::Timestamp;

use super::error::MapError;
use super::related::Lookup;
use super::{Change, Images, Source};
use crate::event::Event;
use crate::value::Map;

/// What a mapping makes of an item.
#[derive(Debug)]
pub struct Preview {
    /// If the item were new.
    pub created: Outcome,
    /// If it had been changed from an earlier state, if one is given.
    pub updated: Option<Outcome>,
    /// If it were removed.
    pub deleted: Outcome,
}

/// What a mapping makes of a change.
#[derive(Debug)]
pub enum Outcome {
    /// Usually one event; two if the entity moved. Each has the queries that fan-out would make for it.
    Events(Vec<(Event, Vec<Lookup>)>),
    /// No kind of the mapping selects the item, so it never causes an event.
    NoKind,
    /// Nothing changed that causes an event.
    NothingChanged,
    /// It cannot be mapped.
    Failed(MapError),
}

impl Source {
    /// Returns what the mapping makes of an item. Nothing is stored or sent, and the ids of the events are not those of
    /// later events.
    #[must_use]
    pub fn preview(&self, item: &Map, previous: Option<&Map>, at: Timestamp) -> Preview {
        Preview {
            created: self.outcome(&Images::Insert(item.clone()), at),
            updated: previous.map(|previous| self.outcome(&Images::Modify(previous.clone(), item.clone()), at)),
            deleted: self.outcome(&Images::Remove(item.clone()), at),
        }
    }

    fn outcome(&self, images: &Images, at: Timestamp) -> Outcome {
        let selected = match images {
            Images::Insert(image) | Images::Remove(image) => self.selects(image),
            Images::Modify(old, new) => self.selects(old) || self.selects(new),
        };
        let (stream_event_id, sequence) = (String::new(), String::new());
        let change = Change { stream_event_id, sequence, at, expired: false, images: images.clone() };
        let with_lookups = |event: Event| self.lookups(&event, images).map(|lookups| (event, lookups));
        let events =
            self.events(change).and_then(|events| events.into_iter().map(with_lookups).collect::<Result<Vec<_>, _>>());
        match events {
            Ok(events) if !events.is_empty() => Outcome::Events(events),
            Ok(_) if selected => Outcome::NothingChanged,
            Ok(_) => Outcome::NoKind,
            Err(error) => Outcome::Failed(error),
        }
    }

    fn selects(&self, image: &Map) -> bool {
        self.entities.iter().any(|mapping| mapping.when.as_ref().is_none_or(|when| when.holds(image)))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::source::image::item;

    fn source() -> Source {
        serde_json::from_str(
            r#"{"table": "orders", "entities": [{"when": {"attribute": "sk", "prefix": "ORDER#"}, "entity": "order",
                "tenant": "{tenant}", "id": "{sk:ORDER#}", "collection": "orders", "ignore": ["seen"]}]}"#,
        )
        .unwrap()
    }

    fn said(outcome: &Outcome) -> String {
        match outcome {
            Outcome::Events(events) => {
                let events = events
                    .iter()
                    .map(|(event, _)| format!("{} {} {}", event.tenant, event.event_type, event.entity.path()));
                events.collect::<Vec<_>>().join(", ")
            }
            Outcome::NoKind => "no kind".to_owned(),
            Outcome::NothingChanged => "nothing changed".to_owned(),
            Outcome::Failed(error) => error.to_string(),
        }
    }

    #[rstest]
    #[case::mapped(
        r#"{"tenant": "acme", "sk": "ORDER#1"}"#,
        "acme order.created orders/1",
        "acme order.deleted orders/1"
    )]
    #[case::of_no_kind(r#"{"tenant": "acme", "sk": "USER#1"}"#, "no kind", "no kind")]
    #[case::not_mapped(
        r#"{"sk": {"S": "ORDER#1"}}"#,
        "the item has no attribute \"tenant\", which the source names for its tenant",
        "the item has no attribute \"tenant\", which the source names for its tenant"
    )]
    fn each_operation_is_shown(#[case] text: &str, #[case] created: &str, #[case] deleted: &str) {
        let preview = source().preview(&item(text).unwrap(), None, Timestamp::UNIX_EPOCH);
        assert_eq!((said(&preview.created).as_str(), said(&preview.deleted).as_str()), (created, deleted));
        assert!(preview.updated.is_none());
    }

    #[rstest]
    #[case::visible(r#"{"tenant": "acme", "sk": "ORDER#1", "n": 1}"#, "acme order.updated orders/1")]
    #[case::ignored(r#"{"tenant": "acme", "sk": "ORDER#1", "n": 2, "seen": 1}"#, "nothing changed")]
    #[case::moved(
        r#"{"tenant": "globex", "sk": "ORDER#1", "n": 2}"#,
        "globex order.deleted orders/1, acme order.created orders/1"
    )]
    #[case::of_no_kind(r#"{"tenant": "acme", "sk": "USER#1"}"#, "acme order.created orders/1")]
    fn an_update_is_shown_if_the_state_before_is_given(#[case] previous: &str, #[case] updated: &str) {
        let now = item(r#"{"tenant": "acme", "sk": "ORDER#1", "n": 2}"#).unwrap();
        let preview = source().preview(&now, Some(&item(previous).unwrap()), Timestamp::UNIX_EPOCH);
        assert_eq!(said(&preview.updated.unwrap()), updated);
    }
}
