//! What deliver reads of an event of SQS: three of a record's fields. The message in a record's body is read while the
//! event is, which saves a copy of each body.

use std::fmt;

use domain::delivery::message::Message;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

/// A batch of messages.
#[derive(Debug, Deserialize)]
pub struct Batch {
    #[serde(rename = "Records")]
    pub(crate) records: Vec<Record>,
}

/// A message of a queue.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    /// SQS's own id, by which a message is returned to the queue.
    #[serde(default)]
    pub(crate) message_id: Option<String>,
    #[serde(default)]
    body: Option<Content>,
    #[serde(default)]
    attributes: Option<Attributes>,
}

#[derive(Debug, Deserialize)]
struct Attributes {
    #[serde(rename = "ApproximateReceiveCount", default)]
    receives: Option<String>,
}

/// A body that is not a message, and why.
#[derive(Debug)]
pub(crate) struct Unreadable {
    pub(crate) body: String,
    pub(crate) why: String,
}

#[derive(Debug)]
struct Content(Result<Message, Unreadable>);

impl Content {
    fn read(text: &str) -> Self {
        Self(Message::from_json(text).map_err(|error| Unreadable { body: text.to_owned(), why: error.to_string() }))
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Content;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Content, E> {
                Ok(Content::read(text))
            }
        }

        deserializer.deserialize_str(Text)
    }
}

impl Record {
    /// Returns the message, with how often the queue has delivered it.
    pub(crate) fn message(self) -> Result<Message, Unreadable> {
        let receives = self.attributes.and_then(|attributes| attributes.receives?.parse().ok()).unwrap_or(1);
        let Content(message) = self.body.unwrap_or_else(|| Content::read(""));
        message.map(|message| Message { receives, ..message })
    }
}

#[cfg(test)]
mod tests {
    use domain::delivery::message::Body;
    use domain::id::{EventId, WebhookId};
    use jiff::Timestamp;
    use serde_json::{Value, json};

    use super::*;

    fn batch(event: &Value) -> Vec<Record> {
        let batch: Batch = serde_json::from_str(&event.to_string()).unwrap();
        batch.records
    }

    #[test]
    fn a_record_is_a_message_with_its_id_and_its_receives() {
        let (event, webhook) =
            (EventId::from_parts(Timestamp::UNIX_EPOCH, 1), WebhookId::from_parts(Timestamp::UNIX_EPOCH, 2));
        let body = Body::Inline("{\"text\": \"é \\\" \\n\"}".to_owned());
        let message = Message::first(event, "order.created".parse().unwrap(), webhook, "acme".parse().unwrap(), body);
        let attributes = json!({"ApproximateReceiveCount": "3", "SentTimestamp": "1545082649183"});
        let records = batch(&json!({"Records": [
            {"messageId": "a", "receiptHandle": "r", "body": message.to_json(), "attributes": attributes},
            {"messageId": "b", "body": message.to_json(), "attributes": null},
        ]}));
        let read: Vec<_> =
            records.into_iter().map(|record| (record.message_id.clone(), record.message().unwrap())).collect();
        let expected = |id: &str, receives| (Some(id.to_owned()), Message { receives, ..message.clone() });
        assert_eq!(read, [expected("a", 3), expected("b", 1)]);
    }

    #[test]
    fn what_is_no_message_is_kept_with_the_reason() {
        let mut records = batch(&json!({"Records": [{"messageId": "a", "body": "{\"a\": 1}"}, {"messageId": "b"}]}));
        let empty = records.pop().unwrap().message().unwrap_err();
        assert_eq!(empty.body, "");
        let other = records.pop().unwrap().message().unwrap_err();
        assert_eq!((other.body.as_str(), other.why.contains("missing field")), ("{\"a\": 1}", true), "{}", other.why);
    }
}
