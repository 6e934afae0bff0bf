//! The world of a run: its state, and how work is done in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use domain::id::{DeliveryId, WebhookId};
use domain::time::Clock as _;
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;
use tests::Hooks;
use tests::cloud::{Cloud, Fault, Letter, secrets_table};

use super::model::{Hook, Model, Mood};
use super::process::{Fixture, Plan, Process, Time};

/// The queues from which deliver receives messages.
pub(super) const QUEUES: [&str; 3] = ["deliveries", "retries", "slow"];

pub(super) const TENANT: &str = "acme";
pub(super) const HOOKS: usize = 12;

/// How many execution environments each function has.
const PROCESSES: usize = 3;

pub(super) struct World {
    pub(super) fixture: Fixture,
    pub(super) hooks: Hooks,
    pub(super) delivers: Vec<Process<deliver::App>>,
    pub(super) sweeps: Vec<Process<sweep::App>>,
    pub(super) counts: BTreeMap<&'static str, usize>,
    /// How many deliveries were published, and how many webhooks registered.
    pub(super) published: u128,
    pub(super) registered: u128,
}

/// An invocation to run.
pub(super) enum Work {
    Batch(&'static str, Vec<Letter>, Plan),
    Sweep(Plan),
}

impl World {
    pub(super) async fn new(seed: u64) -> Self {
        let (random, time) = (Arc::new(Mutex::new(StdRng::seed_from_u64(seed))), Time::new());
        let cloud = Cloud::new(Arc::clone(&time) as Arc<_>);
        cloud.tables.keep_journal();
        // Every second world keeps secrets in a table.
        let secrets_table = (seed % 2 == 1).then(secrets_table);
        let hooks = Hooks::of(&cloud, secrets_table.clone()).await;
        let client = outbound::Client::new(domain::attempt::target::TargetPolicy::default()).unwrap();
        let fixture =
            Fixture { random, time, cloud, model: Arc::default(), outage: Arc::default(), secrets_table, client };
        let (mut delivers, mut sweeps) = (Vec::new(), Vec::new());
        for _ in 0..PROCESSES {
            delivers.push(Process::<deliver::App>::start(&fixture).await);
            sweeps.push(Process::<sweep::App>::start(&fixture).await);
        }
        let counts = BTreeMap::new();
        let mut world = Self { fixture, hooks, delivers, sweeps, counts, published: 0, registered: 0 };
        for _ in 0..HOOKS {
            world.register().await;
        }
        world
    }

    pub(super) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    pub(super) fn roll(&self, below: usize) -> usize {
        self.fixture.random.lock().unwrap().random_range(0..below)
    }

    pub(super) fn model(&self) -> std::sync::MutexGuard<'_, Model> {
        self.fixture.model.lock().unwrap()
    }

    /// Registers one more webhook.
    pub(super) async fn register(&mut self) -> WebhookId {
        let max_attempts = [1, 2, 3, 4, 6][self.roll(5)];
        let max_concurrency = [None, None, Some(1), Some(2), Some(3)][self.roll(5)];
        let rate_limit = [None, None, Some(2), Some(20)][self.roll(4)];
        let settings = json!({
            "retry_policy": {"maxAttempts": max_attempts, "timeoutMs": 1000 * (1 + self.roll(20))},
            "max_concurrency": max_concurrency, "rate_limit": rate_limit,
        });
        self.register_with(settings, max_attempts).await
    }

    /// Registers a webhook with these settings.
    pub(super) async fn register_with(&mut self, mut settings: serde_json::Value, max_attempts: u32) -> WebhookId {
        self.registered += 1;
        let id = WebhookId::from_parts(Timestamp::UNIX_EPOCH, self.registered);
        settings["url"] = json!(format!("https://receiver.example/{id}"));
        let max_concurrency = settings["max_concurrency"].as_u64().map(|most| u32::try_from(most).unwrap());
        let webhook = self.hooks.create(TENANT, self.registered, settings).await;
        assert_eq!(webhook.id, id);
        let (mood, under_way) = (Mood::Up, 0);
        let took_before = (max_concurrency, Timestamp::UNIX_EPOCH);
        let (paused, deleted, gone) = (false, false, false);
        let hook = Hook { mood, paused, deleted, gone, max_attempts, max_concurrency, took_before, under_way };
        self.model().hooks.insert(id, hook);
        id
    }

