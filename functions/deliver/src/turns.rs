//! Takes turns and slots at receivers with limits: before the requests of a batch, and returns the slots after them. A
//! process that returns slots wakes the deliveries that wait for them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws::StoreError;
use aws::ledger::{Loaded, Receiver, Woken};
use aws::queue::Outgoing;
use domain::attempt::rate_limit::{Ask, ReceiverLimits, Turn};
use domain::delivery::State;
use domain::delivery::breaker::is_slow;
use domain::delivery::decide::Decision;
use domain::delivery::message::Message;
use domain::id::WebhookId;
use domain::webhook::Webhook;
use futures::future::join_all;
use jiff::Timestamp;

use crate::App;
use crate::attempt::{AttemptPlan, InLine};

/// How long to wait for the index to show deliveries that have just joined the line.
const LAG: Duration = Duration::from_millis(200);

/// How much time an invocation must have left to look at a line again.
const SPARE: Duration = Duration::from_secs(2);

/// The slots that were taken and must be returned.
pub(crate) struct Taken {
    holder: String,
    receivers: Mutex<BTreeMap<WebhookId, Places>>,
}

/// The slots of one receiver.
#[derive(Default)]
struct Places {
    /// How many of its plans are not carried out yet.
    open: usize,
    /// Deliveries that make no request and for which a slot may be reserved.
    unused: Vec<String>,
    /// Deliveries that have just joined the line: the index may not show them yet when this process reads it.
    joined: Vec<Message>,
}

/// Takes a turn and a slot for each planned request to a webhook with limits. If that fails, the fault replaces the
/// plan.
pub(crate) async fn take<'a>(
    app: &App,
    loaded: &Loaded,
    plans: Vec<AttemptPlan<'a>>,
    deadline: Timestamp,
) -> (Vec<Result<AttemptPlan<'a>, StoreError>>, Taken) {
    let now = app.clock.now();
    let holder = format!("{:032x}", runtime::random::bits());
    let mut receivers: BTreeMap<WebhookId, Places> = BTreeMap::new();
    let mut limited: BTreeMap<WebhookId, Vec<(usize, Ask)>> = BTreeMap::new();
    for (index, plan) in plans.iter().enumerate() {
        let Some(limits) = limits(loaded, plan.message) else { continue };
        if let Decision::Attempt { had_turn, .. } = plan.decision {
            let ask = Ask { delivery: plan.message.delivery, had_turn };
            limited.entry(plan.message.webhook).or_default().push((index, ask));
        }
        if limits.concurrency.is_some() && (asks(plan) || may_be_kept(loaded, plan)) {
            let places = receivers.entry(plan.message.webhook).or_default();
            places.unused.extend((!asks(plan)).then(|| plan.message.delivery.to_string()));
        }
    }
    for plan in &plans {
        if let Some(places) = receivers.get_mut(&plan.message.webhook) {
            places.open += 1;
        }
    }
    let mut plans: Vec<_> = plans.into_iter().map(Ok).collect();
    let asked = limited.into_iter().filter_map(|(webhook, requests)| {
        let (receiver, holder) = (receiver(loaded, webhook)?, &holder);
        Some(async move {
            let asks: Vec<Ask> = requests.iter().map(|(_, ask)| *ask).collect();
            (webhook, requests, app.ledger.take_turns(receiver, &asks, holder, deadline, now).await)
        })
    });
    for (webhook, requests, turns) in join_all(asked).await {
        match turns {
            Ok(turns) => {
                for ((index, _), turn) in requests.into_iter().zip(turns) {
                    let Ok(plan) = &mut plans[index] else { continue };
                    plan.turn = turn;
                    if turn == Turn::Wait
                        && let Some(places) = receivers.get_mut(&webhook)
                    {
                        places.joined.push(Message { body: None, ..plan.message.clone() });
                    }
                }
            }
            Err(error) => {
                let why = error.to_string();
                for (index, _) in requests {
                    plans[index] = Err(StoreError::Unavailable(why.clone()));
                }
            }
        }
    }
    (plans, Taken { holder, receivers: Mutex::new(receivers) })
}

/// Returns the limits that apply to a message. Limits do not apply to tests, because their senders wait for the result.
fn limits(loaded: &Loaded, message: &Message) -> Option<ReceiverLimits> {
    let limits = loaded.webhooks.get(&message.webhook)?.settings.limits();
    (limits.any() && !message.test).then_some(limits)
}

