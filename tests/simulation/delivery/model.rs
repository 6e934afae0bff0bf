//! The invariants, independent of the rules for retries.
//!
//! To extend the model: add a new state or transition to [`may_follow`], a new kind of holder to [`Model::is_held`], a
//! new reason for a request to [`Model::arrived`], and a new way to end to [`Model::ended`].

use std::collections::{BTreeMap, BTreeSet};

use domain::delivery::State;
use domain::delivery::message::Message;
use domain::id::{DeliveryId, WebhookId};
use jiff::Timestamp;
use outbound::Request;
use serde_json::Value;
use tests::cloud::{Letter, Queues, Write};

/// How a receiver answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    Up,
    Failing,
    Refusing,
    Slow,
    /// Accepts after so many milliseconds.
    Late(u64),
    Flapping,
    Unreachable,
    Throttling,
    Unavailable,
    Gone,
    /// The response makes the process die.
    Killing,
}

/// A webhook, as the test has configured it.
#[derive(Debug)]
pub(super) struct Hook {
    pub(super) mood: Mood,
    pub(super) paused: bool,
    pub(super) deleted: bool,
    /// Whether its receiver has answered that it wants no more events.
    pub(super) gone: bool,
    pub(super) max_attempts: u32,
    /// The concurrency limit of its receiver.
    pub(super) max_concurrency: Option<u32>,
    /// The previous concurrency limit, and until when slots from that time may be used.
    pub(super) took_before: (Option<u32>, Timestamp),
    /// The number of current requests.
    pub(super) under_way: u32,
}

/// A row of the ledger, as it was last written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) state: State,
    pub(super) cycle: u32,
    pub(super) attempt: u32,
    pub(super) attempts: Vec<(u32, u32)>,
    pub(super) lane_at: Option<i64>,
    /// Whether the sweep finds the row at that time. A parked row waits until its webhook's rows are released.
    pub(super) is_due: bool,
    /// Whether the row waits in the line for a free slot of its receiver.
    pub(super) is_in_line: bool,
}

/// A delivery that was sent to the queue.
#[derive(Debug)]
pub(super) struct Known {
    /// Its first message.
    pub(super) message: Message,
    /// The text of its body, if it has one.
    pub(super) body: Option<String>,
    pub(super) row: Option<Row>,
    /// Whether the receiver ever accepted it.
    accepted: bool,
    /// The number of requests.
    pub(super) posts: usize,
    /// The attempts that were ever recorded in its row.
    slots: BTreeSet<(u32, u32)>,
    /// The number of batches with its first message.
    pub(super) firsts: usize,
    /// The number of invocations with it that died or met a fault.
    pub(super) disturbed: usize,
    /// The number of requests that a process left, because another one had marked the receiver as slow.
    pub(super) left: usize,
}

#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) hooks: BTreeMap<WebhookId, Hook>,
    pub(super) deliveries: BTreeMap<DeliveryId, Known>,
    /// The deliveries of each webhook by their events, because a request only names the event.
    pub(super) by_event: BTreeMap<(WebhookId, String), DeliveryId>,
    /// The deliveries of all requests, in order.
    pub(super) requests: Vec<DeliveryId>,
    /// How often a delivery joined a line.
    pub(super) joined: usize,
    /// The bodies of messages that cannot be parsed.
    pub(super) poison: BTreeSet<String>,
    /// The due times of rows that are not deliveries: breakers and flows.
    others_due: BTreeMap<(String, String), i64>,
}

/// Returns whether one state of a row may follow another.
///
/// After its end, only a redrive continues a delivery, with one exception: a process that makes a first attempt does
/// not know of another process that does the same, and an accepted request stays valid. So an accepted delivery may
/// have been exhausted and redriven before.
fn may_follow(before: &Row, after: &Row) -> bool {
    let is_redrive = after.state == State::Pending && after.cycle == before.cycle + 1;
    let is_first_taken = after.state == State::Delivered && (after.cycle, after.attempt) == (0, 1);
    match before.state {
        State::Delivered => after.state == State::Delivered || is_redrive,
        State::Exhausted => {
            // Only the due time may change, until the letter is sent.
            let is_same = Row { lane_at: after.lane_at, is_due: after.is_due, ..before.clone() } == *after;
            is_same || is_redrive || is_first_taken
        }
        State::Cancelled | State::Failed => after == before || is_first_taken,
        State::Pending | State::Retrying | State::Parked | State::Held => {
            is_first_taken || (after.cycle, after.attempt) >= (before.cycle, before.attempt)
        }
    }
}

/// Returns whether an item is in a due lane.
fn is_due(item: &Value) -> bool {
    item["lane"]["S"].as_str().is_some_and(|lane| lane.starts_with("due#"))
}

