//! An in-memory imitation of the AWS calls that fan-out makes. A hundred thousand records take seconds, and a test can
//! make any call fail.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use domain::matching::subscription::Subscription;
use domain::source::Source;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::{Mutex, Notify};

mod way;

use crate::refusals::refusal;

pub use way::Trap;

/// How a message is refused because of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Its entry fails; the other entries of the call succeed.
    Entry,
    /// The whole call fails, without saying because of which message.
    Call,
}

/// A fault of the next matching call only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The Registry is throttled.
    Throttle,
    /// Every second entry of a batch of messages is refused.
    RefuseSome,
    /// The messages are accepted, but the answer is lost.
    LoseAnswer,
    /// The call never returns, and its messages are not accepted.
    HangBefore,
    /// The call never returns, but its messages are accepted.
    HangAfter,
}

/// The subscription of a webhook, as written at a generation.
#[derive(Debug, Clone)]
pub struct Row {
    /// The webhook's id.
    pub webhook: String,
    /// The tenant's generation when it was written.
    pub generation: u64,
    /// The subscription; `None` if the webhook gets no more events.
    pub subscription: Option<Subscription>,
}

/// The Registry, the Events table and the queues.
#[derive(Debug, Default)]
pub struct FakeAws {
    /// The registered tables.
    pub sources: Mutex<HashMap<String, Source>>,
    /// The subscriptions of each tenant.
    pub tenants: Mutex<HashMap<String, Vec<Row>>>,
    /// The bodies of messages in the deliveries queue.
    pub deliveries: Mutex<Vec<String>>,
    /// The bodies of messages in the renderings queue.
    pub renderings: Mutex<Vec<String>>,
    /// The items of stored bodies, by their keys.
    pub bodies: Mutex<BTreeMap<(String, String), Value>>,
    /// The bodies of messages in the stream-failures queue.
    pub failures: Mutex<Vec<String>>,
    /// The next fault.
    pub fault: Mutex<Option<Fault>>,
    /// Whether the Registry is throttled, until this is cleared.
    pub throttled: AtomicBool,
    /// The duration of a write of events, in milliseconds.
    pub slowness: AtomicU64,
    /// The duration of a call that sends messages, in milliseconds.
    pub sluggishness: AtomicU64,
    /// The tenant whose archive is throttled, until the test clears this. With `*`, all calls fail instead.
    pub full: Mutex<Option<String>>,
    /// The archived events: the partition key, and the sort key of a row or the event's tag in a pack.
    pub archived: Mutex<Vec<(String, String)>>,
    /// A text that makes a message to the deliveries queues invalid, and how such a message is refused.
    pub forbidden: Mutex<Option<(String, Refusal)>>,
    /// Whether the Events table refuses every `PutItem` as invalid.
    pub picky: AtomicBool,
    /// Notified when a call hangs.
    pub hangs: Notify,
    /// Whether messages are only counted and not kept.
    pub forgets: AtomicBool,
    /// How many messages were accepted.
    pub taken: AtomicUsize,
    /// The number of calls of each operation.
    pub calls: Mutex<HashMap<String, usize>>,
}

