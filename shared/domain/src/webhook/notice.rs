//! A notice: tells people by e-mail, Slack, Teams or SNS what happens to a tenant's webhooks.
//!
//! A notice is a webhook of operational events whose deliveries are sent in another way: fan-out finds it, and the
//! queues, the ledger and the retries are those of every delivery. `docs/adr/0033-notices.md` says why.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use utoipa::ToSchema;

use super::settings::Settings;
use crate::access::tenant::TenantId;
use crate::attempt::target::TargetPolicy;
use crate::event::operational::{OPERATIONAL, TYPES, is_reserved};
use crate::event::pattern::EventPattern;
use crate::fault::FieldError;
use crate::id::WebhookId;
use crate::payload::PayloadFormat;
use crate::signing::secret::FingerprintKey;
use crate::text::nearest;

/// How many notices a tenant may have.
pub const MAX_NOTICES: u64 = 20;

/// How many addresses a notice may have.
const MAX_ADDRESSES: usize = 10;

/// How many webhooks a notice may name.
const MAX_WEBHOOKS: usize = 20;

/// The longest name, in characters.
const MAX_NAME_CHARACTERS: usize = 400;

/// The longest e-mail address and the longest part before the `@`, in bytes.
const MAX_ADDRESS_BYTES: usize = 254;
const MAX_LOCAL_BYTES: usize = 64;

/// How long the code of a confirmation mail is valid.
pub const CODE_VALID_FOR: SignedDuration = SignedDuration::from_hours(7 * 24);

/// The length of a code, in hexadecimal digits.
const CODE_DIGITS: usize = 20;

/// The event types of a notice that names none.
const DEFAULT_TYPES: [&str; 5] =
    ["webhook.failing", "webhook.paused", "webhook.disabled", "delivery.exhausted", "usage.threshold_reached"];

/// How a notice reaches people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChannelKind {
    /// An e-mail through Amazon SES.
    Email,
    /// A message to an Amazon SNS topic of the operator.
    Sns,
    /// A message of a Slack incoming webhook.
    Slack,
    /// A card of a Microsoft Teams workflow.
    Teams,
}

/// Where a notice goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Channel {
    /// How people are reached.
    #[serde(rename = "type")]
    pub kind: ChannelKind,
    /// For `email`: 1 to 10 addresses. Each gets nothing but a code until it is confirmed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 10, examples(json!(["ops@example.com"])))]
    pub to: Vec<String>,
    /// For `sns`: the topic, one of those that the operator allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(examples("arn:aws:sns:eu-west-1:123456789012:webhook-notices"))]
    pub topic_arn: Option<String>,
    /// For `slack` and `teams`: the URL of the incoming webhook or workflow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(examples("https://hooks.slack.com/services/T0/B0/x"))]
    pub url: Option<String>,
}

/// An address that gets mail once it is confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// The address.
    pub address: String,
    /// When its code was sent last.
    pub asked_at: Timestamp,
    /// When it was confirmed, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed_at: Option<Timestamp>,
}

/// What makes a webhook a notice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Where it goes.
    pub channel: Channel,
    /// Only events about these webhooks. If empty, all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub webhook_ids: Vec<WebhookId>,
    /// The addresses of the channel.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<Recipient>,
}

/// What the operator allows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NoticePolicy {
    /// The address that sends mail. Without one there is no mail.
    pub sender: Option<String>,
    /// The topics that tenants may publish to.
    pub topics: Vec<String>,
}

/// What a tenant sets of a notice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewNotice)]
pub struct NoticeSettings {
    /// A display name. Default: `notices`.
    #[serde(default = "default_name")]
    #[schema(min_length = 1, max_length = 400, examples("on-call"))]
    pub name: String,
    /// Where it goes.
    pub channel: Channel,
    /// The operational events to report: types or groups of them, such as `webhook.*`. Default: `webhook.failing`,
    /// `webhook.paused`, `webhook.disabled`, `delivery.exhausted` and `usage.threshold_reached`.
    #[serde(default = "default_types")]
    #[schema(value_type = Vec<String>, max_items = 20, examples(json!(["webhook.paused", "delivery.exhausted"])))]
    pub event_types: Vec<EventPattern>,
    /// Only events about these webhooks. If empty, all, and those about no webhook, such as `usage.threshold_reached`.
    #[serde(default)]
    #[schema(value_type = Vec<String>, max_items = 20)]
    pub webhook_ids: Vec<WebhookId>,
    /// Whether notices are sent. Default: `true`.
    #[serde(default = "yes")]
    pub enabled: bool,
}

