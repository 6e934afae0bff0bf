//! The notes of what was dismissed.

use std::collections::BTreeMap;

use domain::id::FailureId;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{SourceFailures, pk};
use crate::StoreError;
use crate::items::{IS_LIVE, from_item, live_at, text, to_item};

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

impl SourceFailures {
    /// Notes that a record, or every record of the table, is dismissed if its message was sent before a time.
    pub(super) async fn note_dismissal(
        &self,
        table: &str,
        only: Option<FailureId>,
        before: Timestamp,
    ) -> Result<(), StoreError> {
        let note = to_item(&DismissalItem {
            pk: pk(table),
            sk: only.map_or_else(|| DISMISSED.to_owned(), |id| format!("{DISMISSED}#{id}")),
            v: 1,
            kind: "failure".to_owned(),
            before,
            expires_at: (before + KEPT).as_second(),
        })?;
        let put = self.client.put_item().table_name(&self.table).set_item(Some(note));
        put.send().await.map_err(|error| StoreError::unavailable(&error))?;
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
