//! A batch of attempts: they overlap, and outcomes are written as they come.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::time::Duration;

use aws::StoreError;
use aws::ledger::{Loaded, ROWS_A_CALL};
use domain::delivery::fault::{Wave, is_redundant, wave};
use domain::delivery::message::Message;
use futures::FutureExt as _;
use futures::stream::{FuturesUnordered, StreamExt as _};
use jiff::Timestamp;

use crate::App;
use crate::attempt::{AttemptPlan, Done, attempt, plan, put_off};
use crate::record::record;
use crate::turns;

/// How long outcomes wait for others to be written with them, unless there are as many as one call writes.
const GATHER: Duration = Duration::from_millis(50);

/// How much time a further wave of a batch must have.
const A_WAVE_TAKES: Duration = Duration::from_secs(8);

/// What an invocation keeps of its time to answer.
const LAST_SECOND: Duration = Duration::from_secs(1);

/// Attempts all messages at once and writes what is done while others still wait for their receivers. Returns the faults.
pub(crate) async fn deliver(app: &App, messages: &[&Message], deadline: Timestamp) -> Vec<(usize, StoreError)> {
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
        let found = run_attempts(app, loaded, plans, deadline).await;
        faults.extend(found.into_iter().map(|(index, error)| (indexes[index], error)));
    }
    faults
}

/// Does all that is planned at once. Returns the faults.
pub(crate) async fn run_attempts(
    app: &App,
    loaded: &Loaded,
    plans: Vec<AttemptPlan<'_>>,
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
