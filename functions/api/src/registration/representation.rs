//! A webhook in responses: its settings, and the fields that only Dynahook sets.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use aws::registry::WebhookRecord;
use domain::access::tenant::{AppId, TenantId};
use domain::attempt::outcome::Verdict;
use domain::event::pattern::EventPattern;
use domain::id::WebhookId;
use domain::signing::secret::Fingerprint;
use domain::webhook::authorization::Authorization;
use domain::webhook::settings::{Direction, Settings, SigningKeyOf};
use domain::webhook::statistics::Statistics;
use domain::webhook::{Pause, PauseReason, SCHEMA_VERSION, Webhook};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::openapi::schema::SchemaType;
use utoipa::openapi::{Object, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use super::health::HealthBody;

/// A webhook: the fields that a caller can set, and those that only Dynahook sets. `docs/use/webhooks.md` describes
/// both.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Webhook)]
pub(crate) struct WebhookBody {
    /// `whk_` and a ULID.
    #[schema(value_type = String, examples("whk_01JD3V7Q5N8Z4T6W9X2Y1R0PMK"))]
    id: WebhookId,
    /// The tenant, from the token.
    #[schema(value_type = String)]
    tenant_id: TenantId,
    /// The application that registered it, if any.
    #[schema(value_type = Option<String>)]
    app_id: Option<AppId>,
    /// The same as `app_id`.
    #[schema(value_type = Option<String>)]
    application_id: Option<AppId>,
    /// The same as `id`.
    #[schema(value_type = String)]
    webhook_id: WebhookId,
    /// The same as `tenant_id`.
    #[schema(value_type = String)]
    company_id: TenantId,
    /// The same as `app_id`.
    #[schema(value_type = Option<String>)]
    application_token: Option<AppId>,
    /// The same as `url`.
    target_url: String,
    /// The same as `event_types`, separated by commas; `null` if there are none.
    events: Option<String>,
    /// All settings. Two values differ from what is stored: `url` of an inbound webhook, and `signing_key` and
    /// `trigger_type`, which are always present if they can be.
    #[serde(flatten)]
    #[schema(ignore)]
    settings: Settings,
    /// Where the public keys are, if a key pair signs.
    signing_keys_url: Option<String>,
    /// Enabled, not paused and not deleted.
    is_active: bool,
    /// 1 active, 2 stopped, 3 too many errors.
    #[schema(minimum = 1, maximum = 3)]
    state: u8,
    /// The path of its secret.
    vault_path: String,
    /// Identifies the secret: a keyed hash.
    #[schema(value_type = String)]
    secret_fingerprint: Fingerprint,
    /// When the previous secret stops signing.
    #[schema(value_type = Option<String>, format = DateTime)]
    previous_secret_until: Option<Timestamp>,
    /// How its requests are authorized, in addition to the signature; without the secret.
    authorization: Option<Authorization>,
    /// When it was paused, manually or by too many failures.
    #[schema(value_type = Option<String>, format = DateTime)]
    paused_at: Option<Timestamp>,
    /// Why it is paused: `manual`, or `failures` if too many failures paused it.
    pause_reason: Option<PauseReason>,
    #[serde(flatten)]
    #[schema(ignore)]
    counters: Counters,
    /// Version, increased by every change; used as the `ETag`.
    version: u64,
    /// The version of this representation.
    schema_version: u32,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    created_by: String,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    updated_by: String,
    is_deleted: bool,
    #[schema(value_type = Option<String>, format = DateTime)]
    deleted_at: Option<Timestamp>,
    deleted_by: Option<String>,
    /// The same as `created_at`.
    #[schema(value_type = String, format = DateTime)]
    registered: Timestamp,
    /// The same as `created_by`.
    registered_associate_id: String,
    /// The same as `updated_at`.
    #[schema(value_type = String, format = DateTime)]
    updated: Timestamp,
    /// The same as `updated_by`.
    updated_associate_id: String,
    /// How many times it was changed after its creation.
    #[serde(rename = "updatedCount")]
    updated_count: u64,
}

impl WebhookBody {
    /// Returns what responses show of a webhook; `public_url` is the address of this API.
    pub(crate) fn new(record: WebhookRecord, health: Option<HealthBody>, public_url: &str) -> Self {
        let WebhookRecord { webhook, statistics, .. } = record;
        let (is_active, is_deleted, state) = (webhook.is_active(), webhook.is_deleted(), webhook.state() as u8);
        let signing_keys_url =
            webhook.key_owner().map(|owner| format!("{public_url}/.well-known/webhooks/{owner}/keys.json"));
        let callback_url = callback_url(&webhook, public_url);
        let signing_key = webhook.settings.signing_key();
        let Webhook { id, tenant, app, mut settings, secret, authorization, pause, audit, .. } = webhook;
        settings.url = callback_url.unwrap_or(settings.url);
        settings.signing_key = Some(signing_key);
        settings.trigger_type = settings.trigger();
        let types: Vec<_> = settings.event_types.iter().map(EventPattern::as_str).collect();
        Self {
            id,
            webhook_id: id,
            tenant_id: tenant.clone(),
            company_id: tenant,
            app_id: app.clone(),
            application_id: app.clone(),
            application_token: app,
            target_url: settings.url.clone(),
            events: (!types.is_empty()).then(|| types.join(",")),
            settings,
            signing_keys_url,
            is_active,
            state,
            vault_path: secret.vault_path,
            secret_fingerprint: secret.fingerprint,
            previous_secret_until: secret.previous.map(|previous| previous.until),
            authorization,
            paused_at: pause.map(|pause| pause.at),
            pause_reason: pause.map(Pause::reason),
            counters: Counters::new(statistics, health),
            version: audit.version,
            schema_version: SCHEMA_VERSION,
            registered: audit.created_at,
            registered_associate_id: audit.created_by.clone(),
            created_at: audit.created_at,
            created_by: audit.created_by,
            updated: audit.updated_at,
            updated_associate_id: audit.updated_by.clone(),
            updated_count: audit.version - 1,
            updated_at: audit.updated_at,
            updated_by: audit.updated_by,
            is_deleted,
            deleted_at: audit.deleted_at,
            deleted_by: audit.deleted_by,
        }
    }

    pub(crate) fn id(&self) -> WebhookId {
        self.id
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }
}

/// What a webhook's deliveries change: totals of their attempts, and its health.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Counters {
    /// Whether its deliveries arrive, fail or wait. `null` if it sends nothing, because it is inbound, disabled or
    /// deleted.
    health: Option<HealthBody>,
    /// When the last attempt was made.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_delivery_at: Option<Timestamp>,
    /// The verdict of the last attempt.
    last_delivery_status: Option<Verdict>,
    /// Failed attempts since the last success.
    consecutive_failures: u64,
    /// The same as `consecutive_failures`.
    consecutive_errors: u64,
    /// The number of attempts.
    total_calls: u64,
    /// The number of failed attempts.
    total_errors: u64,
    /// The last error.
    last_error: Option<String>,
}

