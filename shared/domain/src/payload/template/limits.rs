//! Limits of templates.

/// The largest output of a template, in bytes.
pub(in crate::payload) const MAX_OUTPUT_BYTES: usize = 256 * 1024;

/// The maximum number of steps, and of bytes that they compare if each step compares the longest name or literal of the
/// template. With names of more than a kilobyte, the second limit allows fewer steps.
pub(in crate::payload) const MAX_STEPS: u64 = 50_000;
const MAX_STEPS_BYTES: u64 = 64 * 1024 * 1024;

/// The maximum work of filters and operators, in units of [`Work`](crate::payload::work::Work).
pub(in crate::payload) const MAX_READ: usize = 4_000_000;

/// The limits that apply to a given template.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowance {
    /// The length in bytes of the longest name or literal of the template.
    pub(super) longest: usize,
    /// The maximum number of steps with that length.
    pub(super) steps: u64,
}

impl Allowance {
    pub(super) fn of(longest: usize) -> Self {
        let bytes = u64::try_from(longest).unwrap_or(u64::MAX).max(1);
        Self { longest, steps: MAX_STEPS.min(MAX_STEPS_BYTES / bytes) }
    }
}
