use rstest::rstest;
use serde_json::json;

use super::*;
use crate::event::hops::Hops;
use crate::event::state::State;
use crate::event::types::{EventType, Operation};
use crate::event::{Entity, Event, Removal};
use crate::id::EventId;
use crate::source::Images;
use crate::source::tests::{change as stream_change, films};
use crate::value::tests::map;
use crate::value::{Map, changed_paths};

mod depth;
mod diff;
mod template;
mod wire;

/// A packet before or after the change that the tests use.
fn packet(paid: bool) -> Map {
    map(&if paid {
        json!({"status": "paid", "amount": 8.3, "address": {"city": "Oslo"}, "lines": [{"sku": "a", "cost": 1}], "paidBy": null})
    } else {
        json!({"status": "open", "amount": 8.3, "address": {"city": "Bergen"}, "lines": [{"sku": "a", "cost": 1}]})
    })
}

/// Renders the `change` format with all details.
fn change(event: &Event, properties: &Properties) -> String {
    let rendering = Rendering { properties: properties.clone(), ..Rendering::default() };
    rendering.render(event, &event.event_type).unwrap()
}

fn state(id: &str, properties: Map) -> State {
    let time = |text: &str| Some(text.to_owned());
    let (create_time, update_time) = (time("2026-11-20T08:00:00.000Z"), time("2026-11-21T10:00:00.500Z"));
    State { id: id.to_owned(), properties: properties.into(), create_time, update_time }
}

/// A change of a packet.
pub(super) fn event(operation: Operation) -> Event {
    let at = "2026-11-21T10:00:00.5Z".parse().unwrap();
    let old = (operation != Operation::Created).then(|| state("s1", packet(false)));
    let new = (operation != Operation::Deleted).then(|| state("s2", packet(true)));
    let masked = operation == Operation::Updated;
    Event {
        source: "packets".to_owned(),
        id: EventId::from_parts(at, 1),
        tenant: "acme".parse().unwrap(),
        app: None,
        event_type: EventType::of(&"packet".parse().unwrap(), operation),
        operation,
        at,
        sequence: "000000000000000000042".to_owned(),
        entity: Entity {
            id: "p1".to_owned(),
            key: "flows/packets".to_owned(),
            collection: "pipelinesPackets".to_owned(),
            collection_template: None,
            related: Map::new(),
        },
        old,
        new,
        update_mask: masked.then(|| changed_paths(&packet(false), &packet(true))),
        removal: None,
        hops: Hops::NONE,
        traceparent: None,
    }
}

fn render(rendering: &Rendering, event: &Event) -> String {
    rendering.render(event, &event.event_type).unwrap()
}

fn rendering(settings: serde_json::Value) -> Rendering {
    serde_json::from_value(settings).unwrap()
}

fn snapshot(name: &str, body: &str) {
    insta::with_settings!({snapshot_path => "../snapshots", omit_expression => true}, { insta::assert_snapshot!(name, body) });
}

fn film(rating: &serde_json::Value) -> Map {
    map(&json!({"studio": "acme", "film_id": 7, "title": "Amélie", "rating": rating, "made": "2001-04-25"}))
}

fn body(images: Images) -> String {
    change(&films().events(stream_change(images)).unwrap()[0], &Properties::new())
}

#[test]
fn created() {
    snapshot("created", &body(Images::Insert(film(&json!(8.3)))));
}

#[test]
fn updated() {
    snapshot("updated", &body(Images::Modify(film(&json!(8.3)), film(&json!({"imdb": null})))));
}

#[test]
fn deleted() {
    snapshot("deleted", &body(Images::Remove(film(&json!([1, 2])))));
}

#[test]
fn defaults_are_not_stored() {
    assert_eq!(serde_json::to_string(&Rendering::default()).unwrap(), "{}");
    assert_eq!(rendering(json!({})), Rendering::default());
    let text = r#"{"format":"superoffice","detail":"thin","include":["a.b"],"webhook_name":"n"}"#;
    assert_eq!(serde_json::to_string(&serde_json::from_str::<Rendering>(text).unwrap()).unwrap(), text);
}

#[rstest]
#[case::change("change", "application/json")]
#[case::cloudevents("cloudevents", "application/cloudevents+json")]
#[case::template("template", "application/json")]
fn says_what_the_body_is(#[case] format: &str, #[case] content_type: &str) {
    assert_eq!(rendering(json!({"format": format})).content_type().as_str(), content_type);
}

