//! A batch of messages: attempts overlap, outcomes are written as they come.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::time::{Duration, SystemTime};

use aws::StoreError;
use aws::ledger::{Loaded, ROWS_A_CALL};
use aws::queue::Outgoing;
use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use domain::delivery::{Wave, is_redundant, wave};
use domain::message::{Copies, Message, by_attempt};
use futures::FutureExt as _;
use futures::stream::{FuturesUnordered, StreamExt as _};
use jiff::Timestamp;

use crate::App;
use crate::attempt::{Done, Plan, attempt, plan, put_off};
use crate::ordered;
use crate::record::record;
use crate::turns;

/// How long outcomes wait for others to be written with them, unless there are as many as one call writes.
const GATHER: Duration = Duration::from_millis(50);

/// How much time a further wave of a batch must have.
const A_WAVE_TAKES: Duration = Duration::from_secs(8);

/// What an invocation keeps of its time to answer.
const LAST_SECOND: Duration = Duration::from_secs(1);

/// Delivers a batch; `deadline` is the end of the invocation.
///
/// What a receiver does is an outcome, written to the ledger. Only faults of ours are reported as failures: their messages
/// return to the queue, and an error for one message never returns the others, which would be delivered again.
pub async fn handle(app: &App, event: SqsEvent, deadline: SystemTime) -> SqsBatchResponse {
    let deadline = Timestamp::try_from(deadline).unwrap_or(Timestamp::MAX);
    let mut failed = Vec::new();
    let mut messages = Vec::new();
    let mut ids = Vec::new();
    for record in event.records {
        match read(&record) {
            Ok(message) => {
                ids.push(record.message_id);
                messages.push(message);
            }
            Err(why) => {
                let id = record.message_id.clone();
                if let Err(error) = bury(app, record, why).await {
                    tracing::error!(%error, "a message that cannot be read was not buried");
                    failed.push(id);
                }
            }
        }
    }
    let (in_order, others): (Vec<_>, Vec<_>) =
        messages.iter().enumerate().partition(|(_, message)| message.group().is_some());
    let (indexes, others): (Vec<usize>, Vec<&Message>) = others.into_iter().unzip();
    let (waiting, faults) =
        tokio::join!(ordered::deliver(app, in_order, deadline), deliver_once(app, &others, deadline));
    let faults = faults.into_iter().map(|(index, error)| (indexes[index], error));
    for (index, error) in faults.chain(waiting) {
        tracing::error!(delivery.id = %messages[index].delivery, %error, "message goes back to the queue");
        failed.push(ids[index].clone());
    }
    // One id may stand in a batch twice.
    let failed: BTreeSet<String> = failed.into_iter().flatten().collect();
    let mut response = SqsBatchResponse::default();
    response.batch_item_failures = failed.into_iter().map(failure).collect();
    response
}

fn failure(message_id: String) -> BatchItemFailure {
    let mut failure = BatchItemFailure::default();
    failure.item_identifier = message_id;
    failure
}

fn read(record: &SqsMessage) -> Result<Message, String> {
    let message = Message::from_json(record.body.as_deref().unwrap_or_default()).map_err(|error| error.to_string())?;
    Ok(Message { receives: receives(record), ..message })
}

fn receives(record: &SqsMessage) -> u32 {
    record.attributes.get("ApproximateReceiveCount").and_then(|count| count.parse().ok()).unwrap_or(1)
}

/// Moves a message that nobody can read to the dead-letter queue, as it is and with the reason.
async fn bury(app: &App, record: SqsMessage, why: String) -> Result<(), StoreError> {
    let body = record.body.unwrap_or_else(|| "(empty)".to_owned());
    let cause = Some(format!("not a delivery message: {why}"));
    let letter = Outgoing { body, tenant: None, delay: Duration::ZERO, cause };
    app.dead_letters.send(vec![letter]).await.remove(0)
}

/// Makes each attempt of a batch once, whatever copies of its message there are. Returns the faults.
///
/// Before an attempt is made nothing in the ledger tells its copies apart. They share its fate. When it is done all of them are
/// acknowledged, as each would find the row of the others. When a fault of ours prevents it all of them go back: until there is a
/// row the messages are all that holds the delivery, and nothing says which copy is received again. One may be at its last
/// receive, or its receipt too old, while another has its whole life before it.
async fn deliver_once(app: &App, messages: &[&Message], deadline: Timestamp) -> Vec<(usize, StoreError)> {
    let attempts = by_attempt(messages);
    let chosen: Vec<&Message> = attempts.iter().map(|copies| messages[copies.chosen]).collect();
    let mut faults = Vec::new();
    for (index, error) in deliver(app, &chosen, deadline).await {
        let Copies { chosen, others } = &attempts[index];
        let why = format!("its copy goes back: {error}");
        faults.push((*chosen, error));
        faults.extend(others.iter().map(|other| (*other, StoreError::Unavailable(why.clone()))));
    }
    faults
}

