//! The sample of a single-table design, `infra/samples/flows.json`: the eight categories of the Flows webhook guide.

use super::*;
use crate::payload::Rendering;

fn flows() -> Source {
    serde_json::from_str(include_str!("../../../../../infra/samples/flows.json")).unwrap()
}

fn snapshot(name: &str, text: &str) {
    insta::with_settings!({snapshot_path => "../../snapshots", omit_expression => true}, { insta::assert_snapshot!(name, text) });
}

/// An item of one category, as the application writes it.
fn item(sk: &str, more: &serde_json::Value) -> serde_json::Value {
    let mut item = json!({
        "pk": "ORG#acme",
        "sk": sk,
        "name": "a",
        "softRemoved": false,
        "createdAt": "2026-11-20T08:00:00.000Z",
        "updatedAt": "2026-11-20T08:00:00.000Z",
    });
    item.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    item
}

fn event(images: Images) -> Event {
    let events = flows().events(change(images)).unwrap();
    let [event] = &events[..] else { panic!("one event, not {events:?}") };
    event.clone()
}

fn with(mut item: serde_json::Value, name: &str, value: serde_json::Value) -> Map {
    item[name] = value;
    map(&item)
}

#[test]
fn the_sample_is_allowed() {
    assert_eq!(flows().check(), []);
}

fn categories() -> [(&'static str, serde_json::Value); 8] {
    [
        ("packet", item("PACKET#p1", &json!({}))),
        ("pipeline", item("PIPELINE#l1", &json!({}))),
        ("user", item("USER#u1", &json!({"passwordHash": "h", "lastSeenAt": 1}))),
        ("entity", item("ENTITY#e1", &json!({}))),
        ("packet comment", item("COMMENT#c1", &json!({"packetId": "p1"}))),
        ("project", item("PROJECT#j1", &json!({}))),
        ("pipeline label", item("PIPELINE_LABEL#b1", &json!({"pipelineId": "l1"}))),
        ("packet label", item("PACKET_LABEL#b1", &json!({"packetId": "p1"}))),
    ]
}

/// The guide has the same fields in all 24 payloads, also for items without times.
#[test]
fn each_payload_has_every_field_of_the_guide() {
    for (category, mut item) in categories() {
        item.as_object_mut().unwrap().retain(|name, _| name != "createdAt" && name != "updatedAt");
        let image = map(&item);
        let changed = Images::Modify(image.clone(), with(item, "name", json!("b")));
        for images in [Images::Insert(image.clone()), changed, Images::Remove(image)] {
            let event = event(images);
            let body = Rendering::default().render(&event, &event.event_type).unwrap();
            let body: serde_json::Value = serde_json::from_str(&body).unwrap();
            let data = body["data"].as_object().unwrap();
            assert_eq!(data.len(), 3, "{category}: value, oldValue and updateMask");
            for value in [&data["value"], &data["oldValue"]].into_iter().filter(|value| !value.is_null()) {
                assert!(value["createTime"].is_string() && value["updateTime"].is_string(), "{category}: {value}");
            }
            assert_eq!(body["entityComments"].is_array(), category == "packet comment", "{category}");
        }
    }
}

#[test]
fn each_category_has_its_events() {
    let mut table = Vec::new();
    for (category, item) in categories() {
        let image = map(&item);
        let changes = [
            ("put", Images::Insert(image.clone())),
            ("changed", Images::Modify(image.clone(), with(item.clone(), "name", json!("b")))),
            ("marked", Images::Modify(image.clone(), with(item.clone(), "softRemoved", json!(true)))),
            ("unmarked", Images::Modify(with(item, "softRemoved", json!(true)), image.clone())),
            ("removed", Images::Remove(image)),
        ];
        for (what, images) in changes {
            let event = event(images);
            let (event_type, path, key) = (event.event_type.as_str(), event.entity.path(), &event.entity.key);
            let removal = event.removal.map_or(String::new(), |removal| format!(" {removal:?}"));
            table.push(format!("{category:14} {what:8} {event_type:22} {key:21} {path}{removal}"));
        }
    }
    snapshot("flows_events", &table.join("\n"));
}

/// A comment from the guide.
fn comment() -> serde_json::Value {
    json!({
        "pk": "ORG#acme",
        "sk": "COMMENT#c7",
        "packetId": "p1",
        "replies": [],
        "content": "Looks good",
        "parentCommentRef": null,
        "softRemoved": false,
        "createdBy": "users/anna",
        "createdAt": "2026-11-20T08:00:00.000Z",
        "updatedAt": "2026-11-20T08:00:00.000Z",
        "thread": [{"id": "c6", "content": "Done?"}],
    })
}

fn edited() -> Map {
    let mut comment = comment();
    comment["content"] = json!("Looks very good");
    comment["replies"] = json!([{"content": "Thanks", "createdBy": "users/bo"}]);
    with(comment, "updatedAt", json!("2026-11-21T10:00:00.000Z"))
}

#[rstest]
#[case::created("created", Images::Insert(map(&comment())))]
#[case::updated("updated", Images::Modify(map(&comment()), edited()))]
#[case::soft_deleted("soft_deleted", Images::Modify(map(&comment()), with(comment(), "softRemoved", json!(true))))]
#[case::deleted("deleted", Images::Remove(with(comment(), "softRemoved", json!(true))))]
fn a_comment_is_as_the_guide_has_it(#[case] name: &str, #[case] images: Images) {
    let event = event(images);
    let body = Rendering::default().render(&event, &event.event_type).unwrap();
    snapshot(&format!("flows_comment_{name}"), &body);
}

#[rstest]
#[case::only_touched("updatedAt", json!("2026-11-21T10:00:00.000Z"))]
#[case::another_comment_of_the_thread("thread", json!([]))]
fn an_unchanged_comment_is_no_event(#[case] name: &str, #[case] value: serde_json::Value) {
    let images = Images::Modify(map(&comment()), with(comment(), name, value));
    assert_eq!(flows().events(change(images)).unwrap(), []);
}

#[test]
fn a_comment_that_moves_to_another_packet_leaves_and_enters() {
    let images = Images::Modify(map(&comment()), with(comment(), "packetId", json!("p2")));
    let paths: Vec<_> = flows().events(change(images)).unwrap().iter().map(|event| event.entity.path()).collect();
    assert_eq!(paths, ["pipelinesPackets/p1/comments/c7", "pipelinesPackets/p2/comments/c7"]);
}

#[test]
fn items_of_no_category_are_no_events() {
    let settings = map(&json!({"pk": "ORG#acme", "sk": "SETTINGS"}));
    assert_eq!(flows().events(change(Images::Insert(settings))).unwrap(), []);
}
