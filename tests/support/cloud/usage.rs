//! What AWS would bill for calls: request units of tables, requests to queues, and reads of secrets.

use std::collections::BTreeMap;

use dynoxide::types::write_capacity_units;
use serde_json::Value;

use super::Tables;
use super::reply::Reply;

/// SQS bills each 64 KB of a call's messages as a request.
const CHUNK: usize = 64 * 1024;

/// What was used since the last look.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Usage {
    /// How many calls of each operation there were.
    pub calls: BTreeMap<String, usize>,
    /// The read request units of each table.
    pub reads: BTreeMap<String, f64>,
    /// The write request units of each table, indexes included.
    pub writes: BTreeMap<String, f64>,
    /// The requests to queues that are billed.
    pub queue_requests: usize,
    /// The reads of secrets.
    pub secrets: usize,
}

impl Usage {
    /// Adds what `more` used.
    pub fn add(&mut self, more: &Self) {
        for (operation, calls) in &more.calls {
            *self.calls.entry(operation.clone()).or_default() += calls;
        }
        for (mine, theirs) in [(&mut self.reads, &more.reads), (&mut self.writes, &more.writes)] {
            for (table, units) in theirs {
                *mine.entry(table.clone()).or_default() += units;
            }
        }
        self.queue_requests += more.queue_requests;
        self.secrets += more.secrets;
    }

    /// Counts a call to a table. Its response has the units, because [`asks_for_units`] asked for them.
    ///
    /// # Panics
    ///
    /// If the call failed, except at its condition.
    pub(super) fn count_table(&mut self, operation: &str, request: &Value, reply: &Reply, tables: &Tables) {
        self.count(operation);
        let answer: Value = serde_json::from_str(&reply.body).unwrap();
        let units = if is_read(operation) { &mut self.reads } else { &mut self.writes };
        if reply.status != 200 {
            let kind = answer["__type"].as_str().unwrap();
            assert!(kind.ends_with("#ConditionalCheckFailedException"), "a metered {operation} failed: {}", reply.body);
            // The write that the condition prevents is billed by the size of the item that is there.
            let table = request["TableName"].as_str().unwrap();
            let key = request.get("Key").unwrap_or(&request["Item"]);
            let size = tables.size(table, &key["pk"], &key["sk"]);
            *units.entry(table.to_owned()).or_default() += write_capacity_units(size);
            return;
        }
        let consumed = &answer["ConsumedCapacity"];
        for part in consumed.as_array().map_or(std::slice::from_ref(consumed), Vec::as_slice) {
            let table = part["TableName"].as_str().expect("a response with its capacity").to_owned();
            *units.entry(table).or_default() += part["CapacityUnits"].as_f64().unwrap();
        }
    }

    /// Counts a call to a queue.
    pub(super) fn count_queue(&mut self, operation: &str, request: &Value) {
        self.count(operation);
        let entries = request["Entries"].as_array().into_iter().flatten();
        self.queue_requests += queue_requests(entries.map(|entry| entry["MessageBody"].as_str().unwrap_or("").len()));
    }

    /// Counts a read of a secret.
    pub(super) fn count_secret(&mut self, operation: &str) {
        self.count(operation);
        self.secrets += 1;
    }

    fn count(&mut self, operation: &str) {
        *self.calls.entry(operation.to_owned()).or_default() += 1;
    }
}

/// Returns as how many requests SQS bills a call with messages of these sizes in bytes.
#[must_use]
pub fn queue_requests(sizes: impl Iterator<Item = usize>) -> usize {
    sizes.sum::<usize>().div_ceil(CHUNK).max(1)
}

/// Returns the request, with which the response says how many units it took.
pub(super) fn asks_for_units(body: &[u8]) -> Value {
    let mut request: Value = serde_json::from_slice(body).unwrap();
    request["ReturnConsumedCapacity"] = "TOTAL".into();
    request
}

fn is_read(operation: &str) -> bool {
    matches!(operation, "GetItem" | "BatchGetItem" | "Query" | "Scan")
}
