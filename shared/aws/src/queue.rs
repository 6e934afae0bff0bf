//! Sends, receives and deletes messages of SQS queues, in batches of ten.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::{DisplayErrorContext, ProvideErrorMetadata as _};
use aws_sdk_sqs::types::{MessageAttributeValue, SendMessageBatchRequestEntry};
use domain::access::tenant::TenantId;
use domain::delivery::message::Message;
use futures::stream::{self, StreamExt as _};

use crate::StoreError;

mod receive;

pub(crate) use receive::{Receipt, Received};

/// The most messages that one call sends or deletes.
const MAX_ENTRIES: usize = 10;

/// The most bytes of bodies in one call: SQS's limit of 1 MiB, less room for attributes.
const MAX_BYTES: usize = 1024 * 1024 - 16 * 1024;

/// How many calls run at once.
const CONCURRENCY: usize = 8;

/// How often a message is sent until it is given up.
const ROUNDS: u32 = 3;

/// A queue.
#[derive(Debug, Clone)]
pub struct Queue {
    client: Client,
    url: String,
}

/// A message to send.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The body; only characters that SQS accepts.
    pub body: String,
    /// The tenant, which is the message group of a fair queue, so that a busy tenant does not delay others. `None` if
    /// it is not known.
    pub tenant: Option<TenantId>,
    /// The delay before it can be received; at most 15 minutes.
    pub delay: Duration,
    /// Why the message was sent to this queue, for the operator.
    pub cause: Option<String>,
}

impl Outgoing {
    /// Returns the message of a delivery, which can be received after `delay`.
    #[must_use]
    pub fn of(message: &Message, delay: Duration) -> Self {
        Self { body: message.to_json(), tenant: Some(message.tenant.clone()), delay, cause: None }
    }

    /// Returns the message of a first attempt, which can be received at once, without a copy of its body.
    #[must_use]
    pub fn first(message: Message) -> Self {
        let tenant = Some(message.tenant.clone());
        Self { body: message.into_json(), tenant, delay: Duration::ZERO, cause: None }
    }
}

/// A message to a FIFO queue.
#[derive(Debug, Clone)]
pub struct InOrder {
    /// The body; only characters that SQS accepts.
    pub body: String,
    /// The message group: messages of one group stay in order.
    pub group: String,
    /// The deduplication id: SQS drops a second message with the same id within five minutes.
    pub id: String,
}

/// A message as an entry of a batched call.
#[derive(Debug, Clone)]
struct Entry {
    body: String,
    group: Option<String>,
    id: Option<String>,
    /// `None` for a FIFO queue, which rejects delays of single messages.
    delay: Option<Duration>,
    cause: Option<String>,
    /// Whether it is sent in a call of its own, because a call with other messages was refused for the content of one
    /// of them.
    alone: bool,
}

impl From<Outgoing> for Entry {
    fn from(message: Outgoing) -> Self {
        let Outgoing { body, tenant, delay, cause } = message;
        Self { body, group: tenant.map(|tenant| tenant.to_string()), id: None, delay: Some(delay), cause, alone: false }
    }
}

impl From<InOrder> for Entry {
    fn from(message: InOrder) -> Self {
        let InOrder { body, group, id } = message;
        Self { body, group: Some(group), id: Some(id), delay: None, cause: None, alone: false }
    }
}

impl Queue {
    pub(crate) fn new(client: Client, url: String) -> Self {
        Self { client, url }
    }

    /// Sends messages, and returns the result of each, in the same order. Failed entries are retried a few times.
    ///
    /// A call whose answer was lost may have sent its messages, so an error means "perhaps not sent". Only
    /// [`StoreError::Refused`] means "never": SQS does not accept the content.
    pub async fn send(&self, messages: Vec<Outgoing>) -> Vec<Result<(), StoreError>> {
        self.send_all(messages.into_iter().map(Entry::from).collect()).await
    }