/// Returns the environment with which fan-out calls the imitation at that URL.
#[must_use]
pub fn fanout_environment(url: &str) -> HashMap<String, String> {
    let queue = |name: &str| format!("{url}/000000000000/{name}");
    let all = [
        ("AWS_ENDPOINT_URL", url.to_owned()),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "test".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ("AWS_LAMBDA_FUNCTION_NAME", "fanout".to_owned()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256".to_owned()),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned()),
        ("RUST_LOG", "error".to_owned()),
        ("REGISTRY_TABLE", "registry".to_owned()),
        ("EVENTS_TABLE", "events".to_owned()),
        ("DELIVERIES_QUEUE_URL", queue("deliveries")),
        ("ORDERED_QUEUE_URL", queue("ordered-deliveries")),
        ("RENDERINGS_QUEUE_URL", queue("renderings")),
        ("STREAM_FAILURES_QUEUE_URL", queue("failures")),
        ("PAYLOAD_RETENTION_DAYS", "0".to_owned()),
    ];
    all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

impl FakeAws {
    /// Starts to listen; returns the imitation and its URL.
    pub async fn start() -> (Arc<Self>, String) {
        let fake = Arc::new(Self::default());
        let app = Router::new().fallback(answer).with_state(Arc::clone(&fake));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        (fake, url)
    }

    /// Registers a table.
    pub async fn register(&self, source: Source) {
        self.sources.lock().await.insert(source.table.clone(), source);
    }

    /// Writes a subscription, and raises the tenant's generation.
    pub async fn write(&self, tenant: &str, webhook: &str, subscription: Option<Subscription>) {
        let mut tenants = self.tenants.lock().await;
        let rows = tenants.entry(tenant.to_owned()).or_default();
        let generation = rows.iter().map(|row| row.generation).max().unwrap_or(0) + 1;
        rows.retain(|row| row.webhook != webhook);
        rows.push(Row { webhook: webhook.to_owned(), generation, subscription });
    }

    async fn take_fault(&self, of: &[Fault]) -> Option<Fault> {
        self.fault.lock().await.take_if(|fault| of.contains(fault))
    }

    async fn is_throttled(&self) -> bool {
        self.throttled.load(Ordering::Relaxed) || self.take_fault(&[Fault::Throttle]).await.is_some()
    }

    async fn batch_get(&self, request: &Value) -> Value {
        let (sources, tenants) = (self.sources.lock().await, self.tenants.lock().await);
        let mut responses = serde_json::Map::new();
        for (table, keys) in request["RequestItems"].as_object().unwrap() {
            let keys = keys["Keys"].as_array().unwrap().iter();
            let items: Vec<Value> = keys
                .filter_map(|key| {
                    let (pk, sk) = (key["pk"]["S"].as_str()?, key["sk"]["S"].as_str()?);
                    if let Some(name) = sk.strip_prefix("TABLE#") {
                        let source = sources.get(name)?;
                        return Some(item(&json!({"pk": pk, "sk": sk, "v": 2, "source": source})));
                    }
                    let rows = tenants.get(pk.strip_prefix("T#")?)?;
                    let generation = rows.iter().map(|row| row.generation).max()?;
                    Some(item(&json!({"pk": pk, "sk": sk, "generation": generation, "webhooks": rows.len(), "state_key": "00"})))
                })
                .collect();
            responses.insert(table.clone(), items.into());
        }
        json!({"Responses": responses, "UnprocessedKeys": {}})
    }

    /// Returns the items of a query: a tenant's subscriptions above a generation, or the parts of a body.
    async fn query(&self, request: &Value) -> Value {
        let values = &request["ExpressionAttributeValues"];
        let pk = values[":pk"]["S"].as_str().unwrap();
        if pk.starts_with("BODY#") {
            let bodies = self.bodies.lock().await;
            let items: Vec<&Value> = bodies.iter().filter(|(key, _)| key.0 == pk).map(|(_, item)| item).collect();
            return json!({"Count": items.len(), "ScannedCount": items.len(), "Items": items});
        }
        // No tenant has used any of its budgets.
        let Some(tenant) = pk.strip_prefix("S#") else { return json!({"Count": 0, "ScannedCount": 0, "Items": []}) };
        let seen: u64 = values[":seen"]["N"].as_str().unwrap().parse().unwrap();
        let tenants = self.tenants.lock().await;
        let rows = tenants.get(tenant).into_iter().flatten().filter(|row| row.generation > seen);
        let items: Vec<Value> = rows
            .map(|Row { webhook, generation, subscription }| {
                item(&json!({"pk": format!("S#{tenant}"), "sk": format!("WEBHOOK#{webhook}"), "v": 1, "generation": generation,
                    "webhook": webhook, "subscription": serde_json::to_string(subscription).unwrap()}))
            })
            .collect();
        json!({"Count": items.len(), "ScannedCount": items.len(), "Items": items})
    }

    async fn send(&self, request: &Value) -> Response {
        let entries = request["Entries"].as_array().unwrap();
        let url = request["QueueUrl"].as_str().unwrap();
        let (is_rendering, is_delivery) = (url.ends_with("renderings"), url.ends_with("deliveries"));
        let kinds = [Fault::RefuseSome, Fault::LoseAnswer, Fault::HangBefore, Fault::HangAfter];
        let fault = if is_delivery || is_rendering { self.take_fault(&kinds).await } else { None };
        tokio::time::sleep(Duration::from_millis(self.sluggishness.load(Ordering::Relaxed))).await;
        let forbidden = self.forbidden.lock().await.clone().filter(|_| is_delivery);
        let is_forbidden = |entry: &Value, how: Refusal| {
            let body = entry["MessageBody"].as_str().unwrap();
            forbidden.as_ref().is_some_and(|(text, refusal)| *refusal == how && body.contains(text))
        };
        if entries.iter().any(|entry| is_forbidden(entry, Refusal::Call)) {
            let kind = "com.amazonaws.sqs#InvalidMessageContents";
            return (StatusCode::BAD_REQUEST, axum::Json(json!({"__type": kind, "message": "no"}))).into_response();
        }
        if fault == Some(Fault::HangBefore) {
            return self.hang().await;
        }
        let (mut taken, mut refused) = (Vec::new(), Vec::new());
        for (index, entry) in entries.iter().enumerate() {
            let id = &entry["Id"];
            if is_forbidden(entry, Refusal::Entry) {
                refused.push(json!({"Id": id, "SenderFault": true, "Code": "InvalidMessageContents"}));
            } else if fault == Some(Fault::RefuseSome) && index % 2 == 0 {
                refused.push(json!({"Id": id, "SenderFault": false, "Code": "InternalError"}));
            } else {
                taken.push(
                    json!({"Id": id, "MessageId": "5fea7756", "MD5OfMessageBody": "fafb00f5732ab283681e124bf8747ed1"}),
                );
                if !self.forgets.load(Ordering::Relaxed) {
                    let queue = match (is_delivery, is_rendering) {
                        (true, _) => &self.deliveries,
                        (_, true) => &self.renderings,
                        _ => &self.failures,
                    };
                    queue.lock().await.push(entry["MessageBody"].as_str().unwrap().to_owned());
                }
            }
        }
        self.taken.fetch_add(taken.len(), Ordering::Relaxed);
        match fault {
            Some(Fault::HangAfter) => self.hang().await,
            Some(Fault::LoseAnswer) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            _ => axum::Json(json!({"Successful": taken, "Failed": refused})).into_response(),
        }
    }

    /// Writes up to 25 rows and packs. Those of a tenant whose partitions are throttled are returned as unprocessed.
    async fn archive(&self, request: &Value) -> Response {
        tokio::time::sleep(Duration::from_millis(self.slowness.load(Ordering::Relaxed))).await;
        let full = self.full.lock().await.clone();
        if full.as_deref() == Some("*") {
            return throttled();
        }
        let mut left = serde_json::Map::new();
        for (table, writes) in request["RequestItems"].as_object().unwrap() {
            for write in writes.as_array().unwrap() {
                let key = |name: &str| write["PutRequest"]["Item"][name]["S"].as_str().unwrap().to_owned();
                let (pk, sk) = (key("pk"), key("sk"));
                if full.as_ref().is_some_and(|tenant| pk.split('#').nth(1) == Some(tenant)) {
                    left.entry(table.clone()).or_insert_with(|| json!([])).as_array_mut().unwrap().push(write.clone());
                } else if let Some(tags) = write["PutRequest"]["Item"]["tags"]["S"].as_str() {
                    let tags = tags.as_bytes().chunks(4).map(|tag| String::from_utf8_lossy(tag).into_owned());
                    self.archived.lock().await.extend(tags.map(|tag| (pk.clone(), tag)));
                } else {
                    self.archived.lock().await.push((pk, sk));
                }
            }
        }
        axum::Json(json!({"UnprocessedItems": left})).into_response()
    }

    async fn hang(&self) -> Response {
        self.hangs.notify_one();
        std::future::pending().await
    }
}

/// Returns an item in DynamoDB's JSON.
fn item(value: &impl Serialize) -> Value {
    let item: serde_dynamo::Item = serde_dynamo::to_item(value).unwrap();
    serde_json::to_value(item).unwrap()
}

fn throttled() -> Response {
    let kind = "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException";
    (StatusCode::BAD_REQUEST, axum::Json(json!({"__type": kind, "message": "slow down"}))).into_response()
}

async fn answer(State(fake): State<Arc<FakeAws>>, headers: HeaderMap, body: Bytes) -> Response {
    let target = headers.get("x-amz-target").unwrap().to_str().unwrap();
    let (_, operation) = target.split_once('.').unwrap();
    *fake.calls.lock().await.entry(operation.to_owned()).or_default() += 1;
    let request: Value = serde_json::from_slice(&body).unwrap();
    if let Some(crate::refusals::Refusal { kind, message }) = refusal(operation, &body) {
        return (StatusCode::BAD_REQUEST, axum::Json(json!({"__type": kind, "message": message}))).into_response();
    }
    let answer = match operation {
        "BatchGetItem" if fake.is_throttled().await => return throttled(),
        "BatchGetItem" => fake.batch_get(&request).await,
        "Query" => fake.query(&request).await,
        "SendMessageBatch" => return fake.send(&request).await,
        "PutItem" if fake.picky.load(Ordering::Relaxed) => {
            let kind = "com.amazon.coral.validate#ValidationException";
            return (StatusCode::BAD_REQUEST, axum::Json(json!({"__type": kind, "message": "no"}))).into_response();
        }
        "PutItem" => {
            let (item, key) = (&request["Item"], |name: &str| request["Item"][name]["S"].as_str().unwrap().to_owned());
            fake.bodies.lock().await.insert((key("pk"), key("sk")), item.clone());
            json!({})
        }
        "UpdateItem" => json!({}),
        "BatchWriteItem" => return fake.archive(&request).await,
        other => panic!("{other} is not expected here"),
    };
    axum::Json(answer).into_response()
}
