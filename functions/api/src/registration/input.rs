//! Reads what a caller sends about a webhook. Some fields have several names, and a field that only Dynahook sets is
//! accepted if it has its current value, so that a response can be sent back.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use domain::fault::{FieldError, step};
use domain::matching::filter::{Filter, FilterError};
use domain::signing::secret::{SecretFormat, WebhookSecret};
use domain::signing::signature::SignatureScheme;
use domain::text::nearest;
use domain::value::merge::merge as merge_patch;
use domain::value::{Map, Value};
use domain::webhook::Webhook;
use domain::webhook::authorization::NewAuthorization;
use domain::webhook::settings::Settings;
use serde_json::json;

use super::authorization;
use super::field_names::field_names;
use super::other_names::{Named, NamesSent, SEVERAL_NAMES, converted, one_of};
use super::representation::{COUNTED, OWN_NAMES, WebhookBody};
use crate::App;
use crate::caller::Admin;
use crate::problem::Problem;
use crate::read::{Reading, read};

/// A JSON object from a caller. Its numbers keep their digits.
pub(crate) type Input = Map;

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
        let known = Value::of(&json!({
            "tenant_id": admin.tenant, "company_id": admin.tenant,
            "app_id": admin.app, "application_id": admin.app, "application_token": admin.app,
        }));
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
            let read = authorization::read(app, settings.direction, &given);
            read.map_err(|found| faults.extend(below("/authorization", found))).ok()
        });
        if !faults.is_empty() {
            return Err(faults.into());
        }
        settings.normalize();
        Ok(Self { settings, secret, authorization })
    }
}

/// Reads the secret that a caller sent. A plain-text secret sets the scheme to `hmac-sha256` unless the caller chose
/// one.
pub(super) fn read_secret(
    text: &Value,
    settings: &mut Settings,
    scheme_given: bool,
) -> Result<WebhookSecret, FieldError> {
    let fault = |detail: String| FieldError::new("/secret", detail);
    let text = text.as_str().ok_or_else(|| fault("must be a string".to_owned()))?;
    let secret = WebhookSecret::parse(text).map_err(|error| fault(error.to_string()))?;
    // A secret of Stripe's looks like this too, but its text is the key.
    if secret.is_damaged() && settings.signature_scheme != SignatureScheme::Stripe {
        let detail = "starts with whsec_ but does not continue with 24 to 64 bytes in base64, with its padding; copy the whole secret, or send one without that prefix";
        return Err(fault(detail.to_owned()));
    }
    if secret.format() == SecretFormat::Plain && !scheme_given {
        settings.signature_scheme = SignatureScheme::HmacSha256;
    }
    if settings.cannot_sign_with(secret.format()).is_none() {
        Ok(secret)
    } else {
        Err(fault("must be whsec_ and the base64 of 24 to 64 bytes for the scheme standard-webhooks".to_owned()))
    }
}

/// Reads settings that replace those of a webhook.
pub(crate) fn replace(app: &App, webhook: &Webhook, current: &WebhookBody, input: Input) -> Reading<Settings> {
    updated(app, webhook, settings(input, &known(current)))
}

/// Merges a change into a webhook's settings ([RFC 7396](https://www.rfc-editor.org/rfc/rfc7396)).
pub(crate) fn merge(app: &App, webhook: &Webhook, current: &WebhookBody, input: Input) -> Reading<Settings> {
    let (patch, faults) = writable(input, &known(current));
    let mut merged = object(Value::of(&webhook.settings));
    apply(&mut merged, patch);
    updated(app, webhook, parse(merged).with(faults))
}

/// Merges a patch. A filter replaces the one before: conditions that its author no longer sees must not stay in force.
fn apply(settings: &mut Map, patch: Map) {
    if patch.contains_key("filter") {
        settings.remove("filter");
    }
    merge_patch(settings, patch);
}

/// Whether a caller says which tables, collections or types a webhook wants.
pub(crate) fn names_events(input: &Input) -> bool {
    ["event_types", "events", "trigger_type", "sources", "collections"].iter().any(|name| input.contains_key(*name))
}

