//! The rules of a chain, applied to a model of the ledger with random operations: no delivery overtakes another, and
//! every delivery ends.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::SignedDuration;
use proptest::prelude::*;

use super::*;
use crate::attempt::outcome::Outcome;
use crate::delivery::decide::{Admission, Decision, dead_letter, decide, settle, wake};
use crate::webhook::Pause;

/// An operation in the simulated world. The numbers select among the existing items.
#[derive(Debug, Clone, Copy)]
enum Op {
    /// The entity changes: a message is put on the FIFO queue, perhaps deferred by the tenant's budget for some
    /// seconds.
    Change(Option<u32>),
    /// A copy of an older message is put on the FIFO queue.
    Copy(usize),
    /// A process takes the first message of the FIFO queue.
    TakeFirst,
    /// A process takes a message of the standard queue; the message may stay there too.
    Take(usize, bool),
    /// A request ends with this verdict, and its process writes the outcome.
    End(usize, Verdict),
    /// A process dies.
    Die(usize),
    /// A process dies after writing the outcome and before sending the messages that follow.
    EndAndDie(usize, Verdict),
    /// Time passes, and the sweep runs.
    Wait(u64),
    /// A user redrives an exhausted delivery.
    Redrive(usize),
    /// A user skips the head.
    Skip,
    /// A user pauses or resumes the webhook.
    Pause,
    /// A user changes `on_exhausted`.
    Policy,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let verdict =
        || prop_oneof![6 => Just(Verdict::ServerFailed), 3 => Just(Verdict::Accepted), 1 => Just(Verdict::Aborted)];
    let op = prop_oneof![
        6 => proptest::option::weighted(0.2, 1_u32..6000).prop_map(Op::Change),
        1 => any::<usize>().prop_map(Op::Copy),
        8 => Just(Op::TakeFirst),
        8 => (any::<usize>(), any::<bool>()).prop_map(|(index, stays)| Op::Take(index, stays)),
        12 => (any::<usize>(), verdict()).prop_map(|(index, verdict)| Op::End(index, verdict)),
        1 => any::<usize>().prop_map(Op::Die),
        2 => (any::<usize>(), verdict()).prop_map(|(index, verdict)| Op::EndAndDie(index, verdict)),
        4 => (1_u64..2000).prop_map(Op::Wait),
        1 => any::<usize>().prop_map(Op::Redrive),
        1 => Just(Op::Skip),
        1 => Just(Op::Pause),
        1 => Just(Op::Policy),
    ];
    proptest::collection::vec(op, 1..120)
}

/// A request in flight.
struct Flight {
    message: Message,
    admission: Admission,
    /// Whether its message is first on the FIFO queue.
    in_order: bool,
    until: Timestamp,
}

/// A model of the ledger with the writes of the real one, two queues, and one webhook with one entity.
struct World {
    now: Timestamp,
    webhook: Webhook,
    rows: BTreeMap<DeliveryId, Delivery>,
    chain: Option<Chain>,
    waiting: BTreeMap<u32, Message>,
    in_order: VecDeque<Message>,
    any_order: Vec<Message>,
    flights: Vec<Flight>,
    changes: Vec<Message>,
    /// Deliveries that have ended or were given up at least once.
    gone: BTreeSet<DeliveryId>,
}

impl World {
    fn new() -> Self {
        Self {
            now: start(),
            webhook: ordered(OnExhausted::Halt),
            rows: BTreeMap::new(),
            chain: None,
            waiting: BTreeMap::new(),
            in_order: VecDeque::new(),
            any_order: Vec::new(),
            flights: Vec::new(),
            changes: Vec::new(),
            gone: BTreeSet::new(),
        }
    }

