//! Sends records that fan-out cannot process to the queue stream-failures, whole and with the reason.

use std::time::Duration;

use aws::StoreError;
use aws::queue::Outgoing;
use domain::delivery::message::{Body, to_queue_json};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::App;
use crate::record::sequence_number;

/// The largest record that is sent within its message, in bytes. A larger one is sent by reference.
const MAX_BYTES: usize = 900 * 1024;

/// The longest reason that is also sent as a message attribute, in characters.
const MAX_CAUSE: usize = 1_000;

/// A record that could not be processed, in the form of a message to stream-failures.
#[derive(Debug, Serialize)]
struct StreamFailure<'a> {
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<&'a RawValue>,
    /// The key of the stored record, if it is too large for a message.
    #[serde(skip_serializing_if = "Option::is_none")]
    record_ref: Option<&'a str>,
}

/// Returns the reason for a record of which AWS refused something that fan-out made.
pub(crate) fn failed(why: &str) -> String {
    format!("AWS refused what fan-out made of the record: {why}")
}

/// Sends records to stream-failures, given by their positions, with the reasons. Returns the positions of those that
/// were not sent.
pub(crate) async fn send_failures(app: &App, records: &[Box<RawValue>], failures: Vec<(usize, String)>) -> Vec<usize> {
    let (mut unsent, refused) = send_failures_once(app, records, failures, MAX_BYTES).await;
    // If SQS refuses the record itself, it is stored in the Events table and sent by reference.
    let (more, refused) = send_failures_once(app, records, refused, 0).await;
    unsent.extend(more.into_iter().chain(refused.into_iter().map(|(index, _)| index)));
    unsent
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
                tracing::error!(%error, "a record for stream-failures was not stored");
                unsent.push(index);
            }
        }
    }
    for (failure, result) in kept.into_iter().zip(app.stream_failures.send(messages).await) {
        match result {
            Ok(()) => {}
            Err(StoreError::Refused(_)) => refused.push(failure),
            Err(error) => {
                tracing::error!(%error, "a record was not sent to stream-failures");
                unsent.push(failure.0);
            }
        }
    }
    (unsent, refused)
}

async fn stream_failure(app: &App, record: &RawValue, reason: &str, inline: usize) -> Result<Outgoing, StoreError> {
    let name = sequence_number(record).unwrap_or_else(|| "record".to_owned());
    let stored = app.bodies.carry(&format!("failure-{name}"), record.get(), inline, app.clock.now()).await?;
    let failure = match &stored {
        Body::Inline(_) | Body::Failed(_) => StreamFailure { reason, record: Some(record), record_ref: None },
        Body::Stored(key) => StreamFailure { reason, record: None, record_ref: Some(key) },
    };
    Ok(Outgoing { body: to_queue_json(&failure), tenant: None, delay: Duration::ZERO, cause: Some(plain(reason)) })
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
