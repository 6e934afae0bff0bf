//! What a caller says of a webhook: by any of the seeds' names, and with fields that only we set if they say what is so.

use domain::webhook::Webhook;
use domain::webhook::settings::Settings;
use serde_json::{Map, Value, json};

use super::representation::WebhookBody;
use crate::App;
use crate::body::{step, typed};
use crate::caller::Admin;
use crate::problem::{Fault, Problem};

/// A JSON object from a caller.
pub(super) type Input = Map<String, Value>;

/// The fields that a caller can set.
const WRITABLE: [&str; 38] = [
    "name",
    "type",
    "direction",
    "url",
    "event_types",
    "sources",
    "collections",
    "operations",
    "applications",
    "changed",
    "transitions",
    "filter",
    "payload_format",
    "detail",
    "include",
    "exclude",
    "template",
    "signature_scheme",
    "signing_key",
    "headers",
    "properties",
    "enabled",
    "retry_policy",
    "auto_pause",
    "rate_limit",
    "max_concurrency",
    "signature_header",
    "signature_encoding",
    "further_signatures",
    "content_encoding",
    "success_statuses",
    "ordering",
    "on_exhausted",
    "connector_id",
    "integration_provider",
    "tags",
    "source",
    "source_type",
];

/// What deliveries add up to.
const STATISTICS: [&str; 7] = [
    "last_delivery_at",
    "last_delivery_status",
    "consecutive_failures",
    "consecutive_errors",
    "total_calls",
    "total_errors",
    "last_error",
];

/// Reads the settings of a new webhook.
pub(super) fn create(app: &App, admin: &Admin, input: Input) -> Result<Settings, Problem> {
    let known = json!({
        "tenant_id": admin.tenant, "company_id": admin.tenant,
        "app_id": admin.app, "application_id": admin.app, "application_token": admin.app,
    });
    let mut settings = parse(writable(input, &known)?)?;
    settings.resolve_signing_key(None);
    checked(app, settings)
}

/// Reads the settings that replace a webhook's.
pub(super) fn replace(app: &App, webhook: &Webhook, current: &WebhookBody, input: Input) -> Result<Settings, Problem> {
    let input = writable(input, &known(current))?;
    updated(app, webhook, parse(input)?)
}

/// Merges a change into a webhook's settings ([RFC 7396](https://www.rfc-editor.org/rfc/rfc7396)).
pub(super) fn merge(app: &App, webhook: &Webhook, current: &WebhookBody, input: Input) -> Result<Settings, Problem> {
    let patch = writable(input, &known(current))?;
    let mut merged = serde_json::to_value(&webhook.settings).unwrap_or_default();
    json_patch::merge(&mut merged, &Value::Object(patch));
    let Value::Object(merged) = merged else { return Err(Problem::Invalid(Vec::new())) };
    updated(app, webhook, parse(merged)?)
}

/// Says whether a caller wants the webhook to be active in SuperOffice's sense, which is more than enabled: not paused either.
pub(super) fn activates(input: &Input) -> bool {
    input.get("state").and_then(Value::as_u64) == Some(1)
}

/// What stands in the representation, and so may come back with it.
fn known(current: &WebhookBody) -> Value {
    let mut known = serde_json::to_value(current).unwrap_or_default();
    known["company_id"] = known["tenant_id"].clone();
    known["application_token"] = known["app_id"].clone();
    known["webhook_id"] = known["id"].clone();
    known
}

fn updated(app: &App, webhook: &Webhook, mut settings: Settings) -> Result<Settings, Problem> {
    let before = &webhook.settings;
    settings.resolve_signing_key(Some(before));
    let settings = checked(app, settings)?;
    let mut faults = Vec::new();
    if settings.direction != before.direction {
        faults.push(Fault::field("/direction", "cannot be changed; create another webhook"));
    }
    if let Some(pointer) = settings.cannot_sign_with(webhook.secret.format) {
        let detail = "needs a secret of the form whsec_…; rotate the secret to one first";
        faults.push(Fault::field(&pointer, detail));
    }
    if faults.is_empty() { Ok(settings) } else { Err(Problem::Invalid(faults)) }
}

fn parse(input: Input) -> Result<Settings, Problem> {
    typed(Value::Object(input)).map_err(|fault| Problem::Invalid(vec![fault]))
}

fn checked(app: &App, mut settings: Settings) -> Result<Settings, Problem> {
    settings.normalize();
    let faults = settings.check(&app.targets);
    if faults.is_empty() { Ok(settings) } else { Err(Problem::Invalid(faults.into_iter().map(Fault::from).collect())) }
}

