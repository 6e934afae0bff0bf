//! Reads what a caller sends about a webhook. Some fields have several names, and a field that only Dynahook sets is
//! accepted if it has its current value, so that a response can be sent back.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use domain::fault::{FieldError, step};
use domain::matching::filter::{Filter, FilterError};
use domain::signing::secret::{SecretFormat, WebhookSecret};
use domain::signing::signature::SignatureScheme;
use domain::webhook::Webhook;
use domain::webhook::authorization::NewAuthorization;
use domain::webhook::settings::Settings;
use serde_json::{Map, Value, json};

use super::authorization;
use super::field_names::field_names;
use super::other_names::{Named, NamesSent, SEVERAL_NAMES, converted, one_of};
use super::representation::{COUNTED, OWN_NAMES, WebhookBody};
use crate::App;
use crate::caller::Admin;
use crate::problem::Problem;
use crate::read::{Reading, read_json};

/// A JSON object from a caller.
pub(crate) type Input = Map<String, Value>;

/// The fields that a caller can set: those of [`Settings`].
static WRITABLE: LazyLock<&[&str]> = LazyLock::new(field_names::<Settings>);

/// A new webhook from a request.
#[derive(Debug)]
pub(crate) struct NewWebhook {
    pub(crate) settings: Settings,
    /// The caller's own secret, if they sent one.
    pub(crate) secret: Option<WebhookSecret>,
    pub(crate) authorization: Option<NewAuthorization>,
}

impl NewWebhook {
    /// Reads a request; returns all faults.
    pub(crate) fn read(app: &App, admin: &Admin, mut input: Input) -> Result<Self, Problem> {
        let known = json!({
            "tenant_id": admin.tenant, "company_id": admin.tenant,
            "app_id": admin.app, "application_id": admin.app, "application_token": admin.app,
        });
        let secret = input.remove("secret").filter(|secret| !secret.is_null());
        let authorization = input.remove("authorization").filter(|given| !given.is_null());
        let (scheme_given, names) = (input.contains_key("signature_scheme"), NamesSent::of(&input));
        let reading = settings(input, &known).change(|settings| settings.resolve_signing_key(None));
        let reading = reading.and(|settings| settings.check(&app.targets));
        let (settings, mut faults) = reading.map_faults(|fault| names.at_sent(fault)).into_parts();
        let Some(mut settings) = settings else { return Err(faults.into()) };
        let secret = secret
            .and_then(|text| read_secret(&text, &mut settings, scheme_given).map_err(|fault| faults.push(fault)).ok());
        let authorization = authorization.and_then(|given| {
            let read = authorization::read(app, settings.direction, given);
            read.map_err(|found| faults.extend(below("/authorization", found))).ok()
        });
        if !faults.is_empty() {
            return Err(faults.into());
        }
        settings.normalize();
        Ok(Self { settings, secret, authorization })
    }
}

/// Reads the secret that a caller sent. A plain text signs with `hmac-sha256` unless the caller names a scheme.
pub(super) fn read_secret(
    text: &Value,
    settings: &mut Settings,
    scheme_given: bool,
) -> Result<WebhookSecret, FieldError> {
    let fault = |detail: String| FieldError::new("/secret", detail);
    let text = text.as_str().ok_or_else(|| fault("must be a string".to_owned()))?;
    let secret = WebhookSecret::parse(text).map_err(|error| fault(error.to_string()))?;
    if secret.format() == SecretFormat::Plain && !scheme_given {
        settings.signature_scheme = SignatureScheme::HmacSha256;
    }
    if settings.cannot_sign_with(secret.format()).is_none() {
        Ok(secret)
    } else {
        Err(fault("must be whsec_ and 24 to 64 bytes in base64 for the scheme standard-webhooks".to_owned()))
    }
}

/// Reads the settings that replace a webhook's.
pub(crate) fn replace(app: &App, webhook: &Webhook, current: &WebhookBody, input: Input) -> Reading<Settings> {
    updated(app, webhook, settings(input, &known(current)))
}

/// Merges a change into a webhook's settings ([RFC 7396](https://www.rfc-editor.org/rfc/rfc7396)).
pub(crate) fn merge(app: &App, webhook: &Webhook, current: &WebhookBody, input: Input) -> Reading<Settings> {
    let (patch, faults) = writable(input, &known(current));
    let mut merged = serde_json::to_value(&webhook.settings).unwrap_or_default();
    json_patch::merge(&mut merged, &Value::Object(patch));
    updated(app, webhook, parse(merged).with(faults))
}

/// Whether a caller says which tables, collections or types a webhook wants.
pub(crate) fn names_events(input: &Input) -> bool {
    ["event_types", "events", "trigger_type", "sources", "collections"].iter().any(|name| input.contains_key(*name))
}

