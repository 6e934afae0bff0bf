//! The settings of a webhook: everything that its owner can set, with the wire names.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use url::Url;
use utoipa::ToSchema;

use super::encoding::ContentEncoding;
use super::limits::AutoPause;
use super::ordering::{OnExhausted, Ordering};
use super::tags::Tags;
use crate::access::tenant::AppId;
use crate::attempt::answer::StatusPattern;
use crate::attempt::rate_limit::ReceiverLimits;
use crate::attempt::retry::RetryPolicy;
use crate::event::pattern::EventPattern;
use crate::event::types::Operation;
use crate::matching::filter::Filter;
use crate::matching::subscription::Transition;
use crate::payload::{Detail, PayloadFormat, Properties, Rendering};
use crate::signing::signature::{Encoding, Signature, SignatureScheme};
use crate::value::object::from_object;
use crate::value::path::FieldPath;

/// How many event types a webhook may name, however long they are.
pub const MAX_EVENT_TYPES: usize = 100;

/// How many characters the event types may have together, with commas in between, if there are more of them: as many as
/// SuperOffice's `events`.
pub const MAX_EVENTS_CHARACTERS: usize = 4000;

/// The settings of a webhook.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Settings {
    /// A display name; need not be unique. Default: the host of `url`, or `webhook`.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 400, examples("orders to the ERP"))]
    pub name: String,
    /// The plugin that handles it; `webhook` is the only one.
    #[serde(rename = "type", default = "webhook")]
    #[schema(pattern = "^webhook$", default = "webhook")]
    pub kind: String,
    /// Whether events are sent to `url` (`outbound`), or calls to it are received (`inbound`). Cannot be changed.
    #[serde(default)]
    pub direction: Direction,
    /// Where deliveries are sent. Must be omitted for an inbound webhook, whose URL is generated. An outbound webhook
    /// without it is disabled.
    #[serde(default)]
    #[schema(max_length = 4000, examples("https://example.com/webhooks"))]
    pub url: String,
    /// Event types or patterns; all types if the list is empty. `order.*` matches every type of an order, `*.deleted`
    /// every deletion, and `order.status_changed` an update that changed the attribute `status`. Up to 100, or more if
    /// they have at most 4,000 characters together, with commas in between.
    #[serde(default)]
    #[schema(max_items = 2000, value_type = Vec<String>, examples(json!(["order.created", "order.status_changed"])))]
    pub event_types: Vec<EventPattern>,
    /// The only type of `event_types` in the owner's own words: `Process Updated` for `process.updated`. As the only
    /// name of the types in a request, it sets them.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 255, examples("Process Updated"))]
    pub trigger_type: Option<String>,
    /// Only changes of these tables. If empty, all.
    #[serde(default)]
    #[schema(max_items = 50)]
    pub sources: Vec<String>,
    /// Only changes in these collections: their paths, or a source's template for them. If empty, all.
    #[serde(default)]
    #[schema(max_items = 50)]
    pub collections: Vec<String>,
    /// Only these operations. If empty, all.
    #[serde(default)]
    #[schema(max_items = 3)]
    pub operations: Vec<Operation>,
    /// Only events of these applications. If empty, all.
    #[serde(default)]
    #[schema(value_type = Vec<String>, max_items = 50)]
    pub applications: Vec<AppId>,
    /// Only events that changed one of these fields: `status`, `address.city`. If empty, all.
    #[serde(default)]
    #[schema(value_type = Vec<String>, max_items = 50, examples(json!(["status"])))]
    pub changed: Vec<FieldPath>,
    /// Only events that changed a field in one of these ways. If empty, all.
    #[serde(default)]
    #[schema(max_items = 50)]
    pub transitions: Vec<Transition>,
    /// Only events that this pattern matches, in EventBridge's syntax.
    #[serde(default)]
    #[schema(value_type = Option<Object>, examples(json!({"value": {"total": [{"numeric": [">", 100]}]}})))]
    pub filter: Option<Filter>,
    /// The format of payloads.
    #[serde(default)]
    pub payload_format: PayloadFormat,
    /// How much of the entity payloads contain.
    #[serde(default)]
    pub detail: Detail,
    /// Only these fields of the entity are sent. If empty, all.
    #[serde(default)]
    #[schema(value_type = Vec<String>, max_items = 100)]
    pub include: Vec<FieldPath>,
    /// These fields of the entity are not sent.
    #[serde(default)]
    #[schema(value_type = Vec<String>, max_items = 100)]
    pub exclude: Vec<FieldPath>,
    /// The payload's template, for the format `template`: in Jinja's syntax, with JSON as the result.
    #[serde(default)]
    #[schema(max_length = 16384)]
    pub template: Option<String>,
    /// How deliveries are signed; for an inbound webhook, how calls must be signed.
    #[serde(default)]
    pub signature_scheme: SignatureScheme,
    /// Whose key pair signs `standard-webhooks-ed25519`: the webhook's own (`webhook`), or the one that webhooks of the
    /// tenant share (`tenant`), which only admins of the tenant may choose. If omitted, the setting is not changed; the
    /// default of a new webhook is `webhook`.
    #[serde(default)]
    pub signing_key: Option<SigningKeyOf>,
    /// Headers that are added to every delivery. They are not secret: they are stored in plain text.
    #[serde(default)]
    #[schema(value_type = std::collections::HashMap<String, String>)]
    pub headers: BTreeMap<String, String>,
    /// Properties that are added to every payload, at its top level.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub properties: Properties,
    /// Whether it receives events. Default: `true`, or `false` for an outbound webhook without a `url`.
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub enabled: bool,
    /// How often and how long deliveries are attempted.
    #[serde(default, deserialize_with = "from_object")]
    pub retry_policy: RetryPolicy,
    /// When failures pause the webhook.
    #[serde(default, deserialize_with = "from_object")]
    pub auto_pause: AutoPause,
    /// The maximum number of requests a second: 1 to 1,000.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1000)]
    pub rate_limit: Option<u32>,
    /// The maximum number of requests at once: 1 to 1,000.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1000)]
    pub max_concurrency: Option<u32>,
    /// The header of the first signature, for the scheme `hmac-sha256`. Default: `X-Signature-256`.
    #[serde(default)]
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$",
        examples("X-Acme-Signature")
    )]
    pub signature_header: Option<String>,
    /// The encoding of the first signature, for the scheme `hmac-sha256`.
    #[serde(default)]
    pub signature_encoding: Encoding,
    /// Additional signatures of every delivery. No two signatures may use the same header, except the two schemes of
    /// Standard Webhooks, which share one.
    #[serde(default)]
    #[schema(max_items = 3)]
    pub further_signatures: Vec<Signature>,
    /// The encoding of request bodies. Signatures always cover the bytes that are sent.
    #[serde(default)]
    pub content_encoding: ContentEncoding,
    /// The statuses that count as success: codes and classes. Default: 2xx. A list replaces the default: `["2xx",
    /// "409"]` adds 409.
    #[serde(default)]
    #[schema(value_type = Vec<String>, max_items = 20, examples(json!(["2xx", "409"])))]
    pub success_statuses: Vec<StatusPattern>,
    /// The order of its deliveries. `none`: each is sent as soon as possible. `entity`: deliveries of one entity are
    /// sent strictly in order.
    #[serde(default)]
    pub ordering: Ordering,
    /// With the ordering `entity`, what happens to an entity's later deliveries after one is exhausted: they wait until
    /// it is redriven and succeeds, or is skipped (`halt`), or they are sent without it (`skip`).
    #[serde(default)]
    pub on_exhausted: OnExhausted,
    /// The connector that owns it, if any.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 255)]
    pub connector_id: Option<String>,
    /// The path of the integration provider for which it was configured.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 255, examples("integrationProviders/flowsApiWebhook"))]
    pub integration_provider: Option<String>,
    /// Whom to contact about its failures: notices about the webhook name the address. Only a notice with this address
    /// in its channel sends mail to it.
    #[serde(default)]
    #[schema(max_length = 254, examples("erp-team@example.com"))]
    pub error_email: Option<String>,
    /// For finding it: up to 50 labels, or an object with up to 50 names and values of any kind, at most 4,096 bytes.
    #[serde(default)]
    #[schema(schema_with = super::tags::schema, examples(json!(["rfp"]), json!({"team": "sales"})))]
    pub tags: Tags,
    /// Where the registration comes from.
    #[serde(default = "edm")]
    #[schema(min_length = 1, max_length = 255, default = "edm")]
    pub source: String,
    /// The kind of program that registered it.
    #[serde(default)]
    pub source_type: SourceType,
}