/// Attempts all messages at once and writes what is done while others still wait for their receivers. Returns the faults.
async fn deliver(app: &App, messages: &[&Message], deadline: Timestamp) -> Vec<(usize, StoreError)> {
    if messages.is_empty() {
        return Vec::new();
    }
    let now = app.clock.now();
    let loaded = match app.ledger.load(&app.registry, messages, now).await {
        Ok(loaded) => loaded,
        Err(error) => {
            let why = error.to_string();
            return (0..messages.len()).map(|index| (index, StoreError::Unavailable(why.clone()))).collect();
        }
    };
    let plans = messages.iter().map(|message| plan(&loaded, message, now)).collect();
    in_waves(app, &loaded, plans, deadline).await
}

/// Does what is planned, last that of which a process may have died: whatever it takes with it then, the outcomes of the others are
/// written. Returns the faults.
async fn in_waves(app: &App, loaded: &Loaded, plans: Vec<Plan<'_>>, deadline: Timestamp) -> Vec<(usize, StoreError)> {
    let now = app.clock.now();
    let mut waves: BTreeMap<Wave, Vec<(usize, Plan<'_>)>> = BTreeMap::new();
    for (index, plan) in plans.into_iter().enumerate() {
        if is_redundant(plan.admission, plan.message) {
            tracing::warn!(delivery.id = %plan.message.delivery, "message came back too often; the sweep sends another");
            continue;
        }
        let row = loaded.rows.get(&plan.message.delivery);
        waves.entry(wave(plan.message, row, now)).or_default().push((index, plan));
    }
    let mut faults = Vec::new();
    for (wave, plans) in waves {
        let (indexes, plans): (Vec<_>, Vec<_>) = plans.into_iter().unzip();
        // The first wave is what the invocation is for.
        if wave != Wave::First && app.clock.now() + A_WAVE_TAKES > deadline {
            let late = || StoreError::Unavailable("the invocation has no time left for its last messages".to_owned());
            faults.extend(indexes.into_iter().map(|index| (index, late())));
            continue;
        }
        let found = carry_out(app, loaded, plans, deadline).await;
        faults.extend(found.into_iter().map(|(index, error)| (indexes[index], error)));
    }
    faults
}

/// Does all that is planned at once. Returns the faults.
pub(crate) async fn carry_out(
    app: &App,
    loaded: &Loaded,
    plans: Vec<Plan<'_>>,
    deadline: Timestamp,
) -> Vec<(usize, StoreError)> {
    let count = plans.len();
    let asked: Vec<_> = plans.iter().map(|plan| (plan.message, plan.admission)).collect();
    let (plans, taken) = turns::take(app, loaded, plans, deadline).await;
    let attempts: FuturesUnordered<_> = plans
        .into_iter()
        .zip(asked)
        .enumerate()
        .map(|(index, (plan, (message, admission)))| {
            async move {
                let done = match plan {
                    // A panic in one attempt is a fault of ours like any other, and leaves the others alone.
                    Ok(plan) => AssertUnwindSafe(attempt(app, loaded, plan, deadline)).catch_unwind().await,
                    Err(error) => Ok(Err(error)),
                };
                let done = done.unwrap_or_else(|_| Err(StoreError::Unavailable("the attempt panicked".to_owned())));
                (index, done.or_else(|fault| put_off(app, message, admission, fault)))
            }
        })
        .collect();
    // Buffered, so that attempts go on while outcomes are written.
    let done = pin!(tokio_stream::StreamExt::chunks_timeout(attempts, ROWS_A_CALL, GATHER));
    let written = done.map(|done| write(app, loaded, done)).buffer_unordered(count);
    let faults: Vec<Vec<_>> = written.collect().await;
    // A process that is killed while it gives places back would have its whole batch repeated.
    let left = Duration::try_from(deadline.duration_since(app.clock.now())).unwrap_or_default();
    if tokio::time::timeout(left.saturating_sub(LAST_SECOND), turns::give_back(app, loaded, taken, deadline))
        .await
        .is_err()
    {
        tracing::warn!("turns were not given back in time; they end by themselves");
    }
    faults.into_iter().flatten().collect()
}

/// Writes what is done, and returns the faults of the attempts and of the writes.
async fn write(app: &App, loaded: &Loaded, done: Vec<(usize, Result<Done, StoreError>)>) -> Vec<(usize, StoreError)> {
    let mut faults = Vec::new();
    let mut indexes = Vec::new();
    let mut outcomes = Vec::new();
    for (index, result) in done {
        match result {
            Ok(outcome) => {
                indexes.push(index);
                outcomes.push(outcome);
            }
            Err(error) => faults.push((index, error)),
        }
    }
    let written = record(app, loaded, outcomes).await;
    faults.extend(indexes.into_iter().zip(written).filter_map(|(index, result)| Some((index, result.err()?))));
    faults
}