/// Whether a caller sets the SuperOffice state "active", which means enabled and not paused.
pub(super) fn activates(input: &Input) -> bool {
    input.get("state").and_then(Value::as_u64) == Some(1)
}

/// Returns the fields of a response, which a caller may send back.
fn known(current: &WebhookBody) -> Value {
    serde_json::to_value(current).unwrap_or_default()
}

fn updated(app: &App, webhook: &Webhook, settings: Reading<Settings>) -> Reading<Settings> {
    let before = &webhook.settings;
    let check = |settings: &Settings| {
        let mut faults = settings.check(&app.targets);
        if settings.direction != before.direction {
            faults.push(FieldError::new("/direction", "cannot be changed; create another webhook"));
        }
        if let Some(pointer) = settings.cannot_sign_with(webhook.secret.format) {
            let detail = "needs a secret of the form whsec_…; rotate the secret to one first";
            faults.push(FieldError::new(&pointer, detail));
        }
        faults
    };
    settings.change(|settings| settings.resolve_signing_key(Some(before))).and(check).change(Settings::normalize)
}

fn below(pointer: &str, faults: Vec<FieldError>) -> impl Iterator<Item = FieldError> {
    faults.into_iter().map(move |fault| fault.below(pointer))
}

fn settings(input: Input, known: &Value) -> Reading<Settings> {
    let (input, faults) = writable(input, known);
    parse(Value::Object(input)).with(faults)
}

/// Reads settings, with the defaults that depend on other settings.
fn parse(mut input: Value) -> Reading<Settings> {
    let missing = |name: &str| input.get(name).is_none_or(Value::is_null);
    let url = input.get("url").and_then(Value::as_str).unwrap_or_default();
    let name = missing("name").then(|| Settings::default_name(url));
    let disabled = missing("enabled") && missing("url") && input.get("direction") != Some(&json!("inbound"));
    if let Some(name) = name {
        input["name"] = name.into();
    }
    if disabled {
        input["enabled"] = false.into();
    }
    // A filter finds all of its faults, while a serde error holds one.
    let mut faults = Vec::new();
    if let Some(Value::Object(filter)) = input.get("filter")
        && let Err(FilterError(found)) = Filter::try_from(filter.clone())
    {
        faults.extend(below("/filter", found));
        input["filter"] = Value::Null;
    }
    read_json(&input).with(faults)
}

/// Returns the settings to write, by their names in [`Settings`]. A field that only Dynahook sets may have its `known`
/// value; any other value is a fault.
fn writable(input: Input, known: &Value) -> (Input, Vec<FieldError>) {
    let mut faults = Vec::new();
    let mut writable = Input::new();
    let mut several: BTreeMap<&str, Vec<Named>> = BTreeMap::new();
    for (name, value) in input {
        // Counters change with every delivery, so an earlier value is accepted too. Warnings are about a request.
        if known.get("id").is_some() && (COUNTED.contains(&name) || name == "warnings") {
            continue;
        }
        let is_current = known.get(&name) == Some(&value);
        if let Some((setting, names)) = SEVERAL_NAMES.iter().find(|(_, names)| names.contains(&name.as_str())) {
            // The URL of an inbound webhook is generated: responses show it, and requests cannot set it.
            let generated = *setting == "url" && known["direction"] == "inbound" && is_current;
            // A name that a response shows as `null` says nothing, and neither do the words of a trigger that are reset.
            let was_empty = name == "trigger_type" || known.get(&name).is_none_or(Value::is_null);
            let empty = names[0] != name && value.is_null() && was_empty;
            match if generated || empty { Ok(None) } else { converted(&name, &value).map(Some) } {
                Ok(Some(converted)) => {
                    several.entry(setting).or_default().push(Named {
                        name,
                        value: converted,
                        given: value,
                        is_current,
                    });
                }
                Ok(None) => {}
                Err(detail) => faults.push(FieldError::new(&step(&name), detail)),
            }
            continue;
        }
        if is_current && !is_writable(&name) {
            continue;
        }
        let set = match name.as_str() {
            name if is_writable(name) => Ok((name, value)),
            "state" => enabled(&value).map(|enabled| ("enabled", enabled)),
            "secret" => Err("cannot be set here; use POST /webhooks/{id}/secret/rotate"),
            name if known.get(name).is_some() || is_ours(name) => Err("is set by Dynahook and cannot be set"),
            _ => Err("is not a field of a webhook"),
        };
        match set {
            Ok((field, _)) if writable.contains_key(field) => {
                faults.push(FieldError::new(&step(&name), format!("says the same as {field}; send one of them")));
            }
            Ok((field, value)) => {
                writable.insert(field.to_owned(), value);
            }
            Err(detail) => faults.push(FieldError::new(&step(&name), detail)),
        }
    }
    for (setting, named) in several {
        match one_of(setting, named) {
            Ok(chosen) => writable.extend(chosen),
            Err(fault) => faults.push(fault),
        }
    }
    (writable, faults)
}