fn default_name() -> String {
    "notices".to_owned()
}

fn default_types() -> Vec<EventPattern> {
    DEFAULT_TYPES.iter().filter_map(|name| name.parse().ok()).collect()
}

fn yes() -> bool {
    true
}

impl NoticeSettings {
    /// Returns all faults; empty if the settings are valid.
    #[must_use]
    pub fn check(&self, targets: &TargetPolicy, policy: &NoticePolicy) -> Vec<FieldError> {
        let mut faults = self.channel.check(targets, policy);
        let mut fault = |pointer: &str, detail: String| faults.push(FieldError::new(pointer, detail));
        if self.name.trim().is_empty() || self.name.chars().count() > MAX_NAME_CHARACTERS {
            fault("/name", format!("must be 1 to {MAX_NAME_CHARACTERS} characters"));
        }
        if self.event_types.is_empty() || self.event_types.len() > MAX_WEBHOOKS {
            fault("/event_types", format!("must name 1 to {MAX_WEBHOOKS} event types; omit it for the default"));
        }
        for (index, pattern) in self.event_types.iter().enumerate() {
            let exact = pattern.exact();
            let known = match &exact {
                Some(event_type) => is_reserved(event_type),
                None => pattern.as_str() != "*" && TYPES.iter().any(|name| is_match(pattern, name)),
            };
            if !known {
                let near = nearest(pattern.as_str(), TYPES).filter(|(_, edits)| *edits <= 3);
                let near = near.map(|(name, _)| format!("; did you mean {name}?"));
                let detail =
                    "must be an event about webhooks, deliveries or usage, such as webhook.paused or webhook.*";
                fault(&format!("/event_types/{index}"), format!("{detail}{}", near.unwrap_or_default()));
            }
        }
        if self.webhook_ids.len() > MAX_WEBHOOKS {
            fault("/webhook_ids", format!("must have at most {MAX_WEBHOOKS} entries"));
        }
        faults
    }

    /// Returns the settings of the webhook that the notice is, and the rest of the notice. Addresses that `before` has
    /// keep their confirmation; the code of the others is sent at `now`.
    ///
    /// # Panics
    ///
    /// Never: every setting of a webhook has a default.
    #[must_use]
    pub fn into_webhook(self, before: Option<&Notice>, now: Timestamp) -> (Settings, Notice) {
        let Self { name, channel, event_types, webhook_ids, enabled } = self;
        let known = before.map(|notice| notice.recipients.as_slice()).unwrap_or_default();
        let recipient = |address: &String| {
            let known = known.iter().find(|known| known.address == *address).cloned();
            known.unwrap_or_else(|| Recipient { address: address.clone(), asked_at: now, confirmed_at: None })
        };
        let recipients = channel.to.iter().map(recipient).collect();
        let ids: Vec<_> = webhook_ids.iter().map(WebhookId::to_string).collect();
        let filter = (!ids.is_empty()).then(|| serde_json::json!({"value": {"webhook_id": ids}}));
        let settings = serde_json::json!({"sources": [OPERATIONAL], "filter": filter});
        let settings: Settings = serde_json::from_value(settings).expect("every setting has a default");
        let url = channel.url.clone().unwrap_or_default();
        let payload_format = PayloadFormat::Standard;
        let settings = Settings { name, url, event_types, payload_format, enabled, ..settings };
        (settings, Notice { channel, webhook_ids, recipients })
    }

    /// Returns what a tenant has set of a notice.
    #[must_use]
    pub fn of(settings: &Settings, notice: &Notice) -> Self {
        Self {
            name: settings.name.clone(),
            channel: notice.channel.clone(),
            event_types: settings.event_types.clone(),
            webhook_ids: notice.webhook_ids.clone(),
            enabled: settings.enabled,
        }
    }
}

fn is_match(pattern: &EventPattern, name: &str) -> bool {
    name.parse().is_ok_and(|event_type| pattern.matches(&event_type))
}

