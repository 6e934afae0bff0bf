use rstest::rstest;
use serde_json::Value as Json;

use super::*;

fn settle(input: &Json, known: &Json) -> Result<Value, String> {
    match writable(object(Value::of(input)), &Value::of(known)) {
        (writable, faults) if faults.is_empty() => Ok(Value::Map(writable)),
        (_, faults) => Err(Problem::from(faults).to_string()),
    }
}

/// From a public report: a PATCH showed `1.2345678901234568e+22` and `0.1`.
#[test]
fn numbers_keep_their_digits() {
    let properties = r#"{"b":12345678901234567890123,"m":0.10}"#;
    let body: Value = format!(r#"{{"properties":{properties},"name":"n"}}"#).parse().unwrap();
    let (settings, faults) = settings(object(body), &Value::Null).into_parts();
    assert_eq!(faults, []);
    let settings = settings.unwrap();
    assert_eq!(serde_json::to_string(&settings.properties).unwrap(), properties);
    let mut merged = object(Value::of(&settings));
    merge_patch(&mut merged, object(r#"{"properties":{"m":1.50}}"#.parse().unwrap()));
    let shown = serde_json::to_string(merged.get("properties").unwrap()).unwrap();
    assert_eq!(shown, r#"{"b":12345678901234567890123,"m":1.50}"#);
}

#[rstest]
#[case::replaced(r#"{"filter":{"value":{"b":[2]}}}"#, r#"{"filter":{"value":{"b":[2]}},"headers":{"a":"b"}}"#)]
#[case::removed(r#"{"filter":null}"#, r#"{"headers":{"a":"b"}}"#)]
#[case::kept(r#"{"headers":{"c":"d"}}"#, r#"{"filter":{"value":{"a":[1]}},"headers":{"a":"b","c":"d"}}"#)]
fn a_patch_replaces_the_filter_and_merges_the_rest(#[case] patch: &str, #[case] expected: &str) {
    let read = |text: &str| object(text.parse().unwrap());
    let mut settings = read(r#"{"filter":{"value":{"a":[1]}},"headers":{"a":"b"}}"#);
    apply(&mut settings, read(patch));
    assert_eq!(serde_json::to_string(&settings).unwrap(), expected);
}

#[rstest]
#[case::padding_is_missing("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", None)]
#[case::url_safe("whsec_-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7", None)]
#[case::too_short("whsec_AAAAAAAAAAAAAAAAAAAAAA==", None)]
#[case::valid("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", Some(SignatureScheme::StandardWebhooks))]
#[case::plain("12345678", Some(SignatureScheme::HmacSha256))]
fn a_secret_that_looks_like_whsec_is_that(#[case] secret: &str, #[case] scheme: Option<SignatureScheme>) {
    for (given, named) in
        [(None, false), (Some(SignatureScheme::HmacSha256), true), (Some(SignatureScheme::Stripe), true)]
    {
        let mut settings: Settings = serde_json::from_value(json!({"name": "n"})).unwrap();
        settings.signature_scheme = given.unwrap_or(settings.signature_scheme);
        let read = read_secret(&Value::String(secret.to_owned()), &mut settings, named);
        if given == Some(SignatureScheme::Stripe) {
            assert!(read.is_ok(), "the text of Stripe's secrets is the key");
        } else {
            let signs = read.ok().map(|_| settings.signature_scheme);
            assert_eq!(signs, scheme.map(|scheme| given.unwrap_or(scheme)));
        }
    }
}

#[rstest]
#[case::serial(
    json!({"company_id": "acme", "trigger_type": "process.updated"}),
    json!({"event_types": ["process.updated"], "trigger_type": "process.updated"})
)]
#[case::free_text(
    json!({"trigger_type": "Process Updated"}),
    json!({"event_types": ["process.updated"], "trigger_type": "Process Updated"})
)]
#[case::superoffice(
    json!({"events": "contact.created, person.changed,", "target_url": "https://a.example/", "state": 2}),
    json!({"event_types": ["contact.created", "person.changed"], "url": "https://a.example/", "enabled": false})
)]
#[case::current_value(json!({"tenant_id": "acme", "version": 3, "name": "n"}), json!({"name": "n"}))]
#[case::earlier_counter(json!({"total_calls": 6, "name": "n"}), json!({"name": "n"}))]
#[case::warnings(json!({"warnings": [{"code": "no_url"}], "name": "n"}), json!({"name": "n"}))]
fn takes_other_names_of_a_field(#[case] input: Json, #[case] expected: Json) {
    let known = json!({"id": "whk_1", "tenant_id": "acme", "company_id": "acme", "version": 3, "total_calls": 7, "direction": "outbound"});
    assert_eq!(settle(&input, &known), Ok(Value::of(&expected)));
}

