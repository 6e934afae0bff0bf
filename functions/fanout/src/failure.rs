//! Sends records that fan-out cannot process to the queue stream-failures, whole and with the reason, and lists them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use aws::StoreError;
use aws::queue::Outgoing;
use domain::delivery::message::{Body, to_queue_json};
use domain::source::failure::{FailureMessage, Outline, SourceFailure};
use domain::source::record::sequence_number;
use futures::future::join_all;
use runtime::metrics::{self, Metric};
use serde_json::value::RawValue;

use crate::App;

/// The largest record that is sent within its message, in bytes. A larger one is sent by reference.
const MAX_BYTES: usize = 900 * 1024;

/// The longest reason that is also sent as a message attribute, in characters.
const MAX_CAUSE: usize = 1_000;

/// Returns the reason for a record of which AWS refused something that fan-out made.
pub(crate) fn failed(why: &str) -> String {
    format!("AWS refused what fan-out made of the record: {why}")
}

/// Sends records to stream-failures, given by their positions, with the reasons. Returns the positions of those that
/// were not sent.
pub(crate) async fn send_failures(app: &App, records: &[Box<RawValue>], failures: Vec<(usize, String)>) -> Vec<usize> {
    let (now, count) = (app.clock.now(), failures.len());
    let outlined = failures
        .iter()
        .filter_map(|(index, reason)| Some((*index, Outline::read(records.get(*index)?.get())?.failed(reason, now)?)));
    let all: Vec<(usize, SourceFailure)> = outlined.collect();
    let reasons = failures.clone();
    let (mut unsent, refused) = send_failures_once(app, records, failures, MAX_BYTES).await;
    // If SQS refuses the record itself, it is stored in the Events table and sent by reference.
    let (more, refused) = send_failures_once(app, records, refused, 0).await;
    unsent.extend(more.into_iter().chain(refused.into_iter().map(|(index, _)| index)));
    for (index, reason) in reasons.iter().filter(|(index, _)| !unsent.contains(index)) {
        let Outline { table, sequence, .. } = Outline::read(records[*index].get()).unwrap_or_default();
        tracing::warn!(table, dynamodb.sequence_number = sequence, reason, "a record went to stream-failures");
    }
    metrics::count(Metric::MappingFailures, count.saturating_sub(unsent.len()));
    list(app, all.into_iter().filter(|(index, _)| !unsent.contains(index)).map(|(_, failure)| failure).collect()).await;
    unsent
}

/// Lists the failures that were sent, at most some of each table in a minute, and counts all. The records are safe in
/// the queue, so a fault here is only logged.
async fn list(app: &App, failures: Vec<SourceFailure>) {
    let now = app.clock.now();
    let mut totals: BTreeMap<String, (u64, String)> = BTreeMap::new();
    for failure in &failures {
        let (failed, reason) = totals.entry(failure.table.clone()).or_default();
        *failed += 1;
        reason.clone_from(&failure.reason);
    }
    let listed: Vec<_> = {
        let mut quota = app.listed.lock().unwrap_or_else(PoisonError::into_inner);
        failures.into_iter().filter(|failure| quota.take(&failure.table, now)).collect()
    };
    let counts = totals.iter().map(|(table, (failed, reason))| app.failures.count(table, *failed, reason, now));
    let (counted, listed) = tokio::join!(join_all(counts), app.failures.list(&listed));
    for error in counted.into_iter().chain([listed]).filter_map(Result::err) {
        tracing::warn!(%error, "the list of failed records is incomplete; stream-failures has all of them");
    }
}

/// Returns the positions of the records that were not sent, and the failures that SQS refused.
async fn send_failures_once(
    app: &App,
    records: &[Box<RawValue>],
    failures: Vec<(usize, String)>,
    inline: usize,
) -> (Vec<usize>, Vec<(usize, String)>) {
    let (mut unsent, mut refused) = (Vec::new(), Vec::new());
    let (mut kept, mut messages) = (Vec::new(), Vec::new());
    for (index, reason) in failures {
        match stream_failure(app, &records[index], &reason, inline).await {
            Ok(message) => {
                kept.push((index, reason));
                messages.push(message);
            }
            Err(error) => {
                tracing::error!(%error, "a failed record is too large for a message and was not stored; it is returned to the stream");
                unsent.push(index);
            }
        }
    }
    for (failure, result) in kept.into_iter().zip(app.stream_failures.send(messages).await) {
        match result {
            Ok(()) => {}
            Err(StoreError::Refused(_)) => refused.push(failure),
            Err(error) => {
                tracing::error!(%error, "a failed record was not sent to stream-failures; it is returned to the stream");
                unsent.push(failure.0);
            }
        }
    }
    (unsent, refused)
}

async fn stream_failure(app: &App, record: &RawValue, reason: &str, inline: usize) -> Result<Outgoing, StoreError> {
    let outline = Outline::read(record.get());
    let name = sequence_number(record).unwrap_or_else(|| "record".to_owned());
    let stored = app.bodies.carry(&format!("failure-{name}"), record.get(), inline, app.clock.now()).await?;
    let (record, record_ref) = match &stored {
        Body::Inline(_) | Body::Failed(_) => (Some(record), None),
        Body::Stored(key) => (None, Some(Cow::Borrowed(key.as_str()))),
    };
    let table = outline.as_ref().map(|outline| outline.table.as_str()).filter(|table| !table.is_empty());
    let message = FailureMessage {
        reason: Cow::Borrowed(reason),
        table: table.map(Cow::Borrowed),
        id: outline.as_ref().filter(|_| table.is_some()).map(Outline::id),
        failures: outline.as_ref().map_or(0, |outline| outline.failures).saturating_add(1),
        record,
        record_ref,
    };
    Ok(Outgoing { body: to_queue_json(&message), tenant: None, delay: Duration::ZERO, cause: Some(plain(reason)) })
}

/// Returns a reason with only those characters that a message attribute may contain. A reason may quote names of
/// attributes, which can contain any character.
fn plain(reason: &str) -> String {
    let is_taken = |character: char| !character.is_control() && !matches!(character, '\u{fffe}' | '\u{ffff}');
    reason.chars().take(MAX_CAUSE).map(|character| if is_taken(character) { character } else { '\u{fffd}' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_has_only_characters_that_sqs_takes() {
        assert_eq!(plain("no \"name\""), "no \"name\"");
        assert_eq!(plain("a\u{0}b\nc\u{ffff}d\u{fffe}"), "a\u{fffd}b\u{fffd}c\u{fffd}d\u{fffd}");
        assert_eq!(plain(&"\u{1f600}".repeat(2 * MAX_CAUSE)).chars().count(), MAX_CAUSE);
    }
}
