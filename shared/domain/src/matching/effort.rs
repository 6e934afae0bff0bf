//! Work that is counted and not measured, so that the same decision costs the same on every machine.

use std::cell::Cell;

/// The work that a decision may take. A unit is about one comparison of two short values, a few nanoseconds of a full
/// core.
///
/// A decision that needs more ends early and its result is meaningless: check [`is_spent`](Self::is_spent) before using
/// it.
#[derive(Debug)]
pub struct Effort(Cell<u64>);

impl Effort {
    /// Allows this many units.
    #[must_use]
    pub const fn new(units: u64) -> Self {
        Self(Cell::new(units))
    }

    /// Allows any amount of work.
    #[must_use]
    pub const fn unlimited() -> Self {
        Self::new(u64::MAX)
    }

    /// Takes units; returns whether enough were left. If not, nothing is left afterwards.
    pub fn spend(&self, units: usize) -> bool {
        let left = self.0.get().checked_sub(u64::try_from(units).unwrap_or(u64::MAX));
        self.0.set(left.unwrap_or(0));
        left.is_some()
    }

    /// Returns the units that are left.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.0.get()
    }

    /// Returns whether nothing is left.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.left() == 0
    }
}
