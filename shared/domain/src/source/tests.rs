use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;

use super::*;
use crate::value::Value;
use crate::value::tests::{any_map, map};

mod docs;
mod flows;

pub(crate) fn films() -> Source {
    source(
        &json!({"entity": "film", "tenant": "{studio}", "id": "{film_id}", "collection": "films", "create_time_attribute": "made"}),
    )
}

fn source(mapping: &serde_json::Value) -> Source {
    serde_json::from_value(json!({"table": "films", "entities": [mapping]})).unwrap()
}

pub(crate) fn change(images: Images) -> Change {
    Change {
        stream_event_id: "e1".to_owned(),
        sequence: format!("{:0>40}", 7),
        at: "2026-11-21T10:00:00.5Z".parse().unwrap(),
        expired: false,
        images,
    }
}

fn film(studio: &str, title: &str) -> Map {
    map(&json!({"studio": studio, "film_id": 7, "title": title, "made": 0}))
}

fn with(more: &serde_json::Value) -> Map {
    let mut image = json!({"studio": "acme", "film_id": 7});
    image.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    map(&image)
}

fn modified(mapping: &serde_json::Value, old: &serde_json::Value, new: &serde_json::Value) -> Vec<Event> {
    let mut all = json!({"entity": "film", "tenant": "{studio}", "id": "{film_id}", "collection": "films"});
    all.as_object_mut().unwrap().extend(mapping.as_object().unwrap().clone());
    source(&all).events(change(Images::Modify(with(old), with(new)))).unwrap()
}

#[test]
fn names_the_operation() {
    let events = |images| films().events(change(images)).unwrap();
    assert_eq!(events(Images::Insert(film("acme", "A")))[0].event_type.as_str(), "film.created");
    assert_eq!(events(Images::Modify(film("acme", "A"), film("acme", "B")))[0].event_type.as_str(), "film.updated");
    assert_eq!(events(Images::Remove(film("acme", "A")))[0].event_type.as_str(), "film.deleted");
    assert_eq!(events(Images::Modify(film("acme", "A"), film("acme", "A"))), []);
}

#[test]
fn fills_in_the_times_that_it_knows() {
    let [event] = &films().events(change(Images::Insert(film("acme", "A")))).unwrap()[..] else { panic!("one event") };
    let state = event.new.as_ref().unwrap();
    assert_eq!(state.create_time.as_deref(), Some("1970-01-01T00:00:00.000Z"));
    assert_eq!(state.update_time.as_deref(), Some("2026-11-21T10:00:00.500Z"));
}

