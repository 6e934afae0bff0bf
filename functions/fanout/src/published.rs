//! A published event: from its item in the Events table.

use domain::event::{Entity, Event, EventType, Operation, State};
use domain::source::{Change, Images, rfc3339};
use domain::value::{Map, Value};
use jiff::Timestamp;

/// What published events name as their source.
const SOURCE: &str = "published";

/// Reads the item; the stream mapping lets only new ones of the kind `published` through.
///
/// # Errors
///
/// What of it is not as the Events table has it.
pub(crate) fn event(change: &Change) -> Result<Event, String> {
    let Images::Insert(image) = &change.images else { return Err("a published event was changed".to_owned()) };
    let text = |name: &str| {
        let text = image.get(name).and_then(Value::as_text);
        text.ok_or_else(|| format!("a published event has no {name:?}"))
    };
    let event_type: EventType = parse(text("event_type")?, "event_type")?;
    let entity = event_type.as_str().split('.').next().unwrap_or_default().to_owned();
    let at: i64 = parse(text("at")?, "at")?;
    let at = Timestamp::from_millisecond(at).map_err(|error| error.to_string())?;
    let Value::Map(properties) = parse(text("data")?, "data")? else {
        return Err("the data of a published event is no map".to_owned());
    };
    Ok(Event {
        source: SOURCE.to_owned(),
        id: parse(text("event")?, "event")?,
        tenant: parse(text("tenant")?, "tenant")?,
        // It came into being by being told: there is no state before it, whatever its type says.
        operation: Operation::Created,
        event_type,
        at,
        entity: Entity { id: text("entity_id")?.to_owned(), key: entity, collection: text("collection")?.to_owned() },
        old: None,
        new: Some(state(properties, at)),
    })
}

fn parse<T: std::str::FromStr>(text: &str, name: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("a published event's {name:?} cannot be read"))
}

fn state(properties: Map, at: Timestamp) -> State {
    State { properties, create_time: Some(rfc3339(at)), update_time: Some(rfc3339(at)) }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn image(more: &[(&str, &str)]) -> Change {
        let fixed = [
            ("event", "evt_01JD3V7Q5N8Z4T6W9X2Y1R0PMK"),
            ("tenant", "acme"),
            ("event_type", "invoice.paid"),
            ("at", "1795246444000"),
            ("entity_id", "in_1"),
            ("collection", "inbound/whk_1"),
            ("data", r#"{"amount":1.50}"#),
        ];
        let image =
            fixed.iter().chain(more).map(|(name, text)| ((*name).to_owned(), Value::String((*text).to_owned())));
        let at = Timestamp::UNIX_EPOCH;
        Change { stream_event_id: "1".to_owned(), at, images: Images::Insert(image.collect()) }
    }

    #[test]
    fn is_an_event_like_any_other() {
        let event = event(&image(&[])).unwrap();
        assert_eq!((event.tenant.as_str(), event.event_type.as_str()), ("acme", "invoice.paid"));
        assert_eq!((event.operation, event.entity.key.as_str()), (Operation::Created, "invoice"));
        assert_eq!(event.entity.path(), "inbound/whk_1/in_1");
        assert_eq!(serde_json::to_string(&event.new.unwrap().properties).unwrap(), r#"{"amount":1.50}"#);
    }

    #[rstest]
    #[case::no_event(("event", "1"), r#"a published event's "event" cannot be read"#)]
    #[case::no_tenant(("tenant", ""), r#"a published event's "tenant" cannot be read"#)]
    #[case::no_map(("data", "[]"), "the data of a published event is no map")]
    fn says_what_cannot_be_read(#[case] field: (&str, &str), #[case] reason: &str) {
        assert_eq!(event(&image(&[field])).unwrap_err(), reason);
    }
}