impl Counters {
    pub(crate) fn new(statistics: Statistics, health: Option<HealthBody>) -> Self {
        let Statistics { total_calls, total_errors, consecutive_failures, .. } = statistics;
        Self {
            health,
            last_delivery_at: statistics.last_delivery_at,
            last_delivery_status: statistics.last_delivery_status,
            consecutive_failures,
            consecutive_errors: consecutive_failures,
            total_calls,
            total_errors,
            last_error: statistics.last_error,
        }
    }
}

/// The settings whose meaning in a response differs from that in a request. Their schemas replace those of
/// [`Settings`].
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the schema; the values are in the settings")]
pub(crate) struct ShownDifferently {
    /// Where deliveries are sent; for an inbound webhook, the URL that its sender calls.
    url: String,
    /// Whose key pair signs `standard-webhooks-ed25519`: the webhook's own, or the one that webhooks of the tenant
    /// share.
    signing_key: SigningKeyOf,
}

/// The fields that only Dynahook sets, apart from the [`COUNTED`] ones.
pub(super) static OWN_NAMES: LazyLock<BTreeSet<String>> = LazyLock::new(names::<WebhookBody>);

/// The fields that change with every delivery.
pub(super) static COUNTED: LazyLock<BTreeSet<String>> = LazyLock::new(names::<Counters>);