/// Whose key pair signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = SigningKeyOwner)]
pub enum SigningKeyOf {
    /// The webhook's own.
    Webhook,
    /// The tenant's key pair, which its webhooks share: what one receiver gets also verifies at the others.
    Tenant,
}

/// Whether a webhook sends events or receives them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Dynahook calls the webhook's URL.
    #[default]
    Outbound,
    /// Others call a URL of Dynahook.
    Inbound,
}

/// The kind of program that registered a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum SourceType {
    Frontend,
    Backend,
    Server,
    System,
    #[default]
    Api,
}

fn webhook() -> String {
    "webhook".to_owned()
}

fn edm() -> String {
    "edm".to_owned()
}

fn yes() -> bool {
    true
}

impl Settings {
    /// Removes duplicates.
    pub fn normalize(&mut self) {
        dedup(&mut self.event_types);
        dedup(&mut self.sources);
        dedup(&mut self.collections);
        dedup(&mut self.operations);
        dedup(&mut self.applications);
        dedup(&mut self.changed);
        dedup(&mut self.include);
        dedup(&mut self.exclude);
        dedup(&mut self.transitions);
        if let Tags::Labels(labels) = &mut self.tags {
            dedup(labels);
        }
        dedup(&mut self.success_statuses);
        self.trigger_type = self.own_words().map(str::to_owned);
    }