impl Row {
    pub(super) fn read(item: &Value) -> Self {
        let number = |value: &Value| value["N"].as_str().and_then(|text| text.parse::<i64>().ok());
        let small = |value: &Value| number(value).and_then(|number| u32::try_from(number).ok()).unwrap();
        let attempts = item["attempts"]["L"].as_array().into_iter().flatten();
        Self {
            state: serde_json::from_value(item["delivery_state"]["S"].clone()).unwrap(),
            cycle: small(&item["delivery_cycle"]),
            attempt: small(&item["next_attempt"]),
            attempts: attempts.map(|entry| (small(&entry["M"]["cycle"]), small(&entry["M"]["number"]))).collect(),
            lane_at: number(&item["lane_at"]).filter(|_| item["lane"]["S"].is_string()),
            is_due: is_due(item),
            is_in_line: item["lane"]["S"].as_str().is_some_and(|lane| lane.starts_with("waiting#")),
        }
    }
}

impl Model {
    /// Records a published delivery.
    pub(super) fn publish(&mut self, message: Message, body: Option<String>) {
        let (id, key) = (message.delivery, (message.webhook, message.event.to_string()));
        self.by_event.insert(key, id);
        let known = Known {
            message,
            body,
            row: None,
            accepted: false,
            posts: 0,
            slots: BTreeSet::new(),
            firsts: 0,
            disturbed: 0,
            left: 0,
        };
        self.deliveries.insert(id, known);
    }

