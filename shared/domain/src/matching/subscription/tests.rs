use rstest::rstest;
use serde_json::{Value as Json, json};

use super::*;
use crate::event::Removal;
use crate::source::Images;
use crate::source::tests::{change, films};
use crate::value::tests::map;

pub(crate) fn subscription(more: &Json) -> Subscription {
    let id = WebhookId::from_parts(jiff::Timestamp::UNIX_EPOCH, 1).to_string();
    let mut all = json!({"webhook": id});
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(all).unwrap()
}

/// An update of a film.
pub(crate) fn event(old: &Json, new: &Json) -> Event {
    let image = |more: &Json| {
        let mut image = json!({"studio": "acme", "film_id": 7});
        image.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        map(&image)
    };
    films().events(change(Images::Modify(image(old), image(new)))).unwrap().remove(0)
}

fn sale() -> Event {
    let (old, new) =
        (json!({"status": "open", "n": 1, "gone": 1}), json!({"status": "paid", "n": 2, "address": {"city": "Paris"}}));
    let mut event = event(&old, &new);
    event.app = Some("crm".parse().unwrap());
    event.entity.collection_template = Some("films/{film_id}".to_owned());
    event
}

#[rstest]
#[case::everything(json!({}), true)]
#[case::own_type(json!({"event_types": ["film.updated"]}), true)]
#[case::other_type(json!({"event_types": ["film.created", "book.*"]}), false)]
#[case::group(json!({"event_types": ["*.updated"]}), true)]
#[case::other_name(json!({"event_types": ["film.changed"]}), true)]
#[case::group_of_other_names(json!({"event_types": ["*.changed"]}), true)]
#[case::not_deleted(json!({"event_types": ["*.softdeleted"]}), false)]
#[case::derived_type(json!({"event_types": ["film.status_changed"]}), true)]
#[case::derived_group(json!({"event_types": ["*.status_changed"]}), true)]
#[case::other_derived_type(json!({"event_types": ["film.title_changed"]}), false)]
#[case::source(json!({"sources": ["films"]}), true)]
#[case::other_source(json!({"sources": ["books"]}), false)]
#[case::collection(json!({"collections": ["films"]}), true)]
#[case::collection_template(json!({"collections": ["films/{film_id}"]}), true)]
#[case::other_collection(json!({"collections": ["books"]}), false)]
#[case::operation(json!({"operations": ["updated"]}), true)]
#[case::other_operation(json!({"operations": ["deleted"]}), false)]
#[case::application(json!({"applications": ["crm"]}), true)]
#[case::other_application(json!({"applications": ["erp"]}), false)]
#[case::changed(json!({"changed": ["title", "status"]}), true)]
#[case::changed_within(json!({"changed": ["address.city"]}), true)]
#[case::changed_around(json!({"changed": ["address"]}), true)]
#[case::not_changed(json!({"changed": ["film_id"]}), false)]
#[case::transition(json!({"transitions": [{"field": "status", "from": "open", "to": "paid"}]}), true)]
#[case::from_anything(json!({"transitions": [{"field": "status", "to": "paid"}]}), true)]
#[case::to_anything(json!({"transitions": [{"field": "status", "from": "open"}]}), true)]
#[case::from_something_else(json!({"transitions": [{"field": "status", "from": "void", "to": "paid"}]}), false)]
#[case::one_of_two(json!({"transitions": [{"field": "n", "to": 3}, {"field": "n", "from": 1.0}]}), true)]
#[case::from_nothing(json!({"transitions": [{"field": "address.city", "from": null}]}), true)]
#[case::to_nothing(json!({"transitions": [{"field": "gone", "to": null}]}), true)]
#[case::no_change(json!({"transitions": [{"field": "film_id", "to": 7}]}), false)]
#[case::filter(json!({"filter": {"value": {"status": ["paid"]}, "applicationId": ["crm"]}}), true)]
#[case::other_filter(json!({"filter": {"value": {"status": ["void"]}}}), false)]
#[case::all_of_them(json!({"event_types": ["film.*"], "changed": ["status"], "filter": {"value": {"n": [{"numeric": [">", 1]}]}}}), true)]
#[case::all_but_one(json!({"event_types": ["film.*"], "changed": ["status"], "filter": {"value": {"n": [{"numeric": [">", 2]}]}}}), false)]
fn wants(#[case] conditions: Json, #[case] wanted: bool) {
    let subscription = subscription(&conditions);
    let event = sale();
    assert_eq!(subscription.wants(&event), wanted);
    // The explanation agrees.
    let verdicts = subscription.explain(&event);
    assert_eq!(verdicts.iter().all(|verdict| verdict.holds), wanted, "{verdicts:?}");
}

