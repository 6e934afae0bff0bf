//! The random operations of a world.

use std::time::Duration;

use domain::budget::Deferral;
use domain::delivery::message::{Body, Message};
use domain::id::{EventId, WebhookId};
use domain::time::Clock as _;
use domain::webhook::Pause;
use jiff::SignedDuration;
use rand::Rng as _;
use rand::seq::IndexedRandom as _;
use tests::cloud::{Fault, Letter};

use super::model::Mood;
use super::process::Plan;
use super::world::{HOOKS, QUEUES, TENANT, Work, World, dies};

/// How long a slot may be used that was given before a limit was changed: it is reserved for a minute, and then used
/// for at most an invocation.
const PLACES_LAST: Duration = Duration::from_mins(2);

impl World {
    /// Does one random operation.
    pub(super) async fn step(&mut self) {
        match self.roll(1000) {
            0..600 => {
                let living = self.living();
                let webhook = living[self.roll(living.len())];
                self.publish(webhook);
            }
            600..610 => self.poison(),
            610..710 => self.deliver().await,
            710..725 => self.sweep().await,
            725..800 => self.change_mood().await,
            800..880 => self.duplicate(),
            880..950 => self.wait(),
            950..970 => self.toggle_pause().await,
            970..975 => self.change_limit().await,
            975..978 => self.replace().await,
            978..983 => self.restart().await,
            _ => self.redrive(),
        }
    }

