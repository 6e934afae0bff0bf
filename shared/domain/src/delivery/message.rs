//! The queue message that carries a delivery, and its wire form.

use std::io;

use serde::{Deserialize, Serialize};

use crate::access::tenant::{AppId, TenantId};
use crate::budget::Deferral;
use crate::event::Event;
use crate::event::hops::Hops;
use crate::event::trace::TraceParent;
use crate::event::types::EventType;
use crate::id::{DeliveryId, EventId, WebhookId};
use crate::payload::ContentType;

pub mod copies;
mod escape;

use escape::{escape, is_plain};

/// The largest body, in bytes, that travels in its message. A larger one is stored and referred to.
///
/// A batch of ten such messages stays well under the 1 MiB that SQS takes, even if escaping doubles their size.
pub const MAX_INLINE_BYTES: usize = 40 * 1024;

/// The longest path of an entity, in bytes, that is carried with a delivery. Paths of published events are shorter.
pub const MAX_PATH_BYTES: usize = 512;

/// Where the body of a delivery is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Body {
    /// In the message.
    Inline(String),
    /// In the Events table, under this key.
    Stored(String),
    /// Missing: the webhook's template failed for the event, for this reason.
    Failed(String),
}

/// One delivery on a queue.
///
/// A first attempt carries its body. Later attempts do not, because the ledger keeps the body from the first failure
/// on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The delivery.
    pub delivery: DeliveryId,
    /// The event that is delivered.
    pub event: EventId,
    /// The event's type.
    pub event_type: EventType,
    /// The webhook that it is for.
    pub webhook: WebhookId,
    /// The webhook's tenant.
    pub tenant: TenantId,
    /// The application that registered the webhook, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<AppId>,
    /// The event's position in the order of its entity's changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<String>,
    /// The event's entity, if the webhook wants the deliveries of an entity in order: a hash of its path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entity: Option<String>,
    /// The [path](entity_path) of the event's entity, for the ledger's row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entity_path: Option<String>,
    /// How many deliveries led to the event.
    #[serde(default, skip_serializing_if = "Hops::is_none")]
    pub hops: Hops,
    /// The trace in which the event was published, if it was published in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<TraceParent>,
    /// The number of redrives.
    pub cycle: u32,
    /// The number of the attempt that this message asks for; the first of a cycle is 1.
    pub attempt: u32,
    /// The content type of the body. Every attempt carries it, because the webhook's format may have changed since.
    #[serde(default, skip_serializing_if = "is_json")]
    pub content_type: ContentType,
    /// Whether it is a test: it is attempted once, even if the webhook is paused.
    #[serde(default, skip_serializing_if = "is_false")]
    pub test: bool,
    /// Whether it is on the queue of slow receivers.
    #[serde(default, skip_serializing_if = "is_false")]
    pub slow: bool,
    /// How long its first attempt is deferred, if it is over its tenant's budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deferral: Option<Deferral>,
    /// The body, for the first attempt of the first cycle. It is the last field of the wire form:
    /// [`into_json`](Self::into_json) writes the others first, and then the body at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Body>,
    /// How often the queue has delivered this message, as far as is known. Not part of the wire form.
    #[serde(skip)]
    pub receives: u32,
    /// Whether its webhook is a notice, whose failure makes no event. Not part of the wire form: `deliver`
    /// sets it.
    #[serde(skip)]
    pub notice: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_json(content_type: &ContentType) -> bool {
    *content_type == ContentType::Json
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// Returns the path of the event's entity as messages and rows carry it: not at all if it is longer than
/// [`MAX_PATH_BYTES`].
#[must_use]
pub fn entity_path(event: &Event) -> Option<String> {
    Some(event.entity.path()).filter(|path| path.len() <= MAX_PATH_BYTES)
}

impl Message {
    /// Returns the message that asks for the first attempt at delivering an event to a webhook.
    #[must_use]
    pub fn first(event: EventId, event_type: EventType, webhook: WebhookId, tenant: TenantId, body: Body) -> Self {
        Self {
            delivery: DeliveryId::first(event, webhook),
            event,
            event_type,
            webhook,
            tenant,
            app: None,
            sequence: None,
            entity: None,
            entity_path: None,
            hops: Hops::NONE,
            traceparent: None,
            cycle: 0,
            attempt: 1,
            body: Some(body),
            content_type: ContentType::Json,
            test: false,
            slow: false,
            deferral: None,
            receives: 0,
            notice: false,
        }
    }

    /// Returns the message group of a first message whose deliveries are ordered. Later attempts need no group, because
    /// the ledger holds the deliveries that come after them.
    #[must_use]
    pub fn group(&self) -> Option<String> {
        let is_first = (self.cycle, self.attempt) == (0, 1) && self.body.is_some();
        let entity = self.entity.as_ref().filter(|_| is_first)?;
        Some(format!("{}/{entity}", self.webhook))
    }

    /// Returns the wire form: JSON in the characters that [SQS accepts][1].
    ///
    /// [1]: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
    #[must_use]
    pub fn to_json(&self) -> String {
        self.clone().into_json()
    }

    /// Returns the same as [`to_json`](Self::to_json), without a copy of the body.
    #[must_use]
    pub fn into_json(mut self) -> String {
        match &mut self.body {
            Some(Body::Inline(body)) if is_plain(body) => {
                let body = std::mem::take(body);
                with_body(&to_queue_json(&self), &body)
            }
            _ => to_queue_json(&self),
        }
    }

    /// Reads the wire form.
    ///
    /// # Errors
    ///
    /// If the text is not a message.
    pub fn from_json(text: &str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }
}

/// Puts a body, in which only quotes and backslashes must be escaped, into the wire form of a message whose body is empty.
fn with_body(envelope: &str, body: &str) -> String {
    const AFTER: &str = r#""}}"#;
    let before = envelope.strip_suffix(AFTER).expect("the body is the last field");
    // Escapes take about an eighth of a body.
    let mut json = Vec::with_capacity(envelope.len() + body.len() + body.len() / 6);
    json.extend_from_slice(before.as_bytes());
    escape(body, &mut json);
    json.extend_from_slice(AFTER.as_bytes());
    String::from_utf8(json).expect("JSON is UTF-8")
}

/// Writes JSON for a queue. SQS accepts the characters of XML 1.0; JSON leaves two others unescaped, U+FFFE and U+FFFF.
///
/// # Panics
///
/// If the value cannot be written as JSON, such as a map whose keys are not strings.
pub fn to_queue_json<T: Serialize>(value: &T) -> String {
    let mut bytes = Vec::with_capacity(1024);
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, XmlCharacters);
    value.serialize(&mut serializer).expect("a message is JSON");
    // Cannot fail: the formatter writes only strings.
    String::from_utf8(bytes).expect("JSON is UTF-8")
}

