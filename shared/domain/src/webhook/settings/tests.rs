use rstest::rstest;
use serde_json::json;

use super::*;
use crate::attempt::target::TargetPolicy;

pub(in crate::webhook) fn settings() -> Settings {
    parse(&json!({})).unwrap()
}

/// Valid settings, with `more` merged into them.
pub(in crate::webhook) fn parse(more: &serde_json::Value) -> serde_json::Result<Settings> {
    let mut settings = json!({"name": "n", "url": "https://example.com/", "event_types": ["order.created"]});
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(settings)
}

#[test]
fn defaults() {
    let settings = settings();
    assert_eq!(settings.check(&TargetPolicy::default()), []);
    assert_eq!((settings.kind.as_str(), settings.source.as_str()), ("webhook", "edm"));
    assert_eq!((settings.enabled, settings.source_type), (true, SourceType::Api));
    assert_eq!(
        (settings.direction, settings.signature_scheme),
        (Direction::Outbound, SignatureScheme::StandardWebhooks)
    );
}

#[rstest]
#[case::no_name(json!({"name": " "}), "/name")]
#[case::long_name(json!({"name": "é".repeat(401)}), "/name")]
#[case::other_plugin(json!({"type": "crmscript"}), "/type")]
#[case::url(json!({"url": "ftp://example.com"}), "/url")]
#[case::too_many_types(json!({"event_types": (0..101).map(|n| format!("an_entity_with_a_long_name.and_word_{n:03}")).collect::<Vec<_>>()}), "/event_types")]
#[case::far_too_many_types(json!({"event_types": vec!["a"; 2001]}), "/event_types")]
#[case::empty_source(json!({"sources": [""]}), "/sources/0")]
#[case::no_table_name(json!({"sources": ["orders", "my orders"]}), "/sources/1")]
#[case::too_many_tags(json!({"tags": vec!["a"; 51]}), "/tags")]
#[case::too_many_named_tags(json!({"tags": (0..51).map(|n| (n.to_string(), json!(n))).collect::<serde_json::Map<_, _>>()}), "/tags")]
#[case::tags_too_large(json!({"tags": {"a": "x".repeat(4096)}}), "/tags")]
#[case::tag_without_a_name(json!({"tags": {"": 1}}), "/tags/")]
#[case::long_trigger(json!({"trigger_type": format!("order{}created", " ".repeat(255))}), "/trigger_type")]
#[case::no_url(json!({"url": ""}), "/url")]
#[case::control_character(json!({"tags": ["ok", "a\nb"]}), "/tags/1")]
#[case::long_connector(json!({"connector_id": "c".repeat(256)}), "/connector_id")]
#[case::no_address(json!({"error_email": "the ERP team"}), "/error_email")]
#[case::empty_provider(json!({"integration_provider": ""}), "/integration_provider")]
#[case::properties_too_large(json!({"properties": {"a": "x".repeat(4096)}}), "/properties")]
#[case::property_hides_the_data(json!({"properties": {"data": 1}}), "/properties/data")]
#[case::attempts(json!({"retry_policy": {"maxAttempts": 0}}), "/retry_policy/maxAttempts")]
#[case::timeout(json!({"retry_policy": {"timeoutMs": 1}}), "/retry_policy/timeoutMs")]
#[case::too_many_statuses(json!({"success_statuses": (400..421).map(|n| n.to_string()).collect::<Vec<_>>()}), "/success_statuses")]
#[case::header(json!({"headers": {"Host": "a"}}), "/headers/Host")]
#[case::group_of_an_inbound_one(json!({"direction": "inbound", "url": "", "event_types": ["order.*"]}), "/event_types/0")]
#[case::too_many_transitions(json!({"transitions": (0..51).map(|n| json!({"field": format!("f{n}")})).collect::<Vec<_>>()}), "/transitions")]
#[case::type_of_ours(json!({"direction": "inbound", "url": "", "event_types": ["webhook.paused"]}), "/event_types/0")]
#[case::url_of_an_inbound_one(json!({"direction": "inbound"}), "/url")]
fn names_the_invalid_field(#[case] more: serde_json::Value, #[case] pointer: &str) {
    let faults = parse(&more).unwrap().check(&TargetPolicy::default());
    assert_eq!(faults.iter().map(|fault| fault.pointer.as_str()).collect::<Vec<_>>(), [pointer]);
}

#[rstest]
#[case::everything(json!({"event_types": []}))]
#[case::all_of_a_table(json!({"event_types": [], "sources": ["orders"]}))]
#[case::all_deletions(json!({"event_types": [], "operations": ["deleted"]}))]
#[case::inbound(json!({"direction": "inbound", "url": "", "event_types": []}))]
#[case::long_types(json!({"event_types": vec!["a".repeat(128); 100]}))]
#[case::a_long_list_of_events(json!({"event_types": vec!["a"; 2000]}))]
#[case::named_tags(json!({"tags": {"team": "sales", "regions": ["eu", "us"]}}))]
#[case::disabled_without_a_url(json!({"url": "", "enabled": false}))]
#[case::a_long_url(json!({"url": format!("https://example.com/{}", "a".repeat(3980))}))]
fn allows(#[case] more: serde_json::Value) {
    assert_eq!(parse(&more).unwrap().check(&TargetPolicy::default()), []);
}

#[test]
fn names_are_kept_once_and_in_order() {
    let mut settings = parse(&json!({"event_types": ["b", "a", "b"], "tags": ["x", "x"]})).unwrap();
    settings.normalize();
    assert_eq!(settings.event_types.iter().map(EventPattern::as_str).collect::<Vec<_>>(), ["b", "a"]);
    assert_eq!(settings.tags, Tags::Labels(vec!["x".to_owned()]));
}

#[rstest]
#[case::own_words(json!(["process.updated"]), json!("Process Updated"), Some("Process Updated"), true)]
#[case::the_same(json!(["process.updated"]), json!("process.updated"), Some("process.updated"), false)]
#[case::changed_since(json!(["process.deleted"]), json!("Process Updated"), Some("process.deleted"), false)]
#[case::several(json!(["process.updated", "a.b"]), json!("Process Updated"), None, false)]
#[case::none(json!([]), json!(null), None, false)]
fn a_single_type_is_shown_as_it_was_written(
    #[case] types: serde_json::Value,
    #[case] words: serde_json::Value,
    #[case] shown: Option<&str>,
    #[case] kept: bool,
) {
    let mut settings = parse(&json!({"event_types": types, "trigger_type": words})).unwrap();
    settings.normalize();
    assert_eq!((settings.trigger().as_deref(), settings.trigger_type.is_some()), (shown, kept));
}

#[rstest]
#[case::host("https://hooks.example.com:8443/a", "hooks.example.com")]
#[case::none("", "webhook")]
fn a_name_has_a_default(#[case] url: &str, #[case] name: &str) {
    assert_eq!(Settings::default_name(url), name);
}
