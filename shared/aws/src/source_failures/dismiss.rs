//! Dismisses records that failed and will not be sent again: their rows leave the list, and their messages the queue
//! stream-failures.
//!
//! SQS cannot find a message by its record, and another request may hide it. So a dismissal is noted in the Events
//! table, and whichever request meets the message deletes it.

use std::collections::BTreeSet;

use domain::id::FailureId;
use domain::time::Clock;
use jiff::{SignedDuration, Timestamp};

use super::pass::{More, Pass};
use super::{SourceFailures, TOTAL, failure, pk, sk};
use crate::items::key;
use crate::queue::Queue;
use crate::{StoreError, batch};

/// How many rows are read at once.
const PAGE: usize = 1_000;

/// How much earlier than its message a row can say that its record failed: fan-out takes the time, and then sends up to
/// a batch of messages. A row that is this old has a message that was sent before the dismissal too.
const SENDING: SignedDuration = SignedDuration::from_secs(30);

/// The outcome of dismissing records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dismissed {
    /// Records that were dismissed.
    pub dismissed: usize,
    /// Why the queue may still have messages of them.
    pub more: Option<More>,
}

impl SourceFailures {
    /// Dismisses a record of a table, or all of its records. Those that fail after the call began stay. At most half of
    /// the time until `until` is for their rows, and the rest for their messages; a later call deletes what is left. It
    /// is a dismissal of its own, and those that fail between the two calls are dismissed as well.
    ///
    /// # Errors
    ///
    /// If the queue or the table is unavailable. Some records may have been dismissed.
    pub async fn dismiss(
        &self,
        queue: &Queue,
        table: &str,
        only: Option<FailureId>,
        until: Timestamp,
        clock: &dyn Clock,
    ) -> Result<Dismissed, StoreError> {
        let began = clock.now();
        self.note_dismissal(table, only, began).await?;
        let half = began + until.duration_since(began) / 2;
        let (mut dismissed, all_rows) = match only {
            Some(id) => (self.delete_row(table, id).await?, true),
            None => self.delete_rows(table, began, half, clock).await?,
        };
        let mut pass = Pass::begin(self, queue, table, until, clock).await?;
        let read = Self::read_queue(&mut pass).await;
        let met: BTreeSet<_> =
            pass.dismissed.iter().copied().filter(|id| only.is_none_or(|only| only == *id)).collect();
        let more = pass.end().await;
        let still_listed: Vec<_> = met.difference(&dismissed).copied().collect();
        self.delete_rows_of(table, still_listed, began).await?;
        read?;
        dismissed.extend(met);
        Ok(Dismissed { dismissed: dismissed.len(), more: more.or((!all_rows).then_some(More::Listed)) })
    }

    /// Reads the queue, of which a pass deletes what was dismissed.
    async fn read_queue(pass: &mut Pass<'_>) -> Result<(), StoreError> {
        while let Some(others) = pass.next().await? {
            pass.leave(others);
        }
        Ok(())
    }

    /// Deletes the row of a record, and returns its id if there was one.
    async fn delete_row(&self, table: &str, id: FailureId) -> Result<BTreeSet<FailureId>, StoreError> {
        let row = key(&pk(table), &sk(id));
        let found = batch::get(&self.client, vec![(self.table.clone(), row.clone())]).await?;
        if found.values().all(Vec::is_empty) {
            return Ok(BTreeSet::new());
        }
        batch::delete(&self.client, &self.table, vec![row]).await?;
        Ok(BTreeSet::from([id]))
    }

    /// Deletes the rows of records whose messages are deleted, unless they failed again since.
    async fn delete_rows_of(&self, table: &str, ids: Vec<FailureId>, began: Timestamp) -> Result<(), StoreError> {
        let rows = ids.into_iter().map(|id| (self.table.clone(), key(&pk(table), &sk(id)))).collect();
        let found = batch::get(&self.client, rows).await?.into_values().flatten();
        let found = found.map(failure).collect::<Result<Vec<_>, _>>()?;
        let old = found.iter().filter(|failure| failure.failed_at < began);
        batch::delete(&self.client, &self.table, old.map(|failure| key(&pk(table), &sk(failure.id))).collect()).await
    }

    /// Deletes the rows of the records that failed at least [`SENDING`] before, and the total if no record failed since.
    /// Returns the records, and whether these are all: at least one page is deleted, and none is begun after `until`.
    async fn delete_rows(
        &self,
        table: &str,
        began: Timestamp,
        until: Timestamp,
        clock: &dyn Clock,
    ) -> Result<(BTreeSet<FailureId>, bool), StoreError> {
        let (mut ids, mut after) = (BTreeSet::new(), None);
        loop {
            let page = self.page(table, after, PAGE, began).await?;
            after = page.failures.last().map(|failure| failure.id);
            let old =
                page.failures.iter().filter(|failure| was_sent(failure.failed_at, began)).map(|failure| failure.id);
            let old: Vec<_> = old.collect();
            let mut rows: Vec<_> = old.iter().map(|id| key(&pk(table), &sk(*id))).collect();
            if !page.more && page.total.is_some_and(|total| total.last_at < began) {
                rows.push(key(&pk(table), TOTAL));
            }
            batch::delete(&self.client, &self.table, rows).await?;
            ids.extend(old);
            if !page.more || clock.now() >= until {
                return Ok((ids, !page.more));
            }
        }
    }
}

/// Returns whether the message of a record that failed at that time was sent when the dismissal began.
fn was_sent(failed_at: Timestamp, began: Timestamp) -> bool {
    began.duration_since(failed_at) >= SENDING
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// Otherwise the row would leave the list, and its message, which is sent afterwards, would stay.
    #[rstest]
    #[case::long_before(0, true)]
    #[case::just_long_enough(70, true)]
    #[case::perhaps_not_sent_yet(71, false)]
    #[case::afterwards(101, false)]
    fn a_row_leaves_the_list_when_its_message_was_certainly_sent(#[case] failed_at: i64, #[case] leaves: bool) {
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(was_sent(at(failed_at), at(100)), leaves);
    }
}