struct XmlCharacters;

impl serde_json::ser::Formatter for XmlCharacters {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        self.write_raw_fragment(writer, fragment)
    }

    // In raw JSON the two characters can occur only inside strings, so escaping them does not change the meaning.
    fn write_raw_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        // The UTF-8 form of both characters starts with this byte, which is rare in text and fast to search for.
        if !fragment.as_bytes().contains(&0xef) {
            return writer.write_all(fragment.as_bytes());
        }
        let mut rest = fragment;
        while let Some(at) = rest.find(['\u{fffe}', '\u{ffff}']) {
            let (before, from) = rest.split_at(at);
            writer.write_all(before.as_bytes())?;
            writer.write_all(if from.starts_with('\u{fffe}') { b"\\ufffe" } else { b"\\uffff" })?;
            // Both characters take three bytes in UTF-8.
            rest = &from[3..];
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;

    fn message(body: &str) -> Message {
        Message::first(
            EventId::from_parts(Timestamp::from_second(1_732_000_000).unwrap(), 1),
            "film.created".parse().unwrap(),
            WebhookId::from_parts(Timestamp::from_second(1_700_000_000).unwrap(), 2),
            "acme".parse().unwrap(),
            Body::Inline(body.to_owned()),
        )
    }

    #[test]
    fn wire_form() {
        insta::assert_snapshot!(message("{\"a\":\"\u{fffe}é\"}").to_json());
    }

    proptest! {
        #[test]
        fn any_body_arrives_unchanged_and_in_characters_that_sqs_takes(body in "(\\PC|\u{fffe}|\u{ffff}|\u{0}|\u{1f}|\n)*", slow: bool, test: bool) {
            let message = Message { slow, test, content_type: ContentType::CloudEvents, ..message(&body) };
            let text = message.to_json();
            let refused = |c| matches!(c, '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}');
            prop_assert_eq!(text.chars().find(|c| refused(*c)), None);
            prop_assert_eq!(Message::from_json(&text).unwrap(), message);
        }
    }
}
