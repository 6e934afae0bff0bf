//! Records that failed and are sent again: the stream of the Events table passes the item that holds such a record, and
//! the record takes its place in the batch.

use std::borrow::Cow;

use aws::StoreError;
use runtime::metrics::{self, Metric};
use serde_json::value::RawValue;

use crate::App;

/// The most bytes of records that are taken out of their items in one batch. They are in memory together, and a record
/// that is stored elsewhere may be a thousand times as large as its item.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// Returns the batch with each item of a record replaced by the record. If the records take too much memory, only the
/// start of the batch is returned, at least one record.
pub(crate) async fn unwrap<'a>(
    app: &App,
    records: &'a [Box<RawValue>],
) -> Result<Cow<'a, [Box<RawValue>]>, StoreError> {
    let (mut unwrapped, mut bytes) = (Cow::Borrowed(records), 0);
    for (index, record) in records.iter().enumerate() {
        let redriven = match app.failures.redriven(record, app.clock.now()).await {
            Ok(Some(redriven)) => redriven,
            Ok(None) => continue,
            Err(error @ (StoreError::Missing { .. } | StoreError::Inconsistent { .. })) => {
                tracing::error!(%error, "a record that was sent again is lost");
                metrics::count(Metric::LostRecords, 1);
                continue;
            }
            Err(error) => return Err(error),
        };
        bytes += redriven.get().len();
        let unwrapped = unwrapped.to_mut();
        if bytes > MAX_BYTES && index > 0 {
            unwrapped.truncate(index);
            break;
        }
        if let Some(place) = unwrapped.get_mut(index) {
            *place = redriven;
        }
    }
    Ok(unwrapped)
}