    /// Returns the webhooks that are not deleted.
    pub(super) fn living(&self) -> Vec<WebhookId> {
        self.model().hooks.iter().filter(|(_, hook)| !hook.deleted && !hook.gone).map(|(id, _)| *id).collect()
    }

    /// Runs several invocations at once, in separate processes, and checks the outcome.
    pub(super) async fn run(&mut self, work: Vec<Work>) {
        let (mut batches, mut sweeps) = (Vec::new(), Vec::new());
        for work in work {
            match work {
                Work::Batch(queue, letters, plan) if batches.len() < PROCESSES => {
                    self.delivers[batches.len()].plan(plan);
                    batches.push((queue, letters));
                }
                Work::Sweep(plan) if sweeps.len() < PROCESSES => {
                    self.sweeps[sweeps.len()].plan(plan);
                    sweeps.push(());
                }
                Work::Batch(..) | Work::Sweep(_) => panic!("there are {PROCESSES} processes of each"),
            }
        }
        for (_, letters) in &batches {
            self.received(letters);
        }
        let deliver =
            join_all(batches.iter().zip(&self.delivers).map(|((_, letters), process)| process.deliver(letters)));
        let sweep = join_all(sweeps.iter().zip(&self.sweeps).map(|((), process)| process.sweep()));
        let (delivered, swept) = futures::future::join(deliver, sweep).await;
        for (index, ((queue, letters), back)) in batches.into_iter().zip(delivered).enumerate() {
            let met = std::mem::take(&mut self.delivers[index].plan.lock().unwrap().met);
            self.note(&letters, &met, back.is_none());
            if back.is_none() {
                self.count("batches that died");
                self.delivers[index] = Process::<deliver::App>::start(&self.fixture).await;
            }
            self.settle(queue, letters, back, &met);
        }
        let mut removed = 0;
        for (index, swept) in swept.into_iter().enumerate() {
            let met = std::mem::take(&mut self.sweeps[index].plan.lock().unwrap().met);
            self.note(&[], &met, false);
            if swept.is_none() {
                self.count("sweeps that died or failed");
                self.sweeps[index] = Process::<sweep::App>::start(&self.fixture).await;
            }
            removed += swept.map_or(0, |ran| ran.removed);
        }
        self.check("a run");
        if removed > 0 {
            *self.counts.entry("letters removed").or_default() += removed;
            self.model().removed(&self.fixture.cloud.queues);
        }
    }

    /// Records that first messages were handed out. Copies in one batch count once, and explain one request.
    fn received(&self, letters: &[Letter]) {
        let mut model = self.model();
        let messages = letters.iter().filter_map(|letter| letter.message.as_ref());
        let firsts = messages.filter(|message| (message.cycle, message.attempt) == (0, 1));
        for delivery in firsts.map(|message| message.delivery).collect::<BTreeSet<_>>() {
            model.deliveries.get_mut(&delivery).unwrap().firsts += 1;
        }
    }

    /// Records the faults that an invocation met.
    fn note(&mut self, letters: &[Letter], met: &BTreeMap<&'static str, usize>, died: bool) {
        for (what, times) in met {
            *self.counts.entry(what).or_default() += times;
        }
        if died || !met.is_empty() {
            let mut model = self.model();
            let messages = letters.iter().filter_map(|letter| letter.message.as_ref());
            for delivery in messages.map(|message| message.delivery).collect::<BTreeSet<_>>() {
                model.deliveries.get_mut(&delivery).unwrap().disturbed += 1;
            }
        }
    }