    /// Sends messages to a FIFO queue, and returns the result of each, in the same order.
    ///
    /// A message is sent after the previous one of its group was accepted, and not at all if that failed, so messages
    /// of a group never overtake each other. A message that SQS refuses for good does not block later ones.
    pub async fn send_in_order(&self, messages: Vec<InOrder>) -> Vec<Result<(), StoreError>> {
        let mut results: Vec<Result<(), StoreError>> = messages.iter().map(|_| Ok(())).collect();
        let mut left: Vec<(usize, InOrder)> = messages.into_iter().enumerate().collect();
        while !left.is_empty() {
            let (now, later) = first_of_each(left);
            let groups: Vec<(usize, String)> =
                now.iter().map(|(index, message)| (*index, message.group.clone())).collect();
            let sent = self.send_all(now.into_iter().map(|(_, message)| message.into()).collect()).await;
            let mut refused: HashMap<String, String> = HashMap::new();
            for ((index, group), result) in groups.into_iter().zip(sent) {
                if let Err(error @ StoreError::Unavailable(_)) = &result {
                    refused.insert(group, error.to_string());
                }
                results[index] = result;
            }
            left = Vec::new();
            for (index, message) in later {
                if let Some(why) = refused.get(&message.group) {
                    let why = format!("an earlier message of its group was not sent: {why}");
                    results[index] = Err(StoreError::Unavailable(why));
                } else {
                    left.push((index, message));
                }
            }
        }
        results
    }

    async fn send_all(&self, messages: Vec<Entry>) -> Vec<Result<(), StoreError>> {
        let mut results: Vec<Result<(), StoreError>> = messages.iter().map(|_| Ok(())).collect();
        let mut left: Vec<(usize, Entry)> = messages.into_iter().enumerate().collect();
        for round in 0..ROUNDS {
            if round > 0 {
                tokio::time::sleep(Duration::from_millis(50 << round)).await;
            }
            let answers: Vec<_> = stream::iter(calls(left))
                .map(|call| async move { (self.send_batch(&call).await, call) })
                .buffer_unordered(CONCURRENCY)
                .collect()
                .await;
            left = Vec::new();
            for (mut refused, call) in answers {
                let alone = call.len() > 1 && refused.values().all(|error| matches!(error, StoreError::Refused(_)));
                let alone = alone && refused.len() == call.len();
                for (index, mut message) in call {
                    let result = refused.remove(&index).map_or(Ok(()), Err);
                    // SQS refused the whole call without saying for which message, so each is sent alone.
                    message.alone |= alone;
                    if alone || matches!(result, Err(StoreError::Unavailable(_))) {
                        left.push((index, message));
                    }
                    results[index] = result;
                }
            }
            if left.is_empty() {
                break;
            }
        }
        for (index, _) in left {
            // Refused together with others and not sent alone yet: the cause may be another message.
            if let Err(StoreError::Refused(why)) = &results[index] {
                results[index] = Err(StoreError::Unavailable(why.clone()));
            }
        }
        results
    }

    /// Sends the messages of one call, and returns the errors of those that were not accepted, by index.
    async fn send_batch(&self, call: &[(usize, Entry)]) -> HashMap<usize, StoreError> {
        let all = |error: fn(String) -> StoreError, why: String| {
            call.iter().map(|(index, _)| (*index, error(why.clone()))).collect()
        };
        let entries = match call.iter().map(|(index, message)| entry(*index, message)).collect::<Result<_, _>>() {
            Ok(entries) => entries,
            Err(error) => return all(StoreError::Refused, error.to_string()),
        };
        match self.client.send_message_batch().queue_url(&self.url).set_entries(Some(entries)).send().await {
            // A successful call may still have rejected some entries.
            Ok(answer) => answer
                .failed
                .into_iter()
                .filter_map(|failed| Some((failed.id.parse().ok()?, of_entry(&failed.code))))
                .collect(),
            Err(error) => match error.as_service_error().and_then(|error| error.code()) {
                Some(code) if is_content(code) => all(StoreError::Refused, of_sqs(code)),
                _ => all(StoreError::Unavailable, DisplayErrorContext(error).to_string()),
            },
        }
    }
}

/// Returns the error of an entry that was not accepted.
fn of_entry(code: &str) -> StoreError {
    if is_content(code) { StoreError::Refused(of_sqs(code)) } else { StoreError::Unavailable(of_sqs(code)) }
}

fn of_sqs(code: &str) -> String {
    format!("SQS answered {code}")
}

/// Returns whether the code is about the content of a message, so that every retry fails too. All other codes, unknown
/// ones included, count as temporary.
fn is_content(code: &str) -> bool {
    // The code may have the namespace of either of SQS's protocols.
    let name = code.rsplit(['.', '#']).next().unwrap_or(code);
    matches!(
        name.strip_suffix("Exception").unwrap_or(name),
        "InvalidMessageContents" | "InvalidParameterValue" | "InvalidAttributeValue" | "BatchRequestTooLong"
    )
}

