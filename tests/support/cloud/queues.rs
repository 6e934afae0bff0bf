//! SQS: standard queues on the test's clock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use domain::delivery::message::Message;
use domain::time::Clock;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::letter::Letter;
use super::recursion::is_refused;
use super::reply::Reply;
use super::tables::template;

/// The queues of the template, and their names here.
const QUEUES: [(&str, &str); 7] = [
    ("DeliveriesQueue", "deliveries"),
    ("RenderingsQueue", "renderings"),
    ("RenderingsDeadLetterQueue", "renderings-dead-letters"),
    ("RetriesQueue", "retries"),
    ("SlowQueue", "slow"),
    ("ExhaustedQueue", "exhausted"),
    ("DeadLetterQueue", "dead-letters"),
];

/// How long a received message is hidden if the template does not say.
const VISIBILITY: Duration = Duration::from_secs(30);

/// The settings of a queue in `infra/template.yaml`.
#[derive(Debug, Clone, Copy)]
struct Policy {
    visibility: Duration,
    /// How often a message may be received, and the queue to which SQS moves it afterwards.
    redrive: Option<(u32, &'static str)>,
}

impl Policy {
    fn of(queue: &str) -> Self {
        let (logical_id, _) = QUEUES.into_iter().find(|(_, name)| *name == queue).expect("a queue of the template");
        let properties = &template()["Resources"][logical_id]["Properties"];
        let redrive = properties["RedrivePolicy"].as_object().map(|policy| {
            let max = policy["maxReceiveCount"].as_u64().and_then(|max| u32::try_from(max).ok()).unwrap();
            let target = policy["deadLetterTargetArn"].as_str().unwrap();
            let is_target = |(id, _): &(&str, &str)| target.strip_suffix(".Arn") == Some(*id);
            (max, QUEUES.into_iter().find(is_target).unwrap().1)
        });
        let visibility = properties["VisibilityTimeout"].as_u64().map_or(VISIBILITY, Duration::from_secs);
        Self { visibility, redrive }
    }
}

/// A message to put into a queue.
struct Sent {
    body: String,
    delay: Duration,
    group: Option<String>,
    cause: Option<String>,
    trace: Option<String>,
}

/// The queues, by the last part of their URLs.
pub struct Queues {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    queues: BTreeMap<String, Vec<Letter>>,
    next_id: u64,
}

impl std::fmt::Debug for Queues {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Queues")
    }
}

