//! Makes the attempts of a batch concurrently, and writes outcomes as they arrive.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::time::Duration;

use aws::StoreError;
use aws::ledger::{Loaded, ROWS_A_CALL};
use domain::delivery::fault::{Wave, is_redundant, wave};
use domain::delivery::message::Message;
use futures::FutureExt as _;
use futures::future::join_all;
use futures::stream::{FuturesUnordered, StreamExt as _};
use jiff::Timestamp;

use crate::App;
use crate::attempt::{AttemptPlan, Done, attempt, plan, put_off};
use crate::record::record;
use crate::turns;

/// How long an outcome waits for others to be written in the same call, unless the call is full before.
const GATHER: Duration = Duration::from_millis(50);

/// How much time must be left to start another wave after the first.
const A_WAVE_TAKES: Duration = Duration::from_secs(8);

/// The time that an invocation reserves for its response.
const LAST_SECOND: Duration = Duration::from_secs(1);

/// Attempts messages concurrently, and writes outcomes while other attempts still wait for their receivers. Returns the
/// faults.
pub(crate) async fn deliver(app: &App, messages: &[&Message], deadline: Timestamp) -> Vec<(usize, StoreError)> {
    if messages.is_empty() {
        return Vec::new();
    }
    let now = app.clock.now();
    let loaded = match app.ledger.load(&app.registry, messages, now).await {
        Ok(loaded) => loaded,
        // An item that cannot be read, such as one of a newer version. It must not keep the other messages back.
        Err(StoreError::Inconsistent { .. }) if messages.len() > 1 => return one_by_one(app, messages, deadline).await,
        Err(error) => {
            let why = error.to_string();
            return (0..messages.len()).map(|index| (index, StoreError::Unavailable(why.clone()))).collect();
        }
    };
    let plans = messages.iter().map(|message| plan(&loaded, message, now)).collect();
    in_waves(app, &loaded, plans, deadline).await
}

/// Attempts each message as a batch of its own, all concurrently. Returns the faults.
async fn one_by_one(app: &App, messages: &[&Message], deadline: Timestamp) -> Vec<(usize, StoreError)> {
    // Boxed, because this function is called by the one that it calls.
    let alone = messages.iter().enumerate().map(|(index, message)| {
        let faults = Box::pin(deliver(app, std::slice::from_ref(message), deadline));
        faults.map(move |faults| faults.into_iter().map(move |(_, error)| (index, error)).collect::<Vec<_>>())
    });
    join_all(alone).await.into_iter().flatten().collect()
}

/// Carries out the plans in waves. Runs suspects last: if one kills the process, the others' outcomes are already
/// written. Returns the faults.
async fn in_waves(
    app: &App,
    loaded: &Loaded,
    plans: Vec<AttemptPlan<'_>>,
    deadline: Timestamp,
) -> Vec<(usize, StoreError)> {
    let now = app.clock.now();
    let mut waves: BTreeMap<Wave, Vec<(usize, AttemptPlan<'_>)>> = BTreeMap::new();
    for (index, plan) in plans.into_iter().enumerate() {
        if is_redundant(plan.admission, plan.message) {
            tracing::warn!(delivery.id = %plan.message.delivery, "a message of a delivery was received too often and is deleted; the sweep sends another one");
            continue;
        }
        let row = loaded.rows.get(&plan.message.delivery);
        waves.entry(wave(plan.message, row, now)).or_default().push((index, plan));
    }
    let mut faults = Vec::new();
    for (wave, plans) in waves {
        let (indexes, plans): (Vec<_>, Vec<_>) = plans.into_iter().unzip();
        // The first wave starts however little time is left, because each attempt checks the deadline itself.
        if wave != Wave::First && app.clock.now() + A_WAVE_TAKES > deadline {
            let late = || StoreError::Unavailable("the invocation has no time left for this message".to_owned());
            faults.extend(indexes.into_iter().map(|index| (index, late())));
            continue;
        }
        let found = run_attempts(app, loaded, plans, deadline).await;
        faults.extend(found.into_iter().map(|(index, error)| (indexes[index], error)));
    }
    faults
}

/// Carries out all plans concurrently. Returns the faults.
pub(crate) async fn run_attempts(
    app: &App,
    loaded: &Loaded,
    plans: Vec<AttemptPlan<'_>>,
    deadline: Timestamp,
) -> Vec<(usize, StoreError)> {
    let count = plans.len();
    let webhooks: Vec<_> = plans.iter().map(|plan| plan.message.webhook).collect();
    let asked: Vec<_> = plans.iter().map(|plan| (plan.message, plan.admission)).collect();
    let (plans, taken) = turns::take(app, loaded, plans, deadline).await;
    let attempts: FuturesUnordered<_> = plans
        .into_iter()
        .zip(asked)
        .enumerate()
        .map(|(index, (plan, (message, admission)))| {
            // Boxed, because a list of futures moves each of them several times.
            Box::pin(async move {
                let done = match plan {
                    // A panic in one attempt is an internal fault of that attempt. The others continue.
                    Ok(plan) => AssertUnwindSafe(attempt(app, loaded, plan, deadline)).catch_unwind().await,
                    Err(error) => Ok(Err(error)),
                };
                let done = done.unwrap_or_else(|_| Err(StoreError::Unavailable("the attempt panicked".to_owned())));
                (index, done.or_else(|fault| put_off(app, message, admission, fault)))
            })
        })
        .collect();
    // Buffered, so that attempts continue while outcomes are written.
    let done = pin!(tokio_stream::StreamExt::chunks_timeout(attempts, ROWS_A_CALL, GATHER));
    let written = done.map(async |done| {
        let carried_out: Vec<_> = done.iter().map(|(index, _)| webhooks[*index]).collect();
        let faults = write(app, loaded, done).await;
        // If the invocation timed out during this call, its whole batch would be received again.
        let left = Duration::try_from(deadline.duration_since(app.clock.now())).unwrap_or_default();
        let given = turns::give_back(app, loaded, &taken, carried_out, deadline);
        if tokio::time::timeout(left.saturating_sub(LAST_SECOND), given).await.is_err() {
            tracing::warn!("receivers' slots were not freed in time; they become free on their own");
        }
        faults
    });
    let faults: Vec<Vec<_>> = written.buffer_unordered(count).collect().await;
    faults.into_iter().flatten().collect()
}

/// Writes outcomes. Returns the faults of the attempts and of the writes.
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