    /// Publishes an event for a webhook, as a message in the queue.
    pub(super) fn publish(&mut self, webhook: WebhookId) {
        let text = format!(r#"{{"number":{}}}"#, self.published + 1);
        match self.roll(100) {
            0 => self.hand_over(webhook, Body::Failed("a template".to_owned()), None),
            _ => self.hand_over(webhook, Body::Inline(text.clone()), Some(text)),
        }
    }

    /// Sends a message that is not a test, with that text as its body.
    pub(super) fn hand_over_real(&mut self, webhook: WebhookId, text: String) {
        self.published += 1;
        let event = EventId::from_parts(self.fixture.time.now(), self.published);
        let body = Body::Inline(text.clone());
        let message = Message::first(event, "order.created".parse().unwrap(), webhook, TENANT.parse().unwrap(), body);
        self.fixture.cloud.queues.send("deliveries", message.to_json(), Duration::ZERO, None, None);
        self.model().publish(message, Some(text));
    }

    /// Sends a message with that body. `text` is the body as a receiver would see it.
    pub(super) fn hand_over(&mut self, webhook: WebhookId, body: Body, text: Option<String>) {
        self.count("deliveries");
        self.published += 1;
        let event = EventId::from_parts(self.fixture.time.now(), self.published);
        let mut message =
            Message::first(event, "order.created".parse().unwrap(), webhook, TENANT.parse().unwrap(), body);
        message.test = self.roll(50) == 0;
        if self.roll(40) == 0 {
            self.count("over the budget");
            let until =
                self.fixture.time.now() + SignedDuration::from_mins(i64::try_from(self.roll(3 * 24 * 60)).unwrap());
            message.deferral = Some(Deferral::Until(until));
        }
        self.fixture.cloud.queues.send("deliveries", message.to_json(), Duration::ZERO, None, None);
        self.model().publish(message, text);
    }

    /// Sends a message that cannot be parsed.
    fn poison(&mut self) {
        self.count("poison");
        self.published += 1;
        let text = format!("poison {}", self.published);
        self.fixture.cloud.queues.send("deliveries", text.clone(), Duration::ZERO, None, None);
        self.model().poison.insert(text);
    }

    /// Runs some batches at once, perhaps together with a sweep.
    async fn deliver(&mut self) {
        let mut work = Vec::new();
        for _ in 0..=self.roll(3) {
            let queue = QUEUES[self.roll(4).saturating_sub(1)];
            let random = &self.fixture.random;
            // In random order.
            let order = |_: &Letter| random.lock().unwrap().random::<u32>();
            let copies = [0, 0, 1, 2, 4, 9][self.roll(6)];
            let letters = self.fixture.cloud.queues.receive(queue, 10 - copies, order);
            if !letters.is_empty() {
                let letters = self.with_copies(queue, letters, copies);
                work.push(Work::Batch(queue, letters, self.fate()));
                self.count("batches");
            }
        }
        if self.roll(10) == 0 {
            work.push(Work::Sweep(self.fate()));
            self.count("sweeps");
        }
        self.run(work).await;
    }

    /// Adds copies of a batch's messages to it, at any positions.
    fn with_copies(&mut self, queue: &str, mut letters: Vec<Letter>, copies: usize) -> Vec<Letter> {
        for _ in 0..copies {
            let copy = self.fixture.cloud.queues.receive_copy(queue, letters[self.roll(letters.len())].id);
            letters.insert(self.roll(letters.len() + 1), copy);
            self.count("copies in a batch");
        }
        letters
    }

    async fn sweep(&mut self) {
        let mut work = Vec::new();
        for _ in 0..=self.roll(2) {
            work.push(Work::Sweep(self.fate()));
            self.count("sweeps");
        }
        self.run(work).await;
    }

    /// Draws what happens to an invocation; mostly nothing.
    fn fate(&self) -> Plan {
        match self.roll(100) {
            0..8 => dies(1 + self.roll(12), [Fault::DieBefore, Fault::DieAfter][self.roll(2)]),
            8..11 => Plan { dies_at_request: true, ..Plan::default() },
            11..20 => Plan { flaky: true, ..Plan::default() },
            _ => Plan::default(),
        }
    }

    async fn change_mood(&mut self) {
        self.count("changes of a receiver");
        let living = self.living();
        let webhook = living[self.roll(living.len())];
        let moods = [
            Mood::Failing,
            Mood::Refusing,
            Mood::Slow,
            Mood::Late(260 + u64::try_from(self.roll(5000)).unwrap()),
            Mood::Flapping,
            Mood::Unreachable,
            Mood::Throttling,
            Mood::Unavailable,
            Mood::Gone,
        ];
        let mood = if self.roll(2) == 0 {
            Mood::Up
        } else {
            *moods.choose(&mut *self.fixture.random.lock().unwrap()).unwrap()
        };
        self.model().hooks.get_mut(&webhook).unwrap().mood = mood;
        if living.len() < HOOKS {
            self.register().await;
        }
    }

    /// Adds a copy of a message to its queue.
    fn duplicate(&mut self) {
        let queue = QUEUES[self.roll(3)];
        let length = self.fixture.cloud.queues.len(queue);
        if length > 0 {
            self.count("duplicates");
            self.fixture.cloud.queues.duplicate(queue, self.roll(length));
        }
    }

    /// Lets time pass: mostly seconds, sometimes hours. Now and then the clocks are set back.
    fn wait(&mut self) {
        self.count("jumps of the clock");
        let seconds = match self.roll(100) {
            0..60 => self.roll(60),
            60..90 => self.roll(20 * 60),
            90..96 => self.roll(14 * 3600),
            _ => {
                self.fixture.time.jump(SignedDuration::from_millis(-1000));
                return;
            }
        };
        self.fixture.time.jump(SignedDuration::from_secs(i64::try_from(seconds).unwrap()));
    }

    async fn toggle_pause(&mut self) {
        let living = self.living();
        let webhook = living[self.roll(living.len())];
        let paused = self.model().hooks[&webhook].paused;
        if paused {
            self.count("resumes");
            self.resume(webhook).await;
        } else {
            self.count("pauses");
            self.pause(webhook).await;
        }
    }

    pub(super) async fn pause(&mut self, webhook: WebhookId) {
        let now = self.fixture.time.now();
        let pause = Some(Pause { at: now, by_failures: false });
        self.hooks.change(&TENANT.parse().unwrap(), webhook, now, |webhook| webhook.pause = pause).await;
        self.model().hooks.get_mut(&webhook).unwrap().paused = true;
    }

    pub(super) async fn resume(&mut self, webhook: WebhookId) {
        let now = self.fixture.time.now();
        self.hooks.change(&TENANT.parse().unwrap(), webhook, now, |webhook| webhook.pause = None).await;
        self.model().hooks.get_mut(&webhook).unwrap().paused = false;
    }

    /// Changes the concurrency limit of a webhook, or removes it.
    async fn change_limit(&mut self) {
        self.count("changes of a limit");
        let living = self.living();
        let webhook = living[self.roll(living.len())];
        let (now, limit) = (self.fixture.time.now(), [None, Some(1), Some(2), Some(5)][self.roll(4)]);
        let change = |webhook: &mut domain::webhook::Webhook| webhook.settings.max_concurrency = limit;
        self.hooks.change(&TENANT.parse().unwrap(), webhook, now, change).await;
        let mut model = self.model();
        let hook = model.hooks.get_mut(&webhook).unwrap();
        // A slot that was reserved for a delivery stays reserved until its time ends.
        let (before, until) = hook.took_before;
        let most = [hook.max_concurrency, before].into_iter().map(|most| most.unwrap_or(u32::MAX)).max();
        let before = if now < until { most.filter(|most| *most < u32::MAX) } else { hook.max_concurrency };
        hook.took_before = (before, now + PLACES_LAST);
        hook.max_concurrency = limit;
    }

    /// Deletes a webhook, and registers another one.
    async fn replace(&mut self) {
        self.count("deletions");
        let living = self.living();
        let webhook = living[self.roll(living.len())];
        self.delete(webhook).await;
        self.register().await;
    }

    pub(super) async fn delete(&mut self, webhook: WebhookId) {
        let now = self.fixture.time.now();
        self.hooks.delete(&TENANT.parse().unwrap(), webhook, now).await;
        self.model().hooks.get_mut(&webhook).unwrap().deleted = true;
    }

    /// Replaces an execution environment, which loses its caches.
    async fn restart(&mut self) {
        self.count("restarts");
        let index = self.roll(self.delivers.len());
        self.delivers[index] = super::process::Process::<deliver::App>::start(&self.fixture).await;
    }

    /// Moves dead letters back, like an operator in the console: to the deliveries or the retries queue.
    fn redrive(&mut self) {
        let from = if self.roll(10) == 0 { "dead-letters" } else { "exhausted" };
        let moved = self.fixture.cloud.queues.redrive(from, QUEUES[self.roll(2)], 1 + self.roll(40));
        if !moved.is_empty() {
            self.count("redrives");
        }
    }
}
