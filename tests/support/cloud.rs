//! An in-memory imitation of the AWS services that deliver and sweep use: tables with the real semantics of DynamoDB's
//! expressions, queues on the test's clock, secrets and a key of KMS. A test can make every call fail.
//!
//! A test in the same process takes a [`Line`], over which an SDK calls without a network. A separate process calls the
//! URL at which the cloud [listens](Cloud::listen).

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
use usage::asks_for_units;

pub mod environment;
mod kms;
mod letter;
mod queues;
pub mod recursion;
mod reply;
mod secrets;
mod tables;
mod transport;
mod usage;

pub use kms::secrets_table;
pub use letter::Letter;
pub use queues::{Queues, handed_back, sqs_event};
pub use reply::Reply;
pub use secrets::Secrets;
pub use tables::{Tables, Write, template};
pub use transport::delivery_environment;
pub use usage::{Usage, queue_requests};

/// The longest lag of an index: much longer than any on AWS.
const LONGEST_LAG: SignedDuration = SignedDuration::from_hours(1);

/// A fault of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The call is throttled.
    Throttle,
    /// The call meets a transaction with the same item.
    Conflict,
    /// The call is executed, but answered with an error.
    LoseAnswer,
    /// Every second entry of a batched call is refused.
    RefuseSome,
    /// The call never returns, and is not executed.
    HangBefore,
    /// The call never returns, but is executed.
    HangAfter,
    /// The caller is killed before the call is executed.
    DieBefore,
    /// The caller is killed after the call is executed.
    DieAfter,
    /// A query gets the same answer as the last time, if that is not too long ago: an index that lags.
    Stale,
    /// A query of an index returns each of its items twice, as if they moved in the index while it was read.
    Repeat,
}

/// The delay and the fault of a call.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// How long the call takes.
    pub delay: Duration,
    /// The fault, if any.
    pub fault: Option<Fault>,
}

/// Returns the faults of a call, by its operation and its number on the line.
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
    /// What calls used, once a test asks for it.
    usage: Mutex<Option<Usage>>,
}

impl fmt::Debug for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cloud")
    }
}

/// The connection of one caller to the cloud.
#[derive(Clone)]
pub struct Line {
    cloud: Arc<Cloud>,
    fault_script: FaultScript,
    count: Arc<AtomicUsize>,
    /// The last response to each query, and when it was given.
    last: Arc<Mutex<BTreeMap<String, (Timestamp, Reply)>>>,
    /// The trace header that the caller got with its event.
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
    /// Creates the template's tables, and queues on that clock.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            tables: Tables::of_the_template(),
            queues: Queues::new(Arc::clone(&clock)),
            secrets: Secrets::default(),
            clock,
            calls: Mutex::default(),
            usage: Mutex::default(),
        })
    }

    /// Returns what was used since the last call of this function, which starts the counting.
    pub fn take_usage(&self) -> Usage {
        self.usage.lock().unwrap().replace(Usage::default()).unwrap_or_default()
    }

    /// Returns how many calls of each operation there were since the last call of this function.
    pub fn take_calls(&self) -> BTreeMap<String, usize> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }

    /// Returns a line on which calls have the faults of `fault_script`.
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

    /// Executes a call and returns the response.
    fn answer(&self, target: &str, body: &[u8], trace: Option<&str>) -> Reply {
        let (service, operation) = target.split_once('.').expect("a target names a service and an operation");
        *self.calls.lock().unwrap().entry(operation.to_owned()).or_default() += 1;
        if let Some(refusal) = refusal(operation, body) {
            return Reply::refused(refusal);
        }
        let mut usage = self.usage.lock().unwrap();
        if service.starts_with("DynamoDB") {
            let Some(usage) = &mut *usage else { return self.tables.answer(operation, body) };
            let request = asks_for_units(body);
            let reply = self.tables.answer(operation, request.to_string().as_bytes());
            usage.count_table(operation, &request, &reply, &self.tables);
            return reply;
        }
        let request: Value = serde_json::from_slice(body).unwrap();
        match service {
            "AmazonSQS" => {
                usage.iter_mut().for_each(|usage| usage.count_queue(operation, &request));
                self.queues.answer(operation, &request, trace)
            }
            "TrentService" => kms::answer(operation, &request),
            _ => {
                usage.iter_mut().for_each(|usage| usage.count_secret(operation));
                self.secrets.answer(operation, &request, self.clock.now().as_second())
            }
        }
    }
}

impl Line {
    /// Sets the trace header of the caller's invocation. The SDK would read it from the environment, which all callers
    /// in one process share, so the line adds it.
    pub fn invoked_with(&self, trace: Option<String>) {
        *self.trace.lock().unwrap() = trace;
    }

    /// Makes a call with its faults; `trace` is the trace header of the request.
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
            Some(Fault::Conflict) => Reply::error(400, "TransactionConflictException"),
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

    /// Stores a response to a query, and returns it with the previous one, unless that is too old.
    fn remember(&self, body: &[u8], reply: Reply) -> (Reply, Option<Reply>) {
        let now = self.cloud.clock.now();
        let before = self.last.lock().unwrap().insert(query_of(body), (now, reply.clone()));
        let before = before.filter(|(at, _)| now.duration_since(*at) <= LONGEST_LAG);
        (reply, before.map(|(_, reply)| reply))
    }

    /// Kills the caller, whatever it waits for.
    pub async fn die<T>(&self) -> T {
        self.dies.notify_one();
        std::future::pending().await
    }

    /// Executes half of the entries of a batched call, and refuses the others.
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

/// Removes every second entry and returns the removed ones; at least one stays.
fn every_second(entries: &mut Vec<Value>) -> Vec<Value> {
    let (mut taken, mut left) = (Vec::new(), Vec::new());
    for (index, entry) in entries.drain(..).enumerate() {
        if index % 2 == 0 { left.push(entry) } else { taken.push(entry) }
    }
    *entries = left;
    taken
}

/// Repeats each item in the response to a query of an index. A query of a table is unchanged.
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

/// Returns a query without its time, so that repeated queries can be recognised.
fn query_of(body: &[u8]) -> String {
    let mut request: Value = serde_json::from_slice(body).unwrap();
    if let Some(values) = request["ExpressionAttributeValues"].as_object_mut() {
        values.remove(":until");
    }
    request.to_string()
}

#[cfg(test)]
mod tests;