fn is_writable(name: &str) -> bool {
    WRITABLE.contains(&name)
}

/// Whether only Dynahook sets a field, even if the webhook does not exist yet.
fn is_ours(name: &str) -> bool {
    OWN_NAMES.contains(name) || COUNTED.contains(name)
}

/// Reads SuperOffice's state. Only Dynahook sets the third one.
fn enabled(value: &Value) -> Result<Value, &'static str> {
    match value.as_u64() {
        Some(1) => Ok(Value::Bool(true)),
        Some(2) => Ok(Value::Bool(false)),
        _ => Err("must be 1 (active) or 2 (stopped)"),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn settle(input: &Value, known: &Value) -> Result<Value, String> {
        match writable(input.as_object().unwrap().clone(), known) {
            (writable, faults) if faults.is_empty() => Ok(Value::Object(writable)),
            (_, faults) => Err(Problem::from(faults).to_string()),
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
    fn takes_other_names_of_a_field(#[case] input: Value, #[case] expected: Value) {
        let known = json!({"id": "whk_1", "tenant_id": "acme", "company_id": "acme", "version": 3, "total_calls": 7, "direction": "outbound"});
        assert_eq!(settle(&input, &known), Ok(expected));
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
    fn the_name_that_was_changed_counts(#[case] change: Value, #[case] url: Value, #[case] types: Value) {
        let known = json!({
            "url": "https://a.example/", "target_url": "https://a.example/", "direction": "outbound",
            "event_types": ["process.updated"], "events": "process.updated", "trigger_type": "Process Updated",
        });
        let mut input = known.clone();
        input.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let written = settle(&input, &known).unwrap();
        assert_eq!((&written["url"], &written["event_types"]), (&url, &types));
    }

    #[test]
    fn the_words_of_a_trigger_can_be_reset() {
        let known = json!({"event_types": ["a.b"], "trigger_type": "A B", "direction": "outbound"});
        assert_eq!(settle(&json!({"trigger_type": null}), &known), Ok(json!({})));
    }

    #[test]
    fn a_name_that_is_null_says_nothing() {
        let known = json!({"event_types": [], "events": null, "trigger_type": null, "direction": "outbound"});
        assert_eq!(settle(&known, &known), Ok(json!({"event_types": [], "direction": "outbound"})));
    }

    #[rstest]
    #[case::name(json!({"url": "https://a.example/x"}), "a.example", true)]
    #[case::no_url(json!({"name": "n"}), "n", false)]
    #[case::inbound(json!({"direction": "inbound"}), "webhook", true)]
    #[case::null(json!({"name": null, "url": "https://a.example/"}), "a.example", true)]
    fn name_and_url_are_optional(#[case] input: Value, #[case] name: &str, #[case] enabled: bool) {
        let (settings, faults) = parse(input).into_parts();
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
    #[case::unknown(json!({"nmae": "n"}), "#/nmae is not a field of a webhook")]
    #[case::pointer(json!({"a/b": 1}), "#/a~1b is not a field of a webhook")]
    #[case::twice(json!({"events": "a.b", "event_types": []}), "#/events says the same as event_types; send one of them")]
    #[case::two_urls(json!({"url": "https://a.example/", "target_url": "https://b.example/"}), "#/target_url says the same as url; send one of them")]
    #[case::no_words(json!({"trigger_type": "a, b"}), "#/trigger_type must be an event type such as process.updated, or words such as Process Updated")]
    #[case::no_text(json!({"trigger_type": 1}), "#/trigger_type must be a text")]
    #[case::secret(json!({"secret": "x"}), "#/secret cannot be set here; use POST /webhooks/{id}/secret/rotate")]
    #[case::no_events(json!({"events": " , "}), "#/events must name at least one event")]
    #[case::third_state(json!({"state": 3}), "#/state must be 1 (active) or 2 (stopped)")]
    #[case::stale(json!({"version": 2}), "#/version is set by Dynahook and cannot be set")]
    fn refuses(#[case] input: Value, #[case] detail: &str) {
        let known = json!({"tenant_id": "acme", "version": 3, "direction": "outbound"});
        let answer = settle(&input, &known).unwrap_err();
        assert!(answer.contains(detail.split_once(' ').unwrap().1), "{answer}");
    }
}
