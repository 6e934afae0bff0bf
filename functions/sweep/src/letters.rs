//! Letters of deliveries that are exhausted no longer leave their queue.
//!
//! Nothing depends on it: a letter whose delivery went on does nothing if it is moved back. But what is in the queue should be what can be
//! redriven, and no more.

use std::time::SystemTime;

use aws::StoreError;
use domain::delivery::dead_letter::{hidden_for, is_obsolete};
use jiff::Timestamp;

use crate::App;
use crate::sweep::RESERVE;

/// How many letters a run looks at.
const MAX_LETTERS: usize = 100;

/// Looks at some letters and removes those that are obsolete. Returns how many.
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
        tracing::info!(removed, "letters were removed whose deliveries are exhausted no longer");
    }
    Ok(removed)
}
