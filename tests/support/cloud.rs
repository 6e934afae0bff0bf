//! What the delivery side asks of AWS, in memory: tables with the real meaning of DynamoDB's expressions, queues whose time a test
//! decides, secrets; and every answer can be made to fail.
//!
//! A test in the same process takes a [`Line`], over which an SDK calls without a network; a process gets the address at which
//! the cloud [listens](Cloud::listen).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use domain::time::Clock;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::refusals::refusal;

mod letter;
mod queues;
pub mod recursion;
mod reply;
mod secrets;
mod tables;
mod transport;

pub use letter::Letter;
pub use queues::{Queues, handed_back, sqs_event};
pub use reply::Reply;
pub use secrets::Secrets;
pub use tables::{Tables, Write};
pub use transport::delivery_environment;

/// The longest that an index lags: much longer than any that was heard of.
const LONGEST_LAG: SignedDuration = SignedDuration::from_hours(1);

/// What goes wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is throttled.
    Throttle,
    /// It is done, and answered with an error.
    LoseAnswer,
    /// Every second of its entries is refused, where it has entries.
    RefuseSome,
    /// It is never answered, and not done.
    HangBefore,
    /// It is never answered, and done.
    HangAfter,
    /// Who asks is killed before it is done.
    DieBefore,
    /// Who asks is killed after it is done.
    DieAfter,
    /// A query is answered as it was the last time, if that is not too long ago: an index that lags.
    Stale,
    /// A query of an index is answered with each of its items twice: they move in the index while it is read.
    Repeat,
}

/// How a call fares.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// How long it takes.
    pub delay: Duration,
    /// What goes wrong.
    pub fault: Option<Fault>,
}

/// Says how a call fares: of that operation, and with that number on its line.
pub type FaultScript = Arc<dyn Fn(&str, usize) -> Faults + Send + Sync>;

/// Tables, queues and secrets.
pub struct Cloud {
    /// The tables, as the template describes them.
    pub tables: Tables,
    /// The queues.
    pub queues: Queues,
    /// The secrets.
    pub secrets: Secrets,
    clock: Arc<dyn Clock>,
    calls: Mutex<BTreeMap<String, usize>>,
}

impl fmt::Debug for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cloud")
    }
}

/// Over which one caller calls.
#[derive(Clone)]
pub struct Line {
    cloud: Arc<Cloud>,
    fault_script: FaultScript,
    count: Arc<AtomicUsize>,
    /// The last answer to each query, and when it was given.
    last: Arc<Mutex<BTreeMap<String, (Timestamp, Reply)>>>,
    /// The trace header that Lambda gave the caller with its event.
    trace: Arc<Mutex<Option<String>>>,
    /// Notified when the caller must die.
    pub dies: Arc<Notify>,
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Line")
    }
}

impl Cloud {
    /// Makes the template's tables, and queues that go by that clock.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            tables: Tables::of_the_template(),
            queues: Queues::new(Arc::clone(&clock)),
            secrets: Secrets::default(),
            clock,
            calls: Mutex::default(),
        })
    }

    /// Returns how many calls of each operation there were since the last call of this function.
    pub fn take_calls(&self) -> BTreeMap<String, usize> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }

    /// Returns a line on which calls fare as `fault_script` says.
    #[must_use]
    pub fn line(self: &Arc<Self>, fault_script: FaultScript) -> Line {
        let cloud = Arc::clone(self);
        Line {
            cloud,
            fault_script,
            count: Arc::default(),
            last: Arc::default(),
            trace: Arc::default(),
            dies: Arc::default(),
        }
    }

    /// Does a call and answers it.
    fn answer(&self, target: &str, body: &[u8], trace: Option<&str>) -> Reply {
        let (service, operation) = target.split_once('.').expect("a target names a service and an operation");
        *self.calls.lock().unwrap().entry(operation.to_owned()).or_default() += 1;
        if let Some(refusal) = refusal(operation, body) {
            return Reply::refused(refusal);
        }
        if service.starts_with("DynamoDB") {
            return self.tables.answer(operation, body);
        }
        let request: Value = serde_json::from_slice(body).unwrap();
        if service == "AmazonSQS" {
            self.queues.answer(operation, &request, trace)
        } else {
            self.secrets.answer(operation, &request)
        }
    }
}

impl Line {
    /// Says with which trace header the caller is invoked from now on. The SDK takes it from the environment, which all callers of one
    /// process share: for them the line adds it.
    pub fn invoked_with(&self, trace: Option<String>) {
        *self.trace.lock().unwrap() = trace;
    }

