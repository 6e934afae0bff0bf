//! How much a template may take.

/// The most that a template may make.
pub(in crate::payload) const MAX_OUTPUT_BYTES: usize = 256 * 1024;

/// How many steps of the engine it may take, and how many bytes of names they may compare if each compares the longest name or
/// literal of the template: with names of more than a kilobyte there may be fewer steps.
pub(in crate::payload) const MAX_STEPS: u64 = 50_000;
const MAX_STEPS_BYTES: u64 = 64 * 1024 * 1024;

/// How much its filters and operators may look at and make, in units of [`Work`](crate::payload::work::Work).
pub(in crate::payload) const MAX_READ: usize = 4_000_000;

/// What a template may cost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowance {
    /// How long the longest name or literal of the template is, in bytes.
    pub(super) longest: usize,
    /// How many steps are left for that.
    pub(super) steps: u64,
}

impl Allowance {
    pub(super) fn of(longest: usize) -> Self {
        let bytes = u64::try_from(longest).unwrap_or(u64::MAX).max(1);
        Self { longest, steps: MAX_STEPS.min(MAX_STEPS_BYTES / bytes) }
    }
}
