//! Does one run: due rows, jobs and dead letters.

use std::time::SystemTime;

use aws::StoreError;
use runtime::metrics;
use serde::Serialize;

use crate::sweep::sweep;
use crate::{App, Swept, job, letters};

/// What a run did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Ran {
    /// What it did with due rows.
    #[serde(flatten)]
    pub swept: Swept,
    /// Deliveries that jobs sent.
    pub sent: usize,
    /// Dead letters that were deleted, because their deliveries are no longer exhausted.
    pub removed: usize,
}

/// Wakes what is due, works on jobs and deletes obsolete letters, all concurrently. `deadline` is the end of the
/// invocation.
///
/// # Errors
///
/// If the ledger or a queue is unavailable. The next run continues.
pub async fn run(app: &App, deadline: SystemTime) -> Result<Ran, StoreError> {
    // Boxed, because the type of the nested futures is too deep for the compiler.
    let (swept, sent, removed) = tokio::join!(
        Box::pin(sweep(app, deadline)),
        Box::pin(job::work(app, deadline)),
        Box::pin(letters::remove(app, deadline))
    );
    metrics::flush();
    Ok(Ran { swept: swept?, sent: sent?, removed: removed? })
}