impl Channel {
    fn check(&self, targets: &TargetPolicy, policy: &NoticePolicy) -> Vec<FieldError> {
        let mut faults = Vec::new();
        let mut fault = |pointer: &str, detail: String| faults.push(FieldError::new(pointer, detail));
        let has_url = matches!(self.kind, ChannelKind::Slack | ChannelKind::Teams);
        for (pointer, given, wanted, kinds) in [
            ("/channel/to", !self.to.is_empty(), self.kind == ChannelKind::Email, "email"),
            ("/channel/topic_arn", self.topic_arn.is_some(), self.kind == ChannelKind::Sns, "sns"),
            ("/channel/url", self.url.is_some(), has_url, "slack or teams"),
        ] {
            if wanted && !given {
                fault(pointer, format!("is missing; a channel of the type {kinds} needs it"));
            } else if given && !wanted {
                fault(pointer, format!("must be omitted unless the type is {kinds}"));
            }
        }
        match self.kind {
            ChannelKind::Email => {
                if policy.sender.is_none() {
                    let detail = "cannot be `email`: this deployment sends no mail; ask its operator to set the \
                                  parameter NoticeSender to an address that is verified in Amazon SES";
                    fault("/channel/type", detail.to_owned());
                }
                if self.to.len() > MAX_ADDRESSES {
                    fault("/channel/to", format!("must have at most {MAX_ADDRESSES} addresses"));
                }
                for (index, address) in self.to.iter().enumerate() {
                    let pointer = format!("/channel/to/{index}");
                    if !is_address(address) {
                        fault(&pointer, "must be an e-mail address such as ops@example.com".to_owned());
                    } else if self.to[..index].contains(address) {
                        fault(&pointer, "must not be in the list twice".to_owned());
                    }
                }
            }
            ChannelKind::Sns => {
                if let Some(topic) = &self.topic_arn
                    && !policy.topics.contains(topic)
                {
                    let detail = "must be a topic that this deployment allows; ask its operator to add it to the \
                                  parameter NoticeTopicArns";
                    fault("/channel/topic_arn", detail.to_owned());
                }
            }
            ChannelKind::Slack | ChannelKind::Teams => {
                if let Some(Err(error)) = self.url.as_deref().map(|url| targets.parse(url)) {
                    fault("/channel/url", error.to_string());
                }
            }
        }
        faults
    }
}

/// Returns whether the text is an e-mail address without a display name, quotes or a literal network address. It can
/// contain nothing that ends a header line or begins another address.
pub(super) fn is_address(text: &str) -> bool {
    let Some((local, host)) = text.rsplit_once('@') else { return false };
    let is_atom = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+/=?^_`{|}~-".contains(&byte))
    };
    let is_label = |label: &str| {
        let edges = [label.bytes().next(), label.bytes().next_back()];
        edges.iter().all(|edge| edge.is_some_and(|byte| byte.is_ascii_alphanumeric()))
            && label.len() <= 63
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    text.len() <= MAX_ADDRESS_BYTES
        && local.len() <= MAX_LOCAL_BYTES
        && local.split('.').all(is_atom)
        && host.contains('.')
        && host.split('.').all(is_label)
}

impl Notice {
    /// Returns whether anybody would get it: mail goes only to confirmed addresses.
    #[must_use]
    pub fn reaches_people(&self) -> bool {
        self.channel.kind != ChannelKind::Email || self.confirmed().next().is_some()
    }

    /// Returns the confirmed addresses.
    pub fn confirmed(&self) -> impl Iterator<Item = &str> {
        let confirmed = self.recipients.iter().filter(|recipient| recipient.confirmed_at.is_some());
        confirmed.map(|recipient| recipient.address.as_str())
    }

    /// Confirms the address to which this code was sent. Returns whether there is one.
    pub fn confirm(
        &mut self,
        key: &FingerprintKey,
        tenant: &TenantId,
        id: WebhookId,
        given: &str,
        now: Timestamp,
    ) -> bool {
        let given = given.trim().to_ascii_lowercase();
        let found = self.recipients.iter_mut().find(|recipient| {
            let code = recipient.code(key, tenant, id);
            now < recipient.asked_at + CODE_VALID_FOR && bool::from(code.as_bytes().ct_eq(given.as_bytes()))
        });
        let found = found.map(|recipient| recipient.confirmed_at.get_or_insert(now));
        found.is_some()
    }
}

impl Recipient {
    /// Returns the code that confirms the address. It is derived, so that no table and no message contains it: the
    /// function that sends the mail and the one that checks the code both have the key.
    #[must_use]
    pub fn code(&self, key: &FingerprintKey, tenant: &TenantId, id: WebhookId) -> String {
        let (id, asked_at) = (id.to_string(), self.asked_at.to_string());
        let parts = [tenant.as_str(), &id, &asked_at, &self.address].map(str::as_bytes);
        let framed: Vec<&[u8]> = parts.iter().flat_map(|part| [*part, b"\0"]).collect();
        let mut code = key.digest("notice code", &framed);
        code.truncate(CODE_DIGITS);
        code
    }
}

#[cfg(test)]
mod tests;