    /// Acts like Lambda after a batch: deletes the messages that were not returned. If the process died, all of them
    /// are received again.
    fn settle(&mut self, queue: &str, letters: Vec<Letter>, back: Option<Vec<u64>>, met: &BTreeMap<&str, usize>) {
        let Some(back) = back else { return };
        assert!(back.is_empty() || !met.is_empty(), "nothing failed, and {back:?} of {letters:?} go back");
        let done: Vec<Letter> = letters.into_iter().filter(|letter| !back.contains(&letter.id)).collect();
        let ids: Vec<u64> = done.iter().map(|letter| letter.id).collect();
        self.fixture.cloud.queues.delete(queue, &ids);
        // Check the writes first, and then the holders.
        self.check("a batch");
        self.model().acknowledged(&done, &self.fixture.cloud.queues);
    }

    /// Checks every write since the last call, and that each written delivery has a holder.
    pub(super) fn check(&self, after: &str) {
        let cloud = &self.fixture.cloud;
        let mut model = self.model();
        let written: Vec<DeliveryId> =
            cloud.tables.take_journal().iter().filter_map(|write| model.written(write)).collect();
        for id in written {
            model.assert_held(id, &cloud.queues, after);
        }
    }

    /// Lets the sweep check the exhausted queue, as it does in the first minutes of an hour.
    pub(super) async fn look_through_letters(&mut self) {
        let into_the_hour = self.fixture.time.now().as_second() % 3600;
        // After the full hour by every process's clock.
        self.fixture.time.jump(SignedDuration::from_secs(3600 - into_the_hour + 2));
        for _ in 0..=self.fixture.cloud.queues.len("exhausted") / 100 {
            self.run(vec![Work::Sweep(Plan::default())]).await;
            self.fixture.time.jump(SignedDuration::from_secs(50));
        }
    }

    /// Runs until everything has ended: all receivers are up, nothing is paused, nothing fails.
    pub(super) async fn drain(&mut self) {
        // Also resumes webhooks whose receivers asked to be disabled, because the process that got the answer may have
        // died before it wrote it.
        let there = self.model().hooks.iter().filter(|(_, hook)| !hook.deleted).map(|(id, _)| *id).collect::<Vec<_>>();
        for id in there {
            self.resume(id).await;
            self.model().hooks.get_mut(&id).unwrap().mood = Mood::Up;
        }
        for _ in 0..10_000 {
            let before = self.fixture.time.now();
            let mut work = Vec::new();
            for queue in QUEUES {
                let letters = self.fixture.cloud.queues.receive(queue, 10, |letter| letter.id);
                if !letters.is_empty() {
                    work.push(Work::Batch(queue, letters, Plan::default()));
                }
            }
            if !work.is_empty() {
                self.run(work).await;
                continue;
            }
            self.run(vec![Work::Sweep(Plan::default())]).await;
            if QUEUES.iter().any(|queue| self.fixture.cloud.queues.next_due(queue).is_some_and(|due| due <= before)) {
                continue;
            }
            let queues = &self.fixture.cloud.queues;
            let times = QUEUES.iter().map(|queue| queues.next_due(queue)).chain([self.model().next_due()]);
            let Some(next) = times.flatten().min() else {
                let states = self.model().ended(queues);
                let joined = self.model().joined;
                self.counts.insert("joined a line", joined);
                self.counts.extend(states);
                self.look_through_letters().await;
                let obsolete = self.model().obsolete(&self.fixture.cloud.queues);
                assert_eq!(obsolete, None, "its delivery is exhausted no longer");
                return;
            };
            self.fixture.time.jump(next.duration_since(before).max(SignedDuration::from_secs(20)));
        }
        let queues = &self.fixture.cloud.queues;
        let due: Vec<_> = QUEUES.iter().map(|queue| (*queue, queues.len(queue), queues.next_due(queue))).collect();
        panic!("at {} it has not ended: queues {due:?}, {}", self.fixture.time.now(), self.model().unfinished());
    }
}

/// Returns a plan by which a process dies at a call.
pub(super) fn dies(call: usize, fault: Fault) -> Plan {
    Plan { dies: Some((call, fault)), ..Plan::default() }
}
