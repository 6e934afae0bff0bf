//! Receives, releases and deletes messages.

use std::time::Duration;

use aws_sdk_sqs::error::DisplayErrorContext;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, Message, MessageSystemAttributeName,
    QueueAttributeName,
};
use futures::future::join_all;
use jiff::Timestamp;

use super::{CONCURRENCY, MAX_ENTRIES, Queue};
use crate::StoreError;

/// The most messages that one call receives.
const MAX_RECEIVED: i32 = 10;

/// A message that was received.
#[derive(Debug)]
pub(crate) struct Received {
    /// The same at every receive.
    pub(crate) id: String,
    pub(crate) body: String,
    pub(crate) receipt: Receipt,
    /// When it was sent, if SQS says so.
    pub(crate) sent_at: Option<Timestamp>,
}

/// The receipt handle, which deletes a received message.
#[derive(Debug, Clone)]
pub(crate) struct Receipt(String);

impl Queue {
    /// Returns about how many messages wait to be received, without delayed ones and those in progress.
    ///
    /// # Errors
    ///
    /// If SQS is unavailable.
    pub async fn backlog(&self) -> Result<usize, StoreError> {
        let name = QueueAttributeName::ApproximateNumberOfMessages;
        let request = self.client.get_queue_attributes().queue_url(&self.url).attribute_names(name.clone());
        let answer =
            request.send().await.map_err(|error| StoreError::Unavailable(DisplayErrorContext(error).to_string()))?;
        let count = answer.attributes.as_ref().and_then(|attributes| attributes.get(&name)?.parse().ok());
        count.ok_or_else(|| StoreError::inconsistent("a queue", "SQS does not say how many messages it has"))
    }

    /// Receives up to ten messages, and hides them for `hidden_for`. It does not wait for messages; an empty result
    /// means that the queue has few or none.
    pub(crate) async fn receive(&self, hidden_for: Duration) -> Result<Vec<Received>, StoreError> {
        self.receive_within(Duration::ZERO, hidden_for).await
    }

    /// Receives up to ten messages, and hides them for `hidden_for`. It asks all servers of SQS, so an empty result
    /// means that the queue has no message to give.
    pub(crate) async fn receive_any(&self, hidden_for: Duration) -> Result<Vec<Received>, StoreError> {
        self.receive_within(Duration::from_secs(1), hidden_for).await
    }

    async fn receive_within(&self, wait: Duration, hidden_for: Duration) -> Result<Vec<Received>, StoreError> {
        let request = self.client.receive_message().queue_url(&self.url).max_number_of_messages(MAX_RECEIVED);
        let request = request.wait_time_seconds(i32::try_from(wait.as_secs()).unwrap_or(i32::MAX));
        let request = request.message_system_attribute_names(MessageSystemAttributeName::SentTimestamp);
        let request = request.visibility_timeout(i32::try_from(hidden_for.as_secs()).unwrap_or(i32::MAX));
        let answer =
            request.send().await.map_err(|error| StoreError::Unavailable(DisplayErrorContext(error).to_string()))?;
        let messages = answer.messages.unwrap_or_default().into_iter();
        let received = messages.filter_map(|message| {
            let sent_at = sent_at(&message);
            let receipt = Receipt(message.receipt_handle?);
            Some(Received { id: message.message_id?, body: message.body.unwrap_or_default(), receipt, sent_at })
        });
        Ok(received.collect())
    }

    /// Makes received messages visible again at once. Those for which this fails become visible when their time is up.
    pub(crate) async fn release(&self, receipts: Vec<Receipt>) {
        for calls in receipts.chunks(MAX_ENTRIES * CONCURRENCY) {
            join_all(calls.chunks(MAX_ENTRIES).map(|call| self.release_batch(call))).await;
        }
    }

    async fn release_batch(&self, call: &[Receipt]) {
        let entry = |(index, Receipt(handle)): (usize, &Receipt)| {
            let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(index.to_string());
            entry.receipt_handle(handle).visibility_timeout(0).build()
        };
        let Ok(entries) = call.iter().enumerate().map(entry).collect::<Result<Vec<_>, _>>() else { return };
        let request = self.client.change_message_visibility_batch().queue_url(&self.url);
        if let Err(error) = request.set_entries(Some(entries)).send().await {
            let error = DisplayErrorContext(error);
            tracing::warn!(%error, "received messages stay hidden until their time is up");
        }
    }

    /// Deletes received messages, and returns the result of each, in the same order.
    pub(crate) async fn delete(&self, receipts: Vec<Receipt>) -> Vec<Result<(), StoreError>> {
        let calls = receipts.chunks(MAX_ENTRIES).map(|call| self.delete_batch(call));
        join_all(calls).await.into_iter().flatten().collect()
    }

    async fn delete_batch(&self, call: &[Receipt]) -> Vec<Result<(), StoreError>> {
        let all = |why: String| call.iter().map(|_| Err(StoreError::Unavailable(why.clone()))).collect();
        let entry = |(index, Receipt(handle)): (usize, &Receipt)| {
            DeleteMessageBatchRequestEntry::builder().id(index.to_string()).receipt_handle(handle).build()
        };
        let entries = match call.iter().enumerate().map(entry).collect::<Result<Vec<_>, _>>() {
            Ok(entries) => entries,
            Err(error) => return all(error.to_string()),
        };
        match self.client.delete_message_batch().queue_url(&self.url).set_entries(Some(entries)).send().await {
            Ok(answer) => {
                let mut results: Vec<Result<(), StoreError>> = call.iter().map(|_| Ok(())).collect();
                for failed in answer.failed {
                    let place = failed.id.parse().ok().and_then(|index: usize| results.get_mut(index));
                    if let Some(result) = place {
                        *result =
                            Err(StoreError::Unavailable(format!("SQS did not delete the message: {}", failed.code)));
                    }
                }
                results
            }
            Err(error) => all(DisplayErrorContext(error).to_string()),
        }
    }
}

/// Returns when a message was sent. SQS gives it in milliseconds since 1970.
fn sent_at(message: &Message) -> Option<Timestamp> {
    let milliseconds = message.attributes.as_ref()?.get(&MessageSystemAttributeName::SentTimestamp)?;
    Timestamp::from_millisecond(milliseconds.parse().ok()?).ok()
}