/// Whether a caller sets the SuperOffice state "active", which means enabled and not paused.
pub(super) fn activates(input: &Input) -> bool {
    input.get("state").and_then(digits) == Some("1")
}

/// Returns the fields of a response, which a caller may send back.
fn known(current: &WebhookBody) -> Value {
    Value::of(current)
}

fn object(value: Value) -> Map {
    if let Value::Map(map) = value { map } else { Map::new() }
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
    parse(input).with(faults)
}

/// Reads settings, with the defaults that depend on other settings.
fn parse(mut input: Map) -> Reading<Settings> {
    let missing = |name: &str| input.get(name).is_none_or(Value::is_null);
    let text = |name: &str| input.get(name).and_then(Value::as_str).unwrap_or_default();
    let name = missing("name").then(|| Settings::default_name(text("url")));
    let disabled = missing("enabled") && missing("url") && text("direction") != "inbound";
    input.extend(name.map(|name| ("name".to_owned(), Value::String(name))));
    if disabled {
        input.insert("enabled".to_owned(), Value::Bool(false));
    }
    // The filter is parsed separately: it reports all of its faults, while a serde error has only one.
    let mut faults = Vec::new();
    if let Some(Value::Map(filter)) = input.get("filter")
        && let Err(FilterError(found)) = Filter::try_from(filter.clone())
    {
        faults.extend(below("/filter", found));
        input.insert("filter".to_owned(), Value::Null);
    }
    read(Value::Map(input)).with(faults)
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
            let generated =
                *setting == "url" && known.get("direction").and_then(Value::as_str) == Some("inbound") && is_current;
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
            "state" => enabled(&value).map(|enabled| ("enabled", enabled)).map_err(str::to_owned),
            "secret" => Err("cannot be set here; use POST /webhooks/{id}/secret/rotate".to_owned()),
            name if known.get(name).is_some() || is_ours(name) => {
                Err("is set by Dynahook and cannot be set".to_owned())
            }
            name => Err(not_a_field(name)),
        };
        match set {
            Ok((field, _)) if writable.contains_key(field) => {
                faults.push(FieldError::new(&step(&name), format!("sets the same field as {field}; send one of them")));
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

/// Says of a name that it is not a field, and which field has nearly that name.
fn not_a_field(name: &str) -> String {
    // `eventTypes` is `event_types`.
    let plain = |name: &str| name.replace(['_', '-'], "");
    let fields = WRITABLE.iter().copied().chain(SEVERAL_NAMES.iter().flat_map(|(_, names)| names.iter().copied()));
    let fields: Vec<_> = fields.map(|field| (plain(field), field)).collect();
    let nearest = nearest(&plain(name), fields.iter().map(|(plain, _)| plain.as_str()));
    let nearest = nearest.filter(|(field, edits)| *edits <= 2 && edits * 3 <= field.len());
    let field = nearest.and_then(|(nearest, _)| fields.iter().find(|(plain, _)| plain == nearest));
    let hint = field.map(|(_, field)| format!("; did you mean {field}?")).unwrap_or_default();
    format!("is not a field of a webhook{hint}")
}

fn is_writable(name: &str) -> bool {
    WRITABLE.contains(&name)
}

/// Whether only Dynahook sets a field, even if the webhook does not exist yet.
fn is_ours(name: &str) -> bool {
    OWN_NAMES.contains(name) || COUNTED.contains(name)
}

fn digits(value: &Value) -> Option<&str> {
    value.as_text().filter(|_| matches!(value, Value::Number(_)))
}

/// Reads SuperOffice's state. Only Dynahook sets the third one.
fn enabled(value: &Value) -> Result<Value, &'static str> {
    match digits(value) {
        Some("1") => Ok(Value::Bool(true)),
        Some("2") => Ok(Value::Bool(false)),
        _ => Err("must be 1 (active) or 2 (stopped)"),
    }
}

#[cfg(test)]
mod tests;
