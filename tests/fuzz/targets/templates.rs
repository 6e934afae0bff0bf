//! A template makes JSON of a bounded size, the same each time, or an error that tells no value of the event.
//!
//! The first line is the entity, the rest the template. How long a rendering takes is bounded by the fuzzer's own timeout.
#![no_main]

use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value as Ignored, json};
use domain::id::EventId;
use domain::payload::Rendering;
use domain::event::published::Draft;
use domain::value::{Map, Value};

const MAX_OUTPUT_BYTES: usize = 256 * 1024;

/// A text that every event contains, and no error.
const MARK: &str = "q7zx0v";

fuzz_target!(|text: &str| {
    let (entity, template) = text.split_once('\n').unwrap_or(("{}", text));
    if template.contains(MARK) || entity.contains(MARK) {
        return;
    }
    let mut data = match entity.parse() {
        Ok(Value::Map(map)) => map,
        _ => Map::new(),
    };
    data.insert("mark".to_owned(), Value::String(MARK.to_owned()));
    data.insert("marks".to_owned(), Value::List(vec![Value::String(MARK.to_owned()); 3]));
    data.insert("big".to_owned(), Value::String("x".repeat(50_000)));
    let rendering = json!({"format": "template", "template": template, "properties": {"region": "eu"}});
    let rendering: Rendering = serde_json::from_value(rendering).unwrap();
    // It ends, whatever the template is.
    let _ = rendering.check();
    let draft = Draft {
        event_type: "film.updated".parse().unwrap(),
        entity_id: Some("7".to_owned()),
        entity_key: None,
        collection: None,
        data,
        old_data: Some(Map::new()),
    };
    let at = Timestamp::UNIX_EPOCH;
    let event = draft.event(EventId::from_parts(at, 1), "acme".parse().unwrap(), None, at);
    let made = rendering.render(&event, &event.event_type);
    assert_eq!(rendering.render(&event, &event.event_type), made);
    match made {
        Ok(body) => {
            assert!(body.len() <= MAX_OUTPUT_BYTES);
            // A number may be greater than this parser's; the digits are the template's.
            let read = serde_json::from_str::<Ignored>(&body).map_err(|error| error.to_string());
            assert!(read.as_ref().err().is_none_or(|error| error.starts_with("number out of range")), "{read:?}");
        }
        Err(error) => {
            let told = format!("{error} {error:?}");
            assert!(!told.contains(MARK), "{told}");
            // A template of any length may quote itself, but not all of it.
            assert!(told.len() <= 4_000, "{told}");
        }
    }
});
