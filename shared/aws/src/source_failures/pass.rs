//! Goes through the queue stream-failures for the messages of one table.
//!
//! SQS gives whichever messages it likes, those of other tables included, so a pass receives all of them and hides them
//! from itself until it ends.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Duration;

use domain::delivery::message::Body;
use domain::id::FailureId;
use domain::source::failure::{FailureMessage, Outline};
use domain::time::Clock;
use futures::future::try_join_all;
use jiff::Timestamp;
use serde_json::value::RawValue;

use super::SourceFailures;
use super::dismissals::Dismissals;
use crate::StoreError;
use crate::queue::{Queue, Receipt, Received};

/// How long a received message is hidden. It is longer than a pass takes, so that several passes, one after another,
/// get through a queue that is full of messages of other tables.
const HIDDEN: Duration = Duration::from_mins(2);

/// Why there may be more of the table. It is not known of messages that an earlier pass, which was late, left hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum More {
    /// As many records as one call handles were found.
    Many,
    /// The time was up before all rows of dismissed records were deleted.
    Listed,
    /// The time was up before the whole queue was read.
    Late {
        /// The messages that were read and are not of the table. They stay hidden for two minutes at most, so that the
        /// next call reads others.
        others: usize,
    },
}

/// A record in a message.
pub(super) enum Record {
    Inline(Box<RawValue>),
    /// The key of the stored record.
    Stored(String),
}

/// A message of the table.
pub(super) struct Found {
    pub(super) id: FailureId,
    /// How often the record has failed.
    pub(super) failures: u32,
    pub(super) record: Record,
    pub(super) received: Received,
}

/// A pass through the queue.
pub(super) struct Pass<'a> {
    failures: &'a SourceFailures,
    queue: &'a Queue,
    pub(super) table: &'a str,
    until: Timestamp,
    clock: &'a dyn Clock,
    dismissals: Dismissals,
    /// The records that were dismissed and whose messages the pass deleted.
    pub(super) dismissed: BTreeSet<FailureId>,
    /// Received messages that stay in the queue.
    others: Vec<Receipt>,
    is_late: bool,
}

impl<'a> Pass<'a> {
    pub(super) async fn begin(
        failures: &'a SourceFailures,
        queue: &'a Queue,
        table: &'a str,
        until: Timestamp,
        clock: &'a dyn Clock,
    ) -> Result<Self, StoreError> {
        let dismissals = failures.dismissals(table, clock.now()).await?;
        let (dismissed, others) = (BTreeSet::new(), Vec::new());
        Ok(Self { failures, queue, table, until, clock, dismissals, dismissed, others, is_late: false })
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Returns further messages of the table. `None` if the queue has no more to give, or the time is up. Those that an
    /// earlier pass left hidden are not given. SQS only estimates their number, up to a minute late, so it is not asked.
    /// Messages of records that were dismissed are deleted.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Found>>, StoreError> {
        loop {
            let now = self.now();
            if now >= self.until {
                self.is_late = true;
                return Ok(None);
            }
            let received = self.queue.receive_any(HIDDEN).await?;
            if received.is_empty() {
                return Ok(None);
            }
            let read = try_join_all(received.iter().map(|received| self.read(received, now))).await?;
            let (mut found, mut dismissed) = (Vec::new(), Vec::new());
            for (read, received) in read.into_iter().zip(received) {
                match read {
                    Some((id, _, _)) if self.dismissals.has(id, received.sent_at) => {
                        dismissed.push(received.receipt);
                        self.dismissed.insert(id);
                    }
                    Some((id, failures, record)) => found.push(Found { id, failures, record, received }),
                    None => self.others.push(received.receipt),
                }
            }
            for error in self.queue.delete(dismissed).await.iter().filter_map(|result| result.as_ref().err()) {
                let table = self.table;
                tracing::warn!(%error, table, "the message of a dismissed record was not deleted; it stays until the next request");
            }
            if !found.is_empty() {
                return Ok(Some(found));
            }
        }
    }

    /// Leaves messages in the queue.
    pub(super) fn leave(&mut self, found: Vec<Found>) {
        self.others.extend(found.into_iter().map(|found| found.received.receipt));
    }

    /// Deletes messages, and returns the result of each, in the same order.
    pub(super) async fn delete(&self, found: Vec<Found>) -> Vec<Result<(), StoreError>> {
        self.queue.delete(found.into_iter().map(|found| found.received.receipt).collect()).await
    }

    /// Ends the pass, and returns [`More::Late`] if it did not read the whole queue. Only then the messages that it
    /// left stay hidden.
    pub(super) async fn end(self) -> Option<More> {
        if self.is_late {
            return Some(More::Late { others: self.others.len() });
        }
        self.queue.release(self.others).await;
        None
    }

    /// Reads a message. `None` if its record is not one of the table.
    async fn read(&self, received: &Received, now: Timestamp) -> Result<Option<(FailureId, u32, Record)>, StoreError> {
        // Another message names a batch that Lambda gave up; infra/replay.py replays it.
        let Ok(message) = serde_json::from_str::<FailureMessage<'_>>(&received.body) else { return Ok(None) };
        let FailureMessage { table: named, id, failures, record, record_ref, .. } = message;
        let stored = record_ref.map(Cow::into_owned);
        // Messages of earlier versions do not name the table, and their record does.
        let (of, id) = if let (Some(named), Some(id)) = (named, id) {
            (named.into_owned(), id)
        } else {
            let read = match (&stored, record) {
                (Some(stored), _) => match self.failures.bodies.text(&Body::Stored(stored.clone()), now).await {
                    Ok(text) => Outline::read(&text),
                    Err(StoreError::Missing { .. }) => None,
                    Err(error) => return Err(error),
                },
                (None, Some(record)) => Outline::read(record.get()),
                (None, None) => None,
            };
            let Some(outline) = read else { return Ok(None) };
            (outline.table.clone(), outline.id())
        };
        if of != self.table {
            return Ok(None);
        }
        let record = match (stored, record) {
            (Some(stored), _) => Record::Stored(stored),
            (None, Some(record)) => Record::Inline(record.to_owned()),
            (None, None) => return Ok(None),
        };
        Ok(Some((id, failures, record)))
    }
}
