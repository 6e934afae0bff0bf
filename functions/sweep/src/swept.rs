//! Counts what a run of the sweep did.

use aws::StoreError;
use serde::Serialize;

/// What a run did with due rows.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Swept {
    /// Deliveries whose message was sent, except for released ones.
    pub woken: usize,
    /// Exhausted deliveries whose missing dead letter was sent.
    pub buried: usize,
    /// Breakers and lines that were processed.
    pub attended: usize,
    /// Parked deliveries that were released, including probes, and deliveries that waited for a free slot.
    pub released: usize,
    /// Rows that another sweep or an attempt moved first.
    pub taken: usize,
    /// Rows that could not be read or moved, and messages that could not be sent. A later sweep tries again.
    pub failed: usize,
}

impl Swept {
    /// Counts something that failed, and logs it. The rest of its page goes on: a row that was moved waits for minutes
    /// if its message is not sent.
    pub(crate) fn failed(&mut self, what: &'static str, error: &StoreError) {
        self.failed += 1;
        tracing::warn!(%error, what, "a part of the sweep failed; a later sweep tries it again");
    }

    /// Returns the sum of both.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            woken: self.woken + other.woken,
            buried: self.buried + other.buried,
            attended: self.attended + other.attended,
            released: self.released + other.released,
            taken: self.taken + other.taken,
            failed: self.failed + other.failed,
        }
    }
}