    /// Checks a request that arrived: its webhook may be called, and it has the id and the body that all requests of
    /// the delivery have. Returns whether it takes a slot of the receiver.
    pub(super) fn arrived(&mut self, webhook: WebhookId, request: &Request, now: Timestamp) -> bool {
        let header = |wanted: &str| {
            request.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.as_str())
        };
        let event = header("webhook-id").expect("a request names its event");
        let id = self.by_event.get(&(webhook, event.to_owned())).expect("a request is of a delivery to that webhook");
        let known = self.deliveries.get_mut(id).unwrap();
        assert_eq!(Some(&*request.body), known.body.as_deref().map(str::as_bytes), "{id}: another body");
        let hook = self.hooks.get_mut(&webhook).unwrap();
        assert!(!hook.deleted, "{id}: a deleted webhook is called");
        assert!(!hook.paused || known.message.test, "{id}: a paused webhook is called");
        // Tests take no slot and are not limited.
        if !known.message.test {
            hook.under_way += 1;
            let (count, most, (before, until)) = (hook.under_way, hook.max_concurrency, hook.took_before);
            let holds = |most: Option<u32>| most.is_none_or(|most| count <= most);
            assert!(holds(most) || (now < until && holds(before)), "{id}: {count} requests at once of {most:?}");
        }
        known.posts += 1;
        self.requests.push(*id);
        !known.message.test
    }

    /// Records that a process left a request.
    pub(super) fn left(&mut self, webhook: WebhookId, event: &str) {
        let id = self.by_event[&(webhook, event.to_owned())];
        self.deliveries.get_mut(&id).unwrap().left += 1;
    }

    /// Records that the receiver accepted a request.
    pub(super) fn took(&mut self, webhook: WebhookId, event: &str) {
        let id = self.by_event[&(webhook, event.to_owned())];
        self.deliveries.get_mut(&id).unwrap().accepted = true;
    }

    /// Checks and records a written row.
    pub(super) fn written(&mut self, write: &Write) -> Option<DeliveryId> {
        let Ok(id) = write.sk.parse::<DeliveryId>() else {
            // Other rows that wait for the sweep: breakers and flows.
            let at = write.item["lane_at"]["N"].as_str().filter(|_| is_due(&write.item)).map(|at| at.parse().unwrap());
            let key = (write.pk.clone(), write.sk.clone());
            match at {
                Some(at) => self.others_due.insert(key, at),
                None => self.others_due.remove(&key),
            };
            if at.is_none() {
                self.assert_no_line(&write.pk);
            }
            return None;
        };
        let row = Row::read(&write.item);
        let known = self.deliveries.get_mut(&id).unwrap_or_else(|| panic!("{id}: a row of nothing that was sent"));
        let hook = &self.hooks[&known.message.webhook];
        if let Some(before) = &known.row {
            assert!(may_follow(before, &row), "{id}: {row:?} came after {before:?}");
        }
        if row.state == State::Delivered {
            assert!(known.accepted, "{id}: no receiver accepted it");
        }
        let mut seen = BTreeSet::new();
        for slot in &row.attempts {
            assert!(seen.insert(*slot), "{id}: attempt {slot:?} is twice in its log");
            assert!(slot.1 <= hook.max_attempts, "{id}: attempt {slot:?} of {}", hook.max_attempts);
        }
        assert!(row.attempt <= hook.max_attempts, "{id}: waits for attempt {} of {}", row.attempt, hook.max_attempts);
        self.joined += usize::from(row.is_in_line && !known.row.as_ref().is_some_and(|before| before.is_in_line));
        known.slots.extend(seen);
        known.row = Some(row);
        Some(id)
    }

    /// Returns whether a delivery has ended or has a holder that will continue it: the most important invariant.
    pub(super) fn is_held(&self, id: DeliveryId, queues: &Queues) -> bool {
        let known = &self.deliveries[&id];
        let letter = |wanted: &dyn Fn(&str, &Message) -> bool| {
            queues.any(|queue, letter| {
                letter.message.as_ref().is_some_and(|message| message.delivery == id && wanted(queue, message))
            })
        };
        match &known.row {
            None => letter(&|_, message| (message.cycle, message.attempt) == (0, 1) && message.body.is_some()),
            Some(row) => match row.state {
                // A line is only read because its flow's row is due.
                State::Pending if row.is_in_line => {
                    self.others_due.contains_key(&(format!("W#{}", known.message.webhook), "FLOW".to_owned()))
                }
                State::Pending | State::Retrying | State::Parked => row.lane_at.is_some(),
                // Its letter is in the exhausted queue, or has been redriven.
                State::Exhausted => {
                    row.lane_at.is_some()
                        || letter(&|_, message| (message.cycle, message.attempt) == (row.cycle + 1, 1))
                }
                // No webhook is ordered in this simulation, so nothing is held.
                State::Held => false,
                State::Delivered | State::Cancelled | State::Failed => true,
            },
        }
    }

    /// Checks that a line which no process reads any more is empty.
    fn assert_no_line(&self, pk: &str) {
        let in_line = self.deliveries.iter().find(|(_, known)| {
            let row = known.row.as_ref();
            row.is_some_and(|row| row.is_in_line) && format!("W#{}", known.message.webhook) == pk
        });
        let is_looked_at = self.others_due.contains_key(&(pk.to_owned(), "FLOW".to_owned()));
        assert!(is_looked_at || in_line.is_none(), "{in_line:?} waits in a line that no process reads");
    }

    pub(super) fn assert_held(&self, id: DeliveryId, queues: &Queues, after: &str) {
        assert!(self.is_held(id, queues), "after {after} {id} has no holder: {:?}", self.deliveries[&id]);
    }

    /// Checks that the deliveries of acknowledged messages have a holder.
    pub(super) fn acknowledged(&self, letters: &[Letter], queues: &Queues) {
        for message in letters.iter().filter_map(|letter| letter.message.as_ref()) {
            self.assert_held(message.delivery, queues, "an acknowledgement");
        }
    }

    /// Checks, after letters were deleted, that every exhausted delivery still has a holder.
    pub(super) fn removed(&self, queues: &Queues) {
        let exhausted = self
            .deliveries
            .iter()
            .filter(|(_, known)| known.row.as_ref().is_some_and(|row| row.state == State::Exhausted));
        for (id, _) in exhausted {
            self.assert_held(*id, queues, "a removal of letters");
        }
    }

    /// Returns the first letter whose delivery is no longer exhausted.
    pub(super) fn obsolete(&self, queues: &Queues) -> Option<Message> {
        let mut found = None;
        queues.any(|queue, letter| {
            let message = letter.message.as_ref().filter(|_| queue == "exhausted");
            found = message
                .filter(|message| {
                    let row = self.deliveries[&message.delivery].row.as_ref().unwrap();
                    row.state != State::Exhausted || row.cycle + 1 != message.cycle
                })
                .cloned();
            found.is_some()
        });
        found
    }

    /// Returns when the next row is due.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        let times = self.deliveries.values().filter_map(|known| known.row.as_ref().filter(|row| row.is_due)?.lane_at);
        times.chain(self.others_due.values().copied()).min().map(|at| Timestamp::from_millisecond(at).unwrap())
    }

    /// Describes what has not ended: deliveries that are due or have no row, and other due rows.
    pub(super) fn unfinished(&self) -> String {
        let is_due = |known: &&Known| known.row.as_ref().is_none_or(|row| row.is_due);
        let deliveries: Vec<_> = self.deliveries.values().filter(is_due).collect();
        format!("due deliveries {deliveries:?}, other due rows {:?}", self.others_due)
    }

    /// Checks the final states of all deliveries, and returns how many are in each.
    pub(super) fn ended(&self, queues: &Queues) -> BTreeMap<&'static str, usize> {
        let mut states = BTreeMap::new();
        for (id, known) in &self.deliveries {
            let row = known.row.as_ref().unwrap_or_else(|| panic!("{id} is lost: {known:?}"));
            let hook = &self.hooks[&known.message.webhook];
            match row.state {
                State::Delivered => {}
                State::Exhausted => {
                    let is_letter = |queue: &str, letter: &Letter| {
                        let message = letter.message.as_ref();
                        queue == "exhausted" && message.is_some_and(|message| message.delivery == *id)
                    };
                    assert!(queues.any(is_letter), "{id} is exhausted, and no dead letter says so: {known:?}");
                }
                State::Cancelled => assert!(hook.deleted || hook.gone, "{id} was cancelled for no reason: {known:?}"),
                State::Failed => assert!(known.message.test, "{id} was given up at once: {known:?}"),
                State::Pending | State::Retrying | State::Parked | State::Held => panic!("{id} never ends: {known:?}"),
            }
            let allowed = known.slots.len() + known.disturbed + known.left + known.firsts.saturating_sub(1);
            assert!(known.posts <= allowed, "{id}: more requests than anything explains: {known:?}");
            *states.entry(row.state.as_str()).or_default() += 1;
        }
        for poison in &self.poison {
            assert!(queues.any(|queue, letter| queue == "dead-letters" && letter.body == *poison), "{poison} is lost");
        }
        states
    }
}