/// A response has all names of a setting. A caller may change any of them and send the rest back.
#[rstest]
#[case::nothing(json!({}), json!("https://a.example/"), json!(["process.updated"]))]
#[case::url(json!({"url": "https://b.example/"}), json!("https://b.example/"), json!(["process.updated"]))]
#[case::target_url(json!({"target_url": "https://b.example/"}), json!("https://b.example/"), json!(["process.updated"]))]
#[case::events(json!({"events": "a.b,c.d"}), json!("https://a.example/"), json!(["a.b", "c.d"]))]
#[case::trigger(json!({"trigger_type": "Process Deleted"}), json!("https://a.example/"), json!(["process.deleted"]))]
#[case::types(json!({"event_types": ["a.*"]}), json!("https://a.example/"), json!(["a.*"]))]
#[case::both_alike(json!({"event_types": ["a.*"], "events": "a.*"}), json!("https://a.example/"), json!(["a.*"]))]
fn the_name_that_was_changed_counts(#[case] change: Json, #[case] url: Json, #[case] types: Json) {
    let known = json!({
        "url": "https://a.example/", "target_url": "https://a.example/", "direction": "outbound",
        "event_types": ["process.updated"], "events": "process.updated", "trigger_type": "Process Updated",
    });
    let mut input = known.clone();
    input.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    let written = settle(&input, &known).unwrap();
    let written = |name: &str| written.get(name).cloned();
    assert_eq!((written("url"), written("event_types")), (Some(Value::of(&url)), Some(Value::of(&types))));
}

#[test]
fn the_words_of_a_trigger_can_be_reset() {
    let known = json!({"event_types": ["a.b"], "trigger_type": "A B", "direction": "outbound"});
    assert_eq!(settle(&json!({"trigger_type": null}), &known), Ok(Value::Map(Map::new())));
}

#[test]
fn a_name_that_is_null_says_nothing() {
    let known = json!({"event_types": [], "events": null, "trigger_type": null, "direction": "outbound"});
    assert_eq!(settle(&known, &known), Ok(Value::of(&json!({"event_types": [], "direction": "outbound"}))));
}

#[rstest]
#[case::name(json!({"url": "https://a.example/x"}), "a.example", true)]
#[case::no_url(json!({"name": "n"}), "n", false)]
#[case::inbound(json!({"direction": "inbound"}), "webhook", true)]
#[case::null(json!({"name": null, "url": "https://a.example/"}), "a.example", true)]
fn name_and_url_are_optional(#[case] input: Json, #[case] name: &str, #[case] enabled: bool) {
    let (settings, faults) = parse(object(Value::of(&input))).into_parts();
    let settings = settings.unwrap();
    assert_eq!((settings.name.as_str(), settings.enabled, faults), (name, enabled, Vec::new()));
}

#[test]
fn every_setting_can_be_written_and_nothing_else() {
    let settings: Settings = serde_json::from_value(json!({"name": "n"})).unwrap();
    let settings = serde_json::to_value(&settings).unwrap();
    let names: Vec<_> = settings.as_object().unwrap().keys().map(String::as_str).collect();
    let mut writable = WRITABLE.to_vec();
    writable.sort_unstable();
    assert_eq!(writable, names);
    assert!(writable.contains(&"type") && writable.contains(&"max_concurrency"));
}

#[rstest]
#[case::id("id")]
#[case::alias("webhook_id")]
#[case::renamed("updatedCount")]
#[case::counted("total_calls")]
#[case::keys("signing_keys_url")]
#[case::state("is_active")]
fn what_only_dynahook_sets_is_refused_for_a_new_webhook(#[case] name: &str) {
    let answer = settle(&json!({name: 1}), &json!({})).unwrap_err();
    assert_eq!(answer, format!("#/{name} is set by Dynahook and cannot be set"));
}

#[rstest]
#[case::another_tenant(json!({"tenant_id": "globex"}), "#/tenant_id is set by Dynahook and cannot be set")]
#[case::unknown(json!({"nmae": "n"}), "#/nmae is not a field of a webhook; did you mean name?")]
#[case::camel_case(json!({"eventTypes": []}), "#/eventTypes is not a field of a webhook; did you mean event_types?")]
#[case::unlike_any(json!({"colour": 1}), "#/colour is not a field of a webhook")]
#[case::pointer(json!({"a/b": 1}), "#/a~1b is not a field of a webhook")]
#[case::twice(json!({"events": "a.b", "event_types": []}), "#/events sets the same field as event_types; send one of them")]
#[case::two_urls(json!({"url": "https://a.example/", "target_url": "https://b.example/"}), "#/target_url sets the same field as url; send one of them")]
#[case::no_words(json!({"trigger_type": "a, b"}), "#/trigger_type must be an event type such as process.updated, or words such as Process Updated")]
#[case::no_text(json!({"trigger_type": 1}), "#/trigger_type must be a string")]
#[case::secret(json!({"secret": "x"}), "#/secret cannot be set here; use POST /webhooks/{id}/secret/rotate")]
#[case::no_events(json!({"events": " , "}), "#/events must name at least one event")]
#[case::third_state(json!({"state": 3}), "#/state must be 1 (active) or 2 (stopped)")]
#[case::stale(json!({"version": 2}), "#/version is set by Dynahook and cannot be set")]
fn refuses(#[case] input: Json, #[case] detail: &str) {
    let known = json!({"tenant_id": "acme", "version": 3, "direction": "outbound"});
    let answer = settle(&input, &known).unwrap_err();
    assert!(answer.contains(detail.split_once(' ').unwrap().1), "{answer}");
}