#[test]
fn explains() {
    let subscription = subscription(
        &json!({"event_types": ["film.created", "film.status_changed"], "sources": ["books"], "collections": ["films"],
        "operations": ["updated"], "applications": ["erp"], "changed": ["title"], "transitions": [{"field": "status", "to": "void"}],
        "filter": {"value": {"status": ["paid"], "n": [5]}}}),
    );
    let verdicts = subscription.explain(&sale());
    let lines: Vec<_> =
        verdicts.iter().map(|v| format!("{} {}: {}", if v.holds { "+" } else { "-" }, v.condition, v.detail)).collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[rstest]
#[case::own(&["film.updated", "film.status_changed"], Some("film.updated"))]
#[case::derived(&["film.status_changed"], Some("film.status_changed"))]
#[case::other_name(&["film.status_changed", "film.changed"], Some("film.changed"))]
#[case::all(&[], Some("film.updated"))]
#[case::none(&["book.*"], None)]
fn is_sent_under_the_type_that_was_asked_for(#[case] types: &[&str], #[case] found: Option<&str>) {
    let found_type = subscription(&json!({"event_types": types})).type_for(&sale());
    assert_eq!(found_type.map(String::from).as_deref(), found);
}

#[rstest]
#[case::marked(Some(Removal::Soft), "film.softdeleted", true)]
#[case::marked_in_a_group(Some(Removal::Soft), "*.softdeleted", true)]
#[case::marked_is_deleted(Some(Removal::Soft), "film.deleted", true)]
#[case::removed(None, "film.softdeleted", false)]
#[case::expired(Some(Removal::Expired), "film.softdeleted", false)]
fn a_soft_deletion_has_a_type_of_its_own(#[case] removal: Option<Removal>, #[case] asked: &str, #[case] wanted: bool) {
    let mut event = films().events(change(Images::Remove(map(&json!({"studio": "acme", "film_id": 7}))))).unwrap();
    let event = Event { removal, ..event.remove(0) };
    let subscription = subscription(&json!({"event_types": [asked]}));
    let shown = if asked == "film.deleted" { asked } else { "film.softdeleted" };
    assert_eq!(subscription.type_for(&event), wanted.then(|| shown.parse().unwrap()));
}

#[rstest]
#[case::everything(json!({}), false)]
#[case::star(json!({"event_types": ["*"]}), false)]
#[case::named(json!({"event_types": ["webhook.paused"]}), true)]
#[case::group(json!({"event_types": ["webhook.*"]}), true)]
#[case::named_next_to_the_star(json!({"event_types": ["*", "webhook.paused"]}), true)]
#[case::another_next_to_the_star(json!({"event_types": ["*", "order.created"]}), false)]
fn operational_events_are_for_webhooks_that_name_them(#[case] conditions: Json, #[case] wanted: bool) {
    let subscription = subscription(&conditions);
    let mut webhook = crate::webhook::tests::webhook();
    let event =
        crate::delivery::notices::webhook_event(crate::delivery::notices::LifecycleEvent::Paused, &webhook).unwrap();
    assert_eq!(subscription.wants(&event), wanted);
    // And never for the webhook that it is about.
    webhook.id = subscription.webhook;
    let event =
        crate::delivery::notices::webhook_event(crate::delivery::notices::LifecycleEvent::Paused, &webhook).unwrap();
    assert!(!subscription.wants(&event));
    assert!(!subscription.explain(&event).iter().all(|verdict| verdict.holds));
}

#[rstest]
#[case::own(Some("crm"), Some("crm"), true)]
#[case::another_s(Some("erp"), Some("crm"), false)]
#[case::of_no_application(None, Some("crm"), true)]
#[case::of_the_tenant(Some("crm"), None, true)]
fn an_application_gets_no_other_one_s_events(
    #[case] event: Option<&str>,
    #[case] webhook: Option<&str>,
    #[case] wanted: bool,
) {
    let event = Event { app: event.map(|app| app.parse().unwrap()), ..sale() };
    let subscription = subscription(&json!({"app": webhook}));
    assert_eq!(subscription.wants(&event), wanted);
    assert_eq!(subscription.explain(&event).iter().all(|verdict| verdict.holds), wanted);
}

#[rstest]
#[case::list(json!({"field": "a", "to": ["b"]}), "must be a string, a number, true, false or null")]
#[case::field(json!({"field": "a..b"}), "must be names joined by dots")]
#[case::unknown(json!({"field": "a", "form": 1}), "unknown field `form`")]
fn refuses_transitions(#[case] transition: Json, #[case] detail: &str) {
    let error = serde_json::from_value::<Transition>(transition).unwrap_err().to_string();
    assert!(error.contains(detail), "{error}");
}