    fn step(&mut self, op: Op) {
        match op {
            Op::Change(seconds) => {
                let until = seconds.map(|seconds| self.now + SignedDuration::from_secs(seconds.into()));
                let message = first(u32::try_from(self.changes.len()).unwrap() + 1);
                let message = Message { deferral: until.map(Deferral::Until), ..message };
                self.changes.push(message.clone());
                self.in_order.push_back(message);
            }
            Op::Copy(index) if !self.changes.is_empty() => {
                self.in_order.push_back(self.changes[index % self.changes.len()].clone());
            }
            Op::TakeFirst if !self.flights.iter().any(|flight| flight.in_order) => self.take_first(),
            Op::Take(index, stays) if !self.any_order.is_empty() => {
                let index = index % self.any_order.len();
                let message = if stays { self.any_order[index].clone() } else { self.any_order.swap_remove(index) };
                self.begin(message, false);
            }
            Op::End(index, verdict) if !self.flights.is_empty() => self.end(index, verdict, true),
            Op::EndAndDie(index, verdict) if !self.flights.is_empty() => self.end(index, verdict, false),
            Op::Die(index) if !self.flights.is_empty() => {
                self.flights.swap_remove(index % self.flights.len());
            }
            Op::Wait(seconds) => self.wait(seconds),
            Op::Redrive(index) => {
                let exhausted = self.rows.values().filter(|row| row.progress.state == State::Exhausted);
                let letters: Vec<_> = exhausted.map(|row| dead_letter(row.next_message())).collect();
                if !letters.is_empty() {
                    self.any_order.push(letters[index % letters.len()].clone());
                }
            }
            Op::Skip => self.skip(),
            Op::Pause => {
                let pause = Pause { at: self.now, by_failures: false };
                self.webhook.pause = if self.webhook.pause.is_some() { None } else { Some(pause) };
            }
            Op::Policy => {
                let setting = &mut self.webhook.settings.on_exhausted;
                *setting = if *setting == OnExhausted::Halt { OnExhausted::Skip } else { OnExhausted::Halt };
            }
            // There is nothing that the operation could apply to.
            Op::Copy(_) | Op::TakeFirst | Op::Take(..) | Op::End(..) | Op::EndAndDie(..) | Op::Die(_) => {}
        }
    }

    fn take_first(&mut self) {
        let Some(message) = self.in_order.front().cloned() else { return };
        loop {
            let head = self.chain.and_then(|chain| self.rows.get(&chain.head));
            match place(self.rows.get(&message.delivery), Some(&self.webhook), self.chain, head) {
                ChainPosition::Free => break,
                ChainPosition::Behind => {
                    let progress = Progress { state: State::Held, cycle: 0, attempt: 1, next_at: None };
                    self.rows.insert(message.delivery, Delivery::first(message.clone(), progress));
                    let chain = self.chain.as_mut().unwrap();
                    chain.tail += 1;
                    self.waiting.insert(chain.tail, Message { body: None, ..message });
                    self.in_order.pop_front();
                    return;
                }
                ChainPosition::Abandoned => {
                    let next = self.advance(self.chain.unwrap().head);
                    self.any_order.extend(next);
                }
            }
        }
        if !self.begin(message, true) {
            self.in_order.pop_front();
        }
    }

    /// Handles a message; returns whether it makes a request.
    fn begin(&mut self, message: Message, in_order: bool) -> bool {
        let row = self.rows.get(&message.delivery);
        let (admission, decision) = decide(&message, row, Some(&self.webhook), None, self.now);
        let stop = |state| Progress { state, cycle: message.cycle, attempt: message.attempt, next_at: None };
        match decision {
            Decision::Attempt { .. } => {}
            Decision::Park => {
                let next = self.write(&message, admission, None, stop(State::Parked));
                self.any_order.extend(next);
                return false;
            }
            Decision::Defer(until) => {
                let next =
                    self.write(&message, admission, None, Progress { next_at: Some(until), ..stop(State::Pending) });
                self.any_order.extend(next);
                return false;
            }
            Decision::Drop(_)
            | Decision::Cancel
            | Decision::GiveUp(..)
            | Decision::SlowQueue
            | Decision::RecordThenSlowQueue => {
                return false;
            }
        }
        let until = self.now + Duration::from_mins(1);
        if let Some(row) = self.rows.get_mut(&message.delivery) {
            if admission == Admission::Redriven {
                row.progress = stop(State::Pending);
            }
            row.lease_until = Some(until);
        }
        // The invariant: when a delivery is attempted for the first time, all earlier ones have ended or were given up.
        let before = self.changes.iter().map(|change| change.delivery).take_while(|id| *id != message.delivery);
        let overtaken: Vec<_> = before.filter(|id| !self.gone.contains(id)).collect();
        let again = self.gone.contains(&message.delivery);
        // No delivery is attempted before the time that its tenant's budget allows.
        let change = self.changes.iter().find(|change| change.delivery == message.delivery).unwrap();
        let is_early = matches!(change.deferral, Some(Deferral::Until(until)) if until > self.now);
        assert!(again || !is_early, "{} goes at {}: {:?}", message.delivery, self.now, change.deferral);
        assert!(again || overtaken.is_empty(), "{} overtakes {overtaken:?}", message.delivery);
        self.flights.push(Flight { message, admission, in_order, until });
        true
    }

    fn end(&mut self, index: usize, verdict: Verdict, sends: bool) {
        let Flight { message, admission, in_order, .. } = self.flights.swap_remove(index % self.flights.len());
        let outcome = Outcome::unanswered(verdict, "");
        let policy = &self.webhook.settings.retry_policy;
        let progress = settle(&message, &outcome, policy, self.now, 0.5);
        let next = self.write(&message, admission, Some(verdict), progress);
        if sends {
            self.any_order.extend(next);
            if in_order {
                self.in_order.pop_front();
            }
        }
    }

