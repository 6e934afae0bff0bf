//! Input that is as deep as its size allows, on a thread with a small stack: it is refused before anything recurses
//! over it, or is shallow enough.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use domain::event::Event;
use domain::event::catalog::check_schema;
use domain::id::EventId;
use domain::matching::filter::Filter;
use domain::matching::matcher::{Matcher, SubscriptionChange};
use domain::payload::Rendering;
use domain::source::Source;
use domain::value::path::FieldPath;
use domain::value::{Map, Value, changed_paths};
use jiff::Timestamp;
use serde_json::{Value as Json, json};

/// A quarter of the stack of a thread in the API, and a sixteenth of that of a Lambda function's main thread.
const STACK: usize = 512 * 1024;

/// The size limit of a request.
const REQUEST: usize = 1024 * 1024;

fn on_a_small_stack<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::Builder::new().stack_size(STACK).spawn(work).unwrap().join().unwrap()
}

fn nested(open: &str, middle: &str, close: &str, times: usize) -> String {
    format!("{}{middle}{}", open.repeat(times), close.repeat(times))
}

/// Lists, maps, and both in turn, as deep as a request allows, and as deep as a value may be.
#[test]
fn json_is_refused_before_it_is_too_deep() {
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}"), (r#"[{"a":"#, "}]")] {
        on_a_small_stack(move || {
            for times in [REQUEST / (open.len() + close.len()), 10_000, 1_000, 129, 101] {
                let text = nested(open, "1", close, times);
                assert!(text.parse::<Value>().is_err(), "{times} times {open}");
                // Beyond `serde_json`'s limit of 128 levels.
                assert!(times < 128 || serde_json::from_str::<Json>(&text).is_err(), "{times} times {open}");
            }
            let (levels, most) = (open.matches(['[', '{']).count(), 100);
            let deepest: Value = nested(open, "1", close, (most - 1) / levels).parse().unwrap();
            assert_eq!(serde_json::to_string(&deepest).unwrap().parse::<Value>().unwrap(), deepest);
        });
    }
}

/// An event with maps of the maximum depth, in every format, with every filter.
#[test]
fn the_deepest_event_is_matched_and_shown() {
    on_a_small_stack(|| {
        let state = |end: &str| {
            let Value::Map(map) = nested(r#"{"a":"#, end, "}", 99).parse().unwrap() else { panic!("a map") };
            map
        };
        let (old, new): (Map, Map) = (state("1"), state("2"));
        let mask = changed_paths(&old, &new);
        assert_eq!(mask.len(), 1);
        let event = |tenant: &str| -> Event {
            let at = Timestamp::UNIX_EPOCH;
            let state = |properties: &Map| json!({"id": "s", "properties": properties});
            let event = json!({
                "source": "orders", "id": EventId::from_parts(at, 1).to_string(), "tenant": tenant, "event_type": "order.updated",
                "operation": "updated", "at": at, "sequence": "1", "update_mask": mask,
                "entity": {"id": "o1", "key": "order", "collection": "orders"}, "old": state(&old), "new": state(&new),
            });
            serde_json::from_str(&event.to_string()).unwrap()
        };
        let event = event("acme");
        for format in ["change", "standard", "cloudevents", "superoffice", "slack", "teams", "template"] {
            for detail in ["full", "diff", "thin"] {
                let mut rendering = json!({"format": format, "detail": detail, "include": ["a"], "exclude": ["b.c"]});
                if format == "template" {
                    rendering["template"] = json!(
                        "{{ [value|default(1) == oldValue|default(2), value|default(1)|tojson|length, changes|default(2)|tojson|length] }}"
                    );
                }
                let rendering: Rendering = serde_json::from_value(rendering).unwrap();
                rendering.render(&event, &event.event_type).unwrap();
            }
        }
        let mut matcher = Matcher::default();
        for number in 0..40 {
            let pattern = nested(r#"{"a":"#, &format!("[{{\"numeric\":[\">\",{number}]}}, 2]"), "}", 95);
            let subscription = json!({"webhook": format!("whk_{number:026}"), "filter": {"value": serde_json::from_str::<Json>(&pattern).unwrap()}});
            matcher.apply(SubscriptionChange::Wants(Box::new(serde_json::from_value(subscription).unwrap())));
        }
        assert!(matcher.matching(&event).is_empty());
    });
}

/// Types that are read from parsed JSON, which has at most 128 levels.
#[test]
fn filters_schemas_and_mappings_are_no_deeper_than_json() {
    on_a_small_stack(|| {
        let deep = |open: &str, middle: &str, close: &str| -> Json {
            serde_json::from_str(&nested(open, middle, close, 120 / open.matches(['[', '{']).count())).unwrap()
        };
        for (middle, levels) in [("[1]", 98), ("[[1]]", 97), ("[1]", 120)] {
            let filter = format!(r#"{{"value":{}}}"#, nested(r#"{"a":"#, middle, "}", levels));
            assert_eq!(serde_json::from_str::<Filter>(&filter).is_ok(), levels == 98, "{filter}");
        }
        for schema in [
            deep(r#"{"allOf":["#, "{}", "]}"),
            deep(r#"{"properties":{"a":"#, "{}", "}}"),
            deep(r#"{"not":"#, "{}", "}"),
            json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}),
            json!({"$ref": "#"}),
        ] {
            assert!(check_schema(&schema).is_err(), "{schema}");
        }
        let mapping = deep(r#"{"a":"#, "1", "}");
        assert!(serde_json::from_value::<Source>(json!({"table": "orders", "entities": [mapping]})).is_err());
        // A path is parsed in a loop, and a long path leads into as many levels as it has names.
        let path = vec!["a"; 100].join(".");
        let found = path.parse::<FieldPath>().map(|path| path.get(&Map::new()).is_some());
        assert!(!found.unwrap_or(false));
    });
}
