//! A stream record becomes the same events each time: kept and read again they are the same, they show no redacted field, and an
//! update says exactly what differs. What the matcher, the diff and the payload then make of them is JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::json;
use serde_json::value::RawValue;
use domain::event::Event;
use domain::event::state::StateKey;
use domain::payload::Rendering;
use domain::source::Source;
use domain::source::record::read;
use domain::value::changed_paths;

fn source() -> Source {
    let mapping = json!({
        "entity": "film", "tenant": "{tenant}", "id": "{id}", "collection": "films", "soft_delete_attribute": "gone",
        "ignore": ["seen"], "redact": ["hidden", "list.hidden"], "related": {"beside": "thread"},
    });
    serde_json::from_value(json!({"table": "films", "entities": [mapping]})).unwrap()
}

fuzz_target!(|text: &str| {
    let Ok(raw) = serde_json::from_str::<&RawValue>(text) else { return };
    let (Ok(record), Ok(again)) = (read(raw), read(raw)) else { return };
    let source = source();
    let events = source.events(record.change);
    assert_eq!(events, source.events(again.change));
    for mut event in events.into_iter().flatten() {
        let kept = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&kept).unwrap(), event);
        for state in [&event.old, &event.new].into_iter().flatten() {
            assert!(!state.properties.contains_key("hidden"));
        }
        if let (Some(old), Some(new), Some(mask)) = (&event.old, &event.new, &event.update_mask) {
            let shown: Vec<_> = mask.iter().filter(|path| *path != "thread" && !path.starts_with("thread.")).collect();
            assert_eq!(shown, changed_paths(&old.properties, &new.properties).iter().collect::<Vec<_>>());
        }
        event.name_states(Some(&StateKey::new(1)));
        for format in ["change", "standard", "cloudevents", "superoffice", "slack", "teams"] {
            for detail in ["full", "diff", "thin"] {
                let rendering: Rendering = serde_json::from_value(json!({"format": format, "detail": detail})).unwrap();
                let body = rendering.render(&event, &event.event_type).unwrap();
                assert!(serde_json::from_str::<&RawValue>(&body).is_ok());
            }
        }
    }
});