/// Returns the field names of a type's schema, which are those of its JSON. Fields of flattened types are not included.
fn names<T: PartialSchema>() -> BTreeSet<String> {
    object::<T>().properties.into_keys().collect()
}

fn object<T: PartialSchema>() -> Object {
    if let RefOr::T(Schema::Object(object)) = T::schema() { object } else { Object::new() }
}

/// Returns the schema of [`WebhookBody`]: its own fields, the settings and the counters. A response has all of them;
/// the contract requires those that are never `null`, as it does for every other type.
pub(crate) fn schema() -> Schema {
    let mut webhook = object::<WebhookBody>();
    for part in [object::<Settings>(), object::<ShownDifferently>(), object::<Counters>()] {
        webhook.properties.extend(part.properties);
        webhook.required.extend(part.required);
    }
    // A request may leave out settings that have a default; a response never does.
    let settings = object::<Settings>().properties.into_keys();
    webhook.required.extend(settings.filter(|name| !webhook.properties.get(name).is_some_and(is_nullable)));
    webhook.required.sort_unstable();
    webhook.required.dedup();
    Schema::Object(webhook)
}

fn is_nullable(schema: &RefOr<Schema>) -> bool {
    matches!(schema, RefOr::T(Schema::Object(Object { schema_type: SchemaType::Array(types), .. })) if types.contains(&Type::Null))
}

/// Returns the URL that the sender of an inbound webhook calls.
fn callback_url(webhook: &Webhook, public_url: &str) -> Option<String> {
    let inbound = webhook.settings.direction == Direction::Inbound;
    inbound.then(|| format!("{public_url}/api/v1/inbound/{}/{}", webhook.tenant, webhook.id))
}

/// A page of webhooks.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WebhookList {
    /// Oldest first. A page may have fewer entries than requested and still not be the last one.
    pub(crate) data: Vec<WebhookBody>,
    /// The `cursor` of the next page; `null` if this is the last page.
    #[schema(value_type = Option<String>)]
    pub(crate) next_cursor: Option<WebhookId>,
}

#[cfg(test)]
pub(crate) mod tests {
    use domain::signing::secret::SecretFormat;
    use domain::webhook::{Audit, SecretReference};
    use serde_json::{Value, json};

    use super::*;

    pub(crate) fn record(settings: Value) -> WebhookRecord {
        let webhook = Webhook {
            id: "whk_01JD3V7Q5N8Z4T6W9X2Y1R0PMK".parse().unwrap(),
            tenant: "acme".parse().unwrap(),
            app: None,
            settings: serde_json::from_value(settings).unwrap(),
            secret: SecretReference {
                vault_path: "/dev/webhooks/acme/whk_01JD3V7Q5N8Z4T6W9X2Y1R0PMK".to_owned(),
                fingerprint: serde_json::from_value(json!("hmac256:00")).unwrap(),
                format: SecretFormat::Whsec,
                previous: None,
                rotation: None,
            },
            authorization: None,
            notice: None,
            pause: None,
            audit: Audit::created(Timestamp::UNIX_EPOCH, "anna"),
        };
        WebhookRecord { webhook, statistics: Statistics { total_calls: 3, ..Statistics::default() }, breaker: None }
    }