    /// Returns the name of a webhook whose owner gave it none: the host of its URL.
    #[must_use]
    pub fn default_name(url: &str) -> String {
        let host = Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned));
        host.unwrap_or_else(|| "webhook".to_owned())
    }

    /// Returns the type of a webhook with a single type, as the owner wrote it.
    #[must_use]
    pub fn trigger(&self) -> Option<String> {
        let [only] = self.event_types.as_slice() else { return None };
        Some(self.own_words().map_or_else(|| only.to_string(), str::to_owned))
    }

    /// Returns the owner's own words for the single type, unless the types were changed since.
    fn own_words(&self) -> Option<&str> {
        let words = self.trigger_type.as_deref()?;
        let [only] = self.event_types.as_slice() else { return None };
        (words != only.as_str() && EventPattern::from_words(words).as_ref() == Ok(only)).then_some(words)
    }

    /// Returns the limits of requests to its receiver.
    #[must_use]
    pub fn limits(&self) -> ReceiverLimits {
        ReceiverLimits { rate: self.rate_limit, concurrency: self.max_concurrency }
    }

    /// Returns how payloads are rendered.
    #[must_use]
    pub fn rendering(&self) -> Rendering {
        Rendering {
            format: self.payload_format,
            detail: self.detail,
            include: self.include.clone(),
            exclude: self.exclude.clone(),
            properties: self.properties.clone(),
            template: self.template.clone(),
            webhook_name: (self.payload_format == PayloadFormat::SuperOffice).then(|| self.name.clone()),
        }
    }
}

fn dedup<T: PartialEq>(items: &mut Vec<T>) {
    let mut kept: Vec<T> = Vec::with_capacity(items.len());
    for item in items.drain(..) {
        if !kept.contains(&item) {
            kept.push(item);
        }
    }
    *items = kept;
}

#[cfg(test)]
pub(super) mod tests;
