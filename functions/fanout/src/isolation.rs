//! Treats a record that makes fan-out panic like one that cannot be mapped: it goes to stream-failures, and the shard
//! continues.

use std::panic::AssertUnwindSafe;

use aws::StoreError;
use domain::source::failure::Outline;
use futures::FutureExt as _;
use jiff::Timestamp;
use serde_json::value::RawValue;

use crate::App;
use crate::archive::Patience;
use crate::batch::{RESERVE, fan_out};
use crate::cache::Cache;
use crate::failure::send_failures;

/// The reason in stream-failures. A panic's own message may quote a value of the payload, so only its location is
/// logged.
const REASON: &str = "fan-out panicked while it processed this record; its log has the location";

/// Fans out a batch, or each of its records alone if that panics. Returns the first record that is not done, if any.
pub(crate) async fn isolate(
    app: &App,
    records: &[Box<RawValue>],
    deadline: Timestamp,
    patience: &mut Patience,
) -> Result<Option<usize>, StoreError> {
    let mut done = 0;
    let batch = AssertUnwindSafe(fan_out(app, records, deadline, &mut done, patience)).catch_unwind();
    if let Ok(first) = batch.await {
        return first;
    }
    tracing::error!(records = records.len(), done, "fan-out panicked; it continues record by record");
    forget(app).await;
    for (index, record) in records.iter().enumerate().skip(done) {
        if index > done && app.clock.now() + RESERVE > deadline {
            return Ok(Some(index));
        }
        let one = std::slice::from_ref(record);
        match AssertUnwindSafe(fan_out(app, one, deadline, &mut 0, patience)).catch_unwind().await {
            Ok(Ok(None)) => continue,
            Ok(Ok(Some(_))) => return Ok(Some(index)),
            Ok(Err(error)) => {
                tracing::error!(%error, "the rest of the batch is returned to the stream");
                return Ok(Some(index));
            }
            Err(_) => forget(app).await,
        }
        let Outline { table, sequence, .. } = Outline::read(record.get()).unwrap_or_default();
        tracing::error!(
            table,
            dynamodb.sequence_number = sequence,
            "fan-out panicked on a record; it goes to stream-failures"
        );
        let sent = AssertUnwindSafe(send_failures(app, one, vec![(0, REASON.to_owned())])).catch_unwind().await;
        if !sent.is_ok_and(|unsent| unsent.is_empty()) {
            return Ok(Some(index));
        }
    }
    Ok(None)
}

/// Clears the cache, which a panic may have left in an inconsistent state. It is read again.
async fn forget(app: &App) {
    *app.cache.lock().await = Cache::default();
}
