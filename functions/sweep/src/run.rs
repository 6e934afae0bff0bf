//! One run: what is due, the jobs, and the letters of exhausted deliveries.

use std::time::SystemTime;

use aws::StoreError;
use serde::Serialize;

use crate::sweep::sweep;
use crate::{App, Swept, job, letters};

/// What a run did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Ran {
    /// With what was due.
    #[serde(flatten)]
    pub swept: Swept,
    /// Deliveries that jobs sent.
    pub sent: usize,
    /// Letters that were removed, as their deliveries are exhausted no longer.
    pub removed: usize,
}

/// Wakes what is due, works at the jobs and removes letters, all at once: none waits for another. `deadline` is the end of the
/// invocation.
///
/// # Errors
///
/// If the ledger or a queue is unavailable; the next run goes on.
pub async fn run(app: &App, deadline: SystemTime) -> Result<Ran, StoreError> {
    // Boxed: the type of all that happens below is too deep for the compiler.
    let (swept, sent, removed) = tokio::join!(
        Box::pin(sweep(app, deadline)),
        Box::pin(job::work(app, deadline)),
        Box::pin(letters::remove(app, deadline))
    );
    Ok(Ran { swept: swept?, sent: sent?, removed: removed? })
}
