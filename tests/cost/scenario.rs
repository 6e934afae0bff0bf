//! Runs changes through the functions, and adds up what that took.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use dynoxide::types::{Item, item_size};
use fastrand::Rng;
use serde_json::{Value, json};
use tests::cloud::Write;

use crate::functions::{Bill, Functions, Log, Name};
use crate::model::{Pace, SHARDS, TALLY_BATCH, TALLY_WINDOW};

/// How many attributes a change has, so that its payload is about 4 KB.
const FIELDS: usize = 29;

/// What DynamoDB stores with each item, in bytes.
const ITEM_OVERHEAD: usize = 100;

/// How changes come, and what becomes of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) pace: Pace,
    pub(crate) webhooks: u128,
    /// For how many days events are archived.
    pub(crate) archive_days: u8,
    /// How many changes there are.
    pub(crate) changes: usize,
}

/// What the changes of a scenario took.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counts {
    pub(crate) deliveries: usize,
    pub(crate) bills: BTreeMap<Name, Bill>,
    /// The requests to queues by Lambda.
    pub(crate) polled: usize,
    /// The bytes that the rows of deliveries take in their table, and events in theirs.
    pub(crate) row_bytes: usize,
    pub(crate) archived_bytes: usize,
    /// The bytes of all requests to receivers, and of their bodies.
    pub(crate) sent_bytes: usize,
    pub(crate) body_bytes: usize,
}

impl Scenario {
    /// Runs the changes, after some that fill the caches of the functions.
    pub(crate) async fn run(self, log: &Log) -> Counts {
        let mut functions = Functions::start(log, self.webhooks, self.archive_days).await;
        let mut changes = Changes::default();
        let warm_up = Scenario { changes: 2, ..self };
        warm_up.work(&mut functions, &mut changes, 0).await;
        functions.start_counting();
        let stored = |functions: &Functions, table| -> usize {
            let items = functions.cloud.tables.items(table);
            items.into_iter().map(|item| bytes(&item) + ITEM_OVERHEAD).sum()
        };
        let before = ["deliveries", "events"].map(|table| stored(&functions, table));
        self.work(&mut functions, &mut changes, 3_600_000).await;
        let [sent_bytes, body_bytes, deliveries] = functions.sent();
        assert_eq!(
            deliveries,
            self.changes * usize::try_from(self.webhooks).unwrap(),
            "each change reaches each webhook"
        );
        Counts {
            deliveries,
            row_bytes: stored(&functions, "deliveries") - before[0],
            archived_bytes: stored(&functions, "events") - before[1],
            sent_bytes,
            body_bytes,
            bills: functions.bills,
            polled: functions.polled,
        }
    }

    /// Runs the changes from a time on, in milliseconds since the start.
    async fn work(self, functions: &mut Functions, changes: &mut Changes, from: i64) {
        let mut streams = Streams::default();
        let mut sent = Vec::new();
        for (at, count) in self.pace.stream_batches(self.changes) {
            let records: Vec<Value> = (0..count).map(|_| changes.next()).collect();
            let before = functions.cloud.queues.len("deliveries");
            let mut sent_at = functions.fan_out(from + at, &records).await;
            while functions.cloud.queues.len("renderings") > 0 {
                sent_at = functions.render(sent_at).await;
            }
            sent.push((sent_at, functions.cloud.queues.len("deliveries") - before));
            // Batches with a window have messages of several invocations.
            if self.pace != Pace::Collected {
                self.deliver(functions, &mut streams, std::mem::take(&mut sent)).await;
            }
        }
        self.deliver(functions, &mut streams, sent).await;
        for (at, batch) in streams.rest() {
            functions.tally(at, &batch).await;
        }
        functions.cloud.tables.take_journal();
    }

    /// Delivers messages that became visible at these times.
    async fn deliver(self, functions: &mut Functions, streams: &mut Streams, sent: Vec<(i64, usize)>) {
        for (at, limit) in self.pace.queue_batches(&sent) {
            functions.deliver(at, limit).await;
            let written = functions.cloud.tables.take_journal();
            for (at, batch) in streams.add(self.pace, at, written) {
                functions.tally(at, &batch).await;
            }
        }
    }
}