#[rstest]
#[case::seconds("1793294268", Some("2026-10-29T17:17:48.000Z"))]
#[case::milliseconds("1793294268000", Some("2026-10-29T17:17:48.000Z"))]
#[case::microseconds("1793294268211000", Some("2026-10-29T17:17:48.211Z"))]
#[case::fraction("1793294268.211", Some("2026-10-29T17:17:48.211Z"))]
#[case::another_fraction("1793294268.57", Some("2026-10-29T17:17:48.570Z"))]
#[case::text("\"October 29\"", Some("October 29"))]
#[case::missing("null", Some("2026-11-21T10:00:00.500Z"))]
#[case::too_large("1e30", None)]
#[case::no_time("true", None)]
fn reads_times_exactly(#[case] created: &str, #[case] expected: Option<&str>) {
    let mapping = json!({"entity": "order", "tenant": "{studio}", "id": "{id}", "collection": "orders", "create_time_attribute": "createdAt"});
    let Ok(Value::Map(item)) = format!(r#"{{"studio": "acme", "id": 1, "createdAt": {created}}}"#).parse() else {
        panic!()
    };
    match (source(&mapping).events(change(Images::Insert(item))), expected) {
        (Ok(events), Some(expected)) => {
            assert_eq!(events[0].new.as_ref().unwrap().create_time.as_deref(), Some(expected));
        }
        (Err(error), None) => assert!(error.to_string().starts_with(r#"attribute "createdAt""#), "{error}"),
        (found, expected) => panic!("{found:?} instead of {expected:?}"),
    }
}

#[test]
fn a_move_between_tenants_shows_neither_side_the_other() {
    let events = films().events(change(Images::Modify(film("acme", "A"), film("globex", "B")))).unwrap();
    let [left, entered] = &events[..] else { panic!("two events") };
    assert_eq!((left.tenant.as_str(), left.operation), ("acme", Operation::Deleted));
    assert_eq!(*left.old.as_ref().unwrap().properties, film("acme", "A"));
    assert_eq!((&left.new, &left.update_mask), (&None, &None));
    assert_eq!((entered.tenant.as_str(), entered.operation), ("globex", Operation::Created));
    assert_eq!(*entered.new.as_ref().unwrap().properties, film("globex", "B"));
    assert_eq!((&entered.old, &entered.update_mask), (&None, &None));
    assert_ne!(left.id, entered.id);
}

#[rstest]
#[case::nowhere(json!({"title": "B"}), &["film.updated"])]
#[case::to_another_tenant(json!({"studio": "globex"}), &["film.deleted", "film.created"])]
#[case::to_another_application(json!({"client": "erp"}), &["film.deleted", "film.created"])]
#[case::to_another_id(json!({"film_id": 8}), &["film.deleted", "film.created"])]
#[case::to_another_collection(json!({"series": "y"}), &["film.deleted", "film.created"])]
#[case::to_another_kind(json!({"kind": "trailer"}), &["film.deleted", "trailer.created"])]
#[case::to_no_kind(json!({"kind": "draft"}), &["film.deleted"])]
fn an_item_that_moves_is_deleted_where_it_was(#[case] more: serde_json::Value, #[case] types: &[&str]) {
    let kind = |name: &str| {
        json!({"when": {"attribute": "kind", "equals": name}, "entity": name, "tenant": "{studio}", "app": "{client}", "id": "{film_id}",
            "collection": "series/{series}"})
    };
    let source = json!({"table": "films", "entities": [kind("film"), kind("trailer")]});
    let source: Source = serde_json::from_value(source).unwrap();
    let mut moved = json!({"kind": "film", "client": "crm", "series": "x", "title": "A"});
    let old = with(&moved);
    moved.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let events = source.events(change(Images::Modify(old, with(&moved)))).unwrap();
    assert_eq!(events.iter().map(|event| event.event_type.as_str()).collect::<Vec<_>>(), types);
}

#[test]
fn a_replay_has_the_same_id_and_another_table_has_not() {
    let event = |source: Source| source.events(change(Images::Insert(film("acme", "A")))).unwrap().remove(0);
    assert_eq!(event(films()), event(films()));
    assert_ne!(event(films()).id, event(Source { table: "books".to_owned(), ..films() }).id);
}

#[rstest]
#[case::no_tenant(json!({"film_id": 7}), r#"the item has no attribute "studio", which the source names for its tenant"#)]
#[case::no_id(json!({"studio": "acme"}), r#"the item has no attribute "film_id", which the source names for its entity id"#)]
#[case::tenant_is_a_list(json!({"studio": ["acme"], "film_id": 7}), r#"attribute "studio", which the source names for the tenant, is not a non-empty string or a number"#)]
#[case::empty_id(json!({"studio": "acme", "film_id": ""}), r#"attribute "film_id", which the source names for the entity id, is not a non-empty string or a number"#)]
#[case::strange_tenant(json!({"studio": "a#b", "film_id": 7}), "the value that the source names for the tenant is invalid: it must be 1 to 128 characters of A-Z a-z 0-9 _ . @ + = -, and not only one or two dots")]
fn says_why_an_image_does_not_map(#[case] image: serde_json::Value, #[case] reason: &str) {
    let error = films().events(change(Images::Insert(map(&image)))).unwrap_err();
    assert_eq!(error.to_string(), reason);
}

fn one_table() -> Source {
    serde_json::from_value(json!({"table": "app", "entities": [
        {"when": {"attribute": "sk", "prefix": "PACKET#"}, "entity": "packet", "tenant": "{pk:TENANT#}", "id": "{sk:PACKET#}", "collection": "packets"},
        {"when": {"attribute": "kind", "equals": "comment"}, "entity": "comment", "tenant": "{pk:TENANT#}", "app": "{app}", "id": "{id}",
         "collection": "pipelinesPackets/{packetId}/comments", "entity_key": "flows/comments"},
    ]}))
    .unwrap()
}

#[test]
fn one_table_may_hold_several_kinds() {
    let source = one_table();
    assert_eq!(source.check(), []);
    let event = |image| source.events(change(Images::Insert(map(&image)))).unwrap().pop();
    let packet = event(json!({"pk": "TENANT#acme", "sk": "PACKET#p1"})).unwrap();
    assert_eq!((packet.event_type.as_str(), packet.entity.path().as_str()), ("packet.created", "packets/p1"));
    assert_eq!((packet.tenant.as_str(), packet.entity.collection_template), ("acme", None));
    let comment =
        json!({"pk": "TENANT#acme", "sk": "C#1", "kind": "comment", "id": "c1", "packetId": "p1", "app": "crm"});
    let comment = event(comment).unwrap();
    assert_eq!(comment.entity.path(), "pipelinesPackets/p1/comments/c1");
    assert_eq!(comment.entity.collection_template.as_deref(), Some("pipelinesPackets/{packetId}/comments"));
    assert_eq!((comment.entity.key.as_str(), comment.app.unwrap().as_str()), ("flows/comments", "crm"));
    assert_eq!(event(json!({"pk": "TENANT#acme", "sk": "USER#1"})), None);
}

#[test]
fn an_item_that_becomes_another_kind_leaves_and_enters() {
    let image = |kind: &str| {
        map(&json!({"pk": "TENANT#acme", "sk": "1", "kind": kind, "id": "c1", "packetId": "p1", "app": "crm"}))
    };
    let types = |old, new| -> Vec<String> {
        let events = one_table().events(change(Images::Modify(image(old), image(new)))).unwrap();
        events.iter().map(|event| event.event_type.to_string()).collect()
    };
    assert_eq!(types("comment", "draft"), ["comment.deleted"]);
    assert_eq!(types("draft", "comment"), ["comment.created"]);
    assert_eq!(types("draft", "note"), [""; 0]);
}

#[rstest]
#[case::removed(json!(false), json!(true), Operation::Deleted, Some(Removal::Soft))]
#[case::absent_is_not_removed(json!(null), json!(true), Operation::Deleted, Some(Removal::Soft))]
#[case::restored(json!(true), json!(false), Operation::Created, None)]
#[case::still_removed(json!(true), json!(true), Operation::Updated, None)]
#[case::only_true_counts(json!(false), json!("true"), Operation::Updated, None)]
fn a_soft_delete_is_a_deletion(
    #[case] was: serde_json::Value,
    #[case] is: serde_json::Value,
    #[case] operation: Operation,
    #[case] removal: Option<Removal>,
) {
    let old = json!({"softRemoved": was, "n": 1});
    let events = modified(&json!({"soft_delete_attribute": "softRemoved"}), &old, &json!({"softRemoved": is, "n": 2}));
    assert_eq!((events[0].operation, events[0].removal), (operation, removal));
    assert!(events[0].old.is_some() && events[0].new.is_some() && events[0].update_mask.is_some());
}

#[test]
fn an_expired_item_is_marked() {
    let event = |expired| {
        let change = Change { expired, ..change(Images::Remove(film("acme", "A"))) };
        films().events(change).unwrap().remove(0)
    };
    assert_eq!((event(true).removal, event(false).removal), (Some(Removal::Expired), None));
}

#[rstest]
#[case::only_ignored(json!({"seen": 1, "m": {"n": 1}}), json!({"seen": 2, "m": {"n": 2}}), None)]
#[case::next_to_another(json!({"seen": 1, "a": 1}), json!({"seen": 2, "a": 2}), Some(&["a", "seen"][..]))]
#[case::in_a_list(json!({"l": [{"n": 1, "o": 1}]}), json!({"l": [{"n": 2, "o": 1}]}), None)]
#[case::next_to_it(json!({"m": {"n": 1, "o": 1}}), json!({"m": {"n": 2, "o": 2}}), Some(&["m.n", "m.o"][..]))]
fn a_change_of_ignored_fields_alone_is_no_event(
    #[case] old: serde_json::Value,
    #[case] new: serde_json::Value,
    #[case] mask: Option<&[&str]>,
) {
    let event = modified(&json!({"ignore": ["seen", "m.n", "l.n"]}), &old, &new).pop();
    let found = event.map(|event| event.update_mask.unwrap());
    assert_eq!(found, mask.map(|mask| mask.iter().map(|&path| path.to_owned()).collect()));
}

#[test]
fn redacted_fields_are_nowhere() {
    let redact = json!({"redact": ["hash", "address.phone", "lines.price"]});
    let old = json!({"hash": "h1", "address": {"phone": "p1", "city": "c"}, "lines": [{"price": 1, "n": 1}], "a": 1});
    let new = json!({"hash": "h2", "address": {"phone": "p2", "city": "c"}, "lines": [{"price": 2, "n": 1}], "a": 2});
    let event = modified(&redact, &old, &new).remove(0);
    let kept = |a| with(&json!({"address": {"city": "c"}, "lines": [{"n": 1}], "a": a}));
    assert_eq!((event.old.unwrap().properties, event.new.unwrap().properties), (kept(1).into(), kept(2).into()));
    assert_eq!(event.update_mask.unwrap(), ["a"]);
    // A change of redacted fields alone is not visible, so there is no event.
    let mut same = new;
    same["a"] = json!(1);
    assert_eq!(modified(&redact, &old, &same), []);
}

#[test]
fn related_attributes_are_next_to_the_entity() {
    let related = json!({"related": {"entityComments": "thread"}});
    let event = modified(&related, &json!({"thread": [1]}), &json!({"thread": [1, 2]})).remove(0);
    assert_eq!(event.entity.related, map(&json!({"entityComments": [1, 2]})));
    assert_eq!(*event.new.unwrap().properties, with(&json!({})));
    assert_eq!(event.update_mask.unwrap(), ["thread"]);
}

#[rstest]
#[case::missing(json!({"a": 1}), json!({"entityComments": []}))]
#[case::null(json!({"thread": null}), json!({"entityComments": []}))]
#[case::some(json!({"thread": [1], "notes": "x"}), json!({"entityComments": [1], "other": "x"}))]
fn there_are_always_comments(#[case] more: serde_json::Value, #[case] related: serde_json::Value) {
    let mapping = json!({"related": {"entityComments": "thread", "other": "notes"}});
    let event = modified(&mapping, &json!({"n": 1}), &more).remove(0);
    assert_eq!(event.entity.related, map(&related));
}

#[test]
fn derived_types_name_what_changed() {
    let event = modified(
        &json!({}),
        &json!({"status": 1, "b": 1, "a": 1}),
        &json!({"status": 2, "b": 1, "new one": 1, "c": 1}),
    );
    let types: Vec<String> = event[0].derived_types().map(String::from).collect();
    assert_eq!(
        types,
        ["film.changed", "film.a_changed", "film.c_changed", "film.status_changed"],
        "its own other name, and then sorted by name, whether added, changed or removed"
    );
    let created = films().events(change(Images::Insert(film("acme", "A")))).unwrap();
    assert_eq!(created[0].derived_types().count(), 0);
}

#[rstest]
#[case::table(json!({"table": "a b"}), "/table")]
#[case::name_of_ours(json!({"table": "dynahook"}), "/table")]
#[case::no_entities(json!({"entities": []}), "/entities")]
#[case::entity_of_ours(json!({"entities": [{"entity": "webhook"}]}), "/entities/0/entity")]
#[case::unreachable(json!({"entities": [{}, {}]}), "/entities/0/when")]
#[case::both(json!({"entities": [{"when": {"attribute": "a", "prefix": "b", "equals": "c"}}]}), "/entities/0/when")]
#[case::slash(json!({"entities": [{"collection": "a/"}]}), "/entities/0/collection")]
#[case::no_tenant(json!({"entities": [{"tenant": "a#b"}]}), "/entities/0/tenant")]
#[case::no_app(json!({"entities": [{"app": "a b"}]}), "/entities/0/app")]
#[case::redacted(json!({"entities": [{"redact": ["a"], "soft_delete_attribute": "a.b"}]}), "/entities/0/soft_delete_attribute")]
#[case::reserved(json!({"entities": [{"related": {"data": "a"}}]}), "/entities/0/related/data")]
fn names_the_invalid_field(#[case] source: serde_json::Value, #[case] pointer: &str) {
    let mut all = json!({"table": "films", "entities": [{}]});
    all.as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
    for mapping in all["entities"].as_array_mut().unwrap() {
        let mut fields = json!({"entity": "film", "tenant": "{studio}", "id": "{id}", "collection": "films"});
        fields.as_object_mut().unwrap().extend(mapping.as_object().unwrap().clone());
        *mapping = fields;
    }
    let faults = serde_json::from_value::<Source>(all).unwrap().check();
    assert_eq!(faults.iter().map(|fault| fault.pointer.as_str()).collect::<Vec<_>>(), [pointer]);
}

fn image() -> impl Strategy<Value = Map> {
    let value = (0..3_u8).prop_map(|n| n.to_string().parse::<Value>().unwrap());
    prop::collection::btree_map("[ab]", value, 0..3).prop_map(|image| {
        let fixed = map(&json!({"studio": "acme", "film_id": 7}));
        image.into_iter().chain(fixed).collect()
    })
}

proptest! {
    /// `previous` of an event equals `state` of the event before it, as long as none is missing.
    #[test]
    fn the_events_of_an_entity_are_a_chain(images in prop::collection::vec(image(), 2..8), ignore: bool) {
        let mapping = json!({"entity": "film", "tenant": "{studio}", "id": "{film_id}", "collection": "films",
            "ignore": if ignore { vec!["a"] } else { vec![] }});
        let source = source(&mapping);
        let mut last = source.events(change(Images::Insert(images[0].clone()))).unwrap().remove(0).new;
        for pair in images.windows(2) {
            for event in source.events(change(Images::Modify(pair[0].clone(), pair[1].clone()))).unwrap() {
                prop_assert_eq!(event.old.map(|state| state.id), last.map(|state| state.id));
                last = event.new;
            }
        }
    }

    /// The names come from the update mask, or from a comparison of the states.
    #[test]
    fn the_changed_attributes_are_those_that_differ(old in any_map(), new in any_map(), related: bool) {
        let of = |mut image: Map| {
            image.extend(with(&json!({})));
            image
        };
        let mapping = json!({"entity": "film", "tenant": "{studio}", "id": "{film_id}", "collection": "films",
            "related": if related { json!({"a": "b"}) } else { json!({}) }});
        for event in source(&mapping).events(change(Images::Modify(of(old), of(new)))).unwrap() {
            let compared = Event { update_mask: None, ..event.clone() };
            prop_assert_eq!(event.changed_attributes(), compared.changed_attributes());
        }
    }
}
