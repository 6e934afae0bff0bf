//! Work that is counted and not measured, so that the same question costs the same on every machine.

use std::cell::Cell;

/// How much work a question may take: about a comparison of two short values each unit, a few nanoseconds of a whole core.
///
/// What needs more than there is ends early, and its result means nothing: ask [`is_spent`](Self::is_spent) before using it.
#[derive(Debug)]
pub struct Effort(Cell<u64>);

impl Effort {
    /// Allows so many units.
    #[must_use]
    pub const fn new(units: u64) -> Self {
        Self(Cell::new(units))
    }

    /// Allows any number of them.
    #[must_use]
    pub const fn unlimited() -> Self {
        Self::new(u64::MAX)
    }

    /// Takes units. Says whether there were as many; from then on there are none if there were not.
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

    /// Says whether nothing is left.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.left() == 0
    }
}
