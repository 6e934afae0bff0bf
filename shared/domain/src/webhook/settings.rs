//! The settings of a webhook: everything that its owner can set, with the wire names.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::encoding::ContentEncoding;
use super::limits::AutoPause;
use super::ordering::{OnExhausted, Ordering};
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
    /// A display name; need not be unique.
    #[schema(min_length = 1, max_length = 400, examples("orders to the ERP"))]
    pub name: String,
    /// The plugin that handles it; `webhook` is the only one.
    #[serde(rename = "type", default = "webhook")]
    #[schema(pattern = "^webhook$", default = "webhook")]
    pub kind: String,
    /// Whether events are sent to `url` (`outbound`), or calls to it are received (`inbound`). Cannot be changed.
    #[serde(default)]
    #[schema(inline)]
    pub direction: Direction,
    /// Where deliveries are sent. Must be omitted for an inbound webhook, whose URL is generated.
    #[serde(default)]
    #[schema(max_length = 4000, examples("https://example.com/webhooks"))]
    pub url: String,
    /// Event types or patterns; all types if the list is empty. `order.*` matches every type of an order, `*.deleted`
    /// every deletion, and `order.status_changed` an update that changed the attribute `status`. Up to 100, or more if
    /// they have at most 4,000 characters together, with commas in between.
    #[serde(default)]
    #[schema(max_items = 2000, value_type = Vec<String>, examples(json!(["order.created", "order.status_changed"])))]
    pub event_types: Vec<EventPattern>,
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
    #[schema(max_items = 3, inline)]
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
    #[schema(inline)]
    pub payload_format: PayloadFormat,
    /// How much of the entity payloads contain.
    #[serde(default)]
    #[schema(inline)]
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
    #[schema(inline)]
    pub signature_scheme: SignatureScheme,
    /// Whose key pair signs `standard-webhooks-ed25519`: the webhook's own (`webhook`), or the one that webhooks of the
    /// tenant share (`tenant`), which only admins of the tenant may choose. If omitted, the setting is not changed; the
    /// default of a new webhook is `webhook`.
    #[serde(default)]
    #[schema(inline)]
    pub signing_key: Option<SigningKeyOf>,
    /// Headers that are added to every delivery. They are not secret: they are stored in plain text.
    #[serde(default)]
    #[schema(value_type = std::collections::HashMap<String, String>)]
    pub headers: BTreeMap<String, String>,
    /// Properties that are added to every payload, at its top level.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub properties: Properties,
    /// Whether it receives events.
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub enabled: bool,
    /// How often and how long deliveries are attempted.
    #[serde(default, deserialize_with = "from_object")]
    #[schema(inline)]
    pub retry_policy: RetryPolicy,
    /// When failures pause the webhook.
    #[serde(default, deserialize_with = "from_object")]
    #[schema(inline)]
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
    #[schema(inline)]
    pub signature_encoding: Encoding,
    /// Additional signatures of every delivery. No two signatures may use the same header, except the two schemes of
    /// Standard Webhooks, which share one.
    #[serde(default)]
    #[schema(max_items = 3)]
    pub further_signatures: Vec<Signature>,
    /// The encoding of request bodies. Signatures always cover the bytes that are sent.
    #[serde(default)]
    #[schema(inline)]
    pub content_encoding: ContentEncoding,
    /// The statuses that count as success: codes and classes. Default: 2xx. A list replaces the default: `["2xx",
    /// "409"]` adds 409.
    #[serde(default)]
    #[schema(value_type = Vec<String>, max_items = 20, examples(json!(["2xx", "409"])))]
    pub success_statuses: Vec<StatusPattern>,
    /// The order of its deliveries. `none`: each is sent as soon as possible. `entity`: deliveries of one entity are
    /// sent strictly in order.
    #[serde(default)]
    #[schema(inline)]
    pub ordering: Ordering,
    /// With the ordering `entity`, what happens to an entity's later deliveries after one is exhausted: they wait until
    /// it is redriven and succeeds, or is skipped (`halt`), or they are sent without it (`skip`).
    #[serde(default)]
    #[schema(inline)]
    pub on_exhausted: OnExhausted,
    /// The connector that owns it, if any.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 255)]
    pub connector_id: Option<String>,
    /// The path of the integration provider for which it was configured.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 255, examples("integrationProviders/flowsApiWebhook"))]
    pub integration_provider: Option<String>,
    /// Labels, by which lists can be filtered.
    #[serde(default)]
    #[schema(max_items = 50)]
    pub tags: Vec<String>,
    /// Where the registration comes from.
    #[serde(default = "edm")]
    #[schema(min_length = 1, max_length = 255, default = "edm")]
    pub source: String,
    /// The kind of program that registered it.
    #[serde(default)]
    #[schema(inline)]
    pub source_type: SourceType,
}

/// Whose key pair signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
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
        dedup(&mut self.tags);
        dedup(&mut self.success_statuses);
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
pub(super) mod tests {
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
    #[case::control_character(json!({"tags": ["ok", "a\nb"]}), "/tags/1")]
    #[case::long_connector(json!({"connector_id": "c".repeat(256)}), "/connector_id")]
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
    #[case::a_long_url(json!({"url": format!("https://example.com/{}", "a".repeat(3980))}))]
    fn allows(#[case] more: serde_json::Value) {
        assert_eq!(parse(&more).unwrap().check(&TargetPolicy::default()), []);
    }

    #[test]
    fn names_are_kept_once_and_in_order() {
        let mut settings = parse(&json!({"event_types": ["b", "a", "b"], "tags": ["x", "x"]})).unwrap();
        settings.normalize();
        assert_eq!(settings.event_types.iter().map(EventPattern::as_str).collect::<Vec<_>>(), ["b", "a"]);
        assert_eq!(settings.tags, ["x"]);
    }
}