/// Returns the size of an item in bytes.
pub(crate) fn bytes(item: &Value) -> usize {
    item_size(&serde_json::from_value::<Item>(item.clone()).unwrap())
}

/// Makes changes of orders whose payload is about 4 KB.
struct Changes {
    number: u64,
    random: Rng,
}

impl Default for Changes {
    fn default() -> Self {
        Self { number: 0, random: Rng::with_seed(1) }
    }
}

impl Changes {
    /// Returns the record of the next change. Half of its text is random, as ids and amounts are, and half is words.
    fn next(&mut self) -> Value {
        self.number += 1;
        let number = self.number;
        let mut new = json!({"tenant": {"S": "acme"}, "id": {"S": format!("order-{number:010}")}, "status": {"S": "paid"},
            "version": {"N": number.to_string()}});
        for field in 0..FIELDS {
            let text: String = if field % 2 == 0 {
                std::iter::repeat_with(|| self.random.alphanumeric()).take(40).collect()
            } else {
                const WORDS: [&str; 8] =
                    ["delivery", "customer", "Rotterdam", "express", "invoice", "returned", "parcel", "pending"];
                let words: Vec<&str> = (0..5).map(|_| WORDS[self.random.usize(..WORDS.len())]).collect();
                words.join(" ")
            };
            new[format!("attribute_{field:02}")] = json!({"S": text});
        }
        let mut old = new.clone();
        old["status"] = json!({"S": "open"});
        json!({
            "eventID": format!("{:032x}", self.random.u128(..)), "eventName": "MODIFY", "eventSource": "aws:dynamodb",
            "awsRegion": "us-east-1", "eventSourceARN": "arn:aws:dynamodb:us-east-1:000000000000:table/orders/stream/2026-11-21T10:00:00.000",
            "dynamodb": {"ApproximateCreationDateTime": 1_795_244_140.0, "Keys": {"id": new["id"]}, "OldImage": old, "NewImage": new,
                "SequenceNumber": format!("{:025}", 4_421_584_500_000_000_017_450_439_091_u128 + u128::from(number)), "SizeBytes": 8000,
                "StreamViewType": "NEW_AND_OLD_IMAGES"},
        })
    }
}

/// The shards of the ledger's stream, and what waits in each for tally.
#[derive(Default)]
struct Streams {
    shards: BTreeMap<usize, (i64, Vec<Value>)>,
    sequence: u64,
}

impl Streams {
    /// Adds rows that were written at a time. Returns the batches that are complete.
    fn add(&mut self, pace: Pace, at: i64, written: Vec<Write>) -> Vec<(i64, Vec<Value>)> {
        let is_over = |since: i64| pace != Pace::Full && at >= since + TALLY_WINDOW;
        let mut due: Vec<_> = self
            .shards
            .extract_if(.., |_, (since, _)| is_over(*since))
            .map(|(_, (since, rows))| (since + TALLY_WINDOW, rows))
            .collect();
        for Write { pk, item, .. } in written {
            if item["delivery_state"]["S"] != "delivered" {
                continue;
            }
            let mut hasher = DefaultHasher::new();
            pk.hash(&mut hasher);
            let shard = usize::try_from(hasher.finish() % u64::try_from(SHARDS).unwrap()).unwrap();
            self.sequence += 1;
            let record = json!({
                "eventID": "1", "eventName": "INSERT", "eventSource": "aws:dynamodb", "awsRegion": "us-east-1",
                "eventSourceARN": "arn:aws:dynamodb:us-east-1:000000000000:table/deliveries/stream/2026-11-21T10:00:00.000",
                "dynamodb": {"SequenceNumber": format!("{:025}", self.sequence), "NewImage": item},
            });
            let (_, rows) = self.shards.entry(shard).or_insert_with(|| (at, Vec::new()));
            rows.push(record);
            if rows.len() == TALLY_BATCH {
                due.extend(self.shards.remove(&shard));
            }
        }
        due
    }

    /// Returns what still waits.
    fn rest(&mut self) -> Vec<(i64, Vec<Value>)> {
        std::mem::take(&mut self.shards).into_values().map(|(since, rows)| (since + TALLY_WINDOW, rows)).collect()
    }
}