fn entry(index: usize, message: &Entry) -> Result<SendMessageBatchRequestEntry, aws_sdk_sqs::error::BuildError> {
    let seconds = message.delay.map(|delay| delay.as_secs() + u64::from(delay.subsec_nanos() > 0));
    let mut entry = SendMessageBatchRequestEntry::builder()
        .id(index.to_string())
        .message_body(&message.body)
        .set_delay_seconds(seconds.map(|seconds| i32::try_from(seconds.min(900)).unwrap_or(900)))
        .set_message_group_id(message.group.clone())
        .set_message_deduplication_id(message.id.clone());
    if let Some(cause) = &message.cause {
        let value = MessageAttributeValue::builder().data_type("String").string_value(cause).build()?;
        entry = entry.message_attributes("cause", value);
    }
    entry.build()
}

/// Messages with their indexes among all messages of a call to [`Queue::send_in_order`].
type Placed = Vec<(usize, InOrder)>;

/// Splits messages into the first one of each group and the rest.
fn first_of_each(messages: Placed) -> (Placed, Placed) {
    let mut groups = HashSet::new();
    messages.into_iter().partition(|(_, message)| groups.insert(message.group.clone()))
}

/// Distributes messages to calls, in order.
fn calls(messages: Vec<(usize, Entry)>) -> Vec<Vec<(usize, Entry)>> {
    let mut calls: Vec<Vec<(usize, Entry)>> = Vec::new();
    let mut bytes = 0;
    for (index, message) in messages {
        let size = message.body.len() + message.cause.as_ref().map_or(0, String::len);
        match calls.last_mut() {
            Some(call)
                if call.len() < MAX_ENTRIES
                    && bytes + size <= MAX_BYTES
                    && !message.alone
                    && call.last().is_none_or(|(_, before)| !before.alone) =>
            {
                bytes += size;
                call.push((index, message));
            }
            _ => {
                bytes = size;
                calls.push(vec![(index, message)]);
            }
        }
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(bytes: usize) -> Entry {
        Outgoing { body: "x".repeat(bytes), tenant: None, delay: Duration::ZERO, cause: None }.into()
    }

    #[test]
    fn a_group_goes_one_message_at_a_time() {
        let message = |group: &str| InOrder { body: String::new(), group: group.to_owned(), id: String::new() };
        let messages = ["a", "b", "a", "a", "c", "b"].map(message).into_iter().enumerate().collect();
        let indexes = |messages: &[(usize, InOrder)]| messages.iter().map(|(index, _)| *index).collect::<Vec<_>>();
        let (now, later) = first_of_each(messages);
        assert_eq!((indexes(&now), indexes(&later)), (vec![0, 1, 4], vec![2, 3, 5]));
        let (now, later) = first_of_each(later);
        assert_eq!((indexes(&now), indexes(&later)), (vec![2, 5], vec![3]));
    }

    #[test]
    fn packs_ten_to_a_call_and_a_megabyte_at_most() {
        let sizes = |bytes: &[usize]| -> Vec<usize> {
            let messages = bytes.iter().map(|bytes| message(*bytes)).enumerate().collect();
            calls(messages).iter().map(Vec::len).collect()
        };
        assert_eq!(sizes(&[1; 21]), [10, 10, 1]);
        assert_eq!(sizes(&[600_000, 600_000, 10]), [1, 2]);
        assert_eq!(sizes(&[]), Vec::<usize>::new());
    }

    #[test]
    fn what_was_refused_with_others_goes_alone() {
        let messages = [false, true, false, false, true, true];
        let messages = messages.map(|alone| Entry { alone, ..message(1) }).into_iter().enumerate().collect();
        let sizes: Vec<usize> = calls(messages).iter().map(Vec::len).collect();
        assert_eq!(sizes, [1, 1, 2, 1, 1]);
    }

    #[test]
    fn only_what_a_message_holds_is_refused_for_good() {
        for code in [
            "InvalidMessageContents",
            "AWS.SimpleQueueService.BatchRequestTooLong",
            "com.amazonaws.sqs#InvalidMessageContents",
            "InvalidParameterValueException",
        ] {
            assert!(is_content(code), "{code}");
        }
        for code in [
            "InternalError",
            "RequestThrottled",
            "KmsThrottled",
            "AccessDenied",
            "AWS.SimpleQueueService.NonExistentQueue",
            "OverLimit",
            "",
        ] {
            assert!(!is_content(code), "{code}");
        }
    }
}