impl Queues {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, state: Mutex::default() }
    }

    /// Puts a message into a queue.
    pub fn send(&self, queue: &str, body: String, delay: Duration, group: Option<String>, cause: Option<String>) {
        self.put(queue, Sent { body, delay, group, cause, trace: None });
    }

    fn put(&self, queue: &str, sent: Sent) {
        let Sent { body, delay, group, cause, trace } = sent;
        let mut state = self.state.lock().unwrap();
        state.next_id += 1;
        let (id, message) = (state.next_id, Message::from_json(&body).ok());
        let letter = Letter { id, body, message, due: self.clock.now() + delay, receives: 0, group, cause, trace };
        state.queues.entry(queue.to_owned()).or_default().push(letter);
    }

    /// Returns how often a message of a queue may be received before SQS moves it away, if it ever does.
    #[must_use]
    pub fn max_receives(&self, queue: &str) -> Option<u32> {
        Policy::of(queue).redrive.map(|(max, _)| max)
    }

    /// Receives up to `limit` due messages of a queue, sorted by `order`. A message that was received too often moves
    /// to the queue's dead-letter queue.
    pub fn receive<K: Ord>(&self, queue: &str, limit: usize, order: impl FnMut(&Letter) -> K) -> Vec<Letter> {
        self.receive_for(queue, limit, order, None)
    }

    /// Receives due messages like a fair queue: first those of the groups with the fewest messages in progress. Each
    /// message without a group is a group of its own.
    pub fn receive_fairly(&self, queue: &str, limit: usize) -> Vec<Letter> {
        let now = self.clock.now();
        let mut taken: BTreeMap<String, usize> = BTreeMap::new();
        let mut waiting = Vec::new();
        for letter in self.state.lock().unwrap().queues.get(queue).into_iter().flatten() {
            if letter.due <= now {
                waiting.push((letter.id, letter.group.clone()));
            } else if let Some(group) = letter.group.as_ref().filter(|_| letter.receives > 0) {
                *taken.entry(group.clone()).or_default() += 1;
            }
        }
        waiting.sort();
        let mut rank = |(id, group): (u64, Option<String>)| {
            let place = group.map_or(0, |group| {
                let place = taken.entry(group).or_default();
                *place += 1;
                *place
            });
            (id, place)
        };
        let ranks: BTreeMap<u64, usize> = waiting.into_iter().map(&mut rank).collect();
        self.receive(queue, limit, |letter| (ranks.get(&letter.id).copied().unwrap_or(usize::MAX), letter.id))
    }

    /// Receives messages, and hides them for `visibility`, or for the queue's own visibility timeout.
    fn receive_for<K: Ord>(
        &self,
        queue: &str,
        limit: usize,
        mut order: impl FnMut(&Letter) -> K,
        visibility: Option<Duration>,
    ) -> Vec<Letter> {
        let policy = Policy::of(queue);
        let now = self.clock.now();
        let mut state = self.state.lock().unwrap();
        let letters = state.queues.entry(queue.to_owned()).or_default();
        let (mut dead, mut due) = (Vec::new(), Vec::new());
        for mut letter in std::mem::take(letters) {
            if letter.due > now {
                letters.push(letter);
            } else if policy.redrive.is_some_and(|(max, _)| letter.receives >= max) {
                letter.receives = 0;
                dead.push(letter);
            } else if is_refused(letter.trace.as_deref()) {
                // Lambda refuses the invocation, and the message returns to the queue, in vain.
                letter.receives += 1;
                letter.due = now + policy.visibility;
                letters.push(letter);
            } else {
                due.push(letter);
            }
        }
        due.sort_by_cached_key(|letter| order(letter));
        let rest = due.split_off(limit.min(due.len()));
        for letter in &mut due {
            letter.receives += 1;
            letter.due = now + visibility.unwrap_or(policy.visibility);
        }
        letters.extend(rest);
        letters.extend(due.iter().cloned());
        if let Some((_, target)) = policy.redrive {
            state.queues.entry(target.to_owned()).or_default().extend(dead);
        }
        due
    }

    /// Removes messages.
    pub fn delete(&self, queue: &str, ids: &[u64]) {
        let mut state = self.state.lock().unwrap();
        if let Some(letters) = state.queues.get_mut(queue) {
            letters.retain(|letter| !ids.contains(&letter.id));
        }
    }

    /// Makes messages visible at once.
    pub fn release(&self, queue: &str, ids: &[u64]) {
        let now = self.clock.now();
        for letter in self.state.lock().unwrap().queues.get_mut(queue).into_iter().flatten() {
            if ids.contains(&letter.id) {
                letter.due = now;
            }
        }
    }

    /// Makes all messages visible that were never received, whatever their delay.
    pub fn hurry(&self, queue: &str) {
        let now = self.clock.now();
        for letter in self.state.lock().unwrap().queues.get_mut(queue).into_iter().flatten() {
            if letter.receives == 0 {
                letter.due = letter.due.min(now);
            }
        }
    }

    /// Puts another copy of a message into its queue, as a standard queue may. A copy of a delayed message is delayed
    /// too.
    pub fn duplicate(&self, queue: &str, index: usize) -> Option<Message> {
        let letter = self.state.lock().unwrap().queues.get(queue)?.get(index)?.clone();
        let Letter { body, group, cause, trace, message, due, receives, .. } = letter;
        let wait = Duration::try_from(due.duration_since(self.clock.now())).unwrap_or_default();
        let delay = if receives == 0 { wait } else { Duration::ZERO };
        self.put(queue, Sent { body, delay, group, cause, trace });
        message
    }

    /// Adds another copy of a received message and hands it out too, as a standard queue may do.
    ///
    /// # Panics
    ///
    /// If the queue has no such message.
    pub fn receive_copy(&self, queue: &str, id: u64) -> Letter {
        let mut state = self.state.lock().unwrap();
        state.next_id += 1;
        let copy_id = state.next_id;
        let letters = state.queues.get_mut(queue).unwrap();
        let copy = Letter { id: copy_id, ..letters.iter().find(|letter| letter.id == id).unwrap().clone() };
        letters.push(copy.clone());
        copy
    }

    /// Moves visible messages from one queue to another, like the console's redrive.
    pub fn redrive(&self, from: &str, to: &str, limit: usize) -> Vec<Letter> {
        let now = self.clock.now();
        let mut state = self.state.lock().unwrap();
        let letters = state.queues.entry(from.to_owned()).or_default();
        let (mut moved, rest): (Vec<_>, Vec<_>) =
            std::mem::take(letters).into_iter().partition(|letter| letter.due <= now);
        letters.extend(rest);
        letters.extend(moved.split_off(limit.min(moved.len())));
        for letter in &mut moved {
            (letter.due, letter.receives) = (now, 0);
        }
        state.queues.entry(to.to_owned()).or_default().extend(moved.iter().cloned());
        moved
    }

    /// Returns how many messages a queue has.
    #[must_use]
    pub fn len(&self, queue: &str) -> usize {
        self.state.lock().unwrap().queues.get(queue).map_or(0, Vec::len)
    }

    /// Returns whether any queue has a message that satisfies `test`.
    pub fn any(&self, mut test: impl FnMut(&str, &Letter) -> bool) -> bool {
        let state = self.state.lock().unwrap();
        state.queues.iter().any(|(queue, letters)| letters.iter().any(|letter| test(queue, letter)))
    }

    /// Returns when the next message of a queue is due.
    #[must_use]
    pub fn next_due(&self, queue: &str) -> Option<Timestamp> {
        self.state.lock().unwrap().queues.get(queue)?.iter().map(|letter| letter.due).min()
    }

    pub(super) fn answer(&self, operation: &str, request: &Value, trace: Option<&str>) -> Reply {
        let (_, queue) = request["QueueUrl"].as_str().unwrap().rsplit_once('/').unwrap();
        match operation {
            "SendMessageBatch" => self.sent(queue, request, trace),
            "ReceiveMessage" => self.received(queue, request),
            "DeleteMessageBatch" => self.deleted(queue, request),
            "GetQueueAttributes" => self.waiting(queue),
            other => panic!("no test expects {other} of a queue"),
        }
    }

    /// Says how many messages are due.
    fn waiting(&self, queue: &str) -> Reply {
        let now = self.clock.now();
        let state = self.state.lock().unwrap();
        let waiting = state.queues.get(queue).into_iter().flatten().filter(|letter| letter.due <= now).count();
        Reply::ok(&json!({"Attributes": {"ApproximateNumberOfMessages": waiting.to_string()}}))
    }

    /// Receives the oldest messages first, roughly like SQS. The receipt contains the receive count, so a later receive
    /// makes it stale.
    fn received(&self, queue: &str, request: &Value) -> Reply {
        let limit = request["MaxNumberOfMessages"].as_u64().and_then(|limit| usize::try_from(limit).ok()).unwrap_or(1);
        assert!(limit <= 10, "SQS gives ten messages at most");
        let visibility = request["VisibilityTimeout"].as_u64().map(Duration::from_secs);
        let letters = self.receive_for(queue, limit, |letter| letter.id, visibility);
        let message = |letter: &Letter| {
            let receipt = format!("{}/{}", letter.id, letter.receives);
            json!({"MessageId": letter.id.to_string(), "ReceiptHandle": receipt, "Body": letter.body})
        };
        Reply::ok(&json!({"Messages": letters.iter().map(message).collect::<Vec<_>>()}))
    }

    /// Deletes messages. A stale receipt deletes nothing, but succeeds, as in SQS.
    fn deleted(&self, queue: &str, request: &Value) -> Reply {
        let entries = request["Entries"].as_array().unwrap();
        assert!((1..=10).contains(&entries.len()), "SQS deletes ten messages at most");
        let receipts: Vec<&str> = entries.iter().map(|entry| entry["ReceiptHandle"].as_str().unwrap()).collect();
        if let Some(letters) = self.state.lock().unwrap().queues.get_mut(queue) {
            letters.retain(|letter| !receipts.contains(&&*format!("{}/{}", letter.id, letter.receives)));
        }
        let successful: Vec<_> = entries.iter().map(|entry| json!({"Id": entry["Id"]})).collect();
        Reply::ok(&json!({"Successful": successful, "Failed": []}))
    }

    fn sent(&self, queue: &str, request: &Value, trace: Option<&str>) -> Reply {
        let mut successful = Vec::new();
        for entry in request["Entries"].as_array().unwrap() {
            let text = |value: &Value| value.as_str().map(str::to_owned);
            let delay = Duration::from_secs(entry["DelaySeconds"].as_u64().unwrap_or(0));
            assert!(delay <= Duration::from_mins(15), "SQS takes no longer delay");
            let cause = text(&entry["MessageAttributes"]["cause"]["StringValue"]);
            let (body, group) = (text(&entry["MessageBody"]).unwrap(), text(&entry["MessageGroupId"]));
            self.put(queue, Sent { body, delay, group, cause, trace: trace.map(str::to_owned) });
            successful.push(json!({"Id": entry["Id"], "MessageId": "5fea7756", "MD5OfMessageBody": "fafb00f5732ab283681e124bf8747ed1"}));
        }
        Reply::ok(&json!({"Successful": successful, "Failed": []}))
    }
}

/// Returns the event with which Lambda passes messages to a function.
#[must_use]
pub fn sqs_event(letters: &[Letter]) -> Value {
    let record = |letter: &Letter| {
        json!({
            "messageId": letter.id.to_string(), "receiptHandle": letter.id.to_string(), "body": letter.body, "messageAttributes": {},
            "attributes": {"ApproximateReceiveCount": letter.receives.to_string()}, "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:queue", "awsRegion": "us-east-1",
        })
    };
    json!({"Records": letters.iter().map(record).collect::<Vec<_>>()})
}

/// Returns the ids of the messages that a response returns to the queue.
#[must_use]
pub fn handed_back(response: &Value) -> Vec<u64> {
    let failures = response["batchItemFailures"].as_array().into_iter().flatten();
    failures.filter_map(|failure| failure["itemIdentifier"].as_str()?.parse().ok()).collect()
}