#[test]
fn properties_are_next_to_the_envelope_fields() {
    let event = event(Operation::Created);
    let properties = json!({"region": "eu", "nested": {"b": 1, "a": [1, null]}});
    let body = change(&event, &map(&properties));
    let (plain, rest) = (change(&event, &Properties::new()), r#","nested":{"a":[1,null],"b":1},"region":"eu"}"#);
    assert_eq!(body, format!("{}{rest}", plain.strip_suffix('}').unwrap()));
}

#[test]
fn numbers_of_properties_keep_their_digits() {
    let text = r#"{"b":12345678901234567890123,"m":0.10}"#;
    assert_eq!(json::text(&serde_json::from_str::<Properties>(text).unwrap()), text);
}

#[rstest]
fn no_name_occurs_twice_in_a_payload(
    #[values("change", "standard", "cloudevents", "superoffice", "slack", "teams")] format: &str,
) {
    let mut event = event(Operation::Updated);
    event.entity.related = map(&json!({"data": 1, "value": 2, "comments": 3}));
    let mut rendering = rendering(json!({"format": format, "properties": {"comments": "mine", "region": "eu"}}));
    for name in rendering.format.reserved() {
        rendering.properties.insert((*name).to_owned(), crate::value::Value::String("mine".to_owned()));
    }
    let body = render(&rendering, &event);
    let names = |text: &str| -> Vec<String> {
        struct Names(Vec<String>);
        impl<'de> serde::de::Visitor<'de> for Names {
            type Value = Vec<String>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(mut self, mut map: A) -> Result<Self::Value, A::Error> {
                while let Some((name, _)) = map.next_entry::<String, serde::de::IgnoredAny>()? {
                    self.0.push(name);
                }
                Ok(self.0)
            }
        }
        let mut reader = serde_json::Deserializer::from_str(text);
        serde::Deserializer::deserialize_map(&mut reader, Names(Vec::new())).unwrap()
    };
    let data: std::collections::BTreeMap<String, Box<serde_json::value::RawValue>> =
        serde_json::from_str(&body).unwrap();
    for object in [Some(body.as_str()), data.get("data").map(|data| data.get())].into_iter().flatten() {
        let mut names = names(object);
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "{object}");
    }
}

#[rstest]
fn numbers_keep_their_digits_everywhere(
    #[values("change", "standard", "cloudevents", "superoffice", "slack", "teams", "template")] format: &str,
    #[values("full", "diff")] detail: &str,
    #[values("12345678901234567890123456789012345678", "0.12345678901234567890123456789012345678", "-1.5E+400")]
    digits: &str,
) {
    let mut event = event(Operation::Updated);
    let number = Map::from([("n".to_owned(), digits.parse().unwrap())]);
    event.entity.related.clone_from(&number);
    event.new.as_mut().unwrap().properties.extend(number);
    event.update_mask = None;
    let template =
        r#"{"all": {{ [value, changes]|first if changes is undefined else changes }}, "related": {{ related }}}"#;
    let template = if format == "template" { json!(template) } else { json!(null) };
    let body = render(&rendering(json!({"format": format, "detail": detail, "template": template})), &event);
    assert!(body.contains(digits), "{body}");
}

#[rstest]
#[case::property("/properties/data", json!({"properties": {"data": 1}}))]
#[case::new_property("/properties/sequence", json!({"properties": {"sequence": 1}}))]
#[case::property_of_a_format("/properties/Event", json!({"format": "superoffice", "properties": {"Event": 1, "data": 1}}))]
#[case::no_template("/template", json!({"format": "template"}))]
#[case::template_of_another_format("/template", json!({"template": "1"}))]
#[case::long_template("/template", json!({"format": "template", "template": " ".repeat(16_385)}))]
#[case::excluded("/include/1", json!({"include": ["b", "a.b"], "exclude": ["a"]}))]
#[case::too_many("/exclude", json!({"exclude": (0..101).map(|n| format!("a{n}")).collect::<Vec<_>>()}))]
fn names_the_invalid_field(#[case] pointer: &str, #[case] settings: serde_json::Value) {
    let faults = rendering(settings).check();
    assert_eq!(faults.iter().map(|fault| fault.pointer.as_str()).collect::<Vec<_>>(), [pointer]);
}

#[rstest]
#[case::nothing(json!({}))]
#[case::fields(json!({"include": ["a", "b.c"], "exclude": ["a.b"]}))]
#[case::name_of_another_format(json!({"format": "standard", "properties": {"sequence": 1, "entityId": 2}}))]
#[case::template(json!({"format": "template", "template": r#"{"id": {{ entityId }}}"#, "properties": {"data": 1}}))]
fn allows(#[case] settings: serde_json::Value) {
    assert_eq!(rendering(settings).check(), []);
}

#[rstest]
#[case::include(json!({"include": ["status", "address.city", "lines.sku"]}),
    r#""changes":[{"field":"address.city","old":"Bergen","new":"Oslo"},{"field":"status","old":"open","new":"paid"}],"updateMask":["address.city","status"]"#)]
#[case::exclude(json!({"exclude": ["address", "paidBy"]}),
    r#""changes":[{"field":"status","old":"open","new":"paid"}],"updateMask":["status"]"#)]
#[case::both(json!({"include": ["address", "amount"], "exclude": ["address.city"]}), r#""changes":[],"updateMask":[]"#)]
fn fields_are_left_out_of_changes(#[case] mut settings: serde_json::Value, #[case] data: &str) {
    settings["detail"] = json!("diff");
    let body = render(&rendering(settings), &event(Operation::Updated));
    assert!(body.contains(&format!(r#""data":{{{data}}}"#)), "{body}");
}

#[rstest]
#[case::include(json!({"include": ["status", "lines.sku", "address.zip"]}), json!({"status": "paid", "lines": [{"sku": "a"}]}))]
#[case::exclude(json!({"exclude": ["status", "lines.sku", "address.city", "paidBy"]}),
    json!({"amount": 8.3, "lines": [{"cost": 1}], "address": {}}))]
fn fields_are_left_out_of_states(#[case] settings: serde_json::Value, #[case] shown: serde_json::Value) {
    let rendering = rendering(settings);
    let mut event = event(Operation::Created);
    event.entity.related = map(&json!({"entityComments": []}));
    let body: serde_json::Value = serde_json::from_str(&render(&rendering, &event)).unwrap();
    assert_eq!(body["data"]["value"]["properties"], shown);
    assert_eq!(body.get("entityComments").is_some(), rendering.include.is_empty());
}
