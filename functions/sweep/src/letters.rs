//! Deletes dead letters from their queue if their deliveries are no longer exhausted.
//!
//! Nothing depends on this, because moving such a letter back has no effect. But the queue should contain only what can
//! be redriven.

use std::time::SystemTime;

use aws::StoreError;
use domain::delivery::dead_letter::{hidden_for, is_obsolete};
use jiff::Timestamp;

use crate::App;
use crate::sweep::RESERVE;

/// How many letters a run checks.
const MAX_LETTERS: usize = 100;

/// Checks some letters, and deletes the obsolete ones. Returns how many were deleted.
pub(crate) async fn remove(app: &App, deadline: SystemTime) -> Result<usize, StoreError> {
    let deadline = Timestamp::try_from(deadline).unwrap_or(Timestamp::MAX) - RESERVE;
    let mut letters = Vec::new();
    while letters.len() < MAX_LETTERS {
        let now = app.clock.now();
        let Some(hidden_for) = hidden_for(now).filter(|_| now < deadline) else { break };
        let received = app.dead_letters.receive(hidden_for).await?;
        if received.is_empty() {
            break;
        }
        letters.extend(received);
    }
    if letters.is_empty() {
        return Ok(0);
    }
    let rows = app.ledger.standings(letters.iter().map(|letter| &letter.message), app.clock.now()).await?;
    letters.retain(|letter| is_obsolete(&letter.message, rows.get(&letter.message.delivery).copied()));
    let removed = app.dead_letters.remove(letters).await;
    if removed > 0 {
        tracing::info!(removed, "dead letters were deleted, because their deliveries are no longer exhausted");
    }
    Ok(removed)
}