    /// Writes an outcome as the ledger does, and returns the messages that follow.
    fn write(
        &mut self,
        message: &Message,
        admission: Admission,
        verdict: Option<Verdict>,
        progress: Progress,
    ) -> Vec<Message> {
        let ended = lets_go(progress.state, verdict, Some(&self.webhook));
        let mut next = Vec::new();
        if admission == Admission::First {
            if self.rows.contains_key(&message.delivery) {
                return next;
            }
            self.rows.insert(message.delivery, Delivery::first(message.clone(), progress));
            if !ended {
                assert_eq!(self.chain, None, "there is one head");
                self.chain = Some(Chain { head: message.delivery, tail: 0 });
            }
        } else {
            let Some(row) = self.rows.get_mut(&message.delivery) else { return next };
            let Progress { state, cycle, attempt, .. } = row.progress;
            let waits = matches!(state, State::Pending | State::Retrying | State::Parked);
            if !waits || (cycle, attempt) != (message.cycle, message.attempt) {
                return next;
            }
            (row.progress, row.lease_until) = (progress, None);
            if ended {
                next.extend(self.advance(message.delivery));
            }
        }
        if ended {
            self.gone.insert(message.delivery);
        }
        // The sweep sends the messages of deferred deliveries.
        let is_deferred = progress.state == State::Pending && progress.next_at.is_some();
        if matches!(progress.state, State::Pending | State::Retrying) && !is_deferred {
            next.push(self.rows[&message.delivery].next_message());
        }
        next
    }

    fn advance(&mut self, head: DeliveryId) -> Option<Message> {
        let chain = self.chain.as_mut().filter(|chain| chain.head == head)?;
        self.gone.insert(head);
        let Some((_, next)) = self.waiting.pop_first() else {
            self.chain = None;
            return None;
        };
        chain.head = next.delivery;
        let row = self.rows.get_mut(&next.delivery).unwrap();
        assert_eq!(row.progress.state, State::Held);
        row.progress = released(&next, self.now);
        row.progress.next_at.is_none().then(|| row.next_message())
    }

    fn skip(&mut self) {
        let Some(head) = self.chain.map(|chain| chain.head) else { return };
        let row = self.rows.get_mut(&head).unwrap();
        if row.lease_until.is_none_or(|until| until <= self.now) {
            row.progress.state = State::Cancelled;
            let next = self.advance(head);
            self.any_order.extend(next);
        }
    }

    fn wait(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        // A lease outlives the process that took it.
        self.flights.retain(|flight| flight.until > self.now);
        let is_paused = self.webhook.pause.is_some();
        for row in self.rows.values() {
            let is_due = match row.progress.waits(self.now) {
                Some(Waits::Due(_)) if row.progress.state == State::Pending => {
                    row.progress.next_at.is_none_or(|at| at <= self.now)
                        && row.lease_until.is_none_or(|until| until <= self.now)
                }
                Some(Waits::Due(_)) => row.lease_until.is_none_or(|until| until <= self.now),
                Some(Waits::Parked) => !is_paused,
                Some(Waits::Held) | None => false,
            };
            if is_due && row.progress.state != State::Exhausted && wake(&row.progress, self.now).is_some() {
                self.any_order.push(row.next_message());
            }
        }
    }

    /// From now on nothing fails.
    fn recover(&mut self) {
        self.webhook.pause = None;
        self.webhook.settings.on_exhausted = OnExhausted::Halt;
        for _ in 0..4 * self.changes.len() + 10 {
            self.wait(3600);
            for message in std::mem::take(&mut self.any_order) {
                self.begin(message, false);
            }
            while !self.in_order.is_empty() {
                self.take_first();
                while !self.flights.is_empty() {
                    self.end(0, Verdict::Accepted, true);
                }
            }
            while !self.flights.is_empty() {
                self.end(0, Verdict::Accepted, true);
            }
            if let Some(head) = self.chain.and_then(|chain| self.rows.get(&chain.head))
                && head.progress.state == State::Exhausted
            {
                self.any_order.push(dead_letter(head.next_message()));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever fails, dies, is duplicated or changed by users: no delivery overtakes another, and every delivery ends.
    #[test]
    fn nothing_overtakes_and_nothing_is_left_behind(ops in ops()) {
        let mut world = World::new();
        for op in ops {
            world.step(op);
        }
        world.recover();
        prop_assert_eq!(world.chain, None);
        prop_assert!(world.waiting.is_empty());
        for Message { delivery: id, .. } in &world.changes {
            let row = &world.rows[id];
            prop_assert!(row.progress.state.is_terminal(), "{} is {:?}", id, row.progress);
        }
    }
}
