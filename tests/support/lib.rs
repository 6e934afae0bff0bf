//! Support for the tests: the deployed stack, receivers, tokens, a Lambda runtime, and in-memory imitations of AWS.
//!
//! `make test` starts the stack and passes its location in environment variables.
#![expect(clippy::missing_panics_doc, clippy::unwrap_used, reason = "a test that cannot continue panics")]
#![expect(clippy::disallowed_methods, reason = "the tests read the clock and dial themselves")]

pub mod cloud;
mod collector;
mod environment;
mod fake_aws;
mod hooks;
mod lambda;
mod proxy;
mod receiver;
mod refusals;
pub mod secret_suite;
mod stack;
mod tokens;

pub use cloud::Cloud;
pub use collector::{Collector, Export, ReceivedSpan};
pub use environment::{eventually, unique};
pub use fake_aws::{FakeAws, Fault, Refusal, Trap, fanout_environment};
pub use hooks::Hooks;
pub use lambda::{Function, binary, role};
pub use proxy::{Cut, Proxy};
pub use receiver::{Answer, Received, Receiver};
pub use stack::{Stack, Tenant, ask, keep};
pub use tokens::Claims;

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use domain::id::{DeliveryId, WebhookId};
use domain::signing::secret::WebhookSecret;
use domain::signing::sign::{Keys, Signed, sign};
use domain::signing::signature::SignatureScheme;
use jiff::Timestamp;
use serde_json::{Value, json};

/// Returns the headers of a call with this signature scheme.
#[must_use]
pub fn signed(
    scheme: SignatureScheme,
    secrets: &[&WebhookSecret],
    id: &str,
    at: Timestamp,
    body: &[u8],
) -> Vec<(String, String)> {
    let request = Signed { id, event_type: "test.signed", attempt: 1, at, body };
    sign(&[scheme.into()], Keys { secrets, signing_keys: &[] }, &request)
}

/// Returns the key of a delivery's row. A webhook's deliveries are spread over eight partitions.
#[must_use]
pub fn row_key(webhook: WebhookId, delivery: DeliveryId) -> HashMap<String, AttributeValue> {
    let key = [("pk", format!("W#{webhook}#{}", delivery.shard(8))), ("sk", delivery.to_string())];
    key.map(|(name, text)| (name.to_owned(), AttributeValue::S(text))).into()
}

/// Returns a stream record of a new item, given as DynamoDB's JSON. Its number is that of its commit.
#[must_use]
pub fn inserted(table: &str, number: u32, keys: &Value, image: &Value) -> Value {
    json!({
        "eventID": format!("{table}-{number}"),
        "eventName": "INSERT",
        "eventSource": "aws:dynamodb",
        "awsRegion": "us-east-1",
        "dynamodb": {
            "ApproximateCreationDateTime": 1_795_244_140 + number,
            "Keys": keys,
            "NewImage": image,
            "SequenceNumber": number.to_string(),
            "SizeBytes": 26,
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        },
        "eventSourceARN": format!("arn:aws:dynamodb:us-east-1:000000000000:table/{table}/stream/2026"),
    })
}

/// Returns the API path of something that belongs to a webhook.
#[must_use]
pub fn path(webhook: &Value, rest: &str) -> String {
    format!("/webhooks/{}{rest}", webhook["id"].as_str().unwrap())
}

/// Returns the current time.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp::now()
}
