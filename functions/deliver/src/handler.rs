//! Handles an invocation: reads the messages of a batch and reports those that return to the queue.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use aws::StoreError;
use aws::queue::Outgoing;
use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse};
use domain::delivery::message::Message;
use domain::delivery::message::copies::{Copies, by_attempt};
use jiff::Timestamp;

use crate::App;
use crate::batch::deliver;
use crate::log;
use crate::measure;
use crate::ordered;
use crate::received::{Batch, Unreadable};

/// Delivers a batch; `deadline` is the end of the invocation.
///
/// A receiver's behavior is an outcome, which is written to the ledger. Only internal faults are reported as failures,
/// each for its own message: if the whole batch failed, the other messages would be received and delivered again.
pub async fn handle(app: &App, event: Batch, deadline: SystemTime) -> SqsBatchResponse {
    let deadline = Timestamp::try_from(deadline).unwrap_or(Timestamp::MAX);
    if let Some(tracer) = &app.tracer {
        tracer.ends_at(deadline);
    }
    let mut failed = Vec::new();
    let mut messages = Vec::new();
    let mut ids = Vec::new();
    for record in event.records {
        let id = record.message_id.clone();
        match record.message() {
            Ok(message) => {
                ids.push(id);
                messages.push(message);
            }
            Err(unreadable) => {
                if let Err(error) = move_unreadable(app, unreadable).await {
                    tracing::error!(%error, "a message that cannot be read was not moved to the dead-letter queue; it is received again");
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
        tracing::error!(delivery.id = %messages[index].delivery, %error, "message is returned to the queue");
        failed.push(ids[index].clone());
    }
    log::flush(&app.successes);
    measure::flush(&app.failures, app.clock.now());
    // A batch may contain a message id twice.
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

/// Moves an unreadable message to the dead-letter queue, unchanged and with the reason.
async fn move_unreadable(app: &App, unreadable: Unreadable) -> Result<(), StoreError> {
    let Unreadable { body, why } = unreadable;
    // SQS refuses an empty body.
    let body = if body.is_empty() { "(empty)".to_owned() } else { body };
    let cause = Some(format!("not a delivery message: {why}"));
    let letter = Outgoing { body, tenant: None, delay: Duration::ZERO, cause };
    app.unreadable.send(vec![letter]).await.remove(0)
}

/// Makes each attempt of a batch once, however many copies of its message the batch contains. Returns the faults.
///
/// The ledger cannot distinguish copies before the attempt, so all are acknowledged or returned together. After the
/// attempt all are acknowledged, because each of them would find the row that the attempt wrote. After an internal
/// fault all return to the queue. Without a row only the messages hold the delivery, and SQS may deliver any of them
/// again: one copy may have used up its receives or have an expired receipt, while another has all of its receives
/// left.
async fn deliver_once(app: &App, messages: &[&Message], deadline: Timestamp) -> Vec<(usize, StoreError)> {
    let attempts = by_attempt(messages);
    let chosen: Vec<&Message> = attempts.iter().map(|copies| messages[copies.chosen]).collect();
    let mut faults = Vec::new();
    for (index, error) in deliver(app, &chosen, deadline).await {
        let Copies { chosen, others } = &attempts[index];
        let why = format!("another copy of the message is returned to the queue: {error}");
        faults.push((*chosen, error));
        faults.extend(others.iter().map(|other| (*other, StoreError::Unavailable(why.clone()))));
    }
    faults
}