    fn shown(settings: Value) -> Value {
        serde_json::to_value(WebhookBody::new(record(settings), None, "https://api.example")).unwrap()
    }

    #[test]
    fn a_response_has_the_settings_as_they_are_and_what_dynahook_sets() {
        let settings = json!({
            "name": "n", "url": "https://example.com/", "event_types": ["order.*"], "filter": {"value": {"a": [1]}},
            "max_concurrency": 7, "retry_policy": {"maxAttempts": 3}, "headers": {"X-A": "1"}, "ordering": "entity",
        });
        let (stored, shown) = (record(settings.clone()).webhook.settings, shown(settings));
        for (name, value) in serde_json::to_value(stored).unwrap().as_object().unwrap() {
            if !["signing_key", "trigger_type"].contains(&name.as_str()) {
                assert_eq!(&shown[name], value, "{name}");
            }
        }
        let expected = json!({
            "id": "whk_01JD3V7Q5N8Z4T6W9X2Y1R0PMK", "tenant_id": "acme", "app_id": null, "signing_key": "webhook",
            "signing_keys_url": null, "is_active": true, "state": 1, "total_calls": 3, "last_error": null, "version": 1,
            "updatedCount": 0, "created_by": "anna", "deleted_at": null, "max_concurrency": 7, "rate_limit": null,
            "webhook_id": "whk_01JD3V7Q5N8Z4T6W9X2Y1R0PMK", "company_id": "acme", "application_token": null,
            "target_url": "https://example.com/", "events": "order.*", "trigger_type": "order.*", "pause_reason": null,
        });
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(&shown[name], value, "{name}");
        }
    }

    #[test]
    fn a_response_says_why_the_webhook_is_paused() {
        for (by_failures, reason) in [(true, "failures"), (false, "manual")] {
            let mut record = record(json!({"name": "n"}));
            record.webhook.pause = Some(Pause { at: Timestamp::UNIX_EPOCH, by_failures });
            let shown = serde_json::to_value(WebhookBody::new(record, None, "")).unwrap();
            assert_eq!(
                (&shown["pause_reason"], &shown["state"]),
                (&json!(reason), &json!(if by_failures { 3 } else { 2 }))
            );
        }
    }

    #[test]
    fn a_trigger_is_given_back_in_its_own_words() {
        let settings = json!({"name": "n", "event_types": ["process.updated"], "trigger_type": "Process Updated"});
        let shown = shown(settings);
        assert_eq!((&shown["trigger_type"], &shown["events"]), (&json!("Process Updated"), &json!("process.updated")));
        assert_eq!(self::shown(json!({"name": "n", "event_types": ["a.b", "c.d"]}))["trigger_type"], json!(null));
    }

    #[test]
    fn an_inbound_webhook_shows_where_its_sender_calls() {
        let shown = shown(json!({"name": "n", "direction": "inbound"}));
        assert_eq!(shown["url"], "https://api.example/api/v1/inbound/acme/whk_01JD3V7Q5N8Z4T6W9X2Y1R0PMK");
    }

    #[test]
    fn the_contract_has_every_field_of_a_response_and_no_other() {
        let (contract, shown) = (crate::openapi(), shown(json!({"name": "n"})));
        let Some(RefOr::T(Schema::Object(schema))) = contract.components.as_ref().unwrap().schemas.get("Webhook")
        else {
            panic!("no schema of webhooks");
        };
        let names: BTreeSet<_> = shown.as_object().unwrap().keys().collect();
        assert_eq!(schema.properties.keys().collect::<BTreeSet<_>>(), names);
        let required: BTreeSet<_> = schema.required.iter().collect();
        assert!(required.is_subset(&names));
        for name in ["name", "signing_key", "retry_policy", "tags", "total_calls", "id"] {
            assert!(required.contains(&name.to_owned()), "{name}");
        }
        for name in &names {
            assert!(required.contains(name) || shown[*name].is_null(), "{name}");
        }
    }
}
