//! A webhook, as it goes over the wire.

use std::collections::BTreeMap;

use aws::registry::WebhookRecord;
use domain::access::tenant::{AppId, TenantId};
use domain::attempt::answer::StatusPattern;
use domain::attempt::outcome::Verdict;
use domain::attempt::retry::RetryPolicy;
use domain::event::pattern::EventPattern;
use domain::event::types::Operation;
use domain::id::WebhookId;
use domain::matching::filter::Filter;
use domain::matching::subscription::Transition;
use domain::payload::{Detail, PayloadFormat};
use domain::signing::secret::Fingerprint;
use domain::signing::signature::{Encoding, Signature, SignatureScheme};
use domain::value::path::FieldPath;
use domain::webhook::authorization::Authorization;
use domain::webhook::encoding::ContentEncoding;
use domain::webhook::limits::AutoPause;
use domain::webhook::ordering::{OnExhausted, Ordering};
use domain::webhook::settings::{Direction, Settings, SigningKeyOf, SourceType};
use domain::webhook::statistics::Statistics;
use domain::webhook::{SCHEMA_VERSION, Webhook};
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

/// A webhook. Fields that a caller can set stand among those that only Dynahook sets; `docs/use/api.md` says which is which,
/// and which document each comes from.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Webhook)]
pub struct WebhookBody {
    /// `whk_` and a ULID.
    #[schema(value_type = String, examples("whk_01JD3V7Q5N8Z4T6W9X2Y1R0PMK"))]
    id: WebhookId,
    /// Whose it is: the token's tenant.
    #[schema(value_type = String)]
    tenant_id: TenantId,
    /// The application that registered it, if one did.
    #[schema(value_type = Option<String>)]
    app_id: Option<AppId>,
    /// The same as `app_id`.
    #[schema(value_type = Option<String>)]
    application_id: Option<AppId>,
    name: String,
    r#type: String,
    #[schema(inline)]
    direction: Direction,
    /// Where deliveries go; of an inbound webhook, where its sender is to call.
    url: String,
    #[schema(value_type = Vec<String>)]
    event_types: Vec<EventPattern>,
    sources: Vec<String>,
    collections: Vec<String>,
    #[schema(inline)]
    operations: Vec<Operation>,
    #[schema(value_type = Vec<String>)]
    applications: Vec<AppId>,
    #[schema(value_type = Vec<String>)]
    changed: Vec<FieldPath>,
    transitions: Vec<Transition>,
    #[schema(value_type = Option<Object>)]
    filter: Option<Filter>,
    #[schema(inline)]
    payload_format: PayloadFormat,
    #[schema(inline)]
    detail: Detail,
    #[schema(value_type = Vec<String>)]
    include: Vec<FieldPath>,
    #[schema(value_type = Vec<String>)]
    exclude: Vec<FieldPath>,
    template: Option<String>,
    #[schema(inline)]
    signature_scheme: SignatureScheme,
    /// Whose key pair signs `standard-webhooks-ed25519`: the webhook's own, or the one that webhooks of the tenant share.
    #[schema(inline)]
    signing_key: SigningKeyOf,
    /// Where the public halves are, if a key pair signs.
    signing_keys_url: Option<String>,
    #[schema(value_type = std::collections::HashMap<String, String>)]
    headers: BTreeMap<String, String>,
    #[schema(value_type = Object)]
    properties: serde_json::Map<String, serde_json::Value>,
    enabled: bool,
    /// Enabled, not paused and not deleted.
    is_active: bool,
    /// 1 active, 2 stopped, 3 too many errors.
    #[schema(minimum = 1, maximum = 3)]
    state: u8,
    #[schema(inline)]
    retry_policy: RetryPolicy,
    /// When failures pause it.
    #[schema(inline)]
    auto_pause: AutoPause,
    /// How many requests a second it takes at most.
    rate_limit: Option<u32>,
    /// How many requests at once it takes at most.
    max_concurrency: Option<u32>,
    signature_header: Option<String>,
    #[schema(inline)]
    signature_encoding: Encoding,
    further_signatures: Vec<Signature>,
    #[schema(inline)]
    content_encoding: ContentEncoding,
    #[schema(value_type = Vec<String>)]
    success_statuses: Vec<StatusPattern>,
    /// Whether its deliveries keep an order.
    #[schema(inline)]
    ordering: Ordering,
    /// What an exhausted delivery means for the later ones of its entity.
    #[schema(inline)]
    on_exhausted: OnExhausted,
    connector_id: Option<String>,
    integration_provider: Option<String>,
    tags: Vec<String>,
    source: String,
    #[schema(inline)]
    source_type: SourceType,
    /// Where in Secrets Manager its secret lives.
    vault_path: String,
    /// Which secret that is: a keyed hash.
    #[schema(value_type = String)]
    secret_fingerprint: Fingerprint,
    /// Until when the secret before this one signs too.
    #[schema(value_type = Option<String>, format = DateTime)]
    previous_secret_until: Option<Timestamp>,
    /// How its requests are authorized beside the signature, without the secret of it.
    authorization: Option<Authorization>,
    /// When it was paused, by somebody or by too many failures.
    #[schema(value_type = Option<String>, format = DateTime)]
    paused_at: Option<Timestamp>,
    /// When the last attempt was made.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_delivery_at: Option<Timestamp>,
    /// How it ended.
    #[schema(inline)]
    last_delivery_status: Option<Verdict>,
    /// Attempts that failed since the last one that did not.
    consecutive_failures: u64,
    /// The same as `consecutive_failures`.
    consecutive_errors: u64,
    /// All attempts.
    total_calls: u64,
    /// Those that failed.
    total_errors: u64,
    /// What went wrong last.
    last_error: Option<String>,
    /// Counts the writes; the entity tag.
    version: u64,
    /// The version of this form.
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
    /// How often it was changed.
    #[serde(rename = "updatedCount")]
    updated_count: u64,
}

