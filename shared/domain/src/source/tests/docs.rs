//! The examples of `docs/use/sources.md`.

use super::*;

const DOCS: &str = include_str!("../../../../../docs/use/sources.md");

#[test]
fn the_sources_of_the_documentation_are_allowed() {
    let mut count = 0;
    for block in DOCS.split("```json source\n").skip(1) {
        let text = block.split("```").next().unwrap();
        let source: Source = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(source.check(), [], "{text}");
        count += 1;
    }
    assert!(count > 0);
}

/// Serial's webhooks call `process.updated` `Process Updated`.
#[test]
fn the_sample_for_serial_makes_its_events() {
    let source: Source = serde_json::from_str(include_str!("../../../../../infra/samples/serial.json")).unwrap();
    assert_eq!(source.check(), []);
    let image = |title: &str, at: &str| {
        map(
            &json!({"company_id": "acme", "id": "p1", "title": title, "created_at": "2026-11-20T08:00:00Z", "updated_at": at}),
        )
    };
    let events = |images| source.events(change(images)).unwrap();
    let [event] = &events(Images::Modify(image("a", "1"), image("b", "2")))[..] else { panic!("one event") };
    assert_eq!((event.event_type.as_str(), event.tenant.as_str()), ("process.updated", "acme"));
    let trigger = crate::event::pattern::EventPattern::from_words("Process Updated").unwrap();
    assert!(trigger.matches(&event.event_type));
    assert_eq!(events(Images::Modify(image("a", "1"), image("a", "2"))), []);
}

/// The table in the documentation agrees with the sample.
#[test]
fn the_documented_table_agrees_with_the_sample() {
    let sample = include_str!("../../../../../infra/samples/flows.json");
    for mapping in serde_json::from_str::<Source>(sample).unwrap().entities {
        let Mapping { when, entity, collection, entity_key, .. } = mapping;
        let (prefix, key) = (when.unwrap().prefix.unwrap(), entity_key.unwrap());
        let row = format!("| `{prefix}…` | `{entity}` | `{collection}` | `{key}` |");
        assert!(DOCS.contains(&row), "no row ends with {row}");
    }
}
