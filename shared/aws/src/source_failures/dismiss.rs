//! Dismisses records that failed and will not be sent again: their rows leave the list, and their messages the queue
//! stream-failures.
//!
//! SQS cannot find a message by its record, and another request may hide it. So a dismissal is noted in the Events
//! table, and whichever request meets the message deletes it.

use std::collections::BTreeSet;

use domain::id::FailureId;
use domain::time::Clock;
use jiff::Timestamp;

use super::pass::{More, Pass};
use super::{SourceFailures, TOTAL, pk, sk};
use crate::items::key;
use crate::queue::Queue;
use crate::{StoreError, batch};

/// How many rows are read at once.
const PAGE: usize = 1_000;

/// The outcome of dismissing records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dismissed {
    /// Records that were dismissed.
    pub dismissed: usize,
    /// Why the queue may still have messages of them.
    pub more: Option<More>,
}

impl SourceFailures {
    /// Dismisses a record of a table, or all of its records. Those that fail after the call began stay. Their messages
    /// are deleted until the queue has no more or `until` is reached; a later call deletes the rest.
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
        let mut dismissed = match only {
            Some(id) => self.delete_row(table, id).await?,
            None => self.delete_rows(table, began).await?,
        };
        let mut pass = Pass::begin(self, queue, table, until, clock).await?;
        let read = Self::read_queue(&mut pass).await;
        dismissed.extend(pass.dismissed.iter().filter(|id| only.is_none_or(|only| only == **id)));
        let more = pass.end().await;
        read?;
        Ok(Dismissed { dismissed: dismissed.len(), more })
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

    /// Deletes the rows of the records that failed earlier, and the total if no record failed since.
    async fn delete_rows(&self, table: &str, began: Timestamp) -> Result<BTreeSet<FailureId>, StoreError> {
        let (mut ids, mut after) = (BTreeSet::new(), None);
        loop {
            let page = self.page(table, after, PAGE, began).await?;
            after = page.failures.last().map(|failure| failure.id);
            let old = page.failures.iter().filter(|failure| failure.failed_at < began).map(|failure| failure.id);
            let old: Vec<_> = old.collect();
            let mut rows: Vec<_> = old.iter().map(|id| key(&pk(table), &sk(*id))).collect();
            if !page.more && page.total.is_some_and(|total| total.last_at < began) {
                rows.push(key(&pk(table), TOTAL));
            }
            batch::delete(&self.client, &self.table, rows).await?;
            ids.extend(old);
            if !page.more {
                return Ok(ids);
            }
        }
    }
}