impl WebhookBody {
    /// Returns the form of a webhook; `public_url` is where this API answers.
    pub(crate) fn new(record: WebhookRecord, public_url: &str) -> Self {
        let WebhookRecord { webhook, statistics } = record;
        let (is_active, is_deleted, state) = (webhook.is_active(), webhook.is_deleted(), webhook.state() as u8);
        let url = callback_url(&webhook, public_url);
        let signing_key = webhook.settings.signing_key();
        let signing_keys_url =
            webhook.key_owner().map(|owner| format!("{public_url}/.well-known/webhooks/{owner}/keys.json"));
        let Webhook { id, tenant, app, settings, secret, authorization, pause, audit } = webhook;
        let Settings { name, kind, direction, url: target, event_types, sources, collections, operations, .. } =
            settings;
        let Settings { signature_scheme, headers, properties, enabled, retry_policy, connector_id, .. } = settings;
        let Settings { applications, changed, transitions, filter, .. } = settings;
        let Settings { auto_pause, rate_limit, max_concurrency, success_statuses, .. } = settings;
        let Settings { ordering, on_exhausted, .. } = settings;
        let Settings { payload_format, detail, include, exclude, template, .. } = settings;
        let Settings { signature_header, signature_encoding, further_signatures, content_encoding, .. } = settings;
        let Settings { integration_provider, tags, source, source_type, .. } = settings;
        let Statistics { total_calls, total_errors, consecutive_failures, .. } = statistics;
        Self {
            id,
            tenant_id: tenant,
            app_id: app.clone(),
            application_id: app,
            name,
            r#type: kind,
            direction,
            url: url.unwrap_or(target),
            event_types,
            sources,
            collections,
            operations,
            applications,
            changed,
            transitions,
            filter,
            payload_format,
            detail,
            include,
            exclude,
            template,
            signature_scheme,
            signing_key,
            signing_keys_url,
            headers,
            properties,
            enabled,
            is_active,
            state,
            retry_policy,
            auto_pause,
            rate_limit,
            max_concurrency,
            signature_header,
            signature_encoding,
            further_signatures,
            content_encoding,
            success_statuses,
            ordering,
            on_exhausted,
            connector_id,
            integration_provider,
            tags,
            source,
            source_type,
            vault_path: secret.vault_path,
            secret_fingerprint: secret.fingerprint,
            previous_secret_until: secret.previous.map(|previous| previous.until),
            authorization,
            paused_at: pause.map(|pause| pause.at),
            last_delivery_at: statistics.last_delivery_at,
            last_delivery_status: statistics.last_delivery_status,
            consecutive_failures,
            consecutive_errors: consecutive_failures,
            total_calls,
            total_errors,
            last_error: statistics.last_error,
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

/// Returns where the sender of an inbound webhook is to call.
fn callback_url(webhook: &Webhook, public_url: &str) -> Option<String> {
    let inbound = webhook.settings.direction == Direction::Inbound;
    inbound.then(|| format!("{public_url}/api/v1/inbound/{}/{}", webhook.tenant, webhook.id))
}

/// A webhook, with its secret: the only time that it is shown.
#[derive(Debug, Serialize, ToSchema)]
pub struct WebhookWithSecret {
    #[serde(flatten)]
    pub(crate) webhook: WebhookBody,
    /// The signing secret, to be given to the receiver.
    #[schema(examples("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))]
    pub(crate) secret: String,
    /// What should be known about it.
    pub(crate) warnings: Vec<Warning>,
}

/// Something that works and should not stay as it is.
#[derive(Debug, Serialize, ToSchema)]
pub struct Warning {
    /// `weak_secret`.
    code: &'static str,
    /// What it means.
    detail: String,
}

impl Warning {
    /// Warns of a secret that can be guessed.
    pub(crate) fn weak_secret() -> Self {
        let characters = domain::signing::secret::WEAK_BELOW_CHARACTERS;
        Self {
            code: "weak_secret",
            detail: format!(
                "the secret has fewer than {characters} characters and can be guessed; rotate it to a generated one"
            ),
        }
    }
}

/// A page of webhooks.
#[derive(Debug, Serialize, ToSchema)]
pub struct WebhookList {
    /// Oldest first.
    pub(crate) data: Vec<WebhookBody>,
    /// The `cursor` of the next page; nothing if this is the last one.
    #[schema(value_type = Option<String>)]
    pub(crate) next_cursor: Option<WebhookId>,
}
