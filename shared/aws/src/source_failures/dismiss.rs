//! Dismisses records that failed and will not be sent again: their rows leave the list, and their messages the queue
//! stream-failures.
//!
//! SQS cannot find a message by its record, and another request may hide it. So a dismissal is noted in the Events
//! table, and whichever request meets the message deletes it.

use std::collections::{BTreeMap, BTreeSet};

use domain::id::FailureId;
use domain::time::Clock;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::pass::{More, Pass};
use super::{SourceFailures, TOTAL, pk, sk};
use crate::items::{IS_LIVE, from_item, key, live_at, text, to_item};
use crate::queue::Queue;
use crate::{StoreError, batch};

/// How many rows are read at once.
const PAGE: usize = 1_000;

/// How long a note is kept. SQS keeps the messages for 14 days.
const KEPT: SignedDuration = SignedDuration::from_hours(24 * 15);

/// The sort key of the note that all records were dismissed. That of one record follows `#`.
const DISMISSED: &str = "DISMISSED";

/// The note of a dismissal. Renaming a field is a migration.
#[derive(Debug, Serialize, Deserialize)]
struct DismissalItem {
    pk: String,
    sk: String,
    v: u8,
    kind: String,
    /// Messages that were sent before this time are dismissed.
    before: Timestamp,
    expires_at: i64,
}

/// The dismissals of a table.
#[derive(Debug, Default)]
pub(super) struct Dismissals {
    all: Option<Timestamp>,
    records: BTreeMap<FailureId, Timestamp>,
}

impl Dismissals {
    /// Returns whether a record was dismissed after its message was sent.
    pub(super) fn has(&self, id: FailureId, sent_at: Option<Timestamp>) -> bool {
        let before = self.records.get(&id).copied().max(self.all);
        before.is_some_and(|before| sent_at.is_none_or(|sent_at| sent_at < before))
    }
}

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
        let note = to_item(&DismissalItem {
            pk: pk(table),
            sk: only.map_or_else(|| DISMISSED.to_owned(), |id| format!("{DISMISSED}#{id}")),
            v: 1,
            kind: "failure".to_owned(),
            before: began,
            expires_at: (began + KEPT).as_second(),
        })?;
        let put = self.client.put_item().table_name(&self.table).set_item(Some(note));
        put.send().await.map_err(|error| StoreError::unavailable(&error))?;
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

    /// Returns what was dismissed of a table.
    pub(super) async fn dismissals(&self, table: &str, now: Timestamp) -> Result<Dismissals, StoreError> {
        let query = self.client.query().table_name(&self.table).consistent_read(true);
        let query = query
            .key_condition_expression("pk = :pk AND begins_with(sk, :dismissed)")
            .expression_attribute_values(":pk", text(pk(table)))
            .expression_attribute_values(":dismissed", text(DISMISSED))
            .filter_expression(IS_LIVE)
            .expression_attribute_values(":live_at", live_at(now));
        let mut items = query.into_paginator().items().send();
        let mut dismissals = Dismissals::default();
        while let Some(item) = items.next().await {
            let note: DismissalItem = from_item(item.map_err(|error| StoreError::unavailable(&error))?)?;
            match note.sk.strip_prefix(DISMISSED).and_then(|rest| rest.strip_prefix('#')?.parse().ok()) {
                Some(id) => _ = dismissals.records.insert(id, note.before),
                None => dismissals.all = Some(note.before),
            }
        }
        Ok(dismissals)
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

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[rstest]
    #[case::the_record(1, Some(9), true)]
    #[case::failed_again(1, Some(10), false)]
    #[case::without_a_time(1, None, true)]
    #[case::another_record(2, Some(9), false)]
    #[case::before_all_were(2, Some(4), true)]
    #[case::after_all_were(2, Some(5), false)]
    fn what_failed_again_is_not_dismissed(#[case] id: u128, #[case] sent_at: Option<i64>, #[case] dismissed: bool) {
        let of = |number| FailureId::from_parts(Timestamp::UNIX_EPOCH, number);
        let dismissals = Dismissals { all: Some(at(5)), records: BTreeMap::from([(of(1), at(10))]) };
        assert_eq!(dismissals.has(of(id), sent_at.map(at)), dismissed);
        assert!(!Dismissals::default().has(of(id), None));
    }
}
