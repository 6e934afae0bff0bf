//! Attempts the first messages of ordered deliveries: one after another within an entity, different entities
//! concurrently.
//!
//! Each delivery sees what the previous one wrote, so a copy in the same batch is recognized by the row of the first.
//! After an internal fault, the message and all later ones of its entity return to the queue, which hands them over in
//! order again. A delivery that must wait, as decided by [`domain::delivery::chain`], becomes a row.

use std::collections::BTreeMap;

use aws::StoreError;
use aws::ledger::{Advance, Released, Written};
use aws::queue::Outgoing;
use domain::delivery::chain::{ChainPosition, place};
use domain::delivery::fault::{Wave, wave};
use domain::delivery::message::Message;
use futures::future::join_all;
use jiff::Timestamp;

use crate::App;
use crate::attempt::plan;
use crate::batch::run_attempts;
use crate::measure;

/// How often to read a chain again that other processes change in the meantime.
const ROUNDS: usize = 5;

/// The messages of one entity, with their positions in the batch.
type Group<'a> = Vec<(usize, &'a Message)>;

/// Attempts messages, given with their positions in the batch. Returns the faults.
pub(crate) async fn deliver(
    app: &App,
    messages: Vec<(usize, &Message)>,
    deadline: Timestamp,
) -> Vec<(usize, StoreError)> {
    let mut groups: BTreeMap<Option<String>, Group<'_>> = BTreeMap::new();
    for (index, message) in messages {
        groups.entry(message.group()).or_default().push((index, message));
    }
    // Entities with a message that may have killed a process come after the others, each as a whole.
    let now = app.clock.now();
    let mut waves: BTreeMap<Option<Wave>, Vec<Group<'_>>> = BTreeMap::new();
    for group in groups.into_values() {
        let last = group.iter().map(|(_, message)| wave(message, None, now)).max();
        waves.entry(last).or_default().push(group);
    }
    let mut faults = Vec::new();
    for groups in waves.into_values() {
        let found = join_all(groups.into_iter().map(|group| in_turn(app, group, deadline))).await;
        faults.extend(found.into_iter().flatten());
    }
    faults
}

async fn in_turn(app: &App, group: Group<'_>, deadline: Timestamp) -> Vec<(usize, StoreError)> {
    let mut faults: Vec<(usize, StoreError)> = Vec::new();
    for (index, message) in group {
        if let Some((_, first)) = faults.first() {
            let why = format!("an earlier delivery of its entity is returned to the queue: {first}");
            faults.push((index, StoreError::Unavailable(why)));
        } else if let Err(error) = one(app, message, deadline).await {
            faults.push((index, error));
        }
    }
    faults
}

/// Attempts a delivery, or makes it wait behind the head of its entity's chain.
async fn one(app: &App, message: &Message, deadline: Timestamp) -> Result<(), StoreError> {
    let Some(entity) = &message.entity else { return Ok(()) };
    let messages = [message];
    for _ in 0..ROUNDS {
        let now = app.clock.now();
        let (loaded, chain) = tokio::try_join!(
            app.ledger.load(&app.registry, &messages, now),
            app.ledger.chain(message.webhook, entity, now)
        )?;
        let head = match chain {
            Some(chain) => app.ledger.delivery(message.webhook, chain.head, now).await?,
            None => None,
        };
        let (row, webhook) = (loaded.rows.get(&message.delivery), loaded.webhooks.get(&message.webhook));
        match (place(row, webhook, chain, head.as_ref()), chain) {
            (ChainPosition::Behind, Some(chain)) => {
                if app.ledger.append(message, chain, now).await? == Written::Yes {
                    measure::waiting(1);
                    tracing::info!(delivery.id = %message.delivery, webhook.id = %message.webhook, delivery.state = "held", delivery.head = %chain.head, "delivery waits behind an earlier one of its entity");
                    return Ok(());
                }
            }
            (ChainPosition::Abandoned, Some(chain)) => {
                if let Advance::Yes(Some(next)) = app.ledger.advance(message.webhook, entity, chain.head, now).await? {
                    send(app, &next).await;
                }
            }
            (ChainPosition::Free | ChainPosition::Behind | ChainPosition::Abandoned, _) => {
                let plans = vec![plan(&loaded, message, now)];
                return match run_attempts(app, &loaded, plans, deadline).await.pop() {
                    Some((_, error)) => Err(error),
                    None => Ok(()),
                };
            }
        }
    }
    Err(StoreError::Conflict { key: format!("the chain of {}", message.delivery) })
}

/// Sends the message of a released delivery. A failure is only logged: its row is due, so the sweep sends the message.
async fn send(app: &App, Released { message, delay }: &Released) {
    if let Err(error) = app.retries.send(vec![Outgoing::of(message, *delay)]).await.remove(0) {
        tracing::warn!(%error, "the message of a delivery was not sent; the sweep will send it");
    }
}