/// Returns what is to be set, under our names. A field that only we set may say what is `known`, so that a representation
/// can be sent back; anything else is refused.
fn writable(input: Input, known: &Value) -> Result<Input, Problem> {
    let mut faults = Vec::new();
    let mut writable = Input::new();
    for (name, value) in input {
        // The URL of an inbound webhook is ours: it comes with the representation, and cannot be set.
        let ours = !is_writable(&name) || (name == "url" && known["direction"] == "inbound");
        // Statistics change with every delivery: what was read a moment ago is no lie.
        let counted = STATISTICS.contains(&name.as_str()) && known.get(&name).is_some();
        if counted || (ours && known.get(&name) == Some(&value)) {
            continue;
        }
        let set = match name.as_str() {
            name if is_writable(name) => Ok((name, value)),
            "target_url" => Ok(("url", value)),
            "trigger_type" => Ok(("event_types", Value::Array(vec![value]))),
            "events" => split(&value).map(|types| ("event_types", types)),
            "state" => enabled(&value).map(|enabled| ("enabled", enabled)),
            "secret" => Err("cannot be set here; use POST /webhooks/{id}/secret/rotate"),
            name if known.get(name).is_some() || is_ours(name) => Err("is set by Dynahook and cannot be set"),
            _ => Err("is not a field of a webhook"),
        };
        match set {
            Ok((field, _)) if writable.contains_key(field) => {
                faults.push(Fault::field(&step(&name), format!("says the same as {field}; send one of them")));
            }
            Ok((field, value)) => {
                writable.insert(field.to_owned(), value);
            }
            Err(detail) => faults.push(Fault::field(&step(&name), detail)),
        }
    }
    if faults.is_empty() { Ok(writable) } else { Err(Problem::Invalid(faults)) }
}

fn is_writable(name: &str) -> bool {
    WRITABLE.contains(&name)
}

/// A field of a webhook that there is not yet.
fn is_ours(name: &str) -> bool {
    const OURS: [&str; 30] = [
        "id",
        "webhook_id",
        "created_at",
        "created_by",
        "updated_at",
        "updated_by",
        "is_deleted",
        "deleted_at",
        "deleted_by",
        "schema_version",
        "vault_path",
        "last_delivery_at",
        "last_delivery_status",
        "consecutive_failures",
        "consecutive_errors",
        "total_calls",
        "total_errors",
        "last_error",
        "paused_at",
        "version",
        "secret_fingerprint",
        "previous_secret_until",
        "is_active",
        "registered",
        "registered_associate_id",
        "updated",
        "updated_associate_id",
        "updatedCount",
        "application_token",
        "signing_keys_url",
    ];
    OURS.contains(&name)
}

/// Reads SuperOffice's list of events, `contact.created,person.changed`.
fn split(value: &Value) -> Result<Value, &'static str> {
    match value {
        Value::String(text) => {
            let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
            let names: Vec<Value> = names.map(Value::from).collect();
            // An empty list of types is all of them, which nobody means who names none here.
            if names.is_empty() { Err("must name at least one event") } else { Ok(Value::Array(names)) }
        }
        Value::Array(_) => Ok(value.clone()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
            Err("must be names with commas in between")
        }
    }
}

/// Reads SuperOffice's state. The third is ours to set.
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
        writable(input.as_object().unwrap().clone(), known).map(Value::Object).map_err(|problem| problem.to_string())
    }

    #[rstest]
    #[case::serial(json!({"company_id": "acme", "trigger_type": "process.updated"}), json!({"event_types": ["process.updated"]}))]
    #[case::superoffice(
        json!({"events": "contact.created, person.changed,", "target_url": "https://a.example/", "state": 2}),
        json!({"event_types": ["contact.created", "person.changed"], "url": "https://a.example/", "enabled": false})
    )]
    #[case::what_is_so(json!({"tenant_id": "acme", "version": 3, "name": "n"}), json!({"name": "n"}))]
    #[case::what_was_so(json!({"total_calls": 6, "name": "n"}), json!({"name": "n"}))]
    fn takes_the_seeds_names(#[case] input: Value, #[case] expected: Value) {
        let known =
            json!({"tenant_id": "acme", "company_id": "acme", "version": 3, "total_calls": 7, "direction": "outbound"});
        assert_eq!(settle(&input, &known), Ok(expected));
    }

    #[rstest]
    #[case::another_tenant(json!({"tenant_id": "globex"}), "#/tenant_id is set by Dynahook and cannot be set")]
    #[case::unknown(json!({"nmae": "n"}), "#/nmae is not a field of a webhook")]
    #[case::pointer(json!({"a/b": 1}), "#/a~1b is not a field of a webhook")]
    #[case::twice(json!({"events": "a.b", "event_types": []}), "#/events says the same as event_types; send one of them")]
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
