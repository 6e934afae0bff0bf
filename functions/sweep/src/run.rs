//! One run: what is due, and the jobs beside it.

use std::time::SystemTime;

use aws::StoreError;
use serde::Serialize;

use crate::sweep::sweep;
use crate::{App, Swept, job};

/// What a run did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Ran {
    /// With what was due.
    #[serde(flatten)]
    pub swept: Swept,
    /// Deliveries that jobs sent.
    pub sent: usize,
}

/// Wakes what is due and works at the jobs, both at once: neither waits for the other. `deadline` is the end of the invocation.
///
/// # Errors
///
/// If the ledger is unavailable; the next run goes on.
pub async fn run(app: &App, deadline: SystemTime) -> Result<Ran, StoreError> {
    // Boxed: the type of all that happens below is too deep for the compiler.
    let (swept, sent) = tokio::join!(Box::pin(sweep(app, deadline)), Box::pin(job::work(app, deadline)));
    Ok(Ran { swept: swept?, sent: sent? })
}