    /// Makes a call, as it fares; `trace` is the header that came with it.
    async fn call(&self, target: &str, body: &[u8], trace: Option<&str>) -> Reply {
        let own = self.trace.lock().unwrap().clone();
        let trace = trace.or(own.as_deref());
        let operation = target.split_once('.').map_or(target, |(_, operation)| operation);
        let Faults { delay, fault } = (self.fault_script)(operation, self.count.fetch_add(1, Ordering::Relaxed));
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let answer = || self.cloud.answer(target, body, trace);
        match fault {
            None if operation == "Query" => self.remember(body, answer()).0,
            None => answer(),
            Some(Fault::Throttle) => Reply::error(400, "ThrottlingException"),
            Some(Fault::LoseAnswer) => {
                answer();
                Reply::error(500, "InternalServerError")
            }
            Some(Fault::RefuseSome) => self.answer_some(target, body, trace),
            Some(Fault::HangBefore) => std::future::pending().await,
            Some(Fault::HangAfter) => {
                answer();
                std::future::pending().await
            }
            Some(Fault::DieBefore) => self.die().await,
            Some(Fault::DieAfter) => {
                answer();
                self.die().await
            }
            Some(Fault::Stale) => {
                let (now, before) = self.remember(body, answer());
                before.unwrap_or(now)
            }
            Some(Fault::Repeat) => repeated(body, self.remember(body, answer()).0),
        }
    }

    /// Keeps an answer to a query, and returns the one before, unless that is too old.
    fn remember(&self, body: &[u8], reply: Reply) -> (Reply, Option<Reply>) {
        let now = self.cloud.clock.now();
        let before = self.last.lock().unwrap().insert(query_of(body), (now, reply.clone()));
        let before = before.filter(|(at, _)| now.duration_since(*at) <= LONGEST_LAG);
        (reply, before.map(|(_, reply)| reply))
    }

    /// Ends the caller, whatever it waits for.
    pub async fn die<T>(&self) -> T {
        self.dies.notify_one();
        std::future::pending().await
    }

    /// Does the half of a call that has entries, and refuses the other half.
    fn answer_some(&self, target: &str, body: &[u8], trace: Option<&str>) -> Reply {
        let mut request: Value = serde_json::from_slice(body).unwrap();
        let (path, refusal) = match target.split_once('.').map(|(_, operation)| operation) {
            Some("SendMessageBatch" | "DeleteMessageBatch") => ("Entries", "Failed"),
            Some("BatchGetItem") => ("RequestItems", "UnprocessedKeys"),
            Some("BatchWriteItem") => ("RequestItems", "UnprocessedItems"),
            _ => return self.cloud.answer(target, body, trace),
        };
        let refused = if path == "Entries" {
            let refused = every_second(request[path].as_array_mut().unwrap());
            let refuse = |entry: &Value| json!({"Id": entry["Id"], "SenderFault": false, "Code": "InternalError"});
            refused.iter().map(refuse).collect()
        } else {
            let mut all = serde_json::Map::new();
            for (table, entries) in request[path].as_object_mut().unwrap() {
                let is_read = entries.is_object();
                let list = if is_read { &mut entries["Keys"] } else { &mut *entries };
                let refused = Value::Array(every_second(list.as_array_mut().unwrap()));
                if refused.as_array().is_some_and(Vec::is_empty) {
                    continue;
                }
                let refused = if is_read { json!({"Keys": refused, "ConsistentRead": true}) } else { refused };
                all.insert(table.clone(), refused);
            }
            Value::Object(all)
        };
        let reply = self.cloud.answer(target, request.to_string().as_bytes(), trace);
        let mut answer: Value = serde_json::from_str(&reply.body).unwrap();
        answer[refusal] = refused;
        Reply { status: reply.status, body: answer.to_string() }
    }
}

/// Takes every second entry out, and leaves one at least.
fn every_second(entries: &mut Vec<Value>) -> Vec<Value> {
    let (mut taken, mut left) = (Vec::new(), Vec::new());
    for (index, entry) in entries.drain(..).enumerate() {
        if index % 2 == 0 { left.push(entry) } else { taken.push(entry) }
    }
    *entries = left;
    taken
}

/// Repeats each item of an answer to a query of an index; a table itself holds each once.
fn repeated(body: &[u8], reply: Reply) -> Reply {
    let request: Value = serde_json::from_slice(body).unwrap();
    let mut answer: Value = serde_json::from_str(&reply.body).unwrap();
    match answer["Items"].as_array_mut() {
        Some(items) if request["IndexName"] == "lanes" => {
            *items = std::mem::take(items).into_iter().flat_map(|item| [item.clone(), item]).collect();
        }
        _ => return reply,
    }
    Reply { status: reply.status, body: answer.to_string() }
}

/// Returns what tells queries apart, whatever time they name.
fn query_of(body: &[u8]) -> String {
    let mut request: Value = serde_json::from_slice(body).unwrap();
    if let Some(values) = request["ExpressionAttributeValues"].as_object_mut() {
        values.remove(":until");
    }
    request.to_string()
}

#[cfg(test)]
mod tests;