fn receiver(loaded: &Loaded, webhook: WebhookId) -> Option<Receiver<'_>> {
    let Webhook { tenant, settings, .. } = loaded.webhooks.get(&webhook)?;
    Some(Receiver { webhook, tenant, limits: settings.limits() })
}

fn asks(plan: &AttemptPlan<'_>) -> bool {
    matches!(plan.decision, Decision::Attempt { .. })
}

/// Returns whether a slot may be reserved for a delivery that is parked, cancelled or given up, and so makes no
/// request. A delivery that moves to the queue of slow receivers is not included, because it needs its slot there.
fn may_be_kept(loaded: &Loaded, plan: &AttemptPlan<'_>) -> bool {
    let ends = matches!(plan.decision, Decision::Park | Decision::Cancel | Decision::GiveUp(..));
    let row = loaded.rows.get(&plan.message.delivery);
    ends && row.is_some_and(|row| row.progress.state == State::Pending && row.progress.next_at.is_none())
}

/// Adds deliveries to the lines of their receivers, to wait for free slots.
pub(crate) async fn join_line(
    app: &App,
    waiting: Vec<(usize, InLine)>,
    now: Timestamp,
) -> Vec<(usize, Result<(), StoreError>)> {
    let written = waiting.into_iter().map(|(index, waits)| async move {
        let InLine { attempt_key, row, lease } = waits;
        // If another process was first, it has made the attempt or will make it.
        let written = match row {
            Some(row) => app.ledger.join_line_first(&row, now).await,
            None => app.ledger.join_line(attempt_key, lease, now).await,
        };
        (index, written.map(|_| ()))
    });
    join_all(written).await
}

impl Taken {
    /// Notes that plans of these webhooks are carried out, and removes the slots of receivers for which no plan is
    /// left.
    fn carried_out(&self, webhooks: impl IntoIterator<Item = WebhookId>) -> Vec<(WebhookId, Places)> {
        let mut receivers = self.receivers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ended = Vec::new();
        for webhook in webhooks {
            if let Entry::Occupied(mut places) = receivers.entry(webhook) {
                places.get_mut().open -= 1;
                if places.get().open == 0 {
                    ended.push(places.remove_entry());
                }
            }
        }
        ended
    }
}

/// Returns the slots of receivers whose last plan is carried out, and wakes the deliveries that wait for them, while
/// other receivers still answer. A slot that is not returned expires on its own, and the sweep finds a delivery that is
/// not woken.
pub(crate) async fn give_back(
    app: &App,
    loaded: &Loaded,
    taken: &Taken,
    carried_out: impl IntoIterator<Item = WebhookId>,
    deadline: Timestamp,
) {
    let given = taken.carried_out(carried_out).into_iter().filter_map(|(webhook, places)| {
        let receiver = receiver(loaded, webhook)?;
        Some(async move {
            let Places { mut unused, joined, .. } = places;
            unused.insert(0, taken.holder.clone());
            match wake(app, loaded, receiver, &unused, &joined).await {
                Ok(true) if app.clock.now() + SPARE < deadline => {
                    tokio::time::sleep(LAG).await;
                    wake(app, loaded, receiver, &[], &[]).await.map(|_| ())
                }
                done => done.map(|_| ()),
            }
            .unwrap_or_else(|error| {
                tracing::warn!(webhook.id = %webhook, %error, "a receiver's slots were not freed; they become free on their own");
            });
        })
    });
    join_all(given).await;
}

/// Returns slots, and sends the messages of the deliveries for which they are now reserved. Returns whether to look at
/// the line again in a moment.
async fn wake(
    app: &App,
    loaded: &Loaded,
    receiver: Receiver<'_>,
    holders: &[String],
    joined: &[Message],
) -> Result<bool, StoreError> {
    let now = app.clock.now();
    let Woken { messages, look_again, fault } = app.ledger.wake(receiver, holders, joined, now).await?;
    let slow = is_slow(loaded.breakers.get(&receiver.webhook), now);
    let messages = messages.into_iter().map(|message| Outgoing::of(&Message { slow, ..message }, Duration::ZERO));
    let queue = if slow { &app.slow } else { &app.retries };
    let sent = queue.send(messages.collect()).await;
    for error in sent.iter().filter_map(|result| result.as_ref().err()).chain(&fault) {
        tracing::warn!(webhook.id = %receiver.webhook, %error, "a delivery was not woken; the sweep will wake it");
    }
    Ok(look_again)
}
